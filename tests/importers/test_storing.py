"""Every importer except that of traces stores all of a run or nothing, under a free id, and off the event loop."""

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from storage_manager import InvalidDataError, InvalidIdError, LocalStorageError, StepData, StorageManager
from storage_manager.importers import import_agentlab, import_browser_use, import_webvoyager
from storage_manager.importers.budget import Budget
from storage_manager.importers.storing import Read, Source, import_session
from storage_manager.redaction import Redactor
from tests.support.agent_runs import PNG, history_item, write_history


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """A history of 20 items."""
    return write_history(tmp_path, [history_item(number) for number in range(1, 21)])


async def test_every_backend(sm: StorageManager, tmp_path: Path) -> None:
    history = write_history(tmp_path, [history_item(number) for number in range(1, 5)])
    assert await import_browser_use(sm, history) == "history"
    steps = [step async for step in sm.iter_steps(["history"])]
    assert [step.step_id for step in steps] == [f"step_{number:06d}" for number in range(1, 5)]
    assert [step.data.screenshot for step in steps] == [PNG] * 3 + [None]
    with pytest.raises(InvalidDataError, match="the session history exists already"):
        await import_browser_use(sm, history)
    await sm.store_session_metadata("other", {})
    with pytest.raises(InvalidDataError, match="the session other exists already"):
        await import_browser_use(sm, history, "other")
    assert await sm.list_sessions() == ["history", "other"]


async def test_progress(history: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    sm = StorageManager(local_base_path=tmp_path / "base")
    await import_browser_use(sm, history, progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert {total for _, total in told} == {20}
    assert (told[0], told[-1]) == ((0, 20), (20, 20))
    with pytest.raises(TypeError, match="progress"):
        await import_browser_use(sm, history, "other", progress=7)  # type: ignore[arg-type]


@pytest.mark.parametrize("importer", [import_browser_use, import_webvoyager, import_agentlab])
async def test_paths(tmp_path: Path, importer: Any) -> None:
    sm = StorageManager(local_base_path=tmp_path / "base")
    with pytest.raises(TypeError, match="path must be a str or a Path, not int"):
        await importer(sm, 5)
    with pytest.raises(InvalidDataError, match="path is a URL; download the file first") as caught:
        await importer(sm, "https://u:TOKENTOKEN@host/history.json")
    assert "TOKENTOKEN" not in str(caught.value)
    with pytest.raises(LocalStorageError, match="No such file"):
        await importer(sm, tmp_path / "gone.json")
    with pytest.raises(InvalidIdError, match="give session_id"):
        await importer(sm, tmp_path / "été.json")
    with pytest.raises(InvalidIdError, match="'/' at position 1"):
        await importer(sm, "/nowhere", "a/b")


def stored(base: Path) -> list[str]:
    return sorted(str(path.relative_to(base)) for path in base.rglob("*") if path.is_file())


class Failing(StorageManager):
    """Fails to store a step, or what follows the steps, and perhaps to delete."""

    fails_at = "step_000012"
    undeletable = False

    def _fail(self, name: str) -> None:
        if name == self.fails_at:
            raise LocalStorageError("cannot store: the disk is full", operation="store", url="/there")

    async def store_step_data(self, session_id: str, step_id: str, *args: Any, **kwargs: Any) -> dict[str, str | None]:
        self._fail(step_id)
        return await super().store_step_data(session_id, step_id, *args, **kwargs)

    async def store_attachments(self, *args: Any, **kwargs: Any) -> dict[str, str]:
        self._fail("attachments")
        return await super().store_attachments(*args, **kwargs)

    async def delete_step(self, session_id: str, step_id: str) -> None:
        if self.undeletable:
            raise LocalStorageError("cannot delete: the disk is gone", operation="delete")
        await super().delete_step(session_id, step_id)


@pytest.mark.parametrize("fails_at", ["step_000001", "step_000012", "attachments"])
async def test_if_storing_fails_what_was_stored_is_deleted(history: Path, tmp_path: Path, fails_at: str) -> None:
    sm = Failing(local_base_path=tmp_path / "base")
    sm.fails_at = fails_at
    await StorageManager(local_base_path=tmp_path / "base").store_step_data("mine", "a", "x")
    with pytest.raises(LocalStorageError, match="the disk is full; what had been stored was deleted again") as caught:
        await import_browser_use(sm, history)
    assert (caught.value.operation, caught.value.url) == ("import", "/there")
    assert stored(tmp_path / "base") == ["mine/a/observation.html"]
    assert await sm.list_sessions() == ["mine"]


async def test_what_cannot_be_deleted_is_said(history: Path, tmp_path: Path) -> None:
    sm = Failing(local_base_path=tmp_path / "base")
    sm.undeletable = True
    with pytest.raises(LocalStorageError, match=r"disk is full; .* history could not be deleted: .*the disk is gone"):
        await import_browser_use(sm, history)


async def test_only_what_was_begun_is_deleted(history: Path, tmp_path: Path) -> None:
    """Another writer's step, which came meanwhile, stays."""

    class Raced(Failing):
        async def list_steps_for_session(self, session_id: str) -> list[str]:
            before = await super().list_steps_for_session(session_id)
            await self.store_step_data(session_id, "step_000030", "theirs")
            return before

    with pytest.raises(LocalStorageError, match="the disk is full"):
        await import_browser_use(Raced(local_base_path=tmp_path / "base"), history)
    assert stored(tmp_path / "base") == ["history/step_000030/observation.html"]


async def test_cancelled_while_it_stores(history: Path, tmp_path: Path) -> None:
    reached = asyncio.Event()

    class Waiting(StorageManager):
        async def store_step_data(self, session_id: str, step_id: str, *args: Any, **kwargs: Any) -> Any:
            answer = await super().store_step_data(session_id, step_id, *args, **kwargs)
            if step_id == "step_000005":
                reached.set()
                await asyncio.Event().wait()
            return answer

    sm = Waiting(local_base_path=tmp_path / "base")
    task = asyncio.create_task(import_browser_use(sm, history))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stored(tmp_path / "base") == []


async def test_cancelled_while_it_reads_and_the_loop_goes_on(tmp_path: Path) -> None:
    """The reading ends at its next look at the budget, and other tasks run meanwhile."""
    reading, ended = threading.Event(), threading.Event()

    def read(path: str, budget: Budget) -> Source:
        reading.set()
        try:
            while True:
                time.sleep(0.001)
                budget.check_cancelled()
        finally:
            ended.set()

    sm = StorageManager(local_base_path=tmp_path / "base")
    task = asyncio.create_task(import_session(sm, tmp_path, "s", read))
    await asyncio.to_thread(reading.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
    assert stored(tmp_path / "base") == []


async def test_nothing_is_read_on_the_event_loop(tmp_path: Path) -> None:
    threads = set()

    def step(number: int) -> Read:
        threads.add(threading.current_thread())
        return Read(StepData("x"))

    def read(path: str, budget: Budget) -> Source:
        return Source({}, 3, step)

    sm = StorageManager(local_base_path=tmp_path / "base")
    assert await import_session(sm, tmp_path, "s", read) == "s"
    assert len(threads) == 1
    assert threading.main_thread() not in threads


async def test_a_redactor_that_knows_only_steps(history: Path, tmp_path: Path) -> None:
    """It cannot redact the metadata of the session: nothing is stored."""

    def redact(step: StepData) -> StepData:
        return step

    known: Redactor = redact
    sm = StorageManager(local_base_path=tmp_path / "base", redact=known)
    with pytest.raises(InvalidDataError, match="redact_attachment"):
        await import_browser_use(sm, history)
    assert stored(tmp_path / "base") == []
