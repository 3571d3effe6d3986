"""What a session holds, as a listing tells it: names, sizes and times, without reading a component."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime
from typing import NamedTuple

from storage_manager.errors import translating
from storage_manager.filesystems import Found
from storage_manager.layout import is_id
from storage_manager.storage import StorageManager

__all__ = ["Summary", "list_files", "summarize"]


class Summary(NamedTuple):
    """A session at a glance: how many steps and bytes, and when a file of it was last written (UTC)."""

    steps: int
    size: int
    modified: datetime | None


async def list_files(storage: StorageManager, session_id: str) -> AsyncIterator[Found]:
    """Every file of a session, with its name below the session (`step_000001/action.json`), size, time and ETag.

    On S3 that is one LIST a thousand files. Nothing where there is no such session.

    Raises:
        InvalidIdError: refused before any I/O.
        S3OperationError, S3ConfigError, LocalStorageError: the session cannot be listed.
    """
    url = storage.url_for(session_id)
    with translating("list", url):
        async with aclosing(storage.async_fs._iter_files(url)) as pages:
            async for page in pages:
                for found in page:
                    yield found


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
