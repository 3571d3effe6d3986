"""The list of sessions: from the catalogue, newest first, or by id if there is no catalogue."""

import asyncio
from collections.abc import Mapping
from typing import Any

from storage_manager.errors import StorageManagerError
from storage_manager.storage import StorageManager
from storage_manager.viewer.catalogue import Catalogue, CataloguePage, Row
from storage_manager.viewer.list_query import OUTCOMES, ListQuery, parse_query
from storage_manager.viewer.metadata import MetadataCache
from storage_manager.viewer.sessions import Listing, Page
from storage_manager.viewer.summary import size_text, summarize

__all__ = ["Overview"]

MAX_REASON = 400  # characters
MAX_ROWS = 8  # that are read at a time; each can take 4 MB


class Overview:
    """The list of the sessions of a root."""

    def __init__(self, storage: StorageManager) -> None:
        self._storage = storage
        self._listing = Listing(storage, MetadataCache(storage))
        self._catalogue = Catalogue(storage)
        self._reading = asyncio.Semaphore(MAX_ROWS)

    async def page(self, given: Mapping[str, str]) -> dict[str, Any]:
        """Return the values of the list's template for the parameters of a URL.

        Raises:
            InvalidIdError, InvalidDataError: a parameter has a value that is not allowed.
            S3OperationError, S3ConfigError, LocalStorageError: the sessions cannot be listed.
            HTTPServiceUnavailable: too many searches wait.
        """
        query, found, why = parse_query(given), None, ""
        if not (query.is_by_id or query.after or query.is_last):
            try:
                found = await self._catalogue.find(query)
            except StorageManagerError as error:
                why = str(error)[:MAX_REASON]
        shown = _of_catalogue(found, query) if found else _of_ids(await self._listing.page(query), query)
        general = {"root": self._storage.url_for(), "outcomes": OUTCOMES, "size_text": size_text}
        return {**general, **shown, "query": query, "why": why}

    async def row(self, session_id: str) -> dict[str, Any]:
        """Return a session as the list shows it, as JSON.

        Raises:
            As summarize.
        """
        async with self._reading:
            return await summarize(self._storage, session_id)

    async def close(self) -> None:
        """Stop reading."""
        await self._listing.close()


def _of_catalogue(found: CataloguePage, query: ListQuery) -> dict[str, Any]:
    total = None if found.has_more or not found.rows else found.start + len(found.rows)
    before = query.link(page=query.page - 1) if query.page > 1 else None
    after = query.link(page=query.page + 1) if found.has_more else None
    links = {"first": query.link(), "before": before, "next": after, "last": None}
    shown = {"rows": found.rows, "start": found.start, "total": total, "links": links}
    return {**shown, "is_catalogue": True, "changed": found.changed, "partial": None}


def _of_ids(found: Page, query: ListQuery) -> dict[str, Any]:
    before = None if found.before is None else query.link(after=found.before)
    after = None if found.next is None else query.link(after=found.next)
    links = {"first": query.link(), "before": before, "next": after, "last": query.link(is_last=True)}
    rows = [Row(session_id) for session_id in found.sessions]
    shown = {"rows": rows, "start": found.start, "total": found.total, "links": links}
    return {**shown, "is_catalogue": False, "changed": None, "partial": found}
