"""What the viewer tells of a run: where an action acted, what was before and after it, what failed, and why."""

import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import escape
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from storage_manager import StorageManager
from storage_manager.integrity import seal_session
from storage_manager.viewer import app, render_session, serve

pytestmark = pytest.mark.thorough

SHOWN = "#stage[data-state=shown]"
PAGE = """<!DOCTYPE html><title>Page {0}</title><h1>Page {0}</h1>
<button id="go">Go</button><button id="buy">Buy</button>
<noscript>Enable JavaScript</noscript><iframe srcdoc="<h2>Frame {0}</h2><script>top.pwned = 1</script>"></iframe>"""
TARGET = "iframe.page"
DEEP = "<p>"
for _ in range(6):
    DEEP = f'<iframe srcdoc="{escape(DEEP)}"></iframe>'


def picture(width: int, height: int, grey: int = 200) -> bytes:
    """A PNG of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes([grey]) * width for _ in range(height))
    header = struct.pack(">2L5B", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def told(number: int, **more: Any) -> dict[str, Any]:
    """Metadata of a step, a minute after the one before."""
    window = {"viewport": {"width": 400, "height": 300}, "device_pixel_ratio": 2, "url": f"https://shop.test/{number}"}
    return {**window, "timestamp": f"2026-11-30T12:{number:02}:00+00:00", "observed": "after", **more}


async def lay(sm: StorageManager, session_id: str = "shop", **more: Any) -> None:
    """Six steps: the second clicks, the fourth fails, the fifth has no screenshot."""
    actions: list[dict[str, Any]] = [
        {"type": "goto", "url": "https://shop.test/"},
        {"type": "click", "selector": "#go", "point": {"x": 100, "y": 75}, "box": [80, 60, 40, 30], "thought": "I go."},
        {"type": "fill", "selector": "#q", "text": "lamp", "reasoning": "I look for lamps."},
        {"type": "click", "selector": "#buy", "error": {"message": "Timeout 3000ms exceeded"}, "log": ["waiting"]},
        {"type": "scroll"},
        {"type": "done"},
    ]
    for number, action in enumerate(actions, 1):
        image = None if number == 5 else picture(800, 600, 40 * number)
        reasons = {"not_captured": {"screenshot": "the page gave no answer"}} if number == 5 else {}
        metadata = told(number, **{**reasons, **more})
        await sm.store_step_data(session_id, f"step_{number}", PAGE.format(number), image, action, metadata)


@pytest.fixture
async def shop(tmp_path: Path) -> StorageManager:
    sm = StorageManager.from_url(f"{tmp_path}/base")
    await lay(sm)
    about = {"goal": "Buy a lamp", "outcome": "failure", "model": "m-1", "reward": 0.25, "tags": ["shop"]}
    times = {
        "started_at": "2026-11-30T12:00:00Z",
        "ended_at": "2026-11-30T12:06:30Z",
        "start_url": "https://shop.test/",
    }
    usage = {"usage": {"input_tokens": 1200, "output_tokens": 34, "cost_usd": 0.5}}
    await sm.store_session_metadata("shop", {**about, **times, **usage})
    return sm


@asynccontextmanager
async def opened(sm: StorageManager, browser: Browser, where: str, tmp_path: Path) -> AsyncIterator[tuple[Page, str]]:
    """A page, and the address of the session's steps, live or in a file. Nothing may go wrong in the page."""
    page, errors = await browser.new_page(viewport={"width": 1280, "height": 800}), list[str]()
    page.on("pageerror", lambda error: errors.append(str(error)))
    if where == "live":
        async with serve(sm) as url:
            yield page, f"{url}sessions/shop/"
    else:
        yield page, f"file://{await render_session(sm, 'shop', tmp_path / 'shop.html')}#"
    assert errors == []
    assert await page.evaluate("window.pwned") is None


WHERE = pytest.mark.parametrize("where", ["live", "file"])


