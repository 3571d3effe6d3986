"""Store the session that an importer reads: first check all of it, then store it whole or not at all.

An importer supplies a function that reads its format. The function runs in a thread, and returns a `Source`.
"""

import asyncio
import errno
import os
import re
import struct
import zipfile
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from datetime import datetime, timezone
from pathlib import PurePath
from typing import Any, NamedTuple, TypeVar

from storage_manager.aio import Progress, map_ahead, run_to_end
from storage_manager.arguments import check_callable
from storage_manager.encoding import count_values
from storage_manager.errors import InvalidDataError, InvalidIdError, LocalStorageError, StorageManagerError, translating
from storage_manager.importers.budget import Budget, refuse
from storage_manager.importers.parsing import MAX_QUICK
from storage_manager.inventory import list_files
from storage_manager.layout import COMPONENTS, SESSION_METADATA_FILENAME, Step, StepData, check_id, is_id
from storage_manager.recorder.markup import without_user
from storage_manager.redaction import Redactor, refusal
from storage_manager.storage import StorageManager, check_storage

__all__ = ["MAX_STEPS", "Read", "Source", "check_source", "import_session", "present", "time_of"]

T = TypeVar("T")

MAX_STEPS = 100_000
_CONCURRENCY = 8  # steps in memory at a time
_DAMAGED = (
    *(ValueError, RecursionError, zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError),
    OverflowError,  # an integer of hundreds of digits
)
_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9_.:=@+,~-]+")


class Read(NamedTuple):
    """A step that an importer has read. Its attachments are already encoded, to save time on the event loop."""

    data: StepData
    attachments: Mapping[str, bytes] = {}


class Source(NamedTuple):
    """A session that an importer has read, before it is stored.

    Attributes:
        total: the number of steps.
        step: builds a step by its number, counted from 0. It is called twice per step, in the thread of the import. The
            first call is only for a check.
        close: called at the end, also after an error.
    """

    metadata: Mapping[str, Any]
    total: int
    step: Callable[[int], Read]
    attachments: Mapping[str, bytes] = {}
    close: Callable[[], None] = lambda: None


async def import_session(
    storage: StorageManager,
    path: str | os.PathLike[str],
    session_id: str | None,
    read: Callable[[str, Budget], Source],
    progress: Progress | None = None,
) -> str:
    """Read a file or directory in a thread, and store it as a session. Return the session id.

    Parameters:
        session_id: None to make it from the name of the file or directory.
        read: the function that reads the format. It gets the path.
        progress: as for import_browser_use.

    Raises:
        As import_browser_use.
    """
    check_storage(storage)
    name = _checked(path)
    check_callable(progress, "progress", "two numbers")
    with translating("import", name):
        session_id = _session_id(name) if session_id is None else check_id(session_id, "session_id")
    await _refuse_existing(storage, session_id, name)
    budget = Budget()
    with ThreadPoolExecutor(1, "import") as thread:

        async def in_thread(function: Callable[[], T]) -> T:
            with _translating(name, storage.redact):
                running = asyncio.get_running_loop().run_in_executor(thread, function)
                return await _until_cancelled(running, budget)

        source = _without_users(await in_thread(lambda: read(name, budget)))
        try:
            await in_thread(lambda: check_source(source, budget))
            report = progress or (lambda done, total: None)
            await _store(storage, session_id, source, lambda number: in_thread(lambda: source.step(number)), report)
        finally:
            source.close()
    return session_id


def _checked(path: str | os.PathLike[str]) -> str:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be a str or a Path, not {type(path).__name__}")
    name = os.fsdecode(path)
    if "://" in name:  # not quoted, because a URL may have a password
        raise InvalidDataError("cannot import: path is a URL; download the file first", operation="import")
    return name


def _session_id(path: str) -> str:
    """Return a session id from the name of a file without its suffix, or from the whole name of a directory."""
    named = PurePath(os.path.abspath(path))
    session_id = _NOT_IN_IDS.sub("-", named.name if os.path.isdir(path) else named.stem).replace("::", "-")
    if not is_id(session_id):
        raise InvalidIdError(f"cannot make a session id from the name of {path}: give session_id")
    return session_id


async def _refuse_existing(storage: StorageManager, session_id: str, name: str) -> None:
    async with aclosing(list_files(storage, session_id)) as files:
        has_files = await anext(files, None) is not None  # it may have metadata alone
    if has_files or await storage.list_steps_for_session(session_id):
        reason = f"the session {session_id} exists already: give another session_id, or delete the session first"
        raise InvalidDataError(f"cannot import {name}: {reason}", operation="import", url=name)


async def _until_cancelled(reading: Awaitable[T], budget: Budget) -> T:
    """Wait for the reading. If the caller is cancelled, the reading ends as soon as it checks the budget."""
    task = asyncio.ensure_future(reading)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        budget.is_cancelled.set()
        [result] = await run_to_end(asyncio.gather(task, return_exceptions=True))
        if isinstance(result, Source):
            result.close()
        raise


