"""Read the page of a Selenium driver, or any object with page_source, title, current_url, get_screenshot_as_png()."""

import base64
from collections.abc import Mapping
from functools import partial
from typing import Any

from storage_manager.errors import InvalidDataError
from storage_manager.recorder.answers import copy_of, look_of
from storage_manager.recorder.calls import Call, Deadline, Reading, Steps, failures
from storage_manager.recorder.camera import Picture, Shot, image_options
from storage_manager.recorder.capture import View
from storage_manager.recorder.frames import MAX_CHARACTERS, assembled, new_mark
from storage_manager.recorder.script import COPY, COVER, READER, UNCOVER

__all__ = ["DriverView", "check_driver"]

_LOOK = f"return ({READER})().look()"
_COPY = f"return ({COPY})(arguments[0])"
_UNCOVER = f"return ({UNCOVER})()"
# elements of the document and of its open shadow roots
_COVER = f"""const roots = [document], found = [];
for (const root of roots) {{
    for (const selector of arguments[0]) found.push(...root.querySelectorAll(selector));
    for (const element of root.querySelectorAll("*")) if (element.shadowRoot) roots.push(element.shadowRoot);
}}
return ({COVER})(found);"""


def check_driver(driver: Any, picture: Picture) -> None:
    """Refuse a picture that a driver cannot take. A screenshot without its mask would show too much.

    Raises:
        InvalidDataError: the driver lacks a method. The message names the method.
    """
    needs = {
        "execute_script": ["mask"] if picture.mask else [],
        "execute_cdp_cmd": [
            *(["full_page"] if picture.full_page else []),
            *([f"image={picture.image!r}"] if picture.image != "png" else []),
        ],
    }
    for method, options in needs.items():
        if options and not hasattr(driver, method):
            why = f"{options[0]} needs a driver with {method}(), and {type(driver).__name__} has none"
            raise InvalidDataError(f"cannot record: {why}", operation="record")


class DriverView(View):
    """A WebDriver. The HTML is the source of the page or, if the source is incomplete, a copy by a script."""

    def __init__(self, driver: Any, picture: Picture) -> None:
        self._driver, self._picture = driver, picture

    def read(self, deadline: Deadline) -> Steps[Reading]:
        """Read the page. Frames of other origins cannot be read: the driver would have to switch to them."""
        driver = self._driver
        script: dict[str, Call] = {}
        if hasattr(driver, "execute_script"):
            script = {"layout": (partial(driver.execute_script, _LOOK), Mapping)}
        html: dict[str, Call] = {"html": (lambda: driver.page_source, str)}
        about: dict[str, Call] = {"title": (lambda: driver.title, str), "url": (lambda: driver.current_url, str)}
        reading: Reading = yield deadline.calls(script | html | about)
        if script:
            reading["layout"] = look_of(reading["layout"])
        if failures(reading) or not any(reading.get("layout", {}).get("extras", {}).values()):
            return reading
        return reading | (yield from self._copy(deadline))

    def read_again(self, deadline: Deadline, before: Reading) -> Steps[Reading]:
        """Read the page again."""
        return (yield from self.read(deadline))

    def _copy(self, deadline: Deadline) -> Steps[Reading]:
        given = {"secret": "", "elements": [], "marks": [], "prefix": new_mark(), "characters": MAX_CHARACTERS}
        copy = copy_of((yield from deadline.call(partial(self._driver.execute_script, _COPY, given), Mapping)))
        if isinstance(copy, BaseException):
            return {"html": copy}
        absent = [f"{url or 'a frame'}: the driver cannot read it" for url in copy["absent"]]
        html = assembled(copy["html"], copy["parts"])
        return {"html": html} | ({"frames": "; ".join(absent)} if absent else {})

    def shoot(self, deadline: Deadline) -> Steps[Shot]:
        """Take a screenshot, with the elements of the mask covered."""
        if not self._picture.mask:
            return (yield from self._image(deadline))
        cover = partial(self._driver.execute_script, _COVER, list(self._picture.mask))
        try:
            covered = yield from deadline.call(cover)
            return covered if isinstance(covered, BaseException) else (yield from self._image(deadline))
        finally:
            yield from deadline.call(partial(self._driver.execute_script, _UNCOVER))

    def _image(self, deadline: Deadline) -> Steps[Shot]:
        picture, driver = self._picture, self._driver
        if not picture.full_page and picture.image == "png":
            image: Shot = yield from deadline.call(driver.get_screenshot_as_png, bytes)
            return image
        options = image_options(picture)
        if picture.full_page:
            size = yield from deadline.call(partial(driver.execute_cdp_cmd, "Page.getLayoutMetrics", {}), Mapping)
            if isinstance(size, BaseException):
                return size
            options |= {"captureBeyondViewport": True, "clip": {**size["cssContentSize"], "scale": 1}}
        answer = yield from deadline.call(partial(driver.execute_cdp_cmd, "Page.captureScreenshot", options), Mapping)
        return answer if isinstance(answer, BaseException) else base64.b64decode(answer["data"])

    def leave(self, deadline: Deadline) -> Steps[None]:
        """Do nothing: a reading keeps nothing in the page of a driver."""
        yield from ()

    def is_closed(self) -> bool:
        """Return False, because a driver does not report it."""
        return False
