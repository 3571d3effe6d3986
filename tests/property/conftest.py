"""How much is tried, and where. `HYPOTHESIS_PROFILE=thorough pytest tests/property` tries much more:
forty times as many examples, of the state machine with steps two and a half times as many.

The profile is named by each test here and not loaded: the rest of the suite keeps hypothesis's own default.
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from storage_manager import StorageManager
from tests.support.roots import MOTO_KEYS, managers_at

# No deadline: a request to a server takes as long as the machine is busy.
settings.register_profile("quick", deadline=None, max_examples=12, stateful_step_count=20)
settings.register_profile("thorough", deadline=None, max_examples=500, stateful_step_count=50)
settings.register_profile("property", settings.get_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick")))

At = Callable[[str], StorageManager]


@pytest.fixture
def local_at(tmp_path: Path) -> At:
    """Managers of the place with a name, on local disk."""
    return lambda name: StorageManager(local_base_path=tmp_path / name)


@pytest.fixture
def s3fs_at(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> At:
    """Managers of the place with a name, in one bucket of moto, through s3fs."""
    make = managers_at(moto_url, monkeypatch, **MOTO_KEYS)
    return lambda name: make(s3_prefix=name, s3_engine="s3fs")


@pytest.fixture
def obstore_at(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> At:
    """The same through obstore."""
    make = managers_at(moto_url, monkeypatch, **MOTO_KEYS)
    return lambda name: make(s3_prefix=name, s3_engine="obstore")


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """One event loop, for tests that are not coroutines themselves."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
