"""Call the methods of a page. They may be slow, hang or fail.

Generators (`Steps`) decide which calls are made. Each yields a request, and gets the answer:

    reading = yield deadline.calls({"html": (page.content, str)})

`carry_out` makes the calls of an asynchronous page. `storage_manager.sync.calls` makes those of a synchronous one.
"""

import asyncio
import inspect
import time
from collections.abc import Callable, Generator, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeAlias, TypeVar

__all__ = [
    "NO_ANSWER",
    "Call",
    "Calls",
    "Deadline",
    "Pause",
    "Reading",
    "Request",
    "Steps",
    "Work",
    "accepts",
    "call_all",
    "carry_out",
    "checked",
    "failures",
    "has_protocol",
    "is_silence",
    "is_timeout",
    "is_weak",
    "values",
]

NO_ANSWER = "the page gave no answer in"

Out = TypeVar("Out")
Call: TypeAlias = tuple[Callable[[], Any], type]  # what to call, and the type of its answer
Reading: TypeAlias = dict[str, Any]  # by name, the result of a call of the page, or the error that it raised


class Calls(NamedTuple):
    """Calls of the page, which may be made at the same time. The answer is a Reading.

    Attributes:
        seconds: the time limit of each call.
        in_all: the time limit of all calls together, in seconds, if they are made one after another.
        said: the number of seconds in the error of a call without an answer.
    """

    calls: Mapping[str, Call]
    seconds: float
    in_all: float
    said: float

    def error(self) -> asyncio.TimeoutError:
        """Return the error of a call that took too long."""
        return asyncio.TimeoutError(f"{NO_ANSWER} {self.said:g} seconds")


class Pause(NamedTuple):
    """A pause of some seconds."""

    seconds: float


class Work(NamedTuple):
    """A function that does not call the page. If it may take long, an event loop runs it in a thread."""

    function: Callable[[], Any]
    is_long: bool = True


Request: TypeAlias = Calls | Pause | Work
Steps: TypeAlias = Generator[Request, Any, Out]


class Deadline:
    """The moment by which a capture has to be complete."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._end = seconds, time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds until the end. Never zero, so that a page that answers immediately can still be read at the end."""
        return max(self._end - time.monotonic(), self._seconds / 20)

    @property
    def is_half_over(self) -> bool:
        """True if another attempt would delay the agent too long, because the page is slow."""
        return self._end - time.monotonic() < self._seconds / 2

    def calls(self, calls: Mapping[str, Call], seconds: float | None = None, in_all: float | None = None) -> Calls:
        """Return calls that end by this moment. Each call also ends within the given seconds."""
        left = self.left
        return Calls(calls, min(left, seconds or left), min(left, in_all or seconds or left), seconds or self._seconds)

    def call(self, function: Callable[[], Any], kind: type = object, seconds: float | None = None) -> Steps[Any]:
        """Make one call, as `calls` does. Return its result, or the error that it raised."""
        return (yield self.calls({"it": (function, kind)}, seconds))["it"]


async def carry_out(steps: Steps[Out]) -> Out:
    """Run steps to their end. Calls that are yielded together run at the same time.

    If the caller is cancelled, the steps get the cancellation. They may still make calls to clean up.
    """
    go_on: Callable[[], Request] = partial(next, steps)
    while True:
        try:
            request = go_on()
        except StopIteration as end:
            result: Out = end.value
            return result
        try:
            go_on = partial(steps.send, await _answer(request))
        except asyncio.CancelledError as cancelled:
            go_on = partial(steps.throw, cancelled)


async def _answer(request: Request) -> Any:
    if isinstance(request, Pause):
        return await asyncio.sleep(request.seconds)
    if isinstance(request, Work):
        return await asyncio.to_thread(request.function) if request.is_long else request.function()
    running = (_call(request, *call) for call in request.calls.values())
    return dict(zip(request.calls, await asyncio.gather(*running, return_exceptions=True), strict=True))


async def call_all(calls: Mapping[str, Call], seconds: float) -> Reading:
    """Make calls of an asynchronous page at the same time. Together they take at most this number of seconds."""
    reading: Reading = await _answer(Deadline(seconds).calls(calls))
    return reading


async def _call(request: Calls, function: Callable[[], Any], kind: type) -> Any:
    """Return what a function of the page returns, awaited.

    Raises:
        asyncio.TimeoutError: there was no answer in time.
        TypeError: the answer has another type.
    """
    answer = function()
    if inspect.isawaitable(answer):
        try:
            answer = await asyncio.wait_for(answer, request.seconds)
        except asyncio.TimeoutError as error:
            if str(error):  # of the page itself
                raise
            raise request.error() from None
    return checked(answer, kind)


def checked(answer: Any, kind: type) -> Any:
    """Return the answer of a page.

    Raises:
        TypeError: the answer has another type.
    """
    if not isinstance(answer, kind):
        raise TypeError(f"{kind.__name__} is needed, not {type(answer).__name__}")
    return answer


def failures(reading: Reading) -> dict[str, BaseException]:
    """Return the errors in a reading."""
    return {name: answer for name, answer in reading.items() if isinstance(answer, BaseException)}


def values(reading: Reading) -> Reading:
    """Return the results in a reading."""
    return {name: answer for name, answer in reading.items() if not isinstance(answer, BaseException)}


def is_timeout(answer: object) -> bool:
    """Return True for our own timeout, one of Playwright (TimeoutError) or one of Selenium (TimeoutException)."""
    names = ("TimeoutError", "TimeoutException")
    return isinstance(answer, BaseException) and any(cls.__name__ in names for cls in type(answer).__mro__)


def is_silence(answer: object) -> bool:
    """Return True for our own timeout. Its text does not say what the page was waiting for."""
    return isinstance(answer, BaseException) and str(answer).startswith(NO_ANSWER)


def accepts(function: Callable[..., Any], keyword: str) -> bool:
    """Return True if a function of the page names this keyword in its signature."""
    return keyword in inspect.signature(function).parameters


def has_protocol(page: Any) -> bool:
    """Return True if the page may support the Chrome DevTools Protocol, as Playwright's pages in Chromium do."""
    return hasattr(getattr(page, "context", None), "new_cdp_session")


def is_weak(page: object) -> bool:
    """Return True if the page can be remembered without keeping it alive."""
    return hasattr(type(page), "__weakref__") and type(page).__hash__ is not None
