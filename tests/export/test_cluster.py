"""export_dask gives the files of export_parquet, written by the workers of a cluster."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import pyarrow.parquet as pq
import pytest
from distributed import Client, LocalCluster

from storage_manager import InvalidDataError, LocalStorageError, StorageManager, StorageManagerError
from storage_manager.export import cluster, export_dask, export_parquet
from storage_manager.export.parts import divide
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


async def test_a_worker_that_fails_leaves_nothing(
    local: StorageManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await small(local, 4)
    write = cluster._write_part

    def fails(number: int, *args: Any) -> Any:
        if number == 1:
            raise OSError("worker")
        return write(number, *args)

    monkeypatch.setattr(cluster, "_write_part", fails)
    with pytest.raises(StorageManagerError, match="cannot export"):
        export_dask(local, tmp_path / "out", steps_per_partition=2)
    assert [path for path in tmp_path.glob("out/**/*") if path.is_file()] == []


async def test_a_worker_without_the_disk_is_an_error(local: StorageManager, tmp_path: Path) -> None:
    await small(local, 1)
    listings = cluster.divide([("gone", ["1"])], 1)
    job = cluster._Job(f"{tmp_path}/other", {}, ("html",), (), f"{tmp_path}/out", None, f"{tmp_path}/out/.x")
    with pytest.raises(StorageManagerError, match="none of its 1 sessions exists"):
        cluster._write_part(0, listings[0], job)


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
    assert divide([("a", ["1", "2"]), ("b", [])], 2) == [[("a", ["1", "2"])], [("b", [])]]


async def test_the_root_cannot_be_listed(tmp_path: Path) -> None:
    (tmp_path / "base").write_text("no directory")
    with pytest.raises(LocalStorageError):
        export_dask(StorageManager(local_base_path=tmp_path / "base"), tmp_path / "out")
