"""Take screenshots of a page with its own method or, if that takes too long, through Chromium's own protocol."""

import base64
import importlib
import importlib.util
import inspect
import io
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from storage_manager.errors import InvalidDataError, attempt
from storage_manager.recorder.calls import (
    Call,
    Deadline,
    Steps,
    Work,
    accepts,
    failures,
    has_protocol,
    is_silence,
    is_timeout,
    is_weak,
)
from storage_manager.recorder.script import COVER, UNCOVER

__all__ = ["Camera", "Picture", "Shot", "check_picture", "image_options", "protocol_image"]

Shot: TypeAlias = bytes | BaseException  # a screenshot, or why there is none
_IMAGES = ("png", "jpeg", "webp")
# Seconds for the first attempt. Playwright waits for every font of the page, so a font that never loads takes all of
# this time. Chromium's own protocol does not wait for fonts. A page that is only slow is captured in both ways.
FIRST_SECONDS = 2.0
# Seconds that the recorder waits longer than Playwright. Playwright's error says what it was waiting for, and may come
# late if the machine is busy.
MARGIN = 1.0


class Picture(NamedTuple):
    """The format, area and masks of screenshots, as in `record`."""

    full_page: bool = False
    image: str = "png"
    quality: int | None = None
    mask: tuple[str, ...] = ()

    @property
    def quality_option(self) -> dict[str, int]:
        """The keyword `quality`, if it is given."""
        return {"quality": self.quality} if self.quality else {}


def check_picture(full_page: bool, image: str, quality: int | None, mask: Sequence[str]) -> Picture:
    """Check the arguments, and return them as a Picture.

    Raises:
        InvalidDataError: an argument is not allowed.
    """
    if image not in _IMAGES:
        raise _refusal(f"image must be 'png', 'jpeg' or 'webp', not {image!r}")
    if quality is not None and image == "png":
        raise _refusal("quality is for image='jpeg' and image='webp'; a PNG has none")
    is_number = isinstance(quality, int) and not isinstance(quality, bool)
    if quality is not None and not (is_number and 1 <= quality <= 100):
        raise _refusal(f"quality must be an integer from 1 to 100, not {quality!r}")
    if isinstance(mask, str) or not isinstance(mask, Sequence):
        raise _refusal(f"mask must be a list of CSS selectors, such as ['#card'], not {type(mask).__name__}")
    if not all(isinstance(selector, str) and selector.strip() for selector in mask):
        raise _refusal("each CSS selector in mask must be a str that is not empty")
    return Picture(full_page, image, quality, tuple(mask))


def _refusal(why: str) -> InvalidDataError:
    return InvalidDataError(why, operation="record")


