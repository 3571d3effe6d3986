"""The style sheets that a page linked, as the network log of the trace has them, are part of the page."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from storage_manager import InvalidDataError, StepData, StorageManager
from storage_manager.importers import snapshots, style_sheets
from storage_manager.importers.style_sheets import StyleSheets, Wanted
from tests.importers.test_snapshots import LINK
from tests.support.traces import Event, action, header, imported, page, snapshot, write_zip

SITE = "http://shop.test/"


def response(url: str, name: str, time: float = 0, key: str = "_sha1", **more: Any) -> Event:
    """An entry of the network log: a style sheet, which came with a cookie."""
    cookie = [{"name": "Cookie", "value": "hunter2"}]
    request = {"method": "GET", "url": url, "headers": cookie, "cookies": [{"name": "session", "value": "hunter2"}]}
    answer = {"status": 200, "headers": cookie, "content": {"mimeType": "text/css; charset=utf-8", key: name}, **more}
    entry = {"_monotonicTime": time, "request": request, "response": answer}
    return {"type": "resource-snapshot", "snapshot": entry}


async def page_of(tmp_path: Path, html: object, log: list[Event], sheets: dict[str, str], **more: Any) -> StepData:
    """Import a page of this trace; return the step."""
    members: dict[str, Any] = {"t.trace": page(html, doctype=None, **more), "t.network": log}
    members |= {f"resources/{name}": css for name, css in sheets.items()}
    [step] = await imported(StorageManager(local_base_path=tmp_path / "base"), write_zip(tmp_path / "t.zip", members))
    assert "hunter2" not in json.dumps([step.html, step.action, step.metadata])
    return step


@pytest.mark.parametrize(("key", "name"), [("_sha1", "1.css"), ("_file", "resources/1.css")])
async def test_a_link_becomes_the_sheet(tmp_path: Path, key: str, name: str) -> None:
    log = [response(f"{SITE}s.css", name, key=key)]
    step = await page_of(tmp_path, LINK, log, {"1.css": "\ufeffp { color: red } </style>"})
    assert step.html == "<style>p { color: red } \\3c /style></style>"
    assert "not_captured" not in (step.metadata or {})


@pytest.mark.parametrize(
    "more",
    [
        {"status": 304},
        {"status": 404},
        {"status": -1},
        {"content": {"mimeType": "text/html", "_sha1": "1.css"}},
        {"content": {"mimeType": "text/css"}},
    ],
)
async def test_what_is_not_a_style_sheet_is_not_used(tmp_path: Path, more: dict[str, Any]) -> None:
    step = await page_of(tmp_path, LINK, [response(f"{SITE}s.css", "1.css", **more)], {"1.css": "p {}"})
    assert step.html == '<LINK rel="stylesheet" href="s.css">'


async def test_the_sheet_of_another_url_is_not_used(tmp_path: Path) -> None:
    log = [response(f"{SITE}a/s.css", "1.css"), response(f"{SITE}s.css?2", "1.css")]
    step = await page_of(tmp_path, LINK, log, {"1.css": "p {}"})
    assert step.html == '<LINK rel="stylesheet" href="s.css">'


@pytest.mark.parametrize("href", ["s é.css#x", "/s%20%C3%A9.css", "./a/../s%20é.css", f"{SITE}s é.css"])
async def test_urls_are_compared_as_browsers_request_them(tmp_path: Path, href: str) -> None:
    link = ["LINK", {"rel": "stylesheet", "href": href}]
    step = await page_of(tmp_path, link, [response(f"{SITE}s%20%C3%A9.css", "1.css")], {"1.css": "p {}"})
    assert step.html == "<style>p {}</style>"


@pytest.mark.parametrize(
    ("attributes", "html"),
    [
        ({"media": 'print and (width > "1'}, '<style media="print and (width &gt; &quot;1">p {}</style>'),
        ({"disabled": ""}, '<LINK rel="stylesheet" href="s.css" disabled="">'),
        ({"rel": "alternate stylesheet"}, '<LINK rel="alternate stylesheet" href="s.css">'),
    ],
)
async def test_attributes_of_a_link(tmp_path: Path, attributes: dict[str, str], html: str) -> None:
    link = ["LINK", {"rel": "stylesheet", "href": "s.css", **attributes}]
    step = await page_of(tmp_path, link, [response(f"{SITE}s.css", "1.css")], {"1.css": "p {}"})
    assert step.html == html


async def test_a_sheet_that_is_logged_and_not_there_is_named(tmp_path: Path) -> None:
    step = await page_of(tmp_path, LINK, [response(f"{SITE}s.css", "1.css")], {})
    assert step.html == '<LINK rel="stylesheet" href="s.css">'
    assert (step.metadata or {})["not_captured"] == {"style_sheets": "resources/1.css: not in the trace"}


async def test_what_scripts_changed_counts_more_than_the_log(tmp_path: Path) -> None:
    override = [{"url": f"{SITE}s.css", "sha1": "2.css"}]
    log = [response(f"{SITE}s.css", "1.css")]
    step = await page_of(tmp_path, LINK, log, {"1.css": "p {}", "2.css": "b {}"}, resourceOverrides=override)
    assert step.html == "<style>b {}</style>"


async def test_the_response_that_came_last_before_the_snapshot(tmp_path: Path) -> None:
    log = [response(f"{SITE}s.css", f"{number}.css", number * 10) for number in (3, 1, 2)]
    shots = [snapshot(f"after@call@{number}", LINK, doctype=None, timestamp=time) for number, time in
             ((1, 5), (2, 15), (3, 25), (4, 99))]  # fmt: skip
    events = [header(), *(event for number in (1, 2, 3, 4) for event in action(number)), *shots]
    members: dict[str, Any] = {"t.trace": events, "t.network": log}
    members |= {f"resources/{number}.css": f"p{number} {{}}" for number in (1, 2, 3)}
    steps = await imported(StorageManager(local_base_path=tmp_path / "base"), write_zip(tmp_path / "t.zip", members))
    assert [step.html for step in steps] == [f"<style>p{number} {{}}</style>" for number in (1, 1, 2, 3)]


@pytest.mark.parametrize(
    ("css", "expected"),
    [
        ("url(../i.png)", 'url("http://shop.test/i.png")'),
        ("URL( 'i.png' )", 'url("http://shop.test/css/i.png")'),
        ('url("a(1).png")', 'url("http://shop.test/css/a(1).png")'),
        ("url(//cdn.test/i.png)", 'url("http://cdn.test/i.png")'),
        ("url(?q)", 'url("http://shop.test/css/s.css?q")'),
        ("url(data:image/png;base64,AA)", "url(data:image/png;base64,AA)"),
        ("url('https://x.test/i')", "url('https://x.test/i')"),
        ("url(#gradient)", "url(#gradient)"),
        ("url()", "url()"),
        ("url(", "url("),
        ("url(a\\29 b)", "url(a\\29 b)"),
        ("url(http://[1)", "url(http://[1)"),
        ("url(//[1)", 'url("//[1")'),
    ],
)
async def test_urls_in_a_sheet_are_relative_to_it(tmp_path: Path, css: str, expected: str) -> None:
    link = ["LINK", {"rel": "stylesheet", "href": "css/s.css"}]
    log = [response(f"{SITE}css/s.css", "1.css")]
    step = await page_of(tmp_path, link, log, {"1.css": f"p {{ background: {css} }}"})
    assert step.html == f"<style>p {{ background: {expected} }}</style>"


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("@import 'a/more.css';", '\nb { background: url("http://shop.test/a/i") }'),
        ('@IMPORT  url("a/more.css");', '\nb { background: url("http://shop.test/a/i") }'),
        ("@import url(a/more.css) print;", '\n@media print {\nb { background: url("http://shop.test/a/i") }\n}'),
        ("/* x */ @charset 'utf-8'; @import/**/'a/more.css';", '\nb { background: url("http://shop.test/a/i") }'),
        ("@import url(//cdn.test/f?a;b);", '@import url("http://cdn.test/f?a;b");'),
        ("@import 'a/more.css' layer(x);", '@import url("http://shop.test/a/more.css") layer(x);'),
        ("@import 'a/more.css'", None),
        ("@import a;", None),
        ("@import 'a\"b';", None),
    ],
)
async def test_imported_sheets_come_first(tmp_path: Path, rule: str, expected: str | None) -> None:
    log = [response(f"{SITE}s.css", "1.css"), response(f"{SITE}a/more.css", "2.css")]
    sheets = {"1.css": f"{rule}p {{}}", "2.css": "b { background: url(i) }"}
    step = await page_of(tmp_path, LINK, log, sheets)
    html = f"{expected}\np {{}}".lstrip("\n") if expected else f"{rule}p {{}}"
    assert step.html == f"<style>{html}</style>"


async def test_a_sheet_that_imports_itself(tmp_path: Path) -> None:
    step = await page_of(tmp_path, LINK, [response(f"{SITE}s.css", "1.css")], {"1.css": "@import 's.css';p {}"})
    assert (step.html or "").count("p {}") == 6


def never(size: int) -> None:
    """Accept any cost."""


async def test_sheets_count_as_the_page_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of many sheets, of many imports or of many URLs below a long one is too large."""
    monkeypatch.setattr(snapshots, "MAX_HTML", 2**20)
    url = SITE + "x" * 10_000
    for css, href, links in (
        ("p {}" * 2**16, "s.css", 5),
        ("@import 's.css';" * 1000, "s.css", 1),
        ("a{b:url(a)}" * 200, url, 1),
    ):
        link = ["LINK", {"rel": "stylesheet", "href": href}]
        log = [response(f"{SITE}s.css", "1.css"), response(url, "1.css")]
        with pytest.raises(InvalidDataError, match="a page has more than 1048576 characters"):
            await page_of(tmp_path, ["HEAD", {}, *[link] * links], log, {"1.css": css})


