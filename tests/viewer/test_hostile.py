"""Stored pages, JSON and screenshots that are hostile, in a real browser: nothing of them runs or asks for anything."""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from playwright.async_api import BrowserContext, Frame, Page

from storage_manager import StorageManager
from storage_manager.viewer import render_session, serve
from tests.support.hostile_pages import (
    CHANGING,
    FRAMES,
    HUGE,
    JSON,
    LOADING,
    MOVING,
    PAGES,
    SCREENSHOTS,
    SCRIPTS,
    SESSION,
    SVG,
    Hostile,
    lay_data,
    lay_drawn,
    lay_huge,
    lay_pages,
)
from tests.support.trap import Trap, trap

pytestmark = pytest.mark.thorough

# What the tests count on: which frames have loaded, and what the viewer's own page is like.
PREPARE = """() => {
    window.loaded = new WeakSet();
    document.addEventListener("load", (event) => loaded.add(event.target), true);
}"""
SHOWN_PAGE = """async (step) => {
    const stage = document.querySelector("#stage"), frame = () => stage.querySelector("iframe.page");
    const isShown = () => document.body.dataset.step === step && stage.dataset.state === "shown" && loaded.has(frame());
    while (!isShown()) {
        if (stage.dataset.state === "failed") throw new Error(stage.textContent);
        await new Promise(requestAnimationFrame);
    }
    const { x, y, width } = frame().getBoundingClientRect();
    return { x, y, scale: width / frame().offsetWidth };
}"""
STATE = """() => ({
    title: document.title,
    body: [...document.body.children].filter(({ type }) => type !== "application/json").map(({ tagName }) => tagName),
    heads: document.head.children.length, frames: frames.length, pwned: window.__pwned ?? null,
    cookie: document.cookie, kept: localStorage.length,
    forms: document.forms.length, focus: document.activeElement.tagName,
    sandbox: document.querySelector("#stage iframe")?.getAttribute("sandbox"), address: location.href,
})"""
NEXT = "() => document.querySelector('#next').click()"
# As a person would; returns where the mouse may press the first.
PRESS = """() => {
    const names = "a, area, button, input, summary, select, textarea, mtext, details, p, text";
    const nodes = [...document.querySelectorAll(names)];
    const { x = 1, y = 1, width = 0, height = 0 } = nodes[0]?.getBoundingClientRect() ?? {};
    for (const node of nodes) {
        node.focus?.();
        node.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true, view: window }));
    }
    return [x + width / 2, y + height / 2];
}"""

# In the file, half of the steps are enough: it runs the same viewer.js as the live viewer.
HALVES = pytest.mark.parametrize("is_live", [True, False], ids=["live", "file"])

Lay = Callable[[Path, str], list[str]]
Look = Callable[["Watched", Page, list[str]], Awaitable[None]]


class Watched:
    """The browser, the trap, and what happened that should not have."""

    def __init__(self, context: BrowserContext, it: Trap, bell: Page) -> None:
        self.context, self.trap, self._bell = context, it, bell
        self.events: list[str] = []
        self._rings = 0
        context.on("dialog", self._dialog)
        context.on("weberror", lambda error: self.events.append(f"error: {error.error}"))

    async def _dialog(self, dialog: Any) -> None:
        self.events.append(f"dialog: {dialog.message}")
        await dialog.dismiss()

    async def page(self) -> Page:
        """A new page, of which it is told what it opens and saves."""
        page = await self.context.new_page()
        page.on("popup", lambda popup: self.events.append(f"popup: {popup.url}"))
        page.on("download", lambda download: self.events.append(f"download: {download.url}"))
        page.on("crash", lambda _: self.events.append("crash"))
        return page

    async def is_quiet(self, name: str) -> None:
        """Nothing reached the trap by the time that a request of another page, sent later, was answered."""
        self._rings += 1
        await self._bell.evaluate("url => fetch(url, {mode: 'no-cors'})", f"{self.trap.bell}/{self._rings}")
        assert self.trap.caught == (0, []), name
        assert self.events == [], name

    async def ends_quiet(self) -> None:
        """And the trap does work."""
        await self.is_quiet("the end")
        await self._bell.evaluate("url => fetch(url, {mode: 'no-cors'})", f"{self.trap.url}/control")
        assert self.trap.asked == ["/control"]


