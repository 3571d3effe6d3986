"""Objects with the methods of a page, for situations that a test cannot cause in a browser."""

from collections.abc import Mapping
from typing import Any


class Still:
    """A page that never changes."""

    url = "https://example.com/"
    viewport_size: Mapping[str, int] | None = {"width": 640, "height": 480}

    def __init__(self) -> None:
        self.html = "<title>Still</title>"
        self.shots = 0

    async def content(self) -> str:
        return self.html

    async def title(self) -> str:
        return "Still"

    async def screenshot(self, **options: Any) -> bytes:
        self.shots += 1
        return b"\x89PNG%d" % self.shots


class Restless(Still):
    """A page that changes while it is captured, a given number of times."""

    def __init__(self, changes: int) -> None:
        super().__init__()
        self.changes = changes

    async def screenshot(self, **options: Any) -> bytes:
        if self.shots < self.changes:
            self.html = f"<p>{self.shots + 1}"
        return await super().screenshot(**options)
