"""Divide the steps of a root into parts, which the workers of a Dask cluster read."""

from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from storage_manager.errors import StorageManagerError
from storage_manager.export.rows import Row, Session, read_metadata, read_steps
from storage_manager.layout import Component, StepData
from storage_manager.storage import StorageManager

__all__ = ["Part", "divide", "manager_options", "read_part"]

Part = list[tuple[str, list[str]]]  # the sessions of a part, each with the ids of its steps that are in it


def divide(listings: Iterable[tuple[str, list[str]]], size: int) -> list[Part]:
    """Divide sessions into parts of `size` steps. A session may be in several parts that follow each other.

    Parameters:
        listings: the id of each session, with the ids of its steps.

    Returns:
        At least one part. The last one may have fewer steps.
    """
    parts: list[Part] = [[]]
    room = size
    for session_id, step_ids in listings:
        at = 0
        while at < len(step_ids) or not at:
            if not room and step_ids:
                parts.append([])
                room = size
            taken = step_ids[at : at + room]
            parts[-1].append((session_id, taken))
            room -= len(taken)
            at += len(taken) or 1  # a session without steps is in one part, too
    return parts


def manager_options(storage: StorageManager) -> dict[str, Any]:
    """Return the keywords with which a worker creates such a manager. They contain no secret."""
    return {"storage_options": storage.storage_options, "max_file_bytes": storage.max_file_bytes}


async def read_part(
    part: Part,
    root: str,
    options: Mapping[str, Any],
    components: Sequence[Component],
    attachments: Sequence[str] = (),
) -> tuple[list[Row], list[Session]]:
    """Read the steps of a part, and the metadata of its sessions, with a manager of this process.

    Parameters:
        root, options: the URL of the storage root, and the result of manager_options.

    Raises:
        S3OperationError, S3ConfigError, LocalStorageError: no component of a step can be read.
        StorageManagerError: none of the sessions exists.
    """
    found: list[Session] = []
    async with StorageManager.from_url(root, **options) as storage:
        async with aclosing(read_metadata(storage, part)) as sessions, aclosing(_noted(sessions, found)) as noted:
            rows = [row async for row in read_steps(storage, noted, components, attachments)]
        if rows and not any(row.unreadable or row.attachments or row.data != StepData() for row in rows):
            await _require_one_session(storage, part)
    return rows, found


async def _noted(sessions: AsyncIterable[Session], found: list[Session]) -> AsyncGenerator[Session, None]:
    """Yield the sessions, and add them to `found`."""
    async for session in sessions:
        found.append(session)
        yield session


async def _require_one_session(storage: StorageManager, part: Part) -> None:
    """Raise an error if none of the sessions exists. The worker then probably has another disk.

    Without this check, its steps would be rows of nulls, like steps that lack these components.
    """
    for session_id, _ in part:
        if await storage.list_steps_for_session(session_id):
            return
    root = storage.url_for()
    why = f"none of its {len(part)} sessions exists at {root}: they were deleted, or this worker has another disk"
    raise StorageManagerError(f"cannot retrieve a partition: {why}", operation="retrieve", url=root)
