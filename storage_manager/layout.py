"""How a session lies in storage: ids, the table of components, URLs.

A path is always `f"{root}/{session}/{step}/{file}"`. `COMPONENTS` is the one table from which storing, retrieving and
everything above follow.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

from storage_manager.encoding import decode_json, encode_bytes, encode_html, encode_json, image_type
from storage_manager.errors import InvalidDataError, InvalidIdError

__all__ = [
    "ACTION_DATA_FILENAME",
    "ALL_COMPONENTS",
    "BY_FILENAME",
    "COMPONENTS",
    "HTML_FILENAME",
    "MANIFEST_FILENAME",
    "METADATA_FILENAME",
    "SCREENSHOT_FILENAME",
    "Component",
    "ComponentSpec",
    "Step",
    "StepData",
    "check_id",
    "check_ids",
    "formats",
    "is_component",
    "is_id",
    "join",
    "only_ids",
]

HTML_FILENAME = "observation.html"
SCREENSHOT_FILENAME = "screenshot.png"
ACTION_DATA_FILENAME = "action.json"
METADATA_FILENAME = "metadata.json"
MANIFEST_FILENAME = "_manifest.json"  # of a sealed session, beside its steps; no id, so that no listing shows it

Component = Literal["html", "screenshot", "action", "metadata"]
ALL_COMPONENTS: tuple[Component, ...] = get_args(Component)


class StepData(NamedTuple):
    """The four components of one step; unpacks as the tuple `html, screenshot, action, metadata`."""

    html: str | None = None
    screenshot: bytes | None = None
    action: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


class Step(NamedTuple):
    """One step of one session, with its data."""

    session_id: str
    step_id: str
    data: StepData


_SHAPE = r"[A-Za-z0-9][A-Za-z0-9_.:=@+,~-]{0,127}"
_ID = re.compile(rf"(?!.*::){_SHAPE}(?<!\.)")
_SHAPES = re.compile(rf"(?:{_SHAPE}/)*")
_FOREIGN = re.compile(r"[^A-Za-z0-9_.:=@+,~-]")
_WHY_FOREIGN = {
    **dict.fromkeys("/\\", "it separates directories"),
    **dict.fromkeys("*?[]{}", "it is a pattern to fsspec and to shells"),
    **dict.fromkeys("#%&", "it has a meaning in URLs"),
}


def is_id(name: str) -> bool:
    """True for a name that may be a session or a step id; listings leave out every other."""
    return _ID.fullmatch(name) is not None


def only_ids(names: list[str]) -> list[str]:
    """Those of the names that are ids, in their order; no name holds a slash.

    As a rule all are: a page is looked at as one text, six times as fast as name by name.
    """
    text = "/".join(names) + "/"
    if _SHAPES.fullmatch(text) and "::" not in text and "./" not in text:
        return names
    return list(filter(is_id, names))


def _fault(value: str) -> str:
    """Which rule an id breaks, and why there is one."""
    foreign = _FOREIGN.search(value)
    if not value:
        return "it is empty"
    if foreign:
        why = _WHY_FOREIGN.get(foreign[0], "only A-Z a-z 0-9 _ . : = @ + , ~ - mean the same everywhere")
        return f"{foreign[0]!r} at position {foreign.start()} is not allowed: {why}"
    if len(value) > 128:
        return f"it has {len(value)} characters, and 128 are allowed: file names and S3 keys are bounded"
    if "::" in value:
        return f"'::' at position {value.index('::')} is not allowed: fsspec chains URLs with it"
    if value.endswith("."):
        return "'.' at its end is not allowed: some file systems drop it"
    return f"{value[0]!r} at position 0 is not allowed: such names are hidden, or the library's own"


def check_id(value: object, what: str) -> str:
    """The id as it came, or refused before any I/O: letters, digits and `_ . : = @ + , ~ -`.

    It begins with a letter or digit, has at most 128 characters, no `::` and no `.` at its end: what
    fsspec, S3, file systems, dask, pyarrow and Spark all take literally (hidden names, globs, URL chains).

    Parameters:
        value: a session or step id.
        what: "session_id" or "step_id", for the message.

    Raises:
        InvalidIdError: names the character, its position and why it is not allowed.
    """
    if not isinstance(value, str):
        raise InvalidIdError(f"{what} must be a str, not {type(value).__name__}")
    if not is_id(value):
        shown = value if len(value) <= 40 else value[:40] + "…"
        raise InvalidIdError(f"{what} {shown!r} cannot be used: {_fault(value)}")
    return str.__str__(value)  # an Enum's own str() is another text


def check_ids(session_ids: object, operation: str) -> None:
    """Refuse one id where many are asked for: it would be taken for an id a letter.

    Raises:
        InvalidIdError: in the name of the operation.
    """
    if isinstance(session_ids, str):
        raise InvalidIdError("session_ids is one id: give a list of ids", operation=operation)


def join(root: str, *names: str) -> str:
    """The one way to name a thing: the root, then session, step and file, with a slash between them."""
    return "/".join((root, *names))


class ComponentSpec(NamedTuple):
    """One row of `COMPONENTS`: what a component is called, and how it is stored.

    `encode(value, keyword)` raises InvalidDataError; `decode(data)` raises ValueError where it is unreadable.
    """

    name: Component
    filename: str
    keyword: str
    path_key: str
    content_type: Callable[[bytes], str]
    encode: Callable[[object, str], bytes]
    decode: Callable[[bytes], Any]


# What a browser is told; for a screenshot it depends on the bytes.
_HTML_TYPE, _JSON_TYPE = (lambda data: "text/html; charset=utf-8"), (lambda data: "application/json")

# fmt: off
COMPONENTS = (
    ComponentSpec("html", HTML_FILENAME, "html_content", "html_path",
                  _HTML_TYPE, encode_html, bytes.decode),
    ComponentSpec("screenshot", SCREENSHOT_FILENAME, "screenshot_bytes", "screenshot_path",
                  image_type, encode_bytes, bytes),
    ComponentSpec("action", ACTION_DATA_FILENAME, "action_data", "action_data_path",
                  _JSON_TYPE, encode_json, decode_json),
    ComponentSpec("metadata", METADATA_FILENAME, "metadata", "metadata_path",
                  _JSON_TYPE, encode_json, decode_json),
)
# fmt: on
BY_FILENAME = {row.filename: row for row in COMPONENTS}


def is_component(path: str) -> bool:
    """True for the path of a component below its session: `step_000001/action.json`."""
    step_id, _, filename = path.rpartition("/")
    return is_id(step_id) and filename in BY_FILENAME


def formats(components: Sequence[Component]) -> list[ComponentSpec]:
    """The rows of `COMPONENTS` for these names, in the table's order.

    Raises:
        InvalidDataError: one of them is no component.
    """
    if isinstance(components, str):
        raise InvalidDataError(f"components is one name: give a list, [{components!r}]")
    unknown = [name for name in components if name not in ALL_COMPONENTS]
    if unknown:
        raise InvalidDataError(f"no component is called {unknown[0]!r}: choose from {', '.join(ALL_COMPONENTS)}")
    return [row for row in COMPONENTS if row.name in components]
