"""The commands `catalog update` and `find`, as real processes."""

import json
from pathlib import Path

import pytest

from storage_manager import StorageManager
from storage_manager.layout import CATALOG_DIRECTORY
from tests.support.shell import SAMPLE, lines, sm


async def test_sessions_are_found_that_the_catalogue_has(tmp_path: Path) -> None:
    at = ("--root", str(tmp_path / "root"))
    assert sm("put", "-q", SAMPLE, *at).code == 0
    missing = sm("find", *at)
    assert (missing.code, missing.out) == (3, "")
    assert "storage-manager catalog update" in missing.err
    async with StorageManager(local_base_path=tmp_path / "root") as storage:
        await storage.store_session_metadata("run-2", {"goal": "x" * 99, "outcome": "fail\nure\x1b[2J"})
    told = "2 sessions in the catalogue: 2 added, 0 read again, 0 removed\n"
    assert sm("catalog", "update", "-q", *at) == (0, told, "")
    one = sm("find", "steps = 0", "--limit", "1", "--order-by", "session_id", *at)
    assert one == (0, f"{'-':<20}  fail ure\\x1b[2J     0 steps  run-2  {'x' * 77}...\n", "")
    (tmp_path / "root/run-2/_session.json").unlink()
    (tmp_path / "root/run-2").rmdir()
    assert sm("catalog", "update", "-q", "run-2", *at).out.endswith("0 added, 0 read again, 1 removed\n")
    gone = f"storage-manager: there is no session {tmp_path}/root/run-2: list them with storage-manager ls\n"
    assert sm("catalog", "update", "-q", "harbour-books", "run-2", *at) == (3, "", gone)
    assert sm("find", "steps > 99", *at) == (0, "", "no session meets the condition\n")
    assert sm("find", "steps > 99", "--json", *at) == (0, "", "")
    wrong = sm("find", "nothing = 1", *at)
    assert (wrong.code, wrong.out) == (2, "")
    assert "the columns are session_id" in wrong.err


@pytest.mark.thorough
async def test_what_is_found_is_for_machines_too(tmp_path: Path) -> None:
    at = ("--root", str(tmp_path / "root"))
    sm("put", "-q", SAMPLE, *at)
    assert sm("catalog", "update", "-q", "harbour-books", *at).out.startswith("1 session in the catalogue: 1 added")
    assert sm("catalog", "update", "-q", "--full", *at).out.endswith("0 added, 1 read again, 0 removed\n")
    assert sm("catalog", "update", "-q", "--full", "run", *at).code == 2
    [row] = map(json.loads, lines(sm("find", "--json", *at).out))
    assert (row["session_id"], row["steps"], row["hosts"]) == ("harbour-books", 4, row["hosts"])
    assert row["last_modified"].endswith("+00:00")
    assert sm("ls", *at).out == "harbour-books\n"
    assert (tmp_path / "root" / CATALOG_DIRECTORY).is_dir()
    assert sm("get", "harbour-books", str(tmp_path / "copy"), *at).code == 0
    assert [path.name for path in (tmp_path / "copy").iterdir()] == ["harbour-books"]
