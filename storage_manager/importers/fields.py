"""Read the fields of an event, and refuse a field that does not have the expected type."""

import math
from collections.abc import Mapping
from typing import Any, TypeVar

from storage_manager.importers.archive import check_name
from storage_manager.importers.budget import refuse

__all__ = ["Fields"]

T = TypeVar("T")

# As milliseconds this is the year 2286. The sum of three such numbers is still a valid date.
_MAX_NUMBER = 10**13


class Fields:
    """A JSON object and its location in the trace, which messages name. A field that is absent or null is None."""

    def __init__(self, value: object, location: str) -> None:
        if not isinstance(value, dict):
            refuse(f"{location}: an object is expected, not {type(value).__name__}")
        self.values: dict[str, Any] = value
        self.location = location

    def _typed(self, name: str, kind: type[T]) -> T | None:
        value = self.values.get(name)
        if value is not None and not isinstance(value, kind):
            refuse(f"{self.location}: {name!r} must be a {kind.__name__}, not {type(value).__name__}")
        return value

    def text(self, name: str) -> str | None:
        """Return a string."""
        return self._typed(name, str)

    def required_text(self, name: str) -> str:
        """Return a string; refuse the event if it is missing."""
        value = self.text(name)
        return value if value is not None else refuse(f"{self.location}: {name!r} is missing")

    def number(self, name: str) -> float | None:
        """Return a number within ±10**13; most of them are times in milliseconds."""
        value = self.values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            refuse(f"{self.location}: {name!r} must be a number, not {type(value).__name__}")
        if not -_MAX_NUMBER < value < _MAX_NUMBER or math.isnan(value):
            refuse(f"{self.location}: {name!r} is out of range: the limit is {_MAX_NUMBER}")
        return value

    def required_number(self, name: str) -> float:
        """Return a number; refuse the event if it is missing."""
        value = self.number(name)
        return value if value is not None else refuse(f"{self.location}: {name!r} is missing")

    def flag(self, name: str) -> bool:
        """Return a boolean; False if it is absent."""
        return bool(self._typed(name, bool))

    def mapping(self, name: str) -> Mapping[str, Any] | None:
        """Return an object as a mapping."""
        return self._typed(name, dict)

    def fields(self, name: str) -> "Fields":
        """Return an object as Fields, which are empty if it is absent."""
        return Fields(self.mapping(name) or {}, self.location)

    def objects(self, name: str) -> list["Fields"]:
        """Return a list of objects, which is empty if it is absent."""
        return [Fields(item, self.location) for item in self._typed(name, list) or ()]

    def file(self) -> str | None:
        """Return the name of the member that the event refers to.

        Since version 9 of the format, the name is in `file`. Earlier versions have the name below `resources/` in
        `sha1`. In the network log, both keys begin with an underscore. A name that leads out of the trace is refused.
        """
        sha1 = self.text("sha1") or self.text("_sha1")
        name = f"resources/{sha1}" if sha1 else self.text("file") or self.text("_file")
        if name:
            check_name(name)
        return name
