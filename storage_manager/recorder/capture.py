"""Capture what a page shows at one moment, for Playwright's async page or any object with the same methods."""

import asyncio
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, NamedTuple

from storage_manager.errors import InvalidDataError
from storage_manager.recorder.calls import Deadline, Reading, accepts, failures, values
from storage_manager.recorder.camera import Camera, Picture
from storage_manager.recorder.frames import EXTRAS, Frames, needs_frames
from storage_manager.recorder.markup import storable, without_user

__all__ = ["GEOMETRY", "Capture", "about_page", "capture", "check_page", "reason_of", "shortened"]

# Seconds that all calls of the page may take together. The screenshot of a long page on a busy machine takes several.
# A page with an endless script or an open dialog never answers; Playwright itself waits 30 seconds for it, or forever.
CALL_SECONDS = 10.0
ATTEMPTS = 3  # screenshots of a page that is changing or navigating; a page with a clock never stops changing
FRAMES_SECONDS = 4.0  # for the frames of a page; after that it is stored without them
PAUSE = 0.3  # seconds before the next attempt after a failure: during a navigation, calls fail for some milliseconds

MAX_MESSAGE = 100_000  # characters of an error of the page that are looked at; secrets are masked in all of them

MAX_LINE = 500  # characters of a reason that are stored
LOG_LINES = 20
_COLOUR = re.compile("\x1b\\[[0-9;]*m")  # of a terminal; Playwright prints its log in grey

_NEEDED = ("content", "screenshot", "title", "url")

# The scroll position of the page, and what relates its pixels to those of the screenshot: members of an object.
GEOMETRY = """
    viewport: {width: innerWidth, height: innerHeight},
    device_pixel_ratio: devicePixelRatio,
    scroll: {x: scrollX, y: scrollY},
"""
LAYOUT = f"() => ({{{GEOMETRY} extras: {EXTRAS}}})"


class Capture(NamedTuple):
    """The parts of a page. A part that could not be captured is None, and the metadata gives the reason."""

    html: str | None
    screenshot: bytes | None
    metadata: dict[str, Any]


def check_page(page: object) -> None:
    """Refuse an object that does not have the attributes of a page, and a synchronous page, which would not answer.

    Raises:
        InvalidDataError: names the first missing attribute, or what to use.
    """
    if type(page).__module__.startswith("playwright.sync_api"):
        why = "this is a page of Playwright's synchronous API"
        advice = "use storage_manager.sync.record, or open the page with playwright.async_api"
        raise InvalidDataError(f"cannot record: {why}; {advice}", operation="record")
    for name in _NEEDED:
        if not hasattr(page, name):
            why = f"{type(page).__name__} is not a page: it has no attribute {name!r}"
            advice = "give Playwright's async page, or an object with content(), screenshot(), title() and url"
            raise InvalidDataError(f"cannot record: {why}; {advice}", operation="record")


async def capture(page: Any, camera: Camera | None = None, *, full_page: bool = False) -> Capture:
    """Capture what the page shows now. All but the screenshot is read before and after the screenshot.

    If both readings are equal, everything belongs to one moment. If they differ, another screenshot is taken, up to
    three in all. If the readings still differ then, `changed_during_capture` is true in the metadata. A part that
    cannot be captured is None, and `not_captured` gives the reason, as the page gave it: mask secrets in it, and then
    shorten it with `shortened`. All calls of the page together take 10 seconds at most.

    Parameters:
        camera: takes the screenshots. A session has one camera, which remembers pages that are slow.
        full_page: as in `record`, if there is no camera.
    """
    camera, deadline = camera or Camera(Picture(full_page)), Deadline(CALL_SECONDS)
    before = await _read(page, deadline)
    attempt = 0
    while True:
        attempt += 1
        when = datetime.now(timezone.utc)
        image = await _screenshot(page, camera, deadline, before)
        after = before if failures(image) else await _read(page, deadline)
        is_complete = not failures(after | image)
        is_same = values(before) == values(after)
        if (is_complete and is_same) or attempt == ATTEMPTS or deadline.is_half_over or _is_closed(page):
            break
        before = await _next_reading(page, deadline, after, is_complete)
    return await _result(before | values(after) | image, when, is_same)


