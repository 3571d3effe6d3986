"""What StorageManager promises, alike on every backend, beyond what the conformance suite asks of a place."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
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
from storage_manager.integrity import seal_session, verify_session
from storage_manager.layout import COMPONENTS
from storage_manager.transfer import copy_sessions
from tests.support import ROOT

Make = Callable[..., StorageManager]
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
DATA = StepData("<p>é\r\n</p>", PNG, {"type": "click", "box": [1, 2.5, None, True]}, {"url": "http://é.test/"})
EXAMPLES = ROOT / "storage_manager" / "sample"


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
    async with sm.backend() as backend:
        assert await backend.read_files([url]) == [sm.fs.cat_file(url)]


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
    sm.fs.pipe_file(url, b"old")
    with pytest.raises(FileExistsError):
        sm.fs.pipe_file(url, b"new", mode="create")
    assert sm.fs.cat_file(url) == b"old"


# --- aclose -------------------------------------------------------------------------------------------------


async def fill(sm: StorageManager, steps: int = 8) -> None:
    for number in range(steps):
        await sm.store_step_data("s", f"step_{number:06}", *DATA)


@pytest.mark.parametrize("work", [seal_session, verify_session])
async def test_aclose_waits_for_sealing_and_verifying(sm: StorageManager, work: Callable[..., Awaitable[Any]]) -> None:
    await fill(sm)
    task = asyncio.ensure_future(work(sm, "s"))
    await asyncio.sleep(0)
    await sm.aclose()
    assert task.done()
    assert await task in ([], sm.url_for("s") + "/_manifest.json")


async def test_aclose_of_either_side_waits_for_copying(sm: StorageManager, tmp_path: Path) -> None:
    await fill(sm)
    target = StorageManager(local_base_path=tmp_path / "target", prefer_s3=False)
    for closed in (sm, target):
        task = asyncio.ensure_future(copy_sessions(sm, target))
        await asyncio.sleep(0.01)
        await closed.aclose()
        assert task.done()
        assert await task == 8
        await target.delete_session("s")
    await target.aclose()


async def test_aclose_waits_for_an_open_backend(local: StorageManager) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    async def use() -> None:
        async with local.backend():
            entered.set()
            await leave.wait()

    task = asyncio.ensure_future(use())
    await entered.wait()
    closing = asyncio.ensure_future(local.aclose())
    await local.store_step_data("s", "t", *DATA)  # an operation that begins meanwhile uses the same backend
    assert not closing.done()
    leave.set()
    await closing
    assert task.done()
    assert await local.retrieve_step_data("s", "t") == DATA


async def test_aclose_does_not_wait_for_its_own_task(local: StorageManager) -> None:
    """An iterator that waits for its reader would otherwise block the reader for ever."""
    await fill(local, 3)
    steps = local.iter_sessions()
    assert await anext(steps) == "s"
    await asyncio.wait_for(local.aclose(), 30)
    assert [name async for name in steps] == []
    async with local.backend():
        await local.aclose()
    await local.aclose()


async def test_aclose_that_is_cancelled_leaves_the_closing_to_the_last_operation(local: StorageManager) -> None:
    leave = asyncio.Event()

    async def use() -> None:
        async with local.backend():
            await leave.wait()

    task = asyncio.ensure_future(use())
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(local.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    backend = local.async_fs
    leave.set()
    await task
    assert local.async_fs is not backend


async def use_for_a_while(local: StorageManager, leave: asyncio.Event) -> None:
    async with local.backend():
        await leave.wait()
    await asyncio.sleep(3600)


async def test_two_acloses_at_once_both_return(local: StorageManager) -> None:
    """Also if the task goes on after its operation."""
    leave = asyncio.Event()
    task = asyncio.ensure_future(use_for_a_while(local, leave))
    await asyncio.sleep(0)
    closing = [asyncio.ensure_future(local.aclose()) for _ in range(2)]
    await asyncio.sleep(0)
    leave.set()
    await asyncio.wait_for(asyncio.gather(*closing), 30)
    task.cancel()


async def test_aclose_does_not_wait_for_operations_that_begin_later(local: StorageManager) -> None:
    stop = asyncio.Event()

    async def store() -> None:
        while not stop.is_set():
            await local.store_step_data("s", "t", *DATA)

    tasks = [asyncio.ensure_future(store()) for _ in range(3)]
    await asyncio.sleep(0.01)
    await asyncio.wait_for(local.aclose(), 30)
    stop.set()
    await asyncio.gather(*tasks)


async def test_two_tasks_that_close_in_their_own_blocks(local: StorageManager) -> None:
    async def close() -> None:
        async with local.backend():
            await asyncio.sleep(0)
            await local.aclose()

    await asyncio.gather(*(asyncio.wait_for(close(), 30) for _ in range(2)))


async def test_a_closed_local_backend_refuses_every_read(local: StorageManager) -> None:
    await local.store_step_data("s", "t", *DATA)
    closed = local.async_fs
    await local.aclose()
    for _ in range(3):
        with pytest.raises(RuntimeError, match="after shutdown"):
            await asyncio.wait_for(closed.read_files([local.url_for("s", "t", "html")]), 30)
