"""A small trace that makes much work: what is made is charged to a budget, and a cancellation ends it.

Each of these traces is a few kilobytes of zip. The work was the product of two numbers that the trace chooses.
"""

import asyncio
import threading
import time
import traceback
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

from storage_manager import InvalidDataError, StorageManager
from storage_manager.importers import archive, parsing
from storage_manager.importers.budget import Budget
from storage_manager.importers.markup import MAX_URL, style_element, write_markup
from storage_manager.importers.playwright import _read
from storage_manager.importers.storing import check_source
from storage_manager.importers.trace_steps import Steps
from tests.support.traces import action, frame, header, imported, page, write_zip

MEGABYTE = "x" * 2**20


@pytest.fixture
def sm(tmp_path: Path) -> StorageManager:
    """A manager of an empty root."""
    return StorageManager(local_base_path=tmp_path / "base")


def read(path: Path) -> tuple[float, str]:
    """Read a trace as the importer does; return the CPU time of the thread, and why it was refused."""
    why, budget = "", Budget()
    started = time.thread_time()
    try:
        source = _read(False, str(path), budget)
        with closing(source):
            check_source(source, budget)
    except ValueError as error:
        why = str(error)
    return time.thread_time() - started, why


LONG = "n" * 200 + "correct-horse-battery-staple"


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({f"../{LONG}": b"x", "t.trace": page(["P"])}, f"the name '../{LONG}' leads out of the trace"),
        ({f"{LONG}.trace": b"{"}, f"{LONG}.trace, line 1: "),
        ({"t.trace": b"{}", "x" * 1025 + LONG: b"x"}, f"a name in it has {1025 + len(LONG)} characters"),
    ],
)
def test_a_name_is_quoted_whole_or_not_at_all(members: dict[str, bytes], why: str, tmp_path: Path) -> None:
    """It was cut to 80 characters, of which nobody could see that they were a part of a secret."""
    assert why in read(write_zip(tmp_path / "t.zip", members))[1]


@pytest.mark.parametrize("where", ["key", "name"])
async def test_a_refusal_quotes_no_secret(tmp_path: Path, where: str) -> None:
    """A key of the trace stood in the error of an import that masks it everywhere else."""
    params: object = []
    for _ in range(250):
        params = [params]
    params = {"hunter2": params}
    events = [header(), *action(1, params=params)] if where == "key" else b"{"
    path = write_zip(tmp_path / "t.zip", {"hunter2.trace" if where == "name" else "t.trace": events})
    sm = StorageManager(local_base_path=tmp_path / "base", redact=["hunter2"])
    with pytest.raises(InvalidDataError, match=r"cannot import .*\[redacted\]") as raised:
        await imported(sm, path)
    assert "hunter2" not in "".join(traceback.format_exception(raised.value)).replace("hunter2.trace", "")
    assert await sm.list_sessions() == []


async def test_blanks_in_an_animation(sm: StorageManager, tmp_path: Path) -> None:
    """A trace.zip of 600 bytes took 27 s, and held the interpreter."""
    path = write_zip(tmp_path / "t.zip", {"t.trace": page(["SVG", {}, ["SET", {"to": ":" + " " * 40_000}]])})
    assert path.stat().st_size < 1000
    seconds, why = read(path)
    assert (seconds < 4, why) == (True, "")
    [step] = await imported(sm, path)
    assert step.html
    assert " " * 40_000 in step.html


@pytest.mark.parametrize(
    "url", ["javascript:x", " \x00JAVAscript:x", "java\tscr\nip\rt:x", "vbscript:x", "\n j\navascript:"]
)
def test_urls_of_scripts_are_still_dropped(url: str) -> None:
    link = write_markup(["A", {"href": url, "title": "t"}], "", print_nothing).text
    values = write_markup(["SET", {"values": f"#a;{url}", "to": url}], "", print_nothing).text
    assert (link, values) == ('<A title="t"></A>', "<SET></SET>")


@pytest.mark.parametrize("url", ["http://x.test/javascript:x", "#a", "a:b", "java script:x"])
def test_other_urls_stay(url: str) -> None:
    assert write_markup(["A", {"href": url}], "", print_nothing).text == f'<A href="{url}"></A>'


def print_nothing(count: int) -> None:
    """Accept any cost."""


@pytest.mark.parametrize(
    ("css", "escaped"),
    [
        ("a</style>", "a\\3c /style>"),
        ("<!-- a <b <!doctype", "  a \\3c b \\3c !doctype"),
        ("@media (width <= 600px) and (9 < 5)", "@media (width <= 600px) and (9 < 5)"),
        ("a <", "a \\3c "),
    ],
)
def test_tags_in_css_are_escaped(css: str, escaped: str) -> None:
    assert write_markup(["STYLE", {}, css], "", print_nothing).text == f"<STYLE>{escaped}</STYLE>"


