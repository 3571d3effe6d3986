"""follow_session yields each step once, whole, and ends with the seal."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from storage_manager import InvalidDataError, InvalidIdError, Step, StorageManager, live
from storage_manager.integrity import seal_session
from storage_manager.inventory import files_by_step
from storage_manager.live import follow_session
from tests.support.roots import Make, Request

QUICK = 0.02


async def ids(steps: AsyncGenerator[Step, None]) -> list[str]:
    return [step.step_id async for step in steps]


async def test_a_sealed_session_is_read_at_once(sm: StorageManager) -> None:
    for number in range(3):
        await sm.store_step_data("s", f"step_{number}", "<p>", b"x", {"n": number}, {})
    await seal_session(sm, "s")
    found = [step async for step in follow_session(sm, "s", interval=60)]
    assert found == [step async for step in sm.iter_steps(["s"])]


async def test_steps_come_as_they_are_stored(sm: StorageManager) -> None:
    """Also of a session that does not exist when it is followed."""
    following = follow_session(sm, "s", interval=QUICK)
    for number in range(4):
        coming = asyncio.ensure_future(anext(following))
        await sm.store_step_data("s", f"step_{number}", "<p>", b"x", {"n": number}, {"m": number})
        step = await coming
        assert (step.step_id, step.data.action, step.data.metadata) == (f"step_{number}", {"n": number}, {"m": number})
    coming = asyncio.ensure_future(anext(following, None))
    await seal_session(sm, "s")
    assert await coming is None


async def test_a_step_that_is_still_written_is_held_back(moto: Make) -> None:
    """On S3 the newest step may lack files that are on their way."""
    sm = moto()
    await sm.store_step_data("s", "1", "<p>")
    following = follow_session(sm, "s", interval=0.5)
    coming = asyncio.ensure_future(anext(following))
    await asyncio.sleep(0.1)
    await sm.store_step_data("s", "1", action_data={"late": True})
    step = await coming
    assert step.data.action == {"late": True}
    await following.aclose()


async def test_the_newest_step_is_held_back_whatever_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """`10` comes before `9` in a listing."""
    sm = StorageManager.from_url("memory://live-unpadded")
    await sm.store_step_data("s", "9", "<p>")
    found: dict[str, Any] = {}
    late = list[bool]()

    async def listed(*args: Any) -> Any:
        if "10" in found and not late:
            late.append(True)
            await sm.store_step_data("s", "10", action_data={"late": True})
        found.update(await files_by_step(*args))
        return dict(found)

    monkeypatch.setattr("storage_manager.live.files_by_step", listed)
    following = follow_session(sm, "s", interval=QUICK)
    assert (await anext(following)).step_id == "9"
    await sm.store_step_data("s", "10", "<p>")
    assert (await anext(following)).data.action == {"late": True}
    await following.aclose()


async def test_another_step_lets_the_one_before_it_go(moto: Make) -> None:
    sm = moto()
    following = follow_session(sm, "s", interval=60)
    for number in range(2):
        await sm.store_step_data("s", str(number), "<p>")
    assert (await anext(following)).step_id == "0"
    await following.aclose()


async def test_one_listing_in_an_interval(moto: Make, moto_requests: list[Request]) -> None:
    sm = moto()
    await sm.store_step_data("s", "1", "<p>")
    moto_requests.clear()
    following = follow_session(sm, "s", interval=0.2)
    started = asyncio.get_running_loop().time()
    await anext(following)
    coming = asyncio.ensure_future(anext(following))
    await asyncio.sleep(1)
    coming.cancel()
    await asyncio.gather(coming, return_exceptions=True)
    lists = [request for request in moto_requests if "list-type=2" in request.query]
    assert 2 <= len(lists) <= 1 + (asyncio.get_running_loop().time() - started) / 0.2


async def test_steps_that_are_before_the_others_come_too(sm: StorageManager) -> None:
    following = follow_session(sm, "s", interval=QUICK)
    await sm.store_step_data("s", "5", "<p>")
    assert (await anext(following)).step_id == "5"
    await sm.store_step_data("s", "3", "<p>")
    assert (await anext(following)).step_id == "3"
    await seal_session(sm, "s")
    assert await ids(following) == []


async def test_what_is_not_a_step_is_left_out(sm: StorageManager) -> None:
    await sm.store_session_metadata("s", {"goal": "x"})
    await sm.store_attachments("s", {"video.webm": b"x"})
    await sm.store_attachments("s", {"tree.json": {}}, "only-attachments")
    await seal_session(sm, "s")
    assert await ids(follow_session(sm, "s")) == ["only-attachments"]


async def test_a_slow_listing_takes_half_of_the_time_at_most(
    local: StorageManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """10,000 steps take a second on local disk."""
    now, pauses = 0.0, list[float]()

    async def slowly(*args: Any) -> dict[str, Any]:
        nonlocal now
        now += 5
        return {}

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(live, "files_by_step", slowly)
    monkeypatch.setattr(live, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(live, "asyncio", SimpleNamespace(sleep=pause))
    for interval in (1.0, 8.0, 20.0):
        async with aclosing(live.follow_ids(local, "s", interval=interval)) as following:
            assert [await anext(following), await anext(following)] == [[], []]
    assert pauses == [5, 5, 15]


@pytest.mark.parametrize("interval", [0, -1, float("nan"), float("inf"), "1", None, True])
async def test_bad_input_is_refused(tmp_path: Path, interval: Any) -> None:
    sm = StorageManager.from_url(tmp_path)
    with pytest.raises(InvalidDataError, match="interval must be a number of seconds above 0"):
        await ids(follow_session(sm, "s", interval=interval))
    with pytest.raises(InvalidIdError):
        await ids(follow_session(sm, ".."))
