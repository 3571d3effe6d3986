"""Commands run the package that the tests import, from whatever directory."""

from pathlib import Path

import pytest

import storage_manager


@pytest.fixture(autouse=True)
def same_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is started elsewhere would not find a package that is not installed; its output is buffered."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(Path(storage_manager.__file__).parents[1]))
