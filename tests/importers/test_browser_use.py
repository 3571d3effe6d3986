"""A history of browser-use becomes a session: what the page showed, and then what was chosen there."""

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from storage_manager import InvalidDataError, StorageManager
from storage_manager.importers import budget, import_browser_use, storing
from storage_manager.transitions import iter_transitions
from tests.support.agent_runs import JPEG, PNG, history_item, imported, write_history


@pytest.fixture
def sm(tmp_path: Path) -> StorageManager:
    """A manager of an empty root."""
    return StorageManager(local_base_path=tmp_path / "base")


DONE = {"done": {"text": "It costs 20.", "success": True, "files_to_display": []}}
END = {"is_done": True, "success": True, "extracted_content": "It costs 20."}


def last_item(number: int, **more: Any) -> dict[str, Any]:
    """An item that ends the run."""
    item = history_item(number, result=[END | more])
    item["model_output"]["action"] = [DONE]
    item["state"]["interacted_element"] = [None]
    return item


async def test_a_history(sm: StorageManager, tmp_path: Path) -> None:
    about, steps = await imported(sm, import_browser_use, write_history(tmp_path, [history_item(1), last_item(2)]))
    assert about == {
        "goal": "Buy a kettle",
        "outcome": "success",
        "result": "It costs 20.",
        "agent": "browser-use",
        "start_url": "http://shop.test/1",
        "started_at": "2023-11-14T22:13:21.500+00:00",
        "ended_at": "2023-11-14T22:13:23.250+00:00",
        "observed": "before",
        "source": "browser-use",
    }
    first, last = steps
    assert first.html is None
    assert first.screenshot == PNG
    assert first.action == {
        "type": "click",
        "click": {"index": 3},
        "interacted_element": history_item(1)["state"]["interacted_element"][0],
        "point": {"x": 25.0, "y": 40.0},
        "box": {"x": 10, "y": 20, "width": 30, "height": 40},
        "result": history_item(1)["result"][0],
        "thought": "thought 1",
        "thinking": "thought 1",
        "memory": "m",
        "next_goal": "goal 1",
    }
    assert first.metadata == {
        "url": "http://shop.test/1",
        "title": "Shop 1",
        "tabs": history_item(1)["state"]["tabs"],
        "timestamp": "2023-11-14T22:13:21.500+00:00",
        "duration": 750.0,
        "step_number": 1,
        "observed": "before",
        "source": "browser-use",
        "not_captured": {"html": "a history of browser-use has no HTML"},
    }
    assert last.action is not None
    assert last.action["done"]["text"] == "It costs 20."
    message = await sm.retrieve_attachment("history", "state_message.txt", "step_000001")
    assert message == history_item(1)["state_message"].encode()


async def test_a_transition_begins_at_the_page_on_which_the_action_was_chosen(
    sm: StorageManager, tmp_path: Path
) -> None:
    await imported(sm, import_browser_use, write_history(tmp_path, [history_item(1), history_item(2), last_item(3)]))
    found = [each async for each in iter_transitions(sm)]
    urls = [[page and (page.metadata or {})["url"] for page in (each.before, each.after)] for each in found]
    first, second, third = (f"http://shop.test/{number}" for number in (1, 2, 3))
    assert urls == [[first, second], [second, third], [third, None]]
    assert [each.action["type"] for each in found] == ["click", "click", "done"]


async def test_no_user_of_a_url_is_stored(sm: StorageManager, tmp_path: Path) -> None:
    item = history_item(1)
    item["state"]["url"] = "https://me:word@shop.test/a@b"
    about, [step] = await imported(sm, import_browser_use, write_history(tmp_path, [item]))
    assert [about["start_url"], (step.metadata or {})["url"]] == ["https://shop.test/a@b"] * 2


async def test_several_actions_and_their_errors(sm: StorageManager, tmp_path: Path) -> None:
    item = history_item(1)
    item["model_output"]["action"] = [
        {"input": {"index": 3, "text": "kettle"}},
        {"scroll": {"down": True}},
        {"go_back": {}},
    ]
    item["result"] = [{"extracted_content": "typed"}, {"error": "cannot scroll"}]
    _, [step] = await imported(sm, import_browser_use, write_history(tmp_path, [item]))
    assert step.action is not None
    typed, scrolled, back = step.action["actions"]
    assert (typed["type"], typed["input"], typed["result"]) == (
        "input",
        item["model_output"]["action"][0]["input"],
        item["result"][0],
    )
    assert (scrolled["scroll"], scrolled["error"]) == ({"down": True}, "cannot scroll")
    assert back == {"type": "go_back", "go_back": {}}
    assert (step.action["error"], step.action["thought"]) == ("cannot scroll", "thought 1")


async def test_an_item_without_an_action(sm: StorageManager, tmp_path: Path) -> None:
    item = history_item(2, model_output=None, result=[{"error": "the model did not answer"}])
    about, [_, step] = await imported(sm, import_browser_use, write_history(tmp_path, [history_item(1), item]))
    assert step.action is None
    assert (step.metadata or {})["results"] == item["result"]
    assert "outcome" not in about


