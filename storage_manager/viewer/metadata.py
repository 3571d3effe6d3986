"""Search the metadata of sessions without a catalogue: read it, a bounded number of files at a time, and keep it."""

import asyncio
import time
from collections.abc import Iterable
from contextlib import aclosing, suppress
from typing import NamedTuple

from storage_manager.aio import map_ahead
from storage_manager.errors import StorageManagerError
from storage_manager.storage import StorageManager
from storage_manager.viewer.glance import read_about
from storage_manager.viewer.wanted import MAX_QUERY, Wanted

__all__ = ["AboutText", "Abouts"]

CONCURRENCY = 16  # files that are read at a time
KEPT_TIMES = 20  # as for a listing: what took a second to read is kept for twenty
KEPT_SECONDS = 60.0  # at most
MAX_LISTED = 50  # tags that a filter compares


class AboutText(NamedTuple):
    """The metadata of a session that a search and the filters compare."""

    text: str = ""
    outcome: str = ""
    tags: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    is_unreadable: bool = False

    def matches(self, wanted: Wanted, session_id: str) -> bool:
        """Return True if each word is in the id or in the metadata, and the filters fit."""
        return (
            (not wanted.outcome or wanted.outcome == self.outcome)
            and (not wanted.tag or wanted.tag in self.tags)
            and (not wanted.host or wanted.host in self.hosts)
            and all(word in self.text or word in session_id.lower() for word in wanted.words)
        )


class Abouts:
    """The metadata of sessions, kept for a short time."""

    def __init__(self, storage: StorageManager) -> None:
        self._storage = storage
        self._texts: dict[str, AboutText] = {}
        self._lock = asyncio.Lock()
        self._begun = self._spent = 0.0

    async def read(self, session_ids: Iterable[str], until: float) -> dict[str, AboutText]:
        """Return the texts of these sessions; of fewer, the first of them, if there is no time for all.

        A session whose metadata cannot be read has no text. `until` is a time of time.monotonic().
        """
        wanted = list(session_ids)
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._read(wanted), until - time.monotonic())
        return {name: self._texts[name] for name in wanted if name in self._texts}

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

    async def _text(self, session_id: str) -> tuple[str, AboutText]:
        try:
            about = await read_about(self._storage, session_id)
        except (StorageManagerError, ValueError):
            return session_id, AboutText(is_unreadable=True)
        if about is None:
            return session_id, AboutText()
        tags = tuple(tag for tag in about.tags[:MAX_LISTED] if len(tag) <= MAX_QUERY)
        return session_id, AboutText(about.searched(), (about.outcome or "")[:MAX_QUERY], tags, about.hosts)
