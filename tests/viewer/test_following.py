"""The viewer tells every reader of a session of its new steps, with one listing per second for all of them."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from playwright.async_api import Browser, expect

from storage_manager import StorageManager
from storage_manager.integrity import seal_session
from storage_manager.viewer import following, serve
from tests.support.roots import Make, Request

DATA = ("<p>page", b"image", {"type": "click"}, {})
Event = tuple[str, Any]


async def events(client: aiohttp.ClientSession, url: str) -> AsyncGenerator[Event, None]:
    """The events of a session, without its comments."""
    async with client.get(f"{url}api/sessions/s/events") as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        name = ""
        async for line in answer.content:
            field, _, value = line.decode().rstrip("\n").partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                yield name, json.loads(value)


async def test_all_events_of_a_session(local: StorageManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "INTERVAL", 0.02)
    await local.store_step_data("s", "1", *DATA)
    async with serve(local) as url, aiohttp.ClientSession() as client, aclosing(events(client, url)) as found:
        assert await anext(found) == ("steps", ["1"])
        await local.store_step_data("s", "2", *DATA)
        assert await anext(found) == ("steps", ["2"])
        async with aclosing(events(client, url)) as later:
            assert await anext(later) == ("steps", ["1", "2"])
        await seal_session(local, "s")
        assert [event async for event in found] == [("sealed", None)]
        async with aclosing(events(client, url)) as after:
            assert [event async for event in after] == [("steps", ["1", "2"]), ("sealed", None)]


async def test_a_session_that_cannot_be_listed(local: StorageManager, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir(exist_ok=True)
    (tmp_path / "base" / "s").symlink_to("s")
    async with serve(local) as url, aiohttp.ClientSession() as client, aclosing(events(client, url)) as found:
        [(name, reason)] = [event async for event in found]
    assert name == "failed"
    assert "cannot list" in reason


async def test_the_server_ends_while_sessions_are_followed(local: StorageManager) -> None:
    await local.store_step_data("s", "1", *DATA)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(aiohttp.ClientSession())
        async with serve(local) as url:
            found = await stack.enter_async_context(aclosing(events(client, url)))
            await anext(found)
            started = time.monotonic()
        assert time.monotonic() - started < 10, "aiohttp waits a minute for answers that do not end"
        assert [event async for event in found] == []


async def test_nobody_lists_for_readers_who_have_gone(local: StorageManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "INTERVAL", 0.02)
    listed: list[int] = []
    follow = following.follow_ids

    async def counted(*args: Any, **kwargs: Any) -> AsyncGenerator[list[str], None]:
        async with aclosing(follow(*args, **kwargs)) as found:
            async for ids in found:
                listed.append(len(ids))
                yield ids
        raise AssertionError("it ends by being closed")

    ended = asyncio.Event()

    async def ending(*args: Any, **kwargs: Any) -> AsyncGenerator[list[str], None]:
        try:
            async with aclosing(counted(*args, **kwargs)) as found:
                async for ids in found:
                    yield ids
        finally:
            ended.set()

    monkeypatch.setattr(following, "follow_ids", ending)
    await local.store_step_data("s", "1", *DATA)
    async with serve(local) as url:
        async with aiohttp.ClientSession() as client, aclosing(events(client, url)) as found:
            await anext(found)
        await ended.wait()
    assert listed


async def test_a_quiet_session_is_listed_less_often(local: StorageManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a time without a new step, until one comes."""
    now, pauses = 0.0, list[float]()
    monkeypatch.setattr(following, "time", SimpleNamespace(monotonic=lambda: now))

    async def paused(seconds: float) -> None:
        nonlocal now
        pauses.append(seconds)
        now += seconds

    async def listings(*args: Any, interval: float, **kwargs: Any) -> AsyncGenerator[list[str], None]:
        for step_id in ["1", *[""] * 602, "2", "", ""]:
            yield [step_id] if step_id else []
            await paused(interval)

    monkeypatch.setattr(following, "follow_ids", listings)
    monkeypatch.setattr(following, "asyncio", SimpleNamespace(**vars(asyncio) | {"sleep": paused}))
    assert [event async for event in following.Following(local).events("s")][-1].startswith(b"event: sealed")
    assert [number for number, pause in enumerate(pauses) if pause == 10] == [601, 603]
    assert set(pauses) == {1, 10}


