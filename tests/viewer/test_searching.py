"""Search a session on the server, and read the outlines of its steps."""

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from storage_manager import InvalidIdError, LocalStorageError, StorageManager
from storage_manager.viewer import app, searching, serve
from storage_manager.viewer.outline import MAX_BYTES, read_outline
from storage_manager.viewer.searching import around, search_session, visible_text
from storage_manager.viewer.turns import ClientHasLeft, Turns


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>One</p> two", "One two"),
        ("no tag", "no tag"),
        ("<script>var a = '<p>hidden'</script>shown<STYLE>p {}</STYLE >end", "shown end"),
        ("<script>never closed", ""),
        ("a < b", "a"),
        ("<p", ""),
        ("", ""),
        ("<p title='>'>x", "'>x"),
    ],
)
def test_the_text_of_a_page(html: str, text: str) -> None:
    assert " ".join(visible_text(html).split()) == text


@pytest.mark.parametrize("piece", ["<script>", "<", "<p", "<!--", "<style", "</script"])
def test_it_takes_time_in_proportion(piece: str) -> None:
    started = time.thread_time()
    visible_text(piece * (2**21 // len(piece)))
    assert time.thread_time() - started < 4, "0.1 s as a rule"


def test_the_words_around() -> None:
    assert around("a" * 100 + " Needle " + "b" * 100, "needle") == "…" + "a" * 9 + " Needle " + "b" * 59
    assert around("needle", "NEEDLE") == "needle"
    assert around("hay", "needle") == ""


async def test_a_session(sm: StorageManager) -> None:
    await sm.store_step_data("s", "1", "<p>Desk lamp</p><script>table</script>", None, {"type": "click"}, {"a": 1})
    await sm.store_step_data("s", "2", None, b"image", {"text": "a lämp"}, None)
    await sm.store_step_data("s", "3", None, b"image")
    for query, steps in {"lamp": ["1"], "LÄMP": ["2"], "click": ["1"], "table": [], "image": [], "": []}.items():
        found = await search_session(sm, "s", query, lambda: True)
        assert [match["step"] for match in found["matches"]] == steps, query
        assert found["total"] == 3
    assert (await search_session(sm, "none", "x", lambda: True)) == {"matches": [], "searched": 0, "total": 0}


async def test_a_search_has_limits(local: StorageManager, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        await local.store_step_data("s", str(number), "lamp")
    monkeypatch.setattr(searching, "MAX_STEPS", 3)
    found = await search_session(local, "s", "lamp", lambda: True)
    assert (found["searched"], found["total"], len(found["matches"])) == (3, 5, 3)
    assert (await search_session(local, "s", "lamp", lambda: False))["searched"] == 1
    monkeypatch.setattr(searching, "SECONDS", 0.0)
    assert (await search_session(local, "s", "lamp", lambda: True))["searched"] == 1


async def test_outlines(sm: StorageManager) -> None:
    await sm.store_step_data("s", "1", None, None, {"type": "click", "n": 12345678901234567890}, None)
    await sm.store_step_data("s", "2", None, b"image", {"long": "x" * MAX_BYTES}, {"url": "u"})
    found = await read_outline(sm, "s", ["2", "1", "none"])
    assert "12345678901234567890" in found["1"]["action"]
    assert found["1"]["lacks"] == ["metadata"]
    assert (set(found["2"]), found["2"]["lacks"]) == ({"metadata", "lacks"}, [])
    assert found["none"] == {"lacks": ["action", "metadata"]}
    with pytest.raises(InvalidIdError):
        await read_outline(sm, "s", [".."])


async def test_an_answer_holds_only_some_outlines(local: StorageManager) -> None:
    for number in range(6):
        await local.store_step_data("s", str(number), None, None, {"long": "x" * (MAX_BYTES - 20)}, {"a": 1})
    ids = [str(number) for number in range(6)]
    assert list(await read_outline(local, "s", ids)) == ids[:4]
    assert list(await read_outline(local, "s", ids[4:])) == ids[4:]


async def test_an_outline_of_what_cannot_be_read(local: StorageManager, tmp_path: Path) -> None:
    (tmp_path / "base" / "s" / "1" / "action.json").mkdir(parents=True)
    found = await read_outline(local, "s", ["1"])
    assert "cannot retrieve" in found["1"]["error"]


async def test_a_search_reads_only_the_beginning_of_what_is_large(
    local: StorageManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "MAX_BYTES", 100)
    await local.store_step_data("s", "1", "<p>lamp" + " " * 200 + "table")
    assert (await search_session(local, "s", "lamp", lambda: True))["matches"] == [{"step": "1", "text": "lamp"}]
    assert (await search_session(local, "s", "table", lambda: True))["matches"] == []


async def test_steps_that_cannot_be_read_are_not_searched(local: StorageManager, tmp_path: Path) -> None:
    await local.store_step_data("s", "2", "lamp")
    (tmp_path / "base" / "s" / "1" / "action.json").mkdir(parents=True)
    (tmp_path / "base" / "s" / "1" / "other.txt").write_text("x")
    found = await search_session(local, "s", "lamp", lambda: True)
    assert (found["matches"], found["searched"], found["total"]) == ([{"step": "2", "text": "lamp"}], 1, 2)
    (tmp_path / "base" / "s" / "2" / "observation.html").unlink()
    (tmp_path / "base" / "s" / "2" / "observation.html").mkdir()
    with pytest.raises(LocalStorageError, match="cannot retrieve"):
        await search_session(local, "s", "lamp", lambda: True)


async def test_too_many_searches_are_refused(local: StorageManager, monkeypatch: pytest.MonkeyPatch) -> None:
    may_end = asyncio.Event()

    async def search(*args: Any) -> Any:
        await may_end.wait()
        return {}

    monkeypatch.setattr(app, "search_session", search)
    monkeypatch.setattr(app, "MAX_SEARCHES", 2)
    async with serve(local) as url, aiohttp.ClientSession(url) as client:
        searches = [asyncio.ensure_future(client.get("/api/sessions/s/search?q=x")) for _ in range(4)]
        answers = asyncio.as_completed(searches)
        for answer in (await next(answers), await next(answers)):
            assert (answer.status, "Try again" in await answer.text()) == (503, True)
        may_end.set()
        assert [(await answer).status for answer in answers] == [200, 200]


async def test_too_many_comparisons_are_refused(local: StorageManager, monkeypatch: pytest.MonkeyPatch) -> None:
    may_end = threading.Event()

    def compare(*args: Any) -> Any:
        may_end.wait()
        return {}

    monkeypatch.setattr(app, "compare_steps", compare)
    monkeypatch.setattr(app, "MAX_COMPARISONS", 2)
    await local.store_step_data("s", "1", "<p>")
    async with serve(local) as url, aiohttp.ClientSession(url) as client:
        comparisons = [asyncio.ensure_future(client.get("/sessions/s/1/changes")) for _ in range(3)]
        answers = asyncio.as_completed(comparisons)
        try:
            answer = await next(answers)
            assert (answer.status, "2 comparisons are running" in await answer.text()) == (503, True)
        finally:
            may_end.set()
        assert [(await answer).status for answer in answers] == [200, 200]


async def test_a_reader_who_has_gone_takes_no_turn() -> None:
    turns, is_here = Turns("searches", 1), True
    async with turns.turn(is_connected=lambda: is_here):
        is_here = False
        waiting = asyncio.ensure_future(enter(turns))
        await asyncio.sleep(0)
        with pytest.raises(web.HTTPServiceUnavailable):
            await enter(turns)
    await waiting
    with pytest.raises(ClientHasLeft):
        await enter(turns, lambda: False)


async def enter(turns: Turns, is_connected: Callable[[], bool] = lambda: True) -> None:
    async with turns.turn(is_connected):
        pass


async def test_nothing_is_searched_for_readers_who_have_gone(
    local: StorageManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, begun, may_end = list[str](), asyncio.Event(), asyncio.Event()

    async def search(storage: StorageManager, session_id: str, query: str, is_wanted: Callable[[], bool]) -> Any:
        asked.append(query)
        begun.set()
        await may_end.wait()
        return {}

    monkeypatch.setattr(app, "search_session", search)
    async with serve(local) as url, aiohttp.ClientSession(url) as client:
        first = asyncio.ensure_future(client.get("/api/sessions/s/search?q=first"))
        await begun.wait()
        _, writer = await asyncio.open_connection("127.0.0.1", URL(url).port)
        writer.write(b"GET /api/sessions/s/search?q=gone HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        third = asyncio.ensure_future(client.get("/api/sessions/s/search?q=third"))
        async with client.get("/api/sessions/s/metadata"):  # by now the server knows of all three
            may_end.set()
        for answer in await asyncio.gather(first, third):
            assert await answer.json() == {}
    assert asked == ["first", "third"]
