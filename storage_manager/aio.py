"""Two helpers for asyncio: finish work despite a cancellation, and process items ahead of their reader."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
from contextlib import aclosing, suppress
from typing import Any, TypeVar

from storage_manager.arguments import check_several, check_whole

__all__ = ["Progress", "map_ahead", "run_to_end"]

Progress = Callable[[int, int | None], None]  # called with the number of items done, and the total if it is known

In = TypeVar("In")
Out = TypeVar("Out")


async def run_to_end(work: Awaitable[Out], undo: Callable[[Out], object] | None = None) -> Out:
    """Wait until work has ended, even if the caller is cancelled meanwhile.

    A write cannot be taken back once it was sent, and it must not be running after the caller has continued. So the
    cancellation is raised only when the work has ended.

    Parameters:
        undo: called with the result if the caller was cancelled, for example to close an open file.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        # calling `exception` also stops asyncio from reporting an error that nobody retrieved
        if not task.cancelled() and task.exception() is None and undo is not None:
            undo(task.result())
        raise


async def _iterate(items: Iterable[In] | AsyncIterable[In]) -> AsyncGenerator[In, None]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


def _has_failed(task: "asyncio.Future[Any]") -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


async def map_ahead(
    function: Callable[[In], Awaitable[Out]], items: Iterable[In] | AsyncIterable[In], concurrency: int
) -> AsyncGenerator[Out, None]:
    """Call a function for every item ahead of the reader, and yield the results in the order of the items.

    At most `concurrency` calls are running. After a failure, no further item is taken. If the reader stops or a call
    fails, the other calls are cancelled and awaited, and the source is closed.

    Raises:
        TypeError, ValueError: concurrency is not a whole number, or is below 1; or items is not iterable. No item is
            taken.
    """
    concurrency = check_whole(concurrency, "concurrency")
    check_several(items, "items", of="what the function takes", may_be_async=True)
    tasks: deque[asyncio.Future[Out]] = deque()
    async with aclosing(items if isinstance(items, AsyncGenerator) else _iterate(items)) as source:
        try:
            async for item in source:
                if any(map(_has_failed, tasks)):
                    break
                tasks.append(asyncio.ensure_future(function(item)))
                if len(tasks) >= concurrency:
                    yield await tasks.popleft()
            while tasks:
                yield await tasks.popleft()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
