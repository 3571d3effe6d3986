"""Find the sessions of the list in the catalogue. The text of a search becomes a condition of SQL, quoted."""

import asyncio
from collections import OrderedDict
from contextlib import aclosing
from datetime import datetime
from typing import Any, NamedTuple

from storage_manager.catalog import find_sessions
from storage_manager.encoding import decode_json
from storage_manager.errors import translating
from storage_manager.layout import CATALOG_DIRECTORY, join
from storage_manager.session_fields import text_of
from storage_manager.storage import StorageManager
from storage_manager.viewer.list_query import ListQuery
from storage_manager.viewer.sessions import PAGE
from storage_manager.viewer.summary import SessionMetadata, metadata_of_row
from storage_manager.viewer.turns import Turns

__all__ = ["Catalogue", "CataloguePage", "Row", "condition_of", "order_of", "quoted"]

MAX_QUERIES = 16  # that run or wait; each takes a second as a rule, and 30 seconds at most
KEPT = 32  # pages that are kept
_LOG = "_delta_log"  # the directory of a Delta Lake table with a file per version (PROTOCOL.md, "Delta Log Entries")
# A session without a start is sorted by the time at which it was last written.
_EXPRESSIONS = {"started_at": "coalesce(started_at, last_modified)"}
_TITLE = "CASE WHEN json_valid(metadata) THEN metadata->>'$.title' END"
# The text of a row in which words are searched. A word has no white space, so it cannot match across two lines.
_TEXT = (
    f"concat_ws(chr(10), session_id, goal, outcome, array_to_string(tags, chr(10)), "
    f"array_to_string(hosts, chr(10)), {_TITLE})"
)


class Row(NamedTuple):
    """A row of the list. If only the id of a session is known, the other fields have their defaults."""

    session_id: str
    metadata: SessionMetadata = SessionMetadata()
    steps: int | None = None
    size: int | None = None
    modified: datetime | None = None


class CataloguePage(NamedTuple):
    """One page of the sessions in the catalogue.

    Attributes:
        rows: up to a hundred sessions.
        start: the number of sessions on the pages before this one.
        has_more: True if there is a page after this one.
        changed: the time of the last change of the catalogue.
    """

    rows: list[Row]
    start: int
    has_more: bool
    changed: datetime | None


class _Version(NamedTuple):
    name: str
    changed: datetime | None


class Catalogue:
    """The catalogue of a root, if it has one. One query runs at a time, because each query is a process."""

    def __init__(self, storage: StorageManager) -> None:
        self._storage = storage
        self._pages: OrderedDict[tuple[_Version, ListQuery], CataloguePage] = OrderedDict()
        self._turns = Turns("searches", MAX_QUERIES)

    async def find(self, query: ListQuery) -> CataloguePage | None:
        """Return a page of sessions; None if there is no catalogue.

        A page that was found before is returned again, unless the catalogue has changed.

        Raises:
            S3OperationError, S3ConfigError, LocalStorageError: the catalogue cannot be read.
            StorageManagerError: it is damaged or of another release, deltalake or duckdb is not installed, or the query
                takes too long.
            HTTPServiceUnavailable: too many queries wait.
        """
        async with self._turns.turn():
            version = await self._version()
            if version is None:
                return None
            if (version, query) not in self._pages:
                self._pages[version, query] = await self._find(query, version)
            self._pages.move_to_end((version, query))
            while len(self._pages) > KEPT:
                self._pages.popitem(last=False)
            return self._pages[version, query]

    async def _find(self, query: ListQuery, version: _Version) -> CataloguePage:
        start = (query.page - 1) * PAGE
        order = order_of(query)
        inner = f"SELECT session_id FROM catalog WHERE {condition_of(query)} ORDER BY {order}, session_id"
        where = f"session_id IN ({inner} LIMIT {PAGE + 1} OFFSET {start})"
        found = await find_sessions(self._storage, where, order_by=order, limit=PAGE + 1)
        return CataloguePage(await asyncio.to_thread(_rows, found[:PAGE]), start, len(found) > PAGE, version.changed)

    async def _version(self) -> _Version | None:
        """Return the newest version of the table; None if there is none. On S3 this costs one LIST."""
        url = join(self._storage.url_for(), CATALOG_DIRECTORY, _LOG)
        versions = list[_Version]()
        with translating("view", url):
            async with self._storage.backend() as backend, aclosing(backend.iter_files(url)) as pages:
                async for page in pages:
                    versions += [_Version(file.name, file.modified) for file in page if file.name.endswith(".json")]
        return max(versions, key=lambda version: version.name, default=None)


def quoted(text: str) -> str:
    """Return a text as a literal of SQL. Only the single quote is special in one (DuckDB, "Literal Types")."""
    return "'" + text.replace("'", "''") + "'"


def condition_of(query: ListQuery) -> str:
    """Return the condition for a search and its filters."""
    conditions = [f"contains(lower({_TEXT}), lower({quoted(word)}))" for word in query.words]
    if query.outcome:
        conditions.append(f"outcome = {quoted(query.outcome)}")
    conditions += [
        f"list_contains({column}, {quoted(value)})"
        for column, value in {"tags": query.tag, "hosts": query.host}.items()
        if value
    ]
    return " AND ".join(conditions) or "true"


def order_of(query: ListQuery) -> str:
    """Return the order of the rows. `query.sort` is one of SORTS."""
    direction = "DESC" if query.is_descending else "ASC"
    return f"{_EXPRESSIONS.get(query.sort, query.sort)} {direction} NULLS LAST"


def _rows(found: list[dict[str, Any]]) -> list[Row]:
    """Convert the rows of a query. This takes a second if the metadata of each has a million characters."""
    return [_row(row) for row in found]


def _row(row: dict[str, Any]) -> Row:
    metadata = metadata_of_row({**row, "title": _title(row["metadata"])})
    return Row(row["session_id"], metadata.short(), row["steps"], row["bytes"], row["last_modified"])


def _title(metadata: str | None) -> str | None:
    try:
        return text_of(decode_json(metadata.encode()).get("title")) if metadata else None
    except ValueError:
        return None