@WHERE
async def test_the_target_is_marked(shop: StorageManager, browser: Browser, tmp_path: Path, where: str) -> None:
    """Point and box are in pixels of CSS. The screenshot has two for each, and is shown in another size."""
    async with opened(shop, browser, where, tmp_path) as (page, at):
        await page.goto(f"{at}step_2")
        image = await page.locator(f"{SHOWN} img.screenshot").bounding_box()
        point = await page.locator(".target-point").bounding_box()
        box = await page.locator(".target-box").bounding_box()
        assert image
        assert point
        assert box
        scale = image["width"] / 400
        assert (point["x"] + point["width"] / 2 - image["x"]) == pytest.approx(100 * scale, abs=1.5)
        assert (point["y"] + point["height"] / 2 - image["y"]) == pytest.approx(75 * scale, abs=1.5)
        assert [box["x"] - image["x"], box["y"] - image["y"], box["width"], box["height"]] == pytest.approx(
            [80 * scale, 60 * scale, 40 * scale, 30 * scale], abs=1.5
        )
        await page.keyboard.press("2")
        target = page.frame_locator(TARGET).locator("#go")
        assert await target.evaluate("node => getComputedStyle(node).outlineStyle") == "solid"
        other = page.frame_locator(TARGET).locator("#buy")
        assert await other.evaluate("node => getComputedStyle(node).outlineStyle") == "none"


async def test_the_target_in_a_screenshot_of_the_whole_page(tmp_path: Path, browser: Browser) -> None:
    """It begins above the window, by the scrolled distance."""
    sm = StorageManager.from_url(f"{tmp_path}/base")
    action = {"type": "click", "x": 10, "y": 20}
    await sm.store_step_data("shop", "step_1", None, picture(800, 3000), action, told(1, scroll={"x": 0, "y": 500}))
    async with opened(sm, browser, "live", tmp_path) as (page, at):
        await page.goto(f"{at}step_1")
        point = page.locator(".target-point")
        assert await point.evaluate("node => parseFloat(node.style.top)") == pytest.approx(100 * 520 / 1500, abs=0.1)


@pytest.mark.parametrize(("where", "observed"), [("live", "after"), ("file", "before")])
async def test_before_and_after(browser: Browser, tmp_path: Path, where: str, observed: str) -> None:
    sm = StorageManager.from_url(f"{tmp_path}/base")
    await lay(sm, observed=observed)
    own, other = ("after", "before") if observed == "after" else ("before", "after")
    neighbour = 1 if observed == "after" else 3
    async with opened(sm, browser, where, tmp_path) as (page, at):
        await page.goto(f"{at}step_2?view=page")
        heading = page.frame_locator(TARGET).locator("h1")
        await expect(heading).to_have_text("Page 2")
        await expect(page.locator(f"button[data-side={own}]")).to_have_attribute("aria-pressed", "true")
        await page.click(f"button[data-side={other}]")
        await expect(heading).to_have_text(f"Page {neighbour}")
        assert f"at={other}" in page.url
        await page.reload()
        await expect(heading).to_have_text(f"Page {neighbour}")
        await page.keyboard.press("b")
        await expect(heading).to_have_text("Page 2")
        await page.keyboard.press("3")
        await page.keyboard.press("b")  # the changes have no sides
        assert "at=" not in page.url.replace(f"at={own}", "")
        await page.keyboard.press("2")
        await page.click(f"button[data-side={other}]")
        await page.keyboard.press("Home" if observed == "after" else "End")
        await expect(page.locator("#stage[data-state=missing]")).to_contain_text(f"The page {other} this action")


async def test_nothing_is_guessed(tmp_path: Path, browser: Browser) -> None:
    sm = StorageManager.from_url(f"{tmp_path}/base")
    await lay(sm, observed=None)
    async with opened(sm, browser, "live", tmp_path) as (page, at):
        await page.goto(f"{at}step_2")
        await page.wait_for_selector(f"{SHOWN} img.screenshot")
        await expect(page.locator("#sides")).to_be_hidden()
        await page.keyboard.press("b")
        await expect(page.locator("#stage")).to_have_attribute("data-state", "shown")


@WHERE
async def test_the_list_of_actions(shop: StorageManager, browser: Browser, tmp_path: Path, where: str) -> None:
    async with opened(shop, browser, where, tmp_path) as (page, at):
        await page.goto(f"{at}step_1")
        rows = page.locator("#film a")
        await expect(rows.nth(1).locator(".words")).to_have_text("Click #go")
        await expect(rows.nth(1).locator(".more")).to_have_text("shop.test · 1 min 0 s")
        await expect(rows.nth(2).locator(".words")).to_have_text("Fill #q “lamp”")
        await expect(page.locator("#film a[data-failed]")).to_have_attribute("data-step", "step_4")
        await expect(page.locator("#timeline .tick")).to_have_count(6)
        await expect(page.locator("#timeline .tick[data-failed]")).to_have_count(1)
        await expect(page.locator("#timeline .end")).to_have_text("5 min 0 s")
        await page.keyboard.press("e")
        await expect(page.locator("body")).to_have_attribute("data-step", "step_4")
        await page.keyboard.press("e")
        await expect(page.locator("#said")).to_have_text("No step after this one failed.")
        ticks = await page.locator("#timeline .ticks").bounding_box()
        assert ticks
        await page.mouse.click(ticks["x"] + ticks["width"] * 0.22, ticks["y"] + 4)
        await expect(page.locator("body")).to_have_attribute("data-step", "step_2")


