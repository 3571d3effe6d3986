"""A trace may be a directory, a .trace file in one, or packed again; what is not a file of it is not read."""

import os
import shutil
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage_manager import InvalidDataError, InvalidIdError, StorageManager
from storage_manager.importers import import_playwright_trace, unpacked
from tests.support.open_files import open_files
from tests.support.traces import FIRST, FIRST_HTML, JPEG, action, frame, header, imported, page, write_zip

CAST, MEMBER = frame(1001.6)
EVENTS = [header(), *action(1, html=FIRST), CAST]
MEMBERS: dict[str, Any] = {"trace.trace": EVENTS, "trace.network": "", MEMBER: JPEG}


@pytest.fixture
def sm(tmp_path: Path) -> StorageManager:
    """A manager of an empty root."""
    return StorageManager(local_base_path=tmp_path / "base")


def unzipped(folder: Path, members: dict[str, Any] = MEMBERS) -> Path:
    """Write a trace as a directory."""
    packed = write_zip(folder.with_name("packed.zip"), members)
    with zipfile.ZipFile(packed) as file:
        file.extractall(folder)
    packed.unlink()
    return folder


async def test_a_directory(sm: StorageManager, tmp_path: Path) -> None:
    [step] = await imported(sm, unzipped(tmp_path / "run 1.5"))
    assert (step.html, step.screenshot) == (FIRST_HTML, JPEG)
    assert await sm.list_sessions() == ["run-1.5"]


async def test_the_directory_of_an_mcp_server(sm: StorageManager, tmp_path: Path) -> None:
    """Its files have the time in their names. They lie beside others, one folder down."""
    names = {"trace.trace": "traces/trace-1796058718844.trace", "trace.network": "traces/trace-1796058718844.network"}
    folder = unzipped(tmp_path / "out", {names.get(name, f"traces/{name}"): data for name, data in MEMBERS.items()})
    (folder / "page.yml").write_text("- generic")
    [step] = await imported(sm, folder)
    assert (step.html, step.screenshot) == (FIRST_HTML, JPEG)


async def test_a_trace_file_beside_its_resources(sm: StorageManager, tmp_path: Path) -> None:
    """Whatever else is there is not looked at."""
    folder = unzipped(tmp_path / "run")
    (folder / "other.trace").write_text("{")
    (folder / "link").symlink_to("/etc")
    [step] = await imported(sm, folder / "trace.trace")
    assert (step.html, step.screenshot) == (FIRST_HTML, JPEG)
    assert await sm.list_sessions() == ["trace"]


@pytest.mark.parametrize("name", ["trace-1.trace", "trace-1-chunk2.trace"])
async def test_chunks_of_a_trace_share_a_network_log(sm: StorageManager, tmp_path: Path, name: str) -> None:
    link = ["LINK", {"rel": "stylesheet", "href": "s.css"}]
    request = {"method": "GET", "url": "http://shop.test/s.css"}
    answer = {"status": 200, "content": {"mimeType": "text/css", "_sha1": "1.css"}}
    log = [{"type": "resource-snapshot", "snapshot": {"request": request, "response": answer}}]
    members = {name: page(link, doctype=None), "trace-1.network": log, "resources/1.css": b"p {}"}
    [step] = await imported(sm, unzipped(tmp_path / "run", {**members, "trace-2.network": b"{"}) / name)
    assert step.html == "<style>p {}</style>"


@pytest.mark.parametrize("prefix", ["", "trace/", "a/b/"])
async def test_packed_again(sm: StorageManager, tmp_path: Path, prefix: str) -> None:
    members: dict[str, Any] = {prefix + name: data for name, data in MEMBERS.items()}
    members |= {f"__MACOSX/{prefix}._trace.trace": b"\0\5\x16\7", f"{prefix}._trace.trace": b"\0\5", ".DS_Store": b"\0"}
    [step] = await imported(sm, write_zip(tmp_path / "t.zip", members))
    assert (step.html, step.screenshot) == (FIRST_HTML, JPEG)
    [step] = await imported(sm, unzipped(tmp_path / "again", members))
    assert (step.html, step.screenshot) == (FIRST_HTML, JPEG)


async def test_several_traces_in_folders_of_their_own(sm: StorageManager, tmp_path: Path) -> None:
    members = {"a/trace.trace": EVENTS, "b/trace.trace": EVENTS}
    await refused(sm, write_zip(tmp_path / "t.zip", members), "import each folder by itself")
    await refused(sm, unzipped(tmp_path / "run", members), "import each folder by itself")