def _without_users(source: Source) -> Source:
    """Remove user and password from the URLs of the session and of its steps."""

    def step(number: int) -> Read:
        read = source.step(number)
        about = read.data.metadata
        return read if about is None else read._replace(data=read.data._replace(metadata=_without_user(about)))

    return source._replace(metadata=_without_user(source.metadata), step=step)


def _without_user(metadata: Mapping[str, Any]) -> dict[str, Any]:
    urls = {name: metadata[name] for name in ("url", "start_url") if isinstance(metadata.get(name), str)}
    return {**metadata, **{name: without_user(url) for name, url in urls.items()}}


def check_source(source: Source, budget: Budget) -> None:
    """Build each step once. So a step that cannot be stored is refused before anything is stored.

    Raises:
        ValueError: a step cannot be stored, or the session is too large.
    """
    if not 0 < source.total <= MAX_STEPS:
        refuse("it has no steps" if not source.total else f"it has more than {MAX_STEPS} steps")
    _check_json([COMPONENTS[3].encode(source.metadata, "metadata")])
    budget.spend(sum(map(len, source.attachments.values())))
    for number in range(source.total):
        _check_step(source.step(number), budget)
    budget.restart()


def _check_step(step: Read, budget: Budget) -> None:
    rows = [(row, value) for row, value in zip(COMPONENTS, step.data, strict=True) if value is not None]
    encoded = {row.name: row.encode(value, row.keyword) for row, value in rows}
    _check_json([encoded[name] for name in ("action", "metadata") if name in encoded])
    budget.spend(sum(map(len, encoded.values())) + sum(map(len, step.attachments.values())))


def _check_json(texts: list[bytes]) -> None:
    """Refuse JSON of many values, because it is encoded on the event loop."""
    if sum(map(count_values, texts)) > MAX_QUICK:
        refuse(f"a step or the session has more than {MAX_QUICK} values")


@contextmanager
def _translating(path: str, redact: Redactor | None) -> Iterator[None]:
    """Translate errors of reading into errors of this library.

    They are chained to the original error, except if a redactor is used: the original error may contain a secret.
    """
    try:
        yield
    except _DAMAGED as error:
        why = str(error) or type(error).__name__
        if redact is None:
            raise InvalidDataError(f"cannot import {path}: {why}", operation="import", url=path) from error
        raise InvalidDataError(f"cannot import {path}: {refusal(redact, why)}", operation="import", url=path) from None
    except OSError as error:
        if error.errno == errno.EINVAL:  # a zip contains an offset before its beginning
            raise InvalidDataError(f"cannot import {path}: it is damaged", operation="import", url=path) from error
        raise LocalStorageError(f"cannot import {path}: {error.strerror}", operation="import", url=path) from error


async def _store(
    storage: StorageManager,
    session_id: str,
    source: Source,
    step: Callable[[int], Awaitable[Read]],
    report: Progress,
) -> None:
    """Store a session. After a failure or a cancellation, delete what was stored, but no file of another writer."""
    begun: list[str] = []

    async def steps() -> AsyncIterator[Step]:
        for number in range(source.total):
            report(max(0, number - _CONCURRENCY), source.total)  # the others may be under way
            begun.append(f"step_{number + 1:06d}")
            yield Step(session_id, begun[-1], *(await step(number)))

    try:
        if source.metadata:
            await storage.store_session_metadata(session_id, source.metadata)
        await storage.store_steps(steps(), concurrency=_CONCURRENCY)
        await storage.store_attachments(session_id, source.attachments)
        report(source.total, source.total)
    except StorageManagerError as error:
        outcome = "what had been stored was deleted again"
        try:
            await run_to_end(_remove(storage, session_id, begun, source.attachments))
        except StorageManagerError as failure:
            outcome = f"what was stored of the session {session_id} could not be deleted: {failure}"
        raise type(error)(f"{error}; {outcome}", operation="import", url=error.url) from error
    except BaseException:
        await run_to_end(_remove(storage, session_id, begun, source.attachments))
        raise


async def _remove(storage: StorageManager, session_id: str, steps: Iterable[str], attachments: Iterable[str]) -> None:
    async for _ in map_ahead(lambda step_id: storage.delete_step(session_id, step_id), steps, _CONCURRENCY):
        pass
    for name in attachments:
        await storage.delete_attachment(session_id, name)
    url = f"{storage.url_for(session_id)}/{SESSION_METADATA_FILENAME}"
    with translating("delete", url):
        async with storage.backend() as backend:
            await backend.remove_file(url)


def present(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that have a value."""
    return {key: value for key, value in values.items() if value not in (None, "", [], {})}


def time_of(seconds: float | None) -> str | None:
    """Return a time in seconds since 1970 as ISO 8601 in UTC.

    Raises:
        ValueError: its year is not one that Python supports.
    """
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError(f"{seconds} is not a valid time in seconds") from error
