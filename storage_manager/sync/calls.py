"""Make the calls of a capture in the calling thread, one after another.

Playwright's sync pages and Selenium's drivers answer only in the thread that made them.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from storage_manager.errors import attempt
from storage_manager.recorder.calls import Calls, Pause, Request, Steps, Work, checked

__all__ = ["carry_out"]

LEAST = 0.05  # seconds for each call when the time for all is over: some calls need no answer of the page

Out = TypeVar("Out")


def carry_out(steps: Steps[Out]) -> Out:
    """Run steps to their end. After Ctrl+C or `sys.exit`, the steps may still make calls to clean up."""
    go_on: Callable[[], Request] = partial(next, steps)
    while True:
        try:
            request = go_on()
        except StopIteration as end:
            result: Out = end.value
            return result
        try:
            go_on = partial(steps.send, _answer(request))
        except (KeyboardInterrupt, SystemExit, asyncio.CancelledError) as error:
            go_on = partial(steps.throw, error)


def _answer(request: Request) -> Any:
    if isinstance(request, Pause):
        return time.sleep(request.seconds)
    if isinstance(request, Work):
        return request.function()
    end = time.monotonic() + request.in_all
    return {
        name: attempt(partial(_call, request, call, kind, end - time.monotonic()))
        for name, (call, kind) in request.calls.items()
    }


def _call(request: Calls, function: Callable[[], Any], kind: type, left: float) -> Any:
    """Return what a function of the page returns.

    Raises:
        asyncio.TimeoutError: there was no answer in time.
        TypeError: the answer has another type.
    """
    alarm = _Alarm(max(LEAST, min(left, request.seconds)))
    try:
        with alarm:
            return checked(function(), kind)
    except asyncio.CancelledError:
        if not alarm.has_rung:
            raise
    raise request.error()


class _Alarm:
    """Cancels a call of Playwright that takes too long.

    A call of a sync page is a task on Playwright's own event loop, which is the running loop of the calling thread. The
    first task that is created in the block is this call. Other calls create no task, and are not cancelled.
    """

    def __init__(self, seconds: float) -> None:
        self.has_rung = False
        self._seconds = seconds
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        with suppress(RuntimeError):  # there is no running loop
            self._loop = asyncio.get_running_loop()
            self._factory = self._loop.get_task_factory()
            self._loop.set_task_factory(self._create)

    def _create(self, loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> "asyncio.Future[Any]":
        loop.set_task_factory(self._factory)
        task = loop.create_task(work, **options)
        self._timer = loop.call_later(self._seconds, self._ring, task)
        return task

    def _ring(self, task: "asyncio.Task[Any]") -> None:
        self.has_rung = task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._loop:
            self._loop.set_task_factory(self._factory)
        if self._timer:
            self._timer.cancel()