@pytest.mark.parametrize(("success", "outcome"), [(False, "failure"), (None, None)])
async def test_the_outcome_is_that_of_the_last_result(
    sm: StorageManager, tmp_path: Path, success: Any, outcome: Any
) -> None:
    about, _ = await imported(sm, import_browser_use, write_history(tmp_path, [last_item(1, success=success)]))
    assert about.get("outcome") == outcome


async def test_usage_names_the_model(sm: StorageManager, tmp_path: Path) -> None:
    usage = {"total_prompt_tokens": 900, "total_completion_tokens": 50, "total_cost": 0.25, "by_model": {"gpt-x": {}}}
    about, _ = await imported(sm, import_browser_use, write_history(tmp_path, [last_item(1)], usage=usage))
    assert about["model"] == "gpt-x"
    assert about["usage"] == {"input_tokens": 900, "output_tokens": 50, "cost_usd": 0.25}


async def test_a_history_of_an_early_version(sm: StorageManager, tmp_path: Path) -> None:
    """Until 0.2: base64 in the state, the thought in `current_state`, coordinates in the viewport, tokens per item."""
    corner = {"top_left": {"x": 1, "y": 2}, "width": 3, "height": 4}
    brain = {"evaluation_previous_goal": "", "memory": "m", "next_goal": "next"}
    item = {
        "model_output": {"current_state": brain, "action": [{"click_element": {"index": 3}}]},
        "result": [{"is_done": False}],
        "state": {
            "screenshot": base64.b64encode(JPEG).decode(),
            "interacted_element": [{"tag_name": "a", "viewport_coordinates": corner}],
            "url": "chrome://new-tab-page/",
        },
        "metadata": {"step_start_time": 1.0, "step_end_time": 2.0, "input_tokens": 5, "step_number": 1},
    }
    about, steps = await imported(sm, import_browser_use, write_history(tmp_path, [item, item]))
    assert about["usage"] == {"input_tokens": 10}
    assert "start_url" not in about
    assert steps[0].screenshot == JPEG
    assert steps[0].action is not None
    assert steps[0].action["box"] == {"x": 1, "y": 2, "width": 3, "height": 4}
    assert steps[0].action["thought"] == "next"


@pytest.mark.parametrize(
    ("message", "point", "has_box"),
    [
        ("<page_info>0.0 pages above", {}, True),
        ("<page_info>0.4 pages above", {}, False),
        ("<page_info>0.4 pages above", {"click_x": 11, "click_y": 21}, True),
        ("<page_info>0.4 pages above", {"input_x": 11, "input_y": 21}, True),
        ("<page_info>0.0 pages above", {"click_x": 11, "click_y": 900}, False),
    ],
)
async def test_a_box_is_one_of_the_viewport(
    sm: StorageManager, tmp_path: Path, message: str, point: Any, has_box: bool
) -> None:
    item = history_item(1, state_message=message, result=[{"metadata": point}])
    _, [step] = await imported(sm, import_browser_use, write_history(tmp_path, [item]))
    assert step.action is not None
    assert ("box" in step.action) is has_box


async def test_what_the_history_has_already_is_kept(sm: StorageManager, tmp_path: Path) -> None:
    item = history_item(1)
    item["model_output"]["action"] = [{"tap": {}, "point": {"x": 1}, "box": None}]
    _, [step] = await imported(sm, import_browser_use, write_history(tmp_path, [item]))
    assert step.action is not None
    assert (step.action["point"], step.action["box"]) == ({"x": 1}, None)


