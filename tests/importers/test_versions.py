"""The same recording, in the words of each version of the format, becomes the same steps."""

from pathlib import Path
from typing import Any

import pytest

from storage_manager import StorageManager
from tests.support.traces import (
    FIRST,
    FIRST_HTML,
    JPEG,
    MONOTONIC,
    PAGE,
    PNG,
    SECOND,
    SECOND_HTML,
    WALL_TIME,
    Event,
    action,
    frame,
    header,
    imported,
    snapshot,
    write_zip,
)

ERROR = {"name": "TimeoutError", "message": "Timeout 300ms exceeded."}
CALLS: list[dict[str, Any]] = [
    {"class": "BrowserContext", "method": "newPage", "params": {}, "api": "browserContext.newPage"},
    {"class": "Frame", "method": "goto", "params": {"url": "http://shop.test/"}, "api": "page.goto"},
    {"class": "Frame", "method": "click", "params": {"selector": "#two"}, "api": "page.click"},
    {"class": "Frame", "method": "fill", "params": {"selector": "#no"}, "api": "page.fill"},
]
PAGES = {1: FIRST, 2: SECOND, 3: [[1, 3]]}  # the last node of the second: its whole document


def old_action(number: int, call: dict[str, Any]) -> list[Event]:
    """Version 3: one event after all, with everything in it."""
    shots = [{"title": phase, "snapshotName": f"{phase}@call@{number}"} for phase in ("before", "input", "after")]
    metadata = {"id": f"call@{number}", "startTime": MONOTONIC + number, "endTime": MONOTONIC + number + 0.5}
    metadata |= {"type": call["class"], "method": call["method"], "params": call["params"], "snapshots": shots}
    metadata |= {"apiName": call["api"], "wallTime": WALL_TIME + number, "log": ["a line"]}
    metadata |= {"point": {"x": 1, "y": 2}, "error": {"error": ERROR}} if number == 3 else {}
    metadata |= {"pageId": PAGE} if number else {}
    shot = [snapshot(f"after@call@{number}", PAGES[number])] if number else []
    return [*shot, {"type": "action", "metadata": metadata}]


def new_action(version: int, number: int, call: dict[str, Any]) -> list[Event]:
    """Version 4 and later: an event before, one for the input, one after."""
    call_id, names = f"call@{number}", version < 9
    before = {"type": "before", "callId": call_id, "startTime": MONOTONIC + number, "class": call["class"]}
    before |= {"method": call["method"], "params": call["params"]}
    before |= {"wallTime": WALL_TIME + number} if version < 7 else {}
    before |= {"apiName" if version < 8 else "title": call["api"]}
    before |= {"pageId": PAGE} if number and version < 10 else {}
    before |= {"beforeSnapshot": f"before@{call_id}"} if names else {}
    inputs = {"type": "input", "callId": call_id, "point": {"x": 1, "y": 2} if number == 3 else None}
    inputs |= {"inputSnapshot": f"input@{call_id}"} if names else {}
    after = {"type": "after", "callId": call_id, "endTime": MONOTONIC + number + 0.5}
    after |= {"afterSnapshot": f"after@{call_id}"} if names else {}
    after |= {"log": ["a line"]} if version < 6 else {}
    after |= {"error": ERROR} if number == 3 else {}
    log = [{"type": "log", "callId": call_id, "time": 1, "message": "a line"}] if version >= 6 else []
    events = [before, inputs, *log, after]
    if number:
        shot = snapshot(f"after@{call_id}", PAGES[number])
        if not names:
            del shot["snapshot"]["snapshotName"]
            shot["snapshot"]["phase"] = "after"
        events.append(shot)
    return events


def recording(version: int) -> dict[str, Any]:
    """All of the zip."""
    events = [header(version)]
    for number, call in enumerate(CALLS):
        events += old_action(number, call) if version == 3 else new_action(version, number, call)
    cast, member = frame(MONOTONIC + 1.6, version)
    internal = {"type": "event", "class": "Page", "method": "load", "metadata": {}, "time": 1, "params": {}}
    return {"trace.trace": [*events, cast, internal], member: JPEG, "trace.network": ""}


