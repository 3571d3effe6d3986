"""The examples of docs/export.rst run as they are printed, one after another."""

import re
import textwrap
from pathlib import Path

import pytest

from storage_manager import StorageManager
from tests.support.exported import EXAMPLES

pytestmark = pytest.mark.thorough

DOCS = (EXAMPLES.parents[1] / "docs" / "export.rst").read_text()
HERE = {"n_workers": 1, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # webdataset leaves the shards that it has read
@pytest.mark.usefixtures("datasets")
async def test_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    await StorageManager().store_steps(StorageManager(local_base_path=EXAMPLES).iter_steps())
    blocks = [textwrap.dedent(block) for block in re.findall(r"\.\. code-block:: python\n\n((?: {4}.*\n|\n)+)", DOCS)]
    assert len(blocks) == 8
    code = "\n".join(blocks).replace("s3://bucket", "memory://bucket")
    code = code.replace('"run-1", "run-2"', '"harbour-books"')
    code = code.replace('Client("tcp://scheduler:8786")', f"Client(**{HERE})")
    names: dict[str, object] = {}
    exec(f"async def main():\n{textwrap.indent(code, '    ')}", names)
    await names["main"]()  # type: ignore[operator]
    printed = capsys.readouterr().out
    assert printed.count("harbour-books/step_000004") == 3
    assert "(1024, 640)" in printed
    assert "b'0'" in printed
