"""The list of sessions: what a row tells, and searching, filtering and sorting with a catalogue and without one."""

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import duckdb
import pyarrow as pa
import pytest
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.async_api import Browser, Page, expect

from storage_manager import StorageManager, StorageManagerError
from storage_manager.catalog import update_catalog
from storage_manager.catalog.columns import COLUMNS
from storage_manager.session_fields import arrow_types
from storage_manager.viewer import catalogue, create_app, metadata, serve, sessions, summary
from storage_manager.viewer.catalogue import condition_of, order_of
from storage_manager.viewer.list_query import OUTCOMES, SORTS, ListQuery, parse_query
from storage_manager.viewer.metadata import MetadataText
from storage_manager.viewer.summary import SessionMetadata, size_text
from tests.support.roots import Make, Request
from tests.support.viewed import BREAKING, PNG
from tests.viewer.test_axe import axe, has_no_fault  # noqa: F401 - a fixture

Client = Callable[..., Awaitable[TestClient[Any, Any]]]
EVIL = "\u202e<b onclick=pwned=1>\u2066" + BREAKING
NOW = datetime(2026, 11, 30, 12, tzinfo=timezone.utc)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A client of the viewer of a root."""
    async with AsyncExitStack() as stack:

        async def connect(sm: StorageManager) -> TestClient[Any, Any]:
            return await stack.enter_async_context(TestClient(TestServer(create_app(sm))))

        yield connect


@pytest.fixture
def local(tmp_path: Path) -> StorageManager:
    """An empty root on local disk."""
    return StorageManager.from_url(f"{tmp_path}/base")


ABOUT: dict[str, dict[str, Any]] = {
    "run-a": {"goal": "Buy green tea", "outcome": "success", "tags": ["nightly", "v 2"], "model": "m-1"},
    "run-b": {"goal": "Buy 100% 'real' tea_", "outcome": "failure", "start_url": "https://Shop.test:81/x"},
    "run-c": {"goal": EVIL, "title": "A <i>title</i>", "outcome": "strange", "tags": ["nightly", "x" * 3000]},
}


async def fill(sm: StorageManager) -> None:
    """Four sessions: three with metadata, the first of which is the oldest."""
    for number, (name, about) in enumerate(ABOUT.items()):
        started = (NOW + timedelta(hours=number)).isoformat()
        await sm.store_session_metadata(name, {**about, "started_at": started})
        for step in range(3 - number):
            await sm.store_step_data(name, f"step_{step}", screenshot_bytes=None if step > 1 else PNG, action_data={})
    await sm.store_step_data("run-d", "step_0", metadata={"url": "https://deep.test/"})


async def listed(web: TestClient[Any, Any], path: str) -> tuple[list[str], str]:
    """The sessions on a page of the list, and its text."""
    answer = await web.get(path)
    text = await answer.text()
    assert answer.status == 200, text
    return re.findall(r'data-session="([^"]*)"', text), text


# --- what is asked for ---


@pytest.mark.parametrize(
    "query",
    [
        ListQuery(),
        ListQuery("two words", outcome="error", tag="a & b", host="x.test"),
        ListQuery(sort="steps", page=7),
        ListQuery(sort="session_id", is_descending=False),
        ListQuery("x", after="run-1", is_by_id=True),
        ListQuery(is_last=True),
    ],
)
def test_a_link_leads_to_what_it_is_for(query: ListQuery) -> None:
    link = query.link(page=query.page, after=query.after, is_last=query.is_last)
    assert parse_query(dict(parse_qsl(link.removeprefix("/?"), keep_blank_values=True))) == query


def test_a_second_click_turns_the_order_round() -> None:
    assert "sort=steps&order=desc" in ListQuery().sort_link("steps")
    assert "sort=steps&order=asc" in ListQuery(sort="steps").sort_link("steps")
    assert "sort=session_id&order=asc" in ListQuery().sort_link("session_id")
    assert ListQuery(sort="started_at", is_descending=False).sort_link("started_at") == "/?q="


@pytest.mark.parametrize(
    "query", ["sort=goal;--", "order=up", "outcome=x", "page=0", "page=-1", "page=1e9", "page=99999999", "after=../up"]
)
async def test_values_that_are_refused(local: StorageManager, client: Client, query: str) -> None:
    assert (await (await client(local)).get(f"/?{query}")).status == 400


def test_what_is_typed_is_bounded() -> None:
    query = parse_query({"q": "\0a\ud800b " + "word " * 1000, "tag": "x" * 1000})
    assert (len(query.text) <= 128, len(query.words), len(query.tag), query.words[0]) == (True, 8, 128, "ab")


# --- one row ---


async def test_what_a_row_tells(sm: StorageManager, client: Client) -> None:
    await fill(sm)
    web = await client(sm)
    rows = {name: await (await web.get(f"/api/sessions/{name}")).json() for name in (*ABOUT, "run-d", "run-none")}
    row = rows["run-a"]
    assert (row["steps"], row["screenshot"], row["outcome"], row["goal"]) == (3, "step_1", "success", "Buy green tea")
    assert (row["tags"], row["model"], row["started_at"]) == (["nightly", "v 2"], "m-1", NOW.isoformat())
    assert rows["run-b"]["hosts"] == ["shop.test"]
    assert (rows["run-c"]["title"], rows["run-c"]["goal"]) == ("A <i>title</i>", EVIL)
    assert rows["run-c"]["tags"] == ["nightly", "x" * 59 + "…"]
    assert (rows["run-d"]["goal"], rows["run-d"]["screenshot"], rows["run-d"]["unreadable"]) == (None, None, None)
    assert (rows["run-none"]["steps"], rows["run-none"]["modified"]) == (0, None)


async def test_texts_are_cut(local: StorageManager, client: Client) -> None:
    long = {"goal": "g" * 10**6, "outcome": "o" * 999, "model": "m" * 999, "title": "t" * 999, "tags": ["t" * 999] * 99}
    await local.store_session_metadata("run-1", {**long, "start_url": f"https://{'h' * 300}/"})
    row = await (await (await client(local)).get("/api/sessions/run-1")).json()
    assert row["goal"] == "g" * 299 + "…"
    assert (len(row["outcome"]), len(row["model"])) == (60, 60)
    assert (len(row["tags"]), len(row["tags"][0]), len(row["title"]), row["hosts"]) == (10, 60, 300, [])
    assert len(json.dumps(row)) < 3000


@pytest.mark.parametrize("data", [b"no JSON", b"[1]", b"\xff", b"[" * 100_000, b" " * 4_000_001, None])
async def test_metadata_that_cannot_be_read(local: StorageManager, client: Client, data: bytes | None) -> None:
    path = Path(await local.store_session_metadata("run-1", {}))
    path.unlink()
    path.mkdir() if data is None else path.write_bytes(data)
    (path / "file.txt").write_text("x") if data is None else None
    row = await (await (await client(local)).get("/api/sessions/run-1")).json()
    assert (row["goal"], bool(row["unreadable"])) == (None, data is not None)


async def test_a_large_screenshot_is_no_thumbnail(
    local: StorageManager, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        await local.store_step_data("run-1", f"step_{number}", screenshot_bytes=PNG * (1 if number == 1 else 3))
    await local.store_attachments("run-1", {"screenshot.jpg": PNG}, "step_9")
    monkeypatch.setattr(summary, "MAX_THUMBNAIL", len(PNG))
    assert (await (await (await client(local)).get("/api/sessions/run-1")).json())["screenshot"] == "step_1"


async def test_a_row_on_s3_costs_a_list_and_the_metadata_if_there_is_any(
    moto: Make, client: Client, moto_requests: list[Request]
) -> None:
    sm = moto()
    await fill(sm)
    web = await client(sm)
    for name, number in (("run-a", 2), ("run-d", 1)):
        moto_requests.clear()
        await web.get(f"/api/sessions/{name}")
        assert [request.method for request in moto_requests] == ["GET"] * number
    await sm.aclose()


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12_345, "12 kB"), (5e12, "5.0 TB"), (5e15, "5000 TB")],
)
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text


# --- without a catalogue ---

SEARCHES = [
    ("q=TEA", "ab"),
    ("q=tea+failure", "b"),
    ("q=run-a", "a"),
    ("q=nightly", "ac"),
    ("q=title", "c"),
    ("q=onclick", "c"),
    ("q=shop.test", "b"),
    ("q=100%25+'real'", "b"),
    ("q=tea_", "b"),
    ("q=%25", "b"),
    ("q=' or ''='", ""),
    ("q=green'tea", ""),
    ("outcome=failure", "b"),
    ("outcome=cancelled", ""),
    ("tag=nightly", "ac"),
    ("tag=v+2", "a"),
    ("tag=night", ""),
    ("host=shop.test", "b"),
    ("tag=nightly&outcome=success&q=green", "a"),
]


@pytest.mark.parametrize(("query", "names"), SEARCHES)
async def test_searching_the_metadata(local: StorageManager, client: Client, query: str, names: str) -> None:
    await fill(local)
    rows, text = await listed(await client(local), f"/?{query}")
    assert "".join(name[-1] for name in rows) == names
    assert "searched the metadata" not in text


async def test_nothing_found_and_nothing_there(local: StorageManager, client: Client) -> None:
    web = await client(local)
    assert "No sessions here yet." in (await listed(web, "/"))[1]
    told = "No session contains <q>&lt;b&gt;</q> in its id, goal, outcome, tags, site or title."
    assert told in (await listed(web, "/?q=<b>"))[1]
    assert "No session fits." in (await listed(web, "/?tag=x"))[1]


async def test_more_sessions_than_a_search_reads(
    local: StorageManager, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "_CHUNK", 3)
    await fill(local)
    await local.store_session_metadata("run-e", {"goal": "tea", "tags": ["nightly"]})
    web = await client(local)
    rows, text = await listed(web, "/?q=tea")
    assert (rows, "searched the metadata of the first 3 sessions" in text) == (["run-a", "run-b"], True)
    assert (await listed(web, "/?tag=nightly"))[0] == ["run-a", "run-c"]
    assert (await listed(web, "/?tag=nightly&last"))[0] == ["run-a", "run-c"]
    rows, text = await listed(web, "/?q=run")
    assert rows == [f"run-{letter}" for letter in "abcde"]
    told = "No session contains <q>zzzz</q> in its id or in the metadata that was searched."
    assert told in (await listed(web, "/?q=zzzz"))[1]
    assert "searched the metadata" not in (await listed(web, "/"))[1]


async def test_exactly_as_many_sessions_as_a_search_reads(
    local: StorageManager, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "_CHUNK", 4)
    await fill(local)
    assert "searched the metadata" not in (await listed(await client(local), "/?q=tea"))[1]


async def test_what_cannot_be_read_is_counted(local: StorageManager, client: Client) -> None:
    await fill(local)
    for name in ("run-a", "run-c"):
        Path(local.url_for(name), "_session.json").write_text("no JSON")
    rows, text = await listed(await client(local), "/?q=tea")
    assert (rows, "the metadata of 2 cannot be read" in text) == (["run-b"], True)


async def test_a_search_ends_in_time_and_continues(
    local: StorageManager, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second search finds what the first one has read, and reads the rest."""
    await fill(local)
    gate, read = asyncio.Event(), metadata.read_metadata

    async def waits(storage: StorageManager, session_id: str) -> SessionMetadata | None:
        if session_id == "run-b":
            await gate.wait()
        return await read(storage, session_id)

    monkeypatch.setattr(metadata, "read_metadata", waits)
    monkeypatch.setattr(sessions, "SEARCH_SECONDS", 0.2)
    web = await client(local)
    rows, text = await asyncio.wait_for(listed(web, "/?q=tea"), 30)
    assert rows == ["run-a"]
    assert "searched the metadata of the first 1 sessions" in text
    assert 'href="/?q=tea">search more' in text
    gate.set()
    monkeypatch.setattr(sessions, "SEARCH_SECONDS", 60)
    rows, text = await listed(web, "/?q=tea")
    assert (rows, "searched the metadata" in text) == (["run-a", "run-b"], False)


