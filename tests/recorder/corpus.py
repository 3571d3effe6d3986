"""Local pages with the quirks of real ones, and what is stored. `python -m tests.recorder.corpus` prints a table."""

import asyncio
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from playwright.async_api import async_playwright
from playwright.sync_api import sync_playwright

from storage_manager import StepData, StorageManager, sync
from storage_manager.integrity import verify_session
from storage_manager.recorder import record
from storage_manager.recorder.calls import Calls, Steps, carry_out
from storage_manager.sync.calls import carry_out as carry_out_now
from tests.support.browsers import ARGUMENTS

MARKER = "what-is-stored"
TEXT = f"<p>{MARKER}</p>"
PDF = b"%PDF-1.1\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n%%EOF"


def call(function: Callable[..., Any], *args: Any, **options: Any) -> Calls:
    """One call of a page, which may fail."""
    return Calls({"it": (partial(function, *args, **options), object)}, 60, 60, 60)


def script(code: str) -> Callable[[Any], Steps[Any]]:
    """Run a script in the page."""

    def act(page: Any) -> Steps[Any]:
        page.on("dialog", lambda dialog: None)  # nobody answers
        yield call(page.evaluate, code)
        yield call(page.wait_for_timeout, 200)
        return page

    return act


def popup(page: Any) -> Steps[Any]:
    yield call(page.evaluate, f"void open().document.write('{TEXT}')")
    yield call(page.wait_for_timeout, 200)
    return page.context.pages[-1]


def download(page: Any) -> Steps[Any]:
    yield call(page.click, "a")
    return page


def type_password(page: Any) -> Steps[Any]:
    yield call(page.fill, "#typed", "secret-word")
    return page


def leave_page(page: Any) -> Steps[Any]:
    page.on("dialog", lambda dialog: None)
    yield call(page.click, "body")
    yield call(page.close, run_before_unload=True)
    yield call(page.wait_for_timeout, 200)
    return page


def crash(page: Any) -> Steps[Any]:
    yield call(page.goto, "chrome://crash", timeout=5000)
    return page


def close(page: Any) -> Steps[Any]:
    yield call(page.close)
    return page


class Entry(NamedTuple):
    """A page, and what is stored of it.

    Attributes:
        act: what happens before the step, after a first step if `is_known`. Returns the page that is recorded.
        marker: is in the stored HTML; None if there is no HTML.
        reasons: parts that are absent, and a part of the reason of each.
        without: is not in the stored HTML.
        hangs: the step takes as long as a step may take.
    """

    html: str | bytes = TEXT
    act: Callable[[Any], Steps[Any]] | None = None
    kind: str = "text/html; charset=utf-8"
    marker: str | None = MARKER
    has_image: bool = True
    reasons: dict[str, str] = {}  # noqa: RUF012 - a constant
    without: str = "secret-word"
    context: dict[str, Any] = {}  # noqa: RUF012
    options: dict[str, Any] = {}  # noqa: RUF012
    hangs: bool = False
    is_known: bool = False


NO_ANSWER = "the page gave no answer in"
HANGS: dict[str, Any] = {"hangs": True, "marker": None, "has_image": False}


def dialog(kind: str) -> dict[str, str]:
    why = f": a dialog ({kind}) waits for an answer"
    return {"html": why, "screenshot": why}


def shadow(mode: str, html: str) -> str:
    return f"<div id=host></div><script>host.attachShadow({{mode: '{mode}'}}).innerHTML = `{html}`</script>"


