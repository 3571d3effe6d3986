"""Import experiments of AgentLab and BrowserGym: a directory with `step_0.pkl.gz`, as `ExpArgs.run` writes it.

`unpickling` reads the pickles. It runs no code in them.
"""

import json
import os
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from storage_manager.aio import Progress
from storage_manager.encoding import encode_attachment
from storage_manager.importers.archive import MAX_FILE
from storage_manager.importers.budget import Budget, refuse
from storage_manager.importers.dom_snapshot import html_of
from storage_manager.importers.fields import Fields
from storage_manager.importers.folder import Folder, check_image, gunzip
from storage_manager.importers.parsing import MAX_QUICK, parse_line
from storage_manager.importers.png import png_of
from storage_manager.importers.runs import box_of, centre_of, number_of, usage_of
from storage_manager.importers.storing import Read, Source, import_session, present, time_of
from storage_manager.importers.unpickling import Array, Plain, Record, unpickle
from storage_manager.layout import StepData
from storage_manager.storage import StorageManager

__all__ = ["import_agentlab"]

_STEP = re.compile(r"step_(0|[1-9][0-9]{0,5})\.pkl\.gz")
_CALL = re.compile(r"([a-z]\w*)\((.*)\)")
_BID = re.compile(r"[\"']([\w-]{1,40})[\"']")
_XY = re.compile(r"(-?\d{1,6}(?:\.\d{1,9})?),\s*(-?\d{1,6}(?:\.\d{1,9})?)(?:,.*)?")
_MAX_CALLS = 100
# Files of the experiment that become attachments of the session.
_FILES = ("summary_info.json", "package_versions.txt", "experiment.log")
_MAX_TREE = 2**20  # values of an accessibility tree; that of a large page has 200,000
# Small fields of an observation that become metadata of the step.
_SMALL = (
    "open_pages_urls",
    "open_pages_titles",
    "active_page_index",
    "elapsed_time",
    "focused_element_bid",
    "last_action",
    "last_action_error",
)
# Fields of an observation that become attachments, by the name of the attachment.
_TREES = {"axtree.json": "axtree_object", "extra_element_properties.json": "extra_element_properties"}
_TEXTS = {"axtree.txt": "axtree_txt", "dom.txt": "dom_txt", "pruned_html.txt": "pruned_html"}
_NO_HTML = "the observation has neither dom_object nor dom_txt nor pruned_html"
_NO_SCREENSHOT = "the experiment has no screenshot of this step"
_NO_OBSERVATION = "the experiment failed before it observed the page"


class _Experiment(NamedTuple):
    """The directory of an experiment. `load` returns the record of a step, as the pickle describes it."""

    folder: Folder
    budget: Budget
    load: Callable[[int], Record]


async def import_agentlab(
    storage: StorageManager,
    path: str | os.PathLike[str],
    session_id: str | None = None,
    *,
    progress: Progress | None = None,
) -> str:
    """Import an experiment of AgentLab or BrowserGym as a session with one step per observation. Return the session id.

    The steps are step_000001 and so on. The first of them is `step_0` of the experiment. Each step has what the page
    showed when the agent chose the action. No code in the pickles is run; a pickle that needs code is refused.
    Everything is read and checked in a separate thread before anything is stored.

    Parameters:
        storage: the storage that receives the session.
        path: the directory of one experiment. It contains step_0.pkl.gz.
        session_id: the id of the new session. None to make it from the name of the directory.
        progress: called on the event loop with the number of steps stored so far, and the number of all steps.

    Raises:
        InvalidIdError: the id is not allowed, or none can be made from the directory's name. Raised before any I/O.
        InvalidDataError: the directory is not such an experiment, it is damaged or hostile, or the session exists
            already. Nothing is stored.
        LocalStorageError: a file cannot be read.
        TypeError: `storage` is not a StorageManager, path is not a path, or progress is not a function.
        S3OperationError, S3ConfigError, LocalStorageError: storing failed. What was stored is deleted again.
    """
    return await import_session(storage, path, session_id, _read, progress)


def _read(path: str, budget: Budget) -> Source:
    folder = Folder(path)
    total = _count(folder.names())
    # two, because the error of an action is in the observation after it
    load = lru_cache(2)(lambda number: _record(folder, number, budget))
    experiment = _Experiment(folder, budget, load)
    if total > 1 and _is_empty(load(total - 1)):  # the environment failed
        total -= 1
    settings = _settings(experiment)
    files = {name: data for name in _FILES if (data := folder.read(name, MAX_FILE)) is not None}
    attachments = {**files, **({"exp_args.json": encode_attachment("exp_args.json", settings)} if settings else {})}
    about = _about(experiment, settings, total)
    return Source(about, total, lambda number: _step(experiment, number, total), attachments)


