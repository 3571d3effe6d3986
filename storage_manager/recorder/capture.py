"""Capture what a page shows at one moment, for Playwright's async page or any object with the same methods."""

import asyncio
import inspect
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any, NamedTuple

from storage_manager.encoding import without_surrogates
from storage_manager.errors import InvalidDataError

__all__ = ["Capture", "capture", "check_page", "shortened"]

# Seconds that one call of the page may take. The screenshot of a long page on a busy machine takes several. A page with
# an endless script or an open dialog never answers; Playwright itself waits 30 seconds for it, or forever.
CALL_SECONDS = 10.0
ATTEMPTS = 3  # screenshots of a page that is changing or navigating; a page with a clock never stops changing
PAUSE = 0.3  # seconds before the next attempt after a failure: during a navigation, calls fail for some milliseconds

MAX_MESSAGE = 100_000  # characters of an error of the page that are looked at; secrets are masked in all of them

_NEEDED = ("content", "screenshot", "title", "url")
_Reading = dict[str, Any]  # by name, the result of a call of the page, or the error that it raised


class Capture(NamedTuple):
    """The parts of a page. A part that could not be captured is None, and the metadata gives the reason."""

    html: str | None
    screenshot: bytes | None
    metadata: dict[str, Any]


def check_page(page: object) -> None:
    """Refuse an object that does not have the attributes of a page.

    Raises:
        InvalidDataError: names the first missing attribute.
    """
    for name in _NEEDED:
        if not hasattr(page, name):
            why = f"{type(page).__name__} is not a page: it has no attribute {name!r}"
            advice = "give Playwright's async page, or an object with content(), screenshot(), title() and url"
            raise InvalidDataError(f"cannot record: {why}; {advice}", operation="record")


async def capture(page: Any, *, full_page: bool = False) -> Capture:
    """Capture what the page shows now. HTML, title, URL and viewport are read before and after the screenshot.

    If both readings are equal, everything belongs to one moment. If they differ, another screenshot is taken, up to
    three in all. If the readings still differ then, `changed_during_capture` is true in the metadata. A part that
    cannot be captured is None, and `not_captured` gives the reason, as the page gave it: mask secrets in it, and then
    shorten it with `shortened`. Each call of the page may take 10 seconds.
    """
    clock = asyncio.get_running_loop().time
    last_attempt = clock() + CALL_SECONDS / 2  # another attempt at a page this slow would delay the agent too long
    before = await _read(page)
    attempt = 0
    while True:
        attempt += 1
        when = datetime.now(timezone.utc)
        image = await _screenshot(page, full_page, before)
        after = before if _failures(image) else await _read(page)
        is_complete = not _failures(after | image)
        is_same = _values(before) == _values(after)
        if (is_complete and is_same) or attempt == ATTEMPTS or clock() > last_attempt or _is_closed(page):
            break
        before = await _next_reading(page, after, is_complete)
    return _result(before | _values(after) | image, when, is_same)


async def _read(page: Any) -> _Reading:
    calls = {
        "html": (page.content, str),
        "title": (page.title, str),
        "url": (lambda: page.url, str),
        "viewport": (lambda: getattr(page, "viewport_size", None), object),
    }
    return await _call_all(calls)


async def _next_reading(page: Any, after: _Reading, is_complete: bool) -> _Reading:
    """Return the reading before the next screenshot: the last one, or a new one after a pause if a call failed."""
    if is_complete:
        return after
    await asyncio.sleep(PAUSE)
    return await _read(page)


async def _screenshot(page: Any, full_page: bool, before: _Reading) -> _Reading:
    """Take a screenshot, unless reading the HTML just timed out: the screenshot would time out as well.

    Playwright gets a timeout that ends a little before ours. Without it, a screenshot that hangs would also block the
    next one.
    """
    if isinstance(before["html"], asyncio.TimeoutError):
        return {"screenshot": before["html"]}
    options: dict[str, Any] = {"full_page": True} if full_page else {}
    if "timeout" in inspect.signature(page.screenshot).parameters:
        options["timeout"] = CALL_SECONDS * 900  # milliseconds; ours is CALL_SECONDS * 1000
    return await _call_all({"screenshot": (lambda: page.screenshot(**options), bytes)})


async def _call_all(calls: Mapping[str, tuple[Callable[[], Any], type]]) -> _Reading:
    """Return, for each call, its result or the error that it raised."""
    answers = await asyncio.gather(*(_call(*call) for call in calls.values()), return_exceptions=True)
    return dict(zip(calls, answers, strict=True))


async def _call(function: Callable[[], Any], kind: type) -> Any:
    answer = function()
    if inspect.isawaitable(answer):
        answer = await asyncio.wait_for(answer, CALL_SECONDS)
    if not isinstance(answer, kind):
        raise TypeError(f"{kind.__name__} is needed, not {type(answer).__name__}")
    return await _storable(answer) if isinstance(answer, str) else answer


async def _storable(text: str) -> str:
    """Return a text of the page as UTF-8 can encode it. Other tasks run between two pieces of it."""
    pieces: list[str] = []
    for piece in without_surrogates(text):
        pieces.append(piece)
        await asyncio.sleep(0)
    return "".join(pieces)


def _failures(reading: _Reading) -> dict[str, BaseException]:
    return {name: answer for name, answer in reading.items() if isinstance(answer, BaseException)}


def _values(reading: _Reading) -> _Reading:
    return {name: answer for name, answer in reading.items() if not isinstance(answer, BaseException)}


def _is_closed(page: Any) -> bool:
    """Return True if the page says that it is closed. Then there is no use in another attempt."""
    return hasattr(page, "is_closed") and page.is_closed() is True


def _result(reading: _Reading, when: datetime, is_same: bool) -> Capture:
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
    return Capture(values.get("html"), values.get("screenshot"), about)


def _reason(error: BaseException) -> str:
    """Return the whole message of an error. `shortened` comes after the secrets in it are masked."""
    if isinstance(error, asyncio.TimeoutError):
        return f"the page gave no answer in {CALL_SECONDS:g} seconds"
    message = str(error).strip() or type(error).__name__
    if len(message) > MAX_MESSAGE:
        return f"{type(error).__name__}, with a message of {len(message)} characters"
    return message


def shortened(reason: str) -> str:
    """Return the first line of a reason, in which no secret is left. Playwright says there what failed."""
    return reason.partition("\n")[0].strip()[:300]