SLOW_FONT = f"<style>@font-face {{ font-family: f; src: url(/never) }} p {{ font-family: f }}</style>{TEXT}"
CORPUS: dict[str, Entry] = {
    "plain": Entry(),
    "open shadow root": Entry(shadow("open", TEXT)),
    "nested shadow roots": Entry(
        "<x-a></x-a><script>const make = (at, html) => { at.attachShadow({mode: 'open'}).innerHTML = html; return "
        f"at }}; make(make(document.querySelector('x-a'), '<x-b></x-b>').shadowRoot.firstChild, '{TEXT}')</script>"
    ),
    "closed shadow root": Entry(f"{TEXT}{shadow('closed', 'secret-word')}", script("document.scripts[0].remove()")),
    "frames in frames": Entry("<iframe src='/frame in frame'></iframe>"),
    "frame in frame": Entry("<p>x<iframe src='/plain'></iframe>"),
    "frame of another site": Entry("<iframe src='{other}/plain'></iframe>"),
    "frame in a closed shadow root": Entry(
        TEXT + shadow("closed", "<iframe src='/plain'></iframe>"), reasons={"frames": "closed shadow root"}
    ),
    "frame of srcdoc": Entry(f"<iframe srcdoc='{TEXT}'></iframe>"),
    "sandboxed frame": Entry("<iframe sandbox src='/plain'></iframe>"),
    "frame set": Entry(
        f"<html><head><title>{MARKER}</title></head><frameset><frame src='/plain'></frameset></html>",
        reasons={"frames": "not an iframe"},
    ),
    "frame that hangs": Entry(
        f"{TEXT}<iframe src='{{other}}/endless script'></iframe>",
        reasons={"frames": "the page gave no answer in 2 seconds"},
    ),
    "slow font": Entry(SLOW_FONT),
    "slow font and mask": Entry(SLOW_FONT, options={"mask": ["p"]}),
    "inputs": Entry(f"{TEXT}<input id=typed><textarea>x</textarea><select><option>a</select>", type_password),
    "password": Entry(f"{TEXT}<input type=password value=secret-word>"),
    "Shift_JIS": Entry(
        "<meta charset=shift_jis>日本語".encode("shift_jis"),
        kind="text/html",
        marker='charset="utf-8"></head><body>日本語',
        without="jis",
    ),
    "alert answered": Entry(f"{TEXT}<script>alert('x')</script>"),
    "alert": Entry(act=script("setTimeout(() => alert('x'))"), reasons=dialog("alert"), is_known=True, **HANGS),
    "confirm": Entry(act=script("setTimeout(() => confirm('x'))"), reasons=dialog("confirm"), is_known=True, **HANGS),
    "prompt, first step": Entry(act=script("setTimeout(() => prompt('x'))"), reasons={"html": NO_ANSWER}, **HANGS),
    "beforeunload": Entry(
        f"{TEXT}<script>onbeforeunload = event => event.preventDefault()</script>",
        leave_page,
        reasons=dialog("beforeunload"),
        is_known=True,
        **HANGS,
    ),
    "endless script": Entry(
        f"{TEXT}<script>setTimeout(() => {{ for (;;); }}, 50)</script>",
        reasons={"html": NO_ANSWER, "screenshot": NO_ANSWER},
        **HANGS,
    ),
    "endless navigation": Entry(
        act=script("location = '/never'"), reasons={"html": NO_ANSWER, "screenshot": NO_ANSWER}, **HANGS
    ),
    "popup": Entry("<p>opener", popup),
    "download": Entry(f"{TEXT}<a href='/plain' download>file</a>", download),
    "PDF in a page": Entry(f"{TEXT}<embed src='/PDF' type=application/pdf>", reasons={"frames": "/PDF: its element"}),
    "PDF": Entry(PDF, kind="application/pdf", marker="<!DOCTYPE html>", reasons={"frames": "its element"}),
    "canvas": Entry(f"{TEXT}<canvas id=c></canvas><script>c.getContext('2d').fillRect(0, 0, 99, 99)</script>"),
    "huge": Entry(TEXT + f"<p>{'some text in a row ' * 50}</p>" * 5_500),
    "right to left": Entry("<html dir=rtl lang=ar><p>مرحبا", marker="مرحبا"),
    "modal dialog": Entry(f"<dialog id=d>{TEXT}</dialog>", script("d.showModal()"), marker='data-recorded="modal"'),
    "popover": Entry(f"<div popover id=p>{TEXT}</div>", script("p.showPopover()"), marker='="popover-open"'),
    "details": Entry(f"<details id=d><summary>x</summary>{TEXT}</details>", script("d.open = true"), marker='open=""'),
    "no viewport": Entry(context={"no_viewport": True}),
    "device scale factor 2": Entry(context={"device_scale_factor": 2}),
    "scrolled": Entry(f"<div style='height: 9000px'></div>{TEXT}", script("scrollTo(0, 5000)")),
    "long, whole page": Entry(f"<div style='height: 15000px'></div>{TEXT}", options={"full_page": True}),
    "crashed page": Entry(
        act=crash, marker=None, has_image=False, reasons={"html": "crashed", "screenshot": "crashed"}
    ),
    "closed page": Entry(act=close, marker=None, has_image=False, reasons={"html": "closed", "screenshot": "closed"}),
    "SVG document": Entry(
        f"<svg xmlns='http://www.w3.org/2000/svg'><title>{MARKER}</title></svg>", kind="image/svg+xml"
    ),
    "XHTML": Entry(
        f"<html xmlns='http://www.w3.org/1999/xhtml'><body><p>{MARKER}<br/></p></body></html>",
        kind="application/xhtml+xml",
    ),
    "endless animation": Entry(
        f"<style>@keyframes k {{ to {{ translate: 99px }} }} p {{ animation: k 1s infinite }}</style>{TEXT}"
    ),
    "clock": Entry(
        f"{TEXT}<b id=b></b><script>setInterval(() => b.textContent = performance.now(), 5)</script>",
        script("0"),
    ),
    "video": Entry(f"{TEXT}<video src='/never' controls></video>"),
    "lazy images": Entry(f"{TEXT}<div style='height: 9000px'></div><img loading=lazy src='/never'>"),
    "template": Entry(f"<template>{TEXT}</template>"),
    "custom element": Entry(
        f"<x-a></x-a><script>customElements.define('x-a', class extends HTMLElement {{ connectedCallback() {{ "
        f"this.innerHTML = '{TEXT}' }} }})</script>",
    ),
    "trusted types": Entry(
        f"<meta http-equiv=Content-Security-Policy content=\"default-src 'self'; require-trusted-types-for 'script'\">"
        f"{TEXT}<dialog open>x</dialog><iframe src='/plain'></iframe>"
    ),
    "noscript": Entry(f"<noscript>{TEXT}</noscript>"),
}  # fmt: skip


