"""An import stores all of a trace or nothing, under an id that is free, and leaves the event loop alone."""

import asyncio
import errno
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from storage_manager import InvalidDataError, InvalidIdError, LocalStorageError, StepData, StorageManager
from storage_manager.importers import archive, import_playwright_trace, playwright, trace_steps
from storage_manager.importers.budget import Budget
from tests.support.open_files import open_files
from tests.support.traces import FIRST, FIRST_HTML, action, header, imported, write_zip


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A trace of 30 actions."""
    events = [header(), *(event for number in range(30) for event in action(number, html=FIRST))]
    return write_zip(tmp_path / "trace.zip", {"trace.trace": events})


async def test_every_backend(sm: StorageManager, trace: Path) -> None:
    data = await imported(sm, trace)
    assert [step.html for step in data] == [FIRST_HTML] * 30
    with pytest.raises(InvalidDataError, match="the session trace exists already"):
        await import_playwright_trace(sm, trace)
    assert await imported(sm, trace, "another") == data
    assert await sm.list_sessions() == ["another", "trace"]


@pytest.mark.parametrize(
    ("name", "session_id"),
    [
        ("trace.zip", "trace"),
        ("my trace (1).zip", "my-trace-1-"),
        ("a::b.trace.zip", "a-b.trace"),
        ("x" * 128 + ".zip", "x" * 128),
        ("noextension", "noextension"),
    ],
)
async def test_the_id_is_the_name_of_the_file(trace: Path, tmp_path: Path, name: str, session_id: str) -> None:
    path = trace.rename(tmp_path / name)
    assert await import_playwright_trace(StorageManager(local_base_path=tmp_path / "base"), str(path)) == session_id


@pytest.mark.parametrize("name", ["..zip", ".zip", "x" * 129 + ".zip", "-.zip", "été.zip", "a..zip"])
async def test_a_name_of_which_no_id_can_be_made(tmp_path: Path, name: str) -> None:
    sm = StorageManager(local_base_path=tmp_path / "base")
    with pytest.raises(InvalidIdError, match="give session_id"):
        await import_playwright_trace(sm, tmp_path / name)


async def test_ids_are_refused_before_any_io(tmp_path: Path) -> None:
    with pytest.raises(InvalidIdError, match="'/' at position 1"):
        await import_playwright_trace(StorageManager(local_base_path=tmp_path / "base"), "/nowhere", "a/b")


class Failing(StorageManager):
    """Fails to store, and perhaps to delete, from a step on."""

    undeletable = False

    async def store_step_data(self, session_id: str, step_id: str, *args: Any, **kwargs: Any) -> dict[str, str | None]:
        if step_id == "step_000020":
            raise LocalStorageError("cannot store: the disk is full", operation="store", url="/there")
        return await super().store_step_data(session_id, step_id, *args, **kwargs)

    async def delete_step(self, session_id: str, step_id: str) -> None:
        if self.undeletable and step_id == "step_000003":
            raise LocalStorageError("cannot delete: the disk is gone", operation="delete")
        await super().delete_step(session_id, step_id)


async def test_where_storing_fails_what_was_stored_is_deleted(trace: Path, tmp_path: Path) -> None:
    sm = Failing(local_base_path=tmp_path / "base")
    await sm.store_step_data("other", "step_000001", "mine")
    with pytest.raises(LocalStorageError, match="the disk is full; what had been stored was deleted again") as caught:
        await import_playwright_trace(sm, trace)
    assert (caught.value.operation, caught.value.url) == ("import", "/there")
    assert await sm.list_sessions() == ["other"]


async def test_what_cannot_be_deleted_is_said(trace: Path, tmp_path: Path) -> None:
    sm = Failing(local_base_path=tmp_path / "base")
    sm.undeletable = True
    with pytest.raises(LocalStorageError, match=r"disk is full; .* trace could not be deleted: .*the disk is gone"):
        await import_playwright_trace(sm, trace)


async def test_only_what_was_begun_is_deleted(trace: Path, tmp_path: Path) -> None:
    """Another writer's step, which came meanwhile, stays."""

    class Raced(Failing):
        async def list_steps_for_session(self, session_id: str) -> list[str]:
            before = await super().list_steps_for_session(session_id)
            await self.store_step_data(session_id, "step_000030", "theirs")
            return before

    sm = Raced(local_base_path=tmp_path / "base")
    with pytest.raises(LocalStorageError, match="the disk is full"):
        await import_playwright_trace(sm, trace)
    reader = StorageManager(local_base_path=tmp_path / "base")
    assert await reader.list_steps_for_session("trace") == ["step_000030"]


async def test_cancelled_while_it_stores(trace: Path, tmp_path: Path) -> None:
    reached = asyncio.Event()

    class Waiting(StorageManager):
        async def store_step_data(self, session_id: str, step_id: str, *args: Any, **kwargs: Any) -> Any:
            answer = await super().store_step_data(session_id, step_id, *args, **kwargs)
            if step_id == "step_000012":
                reached.set()
                await asyncio.Event().wait()
            return answer

    sm = Waiting(local_base_path=tmp_path / "base")
    task = asyncio.create_task(import_playwright_trace(sm, trace))
    await reached.wait()
    assert await sm.list_sessions() == ["trace"]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await sm.list_sessions() == []


async def test_cancelled_while_it_reads_and_the_loop_goes_on(
    trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, ended = threading.Event(), threading.Event()

    def slow(opened: archive.Archive, work: Budget, all_calls: bool) -> trace_steps.Steps:
        reading.set()
        time.sleep(0.3)
        ended.set()
        raise ValueError("nobody hears this")

    monkeypatch.setattr(playwright, "_read_steps", slow)
    task = asyncio.create_task(import_playwright_trace(StorageManager(local_base_path=tmp_path / "base"), trace))
    await asyncio.to_thread(reading.wait)
    task.cancel()
    turns = 0
    while not task.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert turns > 20
    assert task.cancelled()
    assert ended.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("import")]


async def test_no_file_is_left_open(trace: Path, tmp_path: Path) -> None:
    sm = StorageManager(local_base_path=tmp_path / "base")
    await import_playwright_trace(sm, trace)
    bad = write_zip(tmp_path / "bad.zip", {"t.trace": "{"})
    for path in (bad, write_zip(tmp_path / "none.zip", {"x": ""})):
        with pytest.raises(InvalidDataError):
            await import_playwright_trace(sm, path)
    assert open_files(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "kind", "why"),
    [(errno.EINVAL, InvalidDataError, "it is damaged"), (errno.EIO, LocalStorageError, "Input/output error")],
)
async def test_a_disk_that_fails(
    trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception], why: str
) -> None:
    def fail(self: trace_steps.Steps, index: int) -> StepData:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(trace_steps.Steps, "data", fail)
    sm = StorageManager(local_base_path=tmp_path / "base")
    with pytest.raises(kind, match=f"cannot import .*: {why}"):
        await import_playwright_trace(sm, trace)
    assert await sm.list_sessions() == []
