"""List and search the sessions by id, a hundred per page. Read the storage only as far as a page needs."""

import asyncio
import time
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from typing import NamedTuple

from storage_manager.errors import StorageManagerError
from storage_manager.storage import StorageManager
from storage_manager.viewer.metadata import Abouts
from storage_manager.viewer.wanted import Wanted

__all__ = ["PAGE", "Listing", "Page"]

PAGE = 100
SEARCH_SECONDS = 5.0  # then the sessions found so far are shown, with a link that continues the search
KEPT_TIMES = 20  # keep a listing 20 times as long as it took to read, so listing takes a twentieth of the time
KEPT_SECONDS = 60.0  # at most
_CHUNK = 1000  # names per turn of the event loop; also the sessions whose metadata a search reads


class Page(NamedTuple):
    """One page of the sessions that match a search.

    Attributes:
        sessions: the ids of the sessions.
        start: the number of matches before the first of them.
        total: the number of all matches; None if it is not known yet.
        before: the cursor of the previous page; None on the first page.
        next: the cursor of the next page; None on the last page.
        is_partial: the search took too long; it continues at `next`.
        searched: the number of sessions whose metadata was searched too; None if it was that of all sessions.
        unreadable: the number of these whose metadata cannot be read.
    """

    sessions: list[str]
    start: int
    total: int | None
    before: str | None
    next: str | None
    is_partial: bool = False
    searched: int | None = None
    unreadable: int = 0


class Listing:
    """The session ids in order, read as far as needed and kept for a short time. 100,000 ids take 10 MB.

    Without it every page and every letter of a search would ask the storage again. S3 lists a thousand per request.
    """

    def __init__(self, storage: StorageManager, abouts: Abouts | None = None) -> None:
        self._storage = storage
        self._abouts = abouts
        self._names: _Names | None = None

    async def page(self, query: str = "", after: str = "") -> Page:
        """Return up to a hundred sessions whose ids contain `query`, in upper or lower case.

        Parameters:
            query: the text to search for; "" for all sessions.
            after: the cursor: the page begins with the first id after this one; "" for the first page.

        Raises:
            S3OperationError, S3ConfigError, LocalStorageError: the sessions cannot be listed.
        """
        return await self.find(Wanted(query, after=after))

    async def last(self, query: str = "") -> Page:
        """Return the last page. For 100,000 sessions on S3 this takes a hundred requests.

        Raises:
            As page.
        """
        return await self.find(Wanted(query, is_last=True))

    async def find(self, wanted: Wanted) -> Page:
        """Return up to a hundred sessions that are wanted. Their metadata is searched too, as far as it is read.

        Raises:
            As page.
        """
        until = time.monotonic() + SEARCH_SECONDS
        names = self._current()
        matching = await self._matching(names, wanted, until)
        page = await (_last(names, matching) if wanted.is_last else _page(names, matching, wanted, until))
        return page._replace(searched=matching.searched, unreadable=matching.unreadable)

    async def _matching(self, names: "_Names", wanted: Wanted, until: float) -> "_Matching":
        """Read the metadata of the first thousand sessions, if it decides which sessions match."""
        if self._abouts is None or not (wanted.words or wanted.has_filter):
            return _Matching(wanted)
        async with aclosing(names.chunks()) as chunks:
            first = await anext(chunks, list[str]())
        texts = await self._abouts.read(first, until)
        matches = {name for name, about in texts.items() if about.matches(wanted, name)}
        searched = next((number for number, name in enumerate(first) if name not in texts), len(first))
        is_all = searched == len(first) and not await names.are_more_than(_CHUNK)
        unreadable = sum(about.is_unreadable for about in texts.values())
        return _Matching(wanted, matches, None if is_all else searched, unreadable)

    async def close(self) -> None:
        """Stop reading."""
        if self._names:
            await self._names.close()

    def _current(self) -> "_Names":
        if self._names is None or self._names.is_stale:
            self._names = _Names(self._storage)
        return self._names


class _Matching(NamedTuple):
    """The sessions that match: by their metadata, and also by their ids if there is no filter."""

    wanted: Wanted
    found: Collection[str] = ()
    searched: int | None = None
    unreadable: int = 0

    @property
    def most(self) -> int | None:
        """How many of the first names can match; None if all can."""
        return _CHUNK if self.wanted.has_filter else None

    def among(self, names: list[str]) -> list[str]:
        """Return those of the names that match, in their order."""
        words = self.wanted.words
        if self.wanted.has_filter:
            return [name for name in names if name in self.found]
        if not words:
            return names
        return [name for name in names if name in self.found or all(word in name.lower() for word in words)]


async def _page(names: "_Names", matching: _Matching, wanted: Wanted, until: float) -> Page:
    found, start, earlier = list[str](), 0, deque[str](maxlen=PAGE + 1)
    async with aclosing(names.chunks(matching.most)) as chunks:
        async for chunk in chunks:
            matches = matching.among(chunk)
            cut = bisect_right(matches, wanted.after)
            start += cut
            earlier.extend(matches[:cut])
            found += matches[cut:]
            if len(found) > PAGE:
                return Page(found[:PAGE], start, names.count(matching), _before(start, earlier), found[PAGE - 1])
            if wanted.words and not matching.most and time.monotonic() > until:
                after = max(chunk[-1], wanted.after)
                return Page(found, start, None, _before(start, earlier), after, is_partial=True)
    return Page(found, start, start + len(found), _before(start, earlier), None)


async def _last(names: "_Names", matching: _Matching) -> Page:
    total, tail = 0, deque[str](maxlen=2 * PAGE + 1)
    async with aclosing(names.chunks(matching.most)) as chunks:
        async for chunk in chunks:
            matches = matching.among(chunk)
            total += len(matches)
            tail.extend(matches)
    size = (total - 1) % PAGE + 1 if total else 0
    found = list(tail)[len(tail) - size :]
    earlier = deque(list(tail)[: len(tail) - size], maxlen=PAGE + 1)
    return Page(found, total - size, total, _before(total - size, earlier), None)


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

    def count(self, matching: _Matching) -> int | None:
        """Return the number of matches; None if not all names that can match have been read yet."""
        if self._source and matching.most is None:
            return None
        return len(matching.among(self._names[: matching.most]))

    async def are_more_than(self, number: int) -> bool:
        """Return True if there are more names than those that have been read, which are `number` or fewer; or more."""
        return len(self._names) > number or bool(await self._more(number))

    async def chunks(self, most: int | None = None) -> AsyncGenerator[list[str], None]:
        """Yield all names, up to a thousand at a time.

        Parameters:
            most: yield no chunk that begins after so many; None for all.
        """
        start = 0
        while most is None or start < most:
            chunk = self._names[start : start + _CHUNK] or await self._more(start)
            if not chunk:
                break
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