async def test_screenshots_that_are_not_there(sm: StorageManager, tmp_path: Path) -> None:
    gone, none, own = history_item(1), history_item(2), history_item(3)
    gone["state"]["screenshot_path"] = "/elsewhere/screenshots/step_9.png"
    none["state"]["screenshot_path"] = None
    own["state"]["screenshot_path"] = "screenshots/step_3.png"
    _, steps = await imported(sm, import_browser_use, write_history(tmp_path, [gone, none, own]))
    assert [step.screenshot for step in steps] == [None, None, PNG]
    assert [(step.metadata or {})["not_captured"].get("screenshot") for step in steps[:2]] == [
        "the history has no screenshot of this step"
    ] * 2


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            {"screenshot_path": "/etc/passwd"},
            "the path '/etc/passwd' leads out of the folder .*here: copy the agent's directory",
        ),
        ({"screenshot_path": "../secret.png"}, "leads out of the folder"),
        ({"screenshot_path": "link.png"}, "leads out of the folder"),
        ({"screenshot_path": "/x/screenshots/link.png"}, "leads out of the folder"),
        ({"screenshot_path": "/gone/screenshots/step_9.png"}, None),
        ({"screenshot_path": "/gone/shots/step_1.png"}, "leads out of the folder"),
        ({"screenshot_path": "directory/../../secret.png"}, "leads out of the folder"),
        ({"screenshot_path": "history.json"}, "'history.json' is not a PNG, JPEG or WebP image"),
        ({"screenshot_path": "screenshots"}, "'screenshots' is not a regular file"),
        ({"screenshot_path": "pipe.png"}, "'pipe.png' is not a regular file"),
        ({"screenshot_path": "sparse.png"}, "'sparse.png' has 10737418240 bytes; the limit is"),
        ({"screenshot_path": "loop.png"}, "'loop.png' is not the path of a file"),
        ({"screenshot_path": "x" * 300}, "is not the path of a file"),
        ({"screenshot_path": "x" * 2000}, "has 2000 characters"),
        ({"screenshot_path": "a\0b"}, "null"),
        ({"screenshot_path": 7}, "'screenshot_path' must be a str, not int"),
        ({"screenshot": "no base64!"}, "item 1: 'screenshot' is not base64"),
        ({"screenshot": "aGVsbG8="}, "'screenshot' is not a PNG, JPEG or WebP image"),
        ({"interacted_element": {}}, None),
        ({"interacted_element": {"a": 1}}, "'interacted_element' must be a list, not dict"),
    ],
)
async def test_what_a_state_may_not_have(
    sm: StorageManager, tmp_path: Path, change: dict[str, Any], why: str | None
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (tmp_path / "secret.png").write_bytes(PNG)
    item = history_item(1)
    path = write_history(here, [{**item, "state": {**item["state"], **change}}])
    for link in (here / "link.png", here / "screenshots" / "link.png"):
        link.symlink_to(tmp_path / "secret.png")
    (here / "loop.png").symlink_to("loop.png")
    (here / "directory").mkdir()
    os.mkfifo(here / "pipe.png")
    (here / "sparse.png").touch()
    os.truncate(here / "sparse.png", 10 * 2**30)
    if why is None:
        await import_browser_use(sm, path)
        return
    with pytest.raises(InvalidDataError, match=why) as caught:
        await import_browser_use(sm, path)
    assert str(caught.value).startswith(f"cannot import {path}: ")
    assert await sm.list_sessions() == []


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "Expecting value"),
        (b"{", "line 1 column 2"),
        (b"\xff\xfe", "codec can't decode byte"),
        (b"[]", "the history: an object is expected, not list"),
        (b"{}", "no list 'history'"),
        (b'{"history": {}}', "no list 'history'"),
        (b'{"history": []}', "it has no steps"),
        (b'{"history": [1]}', "item 1: an object is expected, not int"),
        (b'{"history": [{"state": []}]}', "item 1: 'state' must be a dict, not list"),
        (b'{"history": [{"model_output": {"action": 7}}]}', "'action' must be a list, not int"),
        (b'{"history": [{"metadata": {"step_start_time": 1e12}}]}', "not a valid time"),
        (b'{"history": [{"metadata": {"step_start_time": NaN}}]}', "NaN is not a JSON number"),
        (b'{"history": [{"metadata": {"step_start_time": "1"}}]}', "must be a number, not str"),
        (b'{"history": ' + b"[" * 100_000, "recursion"),
        (b'{"history": [{"result": [{"a": ' + b"[" * 300 + b"]" * 300 + b"}]}]}", "deeper than 200 levels"),
    ],
)
async def test_what_is_not_a_history(sm: StorageManager, tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "h.json"
    path.write_bytes(content)
    with pytest.raises(InvalidDataError, match=why):
        await import_browser_use(sm, path)
    assert await sm.list_sessions() == []


async def test_secrets_are_masked_everywhere(tmp_path: Path) -> None:
    secret = "correct-horse"
    item = json.loads(json.dumps(history_item(1)).replace("Clicked", secret).replace("kettle", secret))
    sm = StorageManager(local_base_path=tmp_path / "base", redact=[secret])
    await import_browser_use(sm, write_history(tmp_path, [item]))
    stored = [path.read_bytes() for path in (tmp_path / "base").rglob("*") if path.is_file()]
    assert len(stored) == 5
    assert not [data for data in stored if secret.encode() in data]
    item["state"]["screenshot_path"] = f"/{secret}/step.png"
    with pytest.raises(InvalidDataError, match=r"the path '/\[redacted\]/step.png' leads out") as caught:
        await import_browser_use(sm, write_history(tmp_path, [item]), "other")
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("module", "limit", "most", "why"),
    [
        (storing, "MAX_QUICK", 10, "a step or the session has more than 10 values"),
        (budget, "MAX_SESSION", 1000, "its session would have more than 1000 bytes"),
        (storing, "MAX_STEPS", 1, "it has more than 1 steps"),
    ],
)
async def test_limits(
    sm: StorageManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, limit: str, most: int, why: str
) -> None:
    path = write_history(tmp_path, [history_item(1), history_item(2)])
    monkeypatch.setattr(module, limit, most)
    with pytest.raises(InvalidDataError, match=why):
        await import_browser_use(sm, path)
    assert await sm.list_sessions() == []