async def test_two_contexts_of_one_directory_are_one_session(sm: StorageManager, tmp_path: Path) -> None:
    folder = unzipped(tmp_path / "run", {"0.trace": EVENTS, "1.trace": [header(), *action(2)]})
    assert len(await imported(sm, folder)) == 2


async def test_a_directory_whose_name_gives_no_id(
    sm: StorageManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "-").mkdir()
    monkeypatch.chdir(tmp_path / "-")
    with pytest.raises(InvalidIdError, match="give session_id"):
        await import_playwright_trace(sm, ".")


async def refused(sm: StorageManager, path: Path, why: str) -> None:
    with pytest.raises(InvalidDataError, match=f"cannot import .*{why}"):
        await imported(sm, path)
    assert await sm.list_sessions() == []


def linked(folder: Path) -> None:
    secret = folder.parent / "secret"
    secret.write_bytes(JPEG + b"secret")
    (folder / MEMBER).unlink()
    (folder / MEMBER).symlink_to(secret)


def linked_folder(folder: Path) -> None:
    outside = folder.parent / "outside"
    (folder / "resources").rename(outside)
    (folder / "resources").symlink_to(outside)


def linked_trace(folder: Path) -> None:
    (folder / "trace.trace").rename(folder.parent / "secret")
    (folder / "trace.trace").symlink_to(folder.parent / "secret")


def piped(folder: Path) -> None:
    (folder / MEMBER).unlink()
    os.mkfifo(folder / MEMBER)


def large(folder: Path) -> None:
    os.truncate(folder / MEMBER, 2**33)


def large_events(folder: Path) -> None:
    os.truncate(folder / "trace.trace", 2**33)


def deep(folder: Path) -> None:
    (folder / "/".join("x" * 20)).mkdir(parents=True)


def a_folder(folder: Path) -> None:
    (folder / MEMBER).unlink()
    (folder / MEMBER).mkdir()


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (linked, "a link, perhaps"),
        (linked_folder, "a link, perhaps"),
        (linked_trace, "a link, perhaps"),
        (piped, "neither a file nor a directory"),
        (large, "8589934592 bytes; the limit is"),
        (large_events, "8589934592 bytes; the limit is"),
        (deep, "nested deeper"),
        (a_folder, "not a regular file"),
    ],
)
async def test_hostile_directories(sm: StorageManager, tmp_path: Path, harm: Callable[[Path], None], why: str) -> None:
    folder = unzipped(tmp_path / "run")
    harm(folder)
    tracemalloc.start()
    try:
        await refused(sm, folder, why)
        assert tracemalloc.get_traced_memory()[1] < 2**21
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (linked, "a link, perhaps"),
        (linked_folder, "a link, perhaps"),
        (piped, "not a regular file"),
        (large, "8589934592 bytes; the limit is"),
    ],
)
async def test_hostile_files_beside_a_trace_file(
    sm: StorageManager, tmp_path: Path, harm: Callable[[Path], None], why: str
) -> None:
    folder = unzipped(tmp_path / "run")
    harm(folder)
    await refused(sm, folder / "trace.trace", why)


async def test_too_many_files(sm: StorageManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = unzipped(tmp_path / "run")
    monkeypatch.setattr(unpacked, "MAX_MEMBERS", 2)
    await refused(sm, folder, "it has more than 2 files")


async def test_names_that_lead_out_of_a_directory(sm: StorageManager, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(JPEG)
    for name in ("../secret", str(tmp_path / "secret")):
        events = [*EVENTS[:-1], {**CAST, "sha1": None, "file": name}]
        folder = unzipped(tmp_path / "run", {"trace.trace": events})
        await refused(sm, folder, "leads out of the trace")
        await refused(sm, folder / "trace.trace", "leads out of the trace")


async def test_no_descriptor_is_left_open(sm: StorageManager, tmp_path: Path) -> None:
    folder = unzipped(tmp_path / "run")
    await imported(sm, folder)
    await sm.delete_session("run")
    shutil.rmtree(folder / "resources")
    (folder / "resources").write_text("")
    await refused(sm, folder / "trace.trace", "a link, perhaps")
    (tmp_path / "empty").mkdir()
    await refused(sm, tmp_path / "empty", "no member named")
    assert open_files(tmp_path) == []
