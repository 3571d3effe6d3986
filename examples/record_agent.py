"""Record a browser agent: a real Chromium visits the site of a small library on localhost, and every step is stored.

    python examples/record_agent.py                      store where SM_* variables say, or else in ./.storage_data
    python examples/record_agent.py --root s3://bucket   store below this URL
    python examples/record_agent.py --session my-run     use this session id; an existing session is continued

The agent searches, requests a book with a form, opens a book in a second tab and downloads a list. The example needs
Playwright and a browser, and says how to install them. Exit codes: 0 the session is stored and sealed; 1 it is not, and
stderr says why.
"""

import argparse
import asyncio
import shutil
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from html import escape
from statistics import median
from typing import Any

from aiohttp import web

from storage_manager import StorageManager, StorageManagerError
from storage_manager.errors import how_to_install
from storage_manager.recorder import Recorder, record

BOOKS = {
    "Moby-Dick": "Call me Ishmael.",
    "Middlemarch": "Miss Brooke had that kind of beauty which seems to be thrown into relief by poor dress.",
    "The Time Machine": "The Time Traveller was expounding a recondite matter to us.",
    "The War of the Worlds": "No one would have believed that this world was being watched.",
}
Act = Callable[[Any], Awaitable[Any]]


class ExampleError(Exception):
    """An error whose message is shown to the user without a traceback."""


def html(title: str, body: str) -> web.Response:
    """Return a page of the library."""
    style = "<style>body { font: 18px sans-serif; margin: 2em } li { margin: .5em }</style>"
    text = f"<!doctype html><html lang=en><title>{escape(title)}</title>{style}<h1>{escape(title)}</h1>{body}"
    return web.Response(text=text, content_type="text/html")


async def search(request: web.Request) -> web.Response:
    """Show the books whose title contains the search text; without a search text, show all books."""
    words = request.query.get("q", "")
    found = [title for title in BOOKS if words.lower() in title.lower()]
    rows = "".join(f"<li><a href='/book?title={escape(t)}' target=_blank>{escape(t)}</a>" for t in found)
    form = f"<form><input name=q value='{escape(words)}'><button id=search>Search</button></form>"
    more = "<p><a id=ask href=/ask>Ask for a book</a> <a id=list href=/list.csv download>All titles</a>"
    return html("Harbour library", f"{form}<ul>{rows or '<li>nothing found'}</ul>{more}")


async def book(request: web.Request) -> web.Response:
    """Show one book."""
    title = request.query.get("title", "")
    return html(title, f"<p>{escape(BOOKS.get(title, 'We do not have it.'))}")


async def ask(request: web.Request) -> web.Response:
    """Show a form, or the text that was sent with it."""
    sent = await request.post()
    if sent:
        return html("Thank you", f"<p id=thanks>We look for {escape(str(sent['title']))}. <a href=/>Back</a>")
    fields = "<input name=title placeholder=Title><select name=form><option>paper<option>audio</select>"
    return html("Ask for a book", f"<form method=post>{fields}<button id=send>Send</button></form>")


async def titles(request: web.Request) -> web.Response:
    """Send the list of titles as a download."""
    headers = {"Content-Disposition": "attachment; filename=list.csv"}
    return web.Response(text="\n".join(["title", *BOOKS]), content_type="text/csv", headers=headers)


@asynccontextmanager
async def served() -> AsyncIterator[str]:
    """Serve the library, and yield its URL."""
    app = web.Application()
    app.add_routes([web.get("/", search), web.get("/book", book), web.get("/list.csv", titles)])
    app.add_routes([web.get("/ask", ask), web.post("/ask", ask)])
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def browser() -> AsyncIterator[Any]:
    """Yield a browser: the Chromium of the system, or else the one of Playwright."""
    try:
        from playwright.async_api import Error, async_playwright  # noqa: PLC0415 (only this example needs it)
    except ImportError as error:
        raise ExampleError(f"playwright is not installed: {how_to_install('playwright')}") from error
    async with async_playwright() as playwright:
        path = shutil.which("chromium")
        args = ["--no-sandbox"]  # Chromium has no sandbox for root, and only the pages above are opened
        try:
            launched = await playwright.chromium.launch(executable_path=path, args=args)
        except Error as error:
            install = "apt-get install chromium, or python -m playwright install chromium"
            raise ExampleError(f"cannot start a browser: {install}\n{error}") from error
        try:
            yield launched
        finally:
            await launched.close()


