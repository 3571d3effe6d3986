"""export_dask gives the files of export_parquet, written by the workers of a cluster."""

import importlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask
import pyarrow.parquet as pq
import pytest
from distributed import Client, LocalCluster

from storage_manager import InvalidDataError, LocalStorageError, StepData, StorageManager, StorageManagerError
from storage_manager.export import cluster, export_dask, export_parquet, read_dask
from storage_manager.export.parts import divide, manager_options
from storage_manager.export.rows import Row
from storage_manager.export.tables import Summary
from storage_manager.export.target import Target
from tests.support.exported import fill, rows_of, small
from tests.support.roots import Make

LOCALHOST = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "scheduler_port": 0}
INDEX, SESSIONS = "index/index.parquet", "sessions/sessions.parquet"


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Tasks run in threads if a test has no cluster."""
    with dask.config.set(scheduler="threads"):
        yield


def without_files(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "file"} for row in rows]


def is_same_export(one: Path, other: Path) -> bool:
    """True if all tables have the same rows and columns, and the cards are equal."""
    for name in ("data/steps-*.parquet", SESSIONS):
        assert rows_of(str(one), name=name) == rows_of(str(other), name=name)
    indexes = [rows_of(str(url), name=INDEX) for url in (one, other)]
    assert without_files(indexes[0]) == without_files(indexes[1])
    for name in ("data/steps-00000.parquet", SESSIONS, INDEX):
        assert pq.read_schema(one / name) == pq.read_schema(other / name)
    metadata = [pq.read_metadata(url / INDEX).metadata for url in (one, other)]
    found = [[pairs[key] for key in (b"rows", b"unreadable")] for pairs in metadata]
    assert found[0] == found[1]
    return (one / "README.md").read_text() == (other / "README.md").read_text()


def rows_name_their_file(url: Path) -> bool:
    for row in rows_of(str(url), name=INDEX):
        table = pq.read_table(url / row["file"], columns=["session_id", "step_id"]).to_pylist()
        assert {name: row[name] for name in ("session_id", "step_id")} in table
    return True


async def lay(sm: StorageManager) -> None:
    """Recorded and hostile sessions, sessions with metadata, one that has nothing else, and attachments."""
    await fill(sm)
    await sm.store_session_metadata("nasty", {"goal": "a | b", "outcome": "success", "reward": 1})
    await sm.store_session_metadata("only-metadata", {"outcome": "failure"})
    await sm.store_attachments("nasty", {"axtree.json": {"role": "main"}}, "html-only")
    sm.fs.pipe_file(sm.url_for("unreadable") + "/_session.json", b"{")


@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_the_files_are_those_of_an_export(make: Make, tmp_path: Path, size: int) -> None:
    sm = make()
    await lay(sm)
    count = await export_parquet(sm, tmp_path / "one", attachments=["axtree.json"])
    assert export_dask(sm, tmp_path / "two", attachments=["axtree.json"], steps_per_partition=size) == count
    assert is_same_export(tmp_path / "one", tmp_path / "two")
    assert rows_name_their_file(tmp_path / "two")
    assert len(list((tmp_path / "two" / "data").iterdir())) == -(-count // size)
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["README.md", "data", "index", "sessions"]


@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket.socket.*0.0.0.0:pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("make", [("moto", "obstore")], indirect=True)
@pytest.mark.thorough
async def test_two_workers_write_what_datasets_loads(make: Make, tmp_path: Path) -> None:
    """To a bucket, from a bucket."""
    sm = make(s3_prefix="sessions")
    await lay(sm)
    await export_parquet(sm, tmp_path / "one", ["nasty", "harbour-books"])
    url = sm.url_for().rpartition("/")[0] + "/of-workers"
    workers = LocalCluster(n_workers=2, threads_per_worker=1, **LOCALHOST)
    with workers, Client(workers), dask.config.set(scheduler=None):
        export_dask(sm, url, ["nasty", "harbour-books"], steps_per_partition=3, storage_options=sm.storage_options)
    sm.fs.invalidate_cache()
    sm.fs.get(url, f"{tmp_path}/two", recursive=True)
    assert is_same_export(tmp_path / "one", tmp_path / "two")
    datasets = importlib.import_module("datasets")
    rows = datasets.load_dataset(str(tmp_path / "two"), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(rows) == len(rows_of(str(tmp_path / "one")))


async def test_an_earlier_export_is_replaced_or_stays(local: StorageManager, tmp_path: Path) -> None:
    await small(local, 5)
    done: list[tuple[int, int | None]] = []
    assert export_dask(local, tmp_path / "out", steps_per_partition=2, progress=lambda *n: done.append(n)) == 5
    assert done == [(2, 5), (4, 5), (5, 5)]
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    with pytest.raises(InvalidDataError, match="these sessions have no steps: missing"):
        export_dask(local, tmp_path / "out", ["s", "missing"])
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before
    assert export_dask(local, tmp_path / "out", ["s", "s"]) == 5
    assert len(list((tmp_path / "out" / "data").iterdir())) == 1


def files_below(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


async def test_workers_that_are_late_leave_nothing(
    local: StorageManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One fails, and another one begins to write when the export has ended."""
    await small(local, 4)
    write, has_ended, late = cluster._write_part, threading.Event(), list[BaseException]()

    def fails(number: int, *args: Any) -> Any:
        if number == 1:
            raise OSError("worker")
        has_ended.wait()
        try:
            return write(number, *args)
        except StorageManagerError as error:
            late.append(error)
            raise

    monkeypatch.setattr(cluster, "_write_part", fails)
    with ThreadPoolExecutor(2) as pool:
        with dask.config.set(pool=pool), pytest.raises(StorageManagerError, match="cannot export"):
            export_dask(local, tmp_path / "out", steps_per_partition=2)
        has_ended.set()
    assert "the export has ended" in str(late[0])
    assert files_below(tmp_path / "out") == {}


