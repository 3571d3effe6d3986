"""Start the real Chromium whose path the fixture `chromium` gives."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright, expect

expect.set_options(timeout=30_000)  # milliseconds; the default of 5 seconds is short for a busy machine

ARGUMENTS = ["--no-sandbox"]  # root has none in a container


@asynccontextmanager
async def launched(chromium: str, *arguments: str) -> AsyncIterator[Browser]:
    """Start a browser, with more arguments on its command line."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=[*ARGUMENTS, *arguments])
        try:
            yield browser
        finally:
            await browser.close()