@pytest.mark.parametrize("version", range(3, 11))
async def test_every_version(tmp_path: Path, version: int) -> None:
    sm = StorageManager(local_base_path=tmp_path / "base")
    steps = await imported(sm, write_zip(tmp_path / "t.zip", recording(version)))
    assert [step.html for step in steps] == [None, FIRST_HTML, SECOND_HTML, SECOND_HTML]
    assert [step.screenshot for step in steps] == [None, JPEG, JPEG, JPEG]
    for number, (step, call) in enumerate(zip(steps, CALLS, strict=True)):
        expected = {"type": call["method"], "class": call["class"], "title": call["api"], "call_id": f"call@{number}"}
        expected |= {"params": call["params"]} if call["params"] else {}
        expected |= {"point": {"x": 1, "y": 2}, "error": ERROR} if number == 3 else {}
        assert step.action == {**expected, "log": ["a line"]}
    assert steps[1].metadata == {
        "url": "http://shop.test/",
        "title": "A & B",
        "page_id": PAGE,
        "observed": "after",
        "snapshot": "after",
        "screenshot": "after",
        "viewport": {"width": 800, "height": 600},
        "timestamp": "2023-11-14T22:13:20.001+00:00",
        "start": MONOTONIC + 1,
        "end": MONOTONIC + 1.5,
        "duration": 0.5,
        "browser": "chromium",
        "platform": "linux",
        "trace_title": "a test",
        "trace_version": version,
        "source": "playwright-trace",
    }
    assert steps[0].metadata is not None
    assert steps[0].metadata["viewport"] == {"width": 800, "height": 600}
    assert {"url", "title", "page_id", "snapshot", "screenshot"}.isdisjoint(steps[0].metadata)


async def test_whole_actions_of_later_versions(tmp_path: Path) -> None:
    before, after, shot = action(1, html=FIRST)
    whole = {**before, **after, "type": "action", "point": {"x": 1, "y": 2}}
    steps = await imported(
        StorageManager(local_base_path=tmp_path / "base"),
        write_zip(tmp_path / "t.zip", {"trace.trace": [header(), whole, shot]}),
    )
    assert [(step.html, (step.action or {})["point"]) for step in steps] == [(FIRST_HTML, {"x": 1, "y": 2})]


async def test_internal_calls_and_groups_are_no_steps(tmp_path: Path) -> None:
    old = [{"id": "call@1", "method": "click", "internal": True}, {"id": "call@2", "method": "tracingStart"}]
    kept = old_action(0, CALLS[0])
    events = [header(3), *({"type": "action", "metadata": metadata} for metadata in old), *kept]
    group = {"type": "before", "callId": "call@1", "startTime": 1, "class": "Tracing", "method": "tracingGroup"}
    unknown = [{"type": kind, "callId": "call@1", "message": ""} for kind in ("after", "input", "log")]
    members = {"0.trace": events, "1.trace": [header(), group, *unknown, *action(5)]}
    steps = await imported(StorageManager(local_base_path=tmp_path / "base"), write_zip(tmp_path / "t.zip", members))
    assert [(step.action or {})["type"] for step in steps] == ["newPage", "click"]


def runner_step(version: int, number: int, **more: Any) -> list[Event]:
    """A step of the test runner."""
    before = {"type": "before", "callId": f"pw:api@{number}", "startTime": MONOTONIC + number, "class": "Test"}
    before |= {"method": "step", "apiName": "page.click", "params": {}}
    before |= {"wallTime": WALL_TIME + number} if version < 7 else {}
    return [before, {"type": "after", "callId": f"pw:api@{number}", "endTime": MONOTONIC + number + 0.5, **more}]


@pytest.mark.parametrize("version", [6, 7, 10])
async def test_steps_of_the_test_runner_are_not_imported_twice(tmp_path: Path, version: int) -> None:
    match = {
        6: {"apiName": "page.click", "wallTime": WALL_TIME + 1},
        7: {"stepId": "pw:api@1"},
        10: {"callId": "pw:api@1"},
    }[version]
    library = action(1, **match)
    library[1]["callId"] = library[0]["callId"]
    runner = [*runner_step(version, 0), *runner_step(version, 1, error=ERROR)]
    start = [] if version == 6 else [header(version, origin="testRunner", browserName="")]
    members = {"0-trace.trace": [header(version), *library], "test.trace": [*start, *runner]}
    sm = StorageManager(local_base_path=tmp_path / "base")
    [step] = await imported(sm, write_zip(tmp_path / "t.zip", members))
    assert step.action
    assert (step.action["class"], step.action["error"]) == ("Frame", ERROR)

    alone = await imported(sm, write_zip(tmp_path / "runner.zip", {"test.trace": [*start, *runner]}))
    assert [(step.action or {})["class"] for step in alone] == ["Test", "Test"]


