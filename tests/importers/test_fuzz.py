"""Whatever is changed in a trace, it becomes a session, or is refused and nothing is stored."""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage_manager import InvalidDataError, StorageManager
from tests.support.traces import (
    CHILD,
    FIRST,
    JPEG,
    SECOND,
    Event,
    action,
    frame,
    header,
    imported,
    lines,
    snapshot,
    write_zip,
)

pytestmark = pytest.mark.thorough

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"

CAST, MEMBER = frame(1001.6)
EVENTS: list[Event] = [
    header(),
    *action(1, html=FIRST, params={"selector": "#a"}),
    *action(2, html=SECOND, error={"message": "no"}),
    {"type": "log", "callId": "call@1", "time": 1, "message": "a line"},
    {"type": "input", "callId": "call@1", "point": {"x": 1, "y": 2}},
    CAST,
    {"type": "screenshot", "callId": "call@2", "phase": "after", "file": MEMBER},
    snapshot("after@call@3", ["IFRAME", {"src": f"/snapshot/{CHILD}"}, ["LINK", {"rel": "stylesheet", "href": "s"}]],
             resourceOverrides=[{"url": "http://shop.test/s", "sha1": "s"}]),
    snapshot("after@call@3", ["INPUT", {"__playwright_value_": "x", "__playwright_checked_": "true"}], CHILD),
    *action(3),
]  # fmt: skip
OLD: list[Event] = [
    header(3),
    {"type": "action", "metadata": {
        "id": "call@1", "type": "Frame", "method": "click", "params": {}, "startTime": 1, "endTime": 2, "log": ["x"],
        "snapshots": [{"title": "after", "snapshotName": "after@call@1"}], "error": {"error": {"message": "no"}}}},
    snapshot("after@call@1", FIRST),
]  # fmt: skip

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**400, -1, 0, 1e308, 5e-324, "before", "../x", "NaN", "\ud800", "\0", "<script>", [], {}, ""]),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(max_size=8),
    st.recursive(
        st.one_of(st.text(max_size=3), st.integers(0, 3)),
        lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
        max_leaves=8,
    ),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to each value that is anywhere in this one."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


def changed(events: list[Event], path: tuple[Any, ...], value: object, *, remove: bool) -> list[Event]:
    """A copy that has another value there, or none."""
    copy = json.loads(json.dumps(events))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    if remove:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return copy


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """One event loop for all examples."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


async def import_or_refuse(scratch: Path) -> None:
    sm = StorageManager(local_base_path=scratch / "base")
    try:
        steps = await imported(sm, scratch / "t.zip")
    except InvalidDataError:
        assert await sm.list_sessions() == []
    else:
        assert steps
        assert await sm.list_sessions() == ["t"]
        await sm.delete_session("t")


CHANGES = settings(
    max_examples=5000 if THOROUGH else 300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@CHANGES
@given(data=st.data())
def test_changed_values(data: st.DataObject, tmp_path: Path, loop: asyncio.AbstractEventLoop) -> None:
    events = data.draw(st.sampled_from([EVENTS, OLD]))
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(places(events))))
        events = changed(events, path, data.draw(VALUES), remove=data.draw(st.booleans()))
    write_zip(tmp_path / "t.zip", {"t.trace": lines(events), MEMBER: JPEG, "resources/s": b"p {}"})
    loop.run_until_complete(import_or_refuse(tmp_path))


@CHANGES
@given(data=st.data())
def test_changed_bytes(data: st.DataObject, tmp_path: Path, loop: asyncio.AbstractEventLoop) -> None:
    content = bytearray(lines(EVENTS).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        content[start : start + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=10))
    write_zip(tmp_path / "t.zip", {"t.trace": bytes(content), MEMBER: JPEG})
    loop.run_until_complete(import_or_refuse(tmp_path))


def test_the_unchanged_one_is_imported(tmp_path: Path, loop: asyncio.AbstractEventLoop) -> None:
    sm = StorageManager(local_base_path=tmp_path / "base")
    for name, events, count in (("new", EVENTS, 3), ("old", OLD, 1)):
        write_zip(tmp_path / f"{name}.zip", {"t.trace": events, MEMBER: JPEG, "resources/s": b"p {}"})
        steps = loop.run_until_complete(imported(sm, tmp_path / f"{name}.zip"))
        assert (len(steps), all(step.html for step in steps)) == (count, True)
