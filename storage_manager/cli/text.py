"""Format values for the terminal and as JSON, and parse ages and durations of the command line."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import click

__all__ = ["age", "columns", "count", "duration", "indented", "json_line", "moment", "one_line", "paragraphs", "size"]

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_MINUTES = re.compile(r"\d+m")  # a user who deletes by age may mean months
_DURATION = re.compile(r"(\d{1,5})([smhdw])")  # 99,999 weeks ago is still after year 1


def size(number: int) -> str:
    """Return a number of bytes in decimal units: `93.4 kB`."""
    value = float(number)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.95:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def moment(when: datetime | None) -> str | None:
    """Return a time as UTC in ISO 8601, to the second: `2026-01-31T12:00:00Z`."""
    return None if when is None else when.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def count(number: int, unit: str) -> str:
    """Return a number with its unit, in the plural if need be: `1 step`, `2 steps`."""
    return f"{number} {unit}{'' if number == 1 else 's'}"


def json_line(value: Any) -> str:
    """Return a value as one line of JSON in ASCII, so it contains no control characters of terminals."""
    return json.dumps(value).replace("\x7f", "\\u007f")  # the one control character that JSON does not escape


def one_line(value: object) -> str:
    """Return a value as one line. Text of a page may contain line breaks, which would look like lines of our own."""
    return " ".join(str(value).split())


def columns(rows: Sequence[tuple[str, object]]) -> list[str]:
    """Return lines with names and values as two aligned columns."""
    width = max((len(name) for name, _ in rows), default=0)
    return [f"{name:<{width}}  {value}".rstrip() for name, value in rows]


def indented(name: str, value: Mapping[str, Any] | None) -> list[str]:
    """Return a name and a mapping as indented JSON, in lines; no line if there is nothing in it."""
    # JSON escapes a line break in a text, so each "\n" here is one of ours
    return f"{name}  {json.dumps(value, indent=2, ensure_ascii=False)}".split("\n") if value else []


def paragraphs(*parts: Sequence[str]) -> list[str]:
    """Return the lines of all parts, with an empty line between two parts. Empty parts are left out."""
    lines: list[str] = []
    for part in filter(None, parts):
        lines += ["", *part] if lines else part
    return lines


def _parse_duration(text: str) -> timedelta | None:
    match = _DURATION.fullmatch(text)
    return timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else None


def duration(ctx: click.Context, param: click.Parameter, value: str) -> timedelta:
    """Parse the value of an option that takes a duration, such as `12h`."""
    parsed = _parse_duration(value)
    if parsed is None:
        raise click.BadParameter(f"{value!r} is not a duration: give, for example, 90s, 15m, 12h or 7d")
    return parsed


def age(ctx: click.Context, param: click.Parameter, value: str) -> timedelta | datetime:
    """Parse the value of an option that takes an age (`30d`) or a date (`2026-01-01`, UTC if it names no zone)."""
    if _MINUTES.fullmatch(value):
        raise click.BadParameter(f"{value!r} is a number of minutes: for months, give days, such as 30d; or 12h, or 2w")
    parsed = _parse_duration(value)
    return _parse_date(value) if parsed is None else parsed


def _parse_date(value: str) -> datetime:
    try:
        when = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        why = f"{value!r} is neither an age (12h, 30d, 2w) nor a date (2026-01-31, 2026-01-31T12:00)"
        raise click.BadParameter(why) from None
    when = when if when.tzinfo else when.replace(tzinfo=timezone.utc)
    if when > datetime.now(timezone.utc):
        raise click.BadParameter(f"{value!r} is in the future: every session is older than that")
    return when
