"""The sessions of a place, a hundred at a time, and searched; read no further than a page needs."""

import asyncio
import time
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple

from storage_manager.errors import StorageManagerError
from storage_manager.storage import StorageManager

__all__ = ["PAGE", "Listing", "Page"]

PAGE = 100
SEARCH_SECONDS = 5.0  # then what was found so far is shown, with a link that goes on from there
KEPT_TIMES = 20  # a listing serves for so many times as long as it took to read: a twentieth of the time goes into it
KEPT_SECONDS = 60.0
_CHUNK = 1000  # names between two turns of the event loop


class Page(NamedTuple):
    """Some of the sessions that match.

    Attributes:
        sessions: their ids.
        start: how many match before the first of them.
        total: how many match in all; None as long as that is not known.
        before: the cursor of the page before; None on the first.
        next: the cursor of the page after; None on the last.
        is_partial: the search took too long, and goes on at `next`.
    """

    sessions: list[str]
    start: int
    total: int | None
    before: str | None
    next: str | None
    is_partial: bool = False


class Listing:
    """The ids of a place in order, read as far as they are needed and kept for a short time: 10 MB for 100,000.

    S3 is asked once for a thousand of them: pages one after the other, and a search that is being typed, would ask
    again and again.
    """

    def __init__(self, storage: StorageManager) -> None:
        self._storage = storage
        self._names: _Names | None = None

    async def page(self, query: str = "", after: str = "") -> Page:
        """A hundred sessions whose ids have `query` in them, in upper or lower case.

        Parameters:
            after: the cursor: what comes after this id; "" for the first page.

        Raises:
            S3OperationError, S3ConfigError, LocalStorageError: the place cannot be listed.
        """
        names, found, until = self._current(), list[str](), time.monotonic() + SEARCH_SECONDS
        start, earlier = 0, deque[str](maxlen=PAGE + 1)
        async with aclosing(names.chunks()) as chunks:
            async for chunk in chunks:
                matches = _matches(chunk, query)
                cut = bisect_right(matches, after)
                start += cut
                earlier.extend(matches[:cut])
                found += matches[cut:]
                if len(found) > PAGE:
                    return Page(found[:PAGE], start, names.count(query), _before(start, earlier), found[PAGE - 1])
                if query and time.monotonic() > until:
                    return Page(found, start, None, _before(start, earlier), max(chunk[-1], after), is_partial=True)
        return Page(found, start, start + len(found), _before(start, earlier), None)

    async def last(self, query: str = "") -> Page:
        """The last of these pages. For a place of 100,000 on S3 it takes a hundred requests.

        Raises:
            As page.
        """
        total, tail = 0, deque[str](maxlen=2 * PAGE + 1)
        async with aclosing(self._current().chunks()) as chunks:
            async for chunk in chunks:
                matches = _matches(chunk, query)
                total += len(matches)
                tail.extend(matches)
        size = (total - 1) % PAGE + 1 if total else 0
        found = list(tail)[len(tail) - size :]
        earlier = deque(list(tail)[: len(tail) - size], maxlen=PAGE + 1)
        return Page(found, total - size, total, _before(total - size, earlier), None)

    async def close(self) -> None:
        """End what is being read."""
        if self._names:
            await self._names.close()

    def _current(self) -> "_Names":
        if self._names is None or self._names.is_stale:
            self._names = _Names(self._storage)
        return self._names


def _matches(names: list[str], query: str) -> list[str]:
    wanted = query.lower()
    return [name for name in names if wanted in name.lower()] if wanted else names


def _before(start: int, earlier: "deque[str]") -> str | None:
    """The cursor of the page that ends where this one starts."""
    if not start:
        return None
    return earlier[0] if len(earlier) > PAGE else ""


class _Names:
    """One listing, as far as it has been read."""

    def __init__(self, storage: StorageManager) -> None:
        self._names: list[str] = []
        self._source: AsyncGenerator[str, None] | None = storage.iter_sessions()  # type: ignore[assignment]
        self._lock = asyncio.Lock()
        self._begun = time.monotonic()
        self._spent = 0.0
        self._failure: BaseException | None = None

    @property
    def is_stale(self) -> bool:
        """True where it has served long enough, and is not being read just now."""
        age = time.monotonic() - self._begun
        return age > min(self._spent * KEPT_TIMES, KEPT_SECONDS) and not self._lock.locked()

    def count(self, query: str) -> int | None:
        """How many match; None before all is read."""
        return None if self._source else len(_matches(self._names, query))

    async def chunks(self) -> AsyncGenerator[list[str], None]:
        """All names, up to a thousand at a time."""
        place = 0
        while chunk := self._names[place : place + _CHUNK] or await self._more(place):
            yield chunk
            place += len(chunk)
            await asyncio.sleep(0)

    async def _more(self, place: int) -> list[str]:
        async with self._lock:
            if isinstance(self._failure, Exception):
                raise self._failure
            if self._failure:
                raise StorageManagerError("the sessions are not listed: try again", operation="list")
            if self._source and place == len(self._names):  # else another request has read on
                await self._read(self._source)
            return self._names[place : place + _CHUNK]

    async def _read(self, source: AsyncGenerator[str, None]) -> None:
        started, whole = time.monotonic(), len(self._names) + _CHUNK
        try:
            async for name in source:
                self._names.append(name)
                if len(self._names) == whole:
                    break
            else:
                self._source = None
        except BaseException as error:
            self._begun, self._failure = -KEPT_SECONDS, error  # nobody is to go on with half of it
            raise
        self._spent += time.monotonic() - started

    async def close(self) -> None:
        if self._source:
            await self._source.aclose()
