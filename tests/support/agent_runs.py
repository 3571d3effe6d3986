"""Runs of agents, written by hand in the form of each tool; and how to import one."""

import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from storage_manager import StepData, StorageManager

PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==")
JPEG = b"\xff\xd8\xff\xe0 a screenshot"

Importer = Callable[[StorageManager, Path, str | None], Awaitable[str]]


async def imported(sm: StorageManager, importer: Any, path: Path) -> tuple[dict[str, Any], list[StepData]]:
    """The metadata of the session that the import makes, and its steps."""
    session_id = await importer(sm, path)
    steps = [step.data async for step in sm.iter_steps([session_id])]
    return await sm.retrieve_session_metadata(session_id) or {}, steps


def history_item(number: int, **more: Any) -> dict[str, Any]:
    """An item of browser-use's history: a click on a button, which is chosen at the page `/number`."""
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
    """A history of browser-use, and a screenshot for each of its steps beside it."""
    (directory / "screenshots").mkdir(exist_ok=True)
    for number in range(1, 4):
        (directory / "screenshots" / f"step_{number}.png").write_bytes(PNG)
    path = directory / "history.json"
    path.write_text(json.dumps({"history": items, **more}))
    return path


def write_files(directory: Path, files: Mapping[str, bytes | str]) -> Path:
    """A directory with these files."""
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return directory
