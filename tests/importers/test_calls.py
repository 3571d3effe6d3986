"""Calls that neither act on a page nor check it are left out; what is private is not stored."""

import json
from pathlib import Path
from typing import Any

import pytest

from storage_manager import InvalidDataError, StepData, StorageManager
from storage_manager.importers import import_playwright_trace
from tests.support.traces import FIRST, Event, action, header, write_zip

# What Playwright MCP calls for three of its tools: navigate, type and click.
OF_MCP = [
    *("newPage", "consoleMessages", "goto", "pageErrors", "requests", "__waitInfo__", "ariaSnapshot", "title"),
    *("consoleMessages", "pageErrors", "title", "ariaSnapshot", "fill", "waitForTimeout", "title", "ariaSnapshot"),
    *("click", "waitForEventInfo", "waitForLoadState", "title", "consoleMessages", "screenshot"),
]


async def steps_of(tmp_path: Path, events: list[Event], **options: Any) -> list[StepData]:
    """Import these events after a header; return the steps."""
    sm = StorageManager(local_base_path=tmp_path / "base")
    path = write_zip(tmp_path / "t.zip", {"t.trace": [header(), *events]})
    session_id = await import_playwright_trace(sm, path, **options)
    found = [step.data async for step in sm.iter_steps([session_id])]
    await sm.delete_session(session_id)
    return found


def types(steps: list[StepData]) -> list[str]:
    return [(step.action or {})["type"] for step in steps]


async def test_three_tool_calls_are_three_steps_and_the_page_that_was_opened(tmp_path: Path) -> None:
    events = [event for number, method in enumerate(OF_MCP) for event in action(number, method)]
    assert types(await steps_of(tmp_path, events)) == ["newPage", "goto", "fill", "click"]
    assert types(await steps_of(tmp_path, events, all_calls=True)) == OF_MCP


@pytest.mark.parametrize(
    "method", ["evaluateExpression", "evalOnSelector", "expect", "expectScreenshot", "hover", "setViewportSize", "new"]
)
async def test_what_may_act_or_checks_stays(tmp_path: Path, method: str) -> None:
    assert types(await steps_of(tmp_path, [*action(1, method), *action(2, "title")])) == [method]


@pytest.mark.parametrize(("kind", "kept"), [("Route", False), ("Other", True)])
async def test_an_answer_to_a_request_is_not_a_step(tmp_path: Path, kind: str, kept: bool) -> None:
    events = [*action(1), *action(2, "abort", **{"class": kind})]
    assert types(await steps_of(tmp_path, events)) == ["click", *(["abort"] if kept else [])]


async def test_a_trace_of_left_out_calls_alone_is_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataError, match=r"none of its calls acts on a page .*all_calls=True"):
        await steps_of(tmp_path, action(1, "title"))
    assert types(await steps_of(tmp_path, action(1, "title"), all_calls=True)) == ["title"]
    assert await StorageManager(local_base_path=tmp_path / "base").list_sessions() == []


SECRET = "hunter2"
COOKIES = [{"name": "sid", "value": SECRET}]
HEADERS = [{"name": "Cookie", "value": SECRET}]


@pytest.mark.parametrize(
    ("method", "params", "result"),
    [
        ("addCookies", {"cookies": COOKIES}, None),
        ("cookies", {}, {"cookies": COOKIES}),
        ("storageState", {}, {"cookies": COOKIES, "origins": [{"localStorage": COOKIES}]}),
        ("setStorageState", {"storageState": {"origins": COOKIES}}, None),
        ("setExtraHTTPHeaders", {"headers": HEADERS}, None),
        ("setHTTPCredentials", {"httpCredentials": {"password": SECRET}}, None),
        ("webStorageSetItem", {"name": "token", "value": SECRET}, None),
        ("fetch", {"url": "/", "headers": HEADERS}, {"response": {"headers": HEADERS}}),
        ("newContext", {"storageState": {"cookies": COOKIES}, "extraHTTPHeaders": HEADERS}, None),
        ("goto", {"url": "/"}, {"response": {"headers": HEADERS, "status": 200}}),
    ],
)
async def test_cookies_storage_and_headers_are_left_out(
    tmp_path: Path, method: str, params: dict[str, Any], result: Any
) -> None:
    before, after, shot = action(1, method, html=FIRST, params={**params, "timeout": 5})
    log = {"type": "log", "callId": "call@1", "message": f"  cookie: {SECRET}" if method == "fetch" else "a line"}
    private = {"options": {"storageState": {"cookies": COOKIES}, "extraHTTPHeaders": HEADERS, "userAgent": "x"}}
    events = [header(**private), before, log, {**after, "result": result}, shot]
    [step] = await steps_of(tmp_path, events, all_calls=True)
    assert SECRET not in json.dumps([step.action, step.metadata])
    assert "hunter" not in (step.html or "")
    if method in ("newContext", "goto"):
        assert (step.action or {})["params"]["timeout"] == 5
        assert (step.action or {})["log"] == ["a line"]