@pytest.fixture
async def watched(everyday: BrowserContext) -> AsyncIterator[Watched]:
    async with trap() as it:
        yield Watched(everyday, it, everyday.pages[0])
        await everyday.close()


@pytest.fixture
def place(tmp_path: Path) -> StorageManager:
    return StorageManager.from_url(f"{tmp_path}/base")


async def press(page: Page, frame: Frame, at: dict[str, float]) -> None:
    """What can be pressed in a stored page: by its own events, by the mouse, and by the keyboard."""
    x, y = await frame.evaluate(PRESS)
    await page.mouse.click(at["x"] + x * at["scale"], at["y"] + y * at["scale"])
    await page.keyboard.press("Enter")


async def walk(watched: Watched, page: Page, steps: list[str]) -> None:
    """Every page of the session, and all that can be pressed in it; the viewer's own page stays as it was."""
    await page.wait_for_selector("body[data-ready]")
    await page.evaluate(PREPARE)
    await page.click("button[data-view=page]")
    before: dict[str, Any] = {}
    for step in steps:
        at = await page.evaluate(SHOWN_PAGE, step)
        frame = page.frames[-1]
        await press(page, frame, at)
        await watched.is_quiet(step)
        state = await page.evaluate(STATE)
        assert (state.pop("title"), frame.url.partition("#")[0]) == (f"{step} · {SESSION}", "about:srcdoc"), step
        assert step in state.pop("address")
        assert state.pop("focus") in {"IFRAME", "DIV", "BODY"}
        before = before or state
        assert state == before, step
        await page.evaluate(NEXT)
    names = ("pwned", "cookie", "kept", "frames", "sandbox", "forms")
    assert [before[name] for name in names] == [None, "", 0, 1, "", 0]


async def glance(watched: Watched, page: Page, steps: list[str]) -> None:
    """Every screenshot, action and metadata: each is shown, or refused in words, and nothing else happens."""
    await page.wait_for_selector("body[data-ready]")
    before: dict[str, Any] = {}
    for step in steps:
        await page.wait_for_selector(f"body[data-step='{step}'] #stage:not([data-state=loading])")
        for name in ("action", "metadata"):
            await page.wait_for_selector(f"#{name}[data-state=shown]", state="attached")
        await watched.is_quiet(step)
        state = await page.evaluate(STATE)
        assert state.pop("title") == f"{step} · {SESSION}"
        assert step in state.pop("address")
        before = before or state
        assert state == before, step
        await page.evaluate(NEXT)
    assert (before["pwned"], before["frames"]) == (None, 0)


def half_of(steps: list[str], session: Path) -> list[str]:
    """Delete every second step."""
    for step in steps[1::2]:
        shutil.rmtree(session / step)
    return steps[::2]


@HALVES
@pytest.mark.parametrize(("lay", "look"), [(lay_pages, walk), (lay_data, glance)], ids=["pages", "data"])
async def test_what_is_stored_does_nothing(
    place: StorageManager, watched: Watched, tmp_path: Path, is_live: bool, lay: Lay, look: Look
) -> None:
    steps = lay(tmp_path / "base", watched.trap.url)
    steps = steps if is_live else half_of(steps, tmp_path / "base" / SESSION)
    page = await watched.page()
    async with serve(place) as url:
        path = f"{url}sessions/{SESSION}"
        await page.goto(path if is_live else f"file://{await render_session(place, SESSION, tmp_path / 'x.html')}")
        await look(watched, page, steps)
    await watched.ends_quiet()


SINKS = "#story, #film, #timeline, #found, #stage, #action, #metadata, #session-about"
PLAIN = {"div", "p", "b", "a", "li", "ol", "span", "i", "h4", "svg", "path", "img", "dl", "dt", "dd", "details"}
PLAIN |= {"summary", "pre", "figure", "figcaption", "input", "button", "label", "iframe", "section", "h2"}
ELEMENTS = """(sinks) => [...document.querySelectorAll(sinks)].flatMap((sink) => [...sink.querySelectorAll("*")])
    .map(({ localName }) => localName)"""


