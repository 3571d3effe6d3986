"""Work that has begun is awaited, and work ahead is bounded."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import pytest

from storage_manager.aio import map_ahead, run_to_end


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

    task = asyncio.ensure_future(run_to_end(work()))
    for _ in range(cancellations):
        await asyncio.sleep(0)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended


async def test_results_and_errors_come_through() -> None:
    assert await run_to_end(asyncio.sleep(0, "result")) == "result"

    async def fail() -> None:
        raise OSError("heard")

    with pytest.raises(OSError, match="heard"):
        await run_to_end(fail())


async def test_work_that_is_cancelled_itself() -> None:
    started = asyncio.Event()
    inner: list[asyncio.Task[None] | None] = []

    async def work() -> None:
        inner.append(asyncio.current_task())
        started.set()
        await asyncio.sleep(60)

    task = asyncio.ensure_future(run_to_end(work()))
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
    async for result in map_ahead(work, source(), concurrency):
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
        async for result in map_ahead(work, range(100), 5):
            results.append(result)
    assert results == [0, 1]
    assert set(ended) >= {0, 1}
    assert len(asyncio.all_tasks()) == 1


@pytest.fixture
async def complaints() -> AsyncIterator[list[str]]:
    """What asyncio reports of errors that nobody has retrieved; must stay empty."""
    seen: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: seen.append(context["message"]))
    yield seen
    gc.collect()  # "exception was never retrieved" is said when the task is collected
    await asyncio.sleep(0)
    assert seen == []


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


# --- settled ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cancellations", [1, 2, 10])
@pytest.mark.parametrize("fails", [False, True])
async def test_no_cancellation_overtakes_the_work(cancellations: int, fails: bool, complaints: list[str]) -> None:
    """ "The cancellation goes through when the work has ended", however often it is asked for."""
    release, ended = asyncio.Event(), False

    async def work() -> None:
        nonlocal ended
        await release.wait()
        ended = True
        if fails:
            raise OSError("nobody hears this")

    task = asyncio.ensure_future(run_to_end(work()))
    await turns(2)
    for _ in range(cancellations):
        task.cancel()
        await turns(3)
        assert not task.done()
    assert not ended
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended
    assert len(asyncio.all_tasks()) == 1
    del task


async def test_a_failure_is_heard_once(complaints: list[str]) -> None:
    failure = OSError("heard")

    async def work() -> None:
        raise failure

    with pytest.raises(OSError, match="heard") as caught:
        await run_to_end(work())
    assert caught.value is failure


async def test_a_timeout_waits_for_the_work(complaints: list[str]) -> None:
    """asyncio.wait_for cancels; what it has cancelled has ended when TimeoutError comes out."""
    ended = False

    async def work() -> None:
        nonlocal ended
        await asyncio.sleep(0.05)
        ended = True

    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(run_to_end(work()), 0.001)
    assert ended


async def test_work_that_cancels_itself_while_the_caller_is_cancelled(complaints: list[str]) -> None:
    async def work() -> None:
        await turns(5)
        raise asyncio.CancelledError

    task = asyncio.ensure_future(run_to_end(work()))
    await turns(2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_the_work_is_not_told_of_the_cancellation() -> None:
    told = False

    async def work() -> None:
        nonlocal told
        try:
            await turns(10)
        except asyncio.CancelledError:
            told = True
            raise

    task = asyncio.ensure_future(run_to_end(work()))
    await turns(2)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert not told


# --- ahead --------------------------------------------------------------------------------------------------


class Source:
    """Items, counted as they are taken; as an iterable of either kind."""

    def __init__(self, count: int) -> None:
        self.count, self.taken, self.closed = count, 0, False

    def sync(self) -> Iterator[int]:
        for number in range(self.count):
            self.taken += 1
            yield number

    async def asynchronous(self) -> AsyncIterator[int]:
        try:
            for number in range(self.count):
                await asyncio.sleep(0)
                self.taken += 1
                yield number
        finally:
            self.closed = True


@pytest.mark.parametrize("kind", ["sync", "asynchronous"])
@pytest.mark.parametrize("concurrency", [1, 2, 5, 50])
async def test_the_bound_is_met_and_never_passed(kind: str, concurrency: int) -> None:
    """ "No more than `concurrency` items are taken before their results are"; and no fewer, where there are some."""
    source, most, received = Source(20), 0, 0

    async def work(number: int) -> int:
        await turns((number * 7) % 5)
        return -number

    async for result in map_ahead(work, getattr(source, kind)(), concurrency):
        assert result == -received
        most = max(most, source.taken - received)
        assert source.taken - received <= concurrency
        await turns(10)
        assert source.taken - received <= concurrency
        received += 1
    assert received == 20
    assert most == min(concurrency, 20)


@pytest.mark.parametrize("kind", ["sync", "asynchronous"])
async def test_they_really_run_at_once(kind: str) -> None:
    everyone = asyncio.Event()
    waiting = 0

    async def work(number: int) -> int:
        nonlocal waiting
        waiting += 1
        if waiting == 4:
            everyone.set()
        await asyncio.wait_for(everyone.wait(), 30)
        return number

    assert [result async for result in map_ahead(work, getattr(Source(4), kind)(), 4)] == [0, 1, 2, 3]


@pytest.mark.parametrize("items", [[], (), iter(()), {}])
async def test_no_items_no_results(items: Any) -> None:
    assert [result async for result in map_ahead(asyncio.sleep, items, 3)] == []


class Worker:
    """Starts what it is asked to; item `bad` fails, the others wait to be cancelled and need a while to end."""

    def __init__(self, bad: int | None = None, good: int = 0) -> None:
        self.bad, self.good = bad, good
        self.started: list[int] = []
        self.ended: list[int] = []

    async def __call__(self, number: int) -> int:
        self.started.append(number)
        try:
            if number == self.bad:
                raise OSError("bad")
            if number >= self.good:
                await asyncio.sleep(60)
        finally:
            await turns(5)
            self.ended.append(number)
        return number


async def test_a_failing_item_cancels_and_awaits_the_others(complaints: list[str]) -> None:
    worker, source, results = Worker(bad=2, good=2), Source(100), []
    with pytest.raises(OSError, match="bad"):
        async for result in map_ahead(worker, source.asynchronous(), 5):
            results.append(result)
    assert results == [0, 1]
    assert sorted(worker.ended) == sorted(worker.started)
    assert source.taken <= 2 + 5


async def test_a_failure_is_noticed_though_the_source_is_slow(complaints: list[str]) -> None:
    """Of a live recording the next fifteen steps come a minute later."""
    begun = []

    async def work(number: int) -> None:
        begun.append(number)
        raise OSError(f"item {number}")

    async def slow() -> AsyncIterator[int]:
        for number in range(100):
            await turns(3)
            yield number

    with pytest.raises(OSError, match="item 0"):
        async for _ in map_ahead(work, slow(), 16):
            pass
    assert begun == [0]


async def test_several_failures_are_one_error(complaints: list[str]) -> None:
    async def work(number: int) -> None:
        raise OSError(f"item {number}")

    with pytest.raises(OSError, match="item 0"):
        async for _ in map_ahead(work, range(10), 4):
            pass


async def test_a_later_failure_does_not_hide_earlier_results(complaints: list[str]) -> None:
    async def work(number: int) -> int:
        if number == 3:
            raise OSError("bad")
        await turns(20)
        return number

    results = []
    with pytest.raises(OSError, match="bad"):
        async for result in map_ahead(work, range(10), 8):
            results.append(result)
    assert results == [0, 1, 2]


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_failing_source_leaves_none_behind(asynchronous: bool, complaints: list[str]) -> None:
    worker = Worker()

    def source() -> Iterator[int]:
        yield from range(3)
        raise OSError("the source has ended badly")

    async def asynchronously() -> AsyncIterator[int]:
        for number in source():
            await turns(2)
            yield number

    with pytest.raises(OSError, match="the source has ended badly"):
        async for _ in map_ahead(worker, asynchronously() if asynchronous else source(), 9):
            pass
    await turns(1)
    assert sorted(worker.ended) == sorted(worker.started)
    assert len(asyncio.all_tasks()) == 1


async def test_a_function_that_fails_before_it_begins(complaints: list[str]) -> None:
    worker = Worker()

    def function(number: int) -> Any:
        if number == 2:
            raise OSError("no coroutine")
        return worker(number)

    with pytest.raises(OSError, match="no coroutine"):
        async for _ in map_ahead(function, range(9), 5):
            pass
    assert sorted(worker.ended) == sorted(worker.started)
    assert len(asyncio.all_tasks()) == 1


async def test_a_reader_that_leaves(complaints: list[str]) -> None:
    """ "When the reader leaves ... the others are cancelled and awaited"."""
    worker = Worker(good=1)
    results = map_ahead(worker, range(100), 5)
    assert await anext(results) == 0
    await turns(3)
    assert worker.started == [0, 1, 2, 3, 4]
    await results.aclose()  # type: ignore[attr-defined]
    assert sorted(worker.ended) == [0, 1, 2, 3, 4]
    assert len(asyncio.all_tasks()) == 1
    assert [result async for result in results] == []


async def test_a_reader_that_never_comes() -> None:
    source = Source(3)
    results = map_ahead(Worker(), source.sync(), 2)
    await results.aclose()  # type: ignore[attr-defined]
    assert source.taken == 0


@pytest.mark.parametrize("cancellations", [1, 3])
async def test_a_cancelled_reader_leaves_none_behind(cancellations: int, complaints: list[str]) -> None:
    """Each item is ended by `settled`, as a write is, so that it outlasts the cancellations."""
    ended: list[int] = []

    async def write(number: int) -> None:
        await turns(20)
        ended.append(number)

    async def read() -> None:
        async for _ in map_ahead(lambda number: run_to_end(write(number)), range(50), 4):
            pass

    task = asyncio.ensure_future(read())
    await turns(5)
    for _ in range(cancellations):
        task.cancel()
        await turns(1)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(ended) == [0, 1, 2, 3]
    assert len(asyncio.all_tasks()) == 1


async def test_a_source_is_closed_when_the_reader_leaves() -> None:
    """ "None is left behind": the source of iter_steps is another `ahead`, which lists sessions meanwhile."""

    async def wait(number: int) -> int:
        await asyncio.sleep(60 if number else 0)
        return number

    source = Source(100)
    results = map_ahead(asyncio.sleep, map_ahead(wait, source.asynchronous(), 3), 1)
    await anext(results)
    await results.aclose()  # type: ignore[attr-defined]
    left = len(asyncio.all_tasks()) - 1
    await turns(20)  # the event loop closes them now; a reader whose loop ends here never sees it
    assert left == 0


async def test_a_source_that_cannot_be_closed() -> None:
    """An asynchronous iterable need not be a generator."""

    class Numbers:
        def __init__(self) -> None:
            self.numbers = iter(range(3))

        def __aiter__(self) -> "Numbers":
            return self

        async def __anext__(self) -> int:
            try:
                return next(self.numbers)
            except StopIteration:
                raise StopAsyncIteration from None

    async def double(number: int) -> int:
        return 2 * number

    assert [result async for result in map_ahead(double, Numbers(), 2)] == [0, 2, 4]
