"""What a listing tells of a session is what lies there, on each backend and engine."""

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from answers import XML, Answers, http
from places import Make, Request

from storage_manager import InvalidIdError, S3OperationError, StorageManager
from storage_manager.filesystems.base import modified_in
from storage_manager.inventory import Summary, count_steps, list_files, summarize


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
    with pytest.raises(S3OperationError, match="is not S3"):
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