@HALVES
async def test_what_is_drawn_of_actions_does_nothing(
    place: StorageManager, watched: Watched, tmp_path: Path, is_live: bool
) -> None:
    """Marks, rows, thoughts, errors, the timeline, outlines, search and comparison."""
    steps = lay_drawn(tmp_path / "base", watched.trap.url)
    steps = steps if is_live else half_of(steps, tmp_path / "base" / SESSION)
    page = await watched.page()
    async with serve(place) as url:
        path = f"{url}sessions/{SESSION}"
        await page.goto(path if is_live else f"file://{await render_session(place, SESSION, tmp_path / 'x.html')}")
        for step in steps:
            for key in ("1", "4", "2"):
                await page.keyboard.press(key)
                await page.wait_for_selector(f"body[data-step='{step}'] #stage:not([data-state=loading])")
            await page.wait_for_selector(f"#film a[data-step='{step}'][data-kind]")
            await watched.is_quiet(step)
            assert set(await page.evaluate(ELEMENTS, SINKS)) <= PLAIN, step
            assert await page.locator(".marks > *").count() <= 100, step
            assert await page.evaluate("[window.__pwned ?? null, document.title]") == [None, f"{step} · {SESSION}"]
            await page.evaluate(NEXT)
        for text in ("<img", "\u202e", "a" * 200):
            await page.fill("#find", text)
            await page.wait_for_function("!/Searching/.test(document.querySelector('#found').textContent)")
            await watched.is_quiet(text)
            assert set(await page.evaluate(ELEMENTS, SINKS)) <= PLAIN, text
    await watched.ends_quiet()


@pytest.mark.parametrize("is_live", [True, False], ids=["live", "file"])
async def test_huge_pages(place: StorageManager, watched: Watched, tmp_path: Path, is_live: bool) -> None:
    """Each is shown, or refused in words."""
    steps = lay_huge(tmp_path / "base", watched.trap.url)
    page = await watched.page()
    async with serve(place) as url:
        path = (
            f"{url}sessions/huge" if is_live else f"file://{await render_session(place, 'huge', tmp_path / 'x.html')}"
        )
        await page.goto(path)
        await page.wait_for_selector("body[data-ready]")
        await page.click("button[data-view=page]")
        for step in steps:
            await page.wait_for_selector(f"body[data-step='{step}'] #stage:not([data-state=loading])")
            await watched.is_quiet(step)
            assert await page.evaluate("[window.__pwned ?? null, document.title]") == [None, f"{step} · huge"]
            await page.evaluate(NEXT)
    await watched.ends_quiet()


@pytest.mark.parametrize(
    "pages",
    [MOVING, [*SCRIPTS, *FRAMES][::3], LOADING[::4], CHANGING[::2]],
    ids=["moving", "running", "loading", "changing"],
)
async def test_opened_raw(place: StorageManager, watched: Watched, tmp_path: Path, pages: list[Hostile]) -> None:
    lay_pages(tmp_path / "base", watched.trap.url)
    page = await watched.page()
    async with serve(place) as url:
        for step in (page.name for page in pages):
            address = f"{url}sessions/{SESSION}/{step}/html"
            await page.goto(address)
            await watched.is_quiet(step)
            assert (page.url, await page.evaluate("origin")) == (address, "null")
    await watched.ends_quiet()


async def test_data_that_is_opened_raw(place: StorageManager, watched: Watched, tmp_path: Path) -> None:
    steps = lay_data(tmp_path / "base", watched.trap.url)
    page = await watched.page()
    async with serve(place) as url:
        for step in steps[::2]:
            for name in ("screenshot", "action"):
                answer = await page.goto(f"{url}sessions/{SESSION}/{step}/{name}")
                assert answer
                assert answer.headers["content-type"] in {"image/png", "image/jpeg", "application/json"}
                assert answer.headers["x-content-type-options"] == "nosniff"
                await watched.is_quiet(f"{step}: {name}")
    await watched.ends_quiet()


