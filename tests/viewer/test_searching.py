"""Search a session on the server, and read the outlines of its steps."""

import time
from pathlib import Path

import pytest

from storage_manager import InvalidIdError, StorageManager
from storage_manager.viewer import searching
from storage_manager.viewer.outline import MAX_BYTES, read_outline
from storage_manager.viewer.searching import around, search_session, text_of


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
    assert " ".join(text_of(html).split()) == text


@pytest.mark.parametrize("piece", ["<script>", "<", "<p", "<!--", "<style", "</script"])
def test_it_takes_time_in_proportion(piece: str) -> None:
    started = time.thread_time()
    text_of(piece * (2**21 // len(piece)))
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


async def test_an_outline_of_what_cannot_be_read(local: StorageManager, tmp_path: Path) -> None:
    (tmp_path / "base" / "s" / "1" / "action.json").mkdir(parents=True)
    found = await read_outline(local, "s", ["1"])
    assert "cannot retrieve" in found["1"]["error"]