def _count(names: set[str]) -> int:
    """Return the number of steps. Refuse a directory in which one is missing."""
    numbers = {int(found[1]) for found in map(_STEP.fullmatch, names) if found}
    if not numbers:
        refuse("it has no step_0.pkl.gz: give the directory of one experiment")
    missing = set(range(max(numbers) + 1)) - numbers
    if missing:
        refuse(f"step_{min(missing)}.pkl.gz is missing, and there are later steps")
    return len(numbers)


def _unpickled(folder: Folder, name: str, budget: Budget) -> object:
    """Return the content of a pickle; None if there is no such file."""
    data = folder.read(name, MAX_FILE)
    if data is None:
        return None
    try:
        data = gunzip(data, name) if name.endswith(".gz") else data
        return unpickle(data, budget.check_cancelled)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _record(folder: Folder, number: int, budget: Budget) -> Record:
    step = _unpickled(folder, f"step_{number}.pkl.gz", budget)
    if not isinstance(step, Record) or step.kind.name != "StepInfo":
        refuse(f"step_{number}.pkl.gz is not a step of an experiment")
    return step


def _is_empty(step: Record) -> bool:
    return step.fields.get("obs") is None and step.fields.get("action") is None


def _settings(experiment: _Experiment) -> dict[str, Any]:
    """Return the arguments of the experiment, of its agent and of its environment."""
    found = _unpickled(experiment.folder, "exp_args.pkl", experiment.budget)
    settings = Plain(MAX_QUICK, experiment.budget.check_cancelled).of(found)
    return settings if isinstance(settings, dict) else {}


