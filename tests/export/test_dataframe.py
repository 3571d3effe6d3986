"""read_dask gives the rows of an export, read by workers that are told where, and no secret."""

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import cloudpickle
import pandas as pd
import pytest
from distributed import Client, LocalCluster

from storage_manager import InvalidDataError, S3OperationError, Step, StepData, StorageManager, StorageManagerError
from storage_manager.export import export_parquet, read_dask
from storage_manager.layout import ALL_COMPONENTS
from tests.support.exported import as_steps, fill, rows_of, small
from tests.support.roots import Make, Request

LOCALHOST = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "scheduler_port": 0}


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """Two processes; what they inherit names no place."""
    with LocalCluster(n_workers=2, threads_per_worker=1, **LOCALHOST) as cluster, Client(cluster) as client:
        yield client


def rows_in(frame: pd.DataFrame) -> list[dict[str, object]]:
    return [{str(name): _plain(value) for name, value in row.items()} for row in frame.to_dict("records")]


def _plain(value: object) -> object:
    return None if value is pd.NA else value


WHERE = ["local", ("moto", "s3fs"), ("moto", "obstore")]


# a connection that distributed gives up when a worker leaves is closed by the garbage collector
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket.socket.*0.0.0.0:pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("make", ["local", ("moto", "obstore")], indirect=True, ids=["local", "obstore"])
@pytest.mark.thorough
async def test_two_workers_give_the_rows_of_an_export(sm: StorageManager, tmp_path: Path, workers: Client) -> None:
    await fill(sm)
    frame = read_dask(sm, components=ALL_COMPONENTS, steps_per_partition=3)
    await export_parquet(sm, f"{tmp_path}/out")
    wanted = rows_of(f"{tmp_path}/out")

    assert frame.npartitions == -(-len(wanted) // 3)
    answer = frame.compute(scheduler=workers)
    assert rows_in(answer) == wanted
    assert as_steps(rows_in(answer)) == [step async for step in sm.iter_steps()]
    assert list(answer.dtypes) == list(frame.dtypes)

    frame.to_parquet(f"{tmp_path}/by-workers", compute_kwargs={"scheduler": workers})
    assert rows_in(pd.read_parquet(f"{tmp_path}/by-workers")) == wanted


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
async def test_any_scheduler_reads_also_within_a_running_loop(make: Make, scheduler: str) -> None:
    sm = make()
    await small(sm, 10)
    frame = read_dask(sm, ["s"], steps_per_partition=4).compute(scheduler=scheduler)
    assert list(frame["metadata"]) == ['{"t":"x"}'] * 10
    assert list(frame.columns) == [
        "session_id",
        "step_id",
        "action",
        "metadata",
        "action_url",
        "metadata_url",
        "observed",
        "unreadable",
    ]


async def test_only_listings_are_asked_before_a_partition_is_computed(moto: Make, moto_requests: list[Request]) -> None:
    sm = moto()
    await small(sm, 4)
    moto_requests.clear()
    frame = read_dask(sm, components=["action"], steps_per_partition=2)
    assert {"list-type=2" in request.query for request in moto_requests} == {True}
    moto_requests.clear()
    assert len(frame.partitions[0].compute(scheduler="sync")) == 2
    names = [request.path.rpartition("/")[2] for request in moto_requests]
    assert sorted(names) == ["_session.json", "action.json", "action.json"]


async def test_no_secret_is_in_the_graph(moto: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers find credentials themselves, and say so where they find none."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    sm = moto(storage_options={"key": "testkey", "secret": "t0psecret", "token": "t0ken"}, redact=["hunter2"])
    await small(sm, 2)
    graph = dict(read_dask(sm).optimize().__dask_graph__())
    for data in (cloudpickle.dumps(graph), pickle.dumps(str(graph).encode())):
        assert not [secret for secret in (b"testkey", b"t0psecret", b"t0ken", b"hunter2") if secret in data]
    with pytest.raises(StorageManagerError, match="set AWS_ACCESS_KEY_ID"):
        read_dask(sm).compute(scheduler="sync")


async def test_sessions_come_in_the_order_that_is_given(tmp_path: Path) -> None:
    sm = StorageManager(local_base_path=tmp_path)
    steps = [Step(name, "1", StepData(html=name)) for name in ("a", "b", "c")]
    await sm.store_steps(steps)
    frame = read_dask(sm, (name for name in ("c", "a")), components=["html"], steps_per_partition=1)
    assert list(frame.compute(scheduler="sync")["html"]) == ["c", "a"]


async def test_an_empty_place_has_the_same_columns(tmp_path: Path) -> None:
    frame = read_dask(StorageManager(local_base_path=tmp_path), components=ALL_COMPONENTS)
    answer = frame.compute(scheduler="sync")
    assert (len(answer), list(answer.dtypes)) == (0, list(frame.dtypes))


async def test_a_place_that_goes_away_is_an_error(moto: Make) -> None:
    sm = moto()
    await small(sm, 1)
    frame = read_dask(sm)
    sm.fs.rm(sm.url_for(), recursive=True)
    with pytest.raises(S3OperationError, match="NoSuchBucket"):
        frame.compute(scheduler="sync")


async def test_a_worker_with_another_disk_is_an_error_and_not_a_frame_of_nulls(tmp_path: Path) -> None:
    sm = StorageManager(local_base_path=tmp_path / "base")
    await small(sm, 3)
    frame = read_dask(sm)
    assert list(read_dask(sm, components=[]).compute(scheduler="sync")["step_id"]) == ["0000", "0001", "0002"]
    (tmp_path / "base").rename(tmp_path / "elsewhere")
    with pytest.raises(
        StorageManagerError, match=r"none of its 1 sessions exists at .*base: they were deleted, or this worker"
    ):
        frame.compute(scheduler="sync")


async def test_what_cannot_be_done_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sm = StorageManager(local_base_path=tmp_path)
    with pytest.raises(InvalidDataError, match="at least 1, not 0"):
        read_dask(sm, steps_per_partition=0)
    with pytest.raises(InvalidDataError, match="no component is called 'htm'"):
        read_dask(sm, components=["htm"])  # type: ignore[list-item]
    monkeypatch.setitem(sys.modules, "dask.dataframe", None)
    with pytest.raises(StorageManagerError, match=r"pip install \"agent-storage-manager\[dask\]\""):
        read_dask(sm)
