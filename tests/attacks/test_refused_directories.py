"""A directory in a session that cannot be listed: it is named, and everything else of the session is used."""

import os
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from storage_manager import LocalStorageError, StepData, StorageManager, StorageManagerError
from storage_manager.integrity import seal_session, verify_session
from storage_manager.inventory import files_by_step, summarize
from storage_manager.transfer import copy_sessions, purge_sessions

DATA = StepData("<p>", b"\x89PNG", {"a": 1}, {"m": 1})
needs_another_user = pytest.mark.skipif(os.geteuid() != 0, reason="root alone may become another user, who is refused")


@pytest.fixture
async def nobody(tmp_path: Path) -> AsyncIterator[StorageManager]:
    """A manager of another user than root, with a session of three steps, of which one may not be read."""
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == 0 and not directory.stat().st_mode & 0o001:
            directory.chmod(directory.stat().st_mode | 0o011)
    for name in ("base", "copy"):
        (tmp_path / name).mkdir()
        os.chown(tmp_path / name, 65534, 65534)
    os.seteuid(65534)
    try:
        sm = StorageManager(local_base_path=tmp_path / "base")
        for step_id in ("t1", "t2", "t3"):
            await sm.store_step_data("s", step_id, *DATA)
        Path(sm.url_for("s", "t2")).chmod(0)
        yield sm
    finally:
        os.seteuid(0)


@needs_another_user
async def test_iter_steps_goes_on(nobody: StorageManager, caplog: pytest.LogCaptureFixture) -> None:
    assert [step.step_id async for step in nobody.iter_steps()] == ["t1", "t3"]
    [record] = caplog.records
    assert f"a step is left out: cannot retrieve {nobody.url_for('s', 't2')}/" in record.getMessage()
    with pytest.raises(LocalStorageError, match=r"t2.*check who may read"):
        _ = [step async for step in nobody.iter_steps(strict=True)]


@needs_another_user
async def test_if_no_step_may_be_read_the_storage_fails(nobody: StorageManager) -> None:
    for step_id in ("t1", "t3"):
        Path(nobody.url_for("s", step_id)).chmod(0)
    with pytest.raises(LocalStorageError, match=r"t1.*check who may read"):
        _ = [step async for step in nobody.iter_steps()]


@needs_another_user
async def test_the_other_steps_are_verified(nobody: StorageManager) -> None:
    Path(nobody.url_for("s", "t3", "action")).write_text("no JSON")
    problems = {problem.url: problem for problem in await verify_session(nobody, "s")}
    assert "t2" in problems[nobody.url_for("s")].detail
    assert problems[nobody.url_for("s", "t3", "action")].kind == "unreadable"
    assert nobody.url_for("s", "t1", "action") not in problems


@needs_another_user
async def test_the_other_steps_are_copied(nobody: StorageManager, tmp_path: Path) -> None:
    Path(nobody.url_for("s", "t2")).chmod(0o700)
    await seal_session(nobody, "s")
    Path(nobody.url_for("s", "t2")).chmod(0)
    target = StorageManager(local_base_path=tmp_path / "copy")
    with pytest.raises(LocalStorageError, match=r"t2.*check who may read"):
        await copy_sessions(nobody, target)
    assert await target.list_steps_for_session("s") == ["t1", "t3"]
    assert not (tmp_path / "copy/s/_manifest.json").exists(), "it is not complete"


@needs_another_user
async def test_a_session_that_is_not_known_whole_is_not_purged(nobody: StorageManager) -> None:
    with pytest.raises(LocalStorageError, match=r"t2.*check who may read"):
        await purge_sessions(nobody, timedelta(0), dry_run=False)
    assert await nobody.list_steps_for_session("s") == ["t1", "t2", "t3"]


@needs_another_user
async def test_the_files_of_the_others_are_listed(nobody: StorageManager) -> None:
    """For `ls s --long`."""
    unlisted: list[StorageManagerError] = []
    assert sorted(await files_by_step(nobody, "s", unlisted)) == ["t1", "t3"]
    [error] = unlisted
    assert "t2" in str(error)
    with pytest.raises(LocalStorageError, match="t2"):
        await files_by_step(nobody, "s")


# --- as root, too ---------------------------------------------------------------------------------


def circle(step: Path) -> None:
    """A link to itself, among the steps."""
    os.symlink("circle", step.parent / "circle")


def far_away(step: Path) -> None:
    """A time after the year 9999."""
    os.utime(step / "action.json", (2**40, 2**40))


@pytest.mark.parametrize("harm", [circle, far_away])
async def test_nothing_is_unlistable_for_it(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    """Each made the session unlistable for verify, copy, purge and ls."""
    sm, target = (StorageManager(local_base_path=tmp_path / name) for name in ("base", "copy"))
    await sm.store_step_data("s", "t", *DATA)
    harm(Path(sm.url_for("s", "t")))
    assert [problem.kind for problem in await verify_session(sm, "s")] == ["unlisted"] * (harm is circle)
    assert (await summarize(sm, "s")).steps == 1
    assert await copy_sessions(sm, target) == 1
    assert (await sm.get_share_links("s", "t"))["html_path"]
    assert await purge_sessions(sm, timedelta(days=1)) == []


async def test_a_path_that_is_too_long_hides_nothing_else(tmp_path: Path) -> None:
    sm, target = (StorageManager(local_base_path=tmp_path / name) for name in ("base", "copy"))
    await sm.store_step_data("s", "t", *DATA)
    await sm.store_step_data("s", "u", *DATA)
    at = os.open(sm.url_for("s", "t"), os.O_RDONLY)
    for _ in range(30):
        os.mkdir("d" * 200, dir_fd=at)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    Path(sm.url_for("s", "u", "action")).write_text("no JSON")
    problems = await verify_session(sm, "s")
    assert [problem.url for problem in problems] == [sm.url_for("s"), sm.url_for("s", "u", "action")]
    with pytest.raises(LocalStorageError, match="ENAMETOOLONG"):
        await copy_sessions(sm, target)
    assert await target.list_steps_for_session("s") == ["t", "u"]
    await sm.delete_session("s")
    assert await sm.list_sessions() == []


async def test_an_age_before_all_time(tmp_path: Path) -> None:
    """It was an OverflowError."""
    sm = StorageManager(local_base_path=tmp_path)
    await sm.store_step_data("s", "t", *DATA)
    assert await purge_sessions(sm, timedelta.max, dry_run=False) == []
