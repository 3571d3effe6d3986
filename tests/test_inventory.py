"""What a listing tells of a session is what lies there, on each backend and engine."""

import os
import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from storage_manager import InvalidIdError, LocalStorageError, S3OperationError, StorageManager
from storage_manager.backends.base import modified_in
from storage_manager.integrity import verify_session
from storage_manager.inventory import Summary, count_steps, list_files, summarize
from storage_manager.transfer import copy_sessions, purge_sessions
from tests.support.answers import XML, Answers, http
from tests.support.roots import Make, Request


async def test_every_file_is_named_with_its_size_and_time(sm: StorageManager) -> None:
    before = datetime.now(timezone.utc) - timedelta(seconds=2)  # S3 tells whole seconds
    await sm.store_step_data("run-1", "b", "<p>Ä</p>", metadata={})
    await sm.store_step_data("run-1", "a", action_data={"type": "click"})
    await sm.store_step_data("run-10", "a", metadata={})
    found = [file async for file in list_files(sm, "run-1")]
    sizes = [("a/action.json", 17), ("b/metadata.json", 3), ("b/observation.html", 9)]
    assert sorted((file.name, file.size) for file in found) == sizes
    assert all(file.modified and before <= file.modified <= datetime.now(timezone.utc) for file in found)
    newest = max(file.modified for file in found if file.modified)
    assert await summarize(sm, "run-1") == Summary(2, 29, newest)


async def test_of_no_session_there_is_nothing(sm: StorageManager) -> None:
    assert await summarize(sm, "nobody") == Summary(0, 0, None)


async def test_one_id_is_not_taken_for_many(make: Make) -> None:
    with pytest.raises(InvalidIdError, match="give a list of ids"):
        await count_steps(make(), "run-1")


async def test_another_id_is_refused(make: Make) -> None:
    with pytest.raises(InvalidIdError):
        await summarize(make(), "*")


async def test_a_thousand_files_cost_one_list(moto: Make, moto_requests: list[Request]) -> None:
    sm = moto()
    for number in range(3):
        await sm.store_step_data("run-1", f"step_{number}", "<p>", b"", {}, {})
    await summarize(sm, "run-1")
    moto_requests.clear()
    await summarize(sm, "run-1")
    assert [request[0] for request in moto_requests] == ["GET"]


async def test_files_that_are_no_steps_are_named_and_not_counted(tmp_path: Path) -> None:
    sm = StorageManager(local_base_path=tmp_path)
    await sm.store_step_data("run-1", "step_1", metadata={})
    (tmp_path / "run-1" / "_manifest.json").write_text("{}")
    os.utime(tmp_path / "run-1" / "_manifest.json", (2**31, 2**31))
    assert await summarize(sm, "run-1") == Summary(1, 5, datetime.fromtimestamp(2**31, timezone.utc))
    assert [file.name async for file in list_files(sm, "run-1")] == ["_manifest.json", "step_1/metadata.json"]


async def test_what_is_no_answer_of_s3_is_no_empty_session(answered_by: Answers) -> None:
    sm, _ = await answered_by(http("200 OK", f"{XML}<html/>", content_type="application/xml"))
    with pytest.raises(S3OperationError, match="is not from S3"):
        await summarize(sm, "run-1")


@pytest.mark.parametrize(
    "told",
    [
        datetime(2026, 1, 2, tzinfo=timezone.utc),
        datetime(2026, 1, 2),
        datetime(2026, 1, 2, 2, tzinfo=timezone(timedelta(hours=2))),
        "2026-01-02T00:00:00Z",
        1767312000,
        1767312000.0,
    ],
)
def test_a_time_is_understood_however_a_backend_tells_it(told: Any) -> None:
    assert modified_in({"mtime": told, "created": 0}) == datetime(2026, 1, 2, tzinfo=timezone.utc)


def test_the_epoch_is_a_time() -> None:
    assert modified_in({"mtime": 0.0, "created": 5.0}) == datetime(1970, 1, 1, tzinfo=timezone.utc)


