"""The Delta Lake table of the catalogue. deltalake is synchronous, so each call runs in a thread.

A commit is refused if another commit came first (`max_commit_retries=0`). It is then repeated on the new version. So
several updates at the same time lose nothing, and write no session twice.
"""

import asyncio
import os
import random
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, unquote

from storage_manager.aio import run_to_end
from storage_manager.catalog.columns import arrow, schema
from storage_manager.catalog.rows import Row
from storage_manager.errors import StorageManagerError, needing
from storage_manager.layout import CATALOG_DIRECTORY, join
from storage_manager.storage import StorageManager

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

__all__ = ["Catalog", "DeltaLakeError"]

Out = TypeVar("Out")

_ATTEMPTS = 50  # of a commit, while others come first
_LONGEST_PAUSE = 2.0  # seconds between two attempts
_FILES = 3  # more of them are compacted: a query costs two or three requests per file, and fifteen for the log
_FILE_BYTES = 128 * 2**20
_KEPT_HOURS = 24  # how long a reader of an older version finds its files
_VACUUM_EVERY = 20  # versions
_CONFIGURATION = {
    "delta.checkpointInterval": "10",
    "delta.logRetentionDuration": f"interval {_KEPT_HOURS} hours",
    "delta.deletedFileRetentionDuration": f"interval {_KEPT_HOURS} hours",
    # of other columns, no smallest and largest values are kept in the log: they may be long texts
    "delta.dataSkippingStatsColumns": "session_id,steps,started_at,ended_at,reward,cost_usd,last_modified",
}
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_UNKNOWN_ISSUER = " (name the file with your authorities in SSL_CERT_FILE: Delta Lake reads no AWS_CA_BUNDLE)"
_used_in: set[int] = set()  # the processes in which deltalake has threads
_SAME = "catalog.session_id = rows.session_id"


def _deltalake() -> Any:
    """Import and return deltalake.

    Raises:
        StorageManagerError: it is not installed; or this process was forked from one that has used it.
    """
    with needing("deltalake", "catalog", "catalog"):
        import deltalake
        import deltalake.exceptions
    if _used_in and os.getpid() not in _used_in:  # its threads are missing, so it would panic
        why = "deltalake cannot be used in a process that was forked after its first use: start it with spawn"
        raise StorageManagerError(f"cannot open the catalogue: {why}", operation="catalog")
    _used_in.add(os.getpid())
    return deltalake


class DeltaLakeError(OSError):
    """An error of deltalake. Its text is one line without colours, and may quote the answer of the service.

    Parameters:
        text: the text of deltalake's error.
    """

    def __init__(self, text: str) -> None:
        lines = [line.strip(" \n") for line in _COLOUR.sub("", text).replace("\u21b3", "\n").split("\n")]
        super().__init__(": ".join(filter(None, lines)) + _UNKNOWN_ISSUER * ("UnknownIssuer" in text))
        code = _CODE.search(text)
        self.response = {"Error": {"Code": code[1]}} if code else None