async def test_sixteen_files_at_a_time_and_each_once(
    local: StorageManager, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        (Path(local.url_for()) / f"run-{number:02}").mkdir(parents=True)
    running, most, read = 0, 0, list[str]()

    async def counted(storage: StorageManager, session_id: str) -> SessionMetadata | None:
        nonlocal running, most
        running, read[len(read) :] = running + 1, [session_id]
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return SessionMetadata(goal="tea")

    monkeypatch.setattr(metadata, "read_metadata", counted)
    monkeypatch.setattr(metadata, "KEPT_TIMES", 1e9)
    web = await client(local)
    answers = await asyncio.gather(*(listed(web, f"/?q={word}") for word in ("tea", "te", "t")))
    assert [len(rows) for rows, _ in answers] == [40, 40, 40]
    assert (most, sorted(read)) == (16, sorted(set(read)))
    monkeypatch.setattr(metadata, "KEPT_TIMES", 0)
    monkeypatch.setattr(metadata, "KEPT_SECONDS", 0)
    await listed(web, "/?q=tea")
    assert len(read) == 80


async def test_pages_of_a_search_in_the_metadata(
    local: StorageManager, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "PAGE", 2)
    for number in range(9):
        await local.store_session_metadata(f"run-{number}", {"goal": "tea" if number % 2 else "", "tags": ["odd"]})
    web = await client(local)
    for query in ("q=tea", "q=tea&tag=odd"):
        seen, path = [], f"/?{query}"
        while True:
            rows, text = await listed(web, path)
            seen.append(rows)
            if not (link := re.search(r'rel="next" href="([^"]*)"', text)):
                break
            path = link[1].replace("&amp;", "&")
        assert seen == [["run-1", "run-3"], ["run-5", "run-7"]]
        assert "3–4\n    of 4" in text
        assert (await listed(web, f"/?{query}&last"))[0] == seen[-1]


# --- with a catalogue ---

LETTERS = st.text(st.sampled_from("aA1é€'\"\\%_;-*/()[]{}$:\n\t\u202e\u2066😀 "), max_size=12)


@pytest.fixture(scope="module")
def table() -> duckdb.DuckDBPyConnection:
    """A table with the columns of the catalogue."""
    connection = duckdb.connect(":memory:")
    rows = [
        {"session_id": f"run-{number}", "goal": goal, "tags": [goal] if goal else None, "hosts": [goal, "x"]}
        for number, goal in enumerate(["aA1é€", "'", "''", '"', "\\", "%", "_", "a'--", "\u202ea", "😀;", "", "{a}$1"])
    ]
    rows[3] |= {"metadata": '{"title": "a title"}', "outcome": "error"}
    rows[4] |= {"metadata": "no JSON", "outcome": "success"}
    schema = pa.schema(list(arrow_types(pa, COLUMNS).items()))
    connection.register("catalog", pa.Table.from_pylist(rows, schema=schema))
    return connection


@settings(max_examples=60, deadline=None)
@given(query=LETTERS, tag=LETTERS, host=LETTERS, outcome=st.sampled_from(["", *OUTCOMES]))
def test_a_condition_means_what_was_typed(
    table: duckdb.DuckDBPyConnection, query: str, tag: str, host: str, outcome: str
) -> None:
    """DuckDB finds what Python finds, so no text becomes anything but a text."""
    rows = table.sql("SELECT * FROM catalog").to_arrow_table().to_pylist()
    for typed in ({"q": query}, {"tag": tag}, {"host": host}, {"q": query, "outcome": outcome, "tag": tag}):
        parsed = parse_query(typed)
        condition = condition_of(parsed)
        duckdb.SQLExpression(condition)  # one expression, and nothing after it
        matches = table.execute(f"SELECT session_id FROM catalog WHERE {condition}").fetchall()
        expected = {row["session_id"] for row in rows if metadata_text(row).matches(parsed, row["session_id"])}
        assert {session_id for (session_id,) in matches} == expected


def test_every_order_is_one(table: duckdb.DuckDBPyConnection) -> None:
    for sort in SORTS:
        order = order_of(ListQuery(sort=sort))
        assert len(table.execute(f"SELECT session_id FROM catalog ORDER BY {order}").fetchall()) == 12


def metadata_text(row: dict[str, Any]) -> MetadataText:
    title = "a title" if "title" in (row["metadata"] or "") else None
    tags, hosts = tuple(row["tags"] or ()), tuple(row["hosts"] or ())
    found = SessionMetadata(title, row["goal"], row["outcome"], None, tags, hosts)
    return MetadataText(found.searched(), found.outcome or "", tags, hosts)


class Finder:
    """Takes the place of find_sessions, and writes down the conditions."""

    def __init__(self, sm: StorageManager, number: int = 0) -> None:
        log = Path(sm.url_for()) / "_catalog" / "_delta_log"
        log.mkdir(parents=True)
        self.version = log / "00000000000000000000.json"
        self.version.write_text("{}")
        self.number = number
        self.asked: list[tuple[str, str]] = []
        self.error: StorageManagerError | None = None

    async def __call__(self, sm: StorageManager, where: str, *, order_by: str, limit: int) -> list[dict[str, Any]]:
        self.asked.append((where, order_by))
        if self.error:
            raise self.error
        start = int(re.findall(r"OFFSET (\d+)\)$", where)[0])
        return [
            {
                **dict.fromkeys(COLUMNS),
                "session_id": f"run-{n}",
                "steps": n,
                "bytes": n,
                "goal": EVIL * 50,
                "tags": ["t"],
            }
            for n in range(start, min(self.number, start + limit))
        ]


@pytest.fixture
def finder(local: StorageManager, monkeypatch: pytest.MonkeyPatch) -> Finder:
    """A catalogue of 250 sessions that is no table."""
    finder = Finder(local, 250)
    monkeypatch.setattr(catalogue, "find_sessions", finder)
    return finder


async def test_pages_and_order(local: StorageManager, client: Client, finder: Finder) -> None:
    web = await client(local)
    rows, text = await listed(web, "/")
    assert (len(rows), rows[0], "1–100\n    and more" in text) == (100, "run-0", True)
    assert 'rel="next" href="/?q=&amp;page=2"' in text
    assert "Previous" not in text
    assert finder.asked[0][1] == "coalesce(started_at, last_modified) DESC NULLS LAST"
    assert (
        '<th scope="col" class="started" aria-sort="descending"><a href="/?q=&amp;sort=started_at&amp;order=asc">'
        in text
    )
    rows, text = await listed(web, "/?sort=steps&order=asc&page=3&q=x")
    assert (len(rows), rows[0], "201–250\n    of 250" in text) == (50, "run-200", True)
    assert 'rel="prev" href="/?q=x&amp;sort=steps&amp;order=asc&amp;page=2"' in text
    assert "Next" not in text
    assert finder.asked[1][1] == "steps ASC NULLS LAST"
    assert '<input type="hidden" name="sort" value="steps">' in text
    assert "No sessions on this page." in (await listed(web, "/?page=4"))[1]


async def test_rows_of_the_catalogue_are_escaped_and_cut(local: StorageManager, client: Client, finder: Finder) -> None:
    _, text = await listed(await client(local), "/")
    assert "<b onclick" not in text
    assert "&lt;b onclick" in text
    assert len(text) < 300_000  # of 100 goals with 6,000 characters each
    assert 'data-filter="tag" href="/?q=&amp;tag=t">t</a>' in text


async def test_too_many_queries_are_refused(
    local: StorageManager, client: Client, finder: Finder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "MAX_QUERIES", 0)
    async with (await client(local)).get("/", headers={"Accept": "text/html"}) as answer:
        assert (answer.status, "Try again in a moment" in await answer.text()) == (503, True)
    assert finder.asked == []


async def test_a_page_is_kept_until_the_catalogue_changes(
    local: StorageManager, client: Client, finder: Finder
) -> None:
    web = await client(local)
    for path in ("/", "/?q=a", "/", "/?q=a", "/?q=A "):
        await listed(web, path)
    assert len(finder.asked) == 3
    finder.version.with_name("00000000000000000001.json").write_text("{}")
    await listed(web, "/")
    assert len(finder.asked) == 4
    for number in range(catalogue.KEPT + 1):
        await listed(web, f"/?q={number}")
    await listed(web, "/")
    assert len(finder.asked) == 4 + catalogue.KEPT + 2


async def test_one_query_at_a_time(
    local: StorageManager, client: Client, finder: Finder, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = most = 0

    async def counted(*args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return await finder(*args, **kwargs)

    monkeypatch.setattr(catalogue, "find_sessions", counted)
    web = await client(local)
    await asyncio.gather(*(listed(web, f"/?q={number}") for number in range(5)))
    assert (most, len(finder.asked)) == (1, 5)


async def test_when_it_was_changed_and_how_to_see_all_sessions(
    local: StorageManager, client: Client, finder: Finder
) -> None:
    os.utime(finder.version, (NOW.timestamp(), NOW.timestamp()))
    (Path(local.url_for()) / "new-1").mkdir()
    web = await client(local)
    rows, text = await listed(web, "/")
    assert ("new-1" in rows, f'<time datetime="{NOW.isoformat()}">2026-11-30 12:00</time>' in text) == (False, True)
    assert 'href="/?q=&amp;by=id">all sessions by id' in text
    rows, text = await listed(web, "/?by=id")
    assert (rows, 'href="/?q=">newest first' in text, "aria-sort" in text) == (["new-1"], True, False)
    assert len(finder.asked) == 1
    assert (await listed(web, "/?after=a"))[0] == ["new-1"]


async def test_what_cannot_be_used_is_told_and_the_list_is_by_id(
    local: StorageManager, client: Client, finder: Finder
) -> None:
    await local.store_session_metadata("run-1", {"goal": "tea"})
    finder.error = StorageManagerError("cannot open it: " + EVIL + "x" * 9999)
    rows, text = await listed(await client(local), "/?q=tea&sort=steps&page=3")
    assert rows == ["run-1"]
    assert "By id, because the catalogue cannot be used: cannot open it" in text
    assert "<b onclick" not in text
    assert len(text) < 12_000


async def test_without_duckdb(local: StorageManager, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    Finder(local)
    (Path(local.url_for()) / "run-1").mkdir()
    monkeypatch.setitem(sys.modules, "duckdb", None)
    rows, text = await listed(await client(local), "/")
    assert (rows, "duckdb is not installed: pip install" in text) == (["run-1"], True)


@pytest.mark.thorough
async def test_a_real_catalogue(local: StorageManager, client: Client) -> None:
    await fill(local)
    await update_catalog(local)
    web = await client(local)
    rows, text = await listed(web, "/")
    assert rows[-3:] == ["run-c", "run-b", "run-a"]  # run-d has no start: it is as old as its files
    assert "A &lt;i&gt;title&lt;/i&gt;" in text
    assert '<b class="badge" data-outcome="success">success</b>' in text
    of_goals = [search for search in SEARCHES if "shop.test" not in search[0]]  # a catalogue has the hosts of the steps
    for query, names in [*of_goals[1:9:3], ("q=deep.test", "d"), ("host=deep.test&tag=", "d")]:
        assert sorted(name[-1] for name in (await listed(web, f"/?{query}"))[0]) == list(names), query
    assert (await listed(web, "/?sort=steps"))[0][0] == "run-a"
    await local.delete_session("run-a")
    await update_catalog(local)
    assert "run-a" not in (await listed(web, "/"))[0]


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["*.parquet", "_delta_log/*"])
async def test_a_damaged_catalogue(local: StorageManager, client: Client, name: str) -> None:
    await fill(local)
    await update_catalog(local)
    for path in (Path(local.url_for()) / "_catalog").glob(name):
        path.write_bytes(b"not what it was")
    rows, text = await listed(await client(local), "/")
    assert rows == [f"run-{letter}" for letter in "abcd"]
    assert "By id, because the catalogue cannot be used: " in text
    assert "Traceback" not in text


@pytest.mark.thorough
async def test_requests_on_s3(moto: Make, client: Client, moto_requests: list[Request], record_property: Any) -> None:
    sm = moto()
    await fill(sm)
    web = await client(sm)
    moto_requests.clear()
    await listed(web, "/")
    assert len(moto_requests) == 2  # is there a catalogue? and the sessions
    await update_catalog(sm)
    moto_requests.clear()
    await listed(web, "/")
    record_property("with a catalogue", len(moto_requests))
    assert len(moto_requests) <= 25
    moto_requests.clear()
    await listed(web, "/")
    assert len(moto_requests) == 1
    await sm.aclose()


# --- in a browser ---


async def lay(sm: StorageManager, number: int) -> None:
    """Sessions that are the newer, the larger their number; the first has hostile texts."""
    await sm.store_session_metadata("run-000", {**ABOUT["run-c"], "outcome": "failure"})
    for n in range(number):
        await sm.store_step_data(f"run-{n:03}", "step_1", screenshot_bytes=PNG)
        if n:
            about = {"goal": f"Goal {n}", "outcome": OUTCOMES[n % 4], "tags": ["even" if n % 2 == 0 else "odd"]}
            started = (NOW + timedelta(hours=n)).isoformat()
            await sm.store_session_metadata(f"run-{n:03}", {**about, "started_at": started})


def shown(page: Page, name: str) -> Any:
    return page.locator(f"tr[data-session={name}]")


@pytest.mark.thorough
async def test_the_list_by_id_in_a_browser(local: StorageManager, browser: Browser) -> None:
    await lay(local, 60)
    page = await browser.new_page()
    asked, said = list[str](), list[str]()
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    async with serve(local) as url:
        await page.goto(url)
        first = shown(page, "run-000")
        await expect(first.locator(".goal")).to_have_text("A <i>title</i>")
        await expect(first.locator(".tags .label").last).to_have_text("x" * 59 + "…")
        await expect(first.locator(".tags a")).to_have_count(1)
        await expect(first.locator(".thumb img")).to_be_visible()
        await page.wait_for_load_state("networkidle")
        assert 5 < sum("/api/sessions/" in address for address in asked) < 40
        assert sum(address.endswith("/screenshot") for address in asked) < 40
        assert await shown(page, "run-059").get_attribute("data-state") is None
        await shown(page, "run-059").scroll_into_view_if_needed()
        await expect(shown(page, "run-059").locator(".thumb img")).to_be_visible()
        await page.select_option("#search select", "failure")
        await expect(page.locator("#sessions tbody tr")).to_have_count(16)
        await page.fill("#search input", "goal 1")
        await expect(page.locator("#sessions tbody tr")).to_have_count(5)
        await shown(page, "run-013").locator("text=odd").click()
        await expect(page.locator(".filter")).to_contain_text("odd")
        assert "q=goal+1&outcome=failure&tag=odd" in page.url
        await expect(page.locator("#sessions tbody tr")).to_have_count(5)
        await page.click(".filter")
        assert said == []
        assert await page.evaluate("window.pwned") is None
        await page.click("text=Goal 13")
        await page.wait_for_selector("body[data-step=step_1]")


@pytest.mark.thorough
async def test_the_list_of_a_catalogue_in_a_browser(
    local: StorageManager,
    browser: Browser,
    axe: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(catalogue, "PAGE", 20)
    await lay(local, 30)
    await update_catalog(local)
    shutil.rmtree(local.url_for("run-029"))
    page = await browser.new_page(reduced_motion="reduce")
    rows = page.locator("#sessions tbody tr")
    async with serve(local) as url:
        await page.goto(url)
        await expect(rows.nth(1)).to_have_attribute("data-session", "run-028")
        await expect(rows.nth(1).locator(".thumb img")).to_be_visible()
        await expect(shown(page, "run-029").locator(".modified")).to_have_text("deleted")
        for scheme, width in (("light", 1280), ("dark", 390)):
            await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            await page.set_viewport_size({"width": width, "height": 800})
            await page.wait_for_load_state("networkidle")
            await has_no_fault(page, axe, f"the list, {scheme}, {width} px wide")
            assert await page.evaluate("document.documentElement.scrollWidth") == width
        await page.set_viewport_size({"width": 1280, "height": 800})
        await page.click("a[rel=next]")
        await expect(rows).to_have_count(10)
        await page.click("thead th.name a")
        await expect(rows.first).to_have_attribute("data-session", "run-000")
        await expect(page.locator("th[aria-sort=ascending]")).to_have_text("Session")
        await expect(rows.first.locator(".goal")).to_have_text("A <i>title</i>")
        await page.fill("#search input", "goal 2")
        await expect(rows).to_have_count(12, timeout=30_000)  # it starts a process
        await expect(rows.first).to_have_attribute("data-session", "run-002")  # the order stays
        await page.click("text=all sessions by id")
        await expect(page.locator(".source")).to_contain_text("By id")
        await page.go_back()
        await expect(rows).to_have_count(12)
    assert await page.evaluate("window.pwned") is None


FITS = """(input) => {
    const context = document.createElement("canvas").getContext("2d"), style = getComputedStyle(input);
    context.font = style.font;
    return context.measureText(input.placeholder).width <= input.clientWidth - parseFloat(style.paddingLeft) * 2;
}"""
INSIDE = """(tags) => {
    const box = tags.getBoundingClientRect(), labels = [...tags.children].map((each) => each.getBoundingClientRect());
    const shown = labels.filter(({ top }) => top < box.bottom);
    return [shown.length, shown.every(({ right, bottom }) => right <= box.right + 0.5 && bottom <= box.bottom + 0.5)];
}"""


@pytest.mark.thorough
async def test_nothing_is_cut_in_the_list(local: StorageManager, browser: Browser) -> None:
    """A thumbnail has its shape on a narrow screen, too; the placeholder fits; and no label loses its round end."""
    await local.store_step_data("run-1", "step_1", screenshot_bytes=PNG)
    await local.store_session_metadata("run-1", {"tags": ["shopping", "lamps", "experiment-12", "another", "x" * 50]})
    await local.store_session_metadata("run-2", {"tags": ["x" * 50]})
    page = await browser.new_page(viewport={"width": 1280, "height": 800})
    async with serve(local) as url:
        await page.goto(url)
        tags = page.locator("#sessions .tags")
        await expect(tags.first.locator(".label")).to_have_count(5)
        await expect(tags.last.locator(".label")).to_have_count(1)
        assert await tags.first.evaluate(INSIDE) == [3, True]
        assert await tags.last.evaluate(INSIDE) == [1, True]
        await expect(tags.first).to_have_attribute("title", re.compile("another"))
        await page.set_viewport_size({"width": 390, "height": 844})
        box = await page.locator("#sessions .thumb").first.bounding_box()
        assert box
        assert box["width"] / box["height"] == pytest.approx(1.6)
        assert await page.locator("#search input").first.evaluate(FITS)
        assert await page.evaluate("document.documentElement.scrollWidth") == 390
