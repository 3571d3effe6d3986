"""Import histories of browser-use, as `agent.history.save_to_file("history.json")` writes them.

The files of versions 0.1 to 0.13 can be read. Since version 0.3, screenshots are files. Earlier versions have them in
the history, as base64.
"""

import binascii
import os
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any

from storage_manager.aio import Progress
from storage_manager.importers.archive import MAX_FILE
from storage_manager.importers.budget import Budget, refuse
from storage_manager.importers.fields import Fields
from storage_manager.importers.folder import Folder, check_image, read_file
from storage_manager.importers.parsing import parse_line
from storage_manager.importers.runs import number_of, usage_of
from storage_manager.importers.storing import Read, Source, import_session, present, time_of
from storage_manager.layout import StepData
from storage_manager.storage import StorageManager

__all__ = ["MAX_HISTORY", "import_browser_use"]

# A history of 500 steps with a screenshot of 300 kB in each has 200 MB.
MAX_HISTORY = 256 * 2**20
_AT_TOP = "<page_info>0.0 pages above"
_THOUGHTS = ("thinking", "evaluation_previous_goal", "memory", "next_goal", "current_plan_item", "plan_update")
_ADVICE = ": copy the agent's directory `screenshots` beside the history"
_NO_HTML = "a history of browser-use has no HTML"
_NO_SCREENSHOT = "the history has no screenshot of this step"


async def import_browser_use(
    storage: StorageManager,
    path: str | os.PathLike[str],
    session_id: str | None = None,
    *,
    progress: Progress | None = None,
) -> str:
    """Import a history of browser-use as a session with one step per item. Return the session id.

    The steps are step_000001 and so on. Each has what the page showed when the model chose the action. Everything is
    read and checked in a separate thread before anything is stored.

    Parameters:
        storage: the storage that receives the session.
        path: the JSON file that `agent.history.save_to_file(path)` wrote. Screenshots are read only from its directory.
        session_id: the id of the new session. None to make it from the name of the file.
        progress: called on the event loop with the number of steps stored so far, and the number of all steps.

    Raises:
        InvalidIdError: the id is not allowed, or none can be made from the name of the file. Raised before any I/O.
        InvalidDataError: the file is not such a history, it is damaged or hostile, a screenshot is in another
            directory, or the session exists already. Nothing is stored.
        LocalStorageError: a file cannot be read.
        TypeError: `storage` is not a StorageManager, path is not a path, or progress is not a function.
        S3OperationError, S3ConfigError, LocalStorageError: storing failed. What was stored is deleted again.
    """
    return await import_session(storage, path, session_id, _read, progress)


def _read(path: str, budget: Budget) -> Source:
    path = os.path.realpath(path)
    history = Fields(parse_line(read_file(path, MAX_HISTORY), budget.check_cancelled), "the history")
    if not isinstance(history.values.get("history"), list):
        refuse("it has no list 'history', so it is not a history of browser-use")
    values = history.values["history"]
    items = [Fields(value, f"item {number}") for number, value in enumerate(values, 1)]
    folder = Folder(os.path.dirname(path), _ADVICE)
    return Source(_about(items, history.fields("usage")), len(items), lambda number: _step(items[number], folder))


def _about(items: Sequence[Fields], usage: Fields) -> dict[str, Any]:
    """Return the metadata of the session."""
    if not items:
        return {}
    times = [item.fields("metadata") for item in items]
    results = items[-1].objects("result")
    success = results[-1].values.get("success") if results else None
    urls = (item.fields("state").text("url") for item in items)
    known = {
        "goal": next(filter(None, map(_goal, items)), None),
        "outcome": {True: "success", False: "failure"}[success] if isinstance(success, bool) else None,
        "result": results[-1].text("extracted_content") if results else None,
        "judgement": results[-1].mapping("judgement") if results else None,
        "agent": "browser-use",
        "model": _model(usage),
        "usage": _usage(usage, times),
        "start_url": next((url for url in urls if url and url.startswith(("http", "file:"))), None),
        "started_at": time_of(times[0].number("step_start_time")),
        "ended_at": time_of(times[-1].number("step_end_time")),
        "observed": "before",
        "source": "browser-use",
    }
    return present(known)


def _goal(item: Fields) -> str | None:
    """Return the text between the tags. A regular expression could take forever for a hostile text."""
    _, _, rest = (item.text("state_message") or "").partition("<user_request>")
    goal, end, _ = rest.partition("</user_request>")
    return goal.strip() if end else None


def _model(usage: Fields) -> str | None:
    """Return the name of the model, if the usage names exactly one."""
    names = list(usage.mapping("by_model") or ())
    return names[0] if len(names) == 1 else None


def _usage(usage: Fields, times: Sequence[Fields]) -> dict[str, Any]:
    """Return tokens and cost. Until version 0.2, each item has its own number of tokens."""
    tokens = [number for number in (each.number("input_tokens") for each in times) if number is not None]
    given = usage.number("total_prompt_tokens") or (sum(tokens) if tokens else None)
    return usage_of(given, usage.number("total_completion_tokens"), usage.number("total_cost"))


