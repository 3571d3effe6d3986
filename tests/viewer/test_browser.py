"""The viewer in a real browser: live, and as a file that is opened offline."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Error, Page, expect

from storage_manager import StorageManager
from storage_manager.viewer import render_session, serve
from tests.support.browsers import launched

pytestmark = pytest.mark.thorough

SHOWN = "#stage[data-state=shown]"


@pytest.fixture
async def outside() -> AsyncIterator[tuple[int, list[bytes]]]:
    """The port of a server that nobody is to ask, and what it was asked."""
    asked: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(200))
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1], asked
    server.close()
    await server.wait_closed()


@pytest.fixture
async def browser(chromium: str, outside: tuple[int, list[bytes]]) -> AsyncIterator[Browser]:
    """A browser for which outside.test is that server."""
    rules = f"--host-resolver-rules=MAP outside.test:80 127.0.0.1:{outside[0]}"
    async with launched(chromium, rules) as started:
        yield started


async def replays(page: Page) -> None:
    """What both can do with the example: keys, views, panels."""
    await page.wait_for_selector(f"{SHOWN} img.screenshot")
    assert await page.get_attribute("body", "data-step") == "step_000001"
    for key, step in (
        ("ArrowRight", 2),
        ("End", 4),
        ("ArrowRight", 4),
        ("ArrowLeft", 3),
        ("Home", 1),
        ("ArrowRight", 2),
    ):
        await page.keyboard.press(key)
        assert await page.get_attribute("body", "data-step") == f"step_00000{step}"
        assert await page.get_attribute("#film [aria-current=step]", "data-step") == f"step_00000{step}"
    await expect(page.locator("#action .json")).to_contain_text('"text": "lighthouse"')
    await expect(page.locator("#summary")).to_have_text("fill #q “lighthouse”")
    await expect(page.locator("#position")).to_have_text("2 / 4")
    await page.click("button[data-view=changes]")
    await expect(page.locator(f"{SHOWN} [data-sign='+']").first).to_be_visible()
    await page.click("button[data-view=page]")
    await page.wait_for_selector(f"{SHOWN} iframe.page")
    await expect(page.frame_locator("iframe.page").locator("h1")).to_contain_text("lighthouse")
    await expect(page.locator("#film [data-thumb=loaded]")).to_have_count(4)
    await page.reload()
    await page.wait_for_selector(f"{SHOWN} iframe.page")
    assert await page.get_attribute("body", "data-step") == "step_000002"


async def is_inert(page: Page) -> None:
    """What both do with the hostile page: nothing runs, loads or leads anywhere, and it looks as it did."""
    frame = page.frame_locator("iframe.page")
    assert await frame.locator("#colored").evaluate("node => getComputedStyle(node).color") == "rgb(1, 2, 3)"
    for name in ("#away", "#code", "#send"):
        await frame.locator(name).click()
    await expect(frame.locator("h1")).to_have_text("A stored page")
    assert await frame.locator("#away").get_attribute("title") == "http://outside.test/link"
    assert await page.evaluate("window.pwned") is None
    assert await page.get_attribute("iframe.page", "sandbox") == ""
    assert [child.url.partition("#")[0] for child in page.frames[1:]] == ["about:srcdoc"]


async def test_live(place: StorageManager, browser: Browser, outside: tuple[int, list[bytes]]) -> None:
    page = await browser.new_page()
    async with serve(place) as url:
        await page.goto(url)
        await expect(page.locator("tr[data-session=harbour-books] .steps")).to_have_text("4")
        await page.fill("#search input", "HARB")
        await expect(page.locator("#sessions tbody tr")).to_have_count(1)
        await page.click("text=harbour-books")
        await replays(page)
        await page.goto(f"{url}sessions/run-1/step_2?view=page")
        await page.wait_for_selector(f"{SHOWN} iframe.page")
        await is_inert(page)
        await page.mouse.move(5, 5)
        await expect(page.locator("iframe.page")).not_to_be_focused()
        await page.goto(f"{url}sessions/run-1/step_2/html")
        assert await page.evaluate("document.querySelector('h1').textContent") == "A stored page"
        await page.goto(f"{url}sessions/run-1/step_3")
        await expect(page.locator("#stage[data-state=missing]")).to_have_text("This step has no screenshot.")
    assert outside[1] == []
    with pytest.raises(Error):  # it would have heard
        await page.goto("http://outside.test/")
    assert outside[1] != []


async def test_file(place: StorageManager, browser: Browser, tmp_path: Path, outside: tuple[int, list[bytes]]) -> None:
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto("file://" + await render_session(place, "harbour-books", tmp_path / "example.html"))
    await replays(page)
    await page.goto("file://" + await render_session(place, "run-1", tmp_path / "hostile.html") + "#step_2?view=page")
    await page.wait_for_selector(f"{SHOWN} iframe.page")
    await is_inert(page)
    assert outside[1] == []


async def test_light_and_dark_is_remembered(place: StorageManager, browser: Browser) -> None:
    page = await browser.new_page(color_scheme="light")
    async with serve(place) as url:
        await page.goto(url)
        await page.click("#theme")
        await page.goto(f"{url}sessions/run-1")
        assert await page.get_attribute("html", "data-theme") == "dark"
        assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(23, 24, 26)"
