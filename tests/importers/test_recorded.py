"""A trace that Playwright records here becomes steps whose pages, opened in a browser, are what was seen then."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Error, Page

from storage_manager import StepData, StorageManager
from storage_manager.transitions import iter_transitions
from tests.support.browsers import launched
from tests.support.printed import run, text
from tests.support.traces import imported, write_zip
from tests.support.traces import page as trace_of

pytestmark = pytest.mark.thorough

SITE = {
    "/": """<!doctype html><title>Shop &amp; more</title><link rel="stylesheet" href="/s.css"><meta charset="utf-8">
        <h1>Größe &amp; &lt;b&gt; 👍</h1><p id="out"></p><pre>\n  two\n  lines</pre>
        <form><input id="q" name="q" value="old"><input id="secret" type="password"><input id="c" type="checkbox">
        <input type="radio" name="r" id="r"><input type="submit">
        <select id="s"><option>a</option><option>b</option></select><textarea id="t">first</textarea></form>
        <button id="b" onclick="setTimeout(() => out.textContent = `clicked ${q.value}`, 300)">Go</button>
        <dialog id="d">a dialog</dialog><table><tr><td>cell</td></tr></table><svg><text>drawn</text></svg>
        <iframe id="f" src="/frame"></iframe><div id="h"></div><a id="l" href="/two">on</a>
        <style>#out::after { content: "</sty" "le>" }</style>
        <script>
          h.attachShadow({mode: "open"}).innerHTML = "<style>p { color: red }</style><p>in the shadow</p>";
          const sheet = new CSSStyleSheet();
          sheet.replaceSync("h1 { color: rgb(0, 0, 255) }");
          document.adoptedStyleSheets = [sheet];
        </script>""",
    "/frame": "<!doctype html><p>in a frame</p><iframe src='/inner'></iframe>",
    "/inner": "<!doctype html><p title='\"'>further in</p>",
    "/two": "<!doctype html><title>Two</title><p id=p>the second page</p>",
    "/s.css": "h1 { font-size: 40px }",
}

# All that a page shows and holds, as one text: of the live page, and of the one that is rebuilt.
STATE = """() => {
    const inside = (frame) => frame ? [frame.contentDocument.body.innerText,
        inside(frame.contentDocument.querySelector("iframe"))] : null;
    return JSON.stringify({
        mode: document.compatMode, title: document.title, text: document.body.innerText,
        fields: [...document.querySelectorAll("input, textarea, select")].map((e) => [e.id, e.value, e.checked]),
        shadow: [...document.querySelectorAll("*")].filter((e) => e.shadowRoot)
            .map((e) => [e.shadowRoot.textContent, getComputedStyle(e.shadowRoot.querySelector("p")).color]),
        frames: inside(document.querySelector("iframe")),
        heading: [...document.querySelectorAll("h1")].map(getComputedStyle).map((e) => [e.color, e.fontSize, e.top]),
    });
}"""


class Handler(BaseHTTPRequestHandler):
    """Serves SITE."""

    def do_GET(self) -> None:
        body = SITE.get(self.path, "").encode()
        self.send_response(200 if body else 404)
        self.send_header("Content-Type", "text/css" if self.path.endswith(".css") else "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Nothing on standard error."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """A small site, at its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


async def act(page: Page, site: str) -> None:
    """What is done on the first tab; after each action the state of the page is asked for, which is a step, too."""
    await page.goto(site)
    await page.evaluate(STATE)
    await page.fill("#q", 'new "<value>"')
    await page.fill("#t", "\n</textarea> more")
    await page.check("#c")
    await page.check("#r")
    await page.select_option("#s", "b")
    await page.evaluate(STATE)
    await page.click("#b")
    await page.wait_for_function("out.textContent")  # the snapshot right after the click does not have it yet
    await page.evaluate(STATE)
    with pytest.raises(Error, match="Timeout"):
        await page.click("#not-there", timeout=200)
    await page.evaluate("document.styleSheets[0].insertRule('h1 { position: relative; top: 7px }')")
    await page.evaluate("d.showModal()")
    await page.evaluate(STATE)


async def record(chromium: str, site: str, path: Path) -> None:
    async with launched(chromium) as browser:
        context = await browser.new_context(viewport={"width": 640, "height": 480})
        await context.tracing.start(screenshots=True, snapshots=True, title="a recording")
        first = await context.new_page()
        await act(first, site)
        second = await context.new_page()
        await second.goto(f"{site}/two")
        await second.evaluate(STATE)
        await first.evaluate("d.close()")
        await first.click("#l")
        await first.evaluate(STATE)
        await context.tracing.group("a group")
        await second.inner_text("#p")
        await context.tracing.group_end()
        await context.tracing.stop_chunk(path=path)
        await first.go_back()
        await context.tracing.start_chunk()
        await first.fill("#q", "in the second chunk")
        await context.tracing.stop(path=path.with_stem("second"))


