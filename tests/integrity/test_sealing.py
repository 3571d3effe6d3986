"""A sealed session has every component written down; its manifest is in no listing, and goes when a step does."""

import json
import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from storage_manager import InvalidDataError, InvalidIdError, LocalStorageError, StorageManager, StorageManagerError
from storage_manager.integrity import seal_session
from tests.support.roots import Make, Request


def manifest(sm: StorageManager, session_id: str = "s") -> dict[str, Any]:
    data = sm.fs.cat_file(f"{sm.url_for(session_id)}/_manifest.json")
    assert data.endswith(b"\n")
    assert data.count(b"\n") == 1
    found: dict[str, Any] = json.loads(data)
    return found


async def test_every_component_is_listed_as_it_is_stored(sm: StorageManager) -> None:
    await sm.store_step_data("s", "b", b"\xff not text", b"PNG", {"a": 1}, {})
    await sm.store_step_data("s", "a-1", "", metadata={"é": 1})
    await sm.store_step_data("s", "a", "x")
    await sm.store_step_data("other", "a", "x")
    url = await seal_session(sm, "s")
    assert url == f"{sm.url_for('s')}/_manifest.json"
    found = manifest(sm)
    assert (found.pop("version"), datetime.fromisoformat(found.pop("sealed_at")).utcoffset() is None) == (2, False)
    names = {
        **{"a-1/metadata.json": '{"é":1}\n'.encode(), "a-1/observation.html": b"", "a/observation.html": b"x"},
        **{"b/action.json": b'{"a":1}\n', "b/metadata.json": b"{}\n", "b/observation.html": b"\xff not text"},
        "b/screenshot.png": b"PNG",
    }
    rows = {name: {"size": len(data), "sha256": sha256(data).hexdigest()} for name, data in names.items()}
    assert found == {"components": rows, "files": {}}
    assert list(found["components"]) == sorted(rows)


async def test_the_manifest_is_no_step(sm: StorageManager) -> None:
    await sm.store_step_data("s", "t", "x")
    await seal_session(sm, "s")
    assert await sm.list_sessions() == ["s"]
    assert await sm.list_steps_for_session("s") == ["t"]
    assert [step.step_id async for step in sm.iter_steps()] == ["t"]
    before = manifest(sm)
    await sm.store_step_data("s", "u", "y")
    assert manifest(sm) == before
    await seal_session(sm, "s")
    assert list(manifest(sm)["components"]) == ["t/observation.html", "u/observation.html"]


async def test_a_seal_that_hides_changes_is_a_warning(sm: StorageManager, caplog: pytest.LogCaptureFixture) -> None:
    """`verify` finds them before, and cannot find them afterwards."""
    await sm.store_step_data("s", "t", "x", action_data={"a": 1})
    await seal_session(sm, "s")
    await sm.store_step_data("s", "u", "new")
    await seal_session(sm, "s")
    assert not caplog.records
    await sm.store_step_data("s", "t", "y")
    sm.fs.rm_file(sm.url_for("s", "t", "action"))
    await seal_session(sm, "s")
    [record] = caplog.records
    why = "differs: t/action.json is missing, t/observation.html has changed"
    assert (record.levelname, record.getMessage().endswith(why)) == ("WARNING", True)


async def test_a_sealed_session_goes_with_its_last_step(sm: StorageManager) -> None:
    await sm.store_step_data("s", "t", "x")
    await sm.store_step_data("s", "u", "x")
    await seal_session(sm, "s")
    await sm.delete_step("s", "t")
    assert await sm.list_steps_for_session("s") == ["u"]
    assert not sm.fs.exists(f"{sm.url_for('s')}/_manifest.json")
    await seal_session(sm, "s")
    await sm.delete_step("s", "u")
    assert await sm.list_sessions() == []
    assert sm.fs.find(sm.url_for()) == []


async def test_deleting_no_step_leaves_the_seal(sm: StorageManager) -> None:
    await sm.store_step_data("s", "t", "x")
    await seal_session(sm, "s")
    await sm.delete_step("s", "u")
    await sm.delete_session("other")
    assert manifest(sm)["components"]


async def test_a_sealed_session_is_deleted_whole(sm: StorageManager) -> None:
    await sm.store_step_data("s", "t", "x")
    await seal_session(sm, "s")
    await sm.delete_session("s")
    assert await sm.list_sessions() == []
    assert sm.fs.find(sm.url_for()) == []


async def test_deleting_a_step_asks_no_more_for_it(moto: Make, moto_requests: list[Request]) -> None:
    async with moto() as sm:
        await sm.store_step_data("s", "t", "x", b"x", {}, {})
        await seal_session(sm, "s")
        moto_requests.clear()
        await sm.delete_step("s", "t")
        assert len([request for request in moto_requests if request.method == "POST"]) == 1
        assert len(moto_requests) <= 4  # obstore ends its listing with one more
        assert await sm.list_sessions() == []


async def test_a_step_of_a_whole_page_of_files_is_deleted(
    moto: Make, moto_requests: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One DeleteObjects names no more keys than S3 allows (moto allows more), and the manifest is one of them."""
    page = 20  # instead of a thousand
    monkeypatch.setattr("storage_manager.backends.s3.PAGE", page)
    async with moto() as sm:
        await sm.store_step_data("s", "t", "x")
        await seal_session(sm, "s")
        sm.fs.pipe({f"{sm.url_for('s', 't')}/{number}": b"" for number in range(page - 1)})
        moto_requests.clear()
        await sm.delete_step("s", "t")
        assert await sm.list_sessions() == []
    counts = [request.keys for request in moto_requests if request.keys]
    assert counts[0] == page
    assert max(counts) == page


async def test_what_is_not_there_is_not_sealed(sm: StorageManager) -> None:
    with pytest.raises(InvalidDataError, match="cannot seal") as caught:
        await seal_session(sm, "s")
    assert (caught.value.operation, caught.value.url) == ("seal", sm.url_for("s"))
    assert await sm.list_sessions() == []


async def test_an_id_is_refused(local: StorageManager) -> None:
    with pytest.raises(InvalidIdError) as caught:
        await seal_session(local, "a/b")
    assert caught.value.operation == "seal"


async def test_what_cannot_be_read_is_not_sealed(local: StorageManager, tmp_path: Path) -> None:
    """And the manifest that is there stays as it is."""
    await local.store_step_data("s", "t", "x")
    await seal_session(local, "s")
    before = manifest(local)
    (tmp_path / "base/s/t/action.json").mkdir()
    with pytest.raises(LocalStorageError, match=r"action\.json") as caught:
        await seal_session(local, "s")
    assert caught.value.operation == "seal"
    assert manifest(local) == before


async def test_a_bucket_that_is_gone_is_told(moto: Make) -> None:
    async with moto() as sm:
        sm.fs.rmdir(sm.url_for().removeprefix("s3://"))
        with pytest.raises(StorageManagerError, match="NoSuchBucket") as caught:
            await seal_session(sm, "s")
        assert caught.value.operation == "seal"


@pytest.mark.parametrize(
    "promise",
    [
        test_every_component_is_listed_as_it_is_stored,
        test_the_manifest_is_no_step,
        test_a_sealed_session_goes_with_its_last_step,
        test_deleting_no_step_leaves_the_seal,
        test_a_sealed_session_is_deleted_whole,
        test_what_is_not_there_is_not_sealed,
    ],
)
async def test_it_is_so_on_other_backends(promise: Callable[[StorageManager], Awaitable[None]]) -> None:
    await promise(StorageManager.from_url(f"memory://{uuid.uuid4().hex}"))
