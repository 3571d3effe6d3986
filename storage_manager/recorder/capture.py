"""Capture what a page shows at one moment, for any kind of page, asynchronous or not."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from functools import partial
from typing import Any, NamedTuple

from storage_manager.encoding import without_surrogates
from storage_manager.recorder.calls import Deadline, Pause, Reading, Steps, Work, failures, is_timeout, values
from storage_manager.recorder.camera import Shot
from storage_manager.recorder.dialogs import Dialogs
from storage_manager.recorder.markup import LONG, cleaned, without_user

__all__ = ["Capture", "Observer", "View", "capturing", "reason_of", "shortened"]

# Seconds for all calls of the page together. The screenshot of a long page on a busy machine takes several seconds. A
# page with an endless script or an open dialog never answers; Playwright itself waits 30 seconds for it, or forever.
CALL_SECONDS = 10.0
ATTEMPTS = 3  # screenshots of a page that is changing or navigating; a page with a clock never stops changing
PAUSE = 0.3  # seconds before the next attempt after a failure: during a navigation, calls fail for some milliseconds

MAX_MESSAGE = 100_000  # characters of an error of the page that are looked at; secrets are masked in all of them

MAX_LINE = 500  # characters of a reason that are stored
LOG_LINES = 20
_COLOUR = re.compile("\x1b\\[[0-9;]*m")  # of a terminal; Playwright prints its log in grey


class Capture(NamedTuple):
    """The parts of a page. A part that could not be captured is None, and the metadata has the reason."""

    html: str | None
    screenshot: bytes | None
    metadata: dict[str, Any]


class View(ABC):
    """A page, as a capture reads it. Each kind of page has its own View."""

    @abstractmethod
    def read(self, deadline: Deadline) -> Steps[Reading]:
        """Return the parts of the page, and the errors of calls that failed.

        The names are html, title, url, viewport, layout (a mapping with viewport, device_pixel_ratio and scroll), and
        frames (why some could not be read). A view may add other names, whose values are only compared.
        """

    @abstractmethod
    def read_again(self, deadline: Deadline, before: Reading) -> Steps[Reading]:
        """Return the parts of the page as they are now. This may be quicker if the view knows what has changed."""

    @abstractmethod
    def shoot(self, deadline: Deadline) -> Steps[Shot]:
        """Return a screenshot, or the error of the page."""

    @abstractmethod
    def leave(self, deadline: Deadline) -> Steps[None]:
        """Release what the readings hold in the page."""

    @abstractmethod
    def is_closed(self) -> bool:
        """Return True if the page reports that it is closed. Another attempt is then useless."""


class Observer:
    """Capture the pages of one session, and explain their dialogs.

    Parameters:
        view: returns the view of a page.
    """

    def __init__(self, view: Callable[[Any], View]) -> None:
        self._view, self._dialogs = view, Dialogs()

    def observe(self, page: Any) -> Steps[Capture]:
        """Return what a page shows now."""
        shown = yield from capturing(self._view(page))
        if shown.html is not None:
            yield from self._dialogs.watch(page)
        return shown._replace(metadata=self._dialogs.explain(page, shown.metadata))

    def close(self) -> Steps[None]:
        """Stop watching the pages."""
        yield from self._dialogs.close()


def capturing(view: View) -> Steps[Capture]:
    """Capture what a page shows now. Everything except the screenshot is read before and after the screenshot.

    If both readings are equal, everything belongs to one moment. If they differ, another screenshot is taken, up to
    three in all. If the readings still differ, `changed_during_capture` is true in the metadata. A part that cannot be
    captured is None, and `not_captured` has the reason, unchanged from the page: mask secrets in it, and then shorten
    it with `shortened`. All calls of the page together take 10 seconds at most.
    """
    deadline = Deadline(CALL_SECONDS)
    try:
        reading, when, is_same = yield from _attempts(view, deadline)
    finally:
        yield from view.leave(deadline)
    if isinstance(reading.get("html"), str):
        html = reading["html"]
        reading["html"] = yield Work(partial(cleaned, html), is_long=len(html) > LONG)
    return _result(reading, when, is_same)


def _attempts(view: View, deadline: Deadline) -> Steps[tuple[Reading, datetime, bool]]:
    before = yield from view.read(deadline)
    attempt = 0
    while True:
        attempt += 1
        when = datetime.now(timezone.utc)
        image = {"screenshot": (yield from _shoot(view, deadline, before))}
        after = before if failures(image) else (yield from view.read_again(deadline, before))
        is_complete = not failures(after | image)
        is_same = values(before) == values(after)
        if (is_complete and is_same) or attempt == ATTEMPTS or deadline.is_half_over or view.is_closed():
            return before | values(after) | image, when, is_same
        before = after
        if not is_complete:
            yield Pause(PAUSE)
            before = yield from view.read(deadline)


def _shoot(view: View, deadline: Deadline, before: Reading) -> Steps[Shot]:
    """Take a screenshot, unless reading the HTML timed out: the screenshot would time out as well."""
    html = before["html"]
    if isinstance(html, BaseException) and is_timeout(html):
        return html
    return (yield from view.shoot(deadline))


def _result(reading: Reading, when: datetime, is_same: bool) -> Capture:
    known = values(reading)
    reasons = {name: reason_of(error) for name, error in failures(reading).items()}
    if "frames" in known:
        reasons["frames"] = known["frames"]
    about = {
        "url": _text(known.get("url")),
        "title": _text(known.get("title")),
        **_layout(known),
        "timestamp": when.isoformat(timespec="milliseconds"),
        "source": "recorder",
        "changed_during_capture": True if {"html", "screenshot"} <= known.keys() and not is_same else None,
        "not_captured": reasons or None,
    }
    about = {key: value for key, value in about.items() if value is not None}
    return Capture(known.get("html"), known.get("screenshot"), about)


def _layout(known: Reading) -> dict[str, Any]:
    """Return those of viewport, device_pixel_ratio and scroll that the page reports."""
    said, size = known.get("layout"), known.get("viewport")
    layout = dict(said) if isinstance(said, Mapping) else {}
    viewport = dict(size) if isinstance(size, Mapping) else layout.get("viewport")
    return {"viewport": viewport, **{name: layout.get(name) for name in ("device_pixel_ratio", "scroll")}}


def _text(text: str | None) -> str | None:
    """Return a text of the page without characters that UTF-8 cannot encode."""
    return text and "".join(without_surrogates(text))


def reason_of(error: BaseException) -> str:
    """Return the whole message of an error. Mask the secrets in it before you call `shortened`."""
    message = str(error).strip() or type(error).__name__
    if len(message) > MAX_MESSAGE:
        return f"{type(error).__name__}, with a message of {len(message)} characters"
    return message


def shortened(reason: str) -> str:
    """Return the first line of a reason, and Playwright's call log if there is one. Secrets must be masked before.

    The first line of a Playwright error says what failed; its log says what Playwright was waiting for. User and
    password are removed from URLs.
    """
    reason = without_user(reason)
    first = _line(reason.partition("\n")[0])
    log = [_line(line) for line in reason.partition("Call log:")[2].splitlines() if line.strip()]
    return "\n".join([first, "Call log:", *log[:LOG_LINES]]) if log else first


def _line(text: str) -> str:
    return _COLOUR.sub("", text[:MAX_LINE]).strip()
