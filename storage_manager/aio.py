"""Two ways of awaiting that asyncio leaves to its users, and how far whoever waits is told to be."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, TypeVar

__all__ = ["Progress", "map_ahead", "run_to_end"]

Progress = Callable[[int, int | None], None]  # called with how many are done, and how many there are in all

In = TypeVar("In")
Out = TypeVar("Out")


async def run_to_end(work: Awaitable[Out]) -> Out:
    """Await work to its end, also when the caller is cancelled meanwhile: nothing goes on behind its back.

    A write that has been sent cannot be called back. The cancellation goes through when the work has ended.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # retrieved: the caller has left, and asyncio need not report it
        raise


async def _each(items: Iterable[In] | AsyncIterable[In]) -> AsyncGenerator[In, None]:
    if isinstance(items, AsyncIterable):
        try:
            async for item in items:
                yield item
        finally:
            if isinstance(items, AsyncGenerator):
                await items.aclose()
    else:
        for item in items:
            yield item


def _has_failed(task: "asyncio.Future[Any]") -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


async def map_ahead(
    function: Callable[[In], Awaitable[Out]], items: Iterable[In] | AsyncIterable[In], concurrency: int
) -> AsyncGenerator[Out, None]:
    """The results of a function for every item, in the order of the items, worked out ahead of the reader.

    No more than `concurrency` items are taken before their results are, and none is begun after one has failed. When
    the reader leaves, or an item fails, the others are cancelled and awaited, and the source is closed: nothing is
    left behind.

    Raises:
        ValueError: a concurrency below 1; nothing is taken.
    """
    if concurrency < 1:
        raise ValueError(f"concurrency must be at least 1, not {concurrency}")
    tasks: deque[asyncio.Future[Out]] = deque()
    source = _each(items)
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
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            await source.aclose()