@pytest.mark.thorough
async def test_five_readers_cost_one_listing_a_second(moto: Make, moto_requests: list[Request]) -> None:
    """And a new step is known after three listings: on S3 it is held back until a listing finds it unchanged."""
    sm = moto()
    await sm.store_step_data("s", "1", *DATA)
    async with serve(sm) as url, aiohttp.ClientSession() as client, AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(aclosing(events(client, url))) for _ in range(5)]
        firsts = [await anext(reader) for reader in readers]
        moto_requests.clear()
        await sm.store_step_data("s", "2", *DATA)
        started = time.monotonic()
        seen = dict(firsts)
        while "2" not in seen.get("steps", []):
            seen = dict(await asyncio.gather(*(anext(reader) for reader in readers)))
        seconds = time.monotonic() - started
        lists = [request for request in moto_requests if "list-type=2" in request.query]
    assert len(lists) <= min(3, 1 + seconds)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("make", "limit"), [("local", 1), (("moto", "obstore"), 3)], indirect=["make"], ids=["local", "moto"]
)
async def test_a_new_step_is_on_screen(
    sm: StorageManager, browser: Browser, record_property: Any, limit: float
) -> None:
    """Half of them within the limit, in seconds, and 1.5 seconds for a busy machine.

    Whoever looks at the last step sees the next one.
    """
    await sm.store_step_data("s", "step_1", *DATA)
    page = await browser.new_page()
    async with serve(sm) as url:
        await page.goto(f"{url}sessions/s")
        await expect(page.locator("#sealed")).to_have_text("not sealed")
        seconds = []
        for number in (2, 3, 4):
            await sm.store_step_data("s", f"step_{number}", *DATA)
            started = time.monotonic()
            await page.wait_for_selector(f"body[data-step=step_{number}]")
            seconds.append(time.monotonic() - started)
        record_property("seconds", seconds)
        await expect(page.locator("#live")).to_be_visible()
        await expect(page.locator("#position")).to_have_text("4 / 4")
        await page.keyboard.press("Home")
        await sm.store_step_data("s", "step_5", *DATA)
        await expect(page.locator("#position")).to_have_text("1 / 5")
        assert await page.get_attribute("body", "data-step") == "step_1"
        await seal_session(sm, "s")
        await expect(page.locator("#sealed")).to_have_text("sealed")
        await expect(page.locator("#live")).to_be_hidden()
    assert sorted(seconds)[1] < limit + 1.5, seconds


async def test_a_reader_who_comes_while_the_last_one_leaves(
    local: StorageManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    closing, may_close = asyncio.Event(), asyncio.Event()

    async def slow_to_close(*args: Any, **kwargs: Any) -> AsyncGenerator[list[str], None]:
        try:
            while True:
                yield ["1"]
                await asyncio.sleep(0)
        finally:
            closing.set()
            await may_close.wait()

    monkeypatch.setattr(following, "follow_ids", slow_to_close)
    followed = following.Following(local)
    first = followed.events("s")
    await anext(first)
    leaving = asyncio.ensure_future(first.aclose())
    await closing.wait()
    async with aclosing(followed.events("s")) as second:
        await anext(second)
        may_close.set()
        await leaving
        for _ in range(3):
            assert (await anext(second)).startswith(b"event: steps")


async def test_readers_do_not_wait_for_a_task_that_has_died(
    local: StorageManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dying(*args: Any, **kwargs: Any) -> AsyncGenerator[list[str], None]:
        yield ["1"]
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(following, "follow_ids", dying)
    events = following.Following(local).events("s")
    await anext(events)
    with pytest.raises(RuntimeError, match="a mistake"):
        await asyncio.wait_for(anext(events), 30)