@WHERE
async def test_an_action_that_is_not_json(shop: StorageManager, browser: Browser, tmp_path: Path, where: str) -> None:
    """It is marked as a failed one, and the next error leads to it. An action that is missing is not."""
    (tmp_path / "base" / "shop" / "step_2" / "action.json").write_text('{"type": "cl')
    (tmp_path / "base" / "shop" / "step_3" / "action.json").unlink()
    async with opened(shop, browser, where, tmp_path) as (page, at):
        await page.goto(f"{at}step_1")
        rows = page.locator("#film a")
        await expect(rows.nth(1).locator(".more")).to_contain_text("action cannot be read")
        await expect(rows.nth(1).locator(".failure")).to_be_visible()
        await expect(rows.nth(2)).to_have_attribute("data-kind", "other")
        await expect(page.locator("#film a[data-failed]")).to_have_count(2)
        await page.keyboard.press("e")
        await expect(page.locator("body")).to_have_attribute("data-step", "step_2")
        await expect(page.locator("#story .banner")).to_contain_text("The action of this step cannot be read")


@WHERE
async def test_without_errors_there_is_no_next_one(
    local: StorageManager, browser: Browser, tmp_path: Path, where: str
) -> None:
    """The button is enabled until all actions are known, and again if a step is added."""
    for number in range(4):
        await local.store_step_data("shop", f"step_{number}", None, picture(8, 6), {"type": "click"}, told(number))
    async with opened(local, browser, where, tmp_path) as (page, at):
        await page.goto(f"{at}step_0")
        button = page.get_by_role("button", name="Next error")
        await expect(button).to_be_disabled()
        await page.keyboard.press("e")
        await page.keyboard.press("ArrowRight")
        await expect(page.locator("body")).to_have_attribute("data-step", "step_1")
        await expect(page.locator("#said")).to_be_hidden()
        if where == "live":
            await local.store_step_data("shop", "step_4", None, picture(8, 6), {"error": "Timeout"}, told(4))
            await expect(button).to_be_enabled(timeout=20_000)
            await page.keyboard.press("e")
            await expect(page.locator("body")).to_have_attribute("data-step", "step_4")


async def test_kinds_of_actions(tmp_path: Path, browser: Browser) -> None:
    """The object that Playwright's trace names before a method does not count."""
    sm = StorageManager.from_url(f"{tmp_path}/base")
    kinds = {"page.goto": "go", "frame.click": "click", "keyboard.type": "type", "page.evaluate": "code"}
    for number, kind in enumerate([*kinds, "browserContext.newPage"]):
        await sm.store_step_data("shop", f"step_{number}", None, picture(8, 6), {"type": kind}, told(number))
    async with opened(sm, browser, "live", tmp_path) as (page, at):
        await page.goto(f"{at}step_0")
        rows = page.locator("#film a[data-kind]")
        await expect(rows).to_have_count(5)
        assert await rows.evaluate_all("rows => rows.map((row) => row.dataset.kind)") == [*kinds.values(), "tab"]


@pytest.mark.parametrize("where", ["live"])
async def test_why_and_what_failed(shop: StorageManager, browser: Browser, tmp_path: Path, where: str) -> None:
    async with opened(shop, browser, where, tmp_path) as (page, at):
        await page.goto(f"{at}step_4")
        await expect(page.locator("#story .banner")).to_contain_text("Timeout 3000ms exceeded")
        await expect(page.locator("#action .facts")).to_have_text("typeclickselector#buy")
        await expect(page.locator("#action .json")).to_be_hidden()
        await page.click("#action summary")
        await expect(page.locator("#action .json")).to_contain_text('"log"')
        await page.keyboard.press("ArrowLeft")
        await expect(page.locator("#story .prose")).to_have_text("I look for lamps.")
        await expect(page.locator("#story .banner")).to_have_count(0)
        await expect(page.locator("#action .json")).to_be_visible()