# Names whose ending says what the browser is to take it for, each with hostile content; some are shown, others saved.
SHOWN = ["svg", "html", "xhtml", "xml", "xsl", "js", "css", "csv", "txt", "md", "jsonl", "har", "json"]
IMAGES = ["png", "gif", "jpg", "webp", "bmp", "ico", "avif"]
OPENED = {*SHOWN, *IMAGES} - {"csv", "jsonl"}  # chromium saves what has these types
SAVED = ["webm", "pdf", "bin", "mhtml.gz", "swf", "wasm"]
OPEN_ALL = """async (selector) => {
    const list = document.querySelector(selector);
    while (!["shown", "missing", "failed"].includes(list.dataset.state)) await new Promise(requestAnimationFrame);
    for (const details of list.querySelectorAll("details")) details.open = true;
    const isDone = (area) => ["shown", "failed"].includes(area.dataset.state);
    while (![...list.querySelectorAll(".content")].every(isDone)) await new Promise(requestAnimationFrame);
    return [...list.querySelectorAll(".attachment")].map((node) => node.dataset.name);
}"""
ODD = """(selector) => [...document.querySelectorAll(selector + " *")].map(({ localName }) => localName)
    .filter((name) => !["div", "details", "summary", "span", "pre", "img", "a", "p", "b"].includes(name))"""


# Metadata of a session that is JSON, and whose fields are not what the viewer expects.
FIELDS = {
    "field-tags": '{"goal": "<img src=TRAP onerror=\'__pwned=1\'>", "outcome": "<b>", "tags": ["<script>__pwned=1"]}',
    "field-kinds": '{"goal": {"toString": 1}, "outcome": ["success"], "reward": {}, "tags": {"length": 1e9}}',
    "field-names": '{"__proto__": {"goal": 1}, "outcome": "__proto__", "agent": "\\u202e\\u2066x", "goal": "toString"}',
    "field-long": '{"goal": "' + "x<b>" * 100_000 + '", "tags": [' + '"t",' * 100_000 + '"t"]}',
}


def lay_attachments(directory: Path, trap: str) -> list[str]:
    """Hostile attachments, in the directory of a step or of a session; returns their names in order."""
    files = {f"json-{name}.json": text for name, text in JSON.items()}
    for extension in [*SHOWN, *IMAGES, *SAVED]:
        files[f"svg.{extension}"] = SVG
        files[f"html.{extension}"] = SCREENSHOTS["html"]
        files[f"xml.{extension}"] = SCREENSHOTS["xml"]
    files |= {f"image-{kind}.png": text for kind, text in SCREENSHOTS.items()}
    files["huge.html"] = HUGE["huge-template"]
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        encoding = "latin-1" if name.startswith("image-png") or name.startswith("image-jpeg") else "utf-8"
        data = text.replace("TRAP", f"{trap}/{name}").encode(encoding, errors="surrogateescape")
        (directory / name).write_bytes(data)
    return sorted(files)


async def test_attachments_do_nothing(place: StorageManager, watched: Watched, tmp_path: Path) -> None:
    """Each is shown, or refused in words, or can be saved; those that are opened by themselves do nothing either."""
    session = tmp_path / "base" / SESSION
    names = lay_attachments(session / "a", watched.trap.url)
    assert lay_attachments(session / "_files", watched.trap.url) == names
    page = await watched.page()
    async with serve(place) as url:
        await page.goto(f"{url}sessions/{SESSION}")
        await page.wait_for_selector("body[data-ready]")
        before = await page.evaluate(STATE)
        await page.click("#session-about > summary")
        for selector in ("#session-attachments", "#attachments"):
            await page.evaluate("(selector) => document.querySelector(selector).scrollIntoView()", selector)
            assert await page.evaluate(OPEN_ALL, selector) == names
            await watched.is_quiet(selector)
            assert await page.evaluate(ODD, selector) == []
        after = await page.evaluate(STATE)
        assert {**after, "focus": before["focus"]} == before
        assert await page.locator("#attachments img").count() > 0
        for name in [name for name in names if name.rpartition(".")[2] in OPENED and name[:5] != "json-"][::2]:
            address = f"{url}sessions/{SESSION}/a/attachments/{name}"
            await page.goto(address)
            await watched.is_quiet(name)
            assert (page.url, await page.evaluate("[origin, window.__pwned ?? null]")) == (address, ["null", None])
    await watched.ends_quiet()


