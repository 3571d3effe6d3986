"""Find sessions by a condition in DuckDB's SQL, which may come from someone else.

The condition runs in a database in memory that has the catalogue and nothing else. It can read no file, load no
extension and change no setting, and its memory and time are bounded.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from storage_manager.aio import run_to_end
from storage_manager.arguments import check_whole
from storage_manager.catalog.columns import COLUMNS
from storage_manager.catalog.table import Catalog
from storage_manager.errors import InvalidDataError, StorageManagerError, needing, translating
from storage_manager.layout import CATALOG_DIRECTORY, join
from storage_manager.storage import StorageManager

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["find_sessions"]

Out = TypeVar("Out")

_SECONDS = 30
_MEMORY = "2GB"
_MOST = 2**63 - 1  # rows
# Of a database in memory, without files, extensions, the variables of this program, and proxies with passwords.
_LOCKED_DOWN = {
    "autoload_known_extensions": "false",
    "autoinstall_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
    "http_proxy": "",
    "http_proxy_username": "",
    "http_proxy_password": "",
    "temp_directory": "",
    "secret_directory": "",
    "home_directory": "",
    "memory_limit": _MEMORY,
    "enable_external_access": "false",  # after the directories, which could not be set any more
    "lock_configuration": "true",
}


async def find_sessions(
    storage: StorageManager, where: str = "", *, order_by: str = "started_at DESC", limit: int | None = None
) -> list[dict[str, Any]]:
    """Return the catalogue's rows for which a condition in DuckDB's SQL holds.

    The columns are session_id, steps, bytes, started_at, ended_at, goal, outcome, reward, agent, model, owner, tags (a
    list), start_url, hosts (a list; of every step's URL, without ports), input_tokens, output_tokens, cost_usd, sealed,
    last_modified, metadata (JSON). Times are UTC datetimes. A field of the wrong type is None. What the catalogue
    knows is of its last update: see update_catalog.

    The condition can read nothing but the catalogue, and change nothing. It may run for 30 seconds.

    Parameters:
        where: a condition, such as `outcome = 'failure' and cost_usd > 1`; "" for all sessions.
        order_by: columns or expressions, as after ORDER BY. Rows without a value come last.
        limit: the most rows to return; None for all.

    Raises:
        InvalidDataError: the condition or the order cannot be used; says why, and lists the columns.
        TypeError, ValueError: limit is not a whole number, or is negative.
        S3OperationError, S3ConfigError, LocalStorageError: the catalogue cannot be read.
        StorageManagerError: there is no catalogue, or deltalake or duckdb is not installed.
    """
    if limit is not None:
        check_whole(limit, "limit", least=0)
    for name, text in {"where": where, "order_by": order_by}.items():
        if not isinstance(text, str):
            raise InvalidDataError(f"{name} must be a str, not {type(text).__name__}", operation="find")
    url = join(storage.url_for(), CATALOG_DIRECTORY)
    with translating("find", url):
        table = await Catalog(storage).read(list(COLUMNS))
        if table is None:
            why = "run `storage-manager catalog update`, or await update_catalog(storage)"
            raise StorageManagerError(f"there is no catalogue at {url}: {why}", operation="find", url=url)
        query = partial(_query, table, where, order_by, _MOST if limit is None else limit)
        return await run_to_end(asyncio.to_thread(query))


def _query(table: "pa.Table", where: str, order_by: str, limit: int) -> list[dict[str, Any]]:
    with needing("duckdb", "catalog", "find"):
        import duckdb

    statement = _statement(where, order_by, limit)
    connection = duckdb.connect(":memory:")
    try:
        _lock_down(connection, table)
        with _explaining(duckdb.Error):
            _check(duckdb, connection, where, statement)
            found = _within(_SECONDS, lambda: connection.sql(statement).to_arrow_table(), connection.interrupt)
    finally:
        connection.close()
    return [_row(row) for row in found.to_pylist()]


def _lock_down(connection: Any, table: "pa.Table") -> None:
    connection.execute("SET TimeZone = 'UTC'")
    connection.register("catalog", table)
    for name, value in _LOCKED_DOWN.items():
        connection.execute(f"SET {name} = '{value}'")


def _statement(where: str, order_by: str, limit: int) -> str:
    # each text ends with its line, and so does a comment in it
    condition = f"WHERE (\n{where}\n)" if where.strip() else ""
    order = f"ORDER BY\n{order_by}\n" if order_by.strip() else ""
    return f"SELECT {', '.join(COLUMNS)} FROM catalog {condition} {order} LIMIT {limit}"


@contextmanager
def _explaining(kind: type[Exception]) -> Iterator[None]:
    """Raise an error of DuckDB as one that says what is wrong with the condition."""
    try:
        yield
    except kind as error:
        why = " ".join(str(error).split("\n\nLINE")[0].split())
        message = f"the condition cannot be used: {why}; the columns are {', '.join(COLUMNS)}"
        raise InvalidDataError(message, operation="find") from error


def _check(duckdb: Any, connection: Any, where: str, statement: str) -> None:
    """Refuse what is more than one condition and one order.

    Raises:
        duckdb.Error, InvalidDataError: says what is wrong.
    """
    if where.strip():
        duckdb.SQLExpression(where)  # it must stand alone, also without the parentheses of the statement
    statements = connection.extract_statements(statement)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise InvalidDataError("give one condition and one order, without other statements", operation="find")


def _within(seconds: float, work: Callable[[], Out], stop: Callable[[], None]) -> Out:
    """Return the result of some work. Stop it if it takes longer.

    Raises:
        InvalidDataError: it took longer.
    """
    is_late = threading.Event()

    def end() -> None:
        is_late.set()
        stop()

    timer = threading.Timer(seconds, end)
    timer.start()
    try:
        return work()
    finally:
        timer.cancel()
        timer.join()
        if is_late.is_set():
            why = f"the condition takes longer than {seconds:g} seconds: make it simpler"
            raise InvalidDataError(why, operation="find") from None


def _row(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row whose times have the zone of datetime itself."""
    return {
        name: value.astimezone(timezone.utc) if isinstance(value, datetime) else value for name, value in row.items()
    }
