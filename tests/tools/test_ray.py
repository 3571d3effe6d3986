"""Ray, as docs/tools.rst has it, on local disk and on S3: one small cluster on this machine, which is ended."""

import gc
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from page import recorded
from places import MOTO_KEYS

ray = pytest.importorskip("ray", reason="Ray has no package for this Python")

# its own deprecated options, which it reads itself, and its handles of its own processes and log files
pytestmark = [
    pytest.mark.no_cover,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*"),
    pytest.mark.filterwarnings("ignore::ResourceWarning:ray.*"),
    pytest.mark.filterwarnings("ignore:unclosed file .*/ray-data/:ResourceWarning"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """No dashboard, no word to its makers; a short directory, as the path of a socket has 107 bytes at most."""
    with tempfile.TemporaryDirectory(dir="/tmp") as scratch, pytest.MonkeyPatch.context() as patch:
        # workers find credentials, as anywhere, in the variables that the cluster was started with
        for name, value in {**MOTO_KEYS, "RAY_USAGE_STATS_ENABLED": "0"}.items():
            patch.setenv(name, value)
        quiet = {"include_dashboard": False, "logging_level": "error", "log_to_driver": False}
        ray.init(num_cpus=1, _temp_dir=scratch, **quiet)
        yield
        ray.shutdown()
        gc.collect()  # a log file that Ray left open is found here, and not in another test


def test_ray(cluster: None, snippets: Callable[[str], dict[str, Any]]) -> None:
    names = snippets("Ray")
    steps = recorded()
    read = {row.pop("path").split("/")[-2]: row for row in names["steps"].take_all()}
    assert read == {step.step_id: step.data.metadata for step in steps}
    assert sorted(row["bytes"] for row in names["images"].take_all()) == sorted(s.data.screenshot for s in steps)