async def test_errors_that_are_objects(tmp_path: Path, browser: Browser) -> None:
    """Their message is shown, else their short fields, but nothing that is deep."""
    sm = StorageManager.from_url(f"{tmp_path}/base")
    errors = {
        "no button": {"message": "no button", "deep": [1]},
        '{"code":7}': {"code": 7, "deep": {"a": [[1]]}},
        "The action failed.": {"deep": {"a": 1}},
    }
    for number, error in enumerate(errors.values()):
        await sm.store_step_data("shop", f"step_{number}", None, picture(8, 6), {"type": "click", "error": error}, {})
    async with opened(sm, browser, "live", tmp_path) as (page, at):
        for number, shown in enumerate(errors):
            await page.goto(f"{at}step_{number}")
            await expect(page.locator("#story .banner p")).to_have_text(shown)


@pytest.mark.parametrize("where", ["live"])
async def test_the_session(shop: StorageManager, browser: Browser, tmp_path: Path, where: str) -> None:
    await seal_session(shop, "shop")
    async with opened(shop, browser, where, tmp_path) as (page, at):
        await page.goto(f"{at}step_1")
        await expect(page.locator("#session-summary .outcome")).to_have_attribute("data-outcome", "failure")
        summary = page.locator("#session-summary")
        for words in ("Buy a lamp", "m-1", "reward 0.25", "6 min 30 s", "1,200 in, 34 out tokens · $0.500", "shop"):
            await expect(summary).to_contain_text(words)
        await expect(page.locator("#sealed")).to_have_text("sealed")
        await page.click("#session-about > summary")
        await expect(page.locator("#session-metadata .facts")).to_contain_text("https://shop.test/")


@WHERE
async def test_a_page_instead_of_a_screenshot(
    shop: StorageManager, browser: Browser, tmp_path: Path, where: str
) -> None:
    """Its frames are shown, and what it has for browsers without JavaScript is not."""
    async with opened(shop, browser, where, tmp_path) as (page, at):
        await page.goto(f"{at}step_5")
        await expect(page.locator("#stage .note")).to_have_text(
            "This step has no screenshot: the page gave no answer. This is the stored page."
        )
        frame = page.frame_locator(TARGET)
        await expect(frame.locator("h1")).to_have_text("Page 5")
        await expect(frame.locator("noscript")).to_have_count(0)
        await expect(frame.frame_locator("iframe").locator("h2")).to_have_text("Frame 5")
        await expect(frame.frame_locator("iframe").locator("script")).to_have_count(0)
        assert await frame.locator("iframe").get_attribute("sandbox") == ""
        await expect(page.locator("#story .lost")).to_contain_text("No screenshot: the page gave no answer")


async def test_a_phone(tmp_path: Path, browser: Browser) -> None:
    """Its screenshot is narrow, but it is no whole page, so it fits the stage."""
    sm = StorageManager.from_url(f"{tmp_path}/base")
    phone = told(1, viewport={"width": 390, "height": 844}, device_pixel_ratio=3)
    await sm.store_step_data("shop", "step_1", None, picture(1170, 2532), {"type": "tap"}, phone)
    async with opened(sm, browser, "live", tmp_path) as (page, at):
        await page.goto(f"{at}step_1")
        image = await page.locator(f"{SHOWN} img.screenshot").bounding_box()
        stage = await page.locator("#stage").bounding_box()
        assert image
        assert stage
        assert image["height"] <= stage["height"]


@pytest.mark.parametrize(
    ("html", "omitted"),
    [
        ("<iframe srcdoc='<p>'></iframe>" * 53, "3 frames of this page are"),
        ("<iframe srcdoc='<p>'></iframe><iframe src='https://shop.test/'></iframe>", ""),
        (DEEP, "1 frame of this page is"),
    ],
    ids=["many", "few", "deep"],
)
async def test_frames_that_are_left_out_are_counted(tmp_path: Path, browser: Browser, html: str, omitted: str) -> None:
    sm = StorageManager.from_url(f"{tmp_path}/base")
    await sm.store_step_data("shop", "step_1", html, None, {"type": "click"}, told(1))
    async with opened(sm, browser, "live", tmp_path) as (page, at):
        await page.goto(f"{at}step_1?view=page")
        await page.wait_for_selector(f"{SHOWN} iframe.page")
        notes = await page.locator("#stage .note").all_text_contents()
    assert [note.partition(" not shown.")[0] for note in notes] == ([omitted] if omitted else [])


