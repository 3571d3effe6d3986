"""Which screenshots are asked for, and what is refused before anything is done."""

import asyncio
import importlib.util
import io
from pathlib import Path
from typing import Any, Literal

import pytest
from PIL import Image

from storage_manager import InvalidDataError, StorageManager
from storage_manager.recorder import record
from storage_manager.recorder.calls import Deadline, carry_out
from storage_manager.recorder.camera import Camera, Picture, protocol_image
from tests.support.fake_pages import Still


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGBA", (8, 8), (1, 2, 3, 255)).save(buffer, "png")
    return buffer.getvalue()


class Older(Still):
    """A page of a Playwright that makes no WebP."""

    def __init__(self) -> None:
        super().__init__()
        self.told: dict[str, Any] = {}

    async def screenshot(  # type: ignore[override]
        self,
        *,
        type: Literal["jpeg", "png"] | None = None,
        quality: int | None = None,
        mask: Any = None,
        caret: str | None = None,
    ) -> bytes:
        self.told = {"type": type, "quality": quality, "mask": mask, "caret": caret}
        return png()

    def locator(self, selector: str) -> str:
        return f"locator {selector}"


async def taken(page: Any, *picture: Any) -> Any:
    camera = Camera(Picture(*picture))
    camera.check(page)
    return await carry_out(camera.take(page, Deadline(10)))


async def test_the_page_is_told_what_to_make() -> None:
    page = Older()
    await taken(page, False, "jpeg", 40, ("#card", ".name"))
    masks = ["locator #card", "locator .name"]
    assert page.told == {"type": "jpeg", "quality": 40, "mask": masks, "caret": "initial"}
    await taken(page, False)
    assert page.told == {"type": None, "quality": None, "mask": None, "caret": "initial"}


async def test_a_png_is_converted_where_the_page_makes_no_webp() -> None:
    page = Older()
    image = await taken(page, False, "webp", 40)
    assert Image.open(io.BytesIO(image)).format == "WEBP"
    assert (page.told["type"], page.told["quality"]) == (None, None)


async def test_a_page_that_is_too_long_for_the_format_has_no_screenshot(tmp_path: Path) -> None:
    class Long(Older):
        async def screenshot(self, *, type: Literal["jpeg", "png"] | None = None) -> bytes:  # type: ignore[override]
            buffer = io.BytesIO()
            Image.new("RGB", (1, 16384)).save(buffer, "png")
            return buffer.getvalue()

    storage = StorageManager.from_url(tmp_path)
    async with record(storage, "run-1", image="webp") as recorder:
        await recorder.step(Long())
    data = await storage.retrieve_step_data("run-1", "step_000001")
    assert data.html
    assert data.screenshot is None
    assert data.metadata
    assert "WebP limit of 16383 pixels" in data.metadata["not_captured"]["screenshot"]


async def test_a_step_that_is_cancelled_leaves_no_session_of_the_protocol() -> None:
    detached = asyncio.Event()

    class Protocol:
        async def new_cdp_session(self, page: Any) -> "Protocol":
            return self

        async def send(self, command: str, options: Any) -> None:
            shooting.cancel()
            await asyncio.Event().wait()

        async def detach(self) -> None:
            detached.set()

    class Chromium(Older):
        context = Protocol()

    shooting = asyncio.ensure_future(carry_out(protocol_image(Chromium(), Picture(), Deadline(10))))
    await asyncio.wait([shooting])
    assert shooting.cancelled()
    assert detached.is_set()


def test_without_pillow_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InvalidDataError, match=r"cannot make webp images: .* Older .*install Pillow or a newer"):
        Camera(Picture(False, "webp")).check(Older())
    Camera(Picture(False, "jpeg")).check(Older())


def test_a_page_that_cannot_cover_elements_is_refused() -> None:
    with pytest.raises(InvalidDataError, match="cannot cover elements of Still"):
        Camera(Picture(mask=("#card",))).check(Still())


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"image": "gif"}, "image must be 'png', 'jpeg' or 'webp', not 'gif'"),
        ({"quality": 50}, "quality is for image='jpeg' and image='webp'"),
        ({"image": "jpeg", "quality": 0}, "quality must be an integer from 1 to 100, not 0"),
        ({"image": "jpeg", "quality": 101}, "from 1 to 100, not 101"),
        ({"image": "webp", "quality": True}, "from 1 to 100, not True"),
        ({"image": "webp", "quality": 5.0}, r"from 1 to 100, not 5\.0"),
        ({"mask": "#card"}, "mask must be a list of CSS selectors"),
        ({"mask": [""]}, "a str that is not empty"),
        ({"mask": [1]}, "a str that is not empty"),
        ({"mask": 1}, "mask must be a list"),
    ],
)
def test_pictures_are_checked_before_anything(options: Any, why: str, tmp_path: Path) -> None:
    storage = StorageManager(local_base_path=tmp_path)
    with pytest.raises(InvalidDataError, match=why) as caught:
        record(storage, "s", **options)
    assert caught.value.operation == "record"
    assert list(tmp_path.iterdir()) == []
