"""Pages and actions that are made to be slow: the viewer shows what it can of them in a few seconds."""

import json
import time

import pytest
from playwright.async_api import Browser, Route, expect

from storage_manager import StorageManager
from storage_manager.viewer import serve
from storage_manager.viewer.guard import OWN_POLICY
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
        await expect(page.locator("#stage .note")).to_have_count(0)
        copies = f"{await page.evaluate(INERT)}</iframe>" * 1000
        await local.store_step_data("s", "3", f"{small}{copies}<template shadowrootmode=open>{copies}</template>")
        inner = (small + copies[: len(copies) // 25]).replace("&", "&amp;").replace("'", "&#39;")
        await local.store_step_data("s", "4", f"{small}<iframe srcdoc='{inner}'></iframe>" * 3)
        for step in ("2", "3", "4"):
            started = time.monotonic()
            await page.goto(f"{url}sessions/s/{step}?view=page")
            await page.wait_for_selector("#stage[data-state=shown] iframe")
            first = page.frame_locator("iframe.page").frame_locator("iframe").first
            await expect(first.locator("body")).to_have_text("x")
            assert time.monotonic() - started < SECONDS, step
            assert 2 < len(page.frames) <= 2 + 50, step
            await expect(page.locator("#stage .note")).to_contain_text("frames of this page are not shown. Up to 50")


async def test_ten_thousand_steps_of_which_everything_is_known(local: StorageManager, browser: Browser) -> None:
    """The next error is found at the other end, and then each key is answered at once."""
    steps = [f"step_{number:05}" for number in range(10_000)]
    page = await browser.new_page()

    async def outline(route: Route) -> None:
        asked.append(route.request.url)
        ids = route.request.url.partition("=")[2].split(",")
        times = {step: f"2026-11-30T{int(step[5:]) // 3600:02}:{int(step[5:]) // 60 % 60:02}:00Z" for step in ids}
        told = {
            step: {"action": "{}", "metadata": json.dumps({"timestamp": at}), "lacks": []} for step, at in times.items()
        }
        if steps[-1] in told:
            told[steps[-1]]["action"] = '{"error": "at last"}'
        await route.fulfill(json=told)

    asked: list[str] = []
    await local.store_step_data("s", steps[0], None, PNG, {"type": "click"})
    await page.route("**/api/sessions/s/outline?*", outline)
    await page.route("**/api/sessions/s/events", lambda route: route.fulfill(status=404))
    async with serve(local) as url:
        html = (await (await page.request.get(f"{url}sessions/s")).text()).replace(f'["{steps[0]}"]', json.dumps(steps))
        headers = {"Content-Security-Policy": OWN_POLICY}
        await page.route(f"{url}sessions/s", lambda r: r.fulfill(body=html, content_type="text/html", headers=headers))
        await page.goto(f"{url}sessions/s")
        await page.wait_for_selector("#stage[data-state=shown]")
        await page.keyboard.press("e")
        await page.wait_for_selector(f"body[data-step={steps[-1]}]", timeout=15_000)
        assert len(asked) < 220
        started = time.monotonic()
        for _ in range(10):
            await page.keyboard.press("ArrowLeft")
        await page.wait_for_selector(f"body[data-step={steps[-11]}]")
        assert time.monotonic() - started < 7, "1 s as a rule; 10 s if it is in proportion to the square"


async def test_large_actions_are_told_in_several_answers(local: StorageManager, browser: Browser) -> None:
    for number in range(7):
        await local.store_step_data("s", str(number), None, PNG, {"type": "click", "long": "x" * 900_000})
    page, answers = await browser.new_page(), list[str]()
    page.on("response", lambda answer: answers.append(answer.url) if "/outline" in answer.url else None)
    async with serve(local) as url:
        await page.goto(f"{url}sessions/s")
        await expect(page.locator("#film a[data-kind=click]")).to_have_count(7)
    assert len(answers) >= 2


async def test_steps_that_could_not_be_read_are_asked_for_again(local: StorageManager, browser: Browser) -> None:
    """A server that was down for a moment leaves no mark of failure."""
    for number in (1, 2):
        await local.store_step_data("s", str(number), None, PNG, {"type": "click"})
    page = await browser.new_page()
    async with serve(local) as url:
        await page.route("**/outline?*", lambda route: route.abort())
        await page.goto(f"{url}sessions/s")
        rows = page.locator("#film a")
        await expect(rows.nth(1).locator(".more")).to_contain_text("The server does not answer")
        await page.unroute("**/outline?*")
        await page.keyboard.press("ArrowRight")
        await expect(rows.nth(1).locator(".words")).to_have_text("Click")
        await expect(page.locator("#film a[data-failed], #story .banner")).to_have_count(0)
