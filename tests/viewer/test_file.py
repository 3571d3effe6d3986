"""A session as one file."""

import asyncio
import base64
import errno
import hashlib
import json
import os
import re
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from storage_manager import InvalidDataError, InvalidIdError, LocalStorageError, StorageManager, StorageManagerError
from storage_manager.viewer import render_session
from storage_manager.viewer.templating import script, style
from tests.support.viewed import BREAKING, HOSTILE, PNG, store_small


@pytest.fixture
async def local(tmp_path: Path) -> StorageManager:
    sm = StorageManager.from_url(f"{tmp_path}/base")
    await store_small(sm)
    return sm


def block(text: str, number: int, name: str) -> str:
    [found] = re.findall(rf'<script type="application/json" id="c-{number}-{name}" [^>]*>(.*?)</script>', text)
    return str(found)


async def test_the_file_has_all_of_the_session(sm: StorageManager, tmp_path: Path) -> None:
    await store_small(sm)
    path = await render_session(sm, "run-1", tmp_path / "replay.html")
    text = Path(path).read_text("utf-8")
    assert path == str(tmp_path / "replay.html")
    assert json.loads(block(text, 1, "html")) == HOSTILE
    assert base64.b64decode(block(text, 0, "screenshot")) == PNG
    assert json.loads(json.loads(block(text, 1, "action"))) == {"type": BREAKING}
    assert ["-", "<p>one"] in json.loads(block(text, 1, "changes"))["rows"]
    assert 'id="c-2-html"' not in text


def about(text: str) -> dict[str, Any]:
    """What a file says about its session as a whole."""
    [found] = re.findall(r'id="session-data">(.*?)</script>', text)
    data = json.loads(found)
    return {name: data[name] for name in ("metadata", "attachments")}


async def test_the_file_says_how_many_attachments_it_leaves_out(sm: StorageManager, tmp_path: Path) -> None:
    await store_small(sm)
    text = Path(await render_session(sm, "run-1", tmp_path / "replay.html")).read_text("utf-8")
    assert about(text) == {"metadata": None, "attachments": 0}
    await sm.store_session_metadata("run-1", {"goal": BREAKING})
    await sm.store_attachments("run-1", {"a.txt": "a", "b.txt": "b"})
    await sm.store_attachments("run-1", {"c.txt": "secret attachment"}, "step_2")
    text = Path(await render_session(sm, "run-1", tmp_path / "replay.html")).read_text("utf-8")
    assert about(text)["attachments"] == 3
    assert json.loads(about(text)["metadata"]["text"]) == {"goal": BREAKING}
    assert "secret attachment" not in text
    assert "<script>pwned" not in text


async def test_progress_counts_the_steps(local: StorageManager, tmp_path: Path) -> None:
    for number in range(3):
        await local.store_step_data("s", f"step_{number}", "<p>")
    seen: list[tuple[int, int | None]] = []
    await render_session(local, "s", tmp_path / "s.html", progress=lambda *numbers: seen.append(numbers))
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]
    with pytest.raises(TypeError, match="progress must be"):
        await render_session(local, "s", tmp_path / "s.html", progress=1)  # type: ignore[arg-type]


async def test_a_session_without_steps(sm: StorageManager, tmp_path: Path) -> None:
    await sm.store_session_metadata("run-2", {"goal": "nothing"})
    await sm.store_attachments("run-3", {"a.txt": "a"})
    for session_id, count in (("run-2", 0), ("run-3", 1)):
        text = Path(await render_session(sm, session_id, tmp_path / "replay.html")).read_text("utf-8")
        assert "This session has no steps." in text
        assert about(text)["attachments"] == count


async def test_session_metadata_that_cannot_be_read(local: StorageManager, tmp_path: Path) -> None:
    path = Path(await local.store_session_metadata("run-1", {}))
    path.write_bytes(b"\xff</script>")
    text = Path(await render_session(local, "run-1", tmp_path / "replay.html")).read_text("utf-8")
    assert about(text)["metadata"] == {"text": "\ufffd</script>"}
    path.unlink()
    path.mkdir()
    text = Path(await render_session(local, "run-1", tmp_path / "replay.html")).read_text("utf-8")
    assert "cannot retrieve" in about(text)["metadata"]["error"]
    assert json.loads(block(text, 1, "html")) == HOSTILE


