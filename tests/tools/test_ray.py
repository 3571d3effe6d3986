"""Ray, as docs/tools.rst has it, on local disk and on S3: one small cluster on this machine, which is ended.

In a process of its own, as Ray leaves threads behind that are not Python's, and files that it has not closed.
"""

import importlib
import importlib.util
import multiprocessing
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
from page import recorded, run
from places import MOTO_KEYS

pytestmark = [
    pytest.mark.no_cover,
    pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="Ray has no package for this Python"),
]

Rows = list[dict[str, Any]]


def start(scratch: str) -> None:
    """No dashboard, no word to its makers."""
    # workers find credentials, as anywhere, in the variables that the cluster was started with
    os.environ.update(MOTO_KEYS, RAY_USAGE_STATS_ENABLED="0")
    quiet = {"include_dashboard": False, "logging_level": "error", "log_to_driver": False}
    importlib.import_module("ray").init(num_cpus=1, _temp_dir=scratch, **quiet)


def read(environ: dict[str, str]) -> tuple[Rows, Rows]:
    """What the page reads, with these variables."""
    os.environ.update(environ)
    names = run("Ray")
    return names["steps"].take_all(), names["images"].take_all()


def stop() -> None:
    importlib.import_module("ray").shutdown()


@pytest.fixture(scope="module")
def cluster() -> Iterator[ProcessPoolExecutor]:
    """A process that has one; in a short directory, as the path of a socket has 107 bytes at most."""
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir="/tmp") as scratch, ProcessPoolExecutor(1, spawn) as process:
        process.submit(start, scratch).result()
        yield process
        process.submit(stop).result()


@pytest.mark.usefixtures("place")
def test_ray(cluster: ProcessPoolExecutor) -> None:
    rows, images = cluster.submit(read, dict(os.environ)).result()
    steps = recorded()
    assert {row.pop("path").split("/")[-2]: row for row in rows} == {step.step_id: step.data.metadata for step in steps}
    assert sorted(row["bytes"] for row in images) == sorted(step.data.screenshot for step in steps)