class Camera:
    """Screenshots of the pages of one session."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._slow: WeakKeyDictionary[Any, str] = WeakKeyDictionary()  # the host of each page that did not answer

    def check(self, page: Any) -> None:
        """Refuse a page that cannot take such a screenshot.

        Raises:
            InvalidDataError: the page cannot cover elements; or it cannot make such an image, and Pillow is not
                installed.
        """
        what, image = type(page).__name__, self._picture.image
        if self._picture.mask and not (hasattr(page, "locator") and _takes(page, "mask")):
            raise _refusal(f"cannot cover elements of {what}: its screenshot() takes no mask; record it without mask=")
        if not self._makes(page, image) and importlib.util.find_spec("PIL") is None:
            advice = "install Pillow or a newer version of Playwright, or record image='png'"
            raise _refusal(f"cannot make {image} images: screenshot() of {what} has no type={image!r} ({advice})")

    def take(self, page: Any, deadline: Deadline) -> Steps[Shot]:
        """Return a screenshot, or the error of the page.

        If the page belongs to Chromium, the first attempt is short. If it takes too long, Chromium's own protocol is
        used for this screenshot, and for later ones of the same page and site.
        """
        if not has_protocol(page):
            return (yield from self._through_page(page, deadline))
        first = None if self._is_slow(page) else (yield from self._through_page(page, deadline, FIRST_SECONDS))
        if first is not None and not is_timeout(first):
            return first
        image = yield from self._through_protocol(page, deadline)
        if not isinstance(image, BaseException):
            self._remember(page)
            return image
        last = yield from self._through_page(page, deadline)
        return first if first is not None and is_silence(last) else last

    def _through_page(self, page: Any, deadline: Deadline, seconds: float | None = None) -> Steps[Shot]:
        """Take a screenshot with the page's own method, and convert it if the page cannot make such an image.

        Playwright's timeout ends before ours. Without it, a screenshot that hangs would also block the next screenshot.
        """
        options, limit = self._options(page), seconds + MARGIN if seconds else None
        if accepts(page.screenshot, "timeout"):
            ours = min(limit or deadline.left, deadline.left)
            options["timeout"] = round(1000 * max(ours - MARGIN, ours / 2))  # milliseconds
        image: Shot = yield from deadline.call(partial(page.screenshot, **options), bytes, limit)
        if not isinstance(image, BaseException) and not self._makes(page, self._picture.image):
            image = yield Work(partial(attempt, partial(_converted, image, self._picture)))
        return image

    def _options(self, page: Any) -> dict[str, Any]:
        picture = self._picture
        options: dict[str, Any] = {"full_page": True} if picture.full_page else {}
        if accepts(page.screenshot, "caret"):
            options["caret"] = "initial"  # "hide" leaves `style=""` on every input
        if picture.image != "png" and self._makes(page, picture.image):
            options |= {"type": picture.image, **picture.quality_option}
        if picture.mask:
            options["mask"] = [page.locator(selector) for selector in picture.mask]
        return options

    @staticmethod
    def _makes(page: Any, image: str) -> bool:
        """Return True if screenshot() of the page supports this format. Playwright supports WebP since 1.65."""
        kind = inspect.signature(page.screenshot).parameters.get("type")
        if kind is None or kind.annotation is inspect.Parameter.empty:
            return image == "png" or _takes(page, "type")
        return image == "png" or "Literal" not in str(kind.annotation) or image in str(kind.annotation)

    def _through_protocol(self, page: Any, deadline: Deadline) -> Steps[Shot]:
        """Take a screenshot through Chromium's own protocol, with the elements of the mask covered."""
        if self._picture.full_page:
            ratio = yield from deadline.call(partial(page.evaluate, "() => devicePixelRatio"))
            if ratio != 1:
                return NotImplementedError("the whole page")
        if not self._picture.mask:
            return (yield from protocol_image(page, self._picture, deadline))
        try:
            covered = yield deadline.calls(self._covers(page))
            errors = list(failures(covered).values())
            return errors[0] if errors else (yield from protocol_image(page, self._picture, deadline))
        finally:
            yield from deadline.call(partial(page.evaluate, UNCOVER))

    def _covers(self, page: Any) -> dict[str, Call]:
        locators = {selector: page.locator(selector) for selector in self._picture.mask}
        return {selector: (partial(one.evaluate_all, COVER), bool) for selector, one in locators.items()}

    def _is_slow(self, page: Any) -> bool:
        return is_weak(page) and self._slow.get(page) == _host(page)

    def _remember(self, page: Any) -> None:
        if is_weak(page):
            self._slow[page] = _host(page)


def protocol_image(page: Any, picture: Picture, deadline: Deadline) -> Steps[Shot]:
    """Take a screenshot through the Chrome DevTools Protocol.

    No `clip` is given, because Chromium then forgets the emulated pixel ratio of the page. So the image has one pixel
    per CSS pixel. The whole page can be captured in this way only if the pixel ratio is 1.
    """
    session = yield from deadline.call(partial(page.context.new_cdp_session, page))
    if isinstance(session, BaseException):
        return session
    options = {**image_options(picture), "captureBeyondViewport": picture.full_page}
    try:
        answer = yield from deadline.call(partial(session.send, "Page.captureScreenshot", options), Mapping)
    finally:
        yield from deadline.call(session.detach)
    return answer if isinstance(answer, BaseException) else base64.b64decode(answer["data"])


def image_options(picture: Picture) -> dict[str, Any]:
    """Return the options of Page.captureScreenshot for the format of an image."""
    return {"format": picture.image, **picture.quality_option}


def _converted(image: bytes, picture: Picture) -> bytes:
    """Convert a PNG to another format."""
    pillow = importlib.import_module("PIL.Image")
    buffer = io.BytesIO()
    pillow.open(io.BytesIO(image)).convert("RGB").save(buffer, picture.image, **picture.quality_option)
    return buffer.getvalue()


def _takes(page: Any, keyword: str) -> bool:
    """Return True if screenshot() accepts a keyword, by its name or with `**`."""
    parameters = inspect.signature(page.screenshot).parameters.values()
    return any(one.name == keyword or one.kind is one.VAR_KEYWORD for one in parameters)


def _host(page: Any) -> str:
    return urlsplit(str(page.url)[:2048]).netloc
