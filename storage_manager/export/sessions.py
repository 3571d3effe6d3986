"""The rows of `sessions.parquet`: one per session, with the metadata fields that this library knows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from storage_manager.export.rows import Session
from storage_manager.export.table import arrow
from storage_manager.session_fields import KINDS, arrow_types, fields_of

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["sessions_batch", "sessions_schema"]


def sessions_schema() -> "pa.Schema":
    """Return the columns of `sessions.parquet`.

    Raises:
        StorageManagerError: pyarrow is not installed.
    """
    pa = arrow()
    fields = [pa.field(name, kind) for name, kind in arrow_types(pa, KINDS).items()]
    first = [pa.field("session_id", pa.string(), nullable=False), pa.field("steps", pa.int64(), nullable=False)]
    return pa.schema([*first, *fields])


def sessions_batch(sessions: Sequence[Session]) -> "pa.RecordBatch":
    """Return sessions as a record batch with the columns of `sessions_schema`, in their order."""
    rows = [
        {"session_id": session.session_id, "steps": len(session.step_ids), **fields_of(session.metadata)}
        for session in sessions
    ]
    columns = sessions_schema()
    arrays = [arrow().array([row[field.name] for row in rows], field.type) for field in columns]
    return arrow().RecordBatch.from_arrays(arrays, schema=columns)
