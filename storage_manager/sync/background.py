"""One event loop in the background. Other threads run work on it, and wait for the result.

The loop runs in a daemon thread, which is started on first use. There is one loop per process: a forked child process
starts its own. So all managers, sessions and threads share the connections. `asyncio.run` in each call would close the
connections after the call, and is not possible if a loop is running in the calling thread, as in Jupyter.
"""

import asyncio
import os
import sys
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Iterator
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from storage_manager.errors import StorageManagerError

__all__ = ["Call", "iterate", "run"]

T = TypeVar("T")

_END: Any = object()  # what follows the last item of an iterator


class _Background:
    """An event loop that runs in a daemon thread as long as the process."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.closing = set[asyncio.Future[None]]()  # a loop alone does not keep its tasks
        self.thread = threading.Thread(target=self._serve, name="storage_manager.sync", daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            # run_forever ends if a task raises one of these, for example by `sys.exit` in a user's callback
            with suppress(SystemExit, KeyboardInterrupt):
                self.loop.run_forever()


class _Process:
    """The background of this process, if it has been started."""

    def __init__(self) -> None:
        self.background: _Background | None = None
        self.lock = threading.Lock()
        self.inherited: list[_Background | None] = []  # of parent processes; kept, because they cannot be closed here

    def current(self) -> _Background:
        """Return the background; start it on first use."""
        if self.background is None:
            with self.lock:
                self.background = self.background or _Background()
        return self.background

    def forget(self) -> None:
        """Forget the parent's background in a forked child: its thread does not run there, and its lock may be held."""
        self.inherited.append(self.background)
        self.background, self.lock = None, threading.Lock()


_process = _Process()
os.register_at_fork(after_in_child=_process.forget)


class Call(Generic[T]):
    """One call of an asynchronous function on the background loop, and the thread that waits for its result.

    While the thread waits, it runs iterators and functions of the caller, which the work on the loop needs. So these
    run in the caller's thread, and may use `storage_manager.sync` themselves.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Callable[[], object] | None] = SimpleQueue()  # None is the end
        self._task: asyncio.Task[None] | None = None
        self._has_begun = self._is_stopped = self._has_ended = False
        self._value: Any = None
        self._error: BaseException | None = None

    def run(self, function: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
        """Call a function on the background loop, wait, and return its result or raise its error.

        If the wait is interrupted, for example by Ctrl+C, the work is cancelled, and has ended when the interrupt is
        raised. A second interrupt does not wait for the end.

        Raises:
            StorageManagerError: the background loop cannot run, because this is its own thread, or because Python is
                shutting down.
        """
        loop = _usable(getattr(function, "__name__", "the call")).loop
        try:
            loop.call_soon_threadsafe(self._start, partial(function, *args, **kwargs))
            for job in iter(self._jobs.get, None):
                job()
        finally:
            if not self._has_ended:
                self._stop(loop)
        return self._result()

    def _start(self, function: Callable[[], Awaitable[T]]) -> None:
        self._task = asyncio.get_running_loop().create_task(self._work(function))

    async def _work(self, function: Callable[[], Awaitable[T]]) -> None:
        self._has_begun = True
        try:
            if not self._is_stopped:
                self._value = await function()
        except BaseException as error:  # noqa: BLE001 - the caller raises it; SystemExit would end the loop
            # without the first frame, this one, which does not help the reader of a traceback
            self._error = error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)
        finally:
            self._task = None  # so that this thread deletes it: an interrupt could show its destructor to the user
            self._end()

    def _end(self) -> None:
        self._has_ended = True
        self._jobs.put(None)

    def _stop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cancel the work, and wait for its end. No more jobs are run."""
        loop.call_soon_threadsafe(self._cancel)
        while not self._has_ended:
            self._jobs.get()

    def _cancel(self) -> None:
        self._is_stopped = True
        if self._task is None:  # it has ended, or the interrupt came before the work was handed over
            self._end()
        elif self._has_begun:  # a task that is cancelled before it begins would never call `_end`
            self._task.cancel()

    def _result(self) -> T:
        error, self._error = self._error, None  # the error's traceback has this frame: leave no circle
        try:
            if error is not None:
                raise error
            value: T = self._value
            return value
        finally:
            del error

    def in_caller(self, function: Callable[..., object]) -> Callable[..., None]:
        """Return a function that makes the waiting thread call the given function. It does not wait for the result."""
        return lambda *args: self._jobs.put(partial(function, *args))

    async def items_of(self, items: Iterable[T]) -> AsyncGenerator[T, None]:
        """Yield the items of an iterable. The waiting thread reads them one at a time."""
        iterator: Iterator[T] | None = None
        loop = asyncio.get_running_loop()

        def advance(answer: asyncio.Future[T]) -> None:
            nonlocal iterator
            iterator = iter(items) if iterator is None else iterator
            loop.call_soon_threadsafe(_answer, answer, next(iterator, _END))

        while True:
            answer = loop.create_future()
            self._jobs.put(partial(advance, answer))
            item = await answer
            if item is _END:
                return
            yield item


def _answer(future: asyncio.Future[T], value: T) -> None:
    if not future.done():  # it is cancelled if the work was
        future.set_result(value)


def _usable(name: str) -> _Background:
    if sys.is_finalizing():
        raise StorageManagerError(f"cannot wait for {name}: Python is shutting down, and its threads are stopped")
    background = _process.current()
    if threading.current_thread() is background.thread:
        why = "this is the thread of its own event loop, which cannot wait for itself"
        advice = "in a callback or a redactor, use no storage_manager.sync; in a coroutine, await `.asynchronous`"
        raise StorageManagerError(f"cannot wait for {name} of storage_manager.sync: {why} ({advice})")
    return background


def run(function: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
    """Call an asynchronous function on the background loop. Return its result, or raise its error.

    Raises:
        As Call.run.
    """
    return Call[T]().run(function, *args, **kwargs)


def iterate(source: AsyncGenerator[T, None]) -> Generator[T, None, None]:
    """Yield the items of an asynchronous generator that runs on the background loop.

    The generator is closed at the end, also if the reader stops earlier.

    Raises:
        StorageManagerError: as Call.run; or the iteration began before a fork, in the parent process.
    """
    background = _usable("an iterator")
    try:
        while True:
            if _process.current() is not background:
                raise StorageManagerError("cannot continue an iteration that began before a fork: begin a new one")
            item = run(_next, source)
            if item is _END:
                return
            yield item
    finally:
        _close(source, background)


async def _next(source: AsyncGenerator[Any, None]) -> Any:
    return await anext(source, _END)


def _close(source: AsyncGenerator[Any, None], background: _Background) -> None:
    """Close a source, and wait for the end, unless the wait might never end.

    The garbage collector may call this in any thread, also in that of the background loop.
    """
    if sys.is_finalizing() or background in _process.inherited:
        return
    if threading.current_thread() is background.thread:
        closing = asyncio.ensure_future(source.aclose())
        background.closing.add(closing)
        closing.add_done_callback(background.closing.discard)
    else:
        run(source.aclose)
