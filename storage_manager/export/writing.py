"""Run an export: read steps ahead on the event loop, and write them in one thread."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from typing import Any, Protocol, TypeVar

from storage_manager.aio import Progress, map_ahead, run_to_end
from storage_manager.arguments import check_callable, check_whole
from storage_manager.errors import InvalidDataError, StorageManagerError, translating
from storage_manager.export.rows import Row
from storage_manager.export.target import Target

__all__ = ["BATCH_BYTES", "Sink", "check_options", "size_of", "write_export"]

Out = TypeVar("Out")

BATCH_ROWS = 256
BATCH_BYTES = 4 * 2**20


def check_options(name: str, value: int, most: int | None = None, progress: Progress | None = None) -> None:
    """Check that a number of rows or bytes is allowed, and that progress is a function or None.

    Raises:
        InvalidDataError: one of them is not allowed. The message names the argument.
    """
    try:
        check_whole(value, name, most=most)
        check_callable(progress, "progress", "two numbers")
    except (TypeError, ValueError) as error:
        raise InvalidDataError(f"cannot export: {error}", operation="export") from error


class Sink(Protocol):
    """Writes the files of one export. All its methods are called in the same thread."""

    name_pattern: "re.Pattern[str]"  # of the final names of its files

    def add(self, rows: Sequence[Row]) -> None:
        """Write steps."""

    def finish(self) -> Sequence[str]:
        """Complete all files. Return their names, in the order in which they are to be published."""
        ...

    def close(self) -> None:
        """Close all open files."""


async def write_export(
    rows: AsyncGenerator[Row, None],
    sink: Sink,
    target: Target,
    *,
    batch_bytes: int = BATCH_BYTES,
    progress: Progress | None = None,
) -> Sequence[str]:
    """Write the steps, and publish the files when all are complete. After a failure, the target is unchanged.

    Returns:
        The names of the files.
    """
    with ThreadPoolExecutor(1, "storage_manager_export") as worker:

        async def in_worker(function: Callable[..., Out], *args: Any) -> Out:
            return await run_to_end(asyncio.get_running_loop().run_in_executor(worker, function, *args))

        try:
            done = await _write_batches(rows, lambda batch: in_worker(_add, sink, batch), batch_bytes, progress)
            names = await in_worker(_publish, sink, target)
        finally:
            await in_worker(_clean, sink, target)
    if progress:
        progress(done, done)
    return names


async def _write_batches(
    rows: AsyncGenerator[Row, None],
    add: Callable[[list[Row]], Any],
    batch_bytes: int,
    progress: Progress | None,
) -> int:
    """Write batches while more steps are read. Return the number of steps.

    At most two batches are being written or waiting, while a third batch is being filled.
    """
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
            size += size_of(row)
            if size >= batch_bytes or len(batch) == BATCH_ROWS:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def size_of(row: Row) -> int:
    """Return the approximate number of bytes of a step."""
    return sum(map(_approximate_size, (*row.data, *row.attachments.values())))


def _approximate_size(value: Any) -> int:
    """Return the approximate number of bytes of a component or attachment."""
    return len(value if isinstance(value, (str, bytes)) else repr(value))


def _add(sink: Sink, batch: list[Row]) -> int:
    sink.add(batch)
    return len(batch)


def _publish(sink: Sink, target: Target) -> Sequence[str]:
    names = sink.finish()
    target.publish(names, sink.name_pattern)
    return names


def _clean(sink: Sink, target: Target) -> None:
    with suppress(StorageManagerError), translating("export", target.url):
        sink.close()
    target.clean()
