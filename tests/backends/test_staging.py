"""Where files are staged: with the session's group and ACL, out of sight, and swept after a kill."""

import errno
import os
import shutil
import struct
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from storage_manager import LocalStorageError, StepData, StorageManager
from storage_manager.backends import hidden_name
from storage_manager.backends.local import LocalBackend
from storage_manager.backends.staging import KEPT_SESSIONS, Staging
from storage_manager.integrity import seal_session, sweep, verify_session
from storage_manager.inventory import list_files, summarize
from storage_manager.protocol import SessionFileSystem
from tests.support.mounts import NOBODY, files_below, nobody

DATA = StepData("<p>", b"\x89PNG", {"a": 1}, {"m": 1})
GROUP = 4321
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="run as root: only root gives a directory to any group")


@pytest.fixture
def sm(base: Path) -> StorageManager:
    return StorageManager(local_base_path=base)


def acl(user: int) -> bytes:
    """A default ACL with an entry for one user more (Linux, include/uapi/linux/posix_acl_xattr.h)."""
    nobody_else = 0xFFFFFFFF
    entries = [(1, 7, nobody_else), (2, 7, user), (4, 5, nobody_else), (16, 7, nobody_else), (32, 5, nobody_else)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def access(path: Path) -> bytes:
    return os.getxattr(path, "system.posix_acl_access")


# --- groups and ACLs ---------------------------------------------------------------------------------------


@needs_root
async def test_a_new_file_has_the_group_of_its_session(sm: StorageManager, base: Path) -> None:
    """A team's session, with the set-group-ID bit, in a root of nobody's group."""
    session = base / "s"
    session.mkdir()
    os.chown(session, 0, GROUP)
    session.chmod(0o2775)
    await sm.store_step_data("s", "t", *DATA)
    await sm.store_step_data("s", "t", "again")
    await seal_session(sm, "s")
    await sm.async_fs._pipe_file(f"{base}/s/u/observation.html", b"<p>")
    paths = sorted(session.rglob("*"))
    assert len(paths) == 8
    assert {path.stat().st_gid for path in paths} == {GROUP}
    assert {path.stat().st_mode & 0o7777 for path in paths if path.is_dir()} == {0o2755}
    assert {path.stat().st_mode & 0o7777 for path in paths if path.is_file()} == {0o644}
    await sm.store_step_data("other", "t", *DATA)
    assert {path.stat().st_gid for path in (base / "other").rglob("*")} == {base.stat().st_gid}
    assert set(os.listdir(base)) == {"s", "other"}


async def test_a_new_file_has_the_acl_of_its_session(sm: StorageManager, base: Path) -> None:
    """The default ACL of the session, or of the root; as if it were created there."""
    session = base / "s"
    session.mkdir()
    try:
        os.setxattr(session, "system.posix_acl_default", acl(GROUP))
        os.setxattr(base, "system.posix_acl_default", acl(GROUP + 1))
    except (OSError, AttributeError) as error:
        pytest.skip(f"no ACLs ({error}): set TMPDIR to a directory on ext4, xfs or btrfs")
    (session / "plain").mkdir()
    (session / "plain" / "file").touch(0o666)
    await sm.store_step_data("s", "t", *DATA)
    assert access(session / "t") == access(session / "plain")
    assert access(session / "t/metadata.json") == access(session / "plain" / "file")
    await sm.store_step_data("new", "t", *DATA)
    (base / "plain").mkdir()
    (base / "plain" / "file").touch(0o666)
    assert access(base / "new/t/metadata.json") == access(base / "plain" / "file")
    assert access(base / "new/t/metadata.json") != access(session / "t/metadata.json")


async def test_it_is_decided_once_per_session(sm: StorageManager, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two system calls for each directory are saved with each store, and a session that is exchanged is looked at."""
    asked: list[str] = []
    monkeypatch.setattr(os, "getxattr", lambda path, name: asked.append(path) or b"")
    for number in range(5):
        await sm.store_step_data("s", f"t{number}", *DATA)
    assert asked == [f"{base}/s"] * 2 + [str(base)] * 2
    (base / "s").chmod(0o700)
    await sm.store_step_data("s", "t", *DATA)
    assert len(asked) == 8


def test_not_every_decision_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage_manager.backends.staging.KEPT_SESSIONS", 3)
    staging = Staging(str(tmp_path))
    assert KEPT_SESSIONS > 3
    for number in range(10):
        (tmp_path / f"s{number}").mkdir()
        assert os.path.dirname(staging.new_path(f"{tmp_path}/s{number}", "")) == str(tmp_path)
        assert len(staging._decisions) <= 3


# --- a root that may not be written -------------------------------------------------------------------------


@pytest.fixture
def locked(sm: StorageManager, base: Path) -> Iterator[Path]:
    """A root that may not be written, with a session that may, for a user whom permissions bind."""
    (base / "s").mkdir()
    if not os.geteuid():
        base.parent.chmod(0o755)
        os.chown(base / "s", NOBODY, NOBODY)
    base.chmod(0o555)
    with nobody():
        yield base
    base.chmod(0o755)


async def test_a_session_that_may_be_written_in_a_root_that_may_not(sm: StorageManager, locked: Path) -> None:
    for _ in range(2):
        await sm.store_step_data("s", "t", *DATA)
    await sm.store_step_data("s", "u", *DATA)
    await seal_session(sm, "s")
    assert await sm.retrieve_step_data("s", "t", strict=True) == DATA
    assert await verify_session(sm, "s") == []
    await sm.delete_step("s", "t")
    assert set(os.listdir(locked / "s")) == {"u"}
    with pytest.raises(LocalStorageError, match="check who may"):
        await sm.store_step_data("new", "t", *DATA)
    with pytest.raises(LocalStorageError, match="check who may"):
        await sm.delete_session("s")
    assert await sm.retrieve_step_data("s", "u", strict=True) == DATA
    await sm.delete_step("s", "u")
    assert os.listdir(locked / "s") == []


async def test_a_session_that_may_not_be_written_either(sm: StorageManager, locked: Path) -> None:
    """It is tried at the root again the next time, when the root may be written."""
    (locked / "s").chmod(0o555)
    with pytest.raises(LocalStorageError, match="check who may"):
        await sm.store_step_data("s", "t", *DATA)
    (locked / "s").chmod(0o755)
    await sm.store_step_data("s", "t", *DATA)
    assert files_below(locked / "s") >= {"t", "t/metadata.json"}


# --- out of sight ---------------------------------------------------------------------------------------------


async def test_nothing_meets_a_staged_file(sm: StorageManager, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a listing nor a pattern of the layout, while a file is written in its session."""
    await sm.store_step_data("s", "old", metadata={})
    monkeypatch.setattr("storage_manager.backends.staging._given", lambda directory: directory)  # as if they differed
    sync, sessions = sm.fs, SessionFileSystem(local_base_path=str(base))
    write, seen = LocalBackend._write_whole, 0

    def look(self: LocalBackend, path: str, data: bytes) -> None:
        nonlocal seen
        write(self, path, data)
        assert path.startswith(f"{base}/s/.staging-")
        assert self.directories(str(base)) == ["s"]
        assert [file.name for file in self.files(f"{base}/s")[0] if ".staging-" in file.name] == []
        for pattern in (f"{base}/s/*/metadata.json", f"{base}/*/*/metadata.json", f"{base}/*/*.json"):
            assert [found for found in sync.glob(pattern) if ".staging-" in found] == []
        assert [found for found in sessions.find("") if ".staging-" in found] == []
        seen += 1

    monkeypatch.setattr(LocalBackend, "_write_whole", look)
    await sm.store_step_data("s", "t", *DATA)
    await sm.store_step_data("s", "t", *DATA)
    await sm.async_fs._pipe_file(f"{base}/s/t/observation.html", b"<p>")
    assert seen == 9
    assert set(os.listdir(base / "s")) == {"old", "t"}


async def test_a_session_that_is_deleted_while_a_step_is_staged_in_it(
    sm: StorageManager, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store begins anew."""
    await sm.store_step_data("s", "old", metadata={})
    monkeypatch.setattr("storage_manager.backends.staging._given", lambda directory: directory)
    write, late = LocalBackend._write_whole, [1]

    def delete(self: LocalBackend, path: str, data: bytes) -> None:
        if late:
            late.clear()
            shutil.rmtree(base / "s")
        write(self, path, data)

    monkeypatch.setattr(LocalBackend, "_write_whole", delete)
    await sm.store_step_data("s", "t", *DATA)
    assert await sm.retrieve_step_data("s", "t", strict=True) == DATA
    assert files_below(base) == {"s", "s/t", *(f"s/t/{name}" for name in os.listdir(base / "s/t"))}


def leave(directory: Path, age: float) -> Path:
    """What a writer leaves that is killed while it stages in a session."""
    outer = directory / hidden_name()
    inner = outer / hidden_name()
    inner.mkdir(parents=True)
    (inner / "metadata.json").write_text("{}")
    os.utime(outer, (time.time() - age,) * 2)
    return outer


async def test_what_is_left_in_sessions_is_swept(sm: StorageManager, base: Path) -> None:
    """By a sweep in all sessions; by the first store in its own, after an hour."""
    for session in ("s", "other"):
        await sm.store_step_data(session, "t", *DATA)
    old, young, elsewhere = leave(base / "s", 3700), leave(base / "s", 0), leave(base / "other", 3700)
    again = StorageManager(local_base_path=base)
    await again.store_step_data("s", "u", *DATA)
    assert (old.exists(), young.exists(), elsewhere.exists()) == (False, True, True)
    [problem] = await verify_session(again, "other")
    assert (problem.kind, problem.url.startswith(str(elsewhere))) == ("leftover", True)
    assert await verify_session(again, "s") == []  # its writer may still be at work
    assert await sweep(again, timedelta(0)) == 2
    assert {name for session in ("s", "other") for name in os.listdir(base / session)} == {"t", "u"}


@needs_root
async def test_a_session_that_may_not_be_read_is_not_swept(base: Path, caplog: pytest.LogCaptureFixture) -> None:
    sm = StorageManager(local_base_path=base)
    base.parent.chmod(0o755)
    os.chown(base, NOBODY, NOBODY)
    with nobody():
        for session in ("a", "b"):
            await sm.store_step_data(session, "t", *DATA)
            leave(base / session, 7200)
        (base / "a").chmod(0)
        assert await sweep(sm) == 1
        (base / "a").chmod(0o755)
    assert f"cannot sweep {base}/a" in caplog.text


async def test_files_that_are_still_open_stay_for_the_next_sweep(
    sm: StorageManager, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged = base / hidden_name()
    staged.mkdir()
    (staged / ".nfs000000000001").touch()

    def busy(path: str) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", busy)
        assert await sweep(sm, timedelta(0)) == 0
        (next(base.iterdir()) / "metadata.json").touch()
        with pytest.raises(LocalStorageError, match="EBUSY"):
            await sweep(sm, timedelta(0))
    assert await sweep(sm, timedelta(0)) == 1


# --- what systems leave ----------------------------------------------------------------------------------------

SYSTEM_FILES = [".DS_Store", "._observation.html", "Thumbs.db", "desktop.ini", ".nfs000000000001"]


async def test_files_of_systems_do_not_count(sm: StorageManager, base: Path) -> None:
    """A session is what was stored in it; with its last step it is gone."""
    await sm.store_step_data("s", "t", *DATA)
    before = await summarize(sm, "s")
    for name in SYSTEM_FILES:
        (base / "s" / name).write_bytes(b"x" * 1000)
        (base / "s/t" / name).write_bytes(b"x" * 1000)
    assert await summarize(sm, "s") == before
    assert [file.name for file in [file async for file in list_files(sm, "s")] if "t/" not in file.name] == []
    assert await verify_session(sm, "s") == []
    await sm.delete_step("s", "t")
    assert await sm.list_sessions() == os.listdir(base) == []


async def test_a_session_with_only_leftovers_is_removed(sm: StorageManager, base: Path) -> None:
    await sm.store_step_data("s", "t", *DATA)
    (base / "s/.DS_Store").touch()
    leave(base / "s", 3700)
    await sm.delete_step("s", "t")
    assert os.listdir(base) == []


@pytest.mark.parametrize("name", ["notes.txt", ".hidden", "._directory/", "young"])
async def test_a_session_with_anything_else_stays_as_it_is(sm: StorageManager, base: Path, name: str) -> None:
    await sm.store_step_data("s", "t", *DATA)
    (base / "s/.DS_Store").touch()
    if name == "young":
        leave(base / "s", 0)
    elif name.endswith("/"):
        (base / "s" / name).mkdir()
    else:
        (base / "s" / name).touch()
    before = files_below(base / "s")
    await sm.delete_step("s", "t")
    assert files_below(base / "s") == {path for path in before if path != "t" and not path.startswith("t/")}


# --- what cannot be removed --------------------------------------------------------------------------------------


async def test_an_error_names_what_is_left(sm: StorageManager, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is half deleted and in sight, unless an error says so; then it is in sight."""
    monkeypatch.setattr(LocalBackend, "removal_pauses", [0] * 3)
    await sm.store_step_data("s", "t", *DATA)
    rmtree = shutil.rmtree

    def busy(path: str) -> None:
        if os.path.exists(f"{path}/action.json"):
            for name in ("action.json", "observation.html"):
                os.unlink(f"{path}/{name}")
            (Path(path) / ".nfs000000000001").touch()
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)

    monkeypatch.setattr(shutil, "rmtree", busy)
    left = r"(?i)busy; 3 files are left: \.nfs000000000001, metadata\.json, screenshot\.png"
    with pytest.raises(LocalStorageError, match=left) as caught:
        await sm.delete_step("s", "t")
    assert str(base / "s/t") in str(caught.value)
    assert await sm.list_steps_for_session("s") == ["t"]
    for name in ("metadata.json", "screenshot.png"):
        (base / "s/t" / name).unlink()
    await sm.delete_step("s", "t")  # only what NFS keeps is left now, and that is out of sight
    assert await sm.list_sessions() == []
    monkeypatch.setattr(shutil, "rmtree", rmtree)
    assert await sweep(sm, timedelta(0)) == 1
    assert os.listdir(base) == []


async def test_a_missing_permission_is_no_missing_rename(
    sm: StorageManager, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EPERM for one directory, while others can be renamed: it is not deleted, nor written, file by file."""
    await sm.store_step_data("s", "t", *DATA)
    before, rename = files_below(base), os.rename

    def refuse(source: str, target: str) -> None:
        if {f"{base}/s/t", f"{base}/s/u"} & {source, target}:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), source)
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(LocalStorageError, match=r"EPERM.*check who may"):
        await sm.delete_step("s", "t")
    with pytest.raises(LocalStorageError, match=r"EPERM.*check who may"):
        await sm.store_step_data("s", "u", *DATA)
    assert files_below(base) == before
