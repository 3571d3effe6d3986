"""Sync pages of Playwright and a real WebDriver: what a browser shows is stored, while a loop of Playwright runs."""

import io
import time
from collections.abc import Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from storage_manager import StepData, StorageManagerError, sync
from storage_manager.recorder import capture
from tests.support.browsers import ARGUMENTS
from tests.support.printed import hidden_blocks, text

pytestmark = pytest.mark.thorough

PAGE = "data:text/html,<!doctype html><title>Shop</title><style>body{margin:0}</style><input><p id=p>one</p>"
HANGS = "setTimeout(() => { for (;;); }, 0)"
# A font that never arrives: the server of the test does not answer.
FONT = "<style>@font-face { font-family: f; src: url(https://font.test/f.woff2) } p { font-family: f }</style><p>text"


@pytest.fixture
def sm(tmp_path: Path) -> sync.StorageManager:
    return sync.StorageManager(local_base_path=tmp_path / "base")


@pytest.fixture
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Page:
    context = browser.new_context(viewport={"width": 320, "height": 240}, device_scale_factor=2)
    page = context.new_page()
    page.goto(PAGE)
    return page


def recorded(sm: sync.StorageManager, page: Any, action: Any = None, **options: Any) -> StepData:
    with sync.record(sm, "s", **options) as recorder:
        step_id = recorder.step(page, action)
    assert sync.verify_session(sm, "s") == []
    return sm.retrieve_step_data("s", step_id, strict=True)


def image_of(data: StepData) -> Image.Image:
    return Image.open(io.BytesIO(data.screenshot or b""))


def test_a_step_is_what_the_page_shows(sm: sync.StorageManager, page: Page) -> None:
    data = recorded(sm, page, {"type": "goto"})
    assert data.html == page.content()
    assert "style=" not in data.html
    assert (image_of(data).size, data.action) == ((640, 480), {"type": "goto"})
    assert data.metadata
    assert data.metadata.pop("timestamp")
    assert data.metadata == {
        "url": PAGE,
        "title": "Shop",
        "viewport": {"width": 320, "height": 240},
        "device_pixel_ratio": 2,
        "scroll": {"x": 0, "y": 0},
        "observed": "after",
        "source": "recorder",
    }


@pytest.mark.parametrize(("image", "kind"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
def test_formats_masks_and_whole_pages(sm: sync.StorageManager, page: Page, image: Any, kind: str) -> None:
    page.set_content("<body style='margin: 0'><div id=secret style='height: 900px; background: #00f'>")
    data = recorded(sm, page, image=image, quality=None if image == "png" else 90, mask=["#secret"], full_page=True)
    shown = image_of(data)
    assert (shown.format, shown.size) == (kind, (640, 1800))
    red, green, blue, *_ = shown.convert("RGB").getpixel((100, 100))  # type: ignore[misc]
    assert red > 200
    assert blue > 200
    assert green < 60


def test_open_shadow_roots_are_in_the_html(sm: sync.StorageManager, page: Page) -> None:
    page.evaluate("p.attachShadow({mode: 'open'}).innerHTML = '<b>in the shadow</b>'")
    assert "in the shadow" in (recorded(sm, page).html or "")


def test_a_font_that_never_loads_costs_little(
    sm: sync.StorageManager, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    timeouts = []
    screenshot = Page.screenshot

    @wraps(screenshot)
    def noted(self: Page, **options: Any) -> bytes:
        timeouts.append(options["timeout"])
        return screenshot(self, **options)

    monkeypatch.setattr(Page, "screenshot", noted)
    page.route("https://font.test/**", lambda route: None)
    page.set_content(FONT, wait_until="domcontentloaded")
    with sync.record(sm, "s") as recorder:
        recorder.step(page)
        recorder.step(page)
    assert timeouts == [2000], "the page is remembered"
    for step in sm.iter_steps(strict=True):
        assert step.data.screenshot
        assert "not_captured" not in (step.data.metadata or {})
    page.unroute_all(behavior="ignoreErrors")


def printed(name: str) -> str:
    """The block of docs/howto/sync.rst that uses this name."""
    [code] = [code for code in hidden_blocks(text("howto/sync")) if f"step({name}," in code]
    return code


def test_the_example_of_a_page(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page.route("https://example.com/", lambda route: route.fulfill(body="<p>", content_type="text/html"))
    exec(printed("page"), {"page": page})
    [step] = sync.StorageManager().iter_steps(["run-p"])
    assert (step.data.action or {})["type"] == "goto"
    assert step.data.screenshot


def lost(sm: sync.StorageManager, page: Page, why: str) -> None:
    with sync.record(sm, "s") as recorder:
        with pytest.raises(StorageManagerError, match=why):
            recorder.step(page)
        recorder.step(page, {"type": "click"})
    [step] = sm.iter_steps(["s"])
    assert step.data[:3] == (None, None, {"type": "click"})
    assert why in (step.data.metadata or {})["not_captured"]["html"]


def test_a_closed_page(sm: sync.StorageManager, page: Page) -> None:
    page.close()
    lost(sm, page, "closed")


def test_a_page_that_hangs(sm: sync.StorageManager, page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "CALL_SECONDS", 2.0)
    page.evaluate(HANGS)
    started = time.monotonic()
    lost(sm, page, "the page gave no answer in 2 seconds")
    assert time.monotonic() - started < 10, "2 s as a rule; Playwright itself waits 30"


def test_an_asynchronous_page_is_refused(sm: sync.StorageManager) -> None:
    from playwright.async_api import Page as AsyncPage  # noqa: PLC0415 - the sync one has the same name

    with sync.record(sm, "s") as recorder, pytest.raises(StorageManagerError, match=r"recorder\.record"):
        recorder.step(AsyncPage.__new__(AsyncPage))


def test_the_example_of_a_driver(driver: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(printed("driver").replace("https://example.com/", PAGE), {"driver": driver})
    [step] = sync.StorageManager().iter_steps(["run-w"])
    assert step.data.screenshot


def test_selenium(sm: sync.StorageManager, driver: Any) -> None:
    driver.get(PAGE)
    data = recorded(sm, driver, {"type": "get"})
    assert data.html == driver.page_source
    assert image_of(data).format == "PNG"
    assert data.metadata
    assert (data.metadata["url"], data.metadata["title"]) == (driver.current_url, "Shop")
    ratio, viewport = data.metadata["device_pixel_ratio"], data.metadata["viewport"]
    assert image_of(data).size == (viewport["width"] * ratio, viewport["height"] * ratio)
    driver.execute_script("p.innerHTML = '<div id=secret style=\"height: 900px; background: #00f\">'")
    before = driver.page_source
    data = recorded(sm, driver, image="webp", quality=90, mask=["#secret"], full_page=True)
    shown = image_of(data)
    assert (shown.format, shown.height > 900) == ("WEBP", True)
    assert shown.convert("RGB").getpixel((100, 200))[0] > 200  # type: ignore[index]
    assert data.html == driver.page_source == before
