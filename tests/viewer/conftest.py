"""Browsers for the viewer's tests."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, async_playwright

from storage_manager import StorageManager
from tests.support import ROOT
from tests.support.browsers import ARGUMENTS, launched
from tests.support.viewed import store_small

EXAMPLE = ROOT / "storage_manager" / "sample" / "harbour-books"


@pytest.fixture
async def place(local: StorageManager, tmp_path: Path) -> StorageManager:
    """The example, and a session with a hostile page."""
    shutil.copytree(EXAMPLE, tmp_path / "base" / "harbour-books")
    await store_small(local)
    return local


@pytest.fixture
async def browser(chromium: str) -> AsyncIterator[Browser]:
    """One that keeps nothing."""
    async with launched(chromium) as started:
        yield started


@pytest.fixture
async def everyday(chromium: str, tmp_path: Path) -> AsyncIterator[BrowserContext]:
    """One with a profile, as people use it: without one, chromium neither preconnects nor prefetches."""
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            tmp_path / "profile",
            executable_path=chromium,
            args=ARGUMENTS,
            viewport={"width": 1100, "height": 800},
        )
        yield context
        await context.close()