@pytest.fixture(scope="module")
def recorded(chromium: str, site: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trace of all of it."""
    path = tmp_path_factory.mktemp("recorded") / "recorded.zip"
    asyncio.run(record(chromium, site, path))
    return path


@pytest.fixture
async def steps(recorded: Path, tmp_path: Path) -> list[StepData]:
    """What became of it."""
    return await imported(StorageManager(local_base_path=tmp_path / "base"), recorded)


def of(step: StepData) -> tuple[dict[str, Any], dict[str, Any]]:
    assert step.action
    assert step.metadata
    return step.action, step.metadata


async def test_every_call_that_acts_is_a_step(steps: list[StepData], site: str) -> None:
    types = [of(step)[0]["type"] for step in steps]
    state = "evaluateExpression"
    assert types == [
        *("newPage", "goto", state, "fill", "fill", "check", "check", "selectOption", state, "click", state, "click"),
        *(state, state, state, "newPage", "goto", state, state, "click", state),
    ]
    assert all(step.html for step in steps), "that of newPage was taken before goto"
    fill, about = of(steps[3])
    assert (fill["class"], fill["params"]["selector"], fill["params"]["value"]) == ("Frame", "#q", 'new "<value>"')
    assert fill["log"]
    assert about["url"] == f"{site}/"
    assert (about["title"], about["trace_title"]) == ("Shop & more", "a recording")
    assert (about["browser"], about["viewport"]) == ("chromium", {"width": 640, "height": 480})
    assert 0 < about["duration"] == round(about["end"] - about["start"], 3)
    assert {"x", "y"} <= of(steps[9])[0]["point"].keys()
    assert [index for index, step in enumerate(steps) if "error" in of(step)[0]] == [11]
    assert "Timeout 200ms exceeded" in of(steps[11])[0]["error"]["message"]
    assert len({of(step)[1]["page_id"] for step in steps if step.html}) == 2
    stamps = [of(step)[1]["timestamp"] for step in steps]
    assert stamps == sorted(stamps)


async def test_pages_are_those_that_were_seen(steps: list[StepData], chromium: str) -> None:
    asked = [(step, of(step)[0]["result"]["value"]) for step in steps if of(step)[0]["type"] == "evaluateExpression"]
    seen = [(step, json.loads(value["s"])) for step, value in asked if "s" in value]
    assert len(seen) == 6
    async with launched(chromium) as browser:
        page = await browser.new_page(viewport={"width": 640, "height": 480})
        scripts: list[object] = []
        page.on("console", lambda message: scripts.append(message.text))
        page.on("pageerror", lambda error: scripts.append(error.message))
        for step, state in seen:
            await page.set_content(step.html or "")
            assert json.loads(await page.evaluate(STATE)) == state
    assert scripts == []
    texts = [state["text"] for _, state in seen]
    assert ["clicked" in text for text in texts] == [False, False, True, True, False, False]
    assert "a dialog" in texts[3]
    assert "the second page" in texts[4] == texts[5]


async def test_each_action_is_paired_with_the_page_on_which_it_was_chosen(
    recorded: Path, tmp_path: Path, chromium: str
) -> None:
    sm = StorageManager(local_base_path=tmp_path / "base")
    await imported(sm, recorded)
    found = [one async for one in iter_transitions(sm)]
    asked = [one for one in found if "s" in (one.action.get("result") or {}).get("value", {})]
    assert len(asked) == 6
    async with launched(chromium) as browser:
        page = await browser.new_page(viewport={"width": 640, "height": 480})
        for one in asked:
            await page.set_content((one.before and one.before.html) or "")
            shown, seen = json.loads(await page.evaluate(STATE)), json.loads(one.action["result"]["value"]["s"])
            # Playwright names a frame inside a frame only some time after both have loaded
            assert {**shown, "frames": None} == {**seen, "frames": None}


async def test_pages_have_the_style_sheets_that_they_linked(steps: list[StepData], chromium: str) -> None:
    """Without the network: a page asks for nothing but what the sheets refer to."""
    async with launched(chromium) as browser:
        context = await browser.new_context(offline=True)
        page = await context.new_page()
        await page.set_content(steps[1].html or "")
        size = await page.evaluate("getComputedStyle(document.querySelector('h1')).fontSize")
    assert size == "40px"
    assert "<LINK" not in (steps[1].html or "")


async def test_pages_are_those_after_the_action(steps: list[StepData]) -> None:
    before, after = steps[8], steps[9]
    assert of(after)[0]["params"]["selector"] == "#b"
    assert "clicked" not in (before.html or "")
    assert "clicked new &quot;&lt;value&gt;&quot;" in (after.html or "").replace('"', "&quot;")
    assert "<p id=p" not in (after.html or "").lower()
    assert of(steps[19])[1]["url"].endswith("/two")


async def test_screenshots_are_frames_of_the_screencast(steps: list[StepData]) -> None:
    shown = [step for step in steps if step.screenshot]
    assert len(shown) > 10
    assert all((step.screenshot or b"").startswith(b"\xff\xd8\xff") for step in shown)
    assert len({step.screenshot for step in shown}) > 2


ATTACK = "<img src=x onerror='window.top.hit=1'>"
RUNS = {"onerror": "window.top.hit=1", "src": "x"}


HOSTILE: list[list[Any]] = [
        ["BODY", {"onload": "hit=1"}, ["SCRIPT", {}, "hit=1"], ["script", {}, "hit=1"], ["IMG", RUNS]],
        ["BODY", {}, ["STYLE", {}, f"</style>{ATTACK}"], ["svg", {}, ["style", {}, ATTACK], ["STYLE", {}, ATTACK]]],
        ["BODY", {}, ["SELECT", {}, ["STYLE", {}, ATTACK], ["XMP", {}, ATTACK]], ["math", {}, ["style", {}, ATTACK]]],
        ["BODY", {}, ["NOSCRIPT", {}, ["P", {"title": f"</noscript>{ATTACK}"}]], ["PLAINTEXT", {}, ATTACK]],
        ["BODY", {}, *([name, {}, f"</{name}>{ATTACK}"] for name in ("XMP", "TITLE", "TEXTAREA", "NOEMBED", "IFRAME"))],
        ["BODY", {}, ["template", {"__playwright_style_sheet_": f"</style>{ATTACK}"}], [f"P>{ATTACK}", {}, "x"]],
        ["BODY", {}, ["P", {f"a>{ATTACK}": "", f'b="">{ATTACK}': "", "/onclick": ""}, "--><!--"], ATTACK],
        ["BODY", {}, ["STYLE", {}, "a{}", "<", "/style>", "<", "script>hit=1//", "<", "/script>", "<", ATTACK[1:]]],
        ["BODY", {}, ["STYLE", {}, "<"], ["B", {}, [[0, 0]], "script>"], ["STYLE", {}, [[0, 0]], "/style>", ATTACK]],
        ["BODY", {}, ["IFRAME", {"srcdoc": ATTACK}], ["iframe", {"src": "javascript:window.top.hit=1"}]],
        ["BODY", {}, ["EMBED", {"src": "javascript:hit=1"}], ["OBJECT", {"data": "data:text/html,<script>"}]],
        ["BODY", {}, ["svg", {}, ["script", {}, "hit=1"], ["image", {**RUNS, "href": "x"}], ["foreignObject", {},
            ["math", {}, ["mtext", {}, ["STYLE", {}, f"<!--</style>{ATTACK}-->"]]]]]],
]  # fmt: skip


async def test_nothing_of_a_hostile_page_runs(tmp_path: Path, chromium: str) -> None:
    sm = StorageManager(local_base_path=tmp_path / "base")
    async with launched(chromium) as browser:
        page = await browser.new_page()
        for number, node in enumerate(HOSTILE):
            path = write_zip(tmp_path / f"{number}.zip", {"t.trace": trace_of(node, doctype=f"html>{ATTACK}")})
            [step] = await imported(sm, path)
            await page.set_content(step.html or "")
            await page.wait_for_timeout(50)
            assert await page.evaluate("window.hit") is None, node
            assert await page.evaluate("document.scripts.length") == 0, node
        await page.set_content(ATTACK)  # and would be noticed
        await page.wait_for_function("window.hit")


async def test_a_second_chunk_stands_alone(recorded: Path, tmp_path: Path) -> None:
    [step] = await imported(StorageManager(local_base_path=tmp_path / "base"), recorded.with_stem("second"))
    assert of(step)[0]["type"] == "fill"
    assert 'value="in the second chunk"' in (step.html or "")
    assert "in a frame" in (step.html or "")


async def test_the_example_of_the_documentation(tmp_path: Path, chromium: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = (
        text("importers")
        .partition("\nRuns of agents\n")[0]
        .replace("\n    ...\n", '\n    await page.set_content("<p>one</p>")\n')
    )
    async with launched(chromium) as browser:
        page = await browser.new_page()
        names = await run("importers", source, {"context": page.context, "page": page})
    assert names["session_id"] == "login"
    [step] = [step async for step in names["storage"].iter_steps(["login"])]
    assert "<P>one</P>" in step.data.html  # as Playwright writes it
