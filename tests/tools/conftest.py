"""The snippets of docs/tools.rst, run as they are printed in the place that the SM_* variables name."""

import ast
import asyncio
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from page import HALF, blocks, recorded
from places import MOTO_KEYS, managers_at

from storage_manager import StorageManager

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
    """Run all code below a heading, after what the page begins with; gives the names that it has left."""

    def run(heading: str) -> dict[str, Any]:
        names: dict[str, Any] = {"__name__": heading}
        page = blocks()
        for code in page["Sessions in other tools"] + page[heading]:
            result = eval(compile(code, f"docs/tools.rst, {heading}", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
            if inspect.isawaitable(result):
                asyncio.run(result)  # type: ignore[arg-type]
        return names

    return run
