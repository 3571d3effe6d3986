"""Read a Playwright page, async or sync, or any object with the same content(), screenshot(), title() and url."""

import secrets
from collections.abc import Mapping
from functools import partial
from typing import Any

from storage_manager.errors import InvalidDataError
from storage_manager.recorder.answers import end_of, look_of
from storage_manager.recorder.calls import (
    Call,
    Deadline,
    Reading,
    Steps,
    accepts,
    failures,
    is_timeout,
)
from storage_manager.recorder.camera import Camera, Shot
from storage_manager.recorder.capture import View
from storage_manager.recorder.frames import Frames, has_frames
from storage_manager.recorder.script import END, LOOK

__all__ = ["PageView", "check_page"]

_NEEDED = ("content", "screenshot", "title", "url")


def check_page(page: object) -> None:
    """Refuse an object without the attributes of a page, and a page that only the synchronous recorder can read.

    Raises:
        InvalidDataError: the message names the first missing attribute, or the function to use.
    """
    if hasattr(page, "get_screenshot_as_png"):
        why, advice = f"{type(page).__name__} is a driver of Selenium", "use storage_manager.sync.record"
        raise InvalidDataError(f"cannot record: {why}; {advice}", operation="record")
    if ".sync_api" in type(page).__module__:  # of Playwright, or a library with the same modules, such as Patchright
        why = "this is a page of Playwright's synchronous API"
        advice = "use storage_manager.sync.record, or open the page with playwright.async_api"
        raise InvalidDataError(f"cannot record: {why}; {advice}", operation="record")
    for name in _NEEDED:
        if not hasattr(page, name):
            why = f"{type(page).__name__} is not a page: it has no attribute {name!r}"
            advice = "give Playwright's async page, or an object with content(), screenshot(), title() and url"
            raise InvalidDataError(f"cannot record: {why}; {advice}", operation="record")


class PageView(View):
    """A Playwright page, or an object with the same methods.

    A Playwright page is watched by a script while the screenshot is taken. If the script has seen no change, the HTML
    is not read again. Any other page is read twice.
    """

    def __init__(self, page: Any, camera: Camera) -> None:
        self._page, self._camera = page, camera
        self._secret = ""  # ends the watch in the page; empty if nothing watches
        self._frames: Frames | None = None  # of the last reading
        self._handles: list[Any] = []
        self._typed = 0  # how often somebody typed during the capture; the HTML does not show it

    def read(self, deadline: Deadline) -> Steps[Reading]:
        """Begin to watch the page, and then read it."""
        self._secret, self._frames = "", None
        if not hasattr(self._page, "evaluate"):
            plain: Reading = yield deadline.calls(self._content() | self._title() | self._about())
            return plain
        secret = secrets.token_hex(16)
        look = look_of((yield from deadline.call(partial(self._page.evaluate, LOOK, secret), Mapping)))
        if is_timeout(look):
            about: Reading = yield deadline.calls(self._about())
            return {"html": look, "layout": look, **about}
        if isinstance(look, BaseException):
            calls = self._content() | self._title() | self._about()
            return {"layout": look, **(yield deadline.calls(calls))}
        self._secret = secret
        copy: Reading = (yield from self._copy(deadline)) if self._needs_copy(look) else {}
        rest: Reading = yield deadline.calls(self._about() | ({} if "html" in copy else self._content()))
        return self._looked(look) | copy | rest

    def read_again(self, deadline: Deadline, before: Reading) -> Steps[Reading]:
        """Read the page again. If it was watched and did not change, return the earlier reading."""
        if not self._secret or failures(before):
            return (yield from self.read(deadline))
        frames = [(self._page, self._secret), *(self._frames.watched() if self._frames else ())]
        calls = {str(at): (partial(one.evaluate, END, secret), Mapping) for at, (one, secret) in enumerate(frames)}
        ends: Reading = yield deadline.calls(calls | self._about())
        about = {name: ends.pop(name) for name in self._about()}
        ends = {at: end_of(end) for at, end in ends.items()}
        if failures(ends) or any(end["changed"] for end in ends.values()) or not self._has_same_frames():
            return (yield from self.read(deadline))
        self._typed += sum(end["typed"] for end in ends.values())
        after = {**before, **about, **self._looked(ends["0"]["look"])}
        return after if after == before else (yield from self.read(deadline))

    def shoot(self, deadline: Deadline) -> Steps[Shot]:
        """Take a screenshot with the camera."""
        return (yield from self._camera.take(self._page, deadline))

    def leave(self, deadline: Deadline) -> Steps[None]:
        """Release the elements of frames."""
        if self._handles:
            yield deadline.calls({str(at): (one.dispose, object) for at, one in enumerate(self._handles)}, 1.0)

    def is_closed(self) -> bool:
        """Return the result of is_closed() of the page, if it has this method."""
        return hasattr(self._page, "is_closed") and self._page.is_closed() is True

    def _copy(self, deadline: Deadline) -> Steps[Reading]:
        """Return the HTML with its frames, or no HTML if the page cannot be copied; and the absent frames."""
        self._frames = Frames(self._page, self._handles)
        return (yield from self._frames.read(deadline))

    def _content(self) -> dict[str, Call]:
        options = {"include_shadow": True} if accepts(self._page.content, "include_shadow") else {}
        return {"html": (partial(self._page.content, **options), str)}

    def _title(self) -> dict[str, Call]:
        return {"title": (self._page.title, str)}

    def _about(self) -> dict[str, Call]:
        """Return the calls that need no request to the page."""
        size = {"viewport": (lambda: getattr(self._page, "viewport_size", None), object)}
        return {"url": (lambda: self._page.url, str), **size}

    def _looked(self, look: Mapping[str, Any]) -> Reading:
        """Return the answer of the script in the page as a reading. `typed` is only compared."""
        layout = {name: value for name, value in look.items() if name != "title"}
        return {"layout": layout, "title": look.get("title"), "typed": self._typed}

    def _needs_copy(self, look: Mapping[str, Any]) -> bool:
        """Return True if `content()` of the page would leave something out."""
        if not hasattr(self._page, "main_frame"):
            return False
        extras, has_shadow = look["extras"], accepts(self._page.content, "include_shadow")
        return has_frames(self._page) or bool(extras["top"] or (extras["shadow"] and not has_shadow))

    def _has_same_frames(self) -> bool:
        return self._frames.is_same_tree() if self._frames else not has_frames(self._page)
