"""What a real browser shows is what is stored; a page that is lost, or hangs, costs its step some parts, not more."""

import asyncio
import io
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.async_api import Browser, Error, Page

from storage_manager import StepData, StorageManager, StorageManagerError
from storage_manager.recorder import capture as module
from storage_manager.recorder import record
from tests.support.browsers import launched
from tests.support.printed import run, text

pytestmark = pytest.mark.thorough

PAGE = "data:text/html,<!doctype html><title>Shop</title><p id=p>one</p>"
COLOURED = "<body id=b><script>let n = 0; function next() { n++; b.style.background = `rgb(${n}, 0, 200)` }</script>"


@pytest.fixture
def sm(tmp_path: Path) -> StorageManager:
    return StorageManager(local_base_path=tmp_path / "base")


@pytest.fixture
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with launched(chromium) as browser:
        yield browser


@pytest.fixture
async def page(browser: Browser) -> Page:
    context = await browser.new_context(viewport={"width": 320, "height": 240})
    page = await context.new_page()
    await page.goto(PAGE)
    return page


async def test_the_example_of_the_documentation(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    await page.route(
        "https://example.com/", lambda route: route.fulfill(body="<button id=buy>", content_type="text/html")
    )
    await run("recorder", text("recorder"), {"page": page})
    steps = [step async for step in StorageManager().iter_steps(["run-1"])]
    assert [(step.step_id, step.data.action["type"]) for step in steps] == [
        ("step_000001", "goto"),
        ("step_000002", "click"),
    ]


async def recorded(sm: StorageManager, page: Any, action: Any = None, **options: Any) -> StepData:
    """What is stored of one step."""
    async with record(sm, "s", **options) as recorder:
        step_id = await recorder.step(page, action)
    data = await sm.retrieve_step_data("s", step_id)
    assert data.metadata
    return data


def pixel(data: StepData) -> tuple[int, ...]:
    """The colour of the middle of the screenshot."""
    assert data.screenshot
    image = Image.open(io.BytesIO(data.screenshot)).convert("RGB")
    found: Any = image.getpixel((image.width // 2, image.height // 2))
    return tuple(found)


async def test_a_step_is_what_the_page_shows(sm: StorageManager, page: Page) -> None:
    html, image, action, metadata = await recorded(sm, page, {"type": "goto"})
    assert html == await page.content()
    assert (Image.open(io.BytesIO(image or b"")).size, action) == ((320, 240), {"type": "goto"})
    assert metadata
    assert metadata.pop("timestamp")
    layout = {"viewport": {"width": 320, "height": 240}, "device_pixel_ratio": 1, "scroll": {"x": 0, "y": 0}}
    assert metadata == {"url": PAGE, "title": "Shop", **layout, "source": "recorder", "observed": "after"}


async def test_the_whole_page_where_that_is_asked_for(sm: StorageManager, page: Page) -> None:
    await page.set_content("<div style='height: 900px'>")
    data = await recorded(sm, page, full_page=True)
    assert Image.open(io.BytesIO(data.screenshot or b"")).height > 900


async def test_without_a_viewport_it_is_the_inner_size_of_the_window(sm: StorageManager, browser: Browser) -> None:
    data = await recorded(sm, await browser.new_page(no_viewport=True))
    width, height = Image.open(io.BytesIO(data.screenshot or b"")).size
    assert (data.metadata or {})["viewport"] == {"width": width, "height": height}


class Late:
    """The page, which changes between the reading of its HTML and the screenshot, as often as is said."""

    def __init__(self, page: Page, changes: int) -> None:
        self.page = page
        self.changes = changes

    def __getattr__(self, name: str) -> Any:
        return getattr(self.page, name)

    async def screenshot(self, **options: Any) -> bytes:
        if self.changes:
            self.changes -= 1
            await self.page.evaluate("next()")
        return await self.page.screenshot(**options)


@pytest.mark.parametrize("changes", [1, 2])
async def test_html_and_screenshot_are_of_one_moment(sm: StorageManager, page: Page, changes: int) -> None:
    await page.set_content(COLOURED)
    data = await recorded(sm, Late(page, changes))
    assert f"rgb({changes}, 0, 200)" in (data.html or "")
    assert pixel(data) == (changes, 0, 200)
    assert "changed_during_capture" not in (data.metadata or {})


async def test_a_page_that_never_stops_is_said_to(sm: StorageManager, page: Page) -> None:
    await page.set_content("<body id=b><script>let n = 0; setInterval(() => { b.title = n++ }, 1)</script>")
    data = await recorded(sm, page)
    assert (data.metadata or {})["changed_during_capture"] is True
    assert data.html
    assert data.screenshot


async def test_half_of_a_character_is_stored_as_browsers_send_it(sm: StorageManager, page: Page) -> None:
    await page.evaluate(r"p.textContent = 'a\ud800b👍'; document.title = '\udc00'")
    data = await recorded(sm, page)
    assert "a\ufffdb👍" in (data.html or "")
    assert (data.metadata or {})["title"] == "\ufffd"


async def test_a_page_that_navigates_meanwhile_is_one_of_both(sm: StorageManager, page: Page) -> None:
    await page.evaluate("setTimeout(() => document.location = 'about:blank', 5)")
    async with record(sm, "s") as recorder:
        for _ in range(3):
            await recorder.step(page)
    async for step in sm.iter_steps(["s"], strict=True):
        html, metadata = step.data.html, step.data.metadata
        assert metadata
        assert "changed_during_capture" in metadata or ("Shop" in (html or "")) == (metadata["title"] == "Shop")


async def lost(sm: StorageManager, page: Page, why: str) -> None:
    """The action is stored, and why there is no more; without an action there is a clear error."""
    async with record(sm, "s") as recorder:
        with pytest.raises(StorageManagerError, match=why):
            await recorder.step(page)
        await recorder.step(page, {"type": "click"})
    [step] = [step async for step in sm.iter_steps(["s"])]
    assert (step.data.html, step.data.screenshot, step.data.action) == (None, None, {"type": "click"})
    about = (step.data.metadata or {})["not_captured"]
    assert {"html", "screenshot"} <= about.keys()
    assert why in about["html"]


async def test_a_closed_page(sm: StorageManager, page: Page) -> None:
    await page.close()
    await lost(sm, page, "closed")


async def test_a_crashed_page(sm: StorageManager, page: Page) -> None:
    with pytest.raises(Error):
        await page.goto("chrome://crash", timeout=5000)
    await lost(sm, page, "crashed")


async def test_a_browser_that_is_killed_meanwhile(sm: StorageManager, page: Page) -> None:
    session = await page.context.browser.new_browser_cdp_session()  # type: ignore[union-attr]
    processes = (await session.send("SystemInfo.getProcessInfo"))["processInfo"]
    [pid] = [process["id"] for process in processes if process["type"] == "browser"]
    async with record(sm, "s") as recorder:
        await recorder.step(page, {"number": 1})
        step = asyncio.ensure_future(recorder.step(page, {"number": 2}))
        await asyncio.sleep(0)
        os.kill(pid, signal.SIGKILL)
        await step
    await sm.delete_step("s", "step_000002")
    assert (await sm.retrieve_step_data("s", "step_000001", strict=True)).screenshot
    await sm.delete_session("s")
    await lost(sm, page, "closed")


HANGS = {"dialog": "setTimeout(() => alert('hello'), 0)", "loop": "setTimeout(() => { for (;;); }, 0)"}


@pytest.mark.parametrize("what", HANGS)
async def test_a_page_that_hangs(sm: StorageManager, page: Page, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """It costs one wait; another tab is captured as ever."""
    monkeypatch.setattr(module, "CALL_SECONDS", 2)
    other = await page.context.new_page()
    waiting = asyncio.Event()
    page.on("dialog", lambda dialog: waiting.set())
    await page.evaluate(HANGS[what])
    if what == "dialog":
        await waiting.wait()
    started = time.monotonic()
    async with record(sm, "s") as recorder:
        await recorder.step(page, {"type": "click"})
        assert time.monotonic() - started < 8, "2 s as a rule; Playwright itself waits 30"
        await recorder.step(other)
    hung, whole = [step.data async for step in sm.iter_steps(["s"])]
    why = "the page gave no answer in 2 seconds"
    assert {"html": why, "screenshot": why}.items() <= (hung.metadata or {})["not_captured"].items()
    assert whole.screenshot
    assert "not_captured" not in (whole.metadata or {})
    await page.close()
