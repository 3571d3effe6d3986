"""Read what a page shows at one moment, in the calling thread: a sync page of Playwright, or a driver of Selenium.

Playwright's sync pages and Selenium's drivers answer only in the thread that made them. So nothing here is
asynchronous, and a call that hangs can only be ended by its own timeout.
"""

import base64
import inspect
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from functools import partial
from typing import Any, ClassVar
from weakref import WeakSet

from storage_manager.encoding import without_surrogates
from storage_manager.errors import InvalidDataError, attempt
from storage_manager.recorder.calls import Reading, accepts, failures, values
from storage_manager.recorder.camera import Picture
from storage_manager.recorder.capture import GEOMETRY, Capture, about_page, reason_of

__all__ = ["Reader"]

STEP_SECONDS = 10.0  # that a page may take for one step, as far as its calls have a timeout
# Seconds for Playwright's screenshot if Chrome's own is there too. Playwright waits for fonts, which may never load.
SHORT_SECONDS = 3.0
ATTEMPTS = 3  # screenshots of a page that is changing or navigating
PAUSE = 0.3  # seconds before the next attempt after a failure: during a navigation, calls fail for some milliseconds

_GEOMETRY = f"() => ({{{GEOMETRY}}})"
_COVER = """const cover = document.createElement('div');
for (const selector of arguments[0]) {
    for (const element of document.querySelectorAll(selector)) {
        const box = element.getBoundingClientRect(), lid = document.createElement('div');
        Object.assign(lid.style, {position: 'absolute', background: '#f0f', zIndex: 2147483647,
            left: `${box.left + scrollX}px`, top: `${box.top + scrollY}px`,
            width: `${box.width}px`, height: `${box.height}px`});
        cover.append(lid);
    }
}
document.documentElement.append(cover);
return cover;"""
_UNCOVER = "arguments[0].remove()"


class _View(ABC):
    """A page, as the reader needs it. Each method raises the page's own errors."""

    def __init__(self, page: Any, picture: Picture) -> None:
        self.page, self.picture = page, picture
        self.deadline = time.monotonic() + STEP_SECONDS

    def milliseconds(self, most: float = STEP_SECONDS) -> float:
        """Return what is left of the time for the step."""
        return 1000 * max(0.1, min(most, self.deadline - time.monotonic() - 0.2))

    @abstractmethod
    def geometry(self) -> dict[str, Any]:
        """Return viewport, device_pixel_ratio and scroll, as far as they are known."""

    @abstractmethod
    def html(self) -> str: ...

    @abstractmethod
    def title(self) -> str: ...

    @abstractmethod
    def url(self) -> str: ...

    @abstractmethod
    def screenshot(self) -> bytes: ...

    def is_closed(self) -> bool:
        """Return True if there is no use in another attempt."""
        return False

    def _from_chrome(self, send: Callable[[str, dict[str, Any]], Any]) -> bytes:
        """Take a screenshot through the Chrome DevTools Protocol (Page.captureScreenshot)."""
        options: dict[str, Any] = {"format": self.picture.image}
        if self.picture.quality is not None:
            options["quality"] = self.picture.quality
        if self.picture.full_page:
            size = send("Page.getLayoutMetrics", {})["cssContentSize"]
            options |= {"captureBeyondViewport": True, "clip": {**size, "scale": 1}}
        return base64.b64decode(send("Page.captureScreenshot", options)["data"])