class Agent:
    """Acts on pages, and records each page after the action."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.costs: list[float] = []

    async def do(self, page: Any, act: Act, action: Mapping[str, Any], **metadata: object) -> Any:
        """Act on the page, record the step, and return the result of the action."""
        outcome = await act(page)
        started = time.perf_counter()
        step_id = await self.recorder.step(page, action, metadata)
        self.costs.append((time.perf_counter() - started) * 1000)
        print(f"{step_id}  {self.costs[-1]:4.0f} ms  {action['type']:8}  {page.url}")
        return outcome


async def go_through(agent: Agent, context: Any, site: str) -> None:
    """Do everything that the agent does, in order."""
    page = await context.new_page()
    await agent.do(page, lambda page: page.goto(site), {"type": "goto", "url": site})
    fill = {"type": "fill", "selector": "[name=q]", "value": "the"}
    await agent.do(page, lambda page: page.fill("[name=q]", "the"), fill)
    await agent.do(page, lambda page: page.click("#search"), {"type": "click", "selector": "#search"})
    await agent.do(page, lambda page: page.click("#ask"), {"type": "click", "selector": "#ask"})
    fill = {"type": "fill", "selector": "[name=title]", "value": "Walden"}
    await agent.do(page, lambda page: page.fill("[name=title]", "Walden"), fill)
    await agent.do(page, lambda page: page.click("#send"), {"type": "click", "selector": "#send"})
    await agent.do(page, lambda page: page.click("text=Back"), {"type": "click", "selector": "text=Back"})
    async with context.expect_page() as opened:
        await page.click("text=Moby-Dick")
    tab = await opened.value
    await agent.do(tab, lambda tab: tab.wait_for_load_state(), {"type": "click", "selector": "text=Moby-Dick"}, tab=2)
    await tab.close()
    async with page.expect_download() as started:
        await page.click("#list")
    download = await started.value
    size = len((await download.path()).read_bytes())
    saved = {"file": download.suggested_filename, "bytes": size}
    await agent.do(page, lambda page: page.bring_to_front(), {"type": "download", "selector": "#list"}, download=saved)


async def run(storage: StorageManager, session_id: str) -> None:
    """Serve the site, run the agent, record it, and print what was stored."""
    print(f"recording {storage.url_for(session_id)}")
    async with served() as site, browser() as launched:
        context = await launched.new_context(viewport={"width": 1280, "height": 720})
        async with record(storage, session_id) as recorder:
            agent = Agent(recorder)
            await go_through(agent, context, site)
    steps = await storage.list_steps_for_session(session_id)
    print(f"stored and sealed: {len(steps)} steps, {steps[0]} to {steps[-1]}")
    print(f"a step cost the agent {median(agent.costs):.0f} ms (median), at most {max(agent.costs):.0f} ms")


def main() -> None:
    """Run, and print an error without a traceback."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", metavar="URL", help="URL to store below: s3://bucket/prefix, file:///data, ...")
    parser.add_argument(
        "--session", metavar="ID", help="session id (default: from the time, for example agent-20260131T120000Z)"
    )
    arguments = parser.parse_args()
    session_id = arguments.session or f"agent-{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}"
    try:
        storage = StorageManager.from_url(arguments.root) if arguments.root else StorageManager()
        asyncio.run(run(storage, session_id))
    except (ExampleError, StorageManagerError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
