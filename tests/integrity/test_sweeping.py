"""Leftovers of killed writers are removed, and nothing else."""

import asyncio
import contextlib
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from storage_manager import InvalidDataError, LocalStorageError, S3OperationError, StorageManager
from storage_manager.backends.base import STAGING_PREFIX, hidden_name
from storage_manager.integrity import sweep
from tests.support.roots import REAL_ENDPOINT, Make, needs_real_s3, s3_client

NOW = timedelta(0)


@pytest.fixture
def local(tmp_path: Path) -> StorageManager:
    return StorageManager(local_base_path=tmp_path)


async def test_nothing_to_sweep(sm: StorageManager) -> None:
    await sm.store_step_data("s", "t", "x")
    assert await sweep(sm, NOW) == 0
    assert await sm.list_steps_for_session("s") == ["t"]


async def test_staged_files_go_when_they_are_old_enough(local: StorageManager, tmp_path: Path) -> None:
    for age, name in [(3700, hidden_name()), (3500, hidden_name()), (3700, ".staging-mine"), (3700, "session")]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "metadata.json").write_bytes(b"{}")
        written = (tmp_path / name).stat().st_mtime - age
        os.utime(tmp_path / name, (written, written))
    assert await sweep(local) == 1
    assert await sweep(local, NOW) == 1
    assert sorted(os.listdir(tmp_path)) == [".staging-mine", "session"]


async def test_a_leftover_that_stays_is_an_error(
    local: StorageManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / hidden_name()).write_bytes(b"")

    def refuse(path: str) -> None:
        raise PermissionError(1, "not yours", path)

    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(LocalStorageError, match="not yours") as caught:
        await sweep(local, NOW)
    assert caught.value.operation == "sweep"
    monkeypatch.undo()
    assert await sweep(local, NOW) == 1


async def test_what_another_sweeps_is_not_counted(
    local: StorageManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / hidden_name()).write_bytes(b"")

    def quicker(path: str, target: str) -> None:
        raise FileNotFoundError(2, "gone", path)

    monkeypatch.setattr(os, "rename", quicker)
    assert await sweep(local, NOW) == 0


async def test_what_is_published_meanwhile_is_whole(local: StorageManager, tmp_path: Path) -> None:
    """A writer whose staged step is swept away begins anew, or fails; it does not return with files missing."""
    data = {"html_content": "x" * 300_000, "screenshot_bytes": bytes(300_000), "action_data": {}, "metadata": {}}
    other = StorageManager(local_base_path=tmp_path)
    storing = asyncio.ensure_future(store_all(local, data))
    while not storing.done():
        await sweep(other, NOW)
    for step in await storing:
        assert None not in await local.retrieve_step_data("s", step)


async def store_all(sm: StorageManager, data: dict[str, Any]) -> list[str]:
    """Store many steps; those whose store returned."""
    stored = []
    for number in range(200):
        with contextlib.suppress(LocalStorageError):
            await sm.store_step_data("s", f"t{number}", **data)
            stored.append(f"t{number}")
    return stored


async def test_an_age_is_not_negative(local: StorageManager) -> None:
    with pytest.raises(InvalidDataError, match="older_than is"):
        await sweep(local, timedelta(seconds=-1))


@pytest.fixture(params=[("moto", ""), ("moto", "deep/prefix"), pytest.param(("real_s3", "deep"), marks=needs_real_s3)])
def s3(request: pytest.FixtureRequest, engine: str) -> Callable[[], StorageManager]:
    backend, prefix = request.param
    make: Make = request.getfixturevalue(backend)
    return lambda: make(s3_prefix=prefix)


async def test_probes_and_unfinished_uploads_go(s3: Callable[[], StorageManager]) -> None:
    """An upload that somebody else has under way in the same bucket is not ours to end."""
    sm = s3()
    await sm.store_step_data("s", "t", "x")
    sm.fs.pipe_file(f"{sm.url_for()}/{hidden_name()}/probe", b"x")
    assert await sweep(sm) == 0
    mine = f"{sm.url_for()}/{STAGING_PREFIX}notes/a.txt"
    sm.fs.pipe_file(mine, b"x")
    client = s3_client(sm.storage_options["endpoint_url"])
    bucket, _, prefix = sm.url_for().removeprefix("s3://").partition("/")
    keys = [
        f"{prefix}/{name}".lstrip("/") for name in ("s/t/screenshot.png", "s/t/video.webm", "backup.tar", "a/b/c/x.bin")
    ]
    for key in keys:
        client.create_multipart_upload(Bucket=bucket, Key=key)
    if sm.storage_options["endpoint_url"] == REAL_ENDPOINT:
        assert await sweep(sm) == 0  # moto says that every upload was begun in 2010
    assert await sweep(sm, NOW) == 3
    left = client.list_multipart_uploads(Bucket=bucket)
    assert sorted(row["Key"] for row in left["Uploads"]) == sorted(keys[2:])
    kept = [mine, sm.url_for("s", "t", "html")]
    assert sm.fs.find(sm.url_for()) == [path.removeprefix("s3://") for path in kept]


async def test_a_probe_that_stays_is_an_error(
    s3: Callable[[], StorageManager], monkeypatch: pytest.MonkeyPatch
) -> None:
    sm = s3()
    sm.fs.pipe_file(f"{sm.url_for()}/{hidden_name()}/probe", b"x")
    refusal = {"Key": "probe", "Code": "AccessDenied", "Message": "no"}

    async def refuse(*args: object) -> list[dict[str, str]]:
        return [refusal]

    monkeypatch.setattr(getattr(sm.async_fs, "s3fs", sm.async_fs), "_delete_keys", refuse)
    with pytest.raises(S3OperationError, match=r"AccessDenied.*for probe"):
        await sweep(sm, NOW)


async def test_other_backends_have_nothing_to_sweep() -> None:
    assert await sweep(StorageManager.from_url("memory://sweeping"), NOW) == 0
