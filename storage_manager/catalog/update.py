"""Bring the catalogue up to date with the sessions."""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from storage_manager.aio import Progress, map_ahead
from storage_manager.arguments import check_callable, check_whole
from storage_manager.catalog.cluster import active_client, visit_on_cluster
from storage_manager.catalog.columns import arrow
from storage_manager.catalog.rows import Row, list_session, read_row
from storage_manager.catalog.table import Catalog
from storage_manager.errors import InvalidIdError, StorageManagerError, first_of, translating
from storage_manager.layout import CATALOG_DIRECTORY, check_id, check_ids, join
from storage_manager.storage import StorageManager, check_storage

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["CatalogUpdate", "update_catalog"]

logger = logging.getLogger(__name__)

_ROWS_AT_ONCE = 10_000  # that are committed together: a long first build that is killed keeps what it has committed
_BYTES_AT_ONCE = 64 * 2**20  # of the metadata in these rows
_MAY_FAIL = 32  # sessions, before the first that can be read; more mean that the storage fails
_SLICE = 10_000  # known rows that are Python objects at a time


class CatalogUpdate(NamedTuple):
    """The numbers of sessions that an update added, read again and removed, and the number of all sessions."""

    added: int
    refreshed: int
    removed: int
    sessions: int


async def update_catalog(
    storage: StorageManager,
    session_ids: Iterable[str] | None = None,
    *,
    full: bool = False,
    concurrency: int = 32,
    progress: Progress | None = None,
) -> CatalogUpdate:
    """Bring `<root>/_catalog`, a Delta Lake table with one row per session, up to date.

    New sessions are read. A session in the table that is not sealed costs one listing, and is read again if a file was
    added or deleted, or has another size, time or ETag. A session in the table that is sealed is not checked: changes
    are found only with `session_ids` or `full`. Deleted sessions are removed from the table. If a session cannot be
    read, its row does not change, and a warning names the session. A warning also names each session in `session_ids`
    that neither exists nor is in the table.

    Several updates may run at the same time: a commit that conflicts is repeated. If an update is killed, the table
    remains valid, and the next update continues.

    If this process has a client of a Dask cluster (`distributed.Client`), the workers read the sessions. They find
    credentials as botocore does.

    Parameters:
        session_ids: the sessions to read again, in any case. Other sessions are not checked. None to check all
            sessions.
        full: True to read all sessions again.
        concurrency: how many sessions are read at a time.
        progress: called on the event loop with the number of sessions checked so far and None; at the end with that
            number twice. Sealed sessions in the table are not checked.

    Raises:
        InvalidIdError, InvalidDataError: an argument is not allowed. Raised before any I/O.
        TypeError, ValueError: `storage` is not a StorageManager; concurrency is not a whole number, or is below 1; or
            progress is not a function.
        S3OperationError, S3ConfigError, LocalStorageError: the root cannot be listed, no session can be read, or the
            table cannot be written.
        StorageManagerError: the backend is neither S3 nor local disk, the table is damaged, or deltalake is not
            installed.
    """
    check_storage(storage)
    given = check_ids(session_ids, "catalog")
    check_whole(concurrency, "concurrency")
    check_callable(progress, "progress", "the numbers of sessions done and in all")
    named = None if given is None else list(dict.fromkeys(check_id(name, "session_id") for name in given))
    with translating("catalog", join(storage.url_for(), CATALOG_DIRECTORY)):
        async with storage.backend():
            return await _Update(storage, full=full, progress=progress).run(named, concurrency)


class _Known(NamedTuple):
    """A session in the table. The digest is None if a file of the session could not be read."""

    session_id: str
    digest: str | None = None
    sealed: bool = False


class _Task(NamedTuple):
    """A session to check. `known` is None if it is not in the table."""

    session_id: str
    known: _Known | None
    is_forced: bool = False


class _Visited(NamedTuple):
    """A session that was checked. `row` is None if it has no files, or if it is unchanged."""

    task: _Task
    row: Row | None = None
    is_unchanged: bool = False
    error: StorageManagerError | None = None

    @property
    def is_missing(self) -> bool:
        """True if there is no such session."""
        return self.row is None and not self.is_unchanged and self.error is None