@pytest.mark.parametrize("base", [f"http://shop.test/{MEGABYTE}/", f"http://shop.test/{'x/' * 2**19}"])
def test_many_links_below_a_long_base(tmp_path: Path, base: str) -> None:
    """200 links times a URL of 1 MB took 6.6 s."""
    links = [["LINK", {"rel": "stylesheet", "href": f"{number}.css"}] for number in range(500)]
    events = page(["HEAD", {}, ["BASE", {"href": base}], *links])
    seconds, why = read(write_zip(tmp_path / "t.zip", {"t.trace": events}, zipfile.ZIP_STORED))
    assert (seconds < 4, why) == (True, "")


async def test_joined_urls_are_charged(sm: StorageManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a base that is just short enough: the URLs of all links together have a limit."""
    monkeypatch.setattr(archive, "MAX_EVENTS", 2**20)
    base = f"http://shop.test/{'x' * (MAX_URL - 100)}/"
    events = page(["HEAD", {}, ["BASE", {"href": base}], *[["LINK", {"rel": "stylesheet", "href": "a"}]] * 100])
    with pytest.raises(InvalidDataError, match=r"t.trace, line \d: the events up to here take more than 1048576 bytes"):
        await imported(sm, write_zip(tmp_path / "t.zip", {"t.trace": events}))
    assert await sm.list_sessions() == []


def test_many_children_of_a_long_name(tmp_path: Path) -> None:
    """The name was put into upper case for each child."""
    events = page([f"A{MEGABYTE}", {}, *[""] * 50_000])
    seconds, why = read(write_zip(tmp_path / "t.zip", {"t.trace": events}, zipfile.ZIP_STORED))
    assert (seconds < 3, why) == (True, "")


def test_a_long_file_name_of_every_action(tmp_path: Path) -> None:
    """The name was searched for `..` for each action."""
    cast = {**frame(1000)[0], "sha1": None, "file": "x" * 2**20}
    events = [header(), cast, *(event for number in range(300) for event in action(number))]
    seconds, why = read(write_zip(tmp_path / "t.zip", {"t.trace": events}, zipfile.ZIP_STORED))
    assert seconds < 3
    assert why.endswith("has 1048576 characters; the limit is 1024")


async def test_a_member_that_is_mostly_empty_blocks(sm: StorageManager, tmp_path: Path) -> None:
    """Deflate has blocks of no bytes. A member of one byte could take any time to decompress, for every action."""
    cast, name = frame(1001.6)
    path = write_zip(tmp_path / "t.zip", {"t.trace": [header(), *action(1), cast], name: b"y" * 5000}, 0)
    whole = path.read_bytes()
    assert whole.count((5000).to_bytes(4, "little") * 2) == 2
    path.write_bytes(whole.replace((5000).to_bytes(4, "little") * 2, b"\x88\x13\0\0" + b"\1\0\0\0"))
    with pytest.raises(InvalidDataError, match="more than twice its size in the zip"):
        await imported(sm, path)


def test_a_cancellation_is_seen_within_a_page() -> None:
    """At the next node, not at the end of a page of 32 MB."""
    nodes = 0

    def spend(count: int) -> None:
        nonlocal nodes
        nodes += 1
        if nodes == 10:
            raise ValueError("the import was cancelled")

    with pytest.raises(ValueError, match="the import was cancelled"):
        write_markup(["P", {}, *[["B", {}]] * 100_000], "", spend)
    assert nodes == 10


async def test_a_cancellation_is_seen_while_steps_are_stored(
    sm: StorageManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while a page is put together for the second time."""
    path = write_zip(tmp_path / "t.zip", {"t.trace": page(["P", {}, "x"])})
    budgets: list[Budget] = []
    building, whole = threading.Event(), Steps.data
    seen: list[bool] = []

    def slow(self: Steps, number: int) -> object:
        if not budgets:  # the first time is the check
            budgets.append(self._budget)
            return whole(self, number)
        building.set()
        seen.append(budgets[0].is_cancelled.wait(20))
        return whole(self, number)

    monkeypatch.setattr(Steps, "data", slow)
    task = asyncio.create_task(imported(sm, path))
    await asyncio.to_thread(building.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == [True]
    assert await sm.list_sessions() == []


# --- a line of very many values -------------------------------------------------------------------

TREES = {
    # 32 MB of each took 1 to 15 s in json.loads, in which nothing else ran
    "lists": '{"type":"x","x":[' + "[]," * 4_000_000 + "1]}",
    "objects": '{"type":"x","x":[' + "{}," * 4_000_000 + "1]}",
    "numbers": '{"type":"x","x":[' + "1.5," * 4_000_000 + "1]}",
    "names": '{"type":"x",' + ",".join(f'"{number:x}":""' for number in range(1_000_000)) + "}",
    "halves of pairs": '{"type":"x","x":[' + '"\\ud800",' * 1_000_000 + "1]}",
}


@pytest.mark.thorough
@pytest.mark.parametrize("kind", TREES)
async def test_a_line_of_many_values_holds_nobody(sm: StorageManager, tmp_path: Path, kind: str) -> None:
    path = write_zip(tmp_path / "t.zip", {"t.trace": TREES[kind] + "\n"}, zipfile.ZIP_STORED)
    importing, longest, begun = asyncio.create_task(imported(sm, path)), 0.0, time.monotonic()
    while time.monotonic() < begun + 2 and not importing.done():
        started = time.process_time()  # of the thread that parses too, and without what other processes take
        await asyncio.sleep(0.01)
        longest = max(longest, time.process_time() - started)
    importing.cancel()
    started = time.process_time()
    with pytest.raises((asyncio.CancelledError, InvalidDataError)):
        await importing
    assert longest < 4  # it held for 7 s
    assert time.process_time() - started < 6


@pytest.mark.thorough
async def test_a_page_of_many_values_is_imported(sm: StorageManager, tmp_path: Path) -> None:
    """By the other parser: with the same result."""
    cells = [["B", {"title": "\ud800" + "é\n"}, "1,2"] for _ in range(45_000)]
    path = write_zip(tmp_path / "t.zip", {"t.trace": page(["P", {}, *cells])})
    [step] = await imported(sm, path)
    assert step.html
    assert step.html.count('<B title="\ufffdé\n">1,2</B>') == 45_000


@pytest.mark.parametrize("line", ['{"a":1.5e3,"b":[true,null,"\\u00e9"],"c":{"d":{}}}', "[]", '{"a":-0,"a":2}'])
@pytest.mark.parametrize("more", ["", ' "\\ud800x"'])
def test_both_parsers_agree(monkeypatch: pytest.MonkeyPatch, line: str, more: str) -> None:
    text = f"[{line},{more or 1}]".encode()
    quick = parsing.parse_line(text, lambda: None)
    monkeypatch.setattr(parsing, "MAX_QUICK", 0)
    assert parsing.parse_line(text, lambda: None) == quick


@pytest.mark.parametrize(
    "line", ["[", "[1,]", '{"a"}', '{"a":1,}', "NaN", "[-Infinity]", "[" * 100_000, '"\n"', "[1]]"]
)
def test_both_parsers_refuse(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    for limit in (parsing.MAX_QUICK, 0):
        monkeypatch.setattr(parsing, "MAX_QUICK", limit)
        with pytest.raises((ValueError, RecursionError)):
            parsing.parse_line(line.encode(), lambda: None)


async def test_an_action_of_very_many_values(sm: StorageManager, tmp_path: Path) -> None:
    """Each step is encoded on the event loop."""
    events = [header(), *action(1, params={"x": [[]] * 200_000})]
    with pytest.raises(InvalidDataError, match=r"t.trace, line 2: the event has more than \d+ values"):
        await imported(sm, write_zip(tmp_path / "t.zip", {"t.trace": events}, zipfile.ZIP_STORED))


async def test_a_viewport_of_very_many_values(sm: StorageManager, tmp_path: Path) -> None:
    viewport = {"width": 800, "height": 600, **{f"x{number}": [] for number in range(1000)}}
    [step] = await imported(sm, write_zip(tmp_path / "t.zip", {"t.trace": page("x", viewport=viewport)}))
    assert step.metadata
    assert step.metadata["viewport"] == {"width": 800, "height": 600}


def test_a_node_of_very_many_attributes() -> None:
    with pytest.raises(ValueError, match="more than 10000 attributes"):
        write_markup(["P", dict.fromkeys(map(str, range(10_001)), "")], "", print_nothing)


@pytest.mark.parametrize("css", ["<" * 2**20, "<a" * 2**20])
def test_a_cancellation_is_seen_within_a_style_sheet(css: str) -> None:
    """32 MB took 13 s."""
    charged = 0

    def spend(count: int) -> None:
        nonlocal charged
        charged += 1
        if charged == 3:
            raise ValueError("the import was cancelled")

    for write in (lambda: style_element(css, spend), lambda: write_markup(["STYLE", {}, css], "", spend)):
        charged = 0
        with pytest.raises(ValueError, match="the import was cancelled"):
            write()
    assert charged == 3
