"""Stored data that makes a browser work for minutes: the viewer gives it up, and answers meanwhile."""

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page

from storage_manager import StorageManager
from storage_manager.viewer import render_session, serve
from tests.support.browsers import launched

pytestmark = pytest.mark.thorough

# Each browser looks through all open elements for each tag: the time grows with the square of their number.
OPEN = {"div": "<div>" * 200_000, "mixed": "<div></p><!--</div>-->" * 50_000}
FORMATTED = "".join(f"<b x={number}>" for number in range(400)) + "<p>a" * 20_000
ENDED = "#stage[data-state=shown], #stage[data-state=failed]"


async def ticks(page: Page) -> None:
    """Count how often the page can do something, and the longest time in which it could not."""
    await page.evaluate("""() => {
        let last = performance.now();
        window.longest = 0;
        setInterval(() => { const now = performance.now(); longest = Math.max(longest, now - last); last = now; }, 10);
    }""")


async def shown(page: Page) -> str:
    await page.click("button[data-view=page]")
    await page.wait_for_selector(ENDED, timeout=60_000)
    return str(await page.eval_on_selector("#stage", "(stage) => stage.dataset.state + ': ' + stage.textContent"))


@pytest.mark.parametrize(("name", "is_live"), [("div", True), ("mixed", False)], ids=["div-live", "mixed-file"])
async def test_elements_that_are_never_closed(chromium: str, tmp_path: Path, name: str, is_live: bool) -> None:
    """A page of 1 MB froze the viewer for minutes."""
    storage = StorageManager(local_base_path=tmp_path / "base")
    await storage.store_step_data("s", "t", OPEN[name], metadata={"a": 1})
    async with launched(chromium) as browser, serve(storage) as url:
        page = await browser.new_page()
        file = await render_session(storage, "s", tmp_path / "s.html")
        await page.goto(f"{url}sessions/s" if is_live else f"file://{file}")
        await page.wait_for_selector("body[data-ready]")
        await ticks(page)
        assert await shown(page) == "failed: This page cannot be shown: reading its HTML takes too long."
        assert float(await page.evaluate("longest")) < 5000, "0.5 s as a rule"


async def test_pages_that_are_read_in_pieces_are_the_same(chromium: str, tmp_path: Path) -> None:
    """No piece ends inside of a character, a reference or a tag, however long the pieces are."""
    line = "<p title='&amp;&#x1F600;{0}'>&lt;\r\n😀é&notin;<!-- - --><b>{0}</b>\n"
    text = "".join(map(line.format, range(3000)))
    storage = StorageManager(local_base_path=tmp_path / "base")
    pages = {"a": f"<!DOCTYPE html><body>{text}", "b": text, "c": "", "d": FORMATTED}
    for step_id, html in pages.items():
        await storage.store_step_data("s", step_id, html)
    async with launched(chromium) as browser, serve(storage) as url:
        page = await browser.new_page()
        for step_id, html in pages.items():
            await page.goto(f"{url}sessions/s/{step_id}")
            await page.wait_for_selector("body[data-ready]")
            assert (await shown(page)).startswith("shown")
            same = await page.evaluate(
                """(html) => {
                    const read = (text) => new DOMParser().parseFromString(text, "text/html");
                    const frame = document.querySelector("iframe.page");
                    const mine = read(frame.srcdoc), theirs = read(html);
                    return [mine.body.innerHTML === theirs.body.innerHTML, mine.compatMode === theirs.compatMode];
                }""",
                html,
            )
            assert same == [True, True], step_id


VALUES: dict[str, Any] = {
    "long texts": {"a": ["x" * 3999] * 20_000},
    "keys": {f"{number}{'k' * 3900}": number for number in range(10_000)},
}


@pytest.mark.parametrize("name", VALUES)
async def test_metadata_that_fills_the_page(chromium: str, tmp_path: Path, name: str) -> None:
    """Each text was shortened, but 80 MB of them were inserted into the page."""
    storage = StorageManager(local_base_path=tmp_path / "base")
    await storage.store_step_data("s", "t", metadata=VALUES[name])
    async with launched(chromium) as browser, serve(storage) as url:
        page = await browser.new_page()
        await page.goto(f"{url}sessions/s")
        await page.wait_for_selector("#metadata[data-state=shown] .json")
        size = int(await page.eval_on_selector("#metadata", "(area) => area.textContent.length"))
        assert 900_000 < size < 1_100_000
        note = await page.text_content("#metadata .note")
        assert note
