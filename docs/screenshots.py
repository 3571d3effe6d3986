"""Take the pictures of docs/images again. This needs the extra `test` and a Chromium.

    python docs/screenshots.py               all but the run of browser-use
    python docs/screenshots.py HISTORY.json  with it: a history of browser-use, beside its directory `screenshots`

The sessions are recorded in a real browser, or are the sample of the package. Each is shown in light and dark. The
pictures are reduced to 128 colors.
"""

import asyncio
import shutil
import sys
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.async_api import Browser, async_playwright

from storage_manager import StorageManager
from storage_manager.importers import import_browser_use
from storage_manager.recorder import record
from storage_manager.viewer import render_session, serve

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
WINDOW = {"width": 1280, "height": 800}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 3, "is_mobile": True, "has_touch": True}
SHOP = """<!DOCTYPE html><meta name=viewport content="width=device-width"><title>Lamps, page {0}</title><style>
body {{ font: 16px sans-serif; margin: 0 }} header {{ background: #27445c; color: #fff; padding: 14px 24px }}
main {{ padding: 8px 24px }} li {{ margin: 10px 0 }} button {{ padding: 9px 18px; font: inherit }}</style>
<header>The lamp shop</header><main><h1>Lamps, page {0}</h1><ul><li>Desk lamp, 39 euros<li>Floor lamp, 89 euros
<li>Ceiling lamp, 120 euros</ul><button id=next>Next page</button> <input id=q placeholder="Search"></main>"""


async def record_shop(storage: StorageManager, browser: Browser, name: str, pages: int, **more: Any) -> None:
    """Record a session in a shop. Every tenth click fails if it is long, and the fourth if it is short."""
    context = await browser.new_context(**more.pop("context", {"viewport": WINDOW}))
    page = await context.new_page()
    async with record(storage, name, metadata=more) as recorder:
        for number in range(1, pages + 1):
            box = await page.locator("#next").bounding_box() if number > 1 else None
            action: dict[str, Any] = {"type": "click", "selector": "#next", "box": box} if box else {"type": "goto"}
            thought = f"Page {number - 1} has no lamp for less than 30 euros. I look at page {number}."
            if number == min(4, pages) or number % 10 == 9:
                thought = "This lamp is what I look for. I buy it."
                error = "Timeout 30000ms exceeded: waiting for locator('#buy') to be visible"
                action = {"type": "click", "selector": "#buy", "error": error}
            await page.set_content(SHOP.format(number))
            await recorder.step(page, action | ({"thought": thought} if box else {"url": "https://shop.test/lamps"}))
        usage = {"input_tokens": 1900 * pages, "output_tokens": 70 * pages, "cost_usd": round(0.004 * pages, 3)}
        recorder.finish(outcome="failure", reward=0.0, usage=usage)
    await context.close()


async def record_sessions(storage: StorageManager, browser: Browser, scratch: str) -> None:
    """Record the sessions that are shown, or copy them."""
    example = [sys.executable, str(EXAMPLES / "record_agent.py"), "--root", f"{scratch}/sessions"]
    recording = await asyncio.create_subprocess_exec(*example, "--session", "library-visit")
    assert await recording.wait() == 0
    shipped = StorageManager.from_url(str(HERE.parent / "storage_manager" / "sample"))
    await storage.store_steps(shipped.iter_steps())
    async for step in shipped.iter_steps(components=["html", "action", "metadata"]):
        await storage.store_step_data("without-screenshots", step.step_id, step.data.html, None, *step.data[2:])
    shop = {"goal": "Buy a lamp for less than 30 euros", "agent": "shop-agent", "model": "model-1", "tags": ["shop"]}
    await record_shop(storage, browser, "lamp-error", 6, **shop)
    await record_shop(storage, browser, "lamp-phone", 3, **shop, context=PHONE)
    await record_shop(storage, browser, "lamps-500", 500, **shop)


async def shown(page: Any, url: str, name: str, *keys: str) -> None:
    """Take a picture when everything visible is loaded."""
    await page.goto(url)
    await page.wait_for_selector("#stage:not([data-state=loading]), #sessions")
    for key in keys:
        await page.keyboard.press(key)
    await page.wait_for_timeout(1500)
    picture = Image.open(BytesIO(await page.screenshot())).convert("RGB").quantize(128)
    picture.save(HERE / "images" / f"{name}.png", optimize=True)


async def take(browser: Browser, url: str, file: str, scheme: str, has_history: bool) -> None:
    """Take every picture in one color scheme."""
    page = await browser.new_page(color_scheme=scheme, viewport=WINDOW, locale="en-GB")  # type: ignore[arg-type]
    await shown(page, url, f"viewer-list-{scheme}")
    await shown(page, f"{url}sessions/library-visit/step_000003", f"viewer-live-{scheme}")
    await shown(page, f"{url}sessions/library-visit/step_000003", f"viewer-changes-{scheme}", "3")
    await shown(page, f"{Path(file).as_uri()}#step_000003", f"viewer-file-{scheme}")
    await shown(page, f"{url}sessions/lamp-error/step_000004", f"viewer-error-{scheme}")
    await shown(page, f"{url}sessions/lamp-error/step_000003", f"viewer-compare-{scheme}", "4")
    await shown(page, f"{url}sessions/lamps-500/step_000100", f"viewer-500-{scheme}", "e")
    await shown(page, f"{url}sessions/without-screenshots/step_000002", f"viewer-page-{scheme}")
    if has_history:
        await shown(page, f"{url}sessions/browser-use/step_000003", f"viewer-browser-use-{scheme}")
    await page.set_viewport_size({"width": 390, "height": 844})
    await shown(page, f"{url}sessions/lamp-phone/step_000002", f"viewer-phone-{scheme}")


async def main() -> None:
    (HERE / "images").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        storage = StorageManager.from_url(f"{scratch}/sessions")
        if sys.argv[1:]:
            await import_browser_use(storage, sys.argv[1], "browser-use")
        async with serve(storage) as url, async_playwright() as playwright:
            chromium = shutil.which("chromium")
            browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            await record_sessions(storage, browser, scratch)
            file = await render_session(storage, "harbour-books", f"{scratch}/harbour-books.html")
            for scheme in ("light", "dark"):
                await take(browser, url, file, scheme, bool(sys.argv[1:]))
            await browser.close()


asyncio.run(main())