class Pages(BaseHTTPRequestHandler):
    """Serves the corpus. `/never` gives no answer until the server ends."""

    over = threading.Event()

    def do_GET(self) -> None:
        name = self.path.strip("/").replace("%20", " ")
        if name == "never":
            self.over.wait()
            return
        entry = CORPUS.get(name, Entry())
        other, html = f"http://localhost:{self.server.server_address[1]}", entry.html
        body = html if isinstance(html, bytes) else html.replace("{other}", other).encode()
        self.send_response(200)
        self.send_header("content-type", entry.kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Print nothing."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *args: object) -> None:
        """Print nothing: a browser may leave while it is answered."""


@contextmanager
def served() -> Iterator[str]:
    """The address of the corpus."""
    Pages.over.clear()
    server = Server(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        Pages.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


class Seen(NamedTuple):
    """What was stored of a page."""

    data: StepData
    seconds: float
    problems: list[Any]

    @property
    def reasons(self) -> dict[str, str]:
        found: dict[str, str] = (self.data.metadata or {}).get("not_captured", {})
        return found

    def faults(self, entry: Entry, seconds: float) -> list[str]:
        """What is not as it should be. A step that hangs may take this long."""
        html = self.data.html
        found = {
            "html": html is None if entry.marker is None else entry.marker in (html or ""),
            "without": entry.without not in (html or ""),
            "screenshot": (self.data.screenshot is not None) is entry.has_image,
            "reasons": all(why in self.reasons.get(name, "") for name, why in entry.reasons.items()),
            "no others": bool(entry.reasons) or not self.reasons,
            "seconds": self.seconds < seconds + 0.5,
            "sealed": self.problems == [],
        }
        return [name for name, is_right in found.items() if not is_right]


ACTION = {"type": "look"}


def opened(page: Any, url: str, entry: Entry, step: Callable[[Any], Any]) -> Steps[Any]:
    """Open a page, and bring it into the state that is recorded."""
    yield call(page.goto, url, wait_until="domcontentloaded")
    if "<iframe" in str(entry.html) and "endless" not in str(entry.html):
        yield call(page.wait_for_load_state)
    yield call(page.wait_for_timeout, 100)
    if entry.is_known:
        yield call(step, page)
    return (yield from entry.act(page)) if entry.act else page


async def record_async(names: Iterable[str], base: str, chromium: str) -> dict[str, Seen]:
    """Record pages with the asynchronous recorder: those that hang at the same time, the others one after another."""
    seen: dict[str, Seen] = {}
    async with async_playwright() as playwright, StorageManager(local_base_path=base) as storage:
        browser = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)

        async def one(name: str, url: str) -> None:
            entry = CORPUS[name]
            context = await browser.new_context(**entry.context)
            async with record(storage, name.replace(" ", "_"), **entry.options) as recorder:
                page = await carry_out(opened(await context.new_page(), url, entry, recorder.step))
                started = time.monotonic()
                step_id = await recorder.step(page, ACTION)
                seconds = time.monotonic() - started
            data = await storage.retrieve_step_data(recorder.session_id, step_id)
            seen[name] = Seen(data, seconds, await verify_session(storage, recorder.session_id))
            if not entry.hangs:
                await context.close()

        with served() as root:
            await asyncio.gather(*(one(name, f"{root}/{name}") for name in names if CORPUS[name].hangs))
            for name in names:
                if not CORPUS[name].hangs:
                    await one(name, f"{root}/{name}")
        await browser.close()
    return seen


def record_sync(names: Iterable[str], base: str, chromium: str) -> dict[str, Seen]:
    """Record pages with the synchronous recorder."""
    seen: dict[str, Seen] = {}
    with sync_playwright() as playwright, sync.StorageManager(local_base_path=base) as storage, served() as root:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        for name in names:
            entry = CORPUS[name]
            context = browser.new_context(**entry.context)
            with sync.record(storage, name.replace(" ", "_"), **entry.options) as recorder:
                page = carry_out_now(opened(context.new_page(), f"{root}/{name}", entry, recorder.step))
                started = time.monotonic()
                step_id = recorder.step(page, ACTION)
                seconds = time.monotonic() - started
            data = storage.retrieve_step_data(recorder.session_id, step_id)
            seen[name] = Seen(data, seconds, sync.verify_session(storage, recorder.session_id))
            if not entry.hangs:
                context.close()
        browser.close()
    return seen


def main() -> None:
    """Print what is stored of each page, by both recorders."""
    chromium = shutil.which("chromium") or "chromium"
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        async_seen = asyncio.run(record_async(list(CORPUS), first, chromium))
        sync_seen = record_sync(list(CORPUS), second, chromium)
    print(f"{'page':30} {'stored':17} {'async':>6} {'sync':>6}  not captured, and why")
    for name, entry in CORPUS.items():
        both = (async_seen[name], sync_seen[name])
        stored = {part for part in ("html", "screenshot") for seen in both if getattr(seen.data, part) is not None}
        times = " ".join(f"{seen.seconds:6.2f}" for seen in both)
        why = {part: reason.partition("\n")[0] for seen in both for part, reason in seen.reasons.items()}
        changed = any((seen.data.metadata or {}).get("changed_during_capture") for seen in both)
        faults = [fault for seen in both for fault in seen.faults(entry, 10)]
        notes = [*(f"{part}: {reason}" for part, reason in why.items()), *(["marked as changed"] if changed else [])]
        notes += [f"WRONG: {fault}" for fault in faults]
        print(f"{name:30} {' '.join(sorted(stored)):17} {times}  {'; '.join(notes)}")


if __name__ == "__main__":
    main()
