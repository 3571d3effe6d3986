"""The examples of docs/viewer.rst run as they are printed."""

import re
import textwrap
from pathlib import Path

import pytest
from stored import store_small

from storage_manager import StorageManager

DOCS = (Path(__file__).parents[2] / "docs" / "viewer.rst").read_text()


async def test_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    await store_small(StorageManager())
    [block] = re.findall(r"\.\. code-block:: python\n\n((?: {4}.*\n|\n)+)", DOCS)
    names: dict[str, object] = {}
    exec(f"async def main():\n{textwrap.indent(textwrap.dedent(block), '    ')}", names)
    await names["main"]()  # type: ignore[operator]
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\n", capsys.readouterr().out)
    assert (tmp_path / "run-1.html").exists()
