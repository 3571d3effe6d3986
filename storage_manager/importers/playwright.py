"""Traces of Playwright, as `context.tracing.stop(path="trace.zip")` writes them."""

import asyncio
import errno
import os
import re
import struct
import zipfile
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import PurePath
from typing import TypeVar

from storage_manager.aio import map_ahead, run_to_end
from storage_manager.errors import InvalidDataError, InvalidIdError, LocalStorageError, StorageManagerError, translating
from storage_manager.importers.archive import Archive
from storage_manager.importers.trace import Context, actions_of
from storage_manager.importers.trace_steps import Steps
from storage_manager.layout import Step, StepData, check_id, is_id
from storage_manager.storage import StorageManager

__all__ = ["import_playwright_trace"]

T = TypeVar("T")

_CONCURRENCY = 8  # steps in memory at a time, each with a page that may be large
_NOT_WHOLE = (ValueError, zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError)
_FOREIGN = re.compile(r"[^A-Za-z0-9_.:=@+,~-]+")


async def import_playwright_trace(
    storage: StorageManager, path: str | os.PathLike[str], session_id: str | None = None
) -> str:
    """A Playwright trace.zip as a session, a step an action; returns the session id.

    The steps are step_000001 and so on, in the order in which the actions began. All of the file is read and
    every step made before the first is stored. The trace is read in a thread of its own.

    Parameters:
        storage: where to.
        path: the zip, of versions 3 to 10 of the format: Playwright 1.31 to 1.65.
        session_id: None: from the file's name.

    Raises:
        InvalidIdError: the id is not allowed, or none can be made from the file's name; refused before any I/O.
        InvalidDataError: the file is not a trace, is damaged or hostile, or the session has steps already;
            nothing is stored.
        LocalStorageError: the file cannot be read.
        S3OperationError, S3ConfigError, LocalStorageError: storing failed; what was stored is deleted again.
    """
    name = os.fspath(path)
    with translating("import", name):
        session_id = _session_id(name) if session_id is None else check_id(session_id, "session_id")
    if await storage.list_steps_for_session(session_id):
        why = "has steps already: give another session_id, or delete it first"
        raise InvalidDataError(f"cannot import {name}: the session {session_id} {why}", operation="import", url=name)
    with ThreadPoolExecutor(1, "import") as thread:

        async def work(function: Callable[[], T]) -> T:
            with _reading(name):
                return await run_to_end(asyncio.get_running_loop().run_in_executor(thread, function))

        archive = await work(lambda: Archive(name))
        try:
            steps = await _until_cancelled(work(lambda: _checked(archive)), archive)
            await _store(storage, session_id, len(steps), lambda number: work(lambda: steps.data(number)))
        finally:
            archive.close()
    return session_id


async def _until_cancelled(reading: Awaitable[T], archive: Archive) -> T:
    """Where the caller is cancelled, the reading ends at its next event or slice: a hostile trace takes minutes."""
    task = asyncio.ensure_future(reading)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        archive.is_cancelled.set()
        await run_to_end(asyncio.gather(task, return_exceptions=True))
        raise


def _session_id(path: str) -> str:
    """The file's name without its suffix, where it is an id or can be made one."""
    session_id = _FOREIGN.sub("-", PurePath(path).stem).replace("::", "-")
    if not is_id(session_id):
        raise InvalidIdError(f"no session id can be made from the name of {path}: give session_id")
    return session_id


def _checked(archive: Archive) -> Steps:
    """All steps of the trace, each of which was made once."""
    contexts = [Context().take(archive.events(name)) for name in archive.traces]
    steps = Steps(archive, actions_of(contexts))
    steps.check()
    return steps


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """Let what reading a trace raises come out as ours; chained."""
    try:
        yield
    except _NOT_WHOLE as error:
        raise InvalidDataError(f"cannot import {path}: {error}", operation="import", url=path) from error
    except OSError as error:
        if error.errno == errno.EINVAL:  # the zip names a place before its beginning
            raise InvalidDataError(f"cannot import {path}: it is damaged", operation="import", url=path) from error
        raise LocalStorageError(f"cannot import {path}: {error.strerror}", operation="import", url=path) from error


async def _store(
    storage: StorageManager, session_id: str, count: int, data: Callable[[int], Awaitable[StepData]]
) -> None:
    """Store all steps; where one fails, or the caller is cancelled, delete those that were begun."""
    begun: list[str] = []

    async def steps() -> AsyncIterator[Step]:
        for number in range(count):
            begun.append(f"step_{number + 1:06d}")
            yield Step(session_id, begun[-1], await data(number))

    async def remove() -> None:
        async for _ in map_ahead(lambda step_id: storage.delete_step(session_id, step_id), begun, _CONCURRENCY):
            pass

    try:
        await storage.store_steps(steps(), concurrency=_CONCURRENCY)
    except StorageManagerError as error:
        outcome = "what was stored of the session is deleted again"
        try:
            await run_to_end(remove())
        except StorageManagerError as failure:
            outcome = f"what was stored of the session {session_id} could not be deleted: {failure}"
        raise type(error)(f"{error}; {outcome}", operation="import", url=error.url) from error
    except BaseException:
        await run_to_end(remove())
        raise
