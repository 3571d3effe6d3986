"""The snippets of docs/tools.rst, run as they are printed in the place that the SM_* variables name."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage_manager import StorageManager
from tests.support.roots import MOTO_KEYS, managers_at
from tests.support.tools_page import HALF, recorded, run

Snippets = Callable[[str], dict[str, Any]]


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StorageManager:
    """A place with the page's session, and one whose steps lack components."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SM_LOCAL_BASE_PATH", str(tmp_path / "base"))
    if request.param == "s3":
        moto = managers_at(request.getfixturevalue("moto_url"), monkeypatch, **MOTO_KEYS)()
        monkeypatch.setenv("SM_S3_BUCKET_NAME", moto.get_storage_info()["s3_bucket"])
        monkeypatch.setenv("SM_S3_ENDPOINT_URL", moto.storage_options["endpoint_url"])
    sm = StorageManager()
    assert asyncio.run(sm.store_steps(recorded() + HALF)) == 6
    return sm


@pytest.fixture
def snippets(place: StorageManager) -> Snippets:
    """Runs the page's code below a heading, on that place."""
    return run
