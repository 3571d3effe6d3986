"""Walking a session in a real browser by keyboard, mouse and address: live on each backend, and as a file, offline."""

import time
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, expect

from storage_manager import Step, StepData, StorageManager
from storage_manager.viewer import render_session, serve
from tests.support.viewed import PNG

pytestmark = pytest.mark.thorough

ALL = 7
MISSING = {"step_3": "screenshot", "step_4": "html", "step_5": "action", "step_6": "metadata"}


def walked(steps: int) -> list[Step]:
    """A session of which some steps lack a component."""
    found = []
    for number in range(1, steps + 1):
        step = f"step_{number}"
        data = StepData(
            f"<h1>Page {number}</h1><p>same", PNG, {"type": "goto", "n": number}, {"title": f"Title {number}"}
        )
        found.append(Step("walk", step, data._replace(**{MISSING[step]: None} if step in MISSING else {})))
    return found


class Console:
    """What a page says to its console; that a component is not there is said by the browser itself."""

    def __init__(self, page: Page) -> None:
        self.said: list[str] = []
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.said.append(str(error)))

    def _note(self, message: ConsoleMessage) -> None:
        if "404 (Not Found)" not in message.text:
            self.said.append(message.text)


async def is_at(page: Page, number: int, text: str = "") -> None:
    """That step is shown, in the stage, the strip, the stepper, the title and the address."""
    step = f"step_{number}"
    await page.wait_for_selector(f"body[data-step={step}] #stage:not([data-state=loading])")
    await expect(page.locator("#film [aria-current=step]")).to_have_attribute("data-step", step)
    await expect(page.locator("#position")).to_have_text(f"{number} / {ALL}")
    await expect(page).to_have_title(f"{step} · walk")
    assert step in page.url
    if text:
        await expect(page.locator("#stage")).to_contain_text(text)


async def walks(page: Page) -> None:
    """What can be done both live and in a file, from the first step on."""
    await is_at(page, 1)
    for key, number in (
        ("ArrowRight", 2),
        ("End", 7),
        ("ArrowRight", 7),
        ("ArrowLeft", 6),
        ("Home", 1),
        ("ArrowLeft", 1),
    ):
        await page.keyboard.press(key)
        await is_at(page, number)
    assert await page.is_disabled("#previous")
    await page.click("#next")
    await is_at(page, 2)
    await expect(page.locator("#action .json")).to_contain_text('"n": 2')
    await expect(page.locator("#address")).to_contain_text("Title 2")
    await page.click("#film a[data-step=step_3]")
    await is_at(page, 3, "This step has no screenshot.")
    await expect(page.locator("#timeline [data-of=step_3]")).to_have_attribute("data-thumb", "missing")
    await page.keyboard.press("2")
    await expect(page.frame_locator("#stage iframe").locator("h1")).to_have_text("Page 3")
    await page.click("#next")
    await is_at(page, 4, "This step has no HTML.")
    await page.click("#next")
    await expect(page.locator("#action[data-state=missing]")).to_have_text("This step has no action.")
    await page.click("button[data-view=changes]")
    await is_at(page, 5, "The step before, step_4, has no HTML.")
    await page.click("#next")
    await expect(page.locator("#metadata[data-state=missing]")).to_have_text("This step has no metadata.")
    await expect(page.locator("#stage [data-sign='+']")).to_have_text("+<h1>Page 6")
    assert "view=changes" in page.url


@pytest.mark.parametrize("make", ["local", ("moto", "obstore")], indirect=True, ids=["local", "moto"])
async def test_live(sm: StorageManager, browser: Browser) -> None:
    await sm.store_steps(walked(ALL))
    page = await browser.new_page()
    console = Console(page)
    async with serve(sm) as url:
        await page.goto(url)
        await expect(page.locator("#sessions .steps").last).to_have_text(str(ALL))
        await page.click("text=walk")
        await walks(page)
        await page.reload()
        await is_at(page, 6)
        await page.go_back()
        await is_at(page, 5)
        await page.go_forward()
        await is_at(page, 6)
        await page.goto(f"{url}sessions/walk/step_4")
        await is_at(page, 4)
        answer = await page.goto(f"{url}sessions/walk/step_99")
        assert answer
        assert answer.status == 404
        await expect(page.locator("main")).to_contain_text("no step step_99")
    assert console.said == []


async def test_file_offline(tmp_path: Path, browser: Browser) -> None:
    sm = StorageManager.from_url(f"{tmp_path}/base")
    await sm.store_steps(walked(ALL))
    context = await browser.new_context(offline=True)
    page = await context.new_page()
    console = Console(page)
    path = await render_session(sm, "walk", tmp_path / "walk.html")
    await page.goto(f"file://{path}")
    await walks(page)
    await page.reload()
    await is_at(page, 6)
    await page.goto(f"file://{path}#step_4")
    await is_at(page, 4)
    await page.goto(f"file://{path}#step_99")
    await page.reload()
    await is_at(page, 1)
    assert console.said == []