@HALVES
async def test_session_metadata_does_nothing(
    place: StorageManager, watched: Watched, tmp_path: Path, is_live: bool
) -> None:
    """It is shown, or refused in words, and the steps are shown as ever."""
    page = await watched.page()
    texts = {f"as-{name}": text for name, text in JSON.items()} | FIELDS
    async with serve(place) as url:
        for session_id, text in list(texts.items())[:: 1 if is_live else 2]:
            await place.store_step_data(session_id, "a", action_data={"type": "click"})
            data = text.replace("TRAP", f"{watched.trap.url}/{session_id}").encode(errors="surrogateescape")
            (tmp_path / "base" / session_id / "_session.json").write_bytes(data)
            path = f"{url}sessions/{session_id}"
            await page.goto(
                path if is_live else f"file://{await render_session(place, session_id, tmp_path / 'x.html')}"
            )
            await page.wait_for_selector("#session-about:not([hidden])")
            await page.wait_for_selector("#action[data-state=shown]")
            await page.click("#session-about > summary")
            await page.wait_for_selector("#session-metadata[data-state=shown], #session-metadata[data-state=failed]")
            await watched.is_quiet(session_id)
            assert set(await page.evaluate(ODD, "#session-about")) <= {"section", "h2", "dl", "dt", "dd"}
            assert await page.evaluate("[window.__pwned ?? null, document.title]") == [None, f"a · {session_id}"]
            assert await page.evaluate("document.querySelector('#session-about > summary').clientHeight") < 400
    await watched.ends_quiet()


# What chromium does for whole pages only, or, of many frames on a busy machine, not for each.
ALONE = {"link-icon", "on-animation", "script-speculation"}
SILENT = {"link-preconnect", "link-preconnect-body"}  # what connects, and asks for nothing
FRAME_ALL = """(names) => Promise.all(names.map((name) => new Promise((done) => {
    const frame = document.createElement("iframe");
    frame.style = "position: absolute; top: 0; left: 0";  // what is not visible is not animated
    frame.addEventListener("load", () => requestAnimationFrame(() => requestAnimationFrame(() => {
        try { frame.contentWindow.eval(`(${press})()`); } catch { /* it has gone elsewhere */ }
        done();
    })));
    frame.src = name;
    document.body.append(frame);
})))"""


async def unprotected(request: web.Request) -> web.Response:
    """A page as it is stored, but for what would leave the frame that it is in, or take the others along."""
    body = request.app[UNPROTECTED][request.match_info["name"]]
    for name in (b"_top", b"_parent", b"top."):
        body = body.replace(name, b"_self" if name[:1] == b"_" else b"self.")
    return web.Response(body=body, content_type="text/html")


UNPROTECTED = web.AppKey("unprotected", dict[str, bytes])


@asynccontextmanager
async def site(pages: dict[str, bytes]) -> AsyncIterator[str]:
    """Pages without any protection."""
    app = web.Application()
    app[UNPROTECTED] = pages
    app.add_routes([web.get("/{name}", unprotected)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def test_the_corpus_has_teeth(watched: Watched) -> None:
    """Where nothing protects, nearly all of it reaches the trap, by itself or when it is pressed."""
    it = watched.trap
    pages = {page.name: page.at(it.url) for page in PAGES}
    toothed = [page.name for page in PAGES if not page.toothless]
    assert len(toothed) > 0.7 * len(PAGES)
    async with site({**pages, "start": f"<body><script>press = {PRESS}</script>".encode()}) as url:
        for name in SILENT:
            before = it.connections
            await (await watched.page()).goto(url + name)
            await it.wait_for(lambda: it.connections > before, name)  # noqa: B023 (it is called at once)
        for name in ALONE:
            await (await watched.page()).goto(url + name)
            await it.wait_for(lambda: name in it.names, name)  # noqa: B023 (while it is in front)
        page = await watched.page()
        await page.goto(f"{url}start")
        await page.evaluate(FRAME_ALL, sorted(set(toothed) - ALONE - SILENT))
        await it.wait_for(lambda: not set(toothed) - SILENT - it.names, lambda: set(toothed) - SILENT - it.names)
    assert watched.events
