"""Delete sessions that are older than a limit."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime, timedelta, timezone

from storage_manager.aio import Progress, map_ahead, run_to_end
from storage_manager.arguments import check_callable
from storage_manager.errors import InvalidDataError, translating
from storage_manager.inventory import list_files
from storage_manager.layout import is_component
from storage_manager.storage import StorageManager

__all__ = ["purge_sessions", "purging"]


async def purge_sessions(
    storage: StorageManager, older_than: datetime | timedelta, *, dry_run: bool = True
) -> list[str]:
    """Delete the sessions whose files are all older than a limit. With `dry_run`, the default, only return their ids.

    Each session is checked again just before it is deleted. If someone has written to it in the meantime, it stays. A
    directory without any component is not a session, and stays. A session also stays if the backend does not tell
    when each of its files was last written.

    Parameters:
        older_than: a datetime with a time zone, or an age.
        dry_run: False to delete.

    Returns:
        The ids of the sessions that were deleted, or, with dry_run, that would be.

    Raises:
        InvalidDataError: the datetime has no time zone, or the age is negative. Raised before any I/O.
        S3OperationError, S3ConfigError, LocalStorageError: the root cannot be listed, or a session could not be
            deleted. The sessions before it are deleted; run it again to continue.
    """
    return [session_id async for session_id in purging(storage, older_than, dry_run=dry_run)]


async def purging(
    storage: StorageManager,
    older_than: datetime | timedelta,
    *,
    dry_run: bool = True,
    progress: Progress | None = None,
) -> AsyncGenerator[str, None]:
    """Do the same as purge_sessions, and yield each id when the session is deleted or, with dry_run, found.

    Parameters:
        progress: called on the event loop with the number of sessions checked so far, and None.
    """
    check_callable(progress, "progress", "two numbers")
    limit, checked = _moment(older_than), 0

    async def is_old(session_id: str) -> tuple[str, bool]:
        return session_id, await _is_older(storage, session_id, limit)

    with translating("purge", storage.url_for()):
        async with aclosing(map_ahead(is_old, storage.iter_sessions(), 16)) as sessions:
            async for session_id, is_candidate in sessions:
                if is_candidate and dry_run:
                    yield session_id
                elif is_candidate and await _is_older(storage, session_id, limit):
                    cancelled = await _delete(storage, session_id)
                    yield session_id
                    if cancelled:
                        raise cancelled
                checked += 1
                if progress:
                    progress(checked, None)


async def _is_older(storage: StorageManager, session_id: str, limit: datetime) -> bool:
    """Return True if a directory is a session, and all its files were last written before the limit."""
    files = [found async for found in list_files(storage, session_id)]
    is_session = any(is_component(found.name) for found in files)
    return is_session and all(found.modified and found.modified < limit for found in files)


async def _delete(storage: StorageManager, session_id: str) -> asyncio.CancelledError | None:
    """Delete a session. If the caller is cancelled meanwhile and the deletion succeeds, return the cancellation.

    Then the caller can report the deletion before it raises the cancellation.
    """
    deletion = asyncio.ensure_future(storage.delete_session(session_id))
    try:
        await run_to_end(deletion)
    except asyncio.CancelledError as cancelled:
        if deletion.cancelled() or deletion.exception():
            raise
        return cancelled
    return None


def _moment(older_than: datetime | timedelta) -> datetime:
    if isinstance(older_than, timedelta) and older_than >= timedelta(0):
        return datetime.now(timezone.utc) - older_than
    if isinstance(older_than, datetime) and older_than.tzinfo:
        return older_than
    why = f"older_than is {older_than!r}: give an age (timedelta), or a datetime with its time zone"
    raise InvalidDataError(f"cannot purge: {why}", operation="purge")
