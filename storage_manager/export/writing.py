"""How an export runs: steps are read ahead on the event loop, and written in a thread of its own."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from typing import Any, Protocol, TypeVar

from storage_manager.aio import Progress, map_ahead, run_to_end
from storage_manager.errors import StorageManagerError, translating
from storage_manager.export.rows import Row
from storage_manager.export.target import Target

__all__ = ["BATCH_BYTES", "Sink", "run"]

Out = TypeVar("Out")

BATCH_ROWS = 256
BATCH_BYTES = 4 * 2**20


class Sink(Protocol):
    """Files of an export that are being written; each call is made in the same thread."""

    names: "re.Pattern[str]"  # what its files may be called

    def add(self, rows: Sequence[Row]) -> None:
        """Write steps."""

    def finish(self) -> Sequence[str]:
        """Complete all files; their names, in the order in which they are to be published."""
        ...

    def close(self) -> None:
        """Close what is still open, as it will not be used."""


async def run(
    rows: AsyncGenerator[Row, None],
    sink: Sink,
    target: Target,
    *,
    batch_bytes: int = BATCH_BYTES,
    progress: Progress | None = None,
) -> Sequence[str]:
    """Write the steps, and publish the files when all are complete; else nothing at the target is changed.

    Returns:
        The names of the files.
    """
    with ThreadPoolExecutor(1, "storage_manager_export") as worker:

        async def hop(function: Callable[..., Out], *args: Any) -> Out:
            return await run_to_end(asyncio.get_running_loop().run_in_executor(worker, function, *args))

        try:
            done = await _write(rows, lambda batch: hop(_add, sink, batch), batch_bytes, progress)
            names = await hop(_publish, sink, target)
        finally:
            await hop(_clean, sink, target)
    if progress:
        progress(done, done)
    return names


async def _write(
    rows: AsyncGenerator[Row, None],
    add: Callable[[list[Row]], Any],
    batch_bytes: int,
    progress: Progress | None,
) -> int:
    """Steps are read while others are written: two batches are under way, and a third is being filled."""
    done = 0
    async with aclosing(_batches(rows, batch_bytes)) as batches, aclosing(map_ahead(add, batches, 2)) as written:
        async for count in written:
            done += count
            if progress:
                progress(done, None)
    return done


async def _batches(rows: AsyncGenerator[Row, None], batch_bytes: int) -> AsyncGenerator[list[Row], None]:
    batch: list[Row] = []
    size = 0
    async with aclosing(rows):
        async for row in rows:
            batch.append(row)
            size += sum(map(_size, row.data))
            if size >= batch_bytes or len(batch) == BATCH_ROWS:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def _size(value: Any) -> int:
    """About how many bytes a component has."""
    return len(value if isinstance(value, (str, bytes)) else repr(value))


def _add(sink: Sink, batch: list[Row]) -> int:
    sink.add(batch)
    return len(batch)


def _publish(sink: Sink, target: Target) -> Sequence[str]:
    names = sink.finish()
    target.publish(names, sink.names)
    return names


def _clean(sink: Sink, target: Target) -> None:
    with suppress(StorageManagerError), translating("export", target.url):
        sink.close()
    target.clean()
