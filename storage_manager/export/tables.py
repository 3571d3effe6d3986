"""The files of an export to Parquet: the steps, an index without the large columns, the sessions, and a dataset card.

`datasets.load_dataset(url)` reads this layout without other arguments, also from the Hugging Face Hub.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from storage_manager.export.card import Card
from storage_manager.export.rows import Session
from storage_manager.export.sessions import sessions_batch, sessions_schema
from storage_manager.export.table import arrow, schema, text_array
from storage_manager.export.target import Target
from storage_manager.layout import Component, formats

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["NAMES", "ROW_GROUP_BYTES", "ParquetFile", "Summary", "index_batch", "new_steps"]

logger = logging.getLogger(__name__)

NAMES = re.compile(r"data/steps-\d{5,}\.parquet|index/index\.parquet|sessions/sessions\.parquet|README\.md")
ROW_GROUP_BYTES = 64 * 2**20
INDEX_ROW_GROUP_BYTES = 8 * 2**20
SESSIONS_AT_ONCE = 1000  # rows of sessions in a batch; the metadata of each has up to a million characters


class Summary:
    """The index, the sessions and the card of one export.

    Parameters:
        target: creates the files.
        components, attachments: those that are exported.

    Attributes:
        rows: the number of steps.
    """

    def __init__(self, target: Target, components: Sequence[Component], attachments: Sequence[str]) -> None:
        self._target = target
        self.rows = self._unreadable = 0
        index = _index_schema(components, attachments)
        self._index = ParquetFile(target, "index/index.parquet", index, INDEX_ROW_GROUP_BYTES)
        self._sessions = ParquetFile(target, "sessions/sessions.parquet", sessions_schema(), INDEX_ROW_GROUP_BYTES)
        self._card = Card(components, attachments)

    def add_steps(self, index: "pa.RecordBatch") -> None:
        """Add rows of the index."""
        self._index.add(index)
        self.rows += len(index)

    def add_unreadable(self, count: int) -> None:
        """Add a number of files of steps that could not be read."""
        self._unreadable += count

    def add_sessions(self, sessions: Sequence[Session]) -> None:
        """Add sessions, in their order. Each is given once."""
        for at in range(0, len(sessions), SESSIONS_AT_ONCE):
            batch = sessions_batch(sessions[at : at + SESSIONS_AT_ONCE])
            self._sessions.add(batch)
            self._card.add(batch)
        self._unreadable += sum(session.is_unreadable for session in sessions)

    def finish(self) -> list[str]:
        """Complete the files. Return their names, the index last."""
        self._sessions.finish()
        self._index.finish({"rows": str(self.rows), "unreadable": str(self._unreadable)})
        with self._target.create("README.md") as file:
            file.write(self._card.text(self.rows).encode())
        return [self._sessions.name, "README.md", self._index.name]

    def close(self) -> None:
        """Close all open files."""
        with ExitStack() as stack:
            for file in (self._sessions, self._index):
                stack.callback(file.close)

    def report(self, url: str) -> None:
        """Warn if there are no steps, and if files could not be read."""
        if not self.rows:
            logger.warning("nothing was exported to %s: there are no steps", url)
        if self._unreadable:
            files, are = ("file", "it is") if self._unreadable == 1 else ("files", "they are")
            message = "%d %s could not be read; %s null in the export to %s"
            logger.warning(message, self._unreadable, files, are, url)


class ParquetFile:
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


def new_steps(
    target: Target, number: int, components: Sequence[Component], attachments: Sequence[str], row_group_bytes: int
) -> ParquetFile:
    """Return a file for steps.

    Parameters:
        number: of the file in the export; 0 for the first file.
    """
    return ParquetFile(target, f"data/steps-{number:05}.parquet", schema(components, attachments), row_group_bytes)


def _index_schema(components: Sequence[Component], attachments: Sequence[str]) -> "pa.Schema":
    """Return the columns of the index: the columns of the steps, with sizes in place of files, and the file name."""
    pa, columns = arrow(), schema(components, attachments)
    names = _contents(components, attachments)
    fields = [pa.field(f"{field.name}_bytes", pa.int64()) if field.name in names else field for field in columns]
    return pa.schema([*fields, pa.field("file", pa.string(), nullable=False)])


def _contents(components: Sequence[Component], attachments: Sequence[str]) -> list[str]:
    """Return the names of the columns that contain files."""
    return [*(spec.name for spec in formats(components)), *attachments]


def index_batch(
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
