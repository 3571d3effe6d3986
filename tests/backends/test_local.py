"""Local disk: whole files, steps that appear at once, no leftovers, no way out of the base."""

import asyncio
import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from storage_manager import LocalStorageError, Step, StepData, StorageManager
from storage_manager.backends import streams
from storage_manager.backends.base import STAGING_PREFIX
from storage_manager.backends.local import LocalBackend
from storage_manager.backends.staging import sweep
from storage_manager.integrity import seal_session

DATA = StepData("<p>", b"\x89PNG", {"a": 1}, {"m": 1})
NEW = StepData("new", b"new", {"a": 2}, {"m": 2})


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "base"


@pytest.fixture
def sm(base: Path) -> StorageManager:
    return StorageManager(local_base_path=base)


def files_below(path: Path) -> set[str]:
    return {str(file.relative_to(path)) for file in path.rglob("*")}


async def test_a_new_step_appears_at_once(sm: StorageManager, base: Path) -> None:
    """A reader that polls sees no directory of the step, or all four files in it."""
    done = False

    def watch() -> set[int]:
        seen = set()
        while not done:
            for number in range(40):
                step = base / "s" / f"t{number}"
                seen.add(len(os.listdir(step)) if step.exists() else 0)
        return seen

    watching = asyncio.ensure_future(asyncio.to_thread(watch))
    await asyncio.gather(*(sm.store_step_data("s", f"t{number}", *DATA) for number in range(40)))
    done = True
    assert await watching <= {0, 4}


async def test_replacing_leaves_nothing_but_the_components(sm: StorageManager, base: Path) -> None:
    await sm.store_step_data("s", "t", *DATA)
    await sm.store_step_data("s", "t", *NEW)
    assert await sm.retrieve_step_data("s", "t") == NEW
    names = {"observation.html", "screenshot.png", "action.json", "metadata.json"}
    assert files_below(base) == {"s", "s/t"} | {f"s/t/{name}" for name in names}


async def test_an_empty_step_directory_is_taken(sm: StorageManager, base: Path) -> None:
    (base / "s" / "t").mkdir(parents=True)
    await sm.store_step_data("s", "t", *DATA)
    assert await sm.retrieve_step_data("s", "t") == DATA


async def test_leftovers_are_hidden_and_swept_when_an_hour_old(sm: StorageManager, base: Path) -> None:
    old, young, file, link, foreign = (base / f"{STAGING_PREFIX}{name}" for name in [*(c * 32 for c in "abcd"), "mine"])
    foreign.mkdir()
    link.symlink_to(foreign)
    os.utime(link, (1, 1), follow_symlinks=False)
    os.utime(foreign, (1, 1))
    for directory in (old, young):
        directory.mkdir()
        (directory / "metadata.json").write_text("{}")
    file.write_text("{}")
    for path in (old, file):
        os.utime(path, (time.time() - 3700,) * 2)
    assert await sm.list_sessions() == []
    await sm.store_step_data("s", "t", "x")
    assert {path.name for path in base.iterdir()} == {"s", young.name, foreign.name}


async def test_nothing_is_written_or_deleted_through_a_link(sm: StorageManager, base: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "t").mkdir(parents=True)
    (outside / "t" / "metadata.json").write_text('{"kept":1}')
    (base / "link").symlink_to(outside)
    (base / "s").mkdir()
    (base / "s" / "link").symlink_to(outside / "t")
    for call in (
        sm.store_step_data("link", "t", "x"),
        sm.store_step_data("link", "new", "x"),
        sm.store_step_data("s", "link", "x"),
        sm.delete_step("link", "t"),
        seal_session(sm, "link"),
    ):
        with pytest.raises(LocalStorageError, match="ELOOP"):
            await call
    await sm.delete_step("s", "link")
    await sm.delete_session("link")
    assert await sm.list_sessions() == []
    assert files_below(outside) == {"t", "t/metadata.json"}


async def test_a_file_in_the_way(sm: StorageManager, base: Path) -> None:
    (base / "s").mkdir()
    (base / "s" / "t").write_text("kept")
    with pytest.raises(LocalStorageError, match="file is in the way") as caught:
        await sm.store_step_data("s", "t", "x")
    assert caught.value.operation == "store"
    assert caught.value.url == str(base / "s" / "t")
    await sm.delete_step("s", "t")
    await sm.delete_step("s/t".replace("/", "."), "t")
    assert files_below(base) == {"s", "s/t"}


