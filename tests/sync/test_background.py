"""Any thread may wait for work on the background loop, and no way of waiting, leaving or forking hangs or is silent."""

import asyncio
import gc
import os
import signal
import sys
import threading
import traceback
import weakref
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import pytest

from storage_manager import StorageManagerError
from storage_manager.sync.background import Call, iterate, run
from tests.support.children import run_python


async def thread() -> threading.Thread:
    return threading.current_thread()


async def double(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


async def fail(error: BaseException) -> None:
    await asyncio.sleep(0)
    raise error


def test_the_work_runs_in_one_daemon_thread_of_the_process() -> None:
    with ThreadPoolExecutor(4) as threads:
        found = {run(thread), *threads.map(lambda _: run(thread), range(20))}
    assert len(found) == 1
    assert threading.current_thread() not in found
    assert found.pop().daemon


def test_each_thread_gets_its_own_result() -> None:
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda number: run(double, number), range(500))) == list(range(0, 1000, 2))


async def test_a_loop_that_runs_in_the_calling_thread_does_not_matter() -> None:
    assert run(double, 2) == 4


def test_the_work_sees_the_context_of_the_caller() -> None:
    variable = ContextVar("variable", default=0)
    variable.set(5)

    async def get() -> int:
        return variable.get()

    assert run(get) == 5


@pytest.mark.parametrize("error", [ValueError("no"), asyncio.CancelledError(), SystemExit(3), KeyboardInterrupt()])
def test_an_error_is_raised_in_the_caller_and_the_loop_goes_on(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        run(fail, error)
    assert caught.value is error
    assert run(double, 2) == 4


def test_a_task_that_wants_to_exit_does_not_end_the_loop() -> None:
    async def start() -> None:
        task = asyncio.ensure_future(fail(SystemExit(3)))
        await asyncio.wait([task])
        assert isinstance(task.exception(), SystemExit)

    run(start)
    assert run(double, 2) == 4


def test_a_traceback_shows_the_call_and_the_code_that_failed_and_little_else() -> None:
    with pytest.raises(ValueError, match="no") as caught:
        run(fail, ValueError("no"))
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names[0] == "test_a_traceback_shows_the_call_and_the_code_that_failed_and_little_else"
    assert names[-1] == "fail"
    assert len(names) <= 5
    assert caught.value.__context__ is None


async def divide() -> float:
    return 1 / 0


def test_an_error_keeps_no_circle_alive() -> None:
    gc.disable()
    try:
        call = Call[float]()
        kept = weakref.ref(call)
        with pytest.raises(ZeroDivisionError):
            call.run(divide)
        del call
        assert kept() is None
    finally:
        gc.enable()


def test_a_wait_in_the_thread_of_the_loop_is_refused() -> None:
    async def wait() -> int:
        return run(double, 2)

    with pytest.raises(StorageManagerError, match=r"thread of its own event loop.*asynchronous"):
        run(wait)


# --- interrupts ------------------------------------------------------------------------------------


class InterruptedByTestError(Exception):
    """What the handler of the signal raises; KeyboardInterrupt would end pytest if the test failed."""


@pytest.fixture
def interrupting() -> Iterator[None]:
    def handle(number: int, frame: object) -> None:
        raise InterruptedByTestError

    before = signal.signal(signal.SIGUSR1, handle)
    yield
    signal.signal(signal.SIGUSR1, before)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGUSR1)


@pytest.mark.usefixtures("interrupting")
def test_an_interrupt_cancels_the_work_and_waits_for_its_end() -> None:
    ended = []

    async def work() -> None:
        try:
            threading.Thread(target=interrupt).start()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            ended.append(True)

    with pytest.raises(InterruptedByTestError):
        run(work)
    assert ended == [True]
    assert run(double, 2) == 4


@pytest.mark.usefixtures("interrupting")
def test_a_second_interrupt_does_not_wait() -> None:
    ended = []
    release: Any = None

    async def work() -> None:
        nonlocal release
        release = asyncio.Event()
        threading.Thread(target=interrupt).start()
        try:
            await asyncio.Event().wait()
        finally:
            threading.Thread(target=interrupt).start()
            await release.wait()
            ended.append(True)

    with pytest.raises(InterruptedByTestError):
        run(work)
    assert ended == []

    async def leave() -> None:
        release.set()

    run(leave)


@pytest.mark.parametrize("microseconds", [1, 10, 20, 30, 50, 70, 100, 150, 200, 300, 500, 1000])
def test_an_interrupt_at_any_moment_leaves_nothing_running(microseconds: int) -> None:
    """The alarm rings somewhere between handing the work over and returning its result."""
    running = set[int]()
    is_armed = False

    def handle(number: int, frame: object) -> None:
        if is_armed:
            raise InterruptedByTestError

    async def work(number: int) -> None:
        running.add(number)
        try:
            for _ in range(10):
                await asyncio.sleep(0)
        finally:
            running.discard(number)

    run(work, 0)  # starts the loop, if no test has
    before = signal.signal(signal.SIGALRM, handle)
    try:
        for number in range(50):
            with suppress(InterruptedByTestError):
                is_armed = True
                signal.setitimer(signal.ITIMER_REAL, microseconds / 1e6)
                run(work, number)
                is_armed = False
            is_armed = False
            assert running == set()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_control_c_in_a_script() -> None:
    code = """
import asyncio, os, signal, threading
from storage_manager.sync.background import run
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what it runs in the background
async def work():
    try:
        threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT)).start()
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0.05)
        print("ended")
try:
    run(work)
except KeyboardInterrupt:
    print("interrupted")
"""
    assert run_python(code).split() == ["ended", "interrupted"]


# --- iterators -------------------------------------------------------------------------------------