@pytest.mark.parametrize("info", [{}, {"mtime": None}, {"updated": object()}])
def test_a_time_that_is_not_told_is_none(info: dict[str, Any]) -> None:
    assert modified_in(info) is None


async def test_of_one_step_and_how_many_there_are(sm: StorageManager) -> None:
    for ids in (("run-1", "step_1"), ("run-1", "step_2"), ("run-2", "step_1")):
        await sm.store_step_data(*ids, "<p>", metadata={})
    found = sorted([(file.name, file.size) async for file in list_files(sm, "run-1", "step_2")])
    assert found == [("metadata.json", 3), ("observation.html", 3)]
    assert [file async for file in list_files(sm, "run-1", "step_9")] == []
    assert await count_steps(sm) == 3
    assert await count_steps(sm, ["run-1", "nobody"]) == 2


needs_another_user = pytest.mark.skipif(os.geteuid() != 0, reason="root alone may become another user, who is refused")


@pytest.fixture
def nobody(tmp_path: Path) -> Iterator[Path]:
    """A directory in which this process, as another user than root, may be refused."""
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == 0 and not directory.stat().st_mode & 0o001:
            directory.chmod(directory.stat().st_mode | 0o011)
    base = tmp_path / "base"
    base.mkdir()
    os.chown(base, 65534, 65534)
    os.seteuid(65534)
    yield base
    os.seteuid(0)


@needs_another_user
async def test_what_the_disk_refuses_is_no_empty_directory(nobody: Path) -> None:
    """fsspec's own `find` leaves it out: a copy would be told whole, and a purge would see no fresh step."""
    sm = StorageManager(local_base_path=nobody)
    await sm.store_step_data("run-1", "step_1", metadata={})
    await sm.store_step_data("run-1", "step_2", metadata={})
    (nobody / "run-1/step_2").chmod(0)
    target = StorageManager.from_url("memory://refused")
    for work in (
        summarize(sm, "run-1"),
        copy_sessions(sm, target),
        purge_sessions(sm, timedelta(0), dry_run=False),
    ):
        with pytest.raises(LocalStorageError, match=r"step_2.*check who may read"):
            await work
    problem, *components = await verify_session(sm, "run-1")
    assert (problem.url, problem.kind) == (sm.url_for("run-1"), "unreadable")
    assert len(components) == 4
    assert "step_2" in problem.detail
    (nobody / "run-1/step_2").chmod(0o700)
    assert await sm.list_steps_for_session("run-1") == ["step_1", "step_2"]


async def test_a_disk_that_is_gone_has_no_empty_sessions(tmp_path: Path) -> None:
    sm = StorageManager(local_base_path=tmp_path / "base")
    await sm.store_step_data("run-1", "step_1", metadata={})
    (tmp_path / "base").rename(tmp_path / "away")
    with pytest.raises(LocalStorageError, match="base directory is gone"):
        await summarize(sm, "run-1")


async def test_a_step_that_is_a_link_counts_and_a_link_below_is_not_followed(tmp_path: Path) -> None:
    sm = StorageManager(local_base_path=tmp_path / "base")
    await sm.store_step_data("run-1", "step_1", metadata={})
    (tmp_path / "base/run-1/step_2").symlink_to(tmp_path / "base/run-1/step_1")
    (tmp_path / "base/run-1/step_1/again").symlink_to(tmp_path / "base/run-1")
    (tmp_path / "base/run-1/gone").symlink_to(tmp_path / "nowhere")
    found = [file.name async for file in list_files(sm, "run-1")]
    assert found == ["gone", "step_1/again", "step_1/metadata.json", "step_2/again", "step_2/metadata.json"]


async def test_what_is_deleted_while_it_is_walked_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sm = StorageManager(local_base_path=tmp_path)
    for name in ("step_1", "step_2", "step_3"):
        await sm.store_step_data("run-1", name, metadata={})
    scandir = os.scandir

    def late(path: str) -> Any:
        if str(path).endswith("run-1/step_1"):
            shutil.rmtree(tmp_path / "run-1/step_2")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", late)
    found = [file.name async for file in list_files(sm, "run-1")]
    assert found == ["step_1/metadata.json", "step_3/metadata.json"]
