"""Directories, links, pipes and files that were made to harm whoever stores, reads or deletes."""

import asyncio
import io
import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import fsspec
import pytest

from storage_manager import LocalStorageError, StepData, StorageManager
from storage_manager.backends import hidden_name
from storage_manager.backends.staging import remove_tree
from storage_manager.integrity import seal_session, sweep, verify_session
from storage_manager.inventory import summarize
from storage_manager.transfer import copy_sessions, purge_sessions

pytestmark = pytest.mark.thorough

DATA = StepData("<p>", b"\x89PNG", {"a": 1}, {"m": 1})


@pytest.fixture
def sm(tmp_path: Path) -> Iterator[StorageManager]:
    """Return a manager. Its root is removed, because pytest cannot remove deep directories."""
    yield StorageManager(local_base_path=tmp_path / "root")
    remove_tree(str(tmp_path / "root"))


def dig(directory: Path, depth: int, name: str = "d") -> None:
    """Create directories one within the other, with a file in the last: deeper than one path can name."""
    directory.mkdir(parents=True, exist_ok=True)
    at = os.open(directory, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=at)
        below = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=at))
    os.close(at)


# --- deep directories -----------------------------------------------------------------------------


@pytest.mark.parametrize(("depth", "name"), [(1500, "d"), (300, "d" * 200)], ids=["deep", "too long for a path"])
async def test_a_deep_session_can_be_deleted(sm: StorageManager, depth: int, name: str) -> None:
    dig(Path(sm.url_for("s", "t")), depth, name)
    await sm.delete_session("s")
    assert await sm.list_sessions() == []
    assert os.listdir(sm.url_for()) == []


async def test_a_deep_step_can_be_deleted(sm: StorageManager) -> None:
    await sm.store_step_data("s", "u", *DATA)
    dig(Path(sm.url_for("s", "t")), 1500)
    await sm.delete_step("s", "t")
    assert await sm.list_steps_for_session("s") == ["u"]
    assert os.listdir(sm.url_for()) == ["s"]


async def test_a_deep_session_ends_nothing_for_the_others(sm: StorageManager, tmp_path: Path) -> None:
    await sm.store_step_data("a", "t", *DATA)
    await sm.store_step_data("z", "t", *DATA)
    dig(Path(sm.url_for("m", "t")), 1500)
    assert (await summarize(sm, "m")).size == 0
    assert {problem.kind for problem in await verify_session(sm, "m")} <= {"leftover", "unlisted", "unreadable"}
    target = StorageManager(local_base_path=tmp_path / "target")
    assert await copy_sessions(sm, target) == 2
    assert await purge_sessions(sm, timedelta(0), dry_run=False) == ["a", "z"]


async def test_a_deep_leftover_is_swept(sm: StorageManager) -> None:
    staged = Path(sm.url_for()) / hidden_name()
    dig(staged, 1500)
    os.utime(staged, (0, 0))
    assert await sweep(sm) == 1
    assert os.listdir(sm.url_for()) == []