class _Page(_View):
    """A sync page of Playwright, or an object with its content(), screenshot(), title() and url."""

    slow: ClassVar[WeakSet[Any]] = WeakSet()  # pages whose screenshot did not come in time

    def geometry(self) -> dict[str, Any]:
        if not hasattr(self.page, "locator"):
            return {"viewport": size} if (size := getattr(self.page, "viewport_size", None)) else {}
        # of all calls that run a script, this one has a timeout: it fails if the page hangs, where content() waits
        found: dict[str, Any] = self.page.locator(":root").evaluate(_GEOMETRY, timeout=self.milliseconds())
        size = getattr(self.page, "viewport_size", None)
        return {**found, "viewport": size} if size else found

    def html(self) -> str:
        options = {"include_shadow": True} if accepts(self.page.content, "include_shadow") else {}
        html: str = self.page.content(**options)
        return html

    def title(self) -> str:
        title: str = self.page.title()
        return title

    def url(self) -> str:
        url: str = self.page.url
        return url

    def screenshot(self) -> bytes:
        """Take a screenshot with Playwright; if it takes too long, with Chrome."""
        send = None if self.picture.mask else self._chrome()
        if send is None:
            return self._from_playwright(STEP_SECONDS)
        if self.page not in self.slow:
            image = attempt(lambda: self._from_playwright(SHORT_SECONDS))
            if isinstance(image, bytes):
                return image
            if not _is_timeout(image):
                raise image
            self.slow.add(self.page)
        return self._from_chrome(send)

    def _from_playwright(self, seconds: float) -> bytes:
        picture = self.picture
        options: dict[str, Any] = {"full_page": True} if picture.full_page else {}
        if picture.image != "png":
            options |= {"type": picture.image} | ({"quality": picture.quality} if picture.quality else {})
        if picture.mask:
            options["mask"] = [self.page.locator(selector) for selector in picture.mask]
        # the other value of caret leaves style="" on every input of the page
        more = {"timeout": self.milliseconds(seconds), "caret": "initial"}
        options |= {name: value for name, value in more.items() if accepts(self.page.screenshot, name)}
        image: bytes = self.page.screenshot(**options)
        return image

    def _chrome(self) -> Callable[[str, dict[str, Any]], Any] | None:
        """Return a function that sends a command to Chrome; None in another browser."""
        browser = getattr(getattr(self.page, "context", None), "browser", None)
        if browser is None or browser.browser_type.name != "chromium":
            return None

        def send(command: str, options: dict[str, Any]) -> Any:
            session = self.page.context.new_cdp_session(self.page)
            try:
                return session.send(command, options)
            finally:
                session.detach()

        return send

    def is_closed(self) -> bool:
        return hasattr(self.page, "is_closed") and self.page.is_closed() is True


class _Driver(_View):
    """A WebDriver of Selenium, or an object with its page_source, title, current_url and get_screenshot_as_png()."""

    def geometry(self) -> dict[str, Any]:
        if not hasattr(self.page, "execute_script"):
            return {}
        found: dict[str, Any] = self.page.execute_script(f"return ({_GEOMETRY})()")
        return found

    def html(self) -> str:
        html: str = self.page.page_source
        return html

    def title(self) -> str:
        title: str = self.page.title
        return title

    def url(self) -> str:
        url: str = self.page.current_url
        return url

    def screenshot(self) -> bytes:
        picture = self.picture
        if not picture.mask:
            return self._image()
        cover = self.page.execute_script(_COVER, list(picture.mask))
        try:
            return self._image()
        finally:
            self.page.execute_script(_UNCOVER, cover)

    def _image(self) -> bytes:
        if self.picture.full_page or self.picture.image != "png":
            return self._from_chrome(self.page.execute_cdp_cmd)
        image: bytes = self.page.get_screenshot_as_png()
        return image

    def check(self) -> "_Driver":
        """Refuse a picture that this driver cannot take. A screenshot without its mask would show too much."""
        needs = {
            "execute_script": ["mask"] if self.picture.mask else [],
            "execute_cdp_cmd": [
                *(["full_page"] if self.picture.full_page else []),
                *([f"image={self.picture.image!r}"] if self.picture.image != "png" else []),
            ],
        }
        for method, options in needs.items():
            if options and not hasattr(self.page, method):
                why = f"{options[0]} needs a driver with {method}(), and {type(self.page).__name__} has none"
                raise InvalidDataError(f"cannot record: {why}", operation="record")
        return self


