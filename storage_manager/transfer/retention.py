"""Delete sessions that are older than a limit."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta, timezone

from storage_manager.aio import Progress, map_ahead, run_to_end
from storage_manager.arguments import check_callable
from storage_manager.errors import InvalidDataError, StorageManagerError, first_of, translating
from storage_manager.inventory import is_our_file, list_files
from storage_manager.storage import StorageManager, check_storage

__all__ = ["PurgedSession", "purge_sessions", "purging"]

_FIRST = datetime.min.replace(tzinfo=timezone.utc)


class PurgedSession(str):
    """The id of a session that was deleted or, with dry_run, would be deleted.

    Attributes:
        size: the size of all its files, in bytes.
        modified: when its newest file was written (UTC).
    """

    size: int
    modified: datetime

    def __new__(cls, session_id: str, size: int, modified: datetime) -> "PurgedSession":
        """Return the id with these attributes."""
        self = super().__new__(cls, session_id)
        self.size, self.modified = size, modified
        return self


# A session that is old or was deleted; None if it is kept; a cancellation that came meanwhile; or the error.
_Outcome = PurgedSession | asyncio.CancelledError | StorageManagerError | None


async def purge_sessions(
    storage: StorageManager, older_than: datetime | timedelta, *, dry_run: bool = True
) -> list[str]:
    """Delete the sessions whose files are all older than a limit. With `dry_run`, the default, only return their ids.

    Each session is checked again just before it is deleted. It is kept if someone has written to it meanwhile. A
    directory is kept if it has no component, no session metadata and no attachment of the session itself: other files
    (`backups/2019/db.tar`) may belong to somebody else. A session is also kept if the backend does not report when each
    of its files was last written. Files that operating systems create are ignored.

    If a session cannot be listed or deleted, the others are still deleted. The failure is reported at the end.

    Parameters:
        older_than: a datetime with a time zone, or an age (a timedelta).
        dry_run: False to delete.

    Returns:
        The ids of the sessions that were deleted or, with dry_run, would be deleted. Each id is a PurgedSession.

    Raises:
        InvalidDataError: the datetime has no time zone, or the age is negative. Raised before any I/O.
        TypeError: `storage` is not a StorageManager. Raised before any I/O.
        S3OperationError, S3ConfigError, LocalStorageError: the root cannot be listed; or sessions could not be listed
            or deleted. The message then says how many, which, and why, and the error has the class of the first
            failure. The other sessions are deleted.
    """
    return [session_id async for session_id in purging(storage, older_than, dry_run=dry_run)]


async def purging(
    storage: StorageManager,
    older_than: datetime | timedelta,
    *,
    dry_run: bool = True,
    progress: Progress | None = None,
) -> AsyncGenerator[PurgedSession, None]:
    """Do the same as purge_sessions, and yield each id as soon as the session is deleted or, with dry_run, found.

    Parameters:
        progress: called on the event loop with the number of sessions checked so far, and None.

    Raises:
        As purge_sessions.
        TypeError: progress is not a function.
    """
    check_storage(storage)
    check_callable(progress, "progress", "two numbers")
    limit, checked, failed = _moment(older_than), 0, list[StorageManagerError]()

    async def find_old(session_id: str) -> _Outcome:
        return await _tried(_find_older(storage, session_id, limit))

    with translating("purge", storage.url_for()):
        async with aclosing(map_ahead(find_old, storage.iter_sessions(), 16)) as sessions:
            async for found in sessions:
                outcome = found
                if isinstance(found, PurgedSession) and not dry_run:
                    outcome = await _tried(_delete_if_older(storage, found, limit))
                if isinstance(outcome, StorageManagerError):
                    failed.append(outcome)
                elif outcome and isinstance(found, PurgedSession):
                    yield found
                if isinstance(outcome, asyncio.CancelledError):
                    raise outcome
                checked += 1
                if progress:
                    progress(checked, None)
        if failed:
            raise _failure(failed, checked) from failed[0]


async def _tried(work: Awaitable[PurgedSession | asyncio.CancelledError | None]) -> _Outcome:
    """Return the result of an operation, or its error."""
    try:
        return await work
    except StorageManagerError as error:
        return error


def _failure(failed: Sequence[StorageManagerError], checked: int) -> StorageManagerError:
    first, urls = failed[0], first_of([str(error.url) for error in failed])
    summary = f"not purged: {len(failed)} of {checked} sessions ({urls})"
    return type(first)(f"{summary}. The other sessions were checked. {first}", operation="purge", url=first.url)


async def _delete_if_older(
    storage: StorageManager, session_id: str, limit: datetime
) -> PurgedSession | asyncio.CancelledError | None:
    """Delete a session if it is still old. Return the session, a cancellation that came meanwhile, or None."""
    found = await _find_older(storage, session_id, limit)
    if found is None:
        return None
    cancellation = await _delete(storage, session_id)
    return cancellation or found


async def _find_older(storage: StorageManager, session_id: str, limit: datetime) -> PurgedSession | None:
    """Return a session if all its files are older than the limit; None otherwise, or if it is not a session."""
    files = [found async for found in list_files(storage, session_id)]
    is_session = any(is_our_file(found.name) for found in files)
    times = [found.modified for found in files if found.modified and found.modified < limit]
    is_old = is_session and len(times) == len(files)
    return PurgedSession(session_id, sum(found.size for found in files), max(times)) if is_old else None


async def _delete(storage: StorageManager, session_id: str) -> asyncio.CancelledError | None:
    """Delete a session. If the caller is cancelled meanwhile and the deletion succeeds, return the cancellation.

    The caller can then report the deletion before it raises the cancellation.
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
        now = datetime.now(timezone.utc)
        return now - min(older_than, now - _FIRST)  # there is no time before the year 1
    if isinstance(older_than, datetime) and older_than.tzinfo:
        return older_than
    why = f"older_than is {older_than!r}: give an age (timedelta), or a datetime with its time zone"
    raise InvalidDataError(f"cannot purge: {why}", operation="purge")
