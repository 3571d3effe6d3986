"""Read the metadata of sessions for a search without a catalogue, and keep it for a short time."""

import asyncio
import time
from collections.abc import Iterable
from contextlib import aclosing, suppress
from typing import NamedTuple

from storage_manager.aio import map_ahead
from storage_manager.errors import StorageManagerError
from storage_manager.storage import StorageManager
from storage_manager.viewer.list_query import MAX_QUERY, ListQuery
from storage_manager.viewer.summary import read_metadata

__all__ = ["MetadataCache", "MetadataText"]

CONCURRENCY = 16  # files that are read at a time
KEPT_TIMES = 20  # keep the texts 20 times as long as it took to read them
KEPT_SECONDS = 60.0  # at most
MAX_TAGS = 50  # that a filter compares


class MetadataText(NamedTuple):
    """The metadata of a session, as a search and the filters compare it."""

    text: str = ""
    outcome: str = ""
    tags: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    is_unreadable: bool = False

    def matches(self, query: ListQuery, session_id: str) -> bool:
        """Return True if each word is in the id or in the metadata, and each filter fits."""
        return (
            query.outcome in ("", self.outcome)
            and query.tag in ("", *self.tags)
            and query.host in ("", *self.hosts)
            and all(word in self.text or word in session_id.lower() for word in query.words)
        )


class MetadataCache:
    """The metadata of sessions, kept for a short time."""

    def __init__(self, storage: StorageManager) -> None:
        self._storage = storage
        self._texts: dict[str, MetadataText] = {}
        self._lock = asyncio.Lock()
        self._begun = self._spent = 0.0

    async def read(self, session_ids: Iterable[str], until: float) -> dict[str, MetadataText]:
        """Return the metadata of these sessions, or of the first of them if the time does not suffice for all.

        Parameters:
            until: the end of reading, as a time of time.monotonic().
        """
        ids = list(session_ids)
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._read(ids), until - time.monotonic())
        return {session_id: self._texts[session_id] for session_id in ids if session_id in self._texts}

    async def _read(self, session_ids: list[str]) -> None:
        async with self._lock:
            started = time.monotonic()
            if started - self._begun > self._spent + min(self._spent * KEPT_TIMES, KEPT_SECONDS):
                self._texts, self._begun, self._spent = {}, started, 0.0
            missing = [name for name in session_ids if name not in self._texts]
            try:
                async with aclosing(map_ahead(self._text, missing, CONCURRENCY)) as texts:
                    async for name, text in texts:
                        self._texts[name] = text
            finally:
                self._spent += time.monotonic() - started

    async def _text(self, session_id: str) -> tuple[str, MetadataText]:
        try:
            metadata = await read_metadata(self._storage, session_id)
        except (StorageManagerError, ValueError):
            return session_id, MetadataText(is_unreadable=True)
        if metadata is None:
            return session_id, MetadataText()
        tags = tuple(tag for tag in metadata.tags[:MAX_TAGS] if len(tag) <= MAX_QUERY)
        outcome = (metadata.outcome or "")[:MAX_QUERY]
        return session_id, MetadataText(metadata.searched(), outcome, tags, metadata.hosts)
