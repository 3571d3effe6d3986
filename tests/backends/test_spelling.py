"""Upper and lower case: what it costs on a disk that tells them apart. test_mounts.py has a disk that does not."""

import os
from pathlib import Path

import pytest

from storage_manager import LocalStorageError, StepData, StorageManager
from storage_manager.backends import hidden_name
from storage_manager.backends.spelling import Spelling

DATA = StepData("<p>", b"\x89PNG", {"a": 1}, {"m": 1})


async def test_case_is_told_apart(base: Path) -> None:
    sm = StorageManager(local_base_path=base)
    for ids in (("Run", "t"), ("run", "t"), ("run", "T")):
        await sm.store_step_data(*ids, *DATA)
    assert await sm.list_sessions() == ["Run", "run"]
    assert await sm.list_steps_for_session("run") == ["T", "t"]
    assert sorted(os.listdir(base)) == ["Run", "run"]


async def test_one_probe_is_all_that_it_costs(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One look at the root in the life of a backend, and one hidden name if there is nothing to look at."""
    made, looked = [], []
    mkdir, lexists = os.mkdir, os.path.lexists
    monkeypatch.setattr(os, "mkdir", lambda path, *mode: made.append(path) or mkdir(path, *mode))
    monkeypatch.setattr(os.path, "lexists", lambda path: looked.append(path) or lexists(path))
    async with StorageManager(local_base_path=base) as sm:
        await sm.store_step_data("s", "t", *DATA)
        assert len(made) == 4  # the base, the probe, the step, the session
        assert len(looked) == 2
        for number in range(5):
            await sm.store_step_data("s", f"t{number}", *DATA)
            await sm.retrieve_step_data("s", f"t{number}")
            await sm.list_steps_for_session("s")
        assert len(looked) == 2
    looked.clear()
    async with StorageManager(local_base_path=base) as sm:
        await sm.list_steps_for_session("s")
        await sm.store_step_data("s", "t", *DATA)
        assert looked == [f"{base}/S", f"{base}/s"]


def test_a_name_without_letters_tells_nothing(tmp_path: Path) -> None:
    """Nor does one that is there in both spellings."""
    for name in ("1", "2", "é", "a", "A"):
        (tmp_path / name).mkdir()
    spelling = Spelling(str(tmp_path))
    assert not spelling.is_other(f"{tmp_path}/1")
    assert spelling._ignores_case is None
    assert not spelling.is_other(f"{tmp_path}/a")
    assert spelling._ignores_case is None
    (tmp_path / "1" / "b").mkdir()
    assert not spelling.is_other(f"{tmp_path}/1/b")
    assert spelling._ignores_case is False


async def test_reading_lists_no_root(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have a hundred thousand sessions without a letter in their ids."""
    async with StorageManager(local_base_path=base) as sm:
        await sm.store_step_data("1", "1", *DATA)
    listed, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or scandir(path))
    async with StorageManager(local_base_path=base) as sm:
        assert await sm.list_steps_for_session("1") == ["1"]
        assert await sm.retrieve_step_data("1", "1") == DATA
    assert listed == [f"{base}/1"]


def test_a_root_that_is_gone(tmp_path: Path) -> None:
    spelling = Spelling(f"{tmp_path}/gone")
    assert not spelling.is_other(f"{tmp_path}/gone/s")
    spelling.refuse_other(f"{tmp_path}/gone/s")


def test_listings_are_kept_while_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading many steps lists each directory once; a directory that has just changed is listed again."""
    monkeypatch.setattr("storage_manager.backends.spelling._ignores_case", lambda root: True)
    monkeypatch.setattr("storage_manager.backends.spelling.KEPT_DIRECTORIES", 2)
    lexists = os.path.lexists

    def ignoring(path: str) -> bool:  # as the disk would answer
        directory, name = os.path.split(path)
        return lexists(path) or any(other.lower() == name.lower() for other in os.listdir(directory))

    for name in ("Run", "Other", "Third"):
        (tmp_path / name / "T").mkdir(parents=True)
        os.utime(tmp_path / name, (1, 1))
    os.utime(tmp_path, (1, 1))
    monkeypatch.setattr(os.path, "lexists", ignoring)
    spelling = Spelling(str(tmp_path))
    for _ in range(2):
        for name in ("Run", "Other", "Third"):
            assert not spelling.is_other(f"{tmp_path}/{name}/T")
            assert spelling.is_other(f"{tmp_path}/{name}/t")
            assert spelling.is_other(f"{tmp_path}/{name.lower()}/T")
            assert len(spelling._listings) <= 2
    assert not spelling.is_other(f"{tmp_path}/new")
    (tmp_path / "New").mkdir()
    with pytest.raises(LocalStorageError, match=f"cannot store it: .*{tmp_path}/New exists already"):
        spelling.refuse_other("it", [f"{tmp_path}/new"])
    assert not spelling.is_other("/elsewhere")
    os.rename(tmp_path / "New", tmp_path / "new")
    assert not spelling.is_other(f"{tmp_path}/new")


def test_a_probe_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / hidden_name().swapcase()).touch()
    Spelling(str(tmp_path)).refuse_other(f"{tmp_path}/s")
    assert len(os.listdir(tmp_path)) == 1
