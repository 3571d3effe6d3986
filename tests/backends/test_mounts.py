"""Real file systems that do things otherwise: no case, no rename of directories, no fsync of them, files that stay."""

import asyncio
import errno
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from storage_manager import InvalidIdError, LocalStorageError, StepData, StorageManager
from storage_manager.backends.local import LocalBackend
from storage_manager.integrity import seal_session, sweep, verify_session
from storage_manager.inventory import list_files
from tests.support.mounts import files_below, mounted, nobody, overlay, quirky

DATA = StepData("<p>", b"\x89PNG", {"a": 1}, {"m": 1})
NEW = StepData("new", b"new", {"a": 2}, {"m": 2})
NAMES = {"observation.html", "screenshot.png", "action.json", "metadata.json"}


async def does_everything(sm: StorageManager, base: Path) -> None:
    """Store, store over, read, seal, delete: nothing else is left at any time."""
    for step in ("t", "u", "v"):
        await sm.store_step_data("s", step, *DATA)
    await sm.store_step_data("s", "t", *NEW)
    assert await sm.retrieve_step_data("s", "t", strict=True) == NEW
    assert await sm.retrieve_step_data("s", "u", strict=True) == DATA
    assert os.listdir(base) == ["s"]
    await seal_session(sm, "s")
    await sm.delete_step("s", "t")
    assert set(os.listdir(base / "s")) == {"u", "v"}  # neither the step nor the seal
    await sm.delete_step("s", "u")
    await sm.delete_step("s", "v")
    assert await sm.list_sessions() == os.listdir(base) == []
    await sm.store_step_data("s", "t", *DATA)
    assert await verify_session(sm, "s") == []
    await sm.delete_session("s")
    assert os.listdir(base) == []


# --- upper and lower case -------------------------------------------------------------------------------


@pytest.fixture
def no_case(tmp_path: Path) -> Iterator[Path]:
    with quirky(tmp_path, "--ignore-case") as point:
        yield point


async def test_another_spelling_is_another_id(no_case: Path) -> None:
    """A store under it is refused, and names both; nothing is found or deleted under it."""
    sm = StorageManager(local_base_path=no_case)
    await sm.store_step_data("Run", "Step", *DATA)
    before = files_below(no_case)
    for ids, stored in {("run", "Step"): "Run", ("RUN", "new"): "Run", ("Run", "step"): "Run/Step"}.items():
        with pytest.raises(LocalStorageError, match="use its spelling, or another id") as caught:
            await sm.store_step_data(*ids, *NEW)
        assert caught.value.url == sm.url_for(*ids, "html").rpartition("/")[0]
        assert f"{caught.value.url}:" in str(caught.value)
        assert f"{no_case}/{stored} " in str(caught.value)
    for storage in (sm, StorageManager(local_base_path=no_case)):  # which has stored nothing, so it only looks
        assert await storage.retrieve_step_data("run", "Step", strict=True) == StepData()
        assert await storage.retrieve_step_data("Run", "step", strict=True) == StepData()
        assert await storage.list_steps_for_session("run") == []
        assert [found async for found in list_files(storage, "run")] == []
        await storage.delete_session("run")
        await storage.delete_step("run", "Step")
        await storage.delete_step("Run", "step")
        assert await storage.list_sessions() == ["Run"]
        assert await storage.retrieve_step_data("Run", "Step", strict=True) == DATA
    assert files_below(no_case) == before


async def test_ids_are_free_again_after_deletion(no_case: Path) -> None:
    sm = StorageManager(local_base_path=no_case)
    await sm.store_step_data("Run", "t", *DATA)
    await sm.store_step_data("Run", "u", *DATA)
    await sm.delete_session("Run")
    await sm.store_step_data("run", "t", *NEW)
    assert await sm.list_sessions() == ["run"]
    await does_everything(StorageManager(local_base_path=no_case / "below"), no_case / "below")


async def test_an_empty_disk_is_probed(no_case: Path) -> None:
    """By the first store, whose manager is another one than that of the second."""
    await StorageManager(local_base_path=no_case).store_step_data("Run", "t", *DATA)
    with pytest.raises(LocalStorageError, match="Run"):
        await StorageManager(local_base_path=no_case).store_step_data("run", "t", *DATA)
    assert len(os.listdir(no_case)) == 1


# --- directories that cannot be renamed -------------------------------------------------------------------

MORE = [pytest.param(name, marks=pytest.mark.thorough) for name in ("EINVAL", "EOPNOTSUPP", "EXDEV", "EMFILE")]


