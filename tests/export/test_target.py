"""An export is published when it is complete: no failure, cancellation or kill changes what was there before."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import dask.dataframe
import pandas as pd
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from storage_manager import LocalStorageError, StorageManager, StorageManagerError
from storage_manager.export import export_parquet, export_webdataset, parquet
from tests.support import ROOT
from tests.support.exported import small
from tests.support.roots import Make

Export = Callable[..., Awaitable[Any]]
STAGED = ".staging-" + "0" * 32
DAY = 86400


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture(params=[export_parquet, export_webdataset])
def export(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Export:
    """Either export, in batches of two steps."""
    monkeypatch.setattr("storage_manager.export.writing.BATCH_ROWS", 2)
    return request.param  # type: ignore[no-any-return]


def contents(directory: Path) -> dict[str, bytes]:
    """Every file below a directory, hidden ones too."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def disk_full(*args: Any) -> Any:
    """What a full disk says."""
    raise OSError(28, "No space left on device")


async def test_a_source_that_goes_away_leaves_the_earlier_export(
    local: StorageManager, out: Path, export: Export, tmp_path: Path
) -> None:
    await small(local, 100)
    await export(local, f"{out}")
    before = contents(out)

    def unmount(done: int, total: int | None) -> None:
        shutil.rmtree(tmp_path / "base")

    with pytest.raises(LocalStorageError, match="the directory is gone") as caught:
        await export(local, f"{out}", progress=unmount)
    assert caught.value.operation == "export"
    assert contents(out) == before
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []


class Full:
    """A file on a disk that gets full."""

    def __init__(self, file: Any, room: int) -> None:
        self._file, self._room = file, room

    def write(self, data: Any) -> Any:
        self._room -= len(data)
        return self._file.write(data) if self._room >= 0 else disk_full()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@pytest.mark.parametrize("room", [0, 20_000])
