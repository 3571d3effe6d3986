"""`record` for pages that are read in the calling thread, and its Recorder."""

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, cast

from storage_manager import recorder
from storage_manager.arguments import check_several, check_whole
from storage_manager.errors import InvalidDataError, StorageManagerError, refusing, translating
from storage_manager.layout import StepData
from storage_manager.storage import Attachment
from storage_manager.sync.background import run
from storage_manager.sync.manager import StorageManager
from storage_manager.sync.reading import Reader, Settings
from storage_manager.sync.twins import add_twins, translated_text

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
        settings = _checked(Settings(full_page, image, quality, mask))
    block = recorder.record(storage.asynchronous, session_id, metadata=metadata, observed=observed)
    return Recorder(cast("recorder.Recorder", block), storage, settings)


_OWN = """
    Pages are read in the calling thread: those of playwright.sync_api, drivers of Selenium, and objects with the same
    methods. Steps are stored in the background. `image` and `quality` (1 to 100) are the format of screenshots, and
    elements that match a CSS selector in `mask` are covered in them.
"""
record.__doc__ = (translated_text(recorder.record.__doc__) or "").rstrip() + "\n" + _OWN


def _checked(settings: Settings) -> Settings:
    """Return settings that can be used, with a copy of the mask.

    Raises:
        InvalidDataError: the image format is unknown, or PNG has a quality.
        TypeError, ValueError: quality is no whole number from 1 to 100, or mask is one str.
    """
    if settings.image not in ("png", "jpeg", "webp"):
        raise InvalidDataError(f"image must be 'png', 'jpeg' or 'webp', not {settings.image!r}", operation="record")
    if settings.quality is not None:
        if settings.image == "png":
            raise InvalidDataError("PNG has no quality: give image='jpeg' or image='webp'", operation="record")
        check_whole(settings.quality, "quality", 1, 100)
    check_several(settings.mask, "mask", of="CSS selectors")
    return settings._replace(mask=tuple(settings.mask))


class Recorder:
    """Capture steps of one session in the calling thread, and store them in the background. `record` creates it.

    Attributes:
        asynchronous: the recorder underneath, which stores the steps.
    """

    session_id: str
    asynchronous: recorder.Recorder

    def __init__(self, asynchronous: recorder.Recorder, storage: StorageManager, settings: Settings) -> None:
        self.asynchronous = asynchronous
        self.session_id = asynchronous.session_id
        self._storage = storage
        self._reader = Reader(settings)

    def step(
        self,
        page: Any,
        action: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        attachments: Mapping[str, Attachment] | None = None,
    ) -> str:
        seen = self._reader.read(page)
        about: Any = self._explained(seen.metadata)
        if seen.html is None and seen.screenshot is None and action is None:
            raise self._nothing_captured(about["not_captured"])
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
        """End the recording. Ctrl-C is what a cancellation is to asynchronous code."""
        if not isinstance(error, KeyboardInterrupt):
            run(self.asynchronous.__aexit__, kind, error, traceback)
            return
        cancelled = asyncio.CancelledError()
        run(self.asynchronous.__aexit__, asyncio.CancelledError, cancelled, traceback)
        if cancelled.__cause__ is not None:
            error.__cause__ = cancelled.__cause__

    def _explained(self, metadata: dict[str, Any]) -> dict[str, Any]:
        """Mask secrets in the page's errors, which may quote an address or typed text, and only then shorten them."""
        with translating("record", self._url):
            reasons = {name: self._redacted(why) for name, why in metadata.get("not_captured", {}).items()}
        short = {name: why.partition("\n")[0].strip()[:300] for name, why in reasons.items()}
        return {**metadata, "not_captured": short} if short else metadata

    def _redacted(self, text: str) -> str:
        redact = self._storage.asynchronous.redact
        if not redact:
            return text
        with refusing("the step", "redact failed"):
            return redact(StepData(html=text)).html or ""

    @property
    def _url(self) -> str:
        return self._storage.asynchronous.url_for(self.session_id)

    def _nothing_captured(self, reasons: Mapping[str, str]) -> StorageManagerError:
        why = (reasons.get("html") or reasons["screenshot"]).rstrip(".")
        advice = "record a page that is open, or give an action, which is stored without the page"
        message = f"cannot capture anything of the page: {why} ({advice})"
        return StorageManagerError(message, operation="record", url=self._url)


Recorder.step.__doc__ = (translated_text(recorder.Recorder.step.__doc__) or "").replace(
    "Playwright's async page, or any object with content(), screenshot(), title() and url.",
    "a page of playwright.sync_api, a driver of Selenium, or an object with the methods of one.",
)
add_twins(Recorder, recorder.Recorder)