@WHERE
async def test_search(shop: StorageManager, browser: Browser, tmp_path: Path, where: str) -> None:
    async with opened(shop, browser, where, tmp_path) as (page, at):
        await page.goto(f"{at}step_1")
        await page.keyboard.press("/")
        for text, steps in (("LAMP", ["step_3"]), ("page 5", ["step_5"]), ("timeout", ["step_4"]), ("nowhere", [])):
            await page.fill("#find", text)
            await expect(page.locator("#found")).to_have_text(
                f"{len(steps)} step{'' if len(steps) == 1 else 's'} found"
            )
            shown = page.locator("#film a:not([aria-current])")
            await expect(shown).to_have_count(len(steps))
            if steps:
                await expect(shown).to_have_attribute("data-step", steps[0])
        await page.fill("#find", "lamp")
        await expect(page.locator("#film a[data-step=step_3] .more")).to_contain_text("lamp")
        await page.keyboard.press("Enter")
        await expect(page.locator("body")).to_have_attribute("data-step", "step_3")
        await page.keyboard.press("Escape")
        await expect(page.locator("#film a")).to_have_count(6)


async def test_a_search_that_is_refused(
    shop: StorageManager, browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "MAX_SEARCHES", 0)
    async with opened(shop, browser, "live", tmp_path) as (page, at):
        await page.goto(f"{at}step_1")
        await page.fill("#find", "lamp")
        await expect(page.locator("#found")).to_contain_text("Try again in a moment.")


@pytest.mark.parametrize("where", ["live"])
async def test_playback_zoom_and_addresses(shop: StorageManager, browser: Browser, tmp_path: Path, where: str) -> None:
    async with opened(shop, browser, where, tmp_path) as (page, at):
        await page.goto(f"{at}step_4")
        body = page.locator("body")
        await page.wait_for_selector(f"{SHOWN} .shot")
        for _ in range(2):
            await page.click("#speed")
        await expect(page.locator("#speed")).to_have_text("4×")
        await page.keyboard.press("p")
        await expect(body).to_have_attribute("data-step", "step_6")
        await expect(page.locator("#play")).to_have_attribute("aria-pressed", "false")
        await page.wait_for_selector(f"{SHOWN} .shot")
        before = await page.locator(".shot").bounding_box()
        await page.keyboard.press("+")
        after = await page.locator(".shot").bounding_box()
        assert before
        assert after
        assert after["width"] > before["width"]
        await page.keyboard.press("0")
        assert await page.locator(".shot").bounding_box() == before
        await page.click("#film a[data-step=step_2]")
        await page.keyboard.press("2")
        await page.click("#film a[data-step=step_3]")
        await page.go_back()
        await expect(body).to_have_attribute("data-step", "step_2")
        await expect(page.locator("button[data-view=page]")).to_have_attribute("aria-pressed", "true")
        await page.keyboard.press("?")
        await expect(page.locator("#help")).to_be_visible()
        await page.keyboard.press("ArrowRight")
        await expect(body).to_have_attribute("data-step", "step_2")
        await page.keyboard.press("Escape")
        await expect(page.locator("#help")).to_be_hidden()
        await page.keyboard.press("l")
        await expect(page.locator("#said")).to_contain_text("link")


@WHERE
async def test_compare(shop: StorageManager, browser: Browser, tmp_path: Path, where: str) -> None:
    await lay(shop, "other")
    async with opened(shop, browser, where, tmp_path) as (page, at):
        await page.goto(f"{at}step_4")
        await page.keyboard.press("4")
        titles = page.locator(".compare[data-state=shown] figcaption")
        await expect(titles).to_have_text(["3. step_3", "4. step_4"])
        images = page.locator(".compare img.screenshot")
        assert await images.count() == 2
        await page.get_by_label("Step to compare with").fill("1")
        await page.keyboard.press("Enter")
        await expect(titles).to_have_text(["1. step_1", "4. step_4"])
        await page.click(".controls button")
        await page.locator(".compare input[type=range]").fill("80")
        assert await page.locator("figure").last.evaluate("node => node.style.clipPath") == "inset(0px 0px 0px 80%)"
        if where == "live":
            await page.get_by_label("Session to compare with").fill("other")
            await page.keyboard.press("Enter")
            await expect(titles.first).to_have_text("other · 1. step_1")
            await page.reload()
            await expect(titles.first).to_have_text("other · 1. step_1")
            await page.click(".controls button")
            await expect(page.locator(".compare")).to_have_attribute("data-mode", "side")
            await page.get_by_label("Session to compare with").fill("none")
            await page.keyboard.press("Enter")
            await expect(page.locator(".compare .empty")).to_have_text("The session none has no steps.")