class Catalog:
    """The table of a root, for one operation.

    Attributes:
        url: the URL of its directory.
        version: the last version of the table that was read; None if there is no table.
    """

    def __init__(self, storage: StorageManager) -> None:
        self._storage = storage
        self.url = join(storage.url_for(), CATALOG_DIRECTORY)
        self.version: int | None = None
        self._opened: tuple[dict[str, str], DeltaTable] | None = None  # with the options with which it was opened
        _deltalake()
        arrow()

    async def _run(self, function: Callable[..., Out], *args: Any, to_write: bool = False) -> Out:
        """Call a function with the options of the table, in a thread. It is awaited even if the caller is cancelled."""
        async with self._storage.backend() as backend:
            options = await backend.table_options(self.url, to_write=to_write)
        return await run_to_end(asyncio.to_thread(self._call, function, options, *args))

    def _call(self, function: Callable[..., Out], *args: Any) -> Out:
        """Call a function. Raise an error of deltalake as an OSError whose text is one line."""
        try:
            return function(*args)
        except (OSError, _deltalake().exceptions.DeltaError) as error:
            raise DeltaLakeError(str(error)) from error

    async def read(self, columns: Sequence[str]) -> "pa.Table | None":
        """Return columns of all rows; None if there is no table, or if another release wrote other columns."""
        return await self._run(self._read, columns)

    def _read(self, options: dict[str, str], columns: Sequence[str]) -> "pa.Table | None":
        table = self._open(options)
        if table is None or not _is_current(table):
            return None
        try:
            return table.to_pyarrow_table(columns=list(columns))
        except (arrow().lib.ArrowException, FileNotFoundError) as error:  # a file of it is damaged, or was deleted
            raise self._damaged(error) from error

    def _open(self, options: dict[str, str]) -> "DeltaTable | None":
        """Open the table; None if there is none.

        Raises:
            StorageManagerError: the table is damaged.
        """
        delta = _deltalake()
        try:
            if self._opened and self._opened[0] == options:  # credentials may be others meanwhile
                self._opened[1].update_incremental()
            else:
                self._opened = options, delta.DeltaTable(_quoted(self.url), storage_options=options)
        except delta.exceptions.TableNotFoundError:
            return None
        except delta.exceptions.DeltaError as error:
            raise self._damaged(error) from error
        table = self._opened[1]
        self.version = table.version()
        return table

    async def write(self, rows: Sequence[Row], removed: Sequence[str], *, are_new: bool) -> None:
        """Add or replace the rows of sessions, and remove the rows of other sessions, in one commit.

        Parameters:
            are_new: True if the last version that was read has none of these sessions.
        """
        for number in range(_ATTEMPTS):
            if await self._run(self._write, rows, removed, are_new, self.version, to_write=True):
                return
            await asyncio.sleep(random.uniform(0, min(0.05 * 2**number, _LONGEST_PAUSE)))
        why = f"other updates came first {_ATTEMPTS} times: run it again"
        raise StorageManagerError(f"cannot catalog {self.url}: {why}", operation="catalog", url=self.url)

    def _write(
        self, options: dict[str, str], rows: Sequence[Row], removed: Sequence[str], are_new: bool, seen: int | None
    ) -> bool:
        """Return False if another commit came first."""
        delta = _deltalake()
        try:
            table = self._open(options) or self._create(options)
            if not _is_current(table):
                self._replace(table, rows)
            elif are_new and table.version() in (seen, 0):
                delta.write_deltalake(table, _to_arrow(rows), mode="append", **_properties(delta))
            else:
                _merge(table, _to_arrow(rows, removed), _properties(delta))
            self.version = table.version()
        except delta.exceptions.CommitFailedError:
            self._opened = None
            return False
        return True

    def _create(self, options: dict[str, str]) -> "DeltaTable":
        delta = _deltalake()
        given = {"storage_options": options, "configuration": _CONFIGURATION, "name": "sessions"}
        try:
            table: DeltaTable = delta.DeltaTable.create(_quoted(self.url), schema(), mode="error", **given)
        except delta.exceptions.CommitFailedError:
            raise
        except delta.exceptions.DeltaError:  # another update has created it meanwhile
            opened = self._open(options)
            if opened is None:
                raise
            return opened
        return table

    def _replace(self, table: "DeltaTable", rows: Sequence[Row]) -> None:
        """Replace a table in which another release wrote other columns."""
        delta = _deltalake()
        options = {"mode": "overwrite", "schema_mode": "overwrite", **_properties(delta)}
        delta.write_deltalake(table, _to_arrow(rows), **options)

    async def finish(self) -> int:
        """Compact the table if it has many files. Return how many sessions it has."""
        return await self._run(self._finish, to_write=True)

    def _finish(self, options: dict[str, str]) -> int:
        delta = _deltalake()
        table = self._open(options)
        if table is None:
            return 0
        try:
            self._tidy(table, _properties(delta))
        except delta.exceptions.CommitFailedError:  # another update is at work, and will do it
            table.update_incremental()
        return _count(table)

    def _tidy(self, table: "DeltaTable", properties: dict[str, Any]) -> None:
        before = table.version()
        is_scattered = len(table.file_uris()) > _FILES
        if is_scattered:
            table.optimize.compact(target_size=_FILE_BYTES, **properties)
        if is_scattered or before % _VACUUM_EVERY == 0:
            table.vacuum(_KEPT_HOURS, dry_run=False, enforce_retention_duration=False)
            table.cleanup_metadata()
        table.create_checkpoint()

    def _damaged(self, error: Exception) -> StorageManagerError:
        why = (
            f"it cannot be read ({type(error).__name__}): delete this directory, which loses nothing, and update again"
        )
        return StorageManagerError(f"cannot open {self.url}: {why}", operation="catalog", url=self.url)


def _quoted(url: str) -> str:
    """Return the URL of the table for deltalake, which decodes `%20` even in a path.

    Raises:
        StorageManagerError: the path itself has such a code, which deltalake decodes again when it reads the log.
    """
    protocol, _, path = url.rpartition("://")
    if unquote(path) != path:
        why = "its path has a % with two hexadecimal digits, which deltalake would decode: rename the directory"
        raise StorageManagerError(f"cannot open {url}: {why}", operation="open", url=url)
    return f"{protocol or 'file'}://{quote(path)}"


def _count(table: "DeltaTable") -> int:
    """Return the number of rows from the log. If another tool did not write it there, read the end of each file."""
    numbers = arrow().table(table.get_add_actions(flatten=True))["num_records"].to_pylist()
    return int(table.to_pyarrow_dataset().count_rows() if None in numbers else sum(numbers))


def _is_current(table: "DeltaTable") -> bool:
    columns = _deltalake().Schema.from_arrow(schema())
    found, ours = ([(field.name, field.type) for field in each.fields] for each in (table.schema(), columns))
    return bool(found == ours)


def _properties(delta: Any) -> dict[str, Any]:
    return {
        "commit_properties": delta.CommitProperties(max_commit_retries=0),
        "writer_properties": delta.WriterProperties(compression="ZSTD"),
    }


def _to_arrow(rows: Sequence[Row], removed: Sequence[str] | None = None) -> "pa.Table":
    """Return rows as a table. If `removed` is given, the table has a column `removed`, and rows for these sessions."""
    pa, columns = arrow(), schema()
    if removed is None:
        return pa.Table.from_pylist(list(rows), schema=columns)
    gone = [{"session_id": session_id, "removed": True} for session_id in removed]
    changed = [{**row, "removed": False} for row in rows]
    return pa.Table.from_pylist([*changed, *gone], schema=columns.append(pa.field("removed", pa.bool_())))


def _merge(table: "DeltaTable", rows: "pa.Table", properties: dict[str, Any]) -> None:
    merger = table.merge(rows, _SAME, source_alias="rows", target_alias="catalog", **properties)
    merger = merger.when_matched_delete("rows.removed")
    merger = merger.when_matched_update_all(except_cols=["removed"])
    merger.when_not_matched_insert_all("not rows.removed", except_cols=["removed"]).execute()