@pytest.mark.parametrize("refusal", ["ENOSYS", "EPERM", *MORE])
async def test_no_directory_can_be_renamed(tmp_path: Path, refusal: str) -> None:
    with quirky(tmp_path, "--rename", refusal) as point:
        await does_everything(StorageManager(local_base_path=point, fsync=True), point)
        staged = point / (".staging-" + "0" * 32)
        staged.mkdir()
        (staged / "metadata.json").write_text("{}")
        assert await sweep(StorageManager(local_base_path=point), timedelta(0)) == 1
        assert os.listdir(point) == []


async def test_a_store_that_fails_there_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: str, target: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target)

    with quirky(tmp_path, "--rename", "ENOSYS") as point:
        sm = StorageManager(local_base_path=point)
        monkeypatch.setattr(os, "replace", full)
        with pytest.raises(LocalStorageError, match="free some space"):
            await sm.store_step_data("s", "t", *DATA)
        assert os.listdir(point) == []


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Path]:
    """A root of overlayfs, with a session of two steps in its lower layer, which is sealed and has an old leftover."""
    lower = tmp_path / "lower"
    sm = StorageManager(local_base_path=lower)

    async def fill() -> None:
        for session in ("s", "sealed"):
            for step in ("t", "u"):
                await sm.store_step_data(session, step, *DATA)
        await seal_session(sm, "sealed")

    asyncio.run(fill())
    leftover = lower / (".staging-" + "0" * 32)
    leftover.mkdir()
    (leftover / "metadata.json").write_text("{}")
    os.utime(leftover, (0, 0))
    with overlay(tmp_path / "overlay", lower) as point:
        yield point


async def test_sessions_of_an_image_are_deleted(image: Path) -> None:
    """The lower layer of overlayfs cannot be renamed (EXDEV)."""
    sm = StorageManager(local_base_path=image)
    await sm.delete_step("sealed", "t")
    assert set(os.listdir(image / "sealed")) == {"u"}
    await sm.delete_step("sealed", "u")
    assert await sm.list_sessions() == ["s"]
    await sm.delete_session("s")
    assert await sm.list_sessions() == []
    await does_everything(sm, image)


async def test_sessions_of_an_image_are_written(image: Path) -> None:
    sm = StorageManager(local_base_path=image)
    await sm.store_step_data("s", "t", *NEW)
    await sm.store_step_data("s", "v", *NEW)
    assert await sm.retrieve_step_data("s", "t", strict=True) == NEW
    assert set(os.listdir(image / "s")) == {"t", "u", "v"}
    assert set(os.listdir(image / "s/t")) == set(os.listdir(image / "s/v")) == NAMES
    assert set(os.listdir(image)) == {"s", "sealed"}


# --- a disk of its own ----------------------------------------------------------------------------------------


@pytest.fixture
def volume(base: Path) -> Iterator[Path]:
    """The root of an empty ext4, in which everyone may write."""
    image = base.with_name("image")
    with image.open("wb") as file:
        file.truncate(8 * 2**20)
    base.parent.chmod(0o755)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    with mounted(base, "-o", "loop", str(image)):
        base.chmod(0o777)
        yield base


async def test_the_root_of_a_volume(volume: Path) -> None:
    """ext4 has a directory `lost+found` there, which only root may read."""
    with nobody():
        sm = StorageManager(local_base_path=volume)
        await sm.store_step_data("s", "t", *DATA)
        assert await sm.list_sessions() == ["s"]
        assert [step.data async for step in sm.iter_steps(strict=True)] == [DATA]
        assert await sweep(sm, timedelta(0)) == 0
        with pytest.raises(InvalidIdError, match="at their root"):
            await sm.list_steps_for_session("lost+found")
        await sm.delete_session("s")
    assert os.listdir(volume) == ["lost+found"]


# --- a session on another disk ------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["disk", "bind"])
async def test_a_session_on_a_disk_of_its_own(tmp_path: Path, what: str) -> None:
    """Nothing can be renamed from the root into it, so it is staged in the session."""
    base, elsewhere = tmp_path / "base", tmp_path / "elsewhere"
    elsewhere.mkdir()
    arguments = ("-t", "tmpfs", "tmpfs") if what == "disk" else ("--bind", str(elsewhere))
    with mounted(base / "s", *arguments):
        sm = StorageManager(local_base_path=base)
        await sm.store_step_data("s", "t", *DATA)
        await sm.store_step_data("s", "t", *NEW)
        await sm.store_step_data("s", "u", *DATA)
        assert await sm.retrieve_step_data("s", "t", strict=True) == NEW
        await sm.async_fs._pipe_file(sm.url_for("s", "u", "html"), b"<p>")
        assert files_below(base / "s") == {"t", "u", *(f"{step}/{name}" for step in "tu" for name in NAMES)}
        await sm.delete_step("s", "t")
        await sm.delete_step("s", "u")
        assert os.listdir(base) == ["s"]
        assert os.listdir(base / "s") == []


