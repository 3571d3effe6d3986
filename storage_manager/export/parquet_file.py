"""One Parquet file that is written row group by row group, and the columns of the index."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from storage_manager.export.table import arrow, schema, text_array
from storage_manager.export.target import Target
from storage_manager.layout import Component, formats

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ParquetFile", "index_batch", "index_schema"]


class ParquetFile:
    """A Parquet file at a target, compressed with zstd; no more than a row group of it is in memory.

    Parameters:
        target: where it is created, with the first row group.
        name: its final name.
        columns: its schema.
        row_group_bytes: what a row group has at least, before compression; the last one may have less.
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
        """Write rows."""
        self._rows.append(batch)
        self.bytes += batch.nbytes
        if self.bytes - self._bytes_written >= self._row_group_bytes:
            self._write_row_group()

    def finish(self, metadata: Mapping[str, str] | None = None) -> None:
        """Write what is left, and key-value metadata, and close the file."""
        writer = self._write_row_group() if self._rows or self._writer is None else self._writer
        writer.add_key_value_metadata(dict(metadata or {}))
        self._open.close()

    def close(self) -> None:
        """Close the file as it is."""
        self._open.close()

    def _write_row_group(self) -> Any:
        table = arrow().Table.from_batches(self._rows, self._columns)
        self._rows, self._bytes_written = [], self.bytes
        if self._writer is None:
            self._writer = self._begin()
        self._writer.write_table(table)
        return self._writer

    def _begin(self) -> Any:
        """Dictionaries and statistics are for the ids alone: pages and screenshots hardly ever come twice."""
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


def index_schema(components: Sequence[Component]) -> "pa.Schema":
    """The columns of the index: those of the steps, with the size of each component in its place, and the file."""
    pa = arrow()
    names: list[Component] = [row.name for row in formats(components)]
    fields = [pa.field(f"{field.name}_bytes", pa.int64()) if field.name in names else field for field in schema(names)]
    return pa.schema([*fields, pa.field("file", pa.string(), nullable=False)])


def index_batch(batch: "pa.RecordBatch", components: Sequence[Component], file: str) -> "pa.RecordBatch":
    """The rows of the index for rows of a file of steps."""
    pa, names = arrow(), [row.name for row in formats(components)]
    columns = [
        pa.compute.binary_length(column).cast(pa.int64()) if name in names else column
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays([*columns, text_array([file] * len(batch))], schema=index_schema(components))
