"""The steps that are exported, each with what is there and cannot be read: null, and counted, never dropped."""

from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Sequence
from contextlib import aclosing
from typing import NamedTuple

from storage_manager.aio import map_ahead
from storage_manager.errors import InvalidDataError, StorageManagerError
from storage_manager.layout import Component, Step, StepData, formats
from storage_manager.storage import StorageManager

__all__ = ["Row", "read_each", "read_row", "read_rows"]

CONCURRENCY = 16  # steps that are read at a time


class Row(NamedTuple):
    """One step, and the names of its components that are there but cannot be read; those are None in its data."""

    session_id: str
    step_id: str
    data: StepData
    unreadable: tuple[Component, ...] = ()


async def read_row(storage: StorageManager, session_id: str, step_id: str, components: Sequence[Component]) -> Row:
    """Read one step, and tell what is missing from what is unreadable.

    Raises:
        S3OperationError, S3ConfigError, LocalStorageError: every component failed for another reason than being
            missing: no bucket, no access, no connection.
    """
    ids = session_id, step_id
    names: list[Component] = [row.name for row in formats(components)]
    try:
        return Row(*ids, await storage.retrieve_step_data(*ids, components=components, strict=True))
    except StorageManagerError:
        # all of the step: where nothing of it can be read, it is the place that fails
        data = await storage.retrieve_step_data(*ids)
    values = {name: getattr(data, name) for name in names}
    absent: list[Component] = [name for name in names if values[name] is None]
    unreadable: list[Component] = [name for name in absent if await _is_unreadable(storage, *ids, name)]
    return Row(*ids, StepData(**values), tuple(unreadable))


async def _is_unreadable(storage: StorageManager, session_id: str, step_id: str, name: Component) -> bool:
    try:
        await storage.retrieve_step_data(session_id, step_id, components=[name], strict=True)
    except StorageManagerError:
        return True
    return False


async def read_each(
    storage: StorageManager, steps: Iterable[Step] | AsyncIterable[Step], components: Sequence[Component]
) -> AsyncGenerator[Row, None]:
    """These steps in their order, whose own data is not looked at; read ahead, no more than 16 in memory.

    Raises:
        S3OperationError, S3ConfigError, LocalStorageError: as read_row, or as the steps themselves.
    """

    async def read(step: Step) -> Row:
        return await read_row(storage, step.session_id, step.step_id, components)

    async with aclosing(map_ahead(read, steps, CONCURRENCY)) as rows:
        async for row in rows:
            yield row


async def read_rows(
    storage: StorageManager, session_ids: Iterable[str] | None, components: Sequence[Component]
) -> AsyncGenerator[Row, None]:
    """The steps of these sessions, or of all, in the order of `iter_steps`; as read_each.

    Raises:
        InvalidIdError, InvalidDataError: refused before any I/O; or, at the end, a session that was named has no steps.
        S3OperationError, S3ConfigError, LocalStorageError: a session cannot be listed, or as read_row.
    """
    named = session_ids if session_ids is None or isinstance(session_ids, str) else list(session_ids)
    missing = set(named or ())
    async with aclosing(read_each(storage, storage.iter_steps(named, components=()), components)) as rows:
        async for row in rows:
            missing.discard(row.session_id)
            yield row
    if missing:
        what = f"no steps are in {', '.join(sorted(missing)[:10])}, of {len(missing)} such sessions that are named"
        raise InvalidDataError(f"{what}: nothing is exported", operation="export")
