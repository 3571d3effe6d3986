"""What StorageManager promises, alike on every backend, beyond what the conformance suite asks of a place."""

import errno
import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import fsspec
import pandas as pd
import pytest

from storage_manager import (
    InvalidDataError,
    InvalidIdError,
    Step,
    StepData,
    StorageManager,
    StorageManagerError,
)
from storage_manager.layout import COMPONENTS
from tests.support import ROOT

Make = Callable[..., StorageManager]
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
DATA = StepData("<p>é\r\n</p>", PNG, {"type": "click", "box": [1, 2.5, None, True]}, {"url": "http://é.test/"})
EXAMPLES = ROOT / "examples" / "sessions"


async def raw(sm: StorageManager, url: str, data: bytes) -> None:
    """Put bytes at a URL past the code under test."""
    sm.fs.makedirs(os.path.dirname(url), exist_ok=True)
    sm.fs.pipe_file(url, data)


async def test_real_session_round_trips_byte_for_byte(sm: StorageManager) -> None:
    steps = sorted((EXAMPLES / "harbour-books").iterdir())
    assert len(steps) == 4
    for step in steps:
        files = [(step / row.filename).read_bytes() for row in COMPONENTS]
        values = [row.decode(data) for row, data in zip(COMPONENTS, files, strict=True)]
        paths = await sm.store_step_data("harbour-books", step.name, *values)
        assert [sm.fs.cat_file(path) for path in paths.values()] == files
        assert await sm.retrieve_step_data("harbour-books", step.name) == StepData(*values)


async def test_nothing_given_stores_nothing(sm: StorageManager) -> None:
    assert set((await sm.store_step_data("s", "t")).values()) == {None}
    assert await sm.list_sessions() == []


async def test_iteration_refuses_what_it_cannot_mean(sm: StorageManager) -> None:
    with pytest.raises(InvalidIdError, match="list of ids"):
        await anext(sm.iter_steps("s"))
    with pytest.raises(InvalidIdError):
        await anext(sm.iter_steps(["../up"]))
    with pytest.raises(ValueError, match="concurrency"):
        await anext(sm.iter_steps(concurrency=0))
    with pytest.raises(ValueError, match="concurrency"):
        await sm.store_steps([], concurrency=0)


async def test_store_steps_pulls_no_faster_than_it_stores(sm: StorageManager) -> None:
    pulled = 0

    async def source() -> AsyncIterator[Step]:
        nonlocal pulled
        for number in range(20):
            pulled += 1
            assert pulled - len(await sm.list_sessions()) <= 4
            yield Step(f"s{number}", "t", DATA)

    assert await sm.store_steps(source(), concurrency=3) == 20


async def test_store_steps_raises_what_failed_and_stops(sm: StorageManager) -> None:
    steps = [Step("s", f"t{n}", DATA if n != 5 else StepData(metadata={"bad": float("inf")})) for n in range(50)]
    with pytest.raises(InvalidDataError):
        await sm.store_steps(iter(steps), concurrency=2)
    assert len(await sm.list_steps_for_session("s")) <= 7


async def test_urls_open_in_fsspec_and_pandas(sm: StorageManager, make: Make) -> None:
    await sm.store_step_data("s", "t", *DATA)
    with fsspec.open(sm.url_for("s", "t", "html"), **sm.storage_options) as file:
        assert file.read() == DATA.html.encode() if DATA.html else False
    url = sm.url_for("s", "t", "metadata")
    assert pd.read_json(url, typ="series", storage_options=sm.storage_options).to_dict() == DATA.metadata
    assert len(pd.read_json(url, lines=True, storage_options=sm.storage_options)) == 1
    assert await sm.async_fs._cat_file(url) == sm.fs.cat_file(url)


async def test_url_for(sm: StorageManager) -> None:
    root = sm.url_for()
    assert sm.url_for("s") == f"{root}/s"
    assert sm.url_for("s", "t") == f"{root}/s/t"
    assert sm.url_for("s", "t", "screenshot") == f"{root}/s/t/screenshot.png"
    with pytest.raises(InvalidIdError, match="step_id is given without session_id"):
        sm.url_for(step_id="t")
    with pytest.raises(InvalidIdError, match="component is given without step_id"):
        sm.url_for("s", component="html")
    with pytest.raises(InvalidIdError):
        sm.url_for("..")
    with pytest.raises(InvalidDataError):
        sm.url_for("s", "t", "pixels")  # type: ignore[arg-type]


@pytest.mark.parametrize("answer", [b"other bytes", PermissionError(errno.EACCES, "not yours")])
async def test_check_reads_what_it_wrote(sm: StorageManager, answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def read(paths: list[str]) -> list[Any]:
        return [answer]

    monkeypatch.setattr(sm.async_fs, "read_files", read)
    with pytest.raises(StorageManagerError, match=r"bytes read are not those written|not yours") as caught:
        await sm.check()
    assert caught.value.operation == "check"
    assert sm.fs.find(sm.url_for()) == []


async def test_a_backend_that_deletes_nothing_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    sm = StorageManager.from_url("memory://lying")
    await sm.store_step_data("s", "t", "x")
    with monkeypatch.context() as patch:
        patch.setattr(sm.async_fs.target, "rm", lambda *args, **kwargs: None)
        with pytest.raises(StorageManagerError, match=r"still there.*observation\.html"):
            await sm.delete_session("s")
    await sm.delete_session("s")


@pytest.mark.parametrize("step", [("s", "t", StepData()), Step("s", "t", {"html": "x"}), None])  # type: ignore[arg-type]
async def test_store_steps_takes_steps(sm: StorageManager, step: Any) -> None:
    with pytest.raises(InvalidDataError, match="store_steps takes Step"):
        await sm.store_steps([step])
    assert await sm.list_sessions() == []


async def test_a_file_that_is_there_is_not_created_on_another_backend() -> None:
    sm = StorageManager.from_url("memory://creating")
    url = sm.url_for("s", "t", "html")
    await sm.async_fs._pipe_file(url, b"old")
    with pytest.raises(FileExistsError):
        await sm.async_fs._pipe_file(url, b"new", mode="create")
    assert await sm.async_fs._cat_file(url) == b"old"