class _Update:
    """One update of the catalogue."""

    def __init__(self, storage: StorageManager, *, full: bool, progress: Progress | None) -> None:
        self._storage, self._full = storage, full
        self._progress = progress or (lambda done, total: None)
        self._catalog = Catalog(storage)
        self._rows = list[Row]()
        self._removed = list[str]()
        self._are_new = True  # none of the rows that wait is in the table
        self._bytes = 0
        self._has_written = False
        self._counts = {"added": 0, "refreshed": 0, "removed": 0}
        self._failed = list[_Visited]()
        self._without_files = list[str]()
        self._done = 0

    async def run(self, named: Sequence[str] | None, concurrency: int) -> CatalogUpdate:
        """Check the sessions, and write what has changed."""
        known = await self._catalog.read(["session_id", "digest", "sealed"])
        tasks = self._all(known) if named is None else _to_read(named, known)
        async with aclosing(self._visits(tasks, concurrency, is_all=named is None)) as visits:
            async for visited in visits:
                self._take(visited)
                if len(self._rows) >= _ROWS_AT_ONCE or self._bytes >= _BYTES_AT_ONCE:
                    await self._write()
        self._refuse_if_all_failed()
        await self._write(may_be_empty=known is None)
        sessions = await self._catalog.finish() if self._has_written or known is None else known.num_rows
        self._progress(self._done, self._done)
        self._report()
        return CatalogUpdate(**self._counts, sessions=sessions)

    def _visits(self, tasks: AsyncIterator[_Task], concurrency: int, *, is_all: bool) -> AsyncGenerator[_Visited, None]:
        client = active_client() if is_all else None
        if client is not None:
            return visit_on_cluster(client, self._storage, _visit, tasks, concurrency)
        return map_ahead(partial(_visit, self._storage), tasks, concurrency)

    async def _all(self, table: "pa.Table | None") -> AsyncGenerator[_Task, None]:
        """Yield those of all sessions that must be checked. Remember deleted sessions, to remove them from the table.

        Both the listing and the table are in order, so they are compared entry by entry.
        """
        rows = _in_order(table)
        known = next(rows, None)
        async with aclosing(self._storage.iter_sessions()) as sessions:
            async for session_id in sessions:
                while known is not None and known.session_id < session_id:
                    self._remove(known.session_id)
                    known = next(rows, None)
                is_known = known is not None and known.session_id == session_id
                task = _Task(session_id, known if is_known else None, self._full)
                known = next(rows, None) if is_known else known
                if self._full or not _is_trusted(task.known):
                    yield task
        for gone in [known, *rows] if known else []:
            self._remove(gone.session_id)

    def _remove(self, session_id: str) -> None:
        self._removed.append(session_id)
        self._counts["removed"] += 1

    def _take(self, visited: _Visited) -> None:
        """Keep a change until it is written."""
        self._done += 1
        self._progress(self._done, None)
        task, row = visited.task, visited.row
        if visited.error:
            self._failed.append(visited)
            if len(self._failed) == self._done == _MAY_FAIL:
                raise visited.error
        elif row is not None:
            self._rows.append(row)
            self._bytes += len(row["metadata"] or "")
            self._are_new &= task.known is None
            self._counts["added" if task.known is None else "refreshed"] += 1
        elif visited.is_missing and task.known is not None:
            self._remove(task.session_id)
        elif visited.is_missing:
            self._without_files.append(task.session_id)

    async def _write(self, *, may_be_empty: bool = False) -> None:
        if self._rows or self._removed or may_be_empty:
            await self._catalog.write(self._rows, self._removed, are_new=self._are_new and not self._removed)
            self._has_written = True
        self._rows, self._removed, self._are_new, self._bytes = [], [], True, 0

    def _refuse_if_all_failed(self) -> None:
        if self._failed and len(self._failed) == self._done and self._failed[0].error:
            raise self._failed[0].error

    def _report(self) -> None:
        if self._failed:
            names = first_of([visited.task.session_id for visited in self._failed], 10)
            error = self._failed[0].error
            logger.warning("sessions that cannot be read keep their row in the catalogue: %s (%s)", names, error)
        if self._without_files:
            logger.warning("sessions that do not exist, or have no files: %s", first_of(self._without_files, 10))


async def _visit(storage: StorageManager, task: _Task) -> _Visited:
    """List a session, and read it if its files differ from those in the table."""
    try:
        listing = await list_session(storage, task.session_id)
        if not listing.files:
            return _Visited(task)
        if not task.is_forced and task.known and task.known.digest == listing.digest:
            return _Visited(task, is_unchanged=True)
        return _Visited(task, await read_row(storage, task.session_id, listing))
    except InvalidIdError:
        raise
    except StorageManagerError as error:
        return _Visited(task, error=error)


def _is_trusted(known: _Known | None) -> bool:
    return known is not None and known.sealed and known.digest is not None


def _in_order(table: "pa.Table | None") -> Iterator[_Known]:
    """Yield the rows of the table by session id. Only some are Python objects at a time."""
    if table is None:
        return
    rows: pa.Table = table.sort_by("session_id")
    for start in range(0, rows.num_rows, _SLICE):
        for row in rows.slice(start, _SLICE).to_pylist():
            yield _Known(**row)


async def _to_read(named: Iterable[str], table: "pa.Table | None") -> AsyncIterator[_Task]:
    """Yield these sessions, to read them in any case."""
    ids: Any = set() if table is None else set(_among(table, named))
    for session_id in named:
        yield _Task(session_id, _Known(session_id) if session_id in ids else None, is_forced=True)


def _among(table: "pa.Table", names: Iterable[str]) -> list[str]:
    """Return the names that are in the table."""
    pa = arrow()
    column = table["session_id"]
    found: list[str] = column.filter(pa.compute.is_in(column, pa.array(list(names), pa.string()))).to_pylist()
    return found
