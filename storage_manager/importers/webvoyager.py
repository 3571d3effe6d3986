"""Import results of WebVoyager (MinorJerry/WebVoyager, version 1.0): the directory of a task, as `run.py` writes it."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from storage_manager.aio import Progress
from storage_manager.importers.archive import MAX_FILE
from storage_manager.importers.budget import Budget, refuse
from storage_manager.importers.fields import Fields
from storage_manager.importers.folder import Folder, check_image
from storage_manager.importers.parsing import parse_line
from storage_manager.importers.runs import box_of, centre_of
from storage_manager.importers.storing import Read, Source, import_session, present
from storage_manager.layout import StepData, is_attachment_name
from storage_manager.storage import StorageManager

__all__ = ["MESSAGES", "import_webvoyager"]

MESSAGES = "interact_messages.json"
_LOG = "agent.log"
_MAX_OTHERS = 256 * 2**20  # bytes of the log and of all PDF files, which are in memory until they are stored
# The first message: "Now given a task: ...  Please interact with https://... and get the answer."
_TASK, _SITE, _END = "Now given a task: ", "  Please interact with ", " and get the answer."
# The patterns with which `extract_information` of utils.py reads an action.
_ACTIONS = {
    "click": re.compile(r"Click \[?(?P<number>\d+)\]?"),
    "type": re.compile(r"Type \[?(?P<number>\d+)\]?[; ]+\[?(?P<content>.[^\]]*)\]?"),
    "scroll": re.compile(r"Scroll \[?(?P<number>\d+|WINDOW)\]?[; ]+\[?(?P<content>up|down)\]?"),
    "wait": re.compile(r"^Wait"),
    "goback": re.compile(r"^GoBack"),
    "google": re.compile(r"^Google"),
    "answer": re.compile(r"ANSWER[; ]+\[?(?P<content>.[^\]]*)\]?"),
}
_PARTS = re.compile(r"Thought:|Action:|Observation:")
# The answers of run.py if it could not perform an action. It then takes no new screenshot.
_FAILURES = ("Format ERROR", "The action you have chosen cannot be exected")
_NO_HTML = "results of WebVoyager have no HTML"
_NO_SCREENSHOT = "WebVoyager takes none if the action before could not be carried out"
_GONE = "there is no such file in the directory"


class _Turn(NamedTuple):
    """A message to the model, its answer, and the failure of its action. Numbers begin at 1, as for screenshots."""

    number: int
    message: str
    answer: str | None
    failure: str | None


async def import_webvoyager(
    storage: StorageManager,
    path: str | os.PathLike[str],
    session_id: str | None = None,
    *,
    progress: Progress | None = None,
) -> str:
    """Import the results of a task of WebVoyager as a session with one step per answer of the model.

    Return the session id. The steps are step_000001 and so on. Each has the screenshot that the model saw when it chose
    the action, with numbered labels. Everything is read and checked in a separate thread before anything is stored.

    Parameters:
        storage: the storage that receives the session.
        path: the directory of one task, with interact_messages.json and screenshot1.png; or interact_messages.json.
        session_id: the id of the new session. None to make it from the name of the directory.
        progress: called on the event loop with the number of steps stored so far, and the number of all steps.

    Raises:
        InvalidIdError: the id is not allowed, or none can be made from the directory's name. Raised before any I/O.
        InvalidDataError: the directory has no such results, they are damaged or hostile, or the session exists already.
            Nothing is stored.
        LocalStorageError: a file cannot be read.
        TypeError: `storage` is not a StorageManager, path is not a path, or progress is not a function.
        S3OperationError, S3ConfigError, LocalStorageError: storing failed. What was stored is deleted again.
    """
    return await import_session(storage, _directory(path), session_id, _read, progress)


def _directory(path: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """Return the directory. If the path is the file of the messages, return its directory."""
    is_file = isinstance(path, (str, os.PathLike)) and os.path.basename(os.fsdecode(path)) == MESSAGES
    return os.path.dirname(os.path.abspath(os.fsdecode(path))) if is_file else path


def _read(path: str, budget: Budget) -> Source:
    folder = Folder(path)
    data = folder.read(MESSAGES, MAX_FILE)
    if data is None:
        refuse(f"it has no {MESSAGES}: give the directory of one task")
    messages = _messages(parse_line(data, budget.check_cancelled))
    turns = _turns(messages)
    has_trees = any(role == "system" and "Accessibility Tree" in text for role, text in messages)
    others = _others(folder, budget)
    about = _about(turns, others.get(_LOG, b"").decode(errors="replace"))
    return Source(about, len(turns), lambda number: _step(turns[number], folder, has_trees, budget), others)


def _others(folder: Folder, budget: Budget) -> dict[str, bytes]:
    """Return the log and the PDF files that were downloaded."""
    found, left = dict[str, bytes](), _MAX_OTHERS
    for name in sorted(folder.names()):
        if name == _LOG or (name.endswith(".pdf") and is_attachment_name(name)):
            budget.check_cancelled()
            found[name] = folder.read(name, MAX_FILE) or b""
            left -= len(found[name])
            if left < 0:
                refuse(f"its log and PDF files have more than {_MAX_OTHERS} bytes")
    return found


def _messages(value: object) -> list[tuple[str, str]]:
    """Return the role and the text of each message. Images are in separate files."""
    if not isinstance(value, list):
        refuse(f"{MESSAGES} must be a list of messages, not {type(value).__name__}")
    messages = [Fields(item, f"{MESSAGES}, message {number}") for number, item in enumerate(value, 1)]
    return [(message.required_text("role"), _text(message)) for message in messages]


def _text(message: Fields) -> str:
    if isinstance(message.values.get("content"), str):
        return message.required_text("content")
    texts = (part.text("text") for part in message.objects("content"))
    return "\n".join(text for text in texts if text is not None)


def _turns(messages: Sequence[tuple[str, str]]) -> list[_Turn]:
    """Return a turn for each message of the user. The last turn may have no answer."""
    asked = [at for at, (role, _) in enumerate(messages) if role == "user"]
    turns = []
    for number, at in enumerate(asked, 1):
        after = messages[at + 1 : at + 3]
        answer = after[0][1] if after and after[0][0] == "assistant" else None
        failure = after[1][1] if answer is not None and len(after) == 2 and after[1][1].startswith(_FAILURES) else None
        turns.append(_Turn(number, messages[at][1], answer, failure))
    return turns


def _about(turns: Sequence[_Turn], log: str) -> dict[str, Any]:
    """Return the metadata of the session. The messages do not name the model."""
    task, site, rest = (turns[0].message if turns else "").removeprefix(_TASK).partition(_SITE)
    answers = [action["content"] for action in map(_action, turns) if action and action.get("type") == "answer"]
    known = {
        "goal": task if site else None,
        "start_url": rest.partition(_END)[0] if _END in rest else None,
        "result": answers[-1] if answers else None,
        "agent": "WebVoyager",
        "usage": _usage(log),
        "observed": "before",
        "source": "webvoyager",
    }
    return present(known)


def _usage(log: str) -> dict[str, int]:
    """Return the last token totals in the log."""
    names = {"input_tokens": "Accumulate Prompt Tokens: ", "output_tokens": "Accumulate Completion Tokens: "}
    found = {name: re.match(r"\d{1,12}", log.rpartition(words)[2]) for name, words in names.items() if words in log}
    return {name: int(match[0]) for name, match in found.items() if match}


def _step(turn: _Turn, folder: Folder, has_trees: bool, budget: Budget) -> Read:
    name = f"screenshot{turn.number}.png"
    image = folder.read(name, MAX_FILE)
    tree = folder.read(f"accessibility_tree{turn.number}.json", MAX_FILE)
    reason = _NO_SCREENSHOT if turn.message.startswith(_FAILURES) else _GONE
    metadata = {
        "step_number": turn.number,
        "observed": "before",
        "source": "webvoyager",
        "not_captured": {"html": _NO_HTML, **({} if image else {"screenshot": reason})},
    }
    nodes = parse_line(tree, budget.check_cancelled) if tree and has_trees else None
    action = _placed(_action(turn), nodes if isinstance(nodes, dict) else {})
    shot = None if image is None else check_image(image, repr(name))
    return Read(StepData(None, shot, action, metadata), _attachments(turn, folder, tree))


def _attachments(turn: _Turn, folder: Folder, tree: bytes | None) -> dict[str, bytes]:
    """Return the message to the model, and the other files of the step."""
    plain = f"screenshot{turn.number}_no_box.png"
    image = folder.read(plain, MAX_FILE)
    files = {
        "message.txt": turn.message.encode(),
        "axtree.json": tree,
        "axtree.txt": folder.read(f"accessibility_tree{turn.number}.txt", MAX_FILE),
        "screenshot_no_box.png": None if image is None else check_image(image, repr(plain)),
    }
    return {name: data for name, data in files.items() if data is not None}


def _action(turn: _Turn) -> dict[str, Any] | None:
    """Return the action as run.py parses it, with its text and the thought. If it cannot be parsed, only its text."""
    if turn.answer is None:
        return None
    parts = [part.strip() for part in _PARTS.split(turn.answer)]
    if "Thought:" not in turn.answer or "Action:" not in turn.answer or len(parts) < 3:
        return present({"text": turn.answer, "error": turn.failure})
    return present({**_extracted(parts[2]), "action": parts[2], "thought": parts[1], "error": turn.failure})


def _extracted(action: str) -> dict[str, str]:
    for name, pattern in _ACTIONS.items():
        found = pattern.search(action)
        if found:
            return {"type": name, **found.groupdict()}
    return {}


def _placed(action: dict[str, Any] | None, nodes: Mapping[str, Any]) -> dict[str, Any] | None:
    """Add the box and its centre, if the numbers are those of an accessibility tree."""
    node = nodes.get(action.get("number", "")) if action else None
    box = box_of(node.get("union_bound")) if isinstance(node, dict) else None
    return {**action, "point": centre_of(box), "box": box} if action and box else action
