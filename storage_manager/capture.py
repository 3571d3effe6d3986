"""What a page shows at one moment, as nearly as a browser tells: for Playwright's async page, or any of its shape."""

import asyncio
import inspect
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any, NamedTuple

from storage_manager.errors import InvalidDataError

__all__ = ["Shown", "capture", "check_page"]

# Seconds for one call of the page. A screenshot of a long page on a busy machine takes some; a page whose script
# hangs, or whose dialog nobody answers, never answers, and Playwright waits 30 seconds for that, or for ever.
CALL_SECONDS = 10.0
ATTEMPTS = 3  # screenshots of a page that goes on changing, or is navigating; a page with a clock never stays the same
PAUSE = 0.3  # seconds before the next attempt at what failed: a navigation that commits fails for some milliseconds

_NEEDED = ("content", "screenshot", "title", "url")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")  # a page may show one, and UTF-8 has no form for it
_Reading = dict[str, Any]  # what each call gave, or the error that it ended in


class Shown(NamedTuple):
    """What was captured: None for what could not be, and metadata says why."""

    html: str | None
    screenshot: bytes | None
    metadata: dict[str, Any]


def check_page(page: object) -> None:
    """Refuse what has not the shape of a page.

    Raises:
        InvalidDataError: names what is missing.
    """
    for name in _NEEDED:
        if not hasattr(page, name):
            why = f"{type(page).__name__} has no {name}: give Playwright's async page, or a like one"
            raise InvalidDataError(f"this is no page: {why}", operation="record")


async def capture(page: Any, *, full_page: bool = False) -> Shown:
    """What the page shows now: HTML, title, URL and viewport are read before and after the screenshot.

    Where both readings agree, all are of one moment. Where they differ, another screenshot is taken, three at the
    most; if the page was never the same for as long as that, `changed_during_capture` is true in the metadata. What
    cannot be had is None, and `not_captured` says why. Every call of the page is bounded, by 10 seconds.
    """
    clock = asyncio.get_running_loop().time
    last_attempt = clock() + CALL_SECONDS / 2  # a page this slow would hold up its agent
    before = await _read(page)
    attempt = 0
    while True:
        attempt += 1
        when = datetime.now(timezone.utc)
        image = await _screenshot(page, full_page, before)
        after = before if _failures(image) else await _read(page)
        is_whole = not _failures(after | image)
        is_same = _values(before) == _values(after)
        if (is_whole and is_same) or attempt == ATTEMPTS or clock() > last_attempt or _is_closed(page):
            break
        before = await _read_again(page, after, is_whole)
    return _shown(before | _values(after) | image, when, is_same)


async def _read(page: Any) -> _Reading:
    calls = {
        "html": (page.content, str),
        "title": (page.title, str),
        "url": (lambda: page.url, str),
        "viewport": (lambda: getattr(page, "viewport_size", None), object),
    }
    return await _answers(calls)


async def _read_again(page: Any, after: _Reading, is_whole: bool) -> _Reading:
    """What the next screenshot is compared with: the reading after the last, or, where something failed, a new one."""
    if is_whole:
        return after
    await asyncio.sleep(PAUSE)
    return await _read(page)


async def _screenshot(page: Any, full_page: bool, before: _Reading) -> _Reading:
    """Not of a page that has just given no answer: it would take as long again, and give none.

    Playwright is told when to give up: else a screenshot that hangs holds up the next one as well.
    """
    if isinstance(before["html"], asyncio.TimeoutError):
        return {"screenshot": before["html"]}
    options: dict[str, Any] = {"full_page": True} if full_page else {}
    if "timeout" in inspect.signature(page.screenshot).parameters:
        options["timeout"] = CALL_SECONDS * 900  # milliseconds: a little sooner than we do
    return await _answers({"screenshot": (lambda: page.screenshot(**options), bytes)})


async def _answers(calls: Mapping[str, tuple[Callable[[], Any], type]]) -> _Reading:
    """What each call gives, or the error that it ends in."""
    answers = await asyncio.gather(*(_answer(*call) for call in calls.values()), return_exceptions=True)
    return dict(zip(calls, answers, strict=True))


async def _answer(call: Callable[[], Any], kind: type) -> Any:
    answer = call()
    if inspect.isawaitable(answer):
        answer = await asyncio.wait_for(answer, CALL_SECONDS)
    if not isinstance(answer, kind):
        raise TypeError(f"{kind.__name__} is needed, not {type(answer).__name__}")
    return _LONE_SURROGATE.sub("\ufffd", answer) if isinstance(answer, str) else answer


def _failures(reading: _Reading) -> dict[str, BaseException]:
    return {name: answer for name, answer in reading.items() if isinstance(answer, BaseException)}


def _values(reading: _Reading) -> _Reading:
    return {name: answer for name, answer in reading.items() if not isinstance(answer, BaseException)}


def _is_closed(page: Any) -> bool:
    """Nothing is asked again of a page that says so itself."""
    return hasattr(page, "is_closed") and page.is_closed() is True


def _shown(reading: _Reading, when: datetime, is_same: bool) -> Shown:
    values, failures = _values(reading), _failures(reading)
    size = values.get("viewport")
    known = {
        "url": values.get("url"),
        "title": values.get("title"),
        "viewport": dict(size) if isinstance(size, Mapping) else None,
        "timestamp": when.isoformat(timespec="milliseconds"),
        "source": "recorder",
        "changed_during_capture": True if {"html", "screenshot"} <= values.keys() and not is_same else None,
        "not_captured": {name: _reason(error) for name, error in failures.items()} or None,
    }
    about = {key: value for key, value in known.items() if value is not None}
    return Shown(values.get("html"), values.get("screenshot"), about)


def _reason(error: BaseException) -> str:
    """The first line of it, in which Playwright says what failed."""
    if isinstance(error, asyncio.TimeoutError):
        return f"the page gave no answer in {CALL_SECONDS:g} seconds"
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0].strip()[:300]
