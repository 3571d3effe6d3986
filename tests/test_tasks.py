"""Work that has begun is awaited, and work ahead is bounded."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from storage_manager.tasks import ahead, settled


@pytest.mark.parametrize("cancellations", [1, 3])
@pytest.mark.parametrize("fails", [False, True])
async def test_work_has_ended_before_the_cancellation_comes_out(cancellations: int, fails: bool) -> None:
    ended = False

    async def work() -> None:
        nonlocal ended
        for _ in range(20):
            await asyncio.sleep(0)
        ended = True
        if fails:
            raise OSError("nobody hears this")

    task = asyncio.ensure_future(settled(work()))
    for _ in range(cancellations):
        await asyncio.sleep(0)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended


async def test_results_and_errors_come_through() -> None:
    assert await settled(asyncio.sleep(0, "result")) == "result"

    async def fail() -> None:
        raise OSError("heard")

    with pytest.raises(OSError, match="heard"):
        await settled(fail())


async def test_work_that_is_cancelled_itself() -> None:
    started = asyncio.Event()
    inner: list[asyncio.Task[None] | None] = []

    async def work() -> None:
        inner.append(asyncio.current_task())
        started.set()
        await asyncio.sleep(60)

    task = asyncio.ensure_future(settled(work()))
    await started.wait()
    assert inner[0] is not None
    inner[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("concurrency", [1, 3, 100])
async def test_ahead_keeps_order_and_bound(concurrency: int) -> None:
    running, most, taken = 0, 0, 0

    async def source() -> AsyncIterator[int]:
        nonlocal taken
        for number in range(20):
            taken += 1
            yield number

    async def work(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(20 - number):
            await asyncio.sleep(0)
        running -= 1
        return number

    results = []
    async for result in ahead(work, source(), concurrency):
        assert taken <= len(results) + concurrency + 1
        results.append(result)
    assert results == list(range(20))
    assert most <= concurrency


async def test_a_failure_leaves_none_behind() -> None:
    ended = []

    async def work(number: int) -> int:
        if number == 2:
            raise OSError("two")
        try:
            await asyncio.sleep(0 if number < 2 else 60)
        finally:
            ended.append(number)
        return number

    results = []
    with pytest.raises(OSError, match="two"):
        async for result in ahead(work, range(100), 5):
            results.append(result)
    assert results == [0, 1]
    assert set(ended) >= {0, 1}
    assert len(asyncio.all_tasks()) == 1
