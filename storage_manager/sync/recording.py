"""`record` for pages that are read in the calling thread, and its Recorder."""

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, cast

from storage_manager import recorder
from storage_manager.errors import translating
from storage_manager.recorder.camera import Picture, check_picture
from storage_manager.recorder.capture import Observer
from storage_manager.recorder.recording import metadata_of
from storage_manager.storage import Attachment
from storage_manager.sync.background import run
from storage_manager.sync.calls import carry_out
from storage_manager.sync.manager import StorageManager
from storage_manager.sync.twins import add_twins, translated_text
from storage_manager.sync.views import Views

__all__ = ["Recorder", "record"]


def record(
    storage: StorageManager,
    session_id: str,
    *,
    full_page: bool = False,
    metadata: Mapping[str, Any] | None = None,
    observed: Literal["after", "before"] = "after",
    image: Literal["png", "jpeg", "webp"] = "png",
    quality: int | None = None,
    mask: Sequence[str] = (),
) -> "Recorder":
    if not isinstance(storage, StorageManager):
        raise TypeError(f"storage must be a storage_manager.sync.StorageManager, not {type(storage).__name__}")
    with translating("record", storage.asynchronous.url_for()):
        picture = check_picture(full_page, image, quality, mask)
    block = recorder.record(storage.asynchronous, session_id, metadata=metadata, observed=observed)
    return Recorder(cast("recorder.Recorder", block), storage, picture)


_OWN = """
    Pages are read in the calling thread: those of playwright.sync_api, drivers of Selenium, and objects with the same
    methods. Steps are stored in the background. `image` and `quality` (1 to 100) are the format of screenshots, and
    elements that match a CSS selector in `mask` are covered in them.
"""
record.__doc__ = (translated_text(recorder.record.__doc__) or "").rstrip() + "\n" + _OWN


class Recorder:
    """Capture steps of one session in the calling thread, and store them in the background. `record` creates it.

    Attributes:
        asynchronous: the recorder underneath, which stores the steps.
    """

    session_id: str
    asynchronous: recorder.Recorder

    def __init__(self, asynchronous: recorder.Recorder, storage: StorageManager, picture: Picture) -> None:
        self.asynchronous = asynchronous
        self.session_id = asynchronous.session_id
        self._storage = storage
        self._observer = Observer(Views(picture))

    def step(
        self,
        page: Any,
        action: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        attachments: Mapping[str, Attachment] | None = None,
    ) -> str:
        seen = carry_out(self._observer.observe(page))
        with translating("record", self._storage.asynchronous.url_for(self.session_id)):
            about: Any = metadata_of(self._storage.asynchronous, seen, action)
        about = {**about, **metadata} if isinstance(metadata, Mapping) else metadata or about
        return run(
            self.asynchronous.add,
            html=seen.html,
            screenshot=seen.screenshot,
            action=action,
            metadata=about,
            attachments=attachments,
        )

    def __enter__(self) -> "Recorder":
        run(self.asynchronous.__aenter__)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            carry_out(self._observer.close())
        finally:
            self._end(kind, error, traceback)

    def _end(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the recording. Ctrl+C has the same effect as a cancellation in asynchronous code."""
        if not isinstance(error, KeyboardInterrupt):
            run(self.asynchronous.__aexit__, kind, error, traceback)
            return
        cancelled = asyncio.CancelledError()
        run(self.asynchronous.__aexit__, asyncio.CancelledError, cancelled, traceback)
        if cancelled.__cause__ is not None:
            error.__cause__ = cancelled.__cause__


Recorder.step.__doc__ = (translated_text(recorder.Recorder.step.__doc__) or "").replace(
    "Playwright's async page, or any object with content(), screenshot(), title() and url.",
    "a page of playwright.sync_api, a driver of Selenium, or an object with the methods of one.",
)
add_twins(Recorder, recorder.Recorder, leave_out=("before_end", "try_step"))  # for asynchronous callbacks
