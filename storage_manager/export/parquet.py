"""Sessions as Parquet: `steps-*.parquet` with all columns, and `index.parquet` without the large ones."""

import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from storage_manager.aio import Progress
from storage_manager.errors import InvalidDataError, translating
from storage_manager.export.parquet_file import ParquetFile, index_batch, index_schema
from storage_manager.export.rows import Row, read_rows
from storage_manager.export.table import schema, to_batch
from storage_manager.export.target import Target, target_url
from storage_manager.export.writing import BATCH_BYTES, run
from storage_manager.layout import ALL_COMPONENTS, Component
from storage_manager.storage import StorageManager

__all__ = ["export_parquet"]

logger = logging.getLogger(__name__)

MAX_ROW_GROUP_BYTES = 2**30  # half of what Arrow's offsets of 32 bits reach
INDEX_ROW_GROUP_BYTES = 8 * 2**20
FILE_BYTES = 2**30  # before compression


async def export_parquet(
    storage: StorageManager,
    url: str | os.PathLike[str],
    session_ids: Iterable[str] | None = None,
    *,
    components: Sequence[Component] = ALL_COMPONENTS,
    storage_options: Mapping[str, Any] | None = None,
    row_group_bytes: int = 64 * 2**20,
    progress: Progress | None = None,
) -> int:
    """Write one row a step to `steps-*.parquet` and `index.parquet`, which appear when all of it is complete.

    An earlier export in the same place is replaced then, and left as it is by a failure or a cancellation. What is
    there and cannot be read is null, named in the column `unreadable`, and counted in a warning. The columns are in
    docs/export.rst. Memory is bounded by `row_group_bytes` and a few steps, however many there are.

    Parameters:
        url: a directory for this export alone, at any fsspec URL; outside of the storage's own root.
        session_ids: which sessions, in this order; None: all.
        components: which have columns.
        storage_options: for the filesystem of `url`.
        row_group_bytes: how large a row group gets before compression; 1 to 2**30.
        progress: called on the event loop with the steps that are written, and None; at the end with them twice.

    Returns:
        The number of rows.

    Raises:
        InvalidIdError, InvalidDataError: refused before any I/O; or a session that was named has no steps: nothing
            is replaced.
        S3OperationError, S3ConfigError, LocalStorageError, StorageManagerError: steps cannot be read, or the
            target not be written; pyarrow is not installed.
    """
    with translating("export", storage.url_for()):
        place = target_url(storage, url)
        if not 1 <= row_group_bytes <= MAX_ROW_GROUP_BYTES:
            raise InvalidDataError(f"row_group_bytes must be 1 to {MAX_ROW_GROUP_BYTES}, not {row_group_bytes}")
        schema(components)
    with translating("export", place):
        target = Target(place, storage_options)
        sink = _Tables(target, storage.url_for(), components, row_group_bytes)
        batch_bytes = min(BATCH_BYTES, row_group_bytes)
        await run(read_rows(storage, session_ids, components), sink, target, batch_bytes=batch_bytes, progress=progress)
    if not sink.rows:
        logger.warning("no steps are exported to %s: there are none", place)
    if sink.unreadable:
        logger.warning("%d components cannot be read, and are null in the export to %s", sink.unreadable, place)
    return sink.rows


class _Tables:
    """The files of one export."""

    names = re.compile(r"index\.parquet|steps-\d{5,}\.parquet")

    def __init__(self, target: Target, root: str, components: Sequence[Component], row_group_bytes: int) -> None:
        self._target = target
        self._root = root
        self._components = components
        self._row_group_bytes = row_group_bytes
        self._index = ParquetFile(target, "index.parquet", index_schema(components), INDEX_ROW_GROUP_BYTES)
        self._steps = [self._new_steps(0)]
        self.rows = 0
        self.unreadable = 0

    def _new_steps(self, number: int) -> ParquetFile:
        name = f"steps-{number:05}.parquet"
        return ParquetFile(self._target, name, schema(self._components), self._row_group_bytes)

    def add(self, rows: Sequence[Row]) -> None:
        """Write steps, and where each of them is found."""
        if self._steps[-1].bytes >= FILE_BYTES:
            self._steps[-1].finish()
            self._steps.append(self._new_steps(len(self._steps)))
        batch = to_batch(rows, self._root, self._components)
        self._steps[-1].add(batch)
        self._index.add(index_batch(batch, self._components, self._steps[-1].name))
        self.rows += len(rows)
        self.unreadable += sum(len(row.unreadable) for row in rows)

    def finish(self) -> Sequence[str]:
        """Complete all files; the index is the last."""
        self._steps[-1].finish()
        self._index.finish({"rows": str(self.rows), "unreadable": str(self.unreadable)})
        return [file.name for file in (*self._steps, self._index)]

    def close(self) -> None:
        """Close what is open."""
        with ExitStack() as stack:
            for file in (*self._steps, self._index):
                stack.callback(file.close)
