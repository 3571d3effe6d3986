"""Each tool of docs/tools.rst, on local disk and on S3: what its snippets have read is what was stored."""

import importlib
import sys
from collections.abc import Callable
from typing import Any

import fsspec
import pytest
from page import blocks, recorded
from places import Request

from storage_manager import StorageManager

pytestmark = pytest.mark.no_cover

Snippets = Callable[[str], dict[str, Any]]

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


def test_duckdb(snippets: Snippets) -> None:
    names = snippets("DuckDB")
    assert names["connection"].sql(names["query"]).fetchall() == list(zip(IDS, TITLES, [1024] * 4, strict=True))
    names["connection"].close()


def test_polars(snippets: Snippets) -> None:
    names = snippets("Polars")
    assert names["step"].to_dicts() == METADATA[:1]
    assert names["steps"].sort("step").drop("file").collect().to_dicts() == METADATA


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
    tested = {"pandas", "fsspec", "Dask", "DuckDB", "Polars", "PyArrow", "universal_pathlib", "Hugging Face datasets"}
    assert set(blocks()) == {"Sessions in other tools", "Ray", "Zarr", *tested}


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