async def test_a_server_that_has_ended(tmp_path: Path, browser: Browser) -> None:
    sm = StorageManager.from_url(f"{tmp_path}/base")
    await sm.store_steps(walked(ALL))
    page = await browser.new_page()
    async with serve(sm) as url:
        await page.goto(f"{url}sessions/walk")
        await is_at(page, 1)
    await page.keyboard.press("End")
    await page.click("button[data-view=page]")
    await expect(page.locator("#stage[data-state=failed]")).to_contain_text("Is it still running?")


async def test_search_and_pages(tmp_path: Path, browser: Browser) -> None:
    for number in range(250):
        (tmp_path / "base" / f"run-{number:03}" / "step_1").mkdir(parents=True)
    page = await browser.new_page()
    console = Console(page)
    rows = page.locator("#sessions tbody tr")
    async with serve(StorageManager.from_url(f"{tmp_path}/base")) as url:
        await page.goto(url)
        for link, count, first in (("next", 100, "run-100"), ("next", 50, "run-200"), ("prev", 100, "run-100")):
            await page.click(f"a[rel={link}]")
            await expect(rows.first).to_have_attribute("data-session", first)
            await expect(rows).to_have_count(count)
        await page.go_back()
        await expect(rows).to_have_count(50)
        await page.keyboard.press("/")
        await page.keyboard.type("RUN-1")
        await expect(rows).to_have_count(100)
        await expect(page.locator("#results .count")).to_contain_text("1–100")
        await page.fill("#search input", "<b>nothing")
        await expect(page.locator("#results")).to_contain_text("No session contains <b>nothing in its id, goal,")
        await page.fill("#search input", "run-249")
        await expect(rows).to_have_count(1)
        await page.click("text=run-249")
        await page.wait_for_selector("body[data-step=step_1] #stage[data-state=missing]")
    assert console.said == []


SIZE = """() => ["navigation", "resource"].flatMap((kind) => performance.getEntriesByType(kind))
    .reduce((sum, entry) => sum + entry.transferSize, 0)"""


async def opened(page: Page, url: str) -> tuple[float, int, int]:
    """Seconds until the first step is shown, and, when all that is visible has come, how many requests and bytes."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    started = time.perf_counter()
    await page.goto(url, wait_until="commit")
    await page.wait_for_selector("#stage[data-state=shown] img")
    seconds = time.perf_counter() - started
    await expect(page.locator("#film a[data-kind]").nth(5)).to_be_visible()
    await expect(page.locator("#timeline [data-thumb]").first).to_be_visible()
    await expect(page.locator("#timeline [data-thumb=wanted]")).to_have_count(0)
    await page.wait_for_load_state("networkidle")
    size = await page.evaluate(SIZE)
    return seconds, len([address for address in asked if not address.startswith(("blob:", "data:"))]), size


async def lay_long(sm: StorageManager, steps: int) -> None:
    """A session of so many steps, of which those that are looked at first are whole."""
    await sm.store_steps(
        Step(
            "long", f"step_{n:06}", StepData("<p>page", PNG, {"type": "goto"}) if n < 20 else StepData(action={"n": n})
        )
        for n in range(steps)
    )


@pytest.mark.parametrize("make", ["local", ("moto", "obstore")], indirect=True, ids=["local", "moto"])
async def test_a_thousand_steps(sm: StorageManager, browser: Browser, record_property: Any) -> None:
    await lay_long(sm, 1000)
    page = await browser.new_page()
    async with serve(sm) as url:
        seconds, requests, size = await opened(page, f"{url}sessions/long")
        record_property("opened", (seconds, requests, size))
        assert (seconds < 5, requests <= 40, size < 250_000) == (True, True, True), (seconds, requests, size)
        await page.keyboard.press("End")
        await page.wait_for_selector("body[data-step=step_000999] #stage[data-state=missing]")
        await expect(page.locator("#film a[data-step=step_000999]")).to_be_in_viewport()
        assert await page.locator("#film li").count() < 60


async def test_a_thousand_steps_in_a_file(tmp_path: Path, browser: Browser) -> None:
    sm = StorageManager.from_url(f"{tmp_path}/base")
    await lay_long(sm, 1000)
    page = await browser.new_page()
    path = await render_session(sm, "long", tmp_path / "long.html")
    seconds, requests, _ = await opened(page, f"file://{path}")
    assert (seconds < 5, requests) == (True, 1), seconds
    await page.keyboard.press("End")
    await page.wait_for_selector("body[data-step=step_000999] #stage[data-state=missing]")
