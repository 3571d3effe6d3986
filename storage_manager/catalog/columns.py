"""The columns of the catalogue."""

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from storage_manager.errors import needing
from storage_manager.session_fields import KINDS, arrow_types, text_of

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["COLUMNS", "arrow", "host_of", "schema"]

_LONGEST_HOST = 253  # characters (RFC 1035, 2.3.4)

_FROM_STEPS = {"steps": "int64", "bytes": "int64", "hosts": "strings", "sealed": "bool_", "last_modified": "timestamp"}
_NAMES = [
    "session_id",
    "steps",
    "bytes",
    "started_at",
    "ended_at",
    "goal",
    "outcome",
    "reward",
    "agent",
    "model",
    "owner",
    "tags",
    "start_url",
    "hosts",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "sealed",
    "last_modified",
    "metadata",
]
# The columns that users see, each with its kind, as in KINDS. The table also has the column `digest`.
COLUMNS = {name: {"session_id": "string", **_FROM_STEPS, **KINDS}[name] for name in _NAMES}


def arrow() -> Any:
    """Import and return pyarrow.

    Raises:
        StorageManagerError: pyarrow is not installed.
    """
    with needing("pyarrow", "catalog", "catalog"):
        import pyarrow
        import pyarrow.compute
        import pyarrow.ipc
    return pyarrow


def schema() -> "pa.Schema":
    """Return the columns of the table: COLUMNS, and a digest of the session's files, which shows if they changed."""
    pa = arrow()
    fields = [pa.field(name, kind, nullable=name != "session_id") for name, kind in arrow_types(pa, COLUMNS).items()]
    return pa.schema([*fields, pa.field("digest", pa.string())])


def host_of(url: object) -> str | None:
    """Return the host of a URL in lower case, without its port; None if it has none."""
    try:
        host = urlsplit(url).hostname if isinstance(url, str) else None
    except ValueError:
        return None
    return text_of(host) if host and len(host) <= _LONGEST_HOST else None
