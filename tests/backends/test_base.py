"""What all backends share: three attempts, and the waits between them."""

import asyncio
import random

import pytest

from storage_manager import S3OperationError
from storage_manager.backends.base import Backend
from tests.support.answers import Answers, http
from tests.support.roots import Make

LONGEST = Backend.backoff_seconds  # read before a fixture sets it to 0 for each test


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that anything sleeps, in a world where no sleep takes time and chance picks the longest."""
    waits: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float, result: object = None) -> object:
        if seconds > 0:
            waits.append(seconds)
        return await sleep(0, result)

    monkeypatch.setattr(asyncio, "sleep", note)
    monkeypatch.setattr(random, "uniform", lambda shortest, longest: longest)
    return waits


async def test_the_waits_between_attempts_grow(
    answered_by: Answers, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backend, "backoff_seconds", LONGEST)
    sm, server = await answered_by(http("503 Slow Down", ""))
    with pytest.raises(S3OperationError):
        await sm.list_sessions()
    assert len(server.asked) == 3
    assert waits == [1.0, 2.0]


async def test_the_longest_wait_can_be_set(
    answered_by: Answers, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backend, "backoff_seconds", 0.25)
    sm, _ = await answered_by(http("503 Slow Down", ""))
    with pytest.raises(S3OperationError):
        await sm.list_sessions()
    assert waits == [0.25, 0.5]


async def test_an_answer_may_take_any_time(moto: Make) -> None:
    async with moto(storage_options={"config_kwargs": {"read_timeout": None}}, s3_engine="s3fs") as sm:
        await sm.store_step_data("s", "t", "x")
        assert await sm.list_sessions() == ["s"]