def attached(number: float, name: str, **more: Any) -> list[Event]:
    """A step of the test runner that attaches a file."""
    before, after = runner_step(7, 0)
    before |= {"callId": f"attach@{number}", "startTime": MONOTONIC + number, **more}
    file = {"name": name, "contentType": "image/png", "sha1": name}
    files = [{**file, "contentType": "text/plain"}, {**file, "name": "x-expected.png", "sha1": "x"}, file]
    return [before, {**after, "callId": before["callId"], "endTime": MONOTONIC + number, "attachments": files}]


async def test_a_screenshot_that_the_test_attached_is_used_if_there_is_no_other(tmp_path: Path) -> None:
    """It shows what the last action left, or that of its own step. A frame from before the action is not better."""
    cast, name = frame(1001.6)
    library = [header(), *(event for number in (1, 2, 3, 4) for event in action(number)), cast]
    library[7]["stepId"] = "attach@9"
    steps = [
        attached(0.5, "early"),
        attached(1.7, "one"),
        attached(2.7, "two"),
        attached(2.8, "three"),
        attached(9, "four"),
    ]
    runner = [header(7, origin="testRunner"), *(event for step in steps for event in step)]
    members: dict[str, Any] = {"0-trace.trace": library, "test.trace": runner, name: JPEG}
    members |= {f"resources/{name}": PNG + name.encode() for name in ("early", "one", "two", "three", "x", "four")}
    sm = StorageManager(local_base_path=tmp_path / "base")
    found = await imported(sm, write_zip(tmp_path / "t.zip", members))
    assert [step.screenshot for step in found] == [JPEG, PNG + b"two", JPEG, PNG + b"four"]
    kinds = [(step.metadata or {}).get("screenshot") for step in found]
    assert kinds == ["after", "attached", "before", "attached"]

    del members["0-trace.trace"]
    found = await imported(sm, write_zip(tmp_path / "runner.zip", members))
    assert [step.screenshot for step in found] == [
        PNG + step.encode() for step in ("early", "one", "two", "three", "four")
    ]


async def test_contexts_are_put_in_the_order_of_their_clocks(tmp_path: Path) -> None:
    late, early = header(wallTime=WALL_TIME + 5), header(monotonicTime=0.0)
    members = {"0.trace": [late, *action(1, "click")], "1.trace": [early, *action(2, "fill"), *action(0, "goto")]}
    members["1.trace"][3]["startTime"], members["1.trace"][1]["startTime"] = 2, 9
    steps = await imported(StorageManager(local_base_path=tmp_path / "base"), write_zip(tmp_path / "t.zip", members))
    assert [(step.action or {})["type"] for step in steps] == ["goto", "click", "fill"]


async def test_no_clock_no_timestamp(tmp_path: Path) -> None:
    events = [header(6), *action(2, "fill"), *action(1, "click")]
    steps = await imported(
        StorageManager(local_base_path=tmp_path / "base"), write_zip(tmp_path / "t.zip", {"t.trace": events})
    )
    assert [(step.action or {})["type"] for step in steps] == ["click", "fill"]
    assert all("timestamp" not in (step.metadata or {}) for step in steps)


async def test_an_action_that_did_not_end(tmp_path: Path) -> None:
    events = [header(), action(1)[0]]
    [step] = await imported(
        StorageManager(local_base_path=tmp_path / "base"), write_zip(tmp_path / "t.zip", {"t.trace": events})
    )
    assert step.metadata
    assert {"end", "duration"}.isdisjoint(step.metadata)


async def test_the_screenshot_is_the_one_taken_else_the_frame_that_shows_the_action(tmp_path: Path) -> None:
    first, again, last = frame(1001.2), frame(1002.6), frame(1099.0)
    taken = {"type": "screenshot", "callId": "call@4", "phase": "action", "file": "screenshots/4.png"}
    nothing = [{**taken, "file": None}, {**first[0], "sha1": None}]
    other = frame(1004.7, page="page@2")
    gone, late = frame(1900.0), frame(10600.0)
    events = [header(), *(event for number in (1, 2, 3, 4, 800, 9000) for event in action(number)), taken, *nothing]
    events += [event for event, _ in (last, again, first, other, gone, late)]
    members: dict[str, Any] = {"t.trace": events, "screenshots/4.png": PNG}
    members |= {name: JPEG + bytes([number]) for number, (_, name) in enumerate((first, again, last, other, late))}
    steps = await imported(StorageManager(local_base_path=tmp_path / "base"), write_zip(tmp_path / "t.zip", members))
    # after the first nothing new was shown before the second; the second's came before the third; the frame of the
    # fifth is not in the zip; nothing came after the last but one late frame
    assert [step.screenshot for step in steps] == [JPEG + b"\0", JPEG + b"\1", JPEG + b"\1", PNG, None, JPEG + b"\4"]
    chosen = [(step.metadata or {}).get("screenshot") for step in steps]
    assert chosen == ["before", "after", "before", "taken", None, "after"]
    observed = [(step.metadata or {}).get("observed") for step in steps]
    assert observed == ["before", "after", "before", "before", "after", "after"]