async def test_a_leftover_that_cannot_be_removed_fails_no_store(
    sm: StorageManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever error it is: housekeeping is not what the user asked for."""

    def broken(*args: object) -> int:
        raise RecursionError

    monkeypatch.setattr("storage_manager.backends.disk.sweep", broken)
    await sm.store_step_data("s", "t", *DATA)
    assert await sm.retrieve_step_data("s", "t") == DATA


# --- links ----------------------------------------------------------------------------------------

WRITES: dict[str, Callable[[Any, str, str], object]] = {
    "pipe_file": lambda fs, path, other: fs.pipe_file(path, b"x"),
    "pipe": lambda fs, path, other: fs.pipe({path: b"x"}),
    "put_file": lambda fs, path, other: fs.put_file(other, path),
    "put": lambda fs, path, other: fs.put(other, path),
    "cp_file": lambda fs, path, other: fs.cp_file("s/t/metadata.json", path),
    "touch": lambda fs, path, other: fs.touch(path, truncate=True),
    "open": lambda fs, path, other: fs.open(path, "wb").close(),
    "append": lambda fs, path, other: fs.open(path, "ab").close(),
    "rm_file": lambda fs, path, other: fs.rm_file(path),
    "rm": lambda fs, path, other: fs.rm(path),
    "rm directory": lambda fs, path, other: fs.rm(os.path.dirname(path), recursive=True),
    "mkdir": lambda fs, path, other: fs.mkdir(f"{os.path.dirname(path)}/new"),
    "makedirs": lambda fs, path, other: fs.makedirs(f"{os.path.dirname(path)}/new/er"),
    "mv": lambda fs, path, other: fs.mv(path, "s/t/moved.json"),
    "mv to": lambda fs, path, other: fs.mv("s/t/metadata.json", path),
}


def make_elsewhere(sm: StorageManager, tmp_path: Path) -> Path:
    """A directory outside of the root, to which the session `link` and the step `s/u` lead."""
    asyncio.run(sm.store_step_data("s", "t", *DATA))
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "t").mkdir(parents=True)
    (elsewhere / "t" / "action.json").write_text("theirs")
    os.symlink(elsewhere, sm.url_for("link"))
    os.symlink(elsewhere / "t", sm.url_for("s", "u"))
    (tmp_path / "other").write_text("ours")
    return elsewhere


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


LINKED = pytest.mark.parametrize("path", ["link/t/action.json", "s/u/action.json"])


@LINKED
@pytest.mark.parametrize("write", WRITES)
def test_sm_writes_and_deletes_through_no_link(sm: StorageManager, tmp_path: Path, write: str, path: str) -> None:
    elsewhere = make_elsewhere(sm, tmp_path)
    fs = fsspec.filesystem("sm", storage=sm)
    with pytest.raises(OSError, match="link"):
        WRITES[write](fs, path, str(tmp_path / "other"))
    assert contents(elsewhere) == {"t/action.json": b"theirs"}
    assert sorted(path.name for path in (elsewhere / "t").iterdir()) == ["action.json"]


ASYNC_WRITES: dict[str, Callable[[Any, str, str], Any]] = {
    "pipe_file": lambda fs, path, other: fs._pipe_file(path, b"x"),
    "pipe": lambda fs, path, other: fs._pipe({path: b"x"}),
    "put_file": lambda fs, path, other: fs._put_file(other, path),
    "put": lambda fs, path, other: fs._put(other, path),
    "cp_file": lambda fs, path, other: fs._cp_file(other, path),
    "touch": lambda fs, path, other: fs._touch(path),
    "open": lambda fs, path, other: write_async(fs, path),
    "rm_file": lambda fs, path, other: fs._rm_file(path),
    "rm": lambda fs, path, other: fs._rm(path),
    "rm directory": lambda fs, path, other: fs._rm(os.path.dirname(path), recursive=True),
    "mkdir": lambda fs, path, other: fs._mkdir(f"{os.path.dirname(path)}/new"),
    "makedirs": lambda fs, path, other: fs._makedirs(f"{os.path.dirname(path)}/new/er"),
}


@LINKED
@pytest.mark.parametrize("write", ASYNC_WRITES)
async def test_async_fs_writes_and_deletes_through_no_link(
    sm: StorageManager, tmp_path: Path, write: str, path: str
) -> None:
    elsewhere = await asyncio.to_thread(make_elsewhere, sm, tmp_path)
    with pytest.raises(OSError, match="link"):
        await ASYNC_WRITES[write](sm.async_fs, f"{sm.url_for()}/{path}", str(tmp_path / "other"))
    assert contents(elsewhere) == {"t/action.json": b"theirs"}


async def write_async(fs: Any, path: str) -> None:
    async with await fs.open_async(path, "wb") as file:
        await file.write(b"x")


@LINKED
@pytest.mark.parametrize("write", WRITES)
def test_fs_writes_and_deletes_through_no_link(
    sm: StorageManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: str, path: str
) -> None:
    """It was fsspec's own filesystem, which follows every link."""
    elsewhere = make_elsewhere(sm, tmp_path)
    monkeypatch.chdir(sm.url_for())
    with pytest.raises(OSError, match="link"):
        WRITES[write](sm.fs, path, str(tmp_path / "other"))
    assert contents(elsewhere) == {"t/action.json": b"theirs"}


SPELLINGS = ("{root}/./link/t/", "{root}//link/t/", "/{root}/link/t/", "{root}/s/../link/t/", "{alias}/link/t/")
SPELLINGS += ("{alias}/../root/link/t/", "{alias}/../elsewhere/../root/link/t/")


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("write", ["pipe_file", "rm", "put", "touch"])
def test_a_link_is_found_however_the_path_is_written(
    sm: StorageManager, tmp_path: Path, write: str, spelling: str
) -> None:
    elsewhere = make_elsewhere(sm, tmp_path)
    (tmp_path / "alias").symlink_to(tmp_path / "root")
    path = spelling.format(root=sm.url_for(), alias=tmp_path / "alias") + "action.json"
    with pytest.raises(OSError, match="link"):
        WRITES[write](sm.fs, path, str(tmp_path / "other"))
    assert contents(elsewhere) == {"t/action.json": b"theirs"}


def test_an_alias_of_the_root_can_be_written(sm: StorageManager, tmp_path: Path) -> None:
    """Only links below the root are refused."""
    (tmp_path / "alias").symlink_to(tmp_path / "root")
    sm.fs.pipe_file(f"{tmp_path}/alias/s/t/action.json", b"{}")
    StorageManager(local_base_path=tmp_path / "alias").fs.pipe_file(f"{tmp_path}/alias/s/u/action.json", b"{}")
    assert asyncio.run(sm.list_steps_for_session("s")) == ["t", "u"]


# --- hard links -----------------------------------------------------------------------------------

IN_PLACE: dict[str, Callable[[Any, str, str], object]] = {
    "put_file": lambda fs, path, other: fs.put_file(other, path),
    "cp_file": lambda fs, path, other: fs.cp_file("s/t/metadata.json", path),
    "touch": lambda fs, path, other: fs.touch(path, truncate=True),
    "open": lambda fs, path, other: fs.open(path, "wb").close(),
    "append": lambda fs, path, other: fs.open(path, "ab").close(),
    "change": lambda fs, path, other: fs.open(path, "r+b").close(),
}


@pytest.mark.parametrize("write", IN_PLACE)
@pytest.mark.parametrize("name", ["sm", "fs"])
def test_nothing_is_written_through_another_name_of_a_file(
    sm: StorageManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: str, name: str
) -> None:
    """As in a backup by `cp -al`, of which both sides are the same file."""
    asyncio.run(sm.store_step_data("s", "t", *DATA))
    (tmp_path / "other").write_text("ours")
    os.link(sm.url_for("s", "t", "action"), tmp_path / "backup")
    monkeypatch.chdir(sm.url_for())
    fs = sm.fs if name == "fs" else fsspec.filesystem("sm", storage=sm)
    with pytest.raises(OSError, match="other names"):
        IN_PLACE[write](fs, "s/t/action.json", str(tmp_path / "other"))
    assert (tmp_path / "backup").read_bytes() == b'{"a":1}\n'
    assert asyncio.run(sm.retrieve_step_data("s", "t")) == DATA


@pytest.mark.parametrize("write", ["pipe_file", "rm", "mv"])
def test_what_replaces_a_file_leaves_its_other_names(sm: StorageManager, tmp_path: Path, write: str) -> None:
    asyncio.run(sm.store_step_data("s", "t", *DATA))
    os.link(sm.url_for("s", "t", "action"), tmp_path / "backup")
    WRITES[write](fsspec.filesystem("sm", storage=sm), "s/t/action.json", "")
    asyncio.run(sm.store_step_data("s", "t", action_data={"a": 2}))
    assert (tmp_path / "backup").read_bytes() == b'{"a":1}\n'


def test_permissions_are_changed_through_no_link(sm: StorageManager, tmp_path: Path) -> None:
    elsewhere = make_elsewhere(sm, tmp_path)
    before = (elsewhere / "t/action.json").stat().st_mode
    for fs in (sm.fs, fsspec.filesystem("sm", storage=sm).fs):
        with pytest.raises(OSError, match="link"):
            fs.chmod(f"{sm.url_for()}/link/t/action.json", 0)
    with pytest.raises(OSError, match="link"):
        sm.fs.link(sm.url_for("s", "t", "action"), f"{sm.url_for()}/link/t/new")
    assert (elsewhere / "t/action.json").stat().st_mode == before
    assert sorted(path.name for path in (elsewhere / "t").iterdir()) == ["action.json"]


# --- pipes ----------------------------------------------------------------------------------------


async def test_a_pipe_holds_no_reader(sm: StorageManager) -> None:
    await sm.store_step_data("s", "t", *DATA)
    pipe = sm.url_for("s", "t", "html") + ".pipe"
    os.mkfifo(pipe)
    fs = sm.async_fs

    async def open_async() -> None:
        await (await fs.open_async(pipe, "rb")).read()

    reads: list[Callable[[], Any]] = [
        lambda: fs._cat_file(pipe),
        lambda: fs._cat_ranges([pipe], [0], [1], on_error="raise"),
        lambda: fs._get_file(pipe, sm.url_for("s", "t") + "/copy"),
        open_async,
        lambda: asyncio.to_thread(fsspec.filesystem("sm", storage=sm).cat_file, "s/t/observation.html.pipe"),
        lambda: asyncio.to_thread(fs.cat_file, pipe),
        lambda: asyncio.to_thread(fs.get_file, pipe, io.BytesIO()),
        lambda: asyncio.to_thread(sm.fs.cat_file, pipe),
    ]
    for read in reads:
        with pytest.raises(OSError, match=r"regular file|named pipe|\.pipe"):
            await asyncio.wait_for(read(), 30)
        assert await asyncio.wait_for(sm.retrieve_step_data("s", "t"), 30) == DATA


# --- sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10 * 2**40, 2**30 + 1], ids=["10 TB", "1 GiB and a byte"])
async def test_a_file_too_large_for_memory_is_named(sm: StorageManager, size: int) -> None:
    await sm.store_step_data("s", "t", *DATA)
    os.truncate(sm.url_for("s", "t", "screenshot"), size)
    start = time.monotonic()
    assert await sm.retrieve_step_data("s", "t") == DATA._replace(screenshot=None)
    with pytest.raises(LocalStorageError, match=r"screenshot\.png: EFBIG.*max_file_bytes") as caught:
        await sm.retrieve_step_data("s", "t", strict=True)
    assert caught.value.url == sm.url_for("s", "t", "screenshot")
    assert time.monotonic() - start < 20


async def test_the_limit_is_an_option(tmp_path: Path) -> None:
    sm = StorageManager(local_base_path=tmp_path, max_file_bytes=8)
    await sm.store_step_data("s", "t", "12345678", b"123456789")
    assert (await sm.retrieve_step_data("s", "t"))[:2] == ("12345678", None)
    with pytest.raises(ValueError, match="max_file_bytes must be at least 1"):
        StorageManager(local_base_path=tmp_path, max_file_bytes=0)


# --- too many open files --------------------------------------------------------------------------


@contextmanager
def open_files(free: int) -> Iterator[None]:
    """Let the process open only so many files more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = [os.open("/dev/null", os.O_RDONLY)]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + free, hard))
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in held:
            os.close(descriptor)


async def test_a_store_without_a_free_descriptor_leaves_nothing(sm: StorageManager) -> None:
    await sm.store_step_data("s", "t", *DATA)
    with open_files(1), pytest.raises(LocalStorageError, match="EMFILE"):
        await sm.store_step_data("s", "u", *DATA)
    assert os.listdir(sm.url_for()) == ["s"]
    assert await sm.list_steps_for_session("s") == ["t"]


async def test_a_process_without_descriptors_says_nothing_of_a_session(sm: StorageManager) -> None:
    """Each session was called unreadable. Nothing is lost by any operation, and each says why it failed."""
    for session_id in ("s", "z"):
        await sm.store_step_data(session_id, "t", *DATA)
    for operation in (
        verify_session(sm, "s"),
        seal_session(sm, "s"),
        purge_sessions(sm, timedelta(0), dry_run=False),
        sm.list_sessions(),
        sm.delete_session("s"),
        sm.delete_step("s", "t"),
        sm.retrieve_step_data("s", "t"),
        sm.get_share_links("s", "t"),
        summarize(sm, "s"),
    ):
        await sm.list_sessions()  # the worker is there
        with open_files(0), pytest.raises(LocalStorageError, match="EMFILE"):
            await operation
    assert await sm.list_sessions() == ["s", "z"]
    assert await sm.retrieve_step_data("s", "t") == DATA
    assert sorted(os.listdir(sm.url_for())) == ["s", "z"]


# --- what systems leave in directories ------------------------------------------------------------


@pytest.mark.parametrize("name", ["@eaDir", ".AppleDouble", ".@__thumb"])
async def test_directories_of_a_nas_keep_no_session(sm: StorageManager, name: str) -> None:
    await sm.store_step_data("s", "t", *DATA)
    await sm.store_step_data("s", "u", *DATA)
    for directory in (sm.url_for("s"), sm.url_for("s", "t")):
        (Path(directory) / name / "x").mkdir(parents=True)
        (Path(directory) / name / "x" / "thumb.jpg").write_bytes(b"x")
        (Path(directory) / name / "observation.html").write_bytes(b"x")
    assert await verify_session(sm, "s") == []
    assert (await summarize(sm, "s"))[:2] == (2, 2 * sum(map(len, (b"<p>", b"\x89PNG", b'{"a":1}\n', b'{"m":1}\n'))))
    await sm.delete_step("s", "t")
    assert await sm.list_steps_for_session("s") == ["u"]
    await sm.delete_step("s", "u")
    assert await sm.list_sessions() == []
    assert os.listdir(sm.url_for()) == []


# --- cancelling -----------------------------------------------------------------------------------


async def test_a_long_walk_can_be_cancelled(sm: StorageManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was waited for, although it changes nothing."""
    await sm.store_step_data("s", "t", *DATA)
    begun, ended, given = threading.Event(), threading.Event(), list[threading.Event]()
    fs = sm.async_fs

    def files(path: str, stop: threading.Event) -> Any:
        given.append(stop)
        begun.set()
        assert stop.wait(20)
        ended.set()
        return [], None

    monkeypatch.setattr(fs, "files", files)
    task = asyncio.create_task(summarize(sm, "s"))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 30)
    assert await asyncio.to_thread(ended.wait, 5)


async def test_a_walk_ends_when_it_is_told(sm: StorageManager) -> None:
    await sm.store_step_data("s", "t", *DATA)
    stop = threading.Event()
    stop.set()
    assert sm.async_fs.files(sm.url_for("s"), stop) == ([], None)