def _mapping(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return an object inside another object; an empty mapping if there is none."""
    value = values.get(name)
    if isinstance(value, Record):
        return {**value.items, **value.fields}
    return value if isinstance(value, Mapping) else {}


# --- the session ----------------------------------------------------------------------------------


def _about(experiment: _Experiment, settings: Mapping[str, Any], total: int) -> dict[str, Any]:
    """Return the metadata of the session."""
    text = experiment.folder.read(_FILES[0], MAX_FILE)
    summary = Fields(parse_line(text, experiment.budget.check_cancelled) if text else {}, _FILES[0])
    agent, task = _mapping(settings, "agent_args"), _mapping(settings, "env_args")
    first, last = experiment.load(0), experiment.load(total - 1)
    obs = _mapping(first.fields, "obs")
    known = {
        "goal": _goal(experiment, obs),
        "outcome": _outcome(summary),
        "reward": summary.number("cum_reward"),
        "error": summary.text("err_msg"),
        "agent": agent.get("agent_name"),
        "model": _model(agent),
        "usage": usage_of(*(summary.number(f"stats.cum_{name}") for name in ("input_tokens", "output_tokens", "cost"))),
        "task": {name: task[name] for name in ("task_name", "task_seed") if task.get(name) is not None},
        "start_url": _text(obs, "url"),
        "started_at": _moment(first, "env_start"),
        "ended_at": _moment(last, "agent_stop", "env_stop"),
        "observed": "before",
        "source": "agentlab",
    }
    return present(known)


def _outcome(summary: Fields) -> str | None:
    """Return the outcome; None if the experiment has no summary, because it was killed."""
    if summary.text("err_msg") is not None:
        return "error"
    reward = summary.number("cum_reward")
    return None if reward is None else "success" if reward > 0 else "failure"


def _goal(experiment: _Experiment, obs: Mapping[str, Any]) -> str | None:
    """Return the goal as text. Images in it are left out."""
    goal = _text(obs, "goal")
    if goal:
        return goal
    parts = obs.get("goal_object") or _unpickled(experiment.folder, "goal_object.pkl.gz", experiment.budget)
    plain = Plain(MAX_QUICK, experiment.budget.check_cancelled).of(parts)
    texts = [part.get("text") for part in plain if isinstance(part, dict)] if isinstance(plain, list) else []
    return "\n".join(text for text in texts if isinstance(text, str)) or None


def _model(agent: Mapping[str, Any]) -> str | None:
    """Return the name of the model, from any argument of the agent that has one."""
    names = [_text(_mapping(agent, name), "model_name") for name in agent]
    return next(filter(None, names), None)


def _text(values: Mapping[str, Any], name: str) -> str | None:
    value = values.get(name)
    return value if isinstance(value, str) else None


def _moment(step: Record, *names: str) -> str | None:
    """Return the first of these times of the step that is known. The value 0 means that a time is not known."""
    times = _mapping(step.fields, "profiling")
    return time_of(next((number for name in names if (number := number_of(times.get(name)))), None))


# --- the steps ------------------------------------------------------------------------------------


def _step(experiment: _Experiment, number: int, total: int) -> Read:
    step = experiment.load(number)
    obs = _mapping(step.fields, "obs")
    html, image = _html(obs, experiment.budget), _screenshot(experiment, obs, number)
    failure = _mapping(experiment.load(number + 1).fields, "obs") if number + 1 < total else {}
    reasons = {"html": None if html else _NO_HTML, "screenshot": None if image else _NO_SCREENSHOT}
    missing = {name: why if obs else _NO_OBSERVATION for name, why in reasons.items() if why}
    metadata = present({**_circumstances(step, obs, experiment), "not_captured": missing})
    action = _action(step, obs, _text(failure, "last_action_error"))
    return Read(StepData(html, image, action, metadata), _attachments(experiment, step, obs, number))


def _html(obs: Mapping[str, Any], budget: Budget) -> str | None:
    """Return the page as HTML, from the DOM snapshot, or else from the first text that may have it."""
    snapshot = obs.get("dom_object")
    if isinstance(snapshot, dict):
        return html_of(snapshot, budget.check_cancelled)
    return next(filter(None, (_text(obs, name) for name in _html_texts(obs))), None)


def _html_texts(obs: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the fields that may have the HTML. BrowserGym creates them from the snapshot, which it then leaves out."""
    if isinstance(obs.get("dom_object"), dict):
        return ()
    return ("dom_txt",) if _text(obs, "dom_txt") else ("pruned_html",)


def _screenshot(experiment: _Experiment, obs: Mapping[str, Any], number: int, kind: str = "screenshot") -> bytes | None:
    """Return the screenshot, from its file or from the observation."""
    for ending in ("png", "jpg"):
        name = f"{kind}_step_{number}.{ending}"
        data = experiment.folder.read(name, MAX_FILE)
        if data is not None:
            return check_image(data, repr(name))
    pixels = obs.get(kind)
    return png_of(pixels.data, *pixels.shape) if isinstance(pixels, Array) and pixels.is_image else None


def _circumstances(step: Record, obs: Mapping[str, Any], experiment: _Experiment) -> dict[str, Any]:
    """Return the time and place of the step, and what the environment reported about it."""
    plain = Plain(MAX_QUICK, experiment.budget.check_cancelled)
    own = ("step", "reward", "raw_reward", "terminated", "truncated", "stats", "task_info", "profiling")
    known = {name: plain.of(obs.get(name)) for name in _SMALL}
    return {
        **known,
        **{name: plain.of(step.fields.get(name)) for name in own},
        "url": _text(obs, "url"),
        "title": _title(known),
        "timestamp": _moment(step, "env_stop"),
        "observed": "before",
        "source": "agentlab",
    }


def _title(known: Mapping[str, Any]) -> str | None:
    titles, page = known["open_pages_titles"], known["active_page_index"]
    at = page[0] if isinstance(page, list) and page else page
    return titles[at] if isinstance(titles, list) and type(at) is int and 0 <= at < len(titles) else None


def _attachments(experiment: _Experiment, step: Record, obs: Mapping[str, Any], number: int) -> dict[str, bytes]:
    """Return the other parts of a step, as files. The field that was used as its HTML is left out."""
    plain = Plain(_MAX_TREE, experiment.budget.check_cancelled)
    values = {name: plain.of(obs.get(key)) for name, key in _TREES.items()}
    values["agent_info.json"] = plain.of(step.fields.get("agent_info"))
    found = {name: json.dumps(value).encode() for name, value in values.items() if isinstance(value, dict) and value}
    texts = {name: _text(obs, key) for name, key in _TEXTS.items()}
    found |= {name: text.encode() for name, text in texts.items() if text and _TEXTS[name] not in _html_texts(obs)}
    marked = _screenshot(experiment, obs, number, "screenshot_som")
    return found if marked is None else {**found, "screenshot_som.png": marked}


def _action(step: Record, obs: Mapping[str, Any], error: str | None) -> dict[str, Any] | None:
    """Return the action: its text, the calls in it, the thought and the error; None if there is none."""
    action = _text(step.fields, "action")
    if action is None:
        return None
    info = _mapping(step.fields, "agent_info")
    lines = [line.strip() for line in action.splitlines() if line.strip()]
    elements = _mapping(obs, "extra_element_properties")
    calls = [_called(line, elements) for line in lines[:_MAX_CALLS]]
    done = {"actions": calls} if len(calls) > 1 else calls[0] if calls else {}
    return {**done, **present({"thought": _text(info, "think"), "error": error}), "action": action}


def _called(line: str, elements: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call, such as `click('12')`, with its type and the position of its element in the viewport."""
    found = _CALL.fullmatch(line)
    if found is None:
        return {"action": line}
    bid, place = _BID.match(found[2]), _XY.fullmatch(found[2])
    box = box_of(_mapping(elements, bid[1]).get("bbox")) if bid else None
    point = {"x": float(place[1]), "y": float(place[2])} if place else box and centre_of(box)
    known = {"bid": bid[1] if bid and bid[1] in elements else None, "point": point, "box": box}
    return {"type": found[1], "action": line, **present(known)}