async def test_the_base_is_gone(sm: StorageManager, base: Path) -> None:
    await sm.store_step_data("s", "t", *DATA)
    shutil.rmtree(base)
    for call in (
        sm.store_step_data("s", "t", "x"),
        sm.retrieve_step_data("s", "t"),
        sm.list_sessions(),
        sm.list_steps_for_session("s"),
        sm.delete_session("s"),
        sm.check(),
    ):
        with pytest.raises(LocalStorageError, match=str(base)):
            await call
    assert not base.exists()


@pytest.mark.parametrize("max_workers", [1, 3])
async def test_reads_that_are_made_together_answer_each_for_itself(base: Path, max_workers: int) -> None:
    sm = StorageManager(local_base_path=base, storage_options={"max_workers": max_workers})
    await sm.store_steps([Step("s", f"{number:02}", StepData(f"<p>{number}", b"", {}, {})) for number in range(50)])
    (base / "s" / "07" / "observation.html").write_bytes(b"\xff")
    wanted = [*range(50), 99, 98]
    reads = [asyncio.ensure_future(sm.retrieve_step_data("s", f"{number:02}")) for number in wanted]
    await asyncio.sleep(0)
    for read in (*reads[10:30], reads[-1]):  # more than are read in one hop
        read.cancel()
    answers = await asyncio.gather(*reads, return_exceptions=True)
    for number, answer in zip(wanted, answers, strict=True):
        if isinstance(answer, StepData):
            html = f"<p>{number}" if number not in (7, 99) else None
            assert answer == (StepData(html, b"", {}, {}) if number < 50 else StepData())
    assert [type(answer) for answer in answers].count(asyncio.CancelledError) == 21
    assert (await sm.retrieve_step_data("s", "03")).html == "<p>3"


async def test_reads_that_are_made_together_fail_together_where_the_base_is_gone(
    sm: StorageManager, base: Path
) -> None:
    await sm.store_step_data("s", "a", "<p>")
    shutil.rmtree(base)
    reads = [asyncio.ensure_future(sm.retrieve_step_data("s", "a")) for _ in range(20)]
    await asyncio.sleep(0)
    reads[0].cancel()  # which is being read; the others wait
    answers = await asyncio.gather(*reads, return_exceptions=True)
    assert [type(answer) for answer in answers].count(LocalStorageError) == 19


def test_a_loop_may_be_closed_while_steps_are_read(base: Path) -> None:
    """Whoever leaves is not told of the reads that end later: nobody waits for them."""
    code = """
import asyncio, sys
from storage_manager import StorageManager
sm = StorageManager(local_base_path=sys.argv[1])
async def store():
    await sm.store_step_data("s", "a", "x" * 1_000_000)
async def leave():
    reads = [asyncio.ensure_future(sm.retrieve_step_data("s", "a")) for _ in range(100)]
    await asyncio.wait(reads, return_when=asyncio.FIRST_COMPLETED)
asyncio.run(store())
for _ in range(5):
    asyncio.run(leave())
print(len(asyncio.run(sm.retrieve_step_data("s", "a")).html))
"""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", code, str(base)], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout, run.stderr.count("Error")) == (0, "1000000\n", 0), run.stderr


def test_the_base_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalStorageError, match=f"{tmp_path}/file"):
        StorageManager(local_base_path=tmp_path / "file" / "base")


