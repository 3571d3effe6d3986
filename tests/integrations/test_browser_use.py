"""`step_callback`: a run of browser-use's released package in a real Chromium, and what a double can be made to do."""

import asyncio
import base64
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from storage_manager import InvalidDataError, StepData, StorageManager, StorageManagerError
from storage_manager.integrations.browser_use import step_callback
from storage_manager.integrity import verify_session
from storage_manager.recorder import record
from storage_manager.recorder.script import END, LOOK
from tests.support import ROOT
from tests.support.printed import hidden_blocks, text

PYTHON = os.environ.get("SM_TEST_BROWSER_USE")  # a fixture hides it from every test
SCRIPT = ROOT / "tests/support/browser_use_agent.py"
IMAGE = b"\x89PNG\r\n\x1a\nimage"


@pytest.fixture
def python() -> str:
    """A Python with browser-use and this package."""
    if PYTHON is None:
        how = "python3 -m venv build/bu && build/bu/bin/pip install -e '.[browser-use]'"
        why = f"set SM_TEST_BROWSER_USE to a Python with browser-use: {how}"
        assert "CI" not in os.environ, why
        pytest.skip(why)
    return PYTHON


@pytest.fixture
def sm(tmp_path: Path) -> StorageManager:
    return StorageManager(local_base_path=tmp_path)


@pytest.mark.thorough
async def test_a_run_of_the_released_package(python: str, chromium: str, tmp_path: Path) -> None:
    """The snippet of the documentation; its model is a script."""
    [snippet] = [block for block in hidden_blocks(text("howto/agents")) if "step_callback" in block]
    command = [python, str(SCRIPT), chromium, str(tmp_path)]
    run = await asyncio.to_thread(subprocess.run, command, input=snippet.encode(), stderr=subprocess.PIPE, timeout=150)
    assert run.returncode == 0, run.stderr.decode()
    sm = StorageManager(local_base_path=tmp_path)
    steps = [step.data async for step in sm.iter_steps(["run-bu"], strict=True)]
    assert await verify_session(sm, "run-bu") == []
    assert await sm.list_attachments("run-bu") == []
    check_actions([step.action or {} for step in steps])
    check_pages(steps)
    check_session(await sm.retrieve_session_metadata("run-bu") or {})


def check_actions(actions: list[dict[str, Any]]) -> None:
    first, second, third = actions
    assert first["navigate"]["url"].startswith("http://127.0.0.1:")
    assert [list(action) for action in second["actions"]] == [["wait"], ["click"]]
    assert third["done"]["success"] is True
    thoughts = {"thinking": "I think �", "evaluation_previous_goal": "good", "memory": "a lamp", "next_goal": "go"}
    assert all(action.items() >= {**thoughts, "thought": "I think �"}.items() for action in actions)


def check_pages(steps: list[StepData]) -> None:
    shown: list[dict[str, Any]] = [step.metadata or {} for step in steps]
    assert [about["observed"] for about in shown] == ["before"] * 3
    assert [about["title"] for about in shown[1:]] == ["Shop", "Bought"]
    assert [about.get("not_captured") for about in shown[1:]] == [None, None]
    assert {"url", "viewport", "device_pixel_ratio", "scroll", "timestamp", "agent_step"} <= shown[1].keys()
    assert shown[0]["not_captured"] == {"screenshot": "browser-use took no screenshot"}  # of an empty tab
    assert all((step.screenshot or b"").startswith(b"\x89PNG") for step in steps[1:])
    for part in ("<title>Shop", 'shadowrootmode="open"', "in the shadow", "a near frame", "a far frame", ">Buy<"):
        assert part in (steps[1].html or "")
    assert "swordfish" not in (steps[1].html or "")
    assert ">Bought<" in (steps[2].html or "")


def check_session(about: dict[str, Any]) -> None:
    assert about.pop("agent_version").startswith("0.")
    assert about.pop("started_at") < about.pop("ended_at")
    usage = {"input_tokens": 300, "output_tokens": 30}
    assert about == {
        "observed": "before",
        "goal": "Buy a lamp",
        "agent": "browser-use",
        "model": "script-1",
        "usage": usage,
        "outcome": "success",
        "result": "a lamp is bought",
    }


class Action:
    """An action as browser-use's models give it."""

    def __init__(self, **fields: Any) -> None:
        self.fields = fields

    def model_dump(self, **options: Any) -> dict[str, Any]:
        assert options == {"exclude_none": True, "mode": "json"}
        return self.fields


