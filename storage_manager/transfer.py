"""Sessions from one place to another, as often as it takes, and out of a place that has kept them long enough."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from datetime import datetime, timedelta, timezone

from storage_manager.aio import Progress, map_ahead, run_to_end
from storage_manager.copying import Copying
from storage_manager.errors import InvalidDataError, translating
from storage_manager.inventory import count_steps, list_files
from storage_manager.layout import check_ids, is_component
from storage_manager.overlap import lies_within
from storage_manager.storage import StorageManager

__all__ = ["copy_sessions", "purge_sessions", "purging"]


async def copy_sessions(
    source: StorageManager,
    target: StorageManager,
    session_ids: Iterable[str] | None = None,
    *,
    concurrency: int = 16,
    progress: Progress | None = None,
) -> int:
    """Copy sessions between any two places, byte for byte; run again, it goes on where it was, and sends nothing twice.

    A component that the target has with the same bytes is skipped: known by size and ETag where both places tell them,
    else by reading. What only the target has stays there, and nothing at the source changes. A step that cannot be
    copied does not stop the others, and is reported when they are done; it ends sooner where the first 16 steps all
    fail, and not for what is in them. The manifest of a sealed session goes last, when all its steps are there. Where
    the target redacts, what it would store is compared and written, and no manifest: seal the session there. Other
    files stay behind.

    Parameters:
        session_ids: which sessions, in this order; None: all.
        concurrency: how many steps are read, compared and written at a time.
        progress: called on the event loop with the steps that are done, and their number, which is listed beforehand.

    Returns:
        The number of steps of which something was written.

    Raises:
        InvalidIdError, InvalidDataError: refused before any I/O: an id is not allowed, or the target is the source, or
            lies among its sessions; or, after the others are copied, a session that is named is not there.
        StorageManagerError: of the first failure's class: how many steps were not copied, which, and why.
        ValueError: a concurrency below 1.
    """
    check_ids(session_ids, "copy")
    if concurrency < 1:
        raise ValueError(f"concurrency must be at least 1, not {concurrency}")
    given = None if session_ids is None else list(session_ids)
    with translating("copy", source.url_for()):
        for session_id in given or ():
            source.url_for(session_id)
        named = None if given is None else list(dict.fromkeys(given))
        _refuse_within(source, target)
        copying = Copying(source, target, named)
        return await _run(copying, concurrency, progress, await count_steps(source, named) if progress else None)


def _refuse_within(source: StorageManager, target: StorageManager) -> None:
    here, there = source.url_for(), target.url_for()
    endpoints = {storage.storage_options.get("endpoint_url") for storage in (source, target)}
    if len(endpoints) == 1 and lies_within(there, here):
        same = lies_within(here, there)
        why = "source and target are the same place" if same else f"{there} lies among the sessions of"
        raise InvalidDataError(f"{why} {here}: choose another target", operation="copy")


async def _run(copying: Copying, concurrency: int, progress: Progress | None, total: int | None) -> int:
    async with aclosing(map_ahead(copying.attempt, copying.tasks(), concurrency)) as attempts:
        async for task, outcome in attempts:
            await copying.settle(task, outcome)
            if progress and task.step_id:
                progress(copying.done, total)
            if copying.is_hopeless:
                break
    return copying.result()


async def purge_sessions(
    storage: StorageManager, older_than: datetime | timedelta, *, dry_run: bool = True
) -> list[str]:
    """Delete the sessions of which no file was written since then; with `dry_run`, the default, only name them.

    Each is looked at once more before it is deleted: one that is written to meanwhile stays. So does a directory that
    holds no component, which is nobody's session, and a session of which the backend does not tell all times.

    Parameters:
        older_than: a datetime with its time zone, or an age.
        dry_run: False to delete.

    Returns:
        The ids of the sessions that would be deleted, or are.

    Raises:
        InvalidDataError: a datetime without its time zone, or a negative age; refused before any I/O.
        S3OperationError, S3ConfigError, LocalStorageError: the place cannot be listed, or one could not be deleted:
            those before it are; run it again to go on.
    """
    return [session_id async for session_id in purging(storage, older_than, dry_run=dry_run)]


async def purging(
    storage: StorageManager,
    older_than: datetime | timedelta,
    *,
    dry_run: bool = True,
    progress: Progress | None = None,
) -> AsyncGenerator[str, None]:
    """What purge_sessions does, one session after another: each id as it is found, or when it is deleted.

    Parameters:
        progress: called on the event loop with the sessions that were looked at, and None.
    """
    until, looked = _moment(older_than), 0

    async def is_old(session_id: str) -> tuple[str, bool]:
        files = [found async for found in list_files(storage, session_id)]
        is_session = any(is_component(found.name) for found in files)
        return session_id, is_session and all(found.modified and found.modified < until for found in files)

    with translating("purge", storage.url_for()):
        async with aclosing(map_ahead(is_old, storage.iter_sessions(), 16)) as sessions:
            async for session_id, is_one in sessions:
                if is_one and dry_run:
                    yield session_id
                elif is_one and (await is_old(session_id))[1]:
                    deletion = asyncio.ensure_future(storage.delete_session(session_id))
                    try:
                        await run_to_end(deletion)
                    except asyncio.CancelledError:  # it has come to its end all the same: first tell of it
                        if not deletion.cancelled() and not deletion.exception():
                            yield session_id
                        raise
                    yield session_id
                looked += 1
                if progress:
                    progress(looked, None)


def _moment(older_than: datetime | timedelta) -> datetime:
    if isinstance(older_than, timedelta) and older_than >= timedelta(0):
        return datetime.now(timezone.utc) - older_than
    if isinstance(older_than, datetime) and older_than.tzinfo:
        return older_than
    why = f"older_than is {older_than!r}: give an age (timedelta), or a datetime with its time zone"
    raise InvalidDataError(why, operation="purge")