async def test_a_session_that_may_be_written_in_a_root_that_may_not(tmp_path: Path) -> None:
    """As a container has a volume for its own session, in a root that is mounted read-only."""
    base = tmp_path / "base"
    await StorageManager(local_base_path=base).store_step_data("s", "old", *DATA)
    with mounted(tmp_path / "read-only", "--bind", "-o", "ro", str(base)) as point:
        sm = StorageManager(local_base_path=point)
        with pytest.raises(LocalStorageError, match="mounted read-only"):
            await sm.store_step_data("s", "t", *DATA)
        with mounted(point / "s", "--bind", str(base / "s")):
            await sm.store_step_data("s", "t", *DATA)
            await sm.store_step_data("s", "t", *NEW)
            assert await sm.retrieve_step_data("s", "t", strict=True) == NEW
            await sm.delete_step("s", "old")
            assert set(os.listdir(base / "s")) == {"t"}
            with pytest.raises(LocalStorageError, match="mounted read-only"):
                await sm.store_step_data("other", "t", *DATA)


# --- fsync ----------------------------------------------------------------------------------------------------


async def test_directories_that_cannot_be_flushed(tmp_path: Path) -> None:
    """CIFS answers EINVAL. The files themselves are flushed."""
    with quirky(tmp_path, "--fsync", "EINVAL") as point:
        await does_everything(StorageManager(local_base_path=point, fsync=True), point)


async def test_a_directory_that_fails_to_be_flushed(tmp_path: Path) -> None:
    with quirky(tmp_path, "--fsync", "EIO") as point:
        with pytest.raises(LocalStorageError, match="EIO"):
            await StorageManager(local_base_path=point, fsync=True).store_step_data("s", "t", *DATA)
        assert os.listdir(point) == []


# --- files that stay while they are open -----------------------------------------------------------------------


@contextmanager
def opened(path: str) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield
    finally:
        os.close(descriptor)


async def test_a_file_that_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS keeps it as `.nfs*`. The step is gone for everyone, and a sweep removes the rest when the file is closed."""
    monkeypatch.setattr(LocalBackend, "removal_pauses", [0.001] * 3)
    with quirky(tmp_path, "--silly") as point:
        sm = StorageManager(local_base_path=point)
        for step in ("t", "u"):
            await sm.store_step_data("s", step, *DATA)
        with opened(sm.url_for("s", "t", "html")), opened(sm.url_for("s", "u", "html")):
            await sm.delete_step("s", "t")
            assert await sm.list_steps_for_session("s") == ["u"]
            await sm.delete_session("s")
            assert await sm.list_sessions() == []
            assert [name for name in os.listdir(point) if not name.startswith(".staging-")] == []
            assert await sweep(sm, timedelta(0)) == 0
        swept = 0
        while swept < 2:  # the kernel tells a file system of a closed file some time later (fuse(4), FUSE_RELEASE)
            swept += await sweep(sm, timedelta(0))
        assert os.listdir(point) == []


async def test_a_seal_that_is_open(tmp_path: Path) -> None:
    """It keeps no session listed after its last step was deleted."""
    with quirky(tmp_path, "--silly") as point:
        sm = StorageManager(local_base_path=point)
        await sm.store_step_data("s", "t", *DATA)
        with opened(await seal_session(sm, "s")):
            await sm.delete_step("s", "t")
            assert await sm.list_sessions() == []


async def test_a_file_that_is_closed_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deletion waits for it."""
    with quirky(tmp_path, "--silly") as point:
        sm = StorageManager(local_base_path=point)
        await sm.store_step_data("s", "t", *DATA)
        sleep = time.sleep
        with ExitStack() as stack:
            stack.enter_context(opened(sm.url_for("s", "t", "html")))
            monkeypatch.setattr(time, "sleep", lambda seconds: stack.close() or sleep(seconds))
            monkeypatch.setattr(LocalBackend, "removal_pauses", [0.001] * 1000)  # FUSE is told some time after close()
            await sm.delete_step("s", "t")
        assert os.listdir(point) == []