class Reader:
    """Reads pages as one recording asks for."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture

    def read(self, page: Any) -> Capture:
        """Return what a page shows now. HTML, title, URL and geometry are read before and after the screenshot.

        If both readings are equal, everything belongs to one moment. If they differ, another screenshot is taken, up
        to three in all. If the readings still differ then, `changed_during_capture` is true in the metadata.

        Raises:
            InvalidDataError: it is not a page, it is an asynchronous one, or the driver cannot do what was asked for.
        """
        view = _view(page, self._picture)
        before = _read(view)
        for number in range(1, ATTEMPTS + 1):
            when = datetime.now(timezone.utc)
            image = _screenshot(view, before)
            after = before if failures(image) else _read(view)
            is_complete = not failures(after | image)
            is_same = values(before) == values(after)
            is_late = time.monotonic() > view.deadline - STEP_SECONDS / 2
            if (is_complete and is_same) or number == ATTEMPTS or is_late or view.is_closed():
                break
            before = after if is_complete else _read_later(view)
        return _seen(before | values(after) | image, when, is_same)


def _view(page: Any, picture: Picture) -> _View:
    content = getattr(page, "content", None)
    if inspect.iscoroutinefunction(content):
        why = f"{type(page).__name__} is an asynchronous page: use storage_manager.recorder.record in `async with`"
        raise InvalidDataError(f"cannot record: {why}, or give a page of playwright.sync_api", operation="record")
    if hasattr(page, "get_screenshot_as_png"):
        return _Driver(page, picture).check()
    for name in ("content", "screenshot", "title"):
        if not callable(getattr(page, name, None)):
            why = f"{type(page).__name__} is not a page: it has no method {name!r}"
            advice = "give a page of playwright.sync_api, a Selenium WebDriver, or an object with the methods of one"
            raise InvalidDataError(f"cannot record: {why}; {advice}", operation="record")
    return _Page(page, picture)


def _read(view: _View) -> Reading:
    reading: Reading = {"geometry": attempt(view.geometry)}
    if _is_timeout(reading["geometry"]):  # the page hangs: content() would wait for ever
        return {**reading, "html": reading["geometry"], "title": reading["geometry"], "url": attempt(view.url)}
    calls = {"html": view.html, "title": view.title, "url": view.url}
    return reading | {name: attempt(partial(_text_of, call)) for name, call in calls.items()}


def _read_later(view: _View) -> Reading:
    time.sleep(PAUSE)
    return _read(view)


def _screenshot(view: _View, before: Reading) -> Reading:
    """Take a screenshot, unless the page hangs."""
    if _is_timeout(before["html"]):
        return {"screenshot": before["html"]}
    image = attempt(view.screenshot)
    if not isinstance(image, (bytes, Exception)):
        image = TypeError(f"bytes are needed, not {type(image).__name__}")
    return {"screenshot": image}


def _text_of(call: Callable[[], object]) -> str:
    """Return a text of the page as UTF-8 can encode it."""
    value = call()
    if not isinstance(value, str):
        raise TypeError(f"str is needed, not {type(value).__name__}")
    return "".join(without_surrogates(value))


def _is_timeout(answer: object) -> bool:
    """Return True for TimeoutError of Python or Playwright, or TimeoutException of Selenium."""
    return any(cls.__name__ in ("TimeoutError", "TimeoutException") for cls in type(answer).__mro__)


def _seen(reading: Reading, when: datetime, is_same: bool) -> Capture:
    known = values(reading)
    geometry = known.get("geometry")
    layout = geometry if isinstance(geometry, Mapping) else {}
    reasons = {name: _reason(error) for name, error in failures(reading).items()}
    return Capture(known.get("html"), known.get("screenshot"), about_page(known, layout, reasons, when, is_same))


def _reason(error: BaseException) -> str:
    """Return the whole message of an error. It is shortened after the secrets in it are masked."""
    return f"the page gave no answer in time: {reason_of(error)}" if _is_timeout(error) else reason_of(error)
