"""The examples of docs/viewer.rst run as they are printed."""

import re
from pathlib import Path

import pytest

from storage_manager import StorageManager
from tests.support.printed import run, text
from tests.support.viewed import store_small


async def test_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    await store_small(StorageManager())
    await run("viewer", text("viewer"), {})
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\n", capsys.readouterr().out)
    assert (tmp_path / "run-1.html").exists()
