"""List and search the sessions, a hundred per page. Read the storage only as far as a page needs."""

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
SEARCH_SECONDS = 5.0  # then the sessions found so far are shown, with a link that continues the search
KEPT_TIMES = 20  # keep a listing 20 times as long as it took to read, so listing takes a twentieth of the time
KEPT_SECONDS = 60.0  # at most
_CHUNK = 1000  # names per turn of the event loop


class Page(NamedTuple):
    """One page of the sessions that match a search.

    Attributes:
        sessions: the ids of the sessions.
        start: the number of matches before the first of them.
        total: the number of all matches; None if it is not known yet.
        before: the cursor of the previous page; None on the first page.
        next: the cursor of the next page; None on the last page.
        is_partial: the search took too long; it continues at `next`.
    """

    sessions: list[str]
    start: int
    total: int | None
    before: str | None
    next: str | None
    is_partial: bool = False


class Listing:
    """The session ids in order, read as far as needed and kept for a short time. 100,000 ids take 10 MB.

    Without it every page and every letter of a search would ask the storage again. S3 lists a thousand per request.
    """

    def __init__(self, storage: StorageManager) -> None:
        self._storage = storage
        self._names: _Names | None = None

    async def page(self, query: str = "", after: str = "") -> Page:
        """Return up to a hundred sessions whose ids contain `query`, in upper or lower case.

        Parameters:
            query: the text to search for; "" for all sessions.
            after: the cursor: the page begins with the first id after this one; "" for the first page.

        Raises:
            S3OperationError, S3ConfigError, LocalStorageError: the sessions cannot be listed.
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
        """Return the last page. For 100,000 sessions on S3 this takes a hundred requests.

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
        """Stop reading."""
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
    """Return the cursor of the previous page, from the matches before this page."""
    if not start:
        return None
    return earlier[0] if len(earlier) > PAGE else ""


class _Names:
    """One listing of the sessions, as far as it has been read."""

    def __init__(self, storage: StorageManager) -> None:
        self._names: list[str] = []
        self._source: AsyncGenerator[str, None] | None = storage.iter_sessions()
        self._lock = asyncio.Lock()
        self._begun = time.monotonic()
        self._spent = 0.0
        self._failure: BaseException | None = None

    @property
    def is_stale(self) -> bool:
        """True if the listing is too old to use, and no request is reading it now."""
        age = time.monotonic() - self._begun
        return age > min(self._spent * KEPT_TIMES, KEPT_SECONDS) and not self._lock.locked()

    def count(self, query: str) -> int | None:
        """Return the number of matches; None if not all names have been read yet."""
        return None if self._source else len(_matches(self._names, query))

    async def chunks(self) -> AsyncGenerator[list[str], None]:
        """Yield all names, up to a thousand at a time."""
        start = 0
        while chunk := self._names[start : start + _CHUNK] or await self._more(start):
            yield chunk
            start += len(chunk)
            await asyncio.sleep(0)

    async def _more(self, start: int) -> list[str]:
        """Return the chunk that begins at `start`; [] if there are no more names."""
        async with self._lock:
            if isinstance(self._failure, Exception):
                raise self._failure
            if self._failure:
                raise StorageManagerError(
                    "cannot list the sessions: another request was cancelled; try again", operation="list"
                )
            if self._source and start == len(self._names):  # otherwise another request has read this chunk meanwhile
                await self._read(self._source)
            return self._names[start : start + _CHUNK]

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
            self._begun, self._failure = -KEPT_SECONDS, error  # no other request may use half of a listing
            raise
        self._spent += time.monotonic() - started

    async def close(self) -> None:
        if self._source:
            await self._source.aclose()
