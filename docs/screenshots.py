"""Take the pictures of docs/images again: `python docs/screenshots.py` (the extra test, and a chromium).

A recorded session (examples/record_agent.py) and the sample of the package are shown live and as one file, light
and dark; then the pictures are reduced to 128 colours.
"""

import asyncio
import shutil
import sys
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.async_api import async_playwright

from storage_manager import StorageManager
from storage_manager.viewer import render_session, serve

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"


async def shown(page: Any, url: str, name: str, view: str | None = None) -> None:
    """One picture, when all that is in sight has come."""
    await page.goto(url)
    if view:
        await page.click(f'button[data-view="{view}"]')
    await page.wait_for_load_state("networkidle")
    await page.wait_for_timeout(500)
    picture = Image.open(BytesIO(await page.screenshot())).convert("RGB").quantize(128)
    picture.save(HERE / "images" / f"{name}.png", optimize=True)


async def main() -> None:
    (HERE / "images").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        example = [sys.executable, str(EXAMPLES / "record_agent.py"), "--root", f"{scratch}/sessions"]
        recording = await asyncio.create_subprocess_exec(*example, "--session", "library-visit")
        assert await recording.wait() == 0
        storage = StorageManager.from_url(f"{scratch}/sessions")
        await storage.store_steps(StorageManager.from_url(str(HERE.parent / "storage_manager/sample")).iter_steps())
        file = await render_session(storage, "harbour-books", f"{scratch}/harbour-books.html")
        async with serve(storage) as url, async_playwright() as playwright:
            chromium = shutil.which("chromium")
            browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            for scheme in ("light", "dark"):
                page = await browser.new_page(
                    color_scheme=scheme, viewport={"width": 1280, "height": 800}, locale="en-GB"
                )
                await shown(page, url, f"viewer-list-{scheme}")
                await shown(page, f"{url}sessions/library-visit/step_000003", f"viewer-live-{scheme}")
                await shown(page, f"{url}sessions/library-visit/step_000003", f"viewer-changes-{scheme}", "changes")
                await shown(page, f"{Path(file).as_uri()}#step_000003", f"viewer-file-{scheme}")
            await browser.close()


asyncio.run(main())
