"""Find sessions by a condition in DuckDB's SQL. The condition may come from an untrusted user.

The condition runs in a separate process, in a database in memory that contains only the catalogue. It cannot read
files, load extensions or change settings, and its memory and time are limited.
"""

import asyncio
import io
import json
import os
import re
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from storage_manager.arguments import check_whole
from storage_manager.catalog.columns import COLUMNS, arrow
from storage_manager.catalog.table import Catalog
from storage_manager.catalog.worker import REFUSED
from storage_manager.errors import InvalidDataError, StorageManagerError, how_to_install, translating
from storage_manager.layout import CATALOG_DIRECTORY, join
from storage_manager.storage import StorageManager, check_storage

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["find_sessions"]


_WORKER = os.path.join(os.path.dirname(__file__), "worker.py")
_SECONDS = 30
_MEMORY = 4 * 2**30  # bytes for a condition, beside three times the catalogue
_TOO_MUCH = f"the condition cannot be used: it needs more than {_SECONDS} seconds, or too much memory: make it simpler"
_MOST = 2**63 - 1  # rows
# The worker needs none of these variables of the environment.
_SECRET = re.compile(r"^(AWS|SM)_|key|secret|token|passw|credential|auth|proxy", re.IGNORECASE)


async def find_sessions(
    storage: StorageManager, where: str = "", *, order_by: str = "started_at DESC", limit: int | None = None
) -> list[dict[str, Any]]:
    """Return the rows of the catalogue for which a condition in DuckDB's SQL is true.

    The columns are session_id, steps, bytes, started_at, ended_at, goal, outcome, reward, agent, model, owner, tags (a
    list), start_url, hosts (a list of the hosts in the URLs of all steps, without ports), input_tokens, output_tokens,
    cost_usd, sealed, last_modified, metadata (JSON). Times are UTC datetimes. A field of the wrong type is None. The
    catalogue has the sessions as they were at its last update: see update_catalog.

    The condition can read only the catalogue, and cannot change anything. It may run for at most 30 seconds.

    Parameters:
        where: a condition, such as `outcome = 'failure' and cost_usd > 1`; "" for all sessions.
        order_by: columns or expressions, as after ORDER BY. Rows without a value come last.
        limit: the maximum number of rows to return; None for all.

    Raises:
        InvalidDataError: the condition or the order cannot be used. The message says why, and lists the columns.
        TypeError, ValueError: `storage` is not a StorageManager; or limit is not a whole number, or is negative.
        S3OperationError, S3ConfigError, LocalStorageError: the catalogue cannot be read.
        StorageManagerError: there is no catalogue, or deltalake or duckdb is not installed.
    """
    check_storage(storage)
    if limit is not None:
        check_whole(limit, "limit", least=0)
    for name, text in {"where": where, "order_by": order_by}.items():
        if not isinstance(text, str):
            raise InvalidDataError(f"{name} must be a str, not {type(text).__name__}", operation="find")
    url = join(storage.url_for(), CATALOG_DIRECTORY)
    if find_spec("duckdb") is None:
        raise StorageManagerError(f"duckdb is not installed: {how_to_install('catalog')}", operation="find")
    with translating("find", url):
        async with _worker() as process:  # it starts while the table is read
            return await _find(storage, process, url, {"where": where, "order_by": order_by, "limit": limit})


async def _find(storage: StorageManager, process: Process, url: str, query: dict[str, Any]) -> list[dict[str, Any]]:
    table = await Catalog(storage).read(list(COLUMNS))
    if table is None:
        why = "run `storage-manager catalog update`, or await update_catalog(storage)"
        raise StorageManagerError(f"there is no catalogue at {url}: {why}", operation="find", url=url)
    limits = {"cpu_seconds": 2 * _SECONDS, "memory_bytes": _MEMORY + 3 * table.nbytes}
    query = {**query, "columns": ", ".join(COLUMNS), "limit": _MOST if query["limit"] is None else query["limit"]}
    data = await asyncio.to_thread(_to_bytes, {**limits, "query": query}, table)
    answer = await _ask(process, data)
    return await asyncio.to_thread(_rows, answer)


@asynccontextmanager
async def _worker() -> AsyncIterator[Process]:
    """Start the worker. It ends before the block ends."""
    environment = {name: value for name, value in os.environ.items() if not _SECRET.search(name)}
    start = partial(asyncio.create_subprocess_exec, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment)
    process = await start(sys.executable, _WORKER)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def _ask(process: Process, data: memoryview) -> bytes:
    """Return the answer of the worker.

    Raises:
        InvalidDataError: the condition cannot be used, or takes too long or too much memory.
        OSError: the worker failed.
    """
    try:
        answer, failure = await asyncio.wait_for(process.communicate(data), _SECONDS)
    except asyncio.TimeoutError:
        raise _refusal(_TOO_MUCH) from None
    if process.returncode == REFUSED:
        raise _refusal(answer.decode(errors="replace"))
    if (process.returncode or 0) < 0 or b"MemoryError" in failure:  # a signal ended it
        raise _refusal(_TOO_MUCH)
    if process.returncode:
        raise OSError(f"DuckDB failed: {failure.decode(errors='replace').strip().rpartition(chr(10))[2]}")
    return answer


def _refusal(why: str) -> InvalidDataError:
    return InvalidDataError(f"{why}; the columns are {', '.join(COLUMNS)}", operation="find")


def _to_bytes(header: dict[str, Any], table: "pa.Table") -> memoryview:
    buffer = io.BytesIO()
    buffer.write(json.dumps(header).encode() + b"\n")
    with arrow().ipc.new_stream(buffer, table.schema) as stream:
        stream.write_table(table)
    return buffer.getbuffer()


def _rows(answer: bytes) -> list[dict[str, Any]]:
    return [_row(row) for row in arrow().ipc.open_stream(answer).read_all().to_pylist()]


def _row(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row whose times use `datetime.timezone.utc`, because pyarrow uses another time zone object."""
    return {
        name: value.astimezone(timezone.utc) if isinstance(value, datetime) else value for name, value in row.items()
    }
