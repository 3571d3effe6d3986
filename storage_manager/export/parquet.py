"""Export sessions as Parquet: the steps, an index without the large columns, the sessions, and a dataset card.

`datasets.load_dataset(url)` reads this layout without other arguments, also from the Hugging Face Hub.
"""

import logging
import os
import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from storage_manager.aio import Progress
from storage_manager.errors import translating
from storage_manager.export.card import Card
from storage_manager.export.rows import Row, Session, Unlisted, read_sessions, report_unlisted
from storage_manager.export.sessions import sessions_batch, sessions_schema
from storage_manager.export.table import arrow, schema, text_array, to_batch
from storage_manager.export.target import Target, target_url
from storage_manager.export.writing import BATCH_BYTES, check_options, write_export
from storage_manager.layout import ALL_COMPONENTS, Component, check_attachment_names, formats
from storage_manager.storage import StorageManager, check_storage

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["export_parquet"]

logger = logging.getLogger(__name__)

MAX_ROW_GROUP_BYTES = 2**30  # half of what Arrow's offsets of 32 bits can address
INDEX_ROW_GROUP_BYTES = 8 * 2**20
FILE_BYTES = 2**30  # before compression
SESSIONS_AT_ONCE = 1000  # rows of sessions in a batch; the metadata of each has up to a million characters


async def export_parquet(
    storage: StorageManager,
    url: str | os.PathLike[str],
    session_ids: Iterable[str] | None = None,
    *,
    components: Sequence[Component] = ALL_COMPONENTS,
    attachments: Sequence[str] = (),
    storage_options: Mapping[str, Any] | None = None,
    row_group_bytes: int = 64 * 2**20,
    progress: Progress | None = None,
) -> int:
    """Write the steps, an index, the sessions and a dataset card. The files appear when all are complete.

    `data/steps-*.parquet` has one row per step. `index/index.parquet` has the same rows without the large columns.
    `sessions/sessions.parquet` has one row per session. README.md is the dataset card: with it,
    `datasets.load_dataset(url)` loads the steps, with screenshots as images. docs/export.rst describes the columns.

    An earlier export at the same URL is replaced when all new files are complete. After a failure or a cancellation, it
    is unchanged. A component that exists but cannot be read is null, is named in the column `unreadable`, and is
    counted in a warning. A session that cannot be listed is left out, and is named in a warning. The memory that is
    needed depends on `row_group_bytes`, and not on the number of steps.

    Parameters:
        url: a directory only for this export, at any fsspec URL, outside the storage root.
        session_ids: the sessions to export, in this order; None for all.
        components: the components that get columns.
        attachments: the names of step attachments. Each gets a binary column with the name of the attachment.
        storage_options: options for the filesystem of `url`.
        row_group_bytes: the size at which a row group ends, before compression; 1 to 2**30.
        progress: called on the event loop with the number of steps written and None; at the end with that number twice.

    Returns:
        The number of rows.

    Raises:
        InvalidIdError, InvalidDataError: an argument is not allowed (raised before any I/O), or a named session has no
            steps. Nothing is replaced.
        TypeError: `storage` is not a StorageManager. Raised before any I/O.
        S3OperationError, S3ConfigError, LocalStorageError, StorageManagerError: steps cannot be read, the target
            cannot be written, or pyarrow is not installed.
    """
    check_storage(storage)
    with translating("export", storage.url_for()):
        directory = target_url(storage, url)
        check_options("row_group_bytes", row_group_bytes, MAX_ROW_GROUP_BYTES, progress)
        schema(components, attachments)  # refuses names that cannot be used, before any I/O
        names = check_attachment_names(attachments)
    with translating("export", directory):
        target = Target(directory, storage_options)
        sessions: deque[Session] = deque()
        sink = _Tables(target, storage.url_for(), components, names, row_group_bytes, sessions)
        unlisted: Unlisted = {}
        rows = read_sessions(storage, session_ids, components, unlisted, names, sessions)
        await write_export(rows, sink, target, batch_bytes=min(BATCH_BYTES, row_group_bytes), progress=progress)
    sink.report(directory)
    report_unlisted(unlisted, directory)
    return sink.rows


