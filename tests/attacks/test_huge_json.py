"""JSON of very many values: no reader is held for minutes, and nothing is stored that could not be read again."""

import os
import time
from pathlib import Path

import pytest

from storage_manager import InvalidDataError, LocalStorageError, StorageManager
from storage_manager.encoding import MAX_JSON_VALUES, decode_json, encode_json
from storage_manager.integrity import verify_session

pytestmark = pytest.mark.thorough

KINDS = {
    # 32 MB took 8 s and 1 GB of memory; a file may have a gigabyte
    "lists": b'{"a":[' + b"[]," * 11_000_000 + b"1]}",
    "objects": b'{"a":[' + b"{}," * 11_000_000 + b"1]}",
    "numbers": b'{"a":[' + b"1," * 16_000_000 + b"1]}",
    "names": b"{" + b",".join(b'"%x":1' % number for number in range(MAX_JSON_VALUES)) + b"}",
}


@pytest.fixture
async def sm(tmp_path: Path) -> StorageManager:
    """A manager of a root with a step."""
    storage = StorageManager(local_base_path=tmp_path)
    await storage.store_step_data("s", "t", "<p>", metadata={})
    return storage


@pytest.mark.parametrize("kind", KINDS)
async def test_a_component_of_many_values_is_unreadable(sm: StorageManager, kind: str) -> None:
    Path(sm.url_for("s", "t", "metadata")).write_bytes(KINDS[kind])
    started = time.process_time()
    assert await sm.retrieve_step_data("s", "t") == ("<p>", None, None, None)
    with pytest.raises(LocalStorageError, match=f"more than {MAX_JSON_VALUES} values"):
        await sm.retrieve_step_data("s", "t", strict=True)
    [problem] = await verify_session(sm, "s")
    assert (problem.url, problem.kind) == (sm.url_for("s", "t", "metadata"), "unreadable")
    assert [step.data.metadata async for step in sm.iter_steps()] == [None]
    assert time.process_time() - started < 2


async def test_a_sparse_gigabyte_is_no_json(sm: StorageManager) -> None:
    os.truncate(sm.url_for("s", "t", "metadata"), 2**28)
    assert (await sm.retrieve_step_data("s", "t")).metadata is None


def test_what_cannot_be_read_is_not_stored() -> None:
    with pytest.raises(InvalidDataError, match=f"metadata cannot be stored: it has more than {MAX_JSON_VALUES} values"):
        encode_json({"a": "," * (MAX_JSON_VALUES + 1)}, "metadata")
    most = {"a": "," * (MAX_JSON_VALUES - 2)}
    assert decode_json(encode_json(most, "metadata")) == most
