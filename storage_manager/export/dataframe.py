"""Steps as a lazy Dask DataFrame, whose workers read them from the place itself: for what outgrows one machine."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from fsspec.asyn import get_loop, sync

from storage_manager.errors import InvalidDataError, StorageManagerError, needing
from storage_manager.export.rows import Row, read_each
from storage_manager.export.table import arrow, schema, to_batch
from storage_manager.layout import Component, Step, StepData
from storage_manager.storage import StorageManager

if TYPE_CHECKING:
    import dask.dataframe
    import pandas as pd
    import pyarrow as pa

__all__ = ["read_dask"]

Part = list[tuple[str, list[str]]]  # sessions, each with those of its steps that are in one partition


def read_dask(
    storage: StorageManager,
    session_ids: Iterable[str] | None = None,
    *,
    components: Sequence[Component] = ("action", "metadata"),
    steps_per_partition: int = 1000,
) -> "dask.dataframe.DataFrame":
    """The export's columns as a lazy Dask DataFrame: workers read the steps themselves, on any cluster.

    The sessions are listed now, and their steps are read when a partition is computed, each partition by a manager
    of its worker's own, `StorageManager.from_url(root, storage_options=storage.storage_options)`. No secret is in
    the graph: workers find credentials as botocore does, and their own SM_S3_ENGINE says through which engine.
    What cannot be read is null, and named in the column `unreadable`; a step that was deleted meanwhile is a row of
    nulls.

    Parameters:
        session_ids: which sessions, in this order; None: all.
        components: which to read; the others have no columns.
        steps_per_partition: rows; a worker holds twice their bytes while it reads a partition.

    Raises:
        InvalidIdError, InvalidDataError: refused before any I/O.
        S3OperationError, S3ConfigError, LocalStorageError: the place cannot be listed now; or, when a partition is
            computed, no component of a step can be read.
        StorageManagerError: dask or pyarrow is not installed; or, when a partition is computed, the worker finds
            none of its sessions.
    """
    if steps_per_partition < 1:
        raise InvalidDataError(f"steps_per_partition must be at least 1, not {steps_per_partition}", operation="export")
    from_map, empty = _from_map(), schema(components).empty_table()
    parts = sync(get_loop(), _parts, storage, session_ids, steps_per_partition)
    given = {"components": tuple(components), "root": storage.url_for(), "options": storage.storage_options}
    frame: dask.dataframe.DataFrame = from_map(_read_part, parts or [[]], **given, meta=_frame(empty))
    return frame


def _from_map() -> Any:
    with needing("dask.dataframe", "dask", "export"):
        from dask.dataframe import from_map
    return from_map


async def _parts(storage: StorageManager, session_ids: Iterable[str] | None, size: int) -> list[Part]:
    """All steps, so many in each part; this loop is fsspec's, so what it has open is closed again."""
    async with storage:
        steps = iter([step async for step in storage.iter_steps(session_ids, components=())])
    chunks = iter(lambda: list(islice(steps, size)), [])
    return [
        [(name, [step.step_id for step in group]) for name, group in groupby(chunk, attrgetter("session_id"))]
        for chunk in chunks
    ]


def _read_part(part: Part, root: str, options: Mapping[str, Any], components: Sequence[Component]) -> "pd.DataFrame":
    rows = sync(get_loop(), _read, part, root, options, components)
    return _frame(arrow().Table.from_batches([to_batch(rows, root, components)]))


async def _read(part: Part, root: str, options: Mapping[str, Any], components: Sequence[Component]) -> list[Row]:
    steps = [Step(session_id, step_id, StepData()) for session_id, step_ids in part for step_id in step_ids]
    async with StorageManager.from_url(root, storage_options=options) as storage:
        rows = [row async for row in read_each(storage, steps, components)]
        if rows and not any(row.unreadable or row.data != StepData() for row in rows):
            await _require_one(storage, part)
    return rows


async def _require_one(storage: StorageManager, part: Part) -> None:
    """Tell steps without these components from a disk that the worker does not share."""
    for session_id, _ in part:
        if await storage.list_steps_for_session(session_id):
            return
    why = f"none of {len(part)} sessions is at {storage.url_for()}: they were deleted, or this worker has another disk"
    raise StorageManagerError(f"cannot retrieve a partition: {why}", operation="retrieve", url=storage.url_for())


def _frame(table: "pa.Table") -> "pd.DataFrame":
    """A frame of Arrow's own types: dask would make text of a column of objects, also of a screenshot."""
    import pandas as pd

    text = {arrow().string(): pd.StringDtype("pyarrow")}
    frame: pd.DataFrame = table.to_pandas(types_mapper=lambda kind: text.get(kind, pd.ArrowDtype(kind)))
    return frame
