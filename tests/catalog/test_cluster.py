"""The workers of a Dask cluster read the sessions, if there is a client."""

import shutil
from pathlib import Path
from typing import Any

import distributed
import pytest

from storage_manager import StorageManager, StorageManagerError
from storage_manager.catalog import cluster, find_sessions, update_catalog

pytestmark = pytest.mark.thorough


@pytest.fixture
def client() -> Any:
    """A client of a cluster in this process."""
    with distributed.Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=None) as made:
        yield made


async def test_workers_read_the_sessions(client: Any, local: StorageManager, monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[int] = []
    visit = cluster._visit_all

    async def tell(*args: Any) -> Any:
        parts.append(len(args[2]))
        return await visit(*args)

    monkeypatch.setattr(cluster, "_PART", 4)
    monkeypatch.setattr(cluster, "_visit_all", tell)
    for number in range(9):
        await local.store_session_metadata(f"run-{number}", {"reward": number})
    assert await update_catalog(local) == (9, 0, 0, 9)
    await local.store_session_metadata("run-3", {"reward": -3})
    await local.delete_session("run-4")
    assert await update_catalog(local) == (0, 1, 1, 8)
    assert [row["reward"] for row in await find_sessions(local, order_by="session_id")] == [0, 1, 2, -3, 5, 6, 7, 8]
    assert sorted(parts) == [1, 4, 4, 4, 4]


async def test_a_worker_with_another_disk_is_found_out(
    client: Any, local: StorageManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    await local.store_session_metadata("run", {})
    visit = cluster._visit_all

    async def elsewhere(*args: Any) -> Any:
        shutil.rmtree(Path(local.url_for("run")))
        return await visit(*args)

    monkeypatch.setattr(cluster, "_visit_all", elsewhere)
    with pytest.raises(StorageManagerError, match="another disk"):
        await update_catalog(local)