async def test_a_deletion_that_fails_leaves_the_session_in_sight(
    sm: StorageManager, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error names what is left, and the same call can be made again."""
    await sm.store_step_data("s", "t", *DATA)

    def refuse(path: str, **kwargs: object) -> None:
        raise PermissionError(errno.EACCES, "not yours", path)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", refuse)
        with pytest.raises(LocalStorageError, match="not yours"):
            await sm.delete_session("s")
    assert await sm.list_sessions() == ["s"]
    await sm.delete_session("s")
    assert files_below(base) == set()


@pytest.mark.parametrize("late", [1, 100])
async def test_writes_that_arrive_in_a_deletion(
    sm: StorageManager, base: Path, late: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory that fills again while it is removed is removed again, but not for ever."""
    await sm.store_step_data("s", "t", *DATA)
    rmtree, calls = shutil.rmtree, 0

    def fill(path: str, **kwargs: object) -> None:
        nonlocal calls
        calls += 1
        if calls <= late:
            raise OSError(errno.ENOTEMPTY, "a write has arrived", path)
        rmtree(path)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", fill)
        patch.setattr(LocalBackend, "removal_pauses", [0] * 10)
        if late == 1:
            await sm.delete_session("s")
        else:
            with pytest.raises(LocalStorageError, match="has arrived"):
                await sm.delete_session("s")
    assert await sm.list_sessions() == ([] if late == 1 else ["s"])


async def test_a_full_disk_keeps_the_old_and_leaves_nothing(
    sm: StorageManager, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sm.store_step_data("s", "t", *DATA)
    before = files_below(base)
    write = LocalBackend._write_whole

    def fill(self: LocalBackend, path: str, data: bytes) -> None:
        write(self, path, data[:1])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    monkeypatch.setattr(LocalBackend, "_write_whole", fill)
    for session in ("s", "new"):
        with pytest.raises(LocalStorageError, match="free some space"):
            await sm.store_step_data(session, "t", *NEW)
    with pytest.raises(OSError, match="No space"):
        await sm.async_fs._pipe_file(sm.url_for("s", "t", "html"), b"new")
    assert await sm.retrieve_step_data("s", "t") == DATA
    assert files_below(base) == before


async def test_writes_that_end_early_are_gone_on_with(sm: StorageManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """write(2): the number of bytes written may be less than asked for."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
    await sm.store_step_data("s", "t", *DATA)
    assert await sm.retrieve_step_data("s", "t") == DATA


async def test_deletions_meanwhile_make_a_store_begin_anew(sm: StorageManager) -> None:
    """A store that has returned has stored all, whatever is deleted beside it."""
    other = StorageManager.from_url(sm.url_for())
    stop = False

    def delete() -> None:
        async def run() -> None:
            while not stop:
                await other.delete_session("s")

        asyncio.run(run())

    deleting = asyncio.ensure_future(asyncio.to_thread(delete))
    for number in range(300):
        await sm.store_step_data("s", f"t{number % 3}", *DATA)
    stop = True
    await deleting
    await sm.store_step_data("s", "t", *DATA)
    assert await sm.retrieve_step_data("s", "t") == DATA


@pytest.mark.parametrize("made", ["t", "other"])
async def test_a_session_that_appears_meanwhile(
    sm: StorageManager, base: Path, made: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that another makes first takes the step in, and nothing is left of our own."""
    rename, session = os.rename, base / "s"

    def late(source: str, target: str) -> None:
        if target == str(session) and not session.exists():
            (session / made).mkdir(parents=True)
            (session / made / "metadata.json").write_text("{}")
        rename(source, target)

    monkeypatch.setattr(os, "rename", late)
    await sm.store_step_data("s", "t", *DATA)
    assert await sm.retrieve_step_data("s", "t") == DATA
    assert os.listdir(base) == ["s"]
    assert set(os.listdir(session)) == {"t", made}


async def test_a_session_that_cannot_be_published(
    sm: StorageManager, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left of a new session that the disk refuses."""
    rename = os.rename

    def refuse(source: str, target: str) -> None:
        if target == str(base / "s"):
            raise PermissionError(errno.EACCES, "not yours", target)
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(LocalStorageError, match="not yours"):
        await sm.store_step_data("s", "t", *DATA)
    assert files_below(base) == set()


async def test_a_store_gives_up_when_the_step_vanishes_every_time(
    sm: StorageManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def vanish(*args: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "gone again", "somewhere")

    monkeypatch.setattr(LocalBackend, "_publish", vanish)
    with pytest.raises(LocalStorageError, match="gone again"):
        await sm.store_step_data("s", "t", "x")


async def test_fsync_comes_before_publishing(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write, fsync, rename, fsync of the directory, in that order."""
    calls: list[str] = []
    for name in ("fsync", "rename", "replace"):
        function = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *args, _name=name, _function=function: calls.append(_name) or _function(*args)
        )
    sm = StorageManager(local_base_path=base, fsync=True)
    await sm.store_step_data("s", "t", "x", metadata={})
    # two files and their directory; the first rename finds no session, so one is made around the step and synced
    assert calls == ["fsync"] * 3 + ["rename", "rename", "fsync", "rename", "fsync"]
    calls.clear()
    await sm.store_step_data("s", "t", "y")
    assert calls == ["fsync"] * 2 + ["rename", "replace", "fsync"]


async def test_the_filesystem_is_fsspecs(sm: StorageManager, tmp_path: Path) -> None:
    fs = sm.async_fs
    path = f"{tmp_path}/elsewhere/file"
    await fs._pipe_file(path, b"0123456789")
    assert await fs._cat_file(path, start=2, end=4) == b"23"
    assert (await fs._info(path))["size"] == 10
    assert fs.cat_file(path) == b"0123456789"
    with pytest.raises(FileExistsError):
        await fs._pipe_file(path, b"", mode="create")
    await fs._pipe({f"{path}2": b"2", f"{path}3": b"3"})
    assert await fs._cat([f"{path}2", f"{path}3"]) == {f"{path}2": b"2", f"{path}3": b"3"}
    assert await fs._glob(f"{tmp_path}/elsewhere/*2") == [f"{path}2"]
    await fs._rm(f"{tmp_path}/elsewhere", recursive=True)
    assert not await fs._exists(path)
    await sm.aclose()


def test_a_staging_directory_that_is_published_meanwhile(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep ignores a staged name that is gone when it reads its time."""
    staged = base / (STAGING_PREFIX + "0" * 32)
    staged.mkdir(parents=True)
    os.utime(staged, (0, 0))
    scandir = os.scandir

    def publish(path: str) -> list["os.DirEntry[str]"]:
        with scandir(path) as entries:
            found = list(entries)
        staged.rmdir()
        return found

    monkeypatch.setattr(os, "scandir", lambda path: nullcontext(publish(path)))
    assert sweep(str(base), 60, []) == 0


def test_other_sync_backends_have_directories(tmp_path: Path) -> None:
    """What is not ours runs as any synchronous backend of fsspec does, directories and all."""

    class PlainDisk(LocalFileSystem):  # type: ignore[misc]
        protocol = "plain-disk"

    fsspec.register_implementation("plain-disk", PlainDisk, clobber=True)

    async def run() -> None:
        sm = StorageManager.from_url(f"plain-disk://{tmp_path}/deep")
        await sm.store_step_data("s", "t", *DATA)
        await sm.store_step_data("s", "t2", *DATA)
        await sm.delete_step("s", "t")
        assert await sm.retrieve_step_data("s", "t2") == DATA
        await sm.delete_step("s", "t2")
        assert await sm.list_sessions() == []

    asyncio.run(run())


async def test_what_is_no_file_and_no_directory(sm: StorageManager, base: Path) -> None:
    """A link in a circle hides no other session, and a pipe holds up nobody."""
    await sm.store_step_data("s", "t", *DATA)
    (base / "circle").symlink_to("circle")
    (base / "s" / "circle").symlink_to("circle")
    os.unlink(base / "s" / "t" / "metadata.json")
    os.mkfifo(base / "s" / "t" / "metadata.json")
    assert await sm.list_sessions() == ["s"]
    assert await sm.list_steps_for_session("s") == ["t"]
    assert await sm.retrieve_step_data("s", "t") == DATA._replace(metadata=None)
    with pytest.raises(LocalStorageError, match="not a regular file"):
        await sm.retrieve_step_data("s", "t", strict=True)


async def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    """What is stored can be read again: a step is refused whose files no path could name."""
    base = str(tmp_path)
    while len(base) < 3800:
        base += "/" + "d" * min(200, 3837 - len(base))
    sm = StorageManager(local_base_path=base)
    with pytest.raises(LocalStorageError, match="ENAMETOOLONG"):
        await sm.store_step_data("s" * 128, "t" * 128, "x")
    assert await sm.list_sessions() == []


async def test_housekeeping_fails_no_store(sm: StorageManager, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = base / f"{STAGING_PREFIX}{'a' * 32}"
    old.mkdir()
    os.utime(old, (1, 1))

    def refuse(path: str, **kwargs: object) -> None:
        raise PermissionError(errno.EACCES, "not yours", path)

    monkeypatch.setattr(shutil, "rmtree", refuse)
    await sm.store_step_data("s", "t", "x")
    assert await sm.list_sessions() == ["s"]
    assert any(path.name.startswith(STAGING_PREFIX) for path in base.iterdir())


async def test_reads_that_wait_are_answered_when_it_is_closed(sm: StorageManager) -> None:
    """Else whoever waits for them waits for ever."""
    ids = await sm.store_step_data("s", "t", *DATA)
    filesystem = sm.async_fs
    reads = [asyncio.ensure_future(filesystem.read_files([str(ids["html_path"])])) for _ in range(40)]
    await asyncio.sleep(0)
    await sm.aclose()
    answers = await asyncio.wait_for(asyncio.gather(*reads), 30)
    assert [type(answer) for [answer] in answers] == [bytes] * 40


def test_two_that_sweep_at_once(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one has moved away the other may find, and remove, before it does."""
    left = base / (".staging-" + "0" * 32)
    left.mkdir(parents=True)
    os.utime(left, (0, 0))
    rename, swept = os.rename, list[int]()

    def overtaken(source: str, target: str) -> None:
        rename(source, target)
        if not swept:
            swept.append(-1)
            swept.append(sweep(str(base), 60))

    monkeypatch.setattr(os, "rename", overtaken)
    assert sweep(str(base), 60) + swept[1] == 1
    assert list(base.iterdir()) == []


@pytest.mark.parametrize("auto_mkdir", [True, False])
def test_an_option_of_the_filesystem_may_be_given(base: Path, auto_mkdir: bool) -> None:
    sm = StorageManager(local_base_path=base, storage_options={"auto_mkdir": auto_mkdir})
    assert sm.fs.auto_mkdir is auto_mkdir


async def test_stores_and_reads_that_wait_share_a_hop(sm: StorageManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """One hop to the worker costs 60 to 80 us of the 300 us of a step."""
    hops, submit = list[int](), ThreadPoolExecutor.submit

    def count(self: ThreadPoolExecutor, *args: Any, **kwargs: Any) -> Any:
        hops.append(1)
        return submit(self, *args, **kwargs)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", count)
    await asyncio.gather(*(sm.store_step_data("s", f"t{number}", *DATA) for number in range(17)))
    assert len(hops) == 3  # the first alone, then eight at a time
    hops.clear()
    found = await asyncio.gather(*(sm.retrieve_step_data("s", f"t{number}") for number in range(17)))
    assert found == [DATA] * 17
    assert len(hops) == 3


async def test_a_store_that_fails_does_not_fail_those_of_its_hop(sm: StorageManager, base: Path) -> None:
    await sm.check()
    (base / "file").write_text("not a session")
    stores = [sm.store_step_data("file" if number == 3 else "s", f"t{number}", *DATA) for number in range(9)]
    outcomes = await asyncio.gather(*stores, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [dict] * 3 + [LocalStorageError] + [dict] * 5
    assert len(await sm.list_steps_for_session("s")) == 8


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs the list of open files")
@pytest.mark.parametrize("function", ["stage_file", "open_to_read", "open_regular"])
async def test_a_file_that_is_opened_during_a_cancellation_is_closed(
    sm: StorageManager, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    """A cancellation waits until the file is open. Nobody gets it then, and nothing staged is left."""
    video = tmp_path / "video.webm"
    video.write_bytes(b"video")
    await sm.store_attachments("s", {"v.webm": video})
    place: Any = streams if function == "open_regular" else LocalBackend
    opening, may_open, original = threading.Event(), threading.Event(), getattr(place, function)

    def slow(*args: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():  # there it is only a test of the file
            opening.set()
            may_open.wait()
        return original(*args)

    monkeypatch.setattr(place, function, slow)
    work = seal_session(sm, "s") if function == "open_to_read" else sm.store_attachments("s", {"v.webm": video})
    task = asyncio.ensure_future(work)
    await asyncio.to_thread(opening.wait)
    task.cancel()
    may_open.set()
    await asyncio.wait([task])
    assert task.cancelled()
    await sm.aclose()
    assert files_below(base) == {"s", "s/_files", "s/_files/v.webm"}
    targets = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert [target for target in targets if target.startswith(str(tmp_path))] == []
