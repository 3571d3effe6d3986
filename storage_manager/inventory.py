"""What a session holds: names, sizes and times as a listing tells them, and the bytes as they are stored."""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import NamedTuple

from storage_manager.aio import map_ahead
from storage_manager.backends import FileInfo
from storage_manager.errors import translate, translating
from storage_manager.layout import check_ids, is_id
from storage_manager.storage import StorageManager

__all__ = ["Summary", "count_steps", "files_by_step", "list_files", "read_stored", "summarize"]


class Summary(NamedTuple):
    """A session at a glance: how many steps and bytes, and when a file of it was last written (UTC)."""

    steps: int
    size: int
    modified: datetime | None


async def list_files(storage: StorageManager, session_id: str, step_id: str | None = None) -> AsyncIterator[FileInfo]:
    """Every file of a session, with its name below the session (`step_000001/action.json`), size, time and ETag.

    Of one step, where it is given, with the name below the step. On S3 that is one LIST a thousand files. Nothing
    where there is no such session or step.

    Raises:
        InvalidIdError: refused before any I/O.
        S3OperationError, S3ConfigError, LocalStorageError: the session cannot be listed.
    """
    url = storage.url_for(session_id, step_id)
    with translating("list", url):
        async with aclosing(storage.async_fs.iter_files(url)) as pages:
            async for page in pages:
                for found in page:
                    yield found


async def files_by_step(storage: StorageManager, session_id: str) -> Mapping[str, dict[str, FileInfo]]:
    """The files of a session by step id and name, for any step id; those of the session itself are below "".

    Raises:
        As list_files.
    """
    steps: dict[str, dict[str, FileInfo]] = defaultdict(dict)
    async for found in list_files(storage, session_id):
        step_id, _, name = found.name.rpartition("/")
        steps[step_id][name] = found
    return steps


async def summarize(storage: StorageManager, session_id: str) -> Summary:
    """How many steps and bytes a session has, and when it was last written; zeros and None where there is none.

    Raises:
        As list_files.
    """
    steps, size, modified = set(), 0, None
    async for found in list_files(storage, session_id):
        step_id, separator, _ = found.name.partition("/")
        if separator and is_id(step_id):
            steps.add(step_id)
        size += found.size
        modified = max(filter(None, (modified, found.modified)), default=None)
    return Summary(len(steps), size, modified)


async def count_steps(storage: StorageManager, session_ids: Iterable[str] | None = None) -> int:
    """How many steps these sessions have, or all; for S3 that is a LIST a session.

    Raises:
        InvalidIdError: refused before any I/O.
        S3OperationError, S3ConfigError, LocalStorageError: a session cannot be listed.
    """
    check_ids(session_ids, "list")
    sessions = storage.iter_sessions() if session_ids is None else session_ids
    async with aclosing(map_ahead(storage.list_steps_for_session, sessions, 16)) as listings:
        return sum([len(steps) async for steps in listings])


async def read_stored(storage: StorageManager, urls: Sequence[str], operation: str) -> list[bytes]:
    """The bytes at the URLs of components, as they are stored, decodable or not.

    Parameters:
        operation: in whose name the errors are.

    Raises:
        S3OperationError, S3ConfigError, LocalStorageError: the first of them that is missing, or cannot be read.
    """
    answers = await storage.async_fs.read_files(urls)
    for url, answer in zip(urls, answers, strict=True):
        if isinstance(answer, Exception):
            raise translate(answer, operation, url)
    return list(answers)