def _step(item: Fields, folder: Folder) -> Read:
    state, times = item.fields("state"), item.fields("metadata")
    image = _screenshot(state, folder)
    start, end = times.number("step_start_time"), times.number("step_end_time")
    metadata = {
        "url": state.text("url"),
        "title": state.text("title"),
        "tabs": state.values.get("tabs"),
        "timestamp": time_of(start),
        "duration": None if start is None or end is None else round(1000 * (end - start), 3),
        "step_number": times.number("step_number"),
        "results": None if _actions(item) else item.values.get("result"),
        "observed": "before",
        "source": "browser-use",
        "not_captured": {"html": _NO_HTML, **({} if image else {"screenshot": _NO_SCREENSHOT})},
    }
    message = item.text("state_message")
    attachments = {"state_message.txt": message.encode()} if message else {}
    return Read(StepData(None, image, _action(item), present(metadata)), attachments)


def _screenshot(state: Fields, folder: Folder) -> bytes | None:
    text, path = state.text("screenshot"), state.text("screenshot_path")
    if text:
        return check_image(_decoded(text, state.location), f"{state.location}: 'screenshot'")
    data = folder.read(_moved(path, folder), MAX_FILE) if path else None
    return None if data is None else check_image(data, f"{state.location}: {path!r}")


def _decoded(text: str, location: str) -> bytes:
    if len(text) > 2 * MAX_FILE:
        refuse(f"{location}: the screenshot has {len(text)} characters; the limit is {2 * MAX_FILE}")
    try:
        return b64decode(text.removeprefix("data:image/png;base64,"), validate=True)
    except binascii.Error as error:
        raise ValueError(f"{location}: 'screenshot' is not base64: {error}") from error


def _moved(path: str, folder: Folder) -> str:
    """Return the path of a screenshot. browser-use writes absolute paths, which are wrong if the folder was moved.

    The file is then still in the directory `screenshots` beside the history. Any other path is refused when it is read.
    """
    here = os.path.join("screenshots", os.path.basename(path))
    is_moved = os.path.isabs(path) and path.endswith(f"/{here}") and os.path.isdir(folder.inside("screenshots"))
    return here if is_moved else path


def _actions(item: Fields) -> list[Fields]:
    return item.fields("model_output").objects("action")


def _action(item: Fields) -> dict[str, Any] | None:
    """Return the actions of an item with their results and the thought; None if there is none."""
    output, results = item.fields("model_output"), item.objects("result")
    elements = item.fields("state").values.get("interacted_element") or []
    if not isinstance(elements, list):
        refuse(f"{item.location}: 'interacted_element' must be a list, not {type(elements).__name__}")
    at_top = _AT_TOP in (item.text("state_message") or "")
    done = [
        _one(action.values, _at(results, number), _at(elements, number), at_top)
        for number, action in enumerate(_actions(item))
    ]
    if not done:
        return None
    errors = [result.text("error") for result in results]
    more = {**_thought(output), "error": next(filter(None, errors), None)}
    return {**(done[0] if len(done) == 1 else {"actions": done}), **present(more)}


def _at(values: Sequence[Any], number: int) -> Any:
    return values[number] if number < len(values) else None


def _thought(output: Fields) -> dict[str, Any]:
    """Return the thoughts of the model by their names in the history, and the most useful one as `thought`."""
    brain = output.fields("current_state").values or output.values  # until version 0.2
    thoughts = {name: brain.get(name) for name in _THOUGHTS}
    return {"thought": thoughts["thinking"] or thoughts["next_goal"] or thoughts["memory"], **thoughts}


def _one(action: Mapping[str, Any], result: Fields | None, element: object, at_top: bool) -> dict[str, Any]:
    """Return one action as it is in the history (`{"click": {"index": 3}}`), with additional fields that are known."""
    done = result.values if result else {}
    found = element if isinstance(element, dict) else {}
    point = _point(done.get("metadata"))
    known = {
        "type": next(iter(action), None),
        "interacted_element": found,
        "point": point,
        "box": _box(found, point, at_top),
        "error": done.get("error"),
        "result": done,
    }
    return {**present(known), **action}


def _point(metadata: object) -> dict[str, float] | None:
    """Return where browser-use clicked or typed, in the viewport (`click_x`, or `input_x`, of the result)."""
    values = metadata if isinstance(metadata, dict) else {}
    clicked = _numbers(x=values.get("click_x"), y=values.get("click_y"))
    return clicked or _numbers(x=values.get("input_x"), y=values.get("input_y"))


def _numbers(**values: object) -> dict[str, float] | None:
    """Return the values if all of them are numbers."""
    found = {name: number for name, value in values.items() if (number := number_of(value)) is not None}
    return found if len(found) == len(values) else None


def _box(element: Mapping[str, Any], point: Mapping[str, float] | None, at_top: bool) -> dict[str, float] | None:
    """Return the box of an element in the viewport.

    `bounds` are relative to the document. They are correct for the viewport if the page was not scrolled: the message
    says so, or the click was inside the box. Until version 0.2, an element has its coordinates in the viewport.
    """
    box = _as_box(element.get("bounds"))
    if box is None:
        return _old_box(element.get("viewport_coordinates"))
    return box if (_is_within(point, box) if point else at_top) else None


def _as_box(value: object) -> dict[str, float] | None:
    values = value if isinstance(value, dict) else {}
    return _numbers(**{name: values.get(name) for name in ("x", "y", "width", "height")})


def _old_box(value: object) -> dict[str, float] | None:
    values = value if isinstance(value, dict) else {}
    corner = values.get("top_left")
    at = corner if isinstance(corner, dict) else {}
    return _numbers(x=at.get("x"), y=at.get("y"), width=values.get("width"), height=values.get("height"))


def _is_within(point: Mapping[str, float], box: Mapping[str, float]) -> bool:
    right, down = point["x"] - box["x"], point["y"] - box["y"]
    return 0 <= right <= box["width"] and 0 <= down <= box["height"]