async def test_a_full_disk_leaves_the_earlier_export(
    local: StorageManager, out: Path, export: Export, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    await small(local, 100)
    await export(local, f"{out}")
    before = contents(out)
    await local.store_step_data("s", "9", os.urandom(30_000).hex(), os.urandom(30_000), {}, {})
    opened = LocalFileSystem.open
    monkeypatch.setattr(LocalFileSystem, "open", lambda *args, **kwargs: Full(opened(*args, **kwargs), room))
    with pytest.raises(LocalStorageError, match=f"cannot export {out}: ENOSPC.*free some space") as caught:
        await export(local, f"{out}")
    assert caught.value.url == f"{out}"
    assert contents(out) == before


async def test_a_file_that_cannot_be_completed_leaves_the_earlier_export(
    local: StorageManager, out: Path, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an upload to S3, which may fail when the file is closed."""
    await small(local, 100)
    await export(local, f"{out}")
    before = contents(out)
    opened = LocalFileSystem.open

    def open_(*args: Any, **kwargs: Any) -> Any:
        file = opened(*args, **kwargs)
        close = file.close
        monkeypatch.setattr(file, "close", lambda: (close(), disk_full()))
        return file

    with monkeypatch.context() as patch:
        patch.setattr(LocalFileSystem, "open", open_)
        with pytest.raises(LocalStorageError, match="ENOSPC"):
            await export(local, f"{out}")
    assert contents(out) == before


async def test_a_cancelled_export_leaves_the_earlier_one(local: StorageManager, out: Path, export: Export) -> None:
    await small(local, 100)
    await export(local, f"{out}")
    before = contents(out)
    threads = threading.active_count()
    task: asyncio.Future[Any] = asyncio.ensure_future(
        export(local, f"{out}", progress=lambda done, total: task.cancel() or None)
    )
    with pytest.raises(asyncio.CancelledError):
        await task
    assert contents(out) == before
    assert threading.active_count() == threads


async def test_a_cancellation_while_it_is_published_waits_for_the_end(
    local: StorageManager, out: Path, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is being renamed is not left half done."""
    await small(local, 10)
    loop = asyncio.get_running_loop()
    replace = os.replace

    def slow(*names: str) -> None:
        loop.call_soon_threadsafe(task.cancel)
        threading.Event().wait(0.1)
        replace(*names)

    monkeypatch.setattr(os, "replace", slow)
    task = asyncio.ensure_future(export(local, f"{out}"))
    with pytest.raises(asyncio.CancelledError):
        await task
    whole = contents(out)
    monkeypatch.undo()
    await export(local, f"{out}")
    assert contents(out).keys() == whole.keys()
    assert not any(name.startswith(".") for name in whole)


@pytest.mark.thorough
async def test_a_killed_export_leaves_the_earlier_one(local: StorageManager, out: Path) -> None:
    """kill -9 in the middle of the second export; pyarrow, pandas and dask read the first one."""
    await small(local, 100)
    for _ in range(2):
        killed(local.url_for(), f"{out}")
        staged = [path.name for path in out.iterdir() if path.name.startswith(".")]
        assert staged
        assert all(name.startswith(".staging-") for name in staged)
        steps = pyarrow.dataset.dataset(sorted(map(str, out.glob("data/steps-*.parquet"))))
        assert steps.count_rows() == 100
        assert len(dask.dataframe.read_parquet(f"{out}/data/steps-*.parquet")) == 100
        assert len(pd.read_parquet(out / "index/index.parquet")) == 100


def killed(*arguments: str) -> None:
    """Run exports in another process, and kill it when the second one is writing."""
    command = [sys.executable, "-m", "tests.support.endless_export", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        process.kill()


async def test_what_is_staged_is_hidden(local: StorageManager, out: Path) -> None:
    """pyarrow, pandas and dask do not look into it, whatever is there."""
    await small(local, 3)
    await export_parquet(local, f"{out}", components=["metadata"])
    for path in (out, out / "data"):
        (path / STAGED).mkdir()
        (path / STAGED / "steps-00000.parquet.part").write_bytes(b"PAR1half of it")
        (path / STAGED / "steps-00001.parquet").write_bytes(b"PAR1half of it")
    assert pyarrow.dataset.dataset(f"{out}/data").count_rows() == 3
    assert len(pd.read_parquet(out / "data")) == 3
    assert len(dask.dataframe.read_parquet(f"{out}/data/*.parquet")) == 3


async def test_a_shorter_export_removes_what_is_left_of_a_longer_one(
    local: StorageManager, out: Path, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "FILE_BYTES", 1)
    option = {"shard_bytes": 1} if export is export_webdataset else {}
    await small(local, 20)
    await export(local, f"{out}", **option)
    mine = dict.fromkeys(("steps-1.parquet", "shard-1.tar", "README", "data/old-steps-00009.parquet"), b"mine")
    (out / "data").mkdir(exist_ok=True)
    for name, data in mine.items():
        (out / name).write_bytes(data)
    (out / "more").mkdir()
    await small(other := StorageManager(local_base_path=out.parent / "other"), 4)
    await export(other, f"{out}", **option)
    await export(other, f"{out.parent}/fresh", **option)
    assert contents(out) == {**contents(out.parent / "fresh"), **mine}
    assert (out / "more").is_dir()


async def test_nobody_ever_sees_half_a_file(local: StorageManager, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread opens every file under a final name, while exports of changing length replace each other."""
    monkeypatch.setattr(parquet, "FILE_BYTES", 20_000)
    monkeypatch.setattr("storage_manager.export.writing.BATCH_ROWS", 20)
    await small(local, 200)
    await small(other := StorageManager(local_base_path=out.parent / "other"), 50)
    seen: list[int] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            for path in (*out.glob("data/*.parquet"), *out.glob("index/*.parquet")):
                # opened once: read_table by itself opens the footer, and then perhaps another file of that name
                with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                    seen.append(pq.read_table(file).num_rows)

    watcher = asyncio.ensure_future(asyncio.to_thread(watch))
    try:
        for storage in (local, other) * 6:
            await export_parquet(storage, f"{out}")
    finally:
        stop.set()
        await watcher
    assert len(seen) > 20
    assert set(seen) == {60, 20, 200, 50}  # files of one export, its index, and those of the other one


async def test_leftovers_of_killed_exports_go_after_a_day(local: StorageManager, out: Path, export: Export) -> None:
    """By their newest file; one that is empty by its own age."""
    names = {"old": 1.01, "written": 0.99, "empty": 1.01, "new": 0.99}
    staged = {name: out / f".staging-{number:032x}" for number, name in enumerate(names)}
    for name, path in staged.items():
        path.mkdir(parents=True)
        if name in ("old", "written"):
            (path / "file").write_bytes(b"")
            age(path / "file", names[name])
        age(path, 2 if name == "written" else names[name])
    (out / ".staging-mine").mkdir()
    age(out / ".staging-mine", 2)
    await small(local, 1)
    await export(local, f"{out}")
    hidden = [path for path in out.iterdir() if path.name.startswith(".")]
    assert sorted(hidden) == sorted([staged["written"], staged["new"], out / ".staging-mine"])


def age(path: Path, days: float) -> None:
    """Say that it was written so long ago."""
    written = datetime.now(timezone.utc).timestamp() - days * DAY
    os.utime(path, (written, written))


async def test_leftovers_that_stay_fail_no_export(
    local: StorageManager, out: Path, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    (out / STAGED).mkdir(parents=True)
    age(out / STAGED, 2)
    await small(local, 1)

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise PermissionError(1, "not yours")

    monkeypatch.setattr(LocalFileSystem, "rm", refuse)
    await export(local, f"{out}")
    assert (out / STAGED).exists()
    assert len(contents(out)) in (1, 4)


async def test_a_directory_in_the_way_is_an_error(local: StorageManager, out: Path, export: Export) -> None:
    """What others write as a directory of that name, such as Spark, is not written into."""
    for name in ("data/steps-00000.parquet", "shard-000000.tar"):
        (out / name).mkdir(parents=True)
    await small(local, 1)
    with pytest.raises(LocalStorageError, match="EISDIR"):
        await export(local, f"{out}")
    assert contents(out) == {}


async def test_a_target_in_memory_is_left_as_it_was(
    local: StorageManager, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    await small(local, 50)
    fs = MemoryFileSystem()
    url = "memory://left-as-it-was"
    await export(local, url)
    before = {path: fs.cat_file(path) for path in fs.find(url)}

    def fail(done: int, total: int | None) -> None:
        raise ZeroDivisionError("the progress bar is broken")

    with pytest.raises(StorageManagerError, match="progress bar") as caught:
        await export(local, url, progress=fail)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert {path: fs.cat_file(path) for path in fs.find(url)} == before
    fs.rm(url, recursive=True)


@pytest.mark.thorough
async def test_a_bucket_is_left_as_it_was(moto: Make, export: Export) -> None:
    """In the middle of an upload in parts, which is not left unfinished."""
    sm = moto(s3_prefix="sessions")
    await small(sm, 3)
    url, options = sm.url_for().removesuffix("sessions") + "out", sm.storage_options
    await export(sm, url, storage_options=options)
    before = {path: sm.fs.cat_file(path) for path in sm.fs.find(url)}
    await sm.store_step_data("s", "0000", screenshot_bytes=os.urandom(60_000_000))

    def fail(done: int, total: int | None) -> None:
        raise ZeroDivisionError("the progress bar is broken")

    with pytest.raises(StorageManagerError, match="progress bar"):
        await export(sm, url, storage_options=options, progress=fail)
    sm.fs.invalidate_cache()
    assert {path: sm.fs.cat_file(path) for path in sm.fs.find(url)} == before
    bucket = url.split("/")[2]
    assert not sm.fs.call_s3("list_multipart_uploads", Bucket=bucket).get("Uploads")


async def test_the_event_loop_is_not_blocked(
    local: StorageManager, out: Path, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a slow target writes, the loop goes round; it writes in one thread, which is not the loop's."""
    await small(local, 6)
    opened, threads = LocalFileSystem.open, set()

    def slow(*args: Any, **kwargs: Any) -> Any:
        threads.add(threading.current_thread())
        threading.Event().wait(0.2)
        return opened(*args, **kwargs)

    monkeypatch.setattr(LocalFileSystem, "open", slow)
    task = asyncio.ensure_future(export(local, f"{out}"))
    rounds = 0
    while not task.done():
        await asyncio.sleep(0.01)
        rounds += 1
    await task
    assert rounds > 10
    assert len(threads) == 1
    assert threading.current_thread() not in threads
    assert not threads.pop().is_alive()
