"""Pages and actions that are made to be slow: the viewer shows what it can of them in a few seconds."""

import time

import pytest
from playwright.async_api import Browser, expect

from storage_manager import StorageManager
from storage_manager.viewer import serve
from tests.support.viewed import PNG

pytestmark = pytest.mark.thorough

SECONDS = 10  # 3 to 5 as a rule
UNLIKE = "".join(f"<x{n}></x{n}>" for n in range(50_000))
# The text that the viewer makes of <iframe srcdoc=x> is known, so a page can contain it a thousand times.
INERT = """() => document.querySelector("#stage iframe").srcdoc.match(/<iframe srcdoc="[^"]*" sandbox="">/)[0]"""


@pytest.mark.parametrize(
    ("html", "selector"),
    [
        (UNLIKE, ":nth-of-type(2)"),
        (UNLIKE, r":nth-of-\74ype(2)"),
        ("<div>" * 500 + "<i></i>" * 90_000, [f"b * * * {tag}" for tag in ("i", "i.a", "i.b", "*", "i.c", "i.d")]),
    ],
    ids=["type", "spelling", "many"],
)
async def test_a_slow_selector(local: StorageManager, browser: Browser, html: str, selector: str | list[str]) -> None:
    actions = [{"selector": each} for each in ([selector] if isinstance(selector, str) else selector)]
    await local.store_step_data("s", "1", html, PNG, {"type": "click", "actions": actions})
    page = await browser.new_page()
    async with serve(local) as url:
        started = time.monotonic()
        await page.goto(f"{url}sessions/s/1?view=page")
        await page.wait_for_selector("#stage[data-state=shown] iframe")
        assert time.monotonic() - started < SECONDS


async def test_many_frames(local: StorageManager, browser: Browser) -> None:
    """At most 50 are shown, also of those that are inert already, in each other, and in a template."""
    small = "<!DOCTYPE html><iframe srcdoc=x></iframe>"
    slow = "<b><i><a href=x:>" * 1200
    await local.store_step_data("s", "1", small)
    await local.store_step_data("s", "2", small + f"<iframe srcdoc='{slow}'></iframe>" * 45)
    page = await browser.new_page()
    async with serve(local) as url:
        await page.goto(f"{url}sessions/s/1?view=page")
        await page.wait_for_selector("#stage[data-state=shown] iframe")
        copies = f"{await page.evaluate(INERT)}</iframe>" * 1000
        await local.store_step_data("s", "3", f"{small}{copies}<template shadowrootmode=open>{copies}</template>")
        inner = (small + copies[: len(copies) // 25]).replace("&", "&amp;").replace("'", "&#39;")
        await local.store_step_data("s", "4", f"{small}<iframe srcdoc='{inner}'></iframe>" * 3)
        for step in ("2", "3", "4"):
            started = time.monotonic()
            await page.goto(f"{url}sessions/s/{step}?view=page")
            await page.wait_for_selector("#stage[data-state=shown] iframe")
            await expect(page.frame_locator("iframe.page").frame_locator("iframe").first.locator("body")).to_have_text(
                "x"
            )
            assert time.monotonic() - started < SECONDS, step
            assert 2 < len(page.frames) <= 2 + 50, step