@pytest.mark.parametrize(
    "css",
    ["url(", 'url("', "url( ", "@import ", "@import '", "@import url(", "/*", "/**/", " ", "@import 'x';", "url(a)"],
)
def test_the_time_grows_as_the_sheet_does(css: str) -> None:
    class Held:
        """Holds one sheet."""

        def read(self, name: str) -> bytes:
            return (css * (2**18 // len(css))).encode()

    sheets = StyleSheets(Held())  # type: ignore[arg-type]
    started = time.thread_time()
    sheets.css(Wanted(f"{SITE}s.css", "1.css", 0), never)
    assert time.thread_time() - started < 3


@pytest.mark.parametrize("css", ["url(#)", "url(a)", "@import 'x';"])
def test_a_cancellation_is_seen_within_a_sheet(css: str) -> None:
    class Held:
        """Holds one sheet."""

        def read(self, name: str) -> bytes | None:
            return css.encode() * 5000 if name == "1.css" else None

    charged = 0

    def charge(size: int) -> None:
        nonlocal charged
        charged += 1
        if charged == 4:
            raise ValueError("the import was cancelled")

    with pytest.raises(ValueError, match="the import was cancelled"):
        StyleSheets(Held()).css(Wanted(f"{SITE}s.css", "1.css", 0), charge)  # type: ignore[arg-type]


async def test_a_broken_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataError, match=r"t.network, line 1: 'request' must be a dict"):
        await page_of(tmp_path, LINK, [{"type": "resource-snapshot", "snapshot": {"request": []}}], {})


async def test_few_sheets_are_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style_sheets, "_MAX_SHEETS", 1)
    links = [["LINK", {"rel": "stylesheet", "href": f"{number}.css"}] for number in range(3)]
    log = [response(f"{SITE}{number}.css", f"{number}.css") for number in range(3)]
    sheets = {f"{number}.css": f"p{number} {{}}" for number in range(3)}
    step = await page_of(tmp_path, ["HEAD", {}, *links, *links], log, sheets)
    styles = "".join(f"<style>p{number} {{}}</style>" for number in range(3))
    assert step.html == f"<HEAD>{styles * 2}</HEAD>"
