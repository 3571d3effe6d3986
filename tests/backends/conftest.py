"""Quirky S3 servers, for each engine."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.support.quirky_s3 import Quirk, QuirkyS3
from tests.support.roots import MOTO_KEYS
from tests.support.services import Serve, Service, manager


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put some keys into the environment: the server takes any."""
    for name, value in MOTO_KEYS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
async def serve(engine: str, keys: None) -> AsyncIterator[Serve]:
    """A way to start servers with given quirks."""
    async with AsyncExitStack() as stack:

        def start(*quirks: Quirk, **options: Any) -> Service:
            server = stack.enter_context(QuirkyS3(quirks))
            sm = manager(server, **options)
            stack.push_async_callback(sm.aclose)
            return Service(server, sm)

        yield start
