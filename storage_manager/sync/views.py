"""The view of a page that is read in the calling thread: a sync page of Playwright, or a driver of Selenium."""

import inspect
from typing import Any

from storage_manager.errors import InvalidDataError
from storage_manager.recorder.camera import Camera, Picture
from storage_manager.recorder.capture import View
from storage_manager.recorder.pages import PageView
from storage_manager.sync.drivers import DriverView, check_driver

__all__ = ["Views"]


class Views:
    """Views of the pages of one session."""

    def __init__(self, picture: Picture) -> None:
        self._picture, self._camera = picture, Camera(picture)

    def __call__(self, page: Any) -> View:
        """Return the view of a page.

        Raises:
            InvalidDataError: it is not a page, it is an asynchronous page, or it cannot take such a screenshot.
        """
        if inspect.iscoroutinefunction(getattr(page, "content", None)):
            why = f"{type(page).__name__} is an asynchronous page: use storage_manager.recorder.record in `async with`"
            raise InvalidDataError(f"cannot record: {why}, or give a page of playwright.sync_api", operation="record")
        if hasattr(page, "get_screenshot_as_png"):
            check_driver(page, self._picture)
            return DriverView(page, self._picture)
        _check_page(page)
        self._camera.check(page)
        return PageView(page, self._camera)


def _check_page(page: Any) -> None:
    for name in ("content", "screenshot", "title"):
        if not callable(getattr(page, name, None)):
            why = f"{type(page).__name__} is not a page: it has no method {name!r}"
            advice = "give a page of playwright.sync_api, a Selenium WebDriver, or an object with the methods of one"
            raise InvalidDataError(f"cannot record: {why}; {advice}", operation="record")
