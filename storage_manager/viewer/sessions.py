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
from storage_manager.viewer.list_query import ListQuery
from storage_manager.viewer.metadata import MetadataCache

__all__ = ["PAGE", "Listing", "Page"]

PAGE = 100
SEARCH_SECONDS = 5.0  # then the page has the sessions found so far, and a link that continues the search
KEPT_TIMES = 20  # keep a listing 20 times as long as it took to read it
KEPT_SECONDS = 60.0  # at most
_CHUNK = 1000  # ids that are handled without a pause; also the sessions whose metadata a search reads


class Page(NamedTuple):
    """One page of the sessions that match a search.

    Attributes:
        sessions: the ids of the sessions.
        start: the number of matches before the first of them.
        total: the number of all matches; None if it is not known yet.
        before: the cursor of the previous page; None on the first page.
        next: the cursor of the next page; None on the last page.
        is_partial: True if the search took too long. It continues at `next`.
        searched: the number of sessions whose metadata was searched; None for all sessions.
        unreadable: the number of sessions whose metadata cannot be read.
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
    """The session ids in order, read as far as a page needs, and kept for a short time. 100,000 ids take 10 MB.

    Without it, every page and every letter of a search would list the sessions again. S3 lists a thousand per request.
    """

    def __init__(self, storage: StorageManager, metadata: MetadataCache | None = None) -> None:
        self._storage = storage
        self._metadata = metadata
        self._names: _Names | None = None

    async def page(self, query: ListQuery) -> Page:
        """Return one page of the sessions that match. Ids are searched, and the metadata of the first thousand.

        The last page reads all ids: for 100,000 sessions on S3, this takes a hundred requests.

        Raises:
            S3OperationError, S3ConfigError, LocalStorageError: the sessions cannot be listed.
        """
        until = time.monotonic() + SEARCH_SECONDS
        names = self._current()
        matching = await self._matching(names, query, until)
        page = await (_last(names, matching) if query.is_last else _page(names, matching, query, until))
        return page._replace(searched=matching.searched, unreadable=matching.unreadable)

    async def _matching(self, names: "_Names", query: ListQuery, until: float) -> "_Matching":
        """Read the metadata of the first thousand sessions if there is a search or a filter."""
        if self._metadata is None or not (query.words or query.has_filter):
            return _Matching(query)
        async with aclosing(names.chunks()) as chunks:
            first = await anext(chunks, list[str]())
        texts = await self._metadata.read(first, until)
        matches = {name for name, text in texts.items() if text.matches(query, name)}
        searched = next((number for number, name in enumerate(first) if name not in texts), len(first))
        is_all = searched == len(first) and not await names.are_more_than(_CHUNK)
        unreadable = sum(text.is_unreadable for text in texts.values())
        return _Matching(query, matches, None if is_all else searched, unreadable)

    async def close(self) -> None:
        """Stop reading."""
        if self._names:
            await self._names.close()

    def _current(self) -> "_Names":
        if self._names is None or self._names.is_stale:
            self._names = _Names(self._storage)
        return self._names


class _Matching(NamedTuple):
    """The sessions that match: by their metadata, or by their ids if there is no filter."""

    query: ListQuery
    found: Collection[str] = ()
    searched: int | None = None
    unreadable: int = 0

    @property
    def limit(self) -> int | None:
        """The number of names, from the first, that can match; None if all can."""
        return _CHUNK if self.query.has_filter else None

    def among(self, names: list[str]) -> list[str]:
        """Return the names that match, in their order."""
        words = self.query.words
        if self.query.has_filter:
            return [name for name in names if name in self.found]
        if not words:
            return names
        return [name for name in names if name in self.found or all(word in name.lower() for word in words)]


async def _page(names: "_Names", matching: _Matching, query: ListQuery, until: float) -> Page:
    found, start, earlier = list[str](), 0, deque[str](maxlen=PAGE + 1)
    async with aclosing(names.chunks(matching.limit)) as chunks:
        async for chunk in chunks:
            matches = matching.among(chunk)
            cut = bisect_right(matches, query.after)
            start += cut
            earlier.extend(matches[:cut])
            found += matches[cut:]
            if len(found) > PAGE:
                return Page(found[:PAGE], start, names.count(matching), _before(start, earlier), found[PAGE - 1])
            if query.words and not matching.limit and time.monotonic() > until:
                after = max(chunk[-1], query.after)
                return Page(found, start, None, _before(start, earlier), after, is_partial=True)
    return Page(found, start, start + len(found), _before(start, earlier), None)


async def _last(names: "_Names", matching: _Matching) -> Page:
    total, tail = 0, deque[str](maxlen=2 * PAGE + 1)
    async with aclosing(names.chunks(matching.limit)) as chunks:
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
        """Return the number of matches; None if some names that can match have not been read yet."""
        if self._source and matching.limit is None:
            return None
        return len(matching.among(self._names[: matching.limit]))

    async def are_more_than(self, number: int) -> bool:
        """Return True if there are more than `number` names. Those before must have been read."""
        return len(self._names) > number or bool(await self._more(number))

    async def chunks(self, limit: int | None = None) -> AsyncGenerator[list[str], None]:
        """Yield all names, up to a thousand at a time.

        Parameters:
            limit: yield no chunk that begins after so many names; None for all.
        """
        start = 0
        while limit is None or start < limit:
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
            if self._source and start == len(self._names):  # another request may have read this chunk meanwhile
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
            self._begun, self._failure = -KEPT_SECONDS, error  # stale: no other request may use half of a listing
            raise
        self._spent += time.monotonic() - started

    async def close(self) -> None:
        """Stop reading."""
        if self._source:
            await self._source.aclose()