async def test_a_worker_with_another_disk(
    local: StorageManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file is not there when the others are: the earlier export stays."""
    await small(local, 6)
    export_dask(local, tmp_path / "out", steps_per_partition=2)
    before = files_below(tmp_path / "out")
    write = cluster._write_part

    def elsewhere(number: int, *args: Any) -> Any:
        written = write(number, *args)
        if number == 2:
            Path(written.path).unlink()
        return written

    monkeypatch.setattr(cluster, "_write_part", elsewhere)
    with pytest.raises(
        StorageManagerError, match="does not exist here: the export has ended, or a worker has another disk"
    ):
        export_dask(local, tmp_path / "out", ["s"], components=["action"], steps_per_partition=2)
    assert files_below(tmp_path / "out") == before


async def test_each_attempt_has_a_file_of_its_own(local: StorageManager, tmp_path: Path) -> None:
    """A worker that is taken for dead may still write, also when the export is published."""
    await small(local, 1)
    target = Target(f"{tmp_path}/out", None)
    target.prepare()
    job = cluster._Job(local.url_for(), manager_options(local), ("html",), (), target.url, None, target.staging)
    paths = [cluster._write_part(0, [("s", ["0000"])], job).path for _ in range(2)]
    assert len({*paths, *map(str, Path(target.staging).iterdir())}) == 2


async def test_a_full_disk_leaves_nothing(
    local: StorageManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await small(local, 4)
    close = Summary.close

    def full(self: Summary) -> None:
        close(self)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Summary, "close", full)
    monkeypatch.setattr(Summary, "finish", full)
    with pytest.raises(LocalStorageError, match="ENOSPC"):
        export_dask(local, tmp_path / "out")
    assert files_below(tmp_path / "out") == {}


async def test_the_limit_of_files_is_that_of_the_manager(local: StorageManager, tmp_path: Path) -> None:
    await local.store_step_data("s", "t", "x" * 2000, action_data={"a": 1})
    limited = StorageManager(local_base_path=local.url_for(), max_file_bytes=1000)
    await export_parquet(limited, tmp_path / "one")
    export_dask(limited, tmp_path / "two")
    assert is_same_export(tmp_path / "one", tmp_path / "two")
    [row] = rows_of(f"{tmp_path}/two")
    assert (row["html"], row["unreadable"]) == (None, "html")
    assert read_dask(limited, components=["html"]).unreadable.compute().to_list() == ["html"]


def test_rows_are_divided_by_their_size() -> None:
    rows = [Row("s", str(number), StepData(html="x" * 3 * 2**20)) for number in range(5)]
    assert [len(piece) for piece in cluster._pieces(rows)] == [2, 2, 1]


async def test_a_worker_without_the_disk_is_an_error(local: StorageManager, tmp_path: Path) -> None:
    await small(local, 1)
    job = cluster._Job(f"{tmp_path}/other", {}, ("html",), (), f"{tmp_path}/out", None, f"{tmp_path}/out/.x")
    with pytest.raises(StorageManagerError, match="none of its 1 sessions exists"):
        cluster._write_part(0, [("gone", ["1"])], job)


async def test_an_empty_root(local: StorageManager, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await local.store_session_metadata("s", {"outcome": "success"})
    assert export_dask(local, tmp_path / "out") == 0
    await export_parquet(local, tmp_path / "one")
    assert is_same_export(tmp_path / "one", tmp_path / "out")
    assert "there are no steps" in caplog.text


def test_a_place_that_is_not_allowed(local: StorageManager) -> None:
    with pytest.raises(InvalidDataError, match="inside the storage root"):
        export_dask(local, local.url_for("out"))
    with pytest.raises(InvalidDataError, match="steps_per_partition"):
        export_dask(local, "/tmp/out", steps_per_partition=0)
    with pytest.raises(TypeError):
        export_dask(local.url_for(), "/tmp/out")  # type: ignore[arg-type]


def test_parts() -> None:
    listings = [("a", ["1", "2", "3"]), ("b", []), ("c", ["1"]), ("d", ["1", "2"])]
    assert divide(listings, 2) == [
        [("a", ["1", "2"])],
        [("a", ["3"]), ("b", []), ("c", ["1"])],
        [("d", ["1", "2"])],
    ]
    assert divide(listings, 10) == [listings]
    assert divide([], 2) == [[]]
    assert divide([("a", ["1", "2"]), ("b", [])], 2) == [[("a", ["1", "2"]), ("b", [])]]


async def test_the_root_cannot_be_listed(tmp_path: Path) -> None:
    (tmp_path / "base").write_text("no directory")
    with pytest.raises(LocalStorageError):
        export_dask(StorageManager(local_base_path=tmp_path / "base"), tmp_path / "out")
