"""Import traces of Playwright, as `context.tracing.stop(path="trace.zip")` and Playwright MCP write them."""

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
from storage_manager.importers.style_sheets import StyleSheets
from storage_manager.importers.trace import Context, actions_of
from storage_manager.importers.trace_steps import Steps
from storage_manager.importers.unpacked import open_archive
from storage_manager.inventory import list_files
from storage_manager.layout import Step, StepData, check_id, is_id
from storage_manager.redaction import Redactor, refusal
from storage_manager.storage import StorageManager

__all__ = ["import_playwright_trace"]

T = TypeVar("T")

_CONCURRENCY = 8  # steps in memory at a time; the page of each may be large
_DAMAGED = (ValueError, zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError)
_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9_.:=@+,~-]+")


async def import_playwright_trace(
    storage: StorageManager,
    path: str | os.PathLike[str],
    session_id: str | None = None,
    *,
    all_calls: bool = False,
) -> str:
    """Import a Playwright trace as a session with one step per action. Return the session id.

    The steps are step_000001 and so on, in the order in which the actions began. The whole file is read, and every
    step is built, before the first step is stored. The trace is read in a separate thread.

    Parameters:
        storage: the storage that receives the session.
        path: a trace.zip, a directory with what was in one, as Playwright MCP writes it, or a .trace file in such a
            directory. Versions 3 to 10 of the format: Playwright 1.31 to 1.65.
        session_id: the id of the new session. None takes it from the name of the file or directory.
        all_calls: False leaves out calls that neither act on a page nor check it: those that read (`title`,
            `screenshot`), wait or set up the browser (`addCookies`).

    Raises:
        InvalidIdError: the id is not allowed, or the name gives no id; this is checked before anything is read.
        InvalidDataError: the file is not a trace, it is damaged or hostile, or the session exists already.
            Nothing is stored.
        LocalStorageError: the file cannot be read.
        TypeError: path is not a path.
        S3OperationError, S3ConfigError, LocalStorageError: storing failed. The steps that were stored are deleted
            again.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be a str or a Path, not {type(path).__name__}")
    name = os.fspath(path)
    if "://" in os.fsdecode(name):  # not quoted, because a URL may have a password
        raise InvalidDataError("cannot import: path is a URL; download the file first", operation="import")
    with translating("import", name):
        session_id = _session_id(name) if session_id is None else check_id(session_id, "session_id")
    await _refuse_existing(storage, session_id, name)
    with ThreadPoolExecutor(1, "import") as thread:

        async def in_thread(function: Callable[[], T]) -> T:
            with _translating(name, storage.redact):
                return await run_to_end(asyncio.get_running_loop().run_in_executor(thread, function))

        archive = await in_thread(lambda: open_archive(name))
        try:
            steps = await _until_cancelled(in_thread(lambda: _read_steps(archive, all_calls)), archive)

            async def data(number: int) -> StepData:
                return await _until_cancelled(in_thread(lambda: steps.data(number)), archive)

            await _store(storage, session_id, len(steps), data)
        finally:
            archive.close()
    return session_id


async def _refuse_existing(storage: StorageManager, session_id: str, name: str) -> None:
    files = [file.name async for file in list_files(storage, session_id)]  # it may have metadata alone
    if files or await storage.list_steps_for_session(session_id):
        reason = f"the session {session_id} exists already: give another session_id, or delete the session first"
        raise InvalidDataError(f"cannot import {name}: {reason}", operation="import", url=name)


async def _until_cancelled(reading: Awaitable[T], archive: Archive) -> T:
    """Wait for the reading. If the caller is cancelled, end the reading at its next event or slice.

    Without this, cancelling would wait for the whole trace, and a hostile one takes minutes.
    """
    task = asyncio.ensure_future(reading)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        archive.is_cancelled.set()
        await run_to_end(asyncio.gather(task, return_exceptions=True))
        raise


def _session_id(path: str) -> str:
    """Return a session id made from the name of a file without its suffix, or from the whole name of a directory."""
    named = PurePath(path)
    session_id = _NOT_IN_IDS.sub("-", named.name if os.path.isdir(path) else named.stem).replace("::", "-")
    if not is_id(session_id):
        raise InvalidIdError(f"cannot make a session id from the name of {path}: give session_id")
    return session_id


def _read_steps(archive: Archive, all_calls: bool = False) -> Steps:
    """Return the steps of the trace, after building each of them once to check it."""
    contexts = [Context(archive.spend).read(archive.events(name)) for name in archive.traces]
    sheets = StyleSheets(archive)
    for name in archive.networks:
        sheets.read(archive.events(name))
    steps = Steps(archive, actions_of(contexts), sheets, all_calls=all_calls)
    steps.check()
    return steps


@contextmanager
def _translating(path: str, redact: Redactor | None) -> Iterator[None]:
    """Translate errors of reading a trace into errors of this library.

    They are chained to the original, unless secrets were to be masked: the original may quote one.
    """
    try:
        yield
    except _DAMAGED as error:
        ours, why = InvalidDataError(f"cannot import {path}: {error}", operation="import", url=path), str(error)
        if redact is None:
            raise ours from error
        raise InvalidDataError(f"cannot import {path}: {refusal(redact, why)}", operation="import", url=path) from None
    except OSError as error:
        if error.errno == errno.EINVAL:  # the zip contains an offset before its beginning
            raise InvalidDataError(f"cannot import {path}: it is damaged", operation="import", url=path) from error
        raise LocalStorageError(f"cannot import {path}: {error.strerror}", operation="import", url=path) from error


async def _store(
    storage: StorageManager, session_id: str, count: int, data: Callable[[int], Awaitable[StepData]]
) -> None:
    """Store all steps. If one fails, or the caller is cancelled, delete the steps that were started."""
    started: list[str] = []

    async def steps() -> AsyncIterator[Step]:
        for number in range(count):
            started.append(f"step_{number + 1:06d}")
            yield Step(session_id, started[-1], await data(number))

    async def remove() -> None:
        async for _ in map_ahead(lambda step_id: storage.delete_step(session_id, step_id), started, _CONCURRENCY):
            pass

    try:
        await storage.store_steps(steps(), concurrency=_CONCURRENCY)
    except StorageManagerError as error:
        outcome = "the steps that had been stored were deleted again"
        try:
            await run_to_end(remove())
        except StorageManagerError as failure:
            outcome = f"the stored steps of the session {session_id} could not be deleted: {failure}"
        raise type(error)(f"{error}; {outcome}", operation="import", url=error.url) from error
    except BaseException:
        await run_to_end(remove())
        raise
