"""Where the tests of crashes put their data."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

MEMORY = "/dev/shm"


@pytest.fixture
def base() -> Iterator[Path]:
    """An empty base directory, in memory where that is to be had: hundreds of MB are written here."""
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as scratch:
        yield Path(scratch) / "base"
