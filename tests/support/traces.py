"""Make traces in each version of the format, and import them."""

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from storage_manager import StepData, StorageManager
from storage_manager.importers import import_playwright_trace

Event = dict[str, Any]

WALL_TIME, MONOTONIC = 1_700_000_000_000, 1000.0
PAGE, FRAME, CHILD = "page@1", "frame@1", "frame@2"
JPEG = b"\xff\xd8\xff\xe0 a frame"
PNG = b"\x89PNG\r\n\x1a\n a screenshot"

FIRST = [
    "HTML",
    {"lang": "en"},
    ["HEAD", {}, ["BASE", {"href": "http://shop.test/"}], ["TITLE", {}, "A & B"]],
    ["BODY", {}, ["P", {}, "one"], ["P", {"id": "two"}, "two"]],
]
# In post-order: base 0, text 1, title 2, head 3, text 4, p 5, text 6, p 7, body 8.
SECOND = ["HTML", {"lang": "en"}, [[1, 3]], ["BODY", {}, [[1, 5]], ["P", {}, "clicked"]]]

FIRST_HTML = (
    '<!DOCTYPE html><HTML lang="en"><HEAD><BASE href="http://shop.test/"><TITLE>A &amp; B</TITLE></HEAD>'
    '<BODY><P>one</P><P id="two">two</P></BODY></HTML>'
)
SECOND_HTML = FIRST_HTML.replace('<P id="two">two</P>', "<P>clicked</P>")


def lines(events: Sequence[object]) -> str:
    """Return events as JSON Lines."""
    return "".join(f"{json.dumps(event)}\n" for event in events)


def write_zip(path: Path, members: Mapping[str, bytes | str | Sequence[object]], compression: int = 8) -> Path:
    """Write a zip of these members. A member that is neither bytes nor text is a list of events."""
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content if isinstance(content, (bytes, str)) else lines(content))
    return path


def header(version: int = 8, **more: Any) -> Event:
    """Return the first event of a trace of the library."""
    event = {"type": "context-options", "version": version, "browserName": "chromium", "platform": "linux"}
    event |= {"wallTime": WALL_TIME, "options": {"viewport": {"width": 800, "height": 600}}, "title": "a test"}
    clock = {"origin": "library", "monotonicTime": MONOTONIC} if version >= 7 else {}
    return {**event, **clock, **more}


def snapshot(name: str, html: object, frame: str = FRAME, **more: Any) -> Event:
    """Return the snapshot of a frame, by default of the main frame."""
    event = {"snapshotName": name, "callId": name.partition("@")[2], "pageId": PAGE, "frameId": frame, "html": html}
    event |= {"frameUrl": "http://shop.test/", "doctype": "html", "timestamp": 1, "resourceOverrides": []}
    event |= {"viewport": {"width": 800, "height": 600}, "isMainFrame": frame == FRAME}
    return {"type": "frame-snapshot", "snapshot": {**event, **more}}


def action(number: int, method: str = "click", html: object = None, **more: Any) -> list[Event]:
    """Return the events of one action in version 8, with a snapshot after it if `html` is given."""
    call = {"type": "before", "callId": f"call@{number}", "startTime": MONOTONIC + number, "class": "Frame"}
    call |= {"method": method, "params": {}, "pageId": PAGE, "beforeSnapshot": f"before@call@{number}"}
    after = {"type": "after", "callId": f"call@{number}", "endTime": MONOTONIC + number + 0.5}
    shots = [snapshot(f"after@call@{number}", html)] if html is not None else []
    return [{**call, **more}, {**after, "afterSnapshot": f"after@call@{number}"}, *shots]


def frame(timestamp: float, version: int = 8, page: str = PAGE) -> tuple[Event, str]:
    """Return a frame of the screencast, and the name of its member."""
    name = f"{page}-{timestamp}.jpeg"
    event = {"type": "screencast-frame", "pageId": page, "timestamp": timestamp, "width": 800, "height": 600}
    if version < 9:
        return {**event, "sha1": name}, f"resources/{name}"
    return {**event, "file": f"screencast/{name}"}, f"screencast/{name}"


async def imported(
    storage: StorageManager, path: Path, session_id: str | None = None, **options: Any
) -> list[StepData]:
    """Import a trace. Return the data of its steps."""
    session_id = await import_playwright_trace(storage, path, session_id, **options)
    steps = [step async for step in storage.iter_steps([session_id])]
    assert [step.step_id for step in steps] == [f"step_{number + 1:06d}" for number in range(len(steps))]
    return [step.data for step in steps]


def page(html: object, *events: Event, **more: Any) -> list[Event]:
    """Return a trace of one action, after which the page is this one."""
    return [header(), *events, *action(1), snapshot("after@call@1", html, **more)]