class History:
    """What an agent knows at the end of its run."""

    def __init__(self, success: bool | None) -> None:
        self.success, self.history = success, ["a step"]
        self.usage = SimpleNamespace(total_prompt_tokens=7, total_completion_tokens=1, total_cost=0.5, entry_count=1)

    def is_successful(self) -> bool | None:
        return self.success

    def final_result(self) -> str:
        return "done"

    def judgement(self) -> None:
        return None

    def errors(self) -> list[str | None]:
        return [None, "no such element"]


class Browser:
    """A browser with one page, as the Chrome DevTools Protocol shows it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.cdp_client, self.session_id = self, "session"

    async def get_or_create_cdp_session(self, target_id: str | None, *, focus: bool) -> "Browser":
        assert (target_id, focus) == (None, False)
        return self

    def answer(self, function: str) -> Any:
        """What the page says to a script of the recorder."""
        size = {"viewport": {"width": 9, "height": 9}, "device_pixel_ratio": 2, "scroll": {"x": 0, "y": 0}}
        look = {**size, "title": "Shop", "extras": {"shadow": 0, "top": 0, "frames": 0}}
        answers = {
            "() => location.href": self.url,
            "() => document.title": "Shop",
            LOOK: look,
            END: {"changed": False, "typed": 0, "look": look},
        }
        return next((value for known, value in answers.items() if known in function), "<title>Shop</title>")

    async def send_raw(self, command: str, given: Any, *, session_id: str) -> dict[str, Any]:
        if command == "Runtime.callFunctionOn":
            return {"result": {"value": self.answer(given["functionDeclaration"])}}
        answers = {
            "Page.getFrameTree": {"frameTree": {"frame": {"id": "main", "url": self.url}}},
            "Page.createIsolatedWorld": {"executionContextId": 1},
            "Target.getTargets": {"targetInfos": []},
        }
        return answers.get(command, {})


class Agent:
    """An agent as far as the callback knows it, which calls it as browser-use does."""

    def __init__(self, callback: Any, success: bool | None = True, url: str = "http://shop.test/") -> None:
        self.register_new_step_callback = callback
        self.task, self.version, self.llm = "Buy a lamp", "0.13", SimpleNamespace(model="m-1")
        self.history, self.browser_session = History(success), Browser(url)

    async def run(self, *actions: Any) -> None:
        await self.register_new_step_callback(*seen(*actions))


def seen(*actions: Any, screenshot: str | None = base64.b64encode(IMAGE).decode()) -> tuple[Any, Any, int]:
    """The arguments of a callback for a step."""
    info = SimpleNamespace(viewport_width=640, viewport_height=480, scroll_x=0, scroll_y=20)
    state = SimpleNamespace(url="http://shop.test/", title="shop.test", screenshot=screenshot, page_info=info)
    return state, SimpleNamespace(action=list(actions), thinking=None, memory="m", next_goal="go"), 1


async def test_a_step_and_the_session(sm: StorageManager) -> None:
    async with record(sm, "s", metadata={"agent": "mine"}) as recorder:
        await Agent(step_callback(recorder), success=False).run(Action(click={"index": 1}))
    step = await sm.retrieve_step_data("s", "step_000001")
    assert step[:3] == (
        "<title>Shop</title>",
        IMAGE,
        {"click": {"index": 1}, "thought": "m", "memory": "m", "next_goal": "go"},
    )
    about = step.metadata or {}
    assert (about["title"], about["viewport"], about["scroll"]) == (
        "Shop",
        {"width": 640, "height": 480},
        {"x": 0, "y": 20},
    )
    known = await sm.retrieve_session_metadata("s") or {}
    usage = {"input_tokens": 7, "output_tokens": 1, "cost_usd": 0.5}
    errors = [{"agent_step": 2, "error": "no such element"}]
    expected = {"agent": "mine", "goal": "Buy a lamp", "outcome": "failure", "usage": usage, "errors": errors}
    assert known.items() >= expected.items()


async def test_what_finish_says_takes_precedence(sm: StorageManager) -> None:
    async with record(sm, "s") as recorder:
        await Agent(step_callback(recorder)).run(Action(wait={}))
        recorder.finish(outcome="failure")
    assert (await sm.retrieve_session_metadata("s") or {})["outcome"] == "failure"


async def test_a_page_that_is_elsewhere_by_now(sm: StorageManager) -> None:
    async with record(sm, "s") as recorder:
        await Agent(step_callback(recorder), url="http://other.test/").run(Action(wait={}), Action(wait={}))
    step = await sm.retrieve_step_data("s", "step_000001")
    assert (step.html, step.screenshot, list((step.action or {})["actions"])) == (None, IMAGE, [{"wait": {}}] * 2)
    about = step.metadata or {}
    assert "http://other.test/" in about["not_captured"]["html"]
    assert about["title"] == "shop.test"


async def test_without_an_agent_the_reason_says_what_to_do(sm: StorageManager) -> None:
    async with record(sm, "s") as recorder:
        await step_callback(recorder)(*seen(Action(wait={}), screenshot=None))
    about = (await sm.retrieve_step_data("s", "step_000001")).metadata or {}
    assert "run(on_step_start=...)" in about["not_captured"]["html"]
    assert about["not_captured"]["screenshot"] == "browser-use took no screenshot"
    assert (await sm.retrieve_session_metadata("s") or {})["agent"] == "browser-use"


async def test_an_object_of_the_user_is_not_taken_for_the_agent(sm: StorageManager) -> None:
    class Chain:
        """What calls several callbacks for one step."""

        def __init__(self, *callbacks: Any) -> None:
            self.register_new_step_callback = callbacks

        async def call(self, *args: Any) -> None:
            for callback in self.register_new_step_callback:
                await callback(*args)

    async with record(sm, "s") as recorder:
        await Agent(Chain(step_callback(recorder)).call).run(Action(wait={}))
    assert (await sm.retrieve_step_data("s", "step_000001")).html == "<title>Shop</title>"
    assert (await sm.retrieve_session_metadata("s") or {})["goal"] == "Buy a lamp"


async def test_it_is_a_hook_of_run_too(sm: StorageManager) -> None:
    async with record(sm, "s") as recorder:
        callback = step_callback(recorder)
        await callback(Agent(None))
        await callback(*seen(Action(wait={})))
    assert (await sm.retrieve_step_data("s", "step_000001")).html == "<title>Shop</title>"


async def test_an_action_that_cannot_be_read_is_named(sm: StorageManager) -> None:
    async with record(sm, "s") as recorder:
        await Agent(step_callback(recorder)).run(object())
    action = (await sm.retrieve_step_data("s", "step_000001")).action or {}
    assert action == {"not_captured": "'object' object has no attribute 'model_dump'"}


async def test_what_the_agent_does_not_say_is_named(sm: StorageManager) -> None:
    async with record(sm, "s") as recorder:
        agent = Agent(step_callback(recorder))
        await agent.run(Action(wait={}))
        del agent.task
    known = await sm.retrieve_session_metadata("s") or {}
    assert known["not_captured"] == {"goal": "'Agent' object has no attribute 'task'"}
    assert known["outcome"] == "success"


async def test_secrets_are_masked_before_reasons_are_shortened(tmp_path: Path) -> None:
    """A part of a secret could not be masked any more."""
    secret = "correct-horse-battery-staple"

    class Failing(History):
        def is_successful(self) -> bool | None:
            raise RuntimeError("x" * 490 + secret)

    sm = StorageManager(local_base_path=tmp_path, redact=[secret])
    async with record(sm, "s") as recorder:
        agent = Agent(step_callback(recorder))
        agent.history = Failing(True)
        await agent.run(Action(wait={}))
        await agent.run(SimpleNamespace())
    why = (await sm.retrieve_session_metadata("s") or {})["not_captured"]["outcome"]
    assert why == "x" * 490 + "[redacted]"
    step = await sm.retrieve_step_data("s", "step_000002")
    assert "model_dump" in (step.action or {})["not_captured"]


async def test_a_storage_that_fails_does_not_disturb_the_agent(sm: StorageManager, tmp_path: Path) -> None:
    with pytest.raises(StorageManagerError, match="cannot store steps of session s: ") as raised:
        async with record(sm, "s") as recorder:
            agent = Agent(step_callback(recorder))
            (tmp_path / "s" / "step_000001").write_text("in the way")
            await agent.run(Action(wait={}))
            await agent.run(Action(wait={}))
            await agent.run(Action(wait=float("nan")))
            await agent.run(Action(wait=float("nan")))
    refused = {"the step after step_000002", "the step after step_000002 (2)"}
    assert {"step_000001", *refused} == set(str(raised.value).split(": ")[1].split(", "))
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == ["_session.json", "step_000001", "step_000002"]
    assert (await sm.retrieve_session_metadata("s") or {})["goal"] == "Buy a lamp"


async def test_a_redactor_that_knows_only_steps_is_refused_at_once(tmp_path: Path) -> None:
    sm = StorageManager(local_base_path=tmp_path, redact=lambda data: data)
    async with record(sm, "s") as recorder:
        with pytest.raises(InvalidDataError, match="redact_attachment"):
            step_callback(recorder)