class Source:
    """Numbers without end, and whether the generator was closed."""

    def __init__(self) -> None:
        self.is_open = False

    async def numbers(self) -> AsyncGenerator[int, None]:
        self.is_open = True
        try:
            for number in range(10**9):
                await asyncio.sleep(0)
                yield number
        finally:
            await asyncio.sleep(0)
            self.is_open = False


async def three() -> AsyncGenerator[int, None]:
    for number in range(3):
        yield number


def test_an_iterator_ends_with_its_source() -> None:
    assert list(iterate(three())) == [0, 1, 2]


def test_an_iterator_that_is_left_closes_its_source() -> None:
    source = Source()
    asynchronous = source.numbers()  # kept: otherwise asyncio closes it, some time after it is deleted
    numbers = iterate(asynchronous)
    assert [next(numbers), next(numbers), source.is_open] == [0, 1, True]
    numbers.close()
    assert not source.is_open


def test_an_iterator_that_is_dropped_closes_its_source() -> None:
    source = Source()
    asynchronous = source.numbers()
    for _ in iterate(asynchronous):
        break
    assert not source.is_open


def test_an_iterator_that_is_collected_in_the_thread_of_the_loop_closes_its_source() -> None:
    source = Source()
    circle: list[Any] = [iterate(source.numbers())]
    assert next(circle[0]) == 0
    circle.append(circle)
    del circle

    async def collect() -> None:
        gc.collect()
        while source.is_open:  # noqa: ASYNC110 - it is closed by a task of the loop
            await asyncio.sleep(0)

    run(collect)
    assert not source.is_open


def test_an_error_of_the_source_is_raised() -> None:
    async def failing() -> AsyncGenerator[int, None]:
        yield 1
        raise ValueError("no")

    numbers = iterate(failing())
    assert next(numbers) == 1
    with pytest.raises(ValueError, match="no"):
        next(numbers)
    assert list(numbers) == []


# --- what the caller gave --------------------------------------------------------------------------


def test_functions_and_iterators_of_the_caller_run_in_its_thread_and_may_wait_themselves() -> None:
    threads = []
    call = Call[list[int]]()

    def items() -> Iterator[int]:
        for number in range(3):
            threads.append(threading.current_thread())
            yield run(double, number)

    def note(number: int) -> None:
        threads.append(threading.current_thread())
        run(double, number)

    async def work(source: AsyncGenerator[int, None]) -> list[int]:
        found = []
        async for item in source:
            told(item)
            found.append(item)
        return found

    told = call.in_caller(note)
    assert call.run(work, call.items_of(items())) == [0, 2, 4]
    assert threads == [threading.current_thread()] * 6


def test_an_error_of_the_callers_iterator_cancels_the_work_and_is_raised() -> None:
    ended = []
    call = Call[None]()

    def items() -> Iterator[int]:
        yield 1
        raise ValueError("mine")

    async def work(source: AsyncGenerator[int, None]) -> None:
        try:
            async for _ in source:
                pass
        finally:
            await asyncio.sleep(0)
            ended.append(sys.exc_info()[0])

    with pytest.raises(ValueError, match="mine"):
        call.run(work, call.items_of(items()))
    assert ended == [asyncio.CancelledError]


# --- forks, and the end of the process ---------------------------------------------------------------

FORK = """
import asyncio, os, sys, threading
os.dup2(1, 2)  # what Python prints at its end is a failure too
from storage_manager import StorageManagerError
from storage_manager.sync.background import run, iterate
async def double(number):
    return 2 * number
async def endless():
    while True:
        yield 1
def fork(child):
    pid = os.fork()
    if not pid:
        child()
        sys.exit(0)
    assert os.waitpid(pid, 0)[1] == 0
"""
ENDINGS = {
    "fork": "fork(lambda: print(run(double, 1))); print(run(double, 1))",
    "fork after use": "run(double, 1); fork(lambda: print(run(double, 1))); print(run(double, 1))",
    "fork of a fork": "run(double, 1); fork(lambda: (run(double, 1), fork(lambda: print(run(double, 1))))); print(2)",
    "fork while others use it": """
        stop = threading.Event()
        def use():
            while not stop.is_set():
                assert run(double, 1) == 2
        others = [threading.Thread(target=use) for _ in range(3)]
        [each.start() for each in others]
        for _ in range(10):
            fork(lambda: os._exit(run(double, 1) - 2))
        stop.set()
        [each.join() for each in others]
        print(2, 2)
        """,
    "an iterator over a fork": """
        numbers = iterate(endless())
        next(numbers)
        def child():
            try:
                next(numbers)
            except StorageManagerError as error:
                assert "before a fork" in str(error)
                print(2)
        fork(child)
        print(2 * next(numbers))
        """,
    "dropped in the child": """
        numbers = iterate(endless())
        next(numbers)
        def child():
            global numbers
            del numbers
            print(2)
        fork(child)
        print(2)
        """,
    "an iterator that is left open at the end": "numbers = iterate(endless()); print(2 * next(numbers), 2)",
    "a wait in a destructor at the end": """
        class Last:
            def __del__(self, run=run, double=double, Error=StorageManagerError):
                try:
                    run(double, 1)
                except Error as error:
                    print(2)
        last = Last()
        last.self = last
        run(double, 1)
        print(2)
        """,
    "a thread that still waits at the end": """
        threading.Thread(target=run, args=(asyncio.sleep, 1000), daemon=True).start()
        print(run(double, 1), 2)
        """,
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_forks_and_ends(ending: str) -> None:
    lines = ENDINGS[ending].splitlines() or [""]
    code = "\n".join(line.removeprefix("        ") for line in lines)
    assert run_python(FORK + code, timeout=20).split() == ["2", "2"]
