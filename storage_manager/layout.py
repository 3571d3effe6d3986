"""The layout of the data: ids, the table of components, and URLs.

A path is always `f"{root}/{session}/{step}/{file}"`. `COMPONENTS` is the one table of the components: storing,
retrieving, exporting and viewing follow from it.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple, get_args

from storage_manager.encoding import decode_json, encode_bytes, encode_html, encode_json, image_type
from storage_manager.errors import InvalidDataError, InvalidIdError

__all__ = [
    "ACTION_DATA_FILENAME",
    "ALL_COMPONENTS",
    "BY_FILENAME",
    "COMPONENTS",
    "HTML_FILENAME",
    "LOST_AND_FOUND",
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
    "is_system_directory",
    "is_system_file",
    "join",
    "only_ids",
]

HTML_FILENAME = "observation.html"
SCREENSHOT_FILENAME = "screenshot.png"
ACTION_DATA_FILENAME = "action.json"
METADATA_FILENAME = "metadata.json"
MANIFEST_FILENAME = "_manifest.json"  # only in a sealed session; it is not a valid id, so no listing shows it

Component = Literal["html", "screenshot", "action", "metadata"]
ALL_COMPONENTS: tuple[Component, ...] = get_args(Component)


class StepData(NamedTuple):
    """The four components of one step; unpacks as the tuple `html, screenshot, action, metadata`."""

    html: str | None = None
    screenshot: bytes | None = None
    action: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


class Step(NamedTuple):
    """One step of a session, with its data."""

    session_id: str
    step_id: str
    data: StepData


_SHAPE = r"[A-Za-z0-9][A-Za-z0-9_.:=@+,~-]{0,127}"
LOST_AND_FOUND = "lost+found"  # file systems have such a directory at their root, which only root may read
_ID = re.compile(rf"(?!.*::)(?!{re.escape(LOST_AND_FOUND)}$){_SHAPE}(?<!\.)")
_SHAPES = re.compile(rf"(?:{_SHAPE}/)*")
_FOREIGN = re.compile(r"[^A-Za-z0-9_.:=@+,~-]")
_WHY_FOREIGN = {
    **dict.fromkeys("/\\", "it separates directories"),
    **dict.fromkeys("*?[]{}", "it is a pattern to fsspec and to shells"),
    **dict.fromkeys("#%&", "it has a meaning in URLs"),
}


_WHY_WHOLE = {"": "it is empty", LOST_AND_FOUND: "file systems have a directory of this name at their root"}


def is_id(name: str) -> bool:
    """Return True if the name may be a session or a step id. Listings leave out every other name."""
    return _ID.fullmatch(name) is not None


def only_ids(names: list[str]) -> list[str]:
    """Return the names that are valid ids, in their order. No name may hold a slash.

    Usually all names are valid, so one pattern first tests all of them together: six times as fast as one by one.
    """
    text = "/".join(names) + "/"
    if _SHAPES.fullmatch(text) and not any(part in text for part in ("::", "./", f"{LOST_AND_FOUND}/")):
        return names
    return list(filter(is_id, names))


def _fault(value: str) -> str:
    """Return which rule an id breaks, and the reason for the rule."""
    foreign = _FOREIGN.search(value)
    if value in _WHY_WHOLE:
        return _WHY_WHOLE[value]
    if foreign:
        why = _WHY_FOREIGN.get(foreign[0], "only A-Z a-z 0-9 _ . : = @ + , ~ - mean the same everywhere")
        return f"{foreign[0]!r} at position {foreign.start()} is not allowed: {why}"
    if len(value) > 128:
        return f"it has {len(value)} characters, and 128 are allowed: file names and S3 keys have limits"
    if "::" in value:
        return f"'::' at position {value.index('::')} is not allowed: fsspec chains URLs with it"
    if value.endswith("."):
        return "'.' at its end is not allowed: some file systems remove it"
    return f"{value[0]!r} at position 0 is not allowed: such names are hidden, or belong to the library"


def check_id(value: object, what: str) -> str:
    """Return the id unchanged, or refuse it before any I/O.

    An id has 1 to 128 letters, digits and `_ . : = @ + , ~ -`. It begins with a letter or digit, has no `::`, and does
    not end in `.`. Such names are literal to fsspec, S3, file systems, dask, pyarrow and Spark: they are no hidden
    names, globs or chains of URLs. `lost+found` is refused, because file systems have a directory of this name.

    Parameters:
        value: a session or step id.
        what: "session_id" or "step_id", for the message.

    Raises:
        InvalidIdError: names the character, its position and the reason.
    """
    if not isinstance(value, str):
        raise InvalidIdError(f"{what} must be a str, not {type(value).__name__}")
    if not is_id(value):
        shown = repr(value) if len(value) <= 40 else f"of {len(value)} characters"  # a part could be of a secret
        raise InvalidIdError(f"{what} {shown} cannot be used: {_fault(value)}")
    return str.__str__(value)  # str() of an Enum would be its name


def check_ids(session_ids: object, operation: str) -> None:
    """Refuse what is not a list of ids, or another iterable of them. A single id would give one id per letter.

    Raises:
        InvalidIdError: `session_ids` is neither None nor such an iterable. Its `operation` is the one given.
    """
    if isinstance(session_ids, str):
        raise InvalidIdError("session_ids is one id: give a list of ids", operation=operation)
    if session_ids is not None and (isinstance(session_ids, bytes) or not isinstance(session_ids, Iterable)):
        why = f"session_ids must be a list of ids or another iterable, not {type(session_ids).__name__}"
        raise InvalidIdError(why, operation=operation)


def join(root: str, *names: str) -> str:
    """Return the URL of something below the root: session, step and file, with a slash between them."""
    return "/".join((root, *names))


class ComponentSpec(NamedTuple):
    """One row of `COMPONENTS`: the names of a component, and how it is stored.

    `encode(value, keyword)` raises InvalidDataError. `decode(data)` raises ValueError if the data cannot be read.
    """

    name: Component
    filename: str
    keyword: str
    path_key: str
    content_type: Callable[[bytes], str]
    encode: Callable[[object, str], bytes]
    decode: Callable[[bytes], Any]


# How a component is stored: its content type (that of a screenshot depends on its bytes), encoder and decoder.
_HTML = (lambda data: "text/html; charset=utf-8"), encode_html, bytes.decode
_IMAGE = image_type, encode_bytes, bytes
_JSON = (lambda data: "application/json"), encode_json, decode_json

COMPONENTS = (
    ComponentSpec("html", HTML_FILENAME, "html_content", "html_path", *_HTML),
    ComponentSpec("screenshot", SCREENSHOT_FILENAME, "screenshot_bytes", "screenshot_path", *_IMAGE),
    ComponentSpec("action", ACTION_DATA_FILENAME, "action_data", "action_data_path", *_JSON),
    ComponentSpec("metadata", METADATA_FILENAME, "metadata", "metadata_path", *_JSON),
)
BY_FILENAME = {row.filename: row for row in COMPONENTS}


def is_component(path: str) -> bool:
    """Return True if the path, relative to a session, is that of a component: `step_000001/action.json`."""
    step_id, _, filename = path.rpartition("/")
    return is_id(step_id) and filename in BY_FILENAME


# macOS and Windows write these when someone looks at a directory; NFS and FUSE, when an open file is deleted.
_SYSTEM_FILE = re.compile(
    r"\.DS_Store|\._.*|\.localized|Icon\r|(eh)?thumbs\.db|desktop\.ini|\.directory|\.nfs.*|\.__afs.*|\.fuse_hidden.*",
    re.IGNORECASE,
)


# Synology, QNAP and netatalk keep thumbnails and attributes in such directories, in each directory that they share.
_SYSTEM_DIRECTORIES = {"@eaDir", ".@__thumb", ".AppleDouble", "__MACOSX", ".AppleDB", ".AppleDesktop"}


def is_system_file(path: str) -> bool:
    """Return True if operating systems leave files of this name. They are nobody's data, and no session needs them.

    Everything in a directory that they leave is such a file, too.
    """
    *above, name = path.split("/")
    return _SYSTEM_FILE.fullmatch(name) is not None or not _SYSTEM_DIRECTORIES.isdisjoint(above)


def is_system_directory(name: str) -> bool:
    """Return True if operating systems leave directories of this name."""
    return name in _SYSTEM_DIRECTORIES


def formats(components: Sequence[Component]) -> list[ComponentSpec]:
    """Return the rows of `COMPONENTS` with these names, in the order of the table.

    Raises:
        InvalidDataError: one of the names is not that of a component, or `components` is no list.
    """
    if isinstance(components, str):
        raise InvalidDataError(f"components is one name: give a list, [{components!r}]")
    if not isinstance(components, Iterable):
        raise InvalidDataError(f"components must be a list of names, not {type(components).__name__}")
    components = list(components)
    unknown = [name for name in components if name not in ALL_COMPONENTS]
    if unknown:
        raise InvalidDataError(f"no component is called {unknown[0]!r}: choose from {', '.join(ALL_COMPONENTS)}")
    return [row for row in COMPONENTS if row.name in components]
