"""Fields of an event, of the type that they must have: what is there and is something else is refused."""

import math
from collections.abc import Mapping
from typing import Any, TypeVar

from storage_manager.importers.archive import refuse

__all__ = ["Fields"]

T = TypeVar("T")

# In milliseconds the year 2286; sums of three are still dates.
_MAX_NUMBER = 10**13


class Fields:
    """A JSON object, and where it is, for messages. A field that is absent, or null, is None."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            refuse(f"{where}: an object is expected, not {type(value).__name__}")
        self.values: dict[str, Any] = value
        self.where = where

    def _typed(self, name: str, kind: type[T]) -> T | None:
        value = self.values.get(name)
        if value is not None and not isinstance(value, kind):
            refuse(f"{self.where}: {name!r} must be a {kind.__name__}, not {type(value).__name__}")
        return value

    def text(self, name: str) -> str | None:
        """A string."""
        return self._typed(name, str)

    def needed(self, name: str) -> str:
        """A string that must be there."""
        value = self.text(name)
        return value if value is not None else refuse(f"{self.where}: {name!r} is missing")

    def number(self, name: str) -> float | None:
        """A finite number: milliseconds, as a rule."""
        value = self.values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            refuse(f"{self.where}: {name!r} must be a number, not {type(value).__name__}")
        if not -_MAX_NUMBER < value < _MAX_NUMBER or math.isnan(value):
            refuse(f"{self.where}: {name!r} is no time")
        return value

    def needed_number(self, name: str) -> float:
        """A number that must be there."""
        value = self.number(name)
        return value if value is not None else refuse(f"{self.where}: {name!r} is missing")

    def flag(self, name: str) -> bool:
        """A boolean; False where it is absent."""
        return bool(self._typed(name, bool))

    def mapping(self, name: str) -> Mapping[str, Any] | None:
        """An object."""
        return self._typed(name, dict)

    def fields(self, name: str) -> "Fields":
        """An object whose fields are wanted; an empty one where it is absent."""
        return Fields(self.mapping(name) or {}, self.where)

    def objects(self, name: str) -> list["Fields"]:
        """A list of objects; an empty one where it is absent."""
        return [Fields(item, self.where) for item in self._typed(name, list) or ()]

    def file(self) -> str | None:
        """The member that the event names: `file`, or before version 9 `sha1`, which lies below resources/."""
        sha1 = self.text("sha1")
        return f"resources/{sha1}" if sha1 else self.text("file")
