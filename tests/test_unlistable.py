"""A session that cannot be listed is one failure: named, counted, and the rest goes on. On every backend alike."""

from collections.abc import AsyncGenerator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from storage_manager import Step, StepData, StorageManager, StorageManagerError
from storage_manager.export import export_parquet, export_webdataset
from storage_manager.integrity import verify_session
from storage_manager.inventory import count_steps
from storage_manager.transfer import copy_sessions, purge_sessions, purging
from tests.support.roots import MOTO_KEYS, managers_at

DATA = StepData("<p>", b"\x89PNG", {"a": 1}, {"m": 1})
STEPS = [Step(session, step, DATA) for session in "acd" for step in ("t", "u")]


@pytest.fixture(params=["local", "memory", pytest.param("moto", marks=pytest.mark.thorough)])
def sm(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StorageManager:
    """A manager of an empty root."""
    if request.param == "moto":
        return managers_at(request.getfixturevalue("moto_url"), monkeypatch, **MOTO_KEYS)()
    return StorageManager.from_url(f"{tmp_path}/base" if request.param == "local" else f"memory://{tmp_path.name}")


@pytest.fixture
async def stored(sm: StorageManager, monkeypatch: pytest.MonkeyPatch) -> StorageManager:
    """Sessions a to d, of which b may not be listed."""
    await sm.store_steps([*STEPS, Step("b", "t", DATA)])
    await refuse(sm, "b", monkeypatch)
    return sm


async def refuse(sm: StorageManager, session: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the backend refuse to list a session, as a disk, S3 and any other filesystem may."""

    def refusing(method: Callable[[str], AsyncGenerator[Any, None]]) -> Callable[[str], AsyncGenerator[Any, None]]:
        async def listed(path: str) -> AsyncGenerator[Any, None]:
            if path == sm.url_for(session):
                raise PermissionError(13, "not yours", path)
            async for page in method(path):
                yield page

        return listed

    async with sm.backend() as backend:
        for name in ("iter_names", "iter_files"):
            monkeypatch.setattr(backend, name, refusing(getattr(backend, name)))


async def test_iter_steps(stored: StorageManager, caplog: pytest.LogCaptureFixture) -> None:
    assert [step async for step in stored.iter_steps()] == STEPS
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert stored.url_for("b") in record.message
    assert [step async for step in stored.iter_steps(["b", "d"])] == STEPS[4:]
    with pytest.raises(StorageManagerError, match=f"{stored.url_for('b')}.*not yours"):
        _ = [step async for step in stored.iter_steps(strict=True)]


async def test_if_no_session_can_be_listed_the_storage_fails(stored: StorageManager) -> None:
    with pytest.raises(StorageManagerError, match="not yours"):
        _ = [step async for step in stored.iter_steps(["b"])]


async def test_count_steps(stored: StorageManager) -> None:
    assert await count_steps(stored, strict=False) == 6
    with pytest.raises(StorageManagerError, match="not yours"):
        await count_steps(stored)


@pytest.mark.parametrize("named", [None, ["a", "b", "c", "d"]])
async def test_copy(stored: StorageManager, named: list[str] | None, tmp_path: Path) -> None:
    target, done = StorageManager(local_base_path=tmp_path / "target"), list[tuple[int, int | None]]()
    message = rf"not copied: 1 session that cannot be listed \({stored.url_for('b')}\)\. .*not yours"
    with pytest.raises(StorageManagerError, match=message) as caught:
        await copy_sessions(stored, target, named, progress=lambda *counts: done.append(counts))
    assert (caught.value.operation, caught.value.url) == ("copy", stored.url_for("b"))
    assert [step async for step in target.iter_steps()] == STEPS
    assert done[-1] == (6, 6)


async def test_copy_to_sessions_that_cannot_be_listed(
    sm: StorageManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ends are named, and a copy that can copy nothing ends."""
    local = StorageManager(local_base_path=tmp_path / "source")
    await local.store_steps(Step(f"{number:02}", "t", DATA) for number in range(20))
    for number in range(20):
        await refuse(sm, f"{number:02}", monkeypatch)
    with pytest.raises(StorageManagerError, match=r"not copied: 16 sessions that .*/04, \.\.\.\)"):
        await copy_sessions(local, sm)
    assert await sm.list_sessions() == []


async def test_a_step_and_a_session_are_counted(stored: StorageManager, tmp_path: Path) -> None:
    target = StorageManager(local_base_path=tmp_path / "target")
    (tmp_path / "target" / "c").mkdir()
    (tmp_path / "target" / "c" / "u").write_text("in the way")
    with pytest.raises(StorageManagerError, match="not copied: 1 of 6 steps and 1 session that cannot be listed"):
        await copy_sessions(stored, target)
    assert [step async for step in target.iter_steps()] == [step for step in STEPS if step[:2] != ("c", "u")]


@pytest.mark.parametrize("dry_run", [True, False])
async def test_purge(stored: StorageManager, dry_run: bool) -> None:
    purged = []
    message = rf"not purged: 1 of 4 sessions \({stored.url_for('b')}\)\. .*not yours"
    with pytest.raises(StorageManagerError, match=message) as caught:
        async for session_id in purging(stored, timedelta(0), dry_run=dry_run):
            purged.append(session_id)
    assert (caught.value.operation, caught.value.url) == ("purge", stored.url_for("b"))
    assert purged == ["a", "c", "d"]
    assert await stored.list_sessions() == (["a", "b", "c", "d"] if dry_run else ["b"])


async def test_a_session_that_cannot_be_deleted(stored: StorageManager, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stored.backend() as backend:
        remove = backend.remove_tree

        async def keep(path: str, also_delete: tuple[str, ...] = ()) -> bool:
            if path == stored.url_for("c"):
                raise PermissionError(13, "not yours either", path)
            return await remove(path, also_delete)

        monkeypatch.setattr(backend, "remove_tree", keep)
        with pytest.raises(StorageManagerError, match=r"not purged: 2 of 4 sessions .*/b, .*/c\)\. .*not yours"):
            await purge_sessions(stored, timedelta(0), dry_run=False)
    assert await stored.list_sessions() == ["b", "c"]


async def test_verify(stored: StorageManager) -> None:
    [problem] = await verify_session(stored, "b")
    assert (problem.url, problem.kind) == (stored.url_for("b"), "unreadable")
    assert "not yours" in problem.detail
    assert await verify_session(stored, "a") == []


async def test_parquet(stored: StorageManager, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for named in (None, ["a", "b", "c", "d"]):
        assert await export_parquet(stored, f"{tmp_path}/out", named) == 6
    rows = pq.read_table(f"{tmp_path}/out/data/steps-00000.parquet").to_pylist()
    assert [(row["session_id"], row["step_id"]) for row in rows] == [step[:2] for step in STEPS]
    assert f"1 session could not be listed and is not in the export to {tmp_path}/out: b" in caplog.text


async def test_webdataset(stored: StorageManager, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert len(await export_webdataset(stored, f"{tmp_path}/out")) == 1
    assert f"1 session could not be listed and is not in the export to {tmp_path}/out: b" in caplog.text
