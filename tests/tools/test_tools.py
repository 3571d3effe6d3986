"""Each tool of docs/tools.rst, on local disk and on S3: what its snippets have read is what was stored."""

import importlib
import importlib.util
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import fsspec
import pytest

from storage_manager import StorageManager
from tests.support.roots import Request
from tests.support.tools_page import blocks, recorded, run

pytestmark = pytest.mark.thorough

Snippets = Callable[[str], dict[str, Any]]
Rows = list[dict[str, Any]]

STEPS = recorded()
IDS = [step.step_id for step in STEPS]
METADATA = [step.data.metadata for step in STEPS]
TITLES = [data["title"] for data in METADATA if data]
FILES = [f"harbour-books/{name}/metadata.json" for name in IDS]


def test_pandas(snippets: Snippets) -> None:
    names = snippets("pandas")
    assert names["step"].to_dict() == METADATA[0]
    assert names["steps"].to_dict("index") == dict(zip(FILES, METADATA, strict=True))


def test_fsspec(snippets: Snippets) -> None:
    names = snippets("fsspec")
    assert (names["html"], names["png"]) == (STEPS[0].data.html, STEPS[0].data.screenshot)
    assert len(names["opened"]) == 4


def test_dask(snippets: Snippets) -> None:
    dask = importlib.import_module("dask")
    with dask.config.set(scheduler="threads"):
        names = snippets("Dask")
        assert names["actions"].pluck("file").compute() == [name.replace("metadata", "action") for name in FILES]
        assert names["steps"].compute().title.to_list() == names["same"].compute().title.to_list() == TITLES
        assert names["steps"].compute().file.to_list() == FILES


def test_dask_sends_it_to_workers(place: StorageManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """To another process, which has none of the SM_* variables."""
    dask = importlib.import_module("dask")
    bag = importlib.import_module("dask.bag")

    with dask.config.set(scheduler="processes", num_workers=1):
        lines = bag.read_text("sm://half/*/metadata.json")
        for name in ("SM_S3_BUCKET_NAME", "SM_S3_ENDPOINT_URL", "SM_LOCAL_BASE_PATH"):
            monkeypatch.delenv(name, raising=False)
        assert lines.compute() == ['{"n":1}\n']


def alone(function: Callable[[], Any]) -> Any:
    """What a function gives in a process of its own, with the variables of this one.

    For what leaves threads behind that are not Python's: ten times a second one of Polars reads a variable, which
    POSIX forbids while another thread sets one, as every test does; those of Ray outlive its shutdown.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(function).result()


def rows_of_duckdb() -> list[tuple[Any, ...]]:
    names = run("DuckDB")
    rows: list[tuple[Any, ...]] = names["connection"].sql(names["query"]).fetchall()
    names["connection"].close()
    return rows


@pytest.mark.usefixtures("place")
def test_duckdb() -> None:
    assert alone(rows_of_duckdb) == list(zip(IDS, TITLES, [1024] * 4, strict=True))


def rows_of_polars() -> tuple[Rows, Rows]:
    names = run("Polars")
    return names["step"].to_dicts(), names["steps"].sort("step").drop("file").collect().to_dicts()


@pytest.mark.usefixtures("place")
def test_polars() -> None:
    assert alone(rows_of_polars) == (METADATA[:1], METADATA)


def rows_of_a_cluster() -> tuple[Rows, Rows]:
    names = run("Ray")
    return names["steps"].take_all(), names["images"].take_all()


def rows_of_ray() -> tuple[Rows, Rows]:
    """With one small cluster on this machine; in a short directory, as a socket's path has 107 bytes at most."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray = importlib.import_module("ray")
    quiet = {"include_dashboard": False, "logging_level": "error", "log_to_driver": False}
    with tempfile.TemporaryDirectory(dir="/tmp") as scratch, ray.init(num_cpus=1, _temp_dir=scratch, **quiet):
        return rows_of_a_cluster()


@pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="Ray has no package for this Python")
@pytest.mark.parametrize("place", ["s3"], indirect=True)  # one cluster is enough: it takes half a minute to start
@pytest.mark.usefixtures("place")
def test_ray() -> None:
    rows, images = alone(rows_of_ray)
    assert {row.pop("path").split("/")[-2]: row for row in rows} == dict(zip(IDS, METADATA, strict=True))
    assert sorted(row["bytes"] for row in images) == sorted(step.data.screenshot for step in STEPS)


def test_pyarrow(snippets: Snippets) -> None:
    assert snippets("PyArrow")["table"]["title"].to_pylist() == TITLES


@pytest.mark.filterwarnings("ignore:UPath 'sm' filesystem:UserWarning")  # as the page says
def test_universal_pathlib(snippets: Snippets, capsys: pytest.CaptureFixture[str]) -> None:
    assert snippets("universal_pathlib")["html"] == STEPS[0].data.html
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == IDS


@pytest.mark.usefixtures("datasets")
def test_datasets(snippets: Snippets) -> None:
    names = snippets("Hugging Face datasets")
    assert names["titles"] == TITLES
    assert list(names["table"]) == list(names["same"]) == METADATA


@pytest.mark.skipif(sys.version_info < (3, 11), reason="zarr 3 needs Python 3.11")
def test_zarr(snippets: Snippets, place: StorageManager) -> None:
    assert snippets("Zarr")["steps"].tolist() == [1] * 8
    assert place.fs.exists(place.url_for() + "/_embeddings/steps/zarr.json")


def test_every_snippet_is_run() -> None:
    """What has no test would rot."""
    frames = {"pandas", "Dask", "DuckDB", "Polars", "PyArrow", "Ray", "Hugging Face datasets"}
    assert set(blocks()) == {"Sessions in other tools", "fsspec", "universal_pathlib", "Zarr", *frames}


@pytest.mark.parametrize("place", ["s3"], indirect=True)
def test_what_patterns_cost(place: StorageManager, moto_requests: list[Request]) -> None:
    """One LIST for all, but where `s3://` crosses directories: one LIST for each, here the session and four steps."""
    url = place.url_for("harbour-books")
    costs = {"sm://*/*/metadata.json": 1, f"{url}/**/metadata.json": 1, f"{url}/*/metadata.json": 5}
    for pattern, lists in costs.items():
        moto_requests.clear()
        options = {**place.storage_options, "skip_instance_cache": True} if pattern.startswith("s3:") else {}
        assert len(fsspec.open_files(pattern, **options)) >= 4
        assert sum("list-type" in request.query for request in moto_requests) == lists
