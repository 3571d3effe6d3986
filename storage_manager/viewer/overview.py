"""The list of sessions: from the catalogue, newest first, or by id if there is no catalogue."""

import asyncio
from collections.abc import Mapping
from typing import Any

from storage_manager.errors import StorageManagerError
from storage_manager.storage import StorageManager
from storage_manager.viewer.found import Catalogue, Found, Row
from storage_manager.viewer.glance import glance, size_text
from storage_manager.viewer.metadata import Abouts
from storage_manager.viewer.sessions import Listing, Page
from storage_manager.viewer.wanted import OUTCOMES, Wanted, read_wanted

__all__ = ["Overview"]

MAX_REASON = 400  # characters
MAX_ROWS = 8  # that are read at a time: each can take 4 MB for a moment


class Overview:
    """The list of the sessions of a root."""

    def __init__(self, storage: StorageManager) -> None:
        self._storage = storage
        self._listing = Listing(storage, Abouts(storage))
        self._catalogue = Catalogue(storage)
        self._reading = asyncio.Semaphore(MAX_ROWS)

    async def page(self, given: Mapping[str, str]) -> dict[str, Any]:
        """Return what the template of the list needs for the parameters of a URL.

        Raises:
            InvalidIdError, InvalidDataError: a parameter has a value that it cannot have.
            S3OperationError, S3ConfigError, LocalStorageError: the sessions cannot be listed.
        """
        wanted, found, why = read_wanted(given), None, ""
        if not (wanted.is_by_id or wanted.after or wanted.is_last):
            try:
                found = await self._catalogue.find(wanted)
            except StorageManagerError as error:
                why = str(error)[:MAX_REASON]
        shown = _of_catalogue(found, wanted) if found else _of_ids(await self._listing.find(wanted), wanted)
        general = {"root": self._storage.url_for(), "outcomes": OUTCOMES, "size_text": size_text}
        return {**general, **shown, "wanted": wanted, "why": why}

    async def row(self, session_id: str) -> dict[str, Any]:
        """Return what the list shows of a session, as JSON.

        Raises:
            As glance.
        """
        async with self._reading:
            return await glance(self._storage, session_id)

    async def close(self) -> None:
        """Stop reading."""
        await self._listing.close()


def _of_catalogue(found: Found, wanted: Wanted) -> dict[str, Any]:
    total = None if found.has_more or not found.rows else found.start + len(found.rows)
    before = wanted.link(page=wanted.page - 1) if wanted.page > 1 else None
    after = wanted.link(page=wanted.page + 1) if found.has_more else None
    links = {"first": wanted.link(), "before": before, "next": after, "last": None}
    shown = {"rows": found.rows, "start": found.start, "total": total, "links": links}
    return {**shown, "is_catalogue": True, "changed": found.changed, "partial": None}


def _of_ids(found: Page, wanted: Wanted) -> dict[str, Any]:
    before = None if found.before is None else wanted.link(after=found.before)
    after = None if found.next is None else wanted.link(after=found.next)
    links = {"first": wanted.link(), "before": before, "next": after, "last": wanted.link(is_last=True)}
    rows = [Row(session_id) for session_id in found.sessions]
    shown = {"rows": rows, "start": found.start, "total": found.total, "links": links}
    return {**shown, "is_catalogue": False, "changed": None, "partial": found}