class _Tables:
    """The files of one export.

    Parameters:
        target: creates the files.
        root: the URL of the storage root.
        sessions: the sessions whose rows will be written. They are added while the steps are read.
    """

    name_pattern = re.compile(r"data/steps-\d{5,}\.parquet|index/index\.parquet|sessions/sessions\.parquet|README\.md")

    def __init__(
        self,
        target: Target,
        root: str,
        components: Sequence[Component],
        attachments: Sequence[str],
        row_group_bytes: int,
        sessions: "deque[Session]",
    ) -> None:
        self._target, self._root, self._found = target, root, sessions
        self._components, self._attachments = components, attachments
        self._row_group_bytes = row_group_bytes
        self.rows = self._unreadable = 0
        self._steps = [self._new_steps(0)]
        index = _index_schema(components, attachments)
        self._index = _ParquetFile(target, "index/index.parquet", index, INDEX_ROW_GROUP_BYTES)
        self._sessions = _ParquetFile(target, "sessions/sessions.parquet", sessions_schema(), INDEX_ROW_GROUP_BYTES)
        self._card = Card(components, attachments)

    def _new_steps(self, number: int) -> "_ParquetFile":
        name = f"data/steps-{number:05}.parquet"
        return _ParquetFile(self._target, name, schema(self._components, self._attachments), self._row_group_bytes)

    def add(self, rows: Sequence[Row]) -> None:
        """Write steps, their rows in the index, and the sessions that were found meanwhile."""
        if self._steps[-1].bytes >= FILE_BYTES:
            self._steps[-1].finish()
            self._steps.append(self._new_steps(len(self._steps)))
        batch = to_batch(rows, self._root, self._components, self._attachments)
        self._steps[-1].add(batch)
        self._index.add(_index_batch(batch, self._components, self._attachments, self._steps[-1].name))
        self.rows += len(rows)
        self._unreadable += sum(len(row.unreadable) for row in rows)
        self._add_sessions()

    def _add_sessions(self) -> None:
        while self._found:
            sessions = [self._found.popleft() for _ in range(min(len(self._found), SESSIONS_AT_ONCE))]
            batch = sessions_batch(sessions)
            self._sessions.add(batch)
            self._card.add(batch)
            self._unreadable += sum(session.is_unreadable for session in sessions)

    def finish(self) -> Sequence[str]:
        """Complete all files, the index last. Return their names."""
        self._add_sessions()
        self._steps[-1].finish()
        self._sessions.finish()
        self._index.finish({"rows": str(self.rows), "unreadable": str(self._unreadable)})
        with self._target.create("README.md") as file:
            file.write(self._card.text(self.rows).encode())
        return [*(file.name for file in (*self._steps, self._sessions)), "README.md", self._index.name]

    def close(self) -> None:
        """Close all open files."""
        with ExitStack() as stack:
            for file in (*self._steps, self._sessions, self._index):
                stack.callback(file.close)

    def report(self, url: str) -> None:
        """Warn if there are no steps, and if components could not be read."""
        if not self.rows:
            logger.warning("nothing was exported to %s: there are no steps", url)
        if self._unreadable:
            logger.warning("%d files could not be read; they are null in the export to %s", self._unreadable, url)


class _ParquetFile:
    """A Parquet file at a target, compressed with zstd. At most one row group of it is in memory.

    Parameters:
        target: creates the file when the first row group is written.
        name: the final name.
        columns: the schema.
        row_group_bytes: the smallest size of a row group, before compression. The last one can be smaller.
    """

    def __init__(self, target: Target, name: str, columns: "pa.Schema", row_group_bytes: int) -> None:
        self.name = name
        self.bytes = 0
        self._target = target
        self._columns = columns
        self._row_group_bytes = row_group_bytes
        self._rows: list[pa.RecordBatch] = []
        self._bytes_written = 0
        self._writer: Any = None
        self._open = ExitStack()

    def add(self, batch: "pa.RecordBatch") -> None:
        """Add rows, and write a row group if it is large enough."""
        self._rows.append(batch)
        self.bytes += batch.nbytes
        if self.bytes - self._bytes_written >= self._row_group_bytes:
            self._write_row_group()

    def finish(self, metadata: Mapping[str, str] | None = None) -> None:
        """Write the remaining rows and the key-value metadata, and close the file."""
        writer = self._write_row_group() if self._rows or self._writer is None else self._writer
        writer.add_key_value_metadata(dict(metadata or {}))
        self._open.close()

    def close(self) -> None:
        """Close the file without completing it."""
        self._open.close()

    def _write_row_group(self) -> Any:
        table = arrow().Table.from_batches(self._rows, self._columns)
        self._rows, self._bytes_written = [], self.bytes
        if self._writer is None:
            self._writer = self._create()
        self._writer.write_table(table)
        return self._writer

    def _create(self) -> Any:
        """Create the file. Only ids get dictionaries and statistics, because pages and screenshots rarely repeat."""
        file = self._target.create(self.name)
        self._open.callback(file.close)
        writer = arrow().parquet.ParquetWriter(
            file,
            self._columns,
            compression="zstd",
            use_dictionary=["session_id"],
            write_statistics=["session_id", "step_id"],
        )
        self._open.callback(writer.close)
        return writer


def _index_schema(components: Sequence[Component], attachments: Sequence[str]) -> "pa.Schema":
    """Return the columns of the index: the columns of the steps, with sizes in place of files, and the file name."""
    pa, columns = arrow(), schema(components, attachments)
    names = _contents(components, attachments)
    fields = [pa.field(f"{field.name}_bytes", pa.int64()) if field.name in names else field for field in columns]
    return pa.schema([*fields, pa.field("file", pa.string(), nullable=False)])


def _contents(components: Sequence[Component], attachments: Sequence[str]) -> list[str]:
    """Return the names of the columns that contain files."""
    return [*(spec.name for spec in formats(components)), *attachments]


def _index_batch(
    batch: "pa.RecordBatch", components: Sequence[Component], attachments: Sequence[str], file: str
) -> "pa.RecordBatch":
    """Return the rows of the index for rows in a file of steps."""
    pa, names = arrow(), _contents(components, attachments)
    columns = [
        pa.compute.binary_length(column).cast(pa.int64()) if name in names else column
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    fields = _index_schema(components, attachments)
    return pa.RecordBatch.from_arrays([*columns, text_array([file] * len(batch))], schema=fields)
