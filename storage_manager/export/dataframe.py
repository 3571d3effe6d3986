"""Read steps as a lazy Dask DataFrame, for data that is too large for one machine.

Each worker reads its steps directly from the storage.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from fsspec.asyn import get_loop, sync

from storage_manager.errors import needing
from storage_manager.export.parts import Part, manager_options, read_part
from storage_manager.export.table import arrow, schema, to_batch
from storage_manager.export.writing import check_options
from storage_manager.layout import Component
from storage_manager.storage import StorageManager, check_storage

if TYPE_CHECKING:
    import dask.dataframe
    import pandas as pd
    import pyarrow as pa

__all__ = ["read_dask"]


def read_dask(
    storage: StorageManager,
    session_ids: Iterable[str] | None = None,
    *,
    components: Sequence[Component] = ("action", "metadata"),
    steps_per_partition: int = 1000,
) -> "dask.dataframe.DataFrame":
    """Return a lazy Dask DataFrame with the columns of an export. The workers of a cluster read the steps themselves.

    The sessions are listed immediately. The steps are read when a partition is computed. For this, the worker creates a
    manager of the same root, with the same `max_file_bytes`. The graph contains no secret: workers find credentials as
    botocore does. The variable SM_S3_ENGINE of the worker selects the engine. A component that cannot be read is null,
    and is named in the column `unreadable`. A step that was deleted in the meantime is a row of nulls. A session that
    cannot be listed is left out with a warning.

    Parameters:
        session_ids: the sessions to read, in this order; None for all.
        components: the components to read. The others have no columns.
        steps_per_partition: the number of rows. While a worker reads a partition, it needs memory for twice their size.

    Raises:
        InvalidIdError, InvalidDataError: an argument is not allowed. Raised before any I/O.
        TypeError: `storage` is not a StorageManager. Raised before any I/O.
        S3OperationError, S3ConfigError, LocalStorageError: the storage cannot be listed; or, when a partition is
            computed, no component of a step can be read.
        StorageManagerError: dask or pyarrow is not installed; or, when a partition is computed, the worker finds none
            of its sessions.
    """
    check_storage(storage)
    check_options("steps_per_partition", steps_per_partition)
    from_map, empty = _from_map(), schema(components).empty_table()
    parts = sync(get_loop(), _parts, storage, session_ids, steps_per_partition)
    given = {"components": tuple(components), "root": storage.url_for(), "options": manager_options(storage)}
    frame: dask.dataframe.DataFrame = from_map(_read_part, parts or [[]], **given, meta=_frame(empty))
    return frame


def _from_map() -> Any:
    with needing("dask.dataframe", "dask", "export"):
        from dask.dataframe import from_map
    return from_map


async def _parts(storage: StorageManager, session_ids: Iterable[str] | None, size: int) -> list[Part]:
    """List all steps, and divide them into parts of `size` steps.

    This runs on fsspec's event loop. The backend that it opens there is closed at the end.
    """
    async with storage:
        steps = iter([step async for step in storage.iter_steps(session_ids, components=())])
    chunks = iter(lambda: list(islice(steps, size)), [])  # until a chunk is empty
    return [
        [(name, [step.step_id for step in group]) for name, group in groupby(chunk, attrgetter("session_id"))]
        for chunk in chunks
    ]


def _read_part(part: Part, root: str, options: Mapping[str, Any], components: Sequence[Component]) -> "pd.DataFrame":
    rows, _ = sync(get_loop(), read_part, part, root, options, components)
    return _frame(arrow().Table.from_batches([to_batch(rows, root, components)]))


def _frame(table: "pa.Table") -> "pd.DataFrame":
    """Return a DataFrame with Arrow types. Dask would convert a column of objects to text, even screenshots."""
    import pandas as pd

    text = {arrow().string(): pd.StringDtype("pyarrow")}
    frame: pd.DataFrame = table.to_pandas(types_mapper=lambda kind: text.get(kind, pd.ArrowDtype(kind)))
    return frame
