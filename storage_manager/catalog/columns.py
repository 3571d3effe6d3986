"""The columns of the catalogue, and how the values of a session become those of its row.

A value of the wrong type is None: what a recorder wrote by mistake must not stop an update.
"""

import json
import math
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from storage_manager.errors import needing

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["COLUMNS", "arrow", "from_metadata", "host_of", "number_of", "schema", "text_of", "time_of"]

_LONGEST_HOST = 253  # characters (RFC 1035, 2.3.4)
_LARGEST_METADATA = 2**20  # bytes of JSON; of a larger one, only the fields are in the catalogue
_LARGEST_INTEGER = 2**63

# The columns that a user sees, with their types as pyarrow names them. The table has `digest` too.
COLUMNS = {
    "session_id": "string",
    "steps": "int64",
    "bytes": "int64",
    "started_at": "timestamp",
    "ended_at": "timestamp",
    "goal": "string",
    "outcome": "string",
    "reward": "float64",
    "agent": "string",
    "model": "string",
    "owner": "string",
    "tags": "strings",
    "start_url": "string",
    "hosts": "strings",
    "input_tokens": "int64",
    "output_tokens": "int64",
    "cost_usd": "float64",
    "sealed": "bool_",
    "last_modified": "timestamp",
    "metadata": "string",
}


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
    """Return the columns of the table: COLUMNS, and the digest of the session's files, by which a change is seen."""
    pa = arrow()
    special = {"timestamp": pa.timestamp("us", "UTC"), "strings": pa.list_(pa.string())}
    types = {name: special.get(kind) or getattr(pa, kind)() for name, kind in COLUMNS.items()}
    fields = [pa.field(name, kind, nullable=name != "session_id") for name, kind in types.items()]
    return pa.schema([*fields, pa.field("digest", pa.string())])


def text_of(value: object) -> str | None:
    """Return a text that UTF-8 can hold, else None."""
    if not isinstance(value, str):
        return None
    return value if value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value) else None


def number_of(value: object) -> float | None:
    """Return a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _integer_of(value: object) -> int | None:
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    return value if is_integer and -_LARGEST_INTEGER <= value < _LARGEST_INTEGER else None  # type: ignore[operator,return-value]


def _texts_of(value: object) -> list[str] | None:
    texts = list(map(text_of, value)) if isinstance(value, list) else [None]
    return None if None in texts else texts  # type: ignore[return-value]


def time_of(value: object) -> datetime | None:
    """Return a time in ISO 8601 as UTC, else None. A time without a zone is taken for UTC."""
    try:
        parsed = datetime.fromisoformat(value.replace("Z", "+00:00")) if isinstance(value, str) else None
        return parsed and (parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None


def host_of(url: object) -> str | None:
    """Return the host of a URL in lower case, without its port; None if it has none."""
    try:
        host = urlsplit(url).hostname if isinstance(url, str) else None
    except ValueError:
        return None
    return text_of(host) if host and len(host) <= _LONGEST_HOST else None


def _json_of(metadata: Mapping[str, Any]) -> str | None:
    try:
        text = json.dumps(metadata, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:
        return None
    return text_of(text) if len(text) <= _LARGEST_METADATA else None


# The columns that come from the session's metadata, from the field of the same name.
_FIELDS: dict[str, Callable[[object], Any]] = {
    **dict.fromkeys(("goal", "outcome", "agent", "model", "owner", "start_url"), text_of),
    **dict.fromkeys(("started_at", "ended_at"), time_of),
    "reward": number_of,
    "tags": _texts_of,
}
# Those that come from its field `usage`.
_USAGE: dict[str, Callable[[object], Any]] = {
    "input_tokens": _integer_of,
    "output_tokens": _integer_of,
    "cost_usd": number_of,
}


def from_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the columns that come from a session's metadata; None for each if the session has none."""
    fields = metadata or {}
    usage = fields.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return {
        **{name: convert(fields.get(name)) for name, convert in _FIELDS.items()},
        **{name: convert(usage.get(name)) for name, convert in _USAGE.items()},
        "metadata": None if metadata is None else _json_of(metadata),
    }
