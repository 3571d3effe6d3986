"""Values as the commands show them, and as they are given on the command line."""

import json
import re
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import click

__all__ = ["age", "as_json", "columns", "count", "duration", "moment", "one_line", "size"]

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(r"(\d{1,5})([smhdw])")  # five digits of weeks do not reach back beyond year 1


def size(number: int) -> str:
    """Bytes in units of a thousand: `93.4 kB`."""
    value = float(number)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.95:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def moment(when: datetime | None) -> str | None:
    """UTC in ISO 8601, to the second: `2026-01-31T12:00:00Z`."""
    return None if when is None else when.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def count(number: int, unit: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{number} {unit}{'' if number == 1 else 's'}"


def as_json(value: Any) -> str:
    """One line of ASCII: nothing in it drives a terminal."""
    return json.dumps(value)


def one_line(value: object) -> str:
    """A page's own text, whose line breaks must not look like ours."""
    return " ".join(str(value).split())


def columns(rows: Sequence[tuple[str, object]]) -> str:
    """Names and values, aligned."""
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{name:<{width}}  {value}".rstrip() for name, value in rows)


def _duration(text: str) -> timedelta | None:
    match = _DURATION.fullmatch(text)
    return timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else None


def duration(ctx: click.Context, param: click.Parameter, value: str) -> timedelta:
    """The callback of an option that takes `12h`."""
    given = _duration(value)
    if given is None:
        raise click.BadParameter(f"{value!r} is no duration: 90s, 15m, 12h, 7d")
    return given


def age(ctx: click.Context, param: click.Parameter, value: str) -> timedelta | datetime:
    """The callback of an option that takes `30d`, or `2026-01-01`, which is in UTC where it names no zone."""
    given = _duration(value)
    if given is not None:
        return given
    try:
        when = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        why = f"{value!r} is neither an age (12h, 30d, 2w) nor a date (2026-01-31, 2026-01-31T12:00)"
        raise click.BadParameter(why) from None
    when = when if when.tzinfo else when.replace(tzinfo=timezone.utc)
    if when > datetime.now(timezone.utc):
        raise click.BadParameter(f"{value!r} is to come: every session is older than that")
    return when
