"""Browsers for the viewer's tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, async_playwright

ARGUMENTS = ["--no-sandbox"]


@pytest.fixture
async def browser(chromium: str) -> AsyncIterator[Browser]:
    """One that keeps nothing."""
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield started
        await started.close()


@pytest.fixture
async def everyday(chromium: str, tmp_path: Path) -> AsyncIterator[BrowserContext]:
    """One with a profile, as people use it: without one, chromium neither preconnects nor prefetches."""
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            tmp_path / "profile", executable_path=chromium, args=ARGUMENTS, viewport={"width": 1100, "height": 800}
        )
        yield context
        await context.close()
