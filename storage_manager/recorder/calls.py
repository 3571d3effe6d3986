"""Call a page, which may be slow, hang or fail, so that a capture ends in time."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from storage_manager.encoding import without_surrogates

__all__ = ["NO_ANSWER", "Deadline", "Reading", "accepts", "failures", "has_protocol", "is_weak", "values"]

NO_ANSWER = "the page gave no answer in"

Reading: TypeAlias = dict[str, Any]  # by name, the result of a call of the page, or the error that it raised


class Deadline:
    """The moment by which a capture has to be complete."""

    def __init__(self, seconds: float) -> None:
        self._clock = asyncio.get_running_loop().time
        self._seconds, self._end = seconds, self._clock() + seconds

    @property
    def left(self) -> float:
        """Seconds until the end. Never zero, so that a page that answers at once can still be read at the end."""
        return max(self._end - self._clock(), self._seconds / 20)

    @property
    def is_half_over(self) -> bool:
        """True if another attempt at a page this slow would delay the agent too long."""
        return self._end - self._clock() < self._seconds / 2

    async def call(self, function: Callable[[], Any], kind: type, seconds: float | None = None) -> Any:
        """Return what a function of the page returns, awaited; a text as UTF-8 can encode it.

        Raises:
            asyncio.TimeoutError: there was no answer by the end, or within the given seconds.
            TypeError: the answer is of another type.
        """
        answer = function()
        if inspect.isawaitable(answer):
            answer = await self._in_time(answer, seconds or self._seconds)
        if not isinstance(answer, kind):
            raise TypeError(f"{kind.__name__} is needed, not {type(answer).__name__}")
        return await _storable(answer) if isinstance(answer, str) else answer

    async def call_all(
        self, calls: Mapping[str, tuple[Callable[[], Any], type]], seconds: float | None = None
    ) -> Reading:
        """Return, for each call, its result or the error that it raised."""
        running = (self.call(*call, seconds) for call in calls.values())
        return dict(zip(calls, await asyncio.gather(*running, return_exceptions=True), strict=True))

    async def _in_time(self, answer: Awaitable[Any], seconds: float) -> Any:
        try:
            return await asyncio.wait_for(answer, min(self.left, seconds))
        except asyncio.TimeoutError as error:
            if str(error):  # of the page itself
                raise
            raise asyncio.TimeoutError(f"{NO_ANSWER} {seconds:g} seconds") from None


async def _storable(text: str) -> str:
    """Return a text of the page as UTF-8 can encode it. Other tasks run between two pieces of it."""
    pieces: list[str] = []
    for piece in without_surrogates(text):
        pieces.append(piece)
        await asyncio.sleep(0)
    return "".join(pieces)


def failures(reading: Reading) -> dict[str, BaseException]:
    """Return the errors of a reading."""
    return {name: answer for name, answer in reading.items() if isinstance(answer, BaseException)}


def values(reading: Reading) -> Reading:
    """Return the results of a reading."""
    return {name: answer for name, answer in reading.items() if not isinstance(answer, BaseException)}


def accepts(function: Callable[..., Any], keyword: str) -> bool:
    """Return True if a function of the page names this keyword in its signature."""
    return keyword in inspect.signature(function).parameters


def has_protocol(page: Any) -> bool:
    """Return True if the page may have the Chrome DevTools Protocol: Playwright's pages do, with Chromium."""
    return hasattr(getattr(page, "context", None), "new_cdp_session")


def is_weak(page: object) -> bool:
    """Return True if the page can be remembered without keeping it alive."""
    return hasattr(type(page), "__weakref__") and type(page).__hash__ is not None