@pytest.mark.parametrize(("second", "chosen"), [("waitForTimeout", "after"), ("title", "after"), ("click", None)])
async def test_what_only_looks_or_waits_is_no_next_action(tmp_path: Path, second: str, chosen: str | None) -> None:
    event, name = frame(1002.3)
    members: dict[str, Any] = {"t.trace": [header(), *action(1), *action(2, second), event], name: JPEG}
    steps = await imported(StorageManager(local_base_path=tmp_path / "base"), write_zip(tmp_path / "t.zip", members))
    assert (steps[0].metadata or {}).get("screenshot") == chosen


async def test_an_image_that_the_trace_names_and_does_not_have_is_said(tmp_path: Path) -> None:
    cast, name = frame(1001.6)
    taken = {"type": "screenshot", "callId": "call@2", "phase": "after", "file": "screenshots/2.png"}
    events = [header(), *action(1, html="one"), *action(2), cast, taken]
    steps = await imported(
        StorageManager(local_base_path=tmp_path / "base"), write_zip(tmp_path / "t.zip", {"t.trace": events})
    )
    assert [step.screenshot for step in steps] == [None, None]
    assert [(step.metadata or {}).get("not_captured") for step in steps] == [
        {"screenshot": f"{name} is not in the trace"},
        {"screenshot": "screenshots/2.png is not in the trace"},
    ]
    assert all("screenshot" not in (step.metadata or {}) for step in steps)


async def test_the_only_frame_may_come_late(tmp_path: Path) -> None:
    early, late = frame(1000.5), frame(1001.5 + 2700)
    members: dict[str, Any] = {"t.trace": [header(), *action(1), early[0], late[0]], late[1]: JPEG, early[1]: PNG}
    [step] = await imported(StorageManager(local_base_path=tmp_path / "base"), write_zip(tmp_path / "t.zip", members))
    assert (step.screenshot, (step.metadata or {})["screenshot"]) == (JPEG, "after")


async def test_a_frame_shows_the_same_moment_as_the_page(tmp_path: Path) -> None:
    """Of the frames after an action: the last before the snapshot, or the first, if that was taken at once."""
    frames = [frame(1001.7), frame(1001.9), frame(1002.7), frame(1002.9)]
    events = [header(), *action(1, html="one"), *action(2, html="two"), snapshot("before@call@2", "later")]
    members: dict[str, Any] = {"t.trace": [*events, *(event for event, _ in frames)]}
    members |= {name: JPEG + bytes([number]) for number, (_, name) in enumerate(frames)}
    steps = await imported(StorageManager(local_base_path=tmp_path / "base"), write_zip(tmp_path / "t.zip", members))
    assert [step.html for step in steps] == ["<!DOCTYPE html>later", "<!DOCTYPE html>two"]
    assert [step.screenshot for step in steps] == [JPEG + b"\1", JPEG + b"\2"]


async def test_a_page_that_an_action_opened(tmp_path: Path) -> None:
    events = [header(5), *action(1, "newPage", pageId=None, beforeSnapshot=None)]
    events[2]["result"] = {"page": {"guid": PAGE}}
    cast, name = frame(1001.6)
    steps = await imported(
        StorageManager(local_base_path=tmp_path / "base"),
        write_zip(tmp_path / "t.zip", {"t.trace": [*events, cast], name: JPEG}),
    )
    assert [(step.screenshot, (step.metadata or {})["page_id"]) for step in steps] == [(JPEG, PAGE)]


async def test_a_page_that_an_action_opened_is_named_by_an_event(tmp_path: Path) -> None:
    before, after = action(1, "newPage", pageId=None)
    opened = {"type": "event", "class": "BrowserContext", "method": "page", "time": 1, "params": {"pageId": PAGE}}
    events = [header(10), before, opened, after, *action(2, "goto"), snapshot("before@call@2", "blank")]
    steps = await imported(
        StorageManager(local_base_path=tmp_path / "base"), write_zip(tmp_path / "t.zip", {"t.trace": events})
    )
    assert [(step.html, (step.metadata or {})["page_id"]) for step in steps] == [
        ("<!DOCTYPE html>blank", PAGE),
        ("<!DOCTYPE html>blank", PAGE),
    ]
    assert [(step.metadata or {})["observed"] for step in steps] == ["after", "before"]
