"""Make runs of agents in the form of each tool, and import them."""

import base64
import gzip
import json
import pickle
import sys
import types
import unittest.mock
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from storage_manager import StepData, StorageManager

PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==")
JPEG = b"\xff\xd8\xff\xe0 a screenshot"

Importer = Callable[[StorageManager, Path], Awaitable[str]]


async def imported(sm: StorageManager, importer: Importer, path: Path) -> tuple[dict[str, Any], list[StepData]]:
    """Import a run. Return the metadata of its session, and its steps."""
    session_id = await importer(sm, path)
    steps = [step.data async for step in sm.iter_steps([session_id])]
    return await sm.retrieve_session_metadata(session_id) or {}, steps


def history_item(number: int, **more: Any) -> dict[str, Any]:
    """Return an item of browser-use's history: a click on a button, which is chosen at the page `/number`."""
    element = {"node_name": "BUTTON", "bounds": {"x": 10, "y": 20, "width": 30, "height": 40}, "x_path": "html/body/b"}
    output = {"evaluation_previous_goal": "", "memory": "m", "next_goal": f"goal {number}"}
    return {
        "model_output": {**output, "action": [{"click": {"index": 3}}], "thinking": f"thought {number}"},
        "result": [{"is_done": False, "metadata": {"click_x": 25.0, "click_y": 40.0}, "long_term_memory": "Clicked"}],
        "state": {
            "tabs": [{"url": f"http://shop.test/{number}", "title": "Shop", "target_id": "AB12"}],
            "screenshot_path": f"/tmp/browser_use_agent_1/screenshots/step_{number}.png",
            "interacted_element": [element],
            "url": f"http://shop.test/{number}",
            "title": f"Shop {number}",
        },
        "metadata": {
            "step_start_time": 1_700_000_000.5 + number,
            "step_end_time": 1_700_000_001.25 + number,
            "step_number": number,
        },
        "state_message": "<user_request>\nBuy a kettle\n</user_request>\n<page_info>0.0 pages above</page_info>",
        **more,
    }


def write_history(directory: Path, items: Any, **more: Any) -> Path:
    """Write a history of browser-use, and a screenshot for each of its steps beside it."""
    (directory / "screenshots").mkdir(exist_ok=True)
    for number in range(1, 4):
        (directory / "screenshots" / f"step_{number}.png").write_bytes(PNG)
    path = directory / "history.json"
    path.write_text(json.dumps({"history": items, **more}))
    return path


def write_files(directory: Path, files: Mapping[str, bytes | str]) -> Path:
    """Write these files to a directory."""
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return directory


class Pickled:
    """Stands for the classes of AgentLab, which need not be installed: `step_info` and others are made of it."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


def _named(module: str, name: str) -> type:
    return type(name, (Pickled,), {"__module__": module})


STEP_INFO = _named("agentlab.experiments.loop", "StepInfo")
TIMES = _named("agentlab.experiments.loop", "StepTimestamps")
EXP_ARGS = _named("agentlab.experiments.loop", "ExpArgs")
ENV_ARGS = _named("agentlab.experiments.loop", "EnvArgs")
AGENT_INFO = _named("browsergym.experiments.agent", "AgentInfo")
AGENT_ARGS = _named("my_agents", "MyArgs")
MODEL_ARGS = _named("my_agents", "ModelArgs")


def pickled(value: object) -> bytes:
    """Return a pickle in which the classes above are in their own modules, as AgentLab writes it."""
    kinds = (STEP_INFO, TIMES, EXP_ARGS, ENV_ARGS, AGENT_INFO, AGENT_ARGS, MODEL_ARGS)
    names = {kind.__module__ for kind in kinds} | {
        "agentlab",
        "agentlab.experiments",
        "browsergym",
        "browsergym.experiments",
    }
    modules = {name: types.ModuleType(name) for name in names}
    for kind in kinds:
        setattr(modules[kind.__module__], kind.__name__, kind)
    with unittest.mock.patch.dict(sys.modules, modules):
        return pickle.dumps(value)


def observation(**more: Any) -> dict[str, Any]:
    """Return an observation of BrowserGym, after its default preprocessor."""
    return {
        "chat_messages": ({"role": "user", "timestamp": 1.5, "message": "Buy a kettle"},),
        "goal": "Buy a kettle",
        "goal_object": None,
        "open_pages_urls": ("http://shop.test/",),
        "open_pages_titles": ("Shop",),
        "active_page_index": np.asarray([0]),
        "url": "http://shop.test/",
        "extra_element_properties": {
            "6": {"visibility": 1.0, "bbox": [8.0, 80.0, 177.0, 21.0], "clickable": True, "set_of_marks": True},
            "7": {"visibility": 0.0, "bbox": None, "clickable": False, "set_of_marks": False},
        },
        "focused_element_bid": "4",
        "last_action": "",
        "last_action_error": "",
        "elapsed_time": np.asarray([2.5]),
        "dom_txt": '<html bid="0"></html>',
        "axtree_txt": "RootWebArea 'Shop'",
        "pruned_html": "<h1>Shop</h1>",
        **more,
    }


def step_info(number: int, action: str | None, obs: Any = None, **more: Any) -> Any:
    """Return a step of AgentLab."""
    times = TIMES(env_start=1_700_000_000.5 + number, env_stop=1_700_000_001.0 + number, agent_start=0, agent_stop=0)
    values = {"reward": 0, "raw_reward": 0, "terminated": False, "truncated": False, "stats": None, "task_info": {}}
    about = AGENT_INFO(think=f"thought {number}", chat_messages=[], stats={"n": np.float32(1.5)}) if action else {}
    known = {**values, "step": number, "obs": obs, "action": action, "agent_info": about, "profiling": times, **more}
    return STEP_INFO(**known)


def write_experiment(directory: Path, steps: Any, **files: bytes | str) -> Path:
    """Write the directory of an experiment, with a screenshot for each step."""
    pickles = {f"step_{number}.pkl.gz": gzip.compress(pickled(step)) for number, step in enumerate(steps)}
    shots = {f"screenshot_step_{number}.png": PNG for number in range(len(steps))}
    return write_files(directory, {**pickles, **shots, **files})
