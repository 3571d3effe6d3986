"""A disk that refuses: full, read-only, no permission, not a directory, gone.

Every refusal is a LocalStorageError that says what to do; what was stored stays as it was, nothing is left over,
and the same call succeeds when the cause is gone.
"""

import os
import shutil
import stat
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

import storage_manager.backends.local  # noqa: F401  (nobody may not be allowed to read it)
from storage_manager import LocalStorageError, StepData, StorageManager
from storage_manager.backends.base import STAGING_PREFIX
from tests.support.mounts import NOBODY, mounted, nobody

OLD = StepData("<p>old", b"\x89PNG old", {"is": "old"}, {"is": "old"})
NEW = StepData("<p>new" * 10_000, b"\x89PNG new", {"is": "new"}, {"is": "new"})

Call = Callable[[StorageManager], Awaitable[object]]
CALLS: dict[str, Call] = {
    "store new": lambda sm: sm.store_step_data("s", "new", *NEW),
    "store new session": lambda sm: sm.store_step_data("new", "t", *NEW),
    "store over": lambda sm: sm.store_step_data("s", "t", *NEW),
    "delete step": lambda sm: sm.delete_step("s", "t"),
    "delete session": lambda sm: sm.delete_session("s"),
    "list sessions": lambda sm: sm.list_sessions(),
    "list steps": lambda sm: sm.list_steps_for_session("s"),
    "retrieve": lambda sm: sm.retrieve_step_data("s", "t"),
}
WRITES = ["store new", "store new session", "store over"]
CHANGES = [*WRITES, "delete step", "delete session"]
READS = ["list sessions", "list steps", "retrieve"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB and 40 inodes."""
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=1m,nr_inodes=40", "tmpfs") as path:
        yield path


def remount(disk: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", disk], check=True)


@pytest.fixture
def own(base: Path) -> Iterator[Path]:
    """A base that belongs to nobody, who runs the test."""
    base.mkdir()
    if not os.geteuid():
        os.chmod(base.parent, 0o755)
        os.chown(base, NOBODY, NOBODY)
    with nobody():
        yield base


@contextmanager
def mode(path: Path, bits: int) -> Iterator[None]:
    before = path.stat().st_mode
    path.chmod(bits)
    try:
        yield
    finally:
        path.chmod(before)


def tree(base: Path) -> dict[str, bytes]:
    """All that is below, staged or not; a directory has no bytes and ends in a slash."""
    paths = {path: path.is_dir() for path in base.rglob("*")}
    return {
        f"{path.relative_to(base)}{'/' * is_dir}": b"" if is_dir else path.read_bytes()
        for path, is_dir in paths.items()
    }


async def refused(sm: StorageManager, name: str, advice: str) -> LocalStorageError:
    """The error of a call, with all that it has to say."""
    with pytest.raises(LocalStorageError, match=advice) as caught:
        await CALLS[name](sm)
    error = caught.value
    assert error.operation == name.split(maxsplit=1)[0]
    assert error.url
    assert error.url.startswith(sm.url_for())
    assert error.url in str(error)
    assert isinstance(error.__cause__, OSError)
    return error


async def all_refused(sm: StorageManager, base: Path, names: list[str], advice: str) -> None:
    """Each call raises, and each leaves everything as it was."""
    before = tree(base)
    for name in names:
        await refused(sm, name, advice)
        assert tree(base) == before, name


async def all_read(sm: StorageManager) -> None:
    assert await sm.list_sessions() == ["s"]
    assert await sm.list_steps_for_session("s") == ["t"]
    assert await sm.retrieve_step_data("s", "t", strict=True) == OLD


async def all_succeed(sm: StorageManager, names: list[str]) -> None:
    """The calls that were refused do what they should have done, and leave nothing else."""
    for name in names:
        await CALLS[name](sm)
    expected = {"store over": ("s", "t"), "store new": ("s", "new"), "store new session": ("new", "t")}
    for name in set(names) & set(expected):
        if "delete session" not in names or expected[name][0] == "new":
            assert await sm.retrieve_step_data(*expected[name], strict=True) == NEW
    assert not [name for name in os.listdir(sm.url_for()) if name.startswith(STAGING_PREFIX)]


# --- full ---------------------------------------------------------------------------------------------


def fill(disk: Path) -> Path:
    """A file that takes all the room there is."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(4096))
    return filler


async def test_a_full_disk(disk: Path) -> None:
    """Without room for a new value the old one stays; lists and reads go on, and deletion makes room."""
    sm = StorageManager(local_base_path=disk / "base")
    await sm.store_step_data("s", "t", *OLD)
    filler = fill(disk)
    await all_refused(sm, disk / "base", WRITES, "free some space on the disk")
    await all_read(sm)
    filler.unlink()
    await all_succeed(sm, WRITES)


async def test_a_full_disk_can_be_deleted_from(disk: Path) -> None:
    """Deletion needs no room."""
    sm = StorageManager(local_base_path=disk / "base")
    await sm.store_step_data("s", "t", *NEW)
    fill(disk)
    await sm.delete_step("s", "t")
    assert tree(disk / "base") == {}
    await sm.store_step_data("s", "t", *NEW)


@pytest.mark.parametrize("name", WRITES)
async def test_a_disk_that_fills_at_any_file(disk: Path, name: str) -> None:
    """Wherever in a store the inodes run out, it is as if it had not begun; a store needs at most seven."""
    sm = StorageManager(local_base_path=disk / "base")
    await sm.store_step_data("s", "t", *OLD)
    before = tree(disk / "base")
    fillers = []
    while os.statvfs(disk).f_ffree:
        fillers.append(disk / f"filler{len(fillers)}")
        fillers[-1].touch()
    for _ in range(5):  # the directory and its four files
        await refused(sm, name, "free some space")
        assert tree(disk / "base") == before
        fillers.pop().unlink()
    if name == "store new session":
        await refused(sm, name, "free some space")
        assert tree(disk / "base") == before
        fillers.pop().unlink()
    await all_succeed(sm, [name])


# --- read-only ----------------------------------------------------------------------------------------


async def test_a_read_only_disk(disk: Path) -> None:
    """What is stored can be read; what would change it is refused, and done when the disk is writable again."""
    sm = StorageManager(local_base_path=disk / "base")
    await sm.store_step_data("s", "t", *OLD)
    remount(disk, "ro")
    await all_refused(sm, disk / "base", CHANGES, "mounted read-only: choose another")
    await all_read(sm)
    await all_read(StorageManager(local_base_path=disk / "base"))
    with pytest.raises(LocalStorageError, match="mounted read-only"):
        StorageManager(local_base_path=disk / "other")
    remount(disk, "rw")
    await all_succeed(sm, CHANGES)


# --- no permission ------------------------------------------------------------------------------------

PERMISSIONS = [  # what is taken away from what, and which calls are refused then
    ("", 0o555, ["store new session", "delete session"]),  # the others need only the session
    ("s", 0o555, ["store new", "store over", "delete step", "delete session"]),
    ("s/t", 0o555, ["store over", "delete step", "delete session"]),
    ("", 0o000, [*CHANGES, *READS]),
    ("s", 0o000, ["store new", "store over", "delete step", "delete session", "list steps", "retrieve"]),
    ("s/t", 0o000, ["store over", "delete step", "delete session", "retrieve"]),
]


@pytest.mark.parametrize(("where", "bits", "names"), PERMISSIONS)
async def test_no_permission(own: Path, where: str, bits: int, names: list[str]) -> None:
    """Without the right to write, or to read, nothing changes, and the error asks who has it.

    Only the deletion of a session may have removed files by then: what is left of it is in sight again.
    """
    sm = StorageManager(local_base_path=own)
    await sm.store_step_data("s", "t", *OLD)
    before = tree(own)
    for name in names:
        with mode(own / where, bits):
            await refused(sm, name, "check who may")
        assert tree(own).items() <= before.items() if name == "delete session" else tree(own) == before, name
    await all_succeed(sm, names)


async def test_no_permission_for_one_step_of_a_session(own: Path) -> None:
    """A session that cannot be deleted as a whole comes back into sight, with all that is left of it whole."""
    sm = StorageManager(local_base_path=own)
    for name in ("a", "t", "z"):
        await sm.store_step_data("s", name, *OLD)
    with mode(own / "s" / "t", 0o555):
        with pytest.raises(LocalStorageError, match="check who may") as caught:
            await sm.delete_session("s")
        assert caught.value.url == sm.url_for("s")
    assert await sm.retrieve_step_data("s", "t", strict=True) == OLD
    await sm.delete_session("s")
    assert tree(own) == {}


async def test_a_base_that_may_be_written_but_not_listed(own: Path) -> None:
    """Housekeeping, which lists the base, fails no store."""
    sm = StorageManager(local_base_path=own)
    with mode(own, 0o333):
        await sm.store_step_data("s", "t", *NEW)
        assert await sm.retrieve_step_data("s", "t", strict=True) == NEW


async def test_a_base_that_may_not_be_made(own: Path) -> None:
    """The constructor says so, with the path."""
    with mode(own, 0o555), pytest.raises(LocalStorageError, match="check who may") as caught:
        StorageManager(local_base_path=own / "base")
    assert caught.value.url == str(own / "base")
    assert caught.value.operation == "open"
    assert isinstance(caught.value.__cause__, PermissionError)


# --- not a directory, gone ----------------------------------------------------------------------------


def test_a_base_that_is_a_file(base: Path) -> None:
    """The constructor says so, with the path and what to do, and leaves the file alone."""
    base.write_text("kept")
    with pytest.raises(LocalStorageError, match="a file is in the way of a directory: move it") as caught:
        StorageManager(local_base_path=base)
    assert (caught.value.operation, caught.value.url) == ("open", str(base))
    assert isinstance(caught.value.__cause__, FileExistsError)
    assert base.read_text() == "kept"


@pytest.mark.parametrize("replaced", [False, True], ids=["gone", "a file"])
async def test_the_base_goes_meanwhile(base: Path, replaced: bool) -> None:
    """Where the base is gone, or a file lies in its place, nothing is an empty listing, and nothing is made."""
    sm = StorageManager(local_base_path=base)
    await sm.store_step_data("s", "t", *OLD)
    base.rename(base.with_name("away"))
    if replaced:
        base.write_text("kept")
    for name in CALLS:
        await refused(sm, name, "a file is in the way|the directory is gone: create it again, or mount its disk")
        assert os.listdir(base.parent) == ["away"] if not replaced else base.read_text() == "kept"
    if replaced:
        base.unlink()
    base.with_name("away").rename(base)
    await all_read(sm)
    await all_succeed(sm, list(CALLS)[:5])


async def test_directories_go_meanwhile(base: Path) -> None:
    """A step or a session that others removed is missing, not an error, and can be stored again."""
    sm = StorageManager(local_base_path=base)
    for gone in ("s/t", "s"):
        await sm.store_step_data("s", "t", *OLD)
        shutil.rmtree(base / gone)
        assert await sm.list_steps_for_session("s") == []
        assert await sm.retrieve_step_data("s", "t", strict=True) == StepData()
        await sm.delete_step("s", "t")
        await sm.store_step_data("s", "t", *NEW)
        assert await sm.retrieve_step_data("s", "t", strict=True) == NEW
        await sm.delete_session("s")
        assert tree(base) == {}


# --- on the disk --------------------------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """Each fsync with the inode and the size it met, each rename with the inode that it moved."""
    seen: list[tuple[str, int, int]] = []
    fsync = os.fsync

    def record_fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        seen.append(("fsync", status.st_ino, 0 if stat.S_ISDIR(status.st_mode) else status.st_size))
        fsync(descriptor)

    def record_rename(source: str, target: str, function: Callable[[str, str], None]) -> None:
        inode = os.stat(source).st_ino
        function(source, target)
        seen.append(("rename", inode, 0))

    monkeypatch.setattr(os, "fsync", record_fsync)
    for name in ("rename", "replace"):
        monkeypatch.setattr(os, name, partial(record_rename, function=getattr(os, name)))
    return seen


def entries(base: Path, *paths: str) -> list[tuple[str, int, int]]:
    """What an fsync of each of these meets when all is written."""
    statuses = [os.stat(base / path) for path in paths]
    return [("fsync", status.st_ino, 0 if stat.S_ISDIR(status.st_mode) else status.st_size) for status in statuses]


async def test_fsync_meets_whole_files_before_they_are_published(base: Path, calls: list[tuple[str, int, int]]) -> None:
    """Files and their directory are on the disk before they have a name, and the name before the store returns."""
    sm = StorageManager(local_base_path=base, fsync=True)
    await sm.store_step_data("s", "t", "x" * 1000, metadata={})
    html, metadata = "s/t/observation.html", "s/t/metadata.json"
    [session, step] = [os.stat(base / path).st_ino for path in ("s", "s/t")]
    moves = [("rename", step, 0), *entries(base, "s"), ("rename", session, 0)]
    assert calls == [*entries(base, html, metadata, "s/t"), *moves, *entries(base, ".")]
    calls.clear()
    await sm.store_step_data("s", "u", "x")
    assert calls[-2:] == [("rename", os.stat(base / "s/u").st_ino, 0), *entries(base, "s")]
    calls.clear()
    await sm.store_step_data("s", "t", "y" * 2000)
    [replaced] = entries(base, html)
    assert [calls[0], *calls[2:]] == [replaced, ("rename", replaced[1], 0), *entries(base, "s/t")]