async def test_no_text_ends_its_block_and_nothing_is_asked_for(local: StorageManager, tmp_path: Path) -> None:
    text = Path(await render_session(local, "run-1", tmp_path / "replay.html")).read_text("utf-8")
    scripts = re.findall(r"<script([^>]*)>", text)
    assert [attributes for attributes in scripts if "application/json" not in attributes] == [""]
    assert text.count("</script>") == len(scripts)
    assert "pwned = 1</script" not in text
    assert not {"<!--", "\u2028", "\u2029", "\0"} & set(re.findall("<!--|[\u2028\u2029\0]", text.partition("<body")[2]))
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text.partition("<style>")[0])
    digest = base64.b64encode(hashlib.sha256(script().encode()).digest()).decode()
    assert f"script-src &#39;sha256-{digest}&#39;" in policy
    assert not re.findall(r'(?:src|href)="(?!data:,|#)[^"]+"', text.partition("<script>")[0])


def test_the_front_end_can_stand_in_a_page() -> None:
    assert not re.search("</script|<!--|[\r\0]", script(), re.IGNORECASE)
    assert "</style" not in style()


@pytest.mark.parametrize(
    ("session_id", "name", "error"),
    [
        ("none", "x.html", InvalidDataError),
        ("../up", "x.html", InvalidIdError),
        ("run-1", "", InvalidDataError),
        ("run-1", 3, InvalidDataError),
        ("run-1", "a\0b", InvalidDataError),
        ("run-1", ".", InvalidDataError),
        ("run-1", "not/there.html", InvalidDataError),
    ],
)
async def test_what_is_refused_before_anything_is_written(
    local: StorageManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, session_id: str, name: str, error: type
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error) as caught:
        await render_session(local, session_id, name)
    assert isinstance(caught.value, StorageManagerError)
    assert caught.value.operation == "render"
    assert "cannot view" not in str(caught.value)
    assert os.listdir(tmp_path) == ["base"]


async def test_a_file_is_replaced_when_the_new_one_is_complete(local: StorageManager, tmp_path: Path) -> None:
    path = tmp_path / "replay.html"
    path.write_text("old")
    for component in ("html", "screenshot", "action", "metadata"):
        there = Path(local.url_for("run-1", "step_3", component))
        there.unlink(missing_ok=True)
        there.mkdir()
    with pytest.raises(LocalStorageError):
        await render_session(local, "run-1", path)
    assert path.read_text() == "old"
    Path(local.url_for("run-1", "step_3", "metadata")).rmdir()
    await render_session(local, "run-1", path)
    assert "cannot retrieve" in json.loads(block(path.read_text("utf-8"), 2, "html"))
    assert "no HTML" in json.loads(block(path.read_text("utf-8"), 2, "changes"))["reason"]
    assert sorted(os.listdir(tmp_path)) == ["base", "replay.html"]


async def test_a_name_that_is_too_long_is_our_error(local: StorageManager, tmp_path: Path) -> None:
    await render_session(local, "run-1", tmp_path / ("x" * 255))
    with pytest.raises(LocalStorageError):
        await render_session(local, "run-1", tmp_path / ("x" * 256))
    assert sorted(os.listdir(tmp_path)) == ["base", "x" * 255]


async def test_a_disk_that_is_full(local: StorageManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("storage_manager.viewer.render._File.add", refuse)
    with pytest.raises(LocalStorageError, match="free some space"):
        await render_session(local, "run-1", tmp_path / "replay.html")
    monkeypatch.setattr("storage_manager.viewer.render.open", refuse, raising=False)
    with pytest.raises(LocalStorageError, match="free some space"):
        await render_session(local, "run-1", tmp_path / "replay.html")
    assert os.listdir(tmp_path) == ["base"]


async def test_a_cancellation_leaves_nothing(
    local: StorageManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(50):
        await local.store_step_data("long", f"step_{number:03}", f"<p>{number}" * 1000)
    begun, loop = asyncio.Event(), asyncio.get_running_loop()

    def add(self: object, texts: object) -> None:
        loop.call_soon_threadsafe(begun.set)

    monkeypatch.setattr("storage_manager.viewer.render._File.add", add)
    task = asyncio.create_task(render_session(local, "long", tmp_path / "replay.html"))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert os.listdir(tmp_path) == ["base"]


async def test_memory_is_bounded_by_a_few_steps(local: StorageManager, tmp_path: Path) -> None:
    for number in range(60):
        await local.store_step_data("large", f"step_{number:03}", screenshot_bytes=os.urandom(1_000_000))
    tracemalloc.start()
    path = await render_session(local, "large", tmp_path / "replay.html")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert os.path.getsize(path) > 80_000_000
    assert peak < 20_000_000