async def _read(page: Any, deadline: Deadline) -> Reading:
    options = {"include_shadow": True} if accepts(page.content, "include_shadow") else {}
    calls = {
        "html": (lambda: page.content(**options), str),
        "title": (page.title, str),
        "url": (lambda: page.url, str),
        "viewport": (lambda: getattr(page, "viewport_size", None), object),
    }
    if hasattr(page, "evaluate"):
        calls["layout"] = (lambda: page.evaluate(LAYOUT), object)
    reading = await deadline.call_all(calls)
    layout = reading.get("layout")
    extras = layout.get("extras") if isinstance(layout, Mapping) else None
    is_more = isinstance(reading["html"], str) and needs_frames(page, extras, bool(options))
    return reading | (await _read_frames(page, deadline) if is_more else {})


async def _read_frames(page: Any, deadline: Deadline) -> Reading:
    """Return the HTML with what `content()` leaves out, and what could not be read. No HTML if that fails."""
    frames = Frames(deadline)
    reading = await deadline.call_all({"html": (lambda: frames.read(page.main_frame), str)}, FRAMES_SECONDS)
    problems = frames.problems + [reason_of(error) for error in failures(reading).values()]
    return values(reading) | ({"frames": "; ".join(sorted(problems))} if problems else {})


async def _next_reading(page: Any, deadline: Deadline, after: Reading, is_complete: bool) -> Reading:
    """Return the reading before the next screenshot: the last one, or a new one after a pause if a call failed."""
    if is_complete:
        return after
    await asyncio.sleep(PAUSE)
    return await _read(page, deadline)


async def _screenshot(page: Any, camera: Camera, deadline: Deadline, before: Reading) -> Reading:
    """Take a screenshot, unless reading the HTML just timed out: the screenshot would time out as well."""
    if isinstance(before["html"], asyncio.TimeoutError):
        return {"screenshot": before["html"]}
    return {"screenshot": await camera.take(page, deadline)}


def _is_closed(page: Any) -> bool:
    """Return True if the page says that it is closed. Then there is no use in another attempt."""
    return hasattr(page, "is_closed") and page.is_closed() is True


async def _result(reading: Reading, when: datetime, is_same: bool) -> Capture:
    known, failed = values(reading), failures(reading)
    reasons = {name: reason_of(error) for name, error in failed.items()} | _problems(known)
    html = known.get("html")
    return Capture(
        html and await storable(html),
        known.get("screenshot"),
        about_page(known, _layout(known), reasons, when, is_same),
    )


def about_page(
    known: Mapping[str, Any], layout: Mapping[str, Any], reasons: Mapping[str, str], when: datetime, is_same: bool
) -> dict[str, Any]:
    """Return the metadata of a step.

    Parameters:
        known: what could be read of the page, by name.
        layout: viewport, device_pixel_ratio and scroll, as far as they are known.
        reasons: why a part could not be read, by its name.
        when: the time of the screenshot.
        is_same: True if the page was the same before and after the screenshot.
    """
    about = {
        "url": known.get("url"),
        "title": known.get("title"),
        **layout,
        "timestamp": when.isoformat(timespec="milliseconds"),
        "source": "recorder",
        "changed_during_capture": True if {"html", "screenshot"} <= known.keys() and not is_same else None,
        "not_captured": dict(reasons) or None,
    }
    return {key: value for key, value in about.items() if value is not None}


def _problems(known: Reading) -> dict[str, str]:
    return {"frames": known["frames"]} if "frames" in known else {}


def _layout(known: Reading) -> dict[str, Any]:
    """Return viewport, device_pixel_ratio and scroll, as far as the page says them."""
    said, size = known.get("layout"), known.get("viewport")
    layout = dict(said) if isinstance(said, Mapping) else {}
    viewport = dict(size) if isinstance(size, Mapping) else layout.get("viewport")
    return {"viewport": viewport, **{name: layout.get(name) for name in ("device_pixel_ratio", "scroll")}}


def reason_of(error: BaseException) -> str:
    """Return the whole message of an error. `shortened` comes after the secrets in it are masked."""
    message = str(error).strip() or type(error).__name__
    if len(message) > MAX_MESSAGE:
        return f"{type(error).__name__}, with a message of {len(message)} characters"
    return message


def shortened(reason: str) -> str:
    """Return the first line of a reason, in which no secret is left, and Playwright's call log, if it has one.

    Playwright says in the first line what failed, and in the log what it was waiting for. User and password in a URL
    are removed.
    """
    reason = without_user(reason)
    first = _line(reason.partition("\n")[0])
    log = [_line(line) for line in reason.partition("Call log:")[2].splitlines() if line.strip()]
    return "\n".join([first, "Call log:", *log[:LOG_LINES]]) if log else first


def _line(text: str) -> str:
    return _COLOUR.sub("", text[:MAX_LINE]).strip()