@WHERE
async def test_addresses_of_comparisons(shop: StorageManager, browser: Browser, tmp_path: Path, where: str) -> None:
    """Back leads to the comparison before, and a link to a slider shows a slider."""
    async with opened(shop, browser, where, tmp_path) as (page, at):
        await page.goto(f"{at}step_4?view=compare")
        titles, shown = page.locator(".compare[data-state=shown] figcaption"), page.locator(".compare")
        for step in ("1", "2"):
            await page.get_by_label("Step to compare with").fill(step)
            await page.keyboard.press("Enter")
            await expect(titles.first).to_have_text(f"{step}. step_{step}")
        await page.get_by_role("button", name="Slider").click()
        await expect(shown).to_have_attribute("data-mode", "slider")
        link = page.url
        for title in ("1. step_1", "3. step_3"):
            await page.go_back()
            await expect(titles.first).to_have_text(title)
            await expect(shown).to_have_attribute("data-mode", "side")
        await page.go_forward()
        await expect(titles.first).to_have_text("1. step_1")
        await page.goto("about:blank")
        await page.goto(link)
        await expect(titles.first).to_have_text("2. step_2")
        await expect(shown).to_have_attribute("data-mode", "slider")


async def box_of(page: Page, selector: str) -> Any:
    box = await page.locator(selector).first.bounding_box()
    assert box
    return box


async def test_a_narrow_screen(tmp_path: Path, browser: Browser) -> None:
    """The header takes two lines. A screenshot is at the top of the stage; two of them are as wide as the stage."""
    sm, session = StorageManager.from_url(f"{tmp_path}/base"), "shop-of-lamps-and-other-things"
    await lay(sm, session)
    async with opened(sm, browser, "live", tmp_path) as (page, at):
        await page.set_viewport_size({"width": 390, "height": 844})
        await page.goto(at.replace("shop", session) + "step_4")
        shot, stage = page.locator(f"{SHOWN} .shot").first, page.locator("#stage")
        image, area, header = await shot.bounding_box(), await stage.bounding_box(), await box_of(page, "header")
        assert image
        assert area
        assert image["y"] - area["y"] < 20
        assert header["height"] < 90
        await expect(page.locator("#keys")).to_be_hidden()
        await page.click("button[data-view=compare]")
        await expect(page.locator(".compare[data-state=shown] .shot")).to_have_count(2)
        assert (await box_of(page, ".compare .shot"))["width"] == pytest.approx(area["width"] - 24, abs=1)


async def test_facts_are_not_cut(shop: StorageManager, browser: Browser, tmp_path: Path) -> None:
    """The name of a field is whole, and a line breaks between a date and a time, not in the date."""
    async with opened(shop, browser, "live", tmp_path) as (page, at):
        await page.goto(f"{at}step_1")
        name = page.locator("#metadata dt", has_text="device_pixel_ratio")
        assert await name.evaluate("node => node.scrollWidth <= node.clientWidth")
        moment = page.locator("#metadata dt", has_text="timestamp").locator("+ dd")
        await expect(moment).to_have_text("2026-11-30T12:01:00+00:00")
        rows = "node => [...node.querySelectorAll('span')].map((each) => each.clientHeight < 24)"
        assert await moment.evaluate(rows) == [True, True]


CONTRAST = """(node) => {
    const linear = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    const light = (color) => color.match(/[\\d.]+/g).slice(0, 3).map((value) => linear(value / 255))
        .reduce((sum, value, i) => sum + value * [0.2126, 0.7152, 0.0722][i], 0);
    const back = getComputedStyle(document.querySelector("#timeline")).backgroundColor;
    const pair = [getComputedStyle(node).borderTopColor, back];
    const [dark, bright] = pair.map(light).sort((a, b) => a - b);
    return (bright + 0.05) / (dark + 0.05);
}"""


async def test_the_frame_of_a_missing_thumbnail_can_be_seen(
    shop: StorageManager, browser: Browser, tmp_path: Path
) -> None:
    """Its contrast is at least 2.5 to 1 in each theme."""
    async with opened(shop, browser, "live", tmp_path) as (page, at):
        await page.goto(f"{at}step_1")
        frame = page.locator("#timeline [data-thumb=missing]").first
        await expect(frame).to_be_visible()
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            assert await frame.evaluate(CONTRAST) > 2.5, scheme
