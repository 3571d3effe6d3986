"""Stored pages whose form fields and images have the names of DOM methods, in a real browser: each is shown, inert.

The fields of a form hide the form's own methods, and the forms and images of a document hide those of the document. A
script that calls `form.remove()` then calls a field.
"""

from pathlib import Path

import pytest
from playwright.async_api import Browser, Page

from storage_manager import StorageManager
from storage_manager.viewer import render_session, serve
from tests.support.browsers import launched

pytestmark = pytest.mark.thorough

# Every name that a form and a document have, in this browser.
NAMES = """() => {
    const names = new Set();
    for (let object of [document.createElement("form"), document]) {
        for (; object; object = Object.getPrototypeOf(object)) {
            for (const name of Object.getOwnPropertyNames(object)) names.add(name);
        }
    }
    return [...names];
}"""
BAD = '<script>parent.pwned = 1</script><a href="javascript:parent.pwned=1" onclick="parent.pwned=1">go</a>'
BAD += (
    '<img src="http://outside.test/x" onerror="parent.pwned=1"><template><script>parent.pwned = 1</script></template>'
)


def form(names: list[str]) -> str:
    """A form in which each name is a field."""
    fields = "".join(f'<input name="{name}" value="x">' for name in names)
    return f'<form onsubmit="parent.pwned=1" action="http://outside.test/">{fields}{BAD}</form>'


def document(names: list[str]) -> str:
    """A document in which each name is a form, an image, and an object."""
    return "".join(f'<form name="{name}"></form><img name="{name}" id="{name}">' for name in names) + BAD


PAGES = {
    "form": form,
    "document": document,
    "both": lambda names: document(names) + form(names),
    "nested": lambda names: f"<template>{form(names)}</template>{form(names)}",
}
SHOWN = "#stage[data-state=shown] iframe.page"
FRAME = """(frame) => {
    const read = new DOMParser().parseFromString(frame.srcdoc, "text/html");
    const all = [...Document.prototype.querySelectorAll.call(read, "*")];
    const names = all.flatMap((node) => Element.prototype.getAttributeNames.call(node));
    return {
        mark: frame.srcdoc.includes("the end of the page"), scripts: frame.srcdoc.includes("<script"),
        handlers: names.filter((name) => name.startsWith("on")),
        loads: frame.srcdoc.includes("outside.test"), code: frame.srcdoc.includes('href="javascript:'),
        quirks: !frame.srcdoc.startsWith("<!DOCTYPE html>"),
    };
}"""


async def stored(storage: StorageManager, browser: Browser) -> list[str]:
    """Store one step for each page, and one for each method by itself; return their ids."""
    page = await browser.new_page()
    names = [name for name in await page.evaluate(NAMES) if name.isidentifier()]
    assert {"childNodes", "getAttribute", "remove", "querySelectorAll", "documentElement", "compatMode"} <= set(names)
    assert len(names) > 300
    for step_id, made in PAGES.items():
        html = f"<!DOCTYPE html><html><body>{made(names)}<p>the end of the page</p></body></html>"
        await storage.store_step_data("s", step_id, html)
    return sorted(PAGES)


async def check(page: Page, steps: list[str]) -> None:
    await page.click("button[data-view=page]")
    for step_id in steps:
        await page.wait_for_selector(f"body[data-step={step_id}] {SHOWN}")
        found = await page.eval_on_selector(SHOWN, FRAME)
        assert found == {
            "mark": True,
            "scripts": False,
            "handlers": [],
            "loads": False,
            "code": False,
            "quirks": False,
        }, step_id
        assert await page.evaluate("window.pwned ?? null") is None
        await page.evaluate("() => document.querySelector('#next').click()")


@pytest.mark.parametrize("is_live", [True, False], ids=["live", "file"])
async def test_pages_that_shadow_methods_are_shown_and_inert(chromium: str, tmp_path: Path, is_live: bool) -> None:
    storage = StorageManager(local_base_path=tmp_path / "base")
    async with launched(chromium) as browser, serve(storage) as url:
        steps = await stored(storage, browser)
        page = await browser.new_page()
        file = await render_session(storage, "s", tmp_path / "s.html")
        await page.goto(f"{url}sessions/s" if is_live else f"file://{file}")
        await page.wait_for_selector("body[data-ready]")
        await check(page, steps)
