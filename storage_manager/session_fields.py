"""The fields of session metadata that this library knows, for tables. Each field has one type.

A value of another type becomes None, so that a mistake in one session does not stop an export or a catalogue.
"""

import json
import math
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

from storage_manager.encoding import has_surrogates

__all__ = ["KINDS", "arrow_types", "fields_of", "number_of", "text_of", "time_of"]

MAX_METADATA = 2**20  # characters of JSON; longer metadata is left out of a table, except for its known fields
_INT64 = 2**63


def text_of(value: object) -> str | None:
    """Return a text if UTF-8 can encode it, else None."""
    return value if isinstance(value, str) and not has_surrogates(value) else None


def number_of(value: object) -> float | None:
    """Return a number if it is finite, else None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def time_of(value: object) -> datetime | None:
    """Return a time in ISO 8601 as UTC; None for any other value. A time without a time zone counts as UTC."""
    try:
        parsed = datetime.fromisoformat(value.replace("Z", "+00:00")) if isinstance(value, str) else None
        return parsed and (parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None


def _integer_of(value: object) -> int | None:
    is_integer = isinstance(value, int) and not isinstance(value, bool) and -_INT64 <= value < _INT64
    return value if is_integer else None  # type: ignore[return-value]


def _texts_of(value: object) -> list[str] | None:
    texts = [text_of(each) for each in value] if isinstance(value, list) else [None]
    return None if None in texts else texts  # type: ignore[return-value]


# The kind of each field; a kind is the name of a type of pyarrow, or "timestamp" (UTC), or "strings" (a list).
KINDS = {
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
    "observed": "string",
    "input_tokens": "int64",
    "output_tokens": "int64",
    "cost_usd": "float64",
    "metadata": "string",
}
_CONVERT: dict[str, Callable[[object], Any]] = {
    "string": text_of,
    "strings": _texts_of,
    "float64": number_of,
    "int64": _integer_of,
    "timestamp": time_of,
}
_OF_USAGE = ("input_tokens", "output_tokens", "cost_usd")


def fields_of(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the value of each field of KINDS; None for a field that the session lacks.

    The field `metadata` has all metadata as one line of JSON. It is None if this line has more than MAX_METADATA
    characters, or cannot be encoded as UTF-8.
    """
    given = dict(metadata or {})
    usage = given.get("usage")
    given |= {name: usage.get(name) if isinstance(usage, dict) else None for name in _OF_USAGE}
    given["metadata"] = None if metadata is None else _json_of(metadata)
    return {name: _CONVERT[kind](given.get(name)) for name, kind in KINDS.items()}


def _json_of(metadata: Mapping[str, Any]) -> str | None:
    try:
        text = json.dumps(metadata, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:
        return None
    return text if len(text) <= MAX_METADATA else None


def arrow_types(pa: Any, kinds: Mapping[str, str]) -> dict[str, Any]:
    """Return the type of each column.

    Parameters:
        pa: the module pyarrow.
        kinds: the kind of each column, as in KINDS.
    """
    special = {"timestamp": pa.timestamp("us", "UTC"), "strings": pa.list_(pa.string())}
    return {name: special.get(kind) or getattr(pa, kind)() for name, kind in kinds.items()}
