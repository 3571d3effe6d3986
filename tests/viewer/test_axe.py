"""The rules of axe-core (Deque, deque.com/axe), which find what keeps people from using a page.

`npm install --prefix DIR axe-core@4` fetches it; SM_TEST_AXE is the path of DIR/node_modules/axe-core/axe.min.js.
"""

import os
from pathlib import Path
from typing import Literal

import pytest
from playwright.async_api import Browser, Page

from storage_manager import StorageManager
from storage_manager.viewer import render_session, serve

pytestmark = pytest.mark.thorough

AXE = os.environ.get("SM_TEST_AXE")
RUN = """async () => (await axe.run(document, { iframes: false })).violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).slice(0, 3).join(" ")}`)"""


@pytest.fixture
def axe() -> str:
    """The source of axe-core; evaluated by the browser's debugger, which no policy of the page keeps from it."""
    if not AXE:
        assert "CI" not in os.environ, "CI needs axe-core: SM_TEST_AXE"
        pytest.skip("npm install --prefix DIR axe-core@4; SM_TEST_AXE=DIR/node_modules/axe-core/axe.min.js")
    return Path(AXE).read_text("utf-8")


async def has_no_fault(page: Page, axe: str, where: str) -> None:
    await page.evaluate(axe)
    assert await page.evaluate(RUN) == [], where


async def views(page: Page, axe: str, where: str) -> None:
    """A session, in each of its views."""
    for view in ("screenshot", "page", "changes", "compare"):
        await page.click(f"button[data-view={view}]")
        await page.wait_for_selector(f"#stage[data-view={view}]:not([data-state=loading])")
        await page.wait_for_selector("#action:not([data-state=loading])")
        await page.mouse.move(0, 0)
        await has_no_fault(page, axe, f"{where}, {view}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_no_serious_fault(
    place: StorageManager, browser: Browser, axe: str, tmp_path: Path, scheme: Literal["light", "dark"]
) -> None:
    await place.store_session_metadata("run-1", {"goal": "Buy a book", "outcome": "failure", "agent": "agent-1"})
    await place.store_attachments("run-1", {"a.txt": "text", "b.webm": b"video"})
    await place.store_attachments("run-1", {"c.json": {}, "d.zip": b"zip"}, "step_3")
    page = await browser.new_page(color_scheme=scheme, reduced_motion="reduce")
    async with serve(place) as url:
        for path in ("", "?q=nothing", "sessions/none"):
            await page.goto(url + path, wait_until="networkidle")
            await has_no_fault(page, axe, path)
        for path in ("sessions/harbour-books/step_000002", "sessions/run-1/step_3"):
            await page.goto(url + path)
            await views(page, axe, path)
        await page.click("#session-about > summary")
        for selector in ("#session-attachments", "#attachments"):
            await page.click(f"{selector} summary")
            await page.wait_for_selector(f"{selector} .content[data-state=shown]")
        await has_no_fault(page, axe, "attachments")
    await page.goto(
        "file://" + await render_session(place, "harbour-books", tmp_path / "example.html") + "#step_000002"
    )
    await views(page, axe, "file")


async def test_a_fault_is_found(browser: Browser, axe: str) -> None:
    page = await browser.new_page()
    await page.set_content("<button></button>")
    with pytest.raises(AssertionError, match="button-name"):
        await has_no_fault(page, axe, "here")
