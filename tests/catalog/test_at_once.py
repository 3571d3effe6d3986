"""Updates that run at once, and updates that are killed, leave the table that one quiet update makes."""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from storage_manager import StorageManager
from storage_manager.catalog import find_sessions, update_catalog
from tests.support import ROOT
from tests.support.roots import Make

ROUNDS = int(os.environ.get("SM_TEST_ROUNDS", "8"))  # 200 take minutes


async def rows(sm: StorageManager) -> list[dict[str, Any]]:
    return await find_sessions(sm, order_by="session_id")


async def test_updates_at_once_add_each_session_once(make: Make) -> None:
    sm = make()
    await asyncio.gather(*(sm.store_session_metadata(f"run-{n}", {"reward": n}) for n in range(20)))
    updates = await asyncio.gather(*(update_catalog(make()) for _ in range(3)))
    assert max(update.sessions for update in updates) == 20
    assert [row["session_id"] for row in await rows(sm)] == sorted(f"run-{n}" for n in range(20))


@pytest.mark.thorough
async def test_updates_at_once_of_other_sessions_lose_none(make: Make) -> None:
    sm = make()
    await asyncio.gather(*(sm.store_session_metadata(f"run-{n}", {"reward": n}) for n in range(6)))
    await update_catalog(sm)
    await asyncio.gather(*(sm.store_session_metadata(f"run-{n}", {"reward": -n}) for n in range(6)))
    await asyncio.gather(*(update_catalog(make(), [f"run-{n}", f"run-{n + 3}"]) for n in range(3)))
    assert [row["reward"] for row in await rows(sm)] == [0, -1, -2, -3, -4, -5]


@pytest.mark.thorough
async def test_killed_updates_leave_a_table_that_the_next_one_completes(base: Path) -> None:
    base.mkdir()
    command = [sys.executable, "-W", "error", "-m", "tests.support.killed_updaters", base, str(ROUNDS)]
    done = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    killed, ended = map(int, done.stdout.split())
    sm = StorageManager(local_base_path=base)
    await update_catalog(sm)
    found = await rows(sm)
    shutil.rmtree(base / "_catalog")
    await update_catalog(sm)
    assert found == await rows(sm)
    assert [row["session_id"] for row in found] == await sm.list_sessions()
    assert killed > ROUNDS / 4
    assert ended >= ROUNDS / 4
