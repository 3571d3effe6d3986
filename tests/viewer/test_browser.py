"""The viewer in a real browser: live, and as a file that is opened offline."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Error, Page, expect

from storage_manager import StorageManager
from storage_manager.viewer import render_session, serve
from tests.support.browsers import launched
from tests.support.viewed import PNG

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
    await expect(page.locator("#timeline [data-thumb=loaded]")).to_have_count(4)
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
        await expect(page.locator("#stage[data-state=missing]")).to_have_text(
            "This step has no screenshot. This step has no HTML."
        )
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


ABOUT = {"goal": "Buy a <b>book</b>", "outcome": "success", "reward": 0.5, "agent": "agent-1", "tags": ["shop"]}


async def has_about(page: Page, last: str) -> None:
    """The line about the session, and its metadata below it."""
    await expect(page.locator("#session-summary > *")).to_have_text(
        ["success", "Buy a <b>book</b>", "agent-1", "reward 0.5", "shop", last]
    )
    await expect(page.locator("#session-metadata")).to_be_hidden()
    await page.click("#session-about > summary")
    await expect(page.locator("#session-metadata .json")).to_contain_text('"reward": 0.5')


async def test_attachments_and_session_metadata(place: StorageManager, browser: Browser, tmp_path: Path) -> None:
    await place.store_session_metadata("run-1", ABOUT)
    await place.store_attachments("run-1", {"video.webm": b"\x1aE\xdf\xa3", "large.json": "[" + "1," * 10**6 + "1]"})
    step = {"tree.json": {"n": 12345678901234567890}, "a.png": PNG, "b.html": "<h1>text</h1>", "c.png": b"no image"}
    await place.store_attachments("run-1", step, "step_1")
    page = await browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.partition("/sessions/")[2]))
    async with serve(place) as url:
        await page.goto(f"{url}sessions/run-1")
        await has_about(page, "2 attachments")
        await expect(page.locator("#session-attachments .attachment")).to_have_text(
            ["large.json application/json, 2.0 MBRaw large.json", "video.webm video/webm, 4 BDownload video.webm"]
        )
        await expect(page.locator("#session-attachments details")).to_have_count(0)
        async with page.expect_download() as download:
            await page.click("text=Download video.webm")
        assert (await (await download.value).path()).read_bytes() == b"\x1aE\xdf\xa3"
        await page.click("#attachments [data-name='tree.json'] summary")
        await expect(page.locator("#attachments [data-name='tree.json'] .json")).to_contain_text("12345678901234567890")
        await page.click("#attachments [data-name='b.html'] summary")
        await expect(page.locator("#attachments [data-name='b.html'] pre")).to_have_text("<h1>text</h1>")
        await page.click("#attachments [data-name='a.png'] summary")
        image = page.locator("#attachments [data-name='a.png'] img")
        assert await image.evaluate("node => [node.complete, node.naturalWidth]") == [True, 1]
        await page.click("#attachments [data-name='c.png'] summary")
        await expect(page.locator("#attachments [data-state=failed]")).to_contain_text("not a known image format")
        for key in ("ArrowRight", "ArrowLeft", "ArrowRight"):
            await page.keyboard.press(key)
        await expect(page.locator("#attachments[data-state=missing]")).to_have_text("This step has no attachments.")
    lists = [path for path in asked if path.endswith("attachments")]
    assert sorted(lists) == ["run-1/attachments", "run-1/step_1/attachments", "run-1/step_2/attachments"]
    await page.goto("file://" + await render_session(place, "run-1", tmp_path / "run-1.html"))
    await has_about(page, "without 6 attachments")
    await expect(page.locator("#session-attachments")).to_have_text(
        "This file does not contain the 6 attachments of the session and its steps."
    )


async def test_a_session_without_steps(place: StorageManager, browser: Browser, tmp_path: Path) -> None:
    await place.store_session_metadata("run-2", {"goal": "nothing"})
    await place.store_attachments("run-2", {"a.txt": "the text"})
    page = await browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    path = await render_session(place, "run-2", tmp_path / "run-2.html")
    async with serve(place) as url:
        for address in (f"{url}sessions/run-2", f"file://{path}"):
            await page.goto(address)
            await page.wait_for_selector("body[data-ready]")
            await expect(page.locator("#session-metadata .json")).to_contain_text("nothing")
            await expect(page.locator("#main")).to_have_text("This session has no steps.")
            await page.keyboard.press("ArrowRight")
        await page.goto(f"{url}sessions/run-2")
        await page.click("#session-attachments summary")
        await expect(page.locator("#session-attachments pre")).to_have_text("the text")
    assert errors == []


async def test_session_metadata_that_cannot_be_read(place: StorageManager, browser: Browser) -> None:
    path = Path(await place.store_session_metadata("run-1", {}))
    path.unlink()
    path.mkdir()
    page = await browser.new_page()
    async with serve(place) as url:
        await page.goto(f"{url}sessions/run-1")
        await expect(page.locator("#session-summary")).to_have_text("The metadata of this session cannot be read.")
        await page.wait_for_selector(f"{SHOWN} img.screenshot")
        await page.click("#session-about > summary")
        await expect(page.locator("#session-metadata[data-state=failed]")).to_contain_text("cannot retrieve")


async def test_light_and_dark_is_remembered(place: StorageManager, browser: Browser) -> None:
    page = await browser.new_page(color_scheme="light")
    async with serve(place) as url:
        await page.goto(url)
        await page.click("#theme")
        await page.goto(f"{url}sessions/run-1")
        assert await page.get_attribute("html", "data-theme") == "dark"
        assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(23, 24, 26)"
