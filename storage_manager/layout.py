"""The layout of the data: ids, the table of components, attachments, and URLs.

    <root>/<session id>/<step id>/<file name of a component>
    <root>/<session id>/<step id>/<name of an attachment>
    <root>/<session id>/_files/<name of an attachment>
    <root>/<session id>/_session.json
    <root>/<session id>/_manifest.json
    <root>/_catalog/                     derived from the sessions

`COMPONENTS` is the table of the components. Storing, retrieving, exporting and viewing use it.
"""

import json
import operator
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from mimetypes import MimeTypes
from typing import Any, Literal, NamedTuple, get_args
from uuid import UUID

from storage_manager.encoding import decode_json, encode_html, encode_image, encode_json, image_type
from storage_manager.errors import InvalidDataError, InvalidIdError, attempt

__all__ = [
    "ACTION_DATA_FILENAME",
    "ALL_COMPONENTS",
    "ATTACHMENTS_DIRECTORY",
    "BY_FILENAME",
    "CATALOG_DIRECTORY",
    "COMPONENTS",
    "HTML_FILENAME",
    "LOST_AND_FOUND",
    "MANIFEST_FILENAME",
    "METADATA_FILENAME",
    "SCREENSHOT_FILENAME",
    "SESSION_METADATA_FILENAME",
    "Component",
    "ComponentSpec",
    "Step",
    "StepData",
    "as_id",
    "attachment_type",
    "check_attachment_name",
    "check_attachment_names",
    "check_id",
    "check_ids",
    "content_type_of",
    "formats",
    "is_attachment",
    "is_attachment_name",
    "is_component",
    "is_data",
    "is_id",
    "is_system_directory",
    "is_system_file",
    "join",
    "only_ids",
    "why_foreign",
]

HTML_FILENAME = "observation.html"
SCREENSHOT_FILENAME = "screenshot.png"
ACTION_DATA_FILENAME = "action.json"
METADATA_FILENAME = "metadata.json"
MANIFEST_FILENAME = "_manifest.json"  # only in a sealed session; it is not a valid id, so no listing shows it
SESSION_METADATA_FILENAME = "_session.json"
CATALOG_DIRECTORY = "_catalog"  # of the root; derived from the sessions, and it may be deleted at any time
ATTACHMENTS_DIRECTORY = "_files"  # of the attachments of a session; those of a step are beside its components

Component = Literal["html", "screenshot", "action", "metadata"]
ALL_COMPONENTS: tuple[Component, ...] = get_args(Component)


class StepData(NamedTuple):
    """The four components of one step; unpacks as the tuple `html, screenshot, action, metadata`."""

    html: str | None = None
    screenshot: bytes | None = None
    action: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None

    def _repr_html_(self) -> str:
        """Return the screenshot, URL and action as HTML for a notebook. No file is read, and all text is escaped."""
        return _as_html("", self)


class Step(NamedTuple):
    """One step of a session, with its data.

    `attachments` has the bytes of the attachments that `iter_steps` was asked for, by name. For `store_steps`, it may
    have any attachments.
    """

    session_id: str
    step_id: str
    data: StepData
    attachments: Mapping[str, Any] = {}

    def _repr_html_(self) -> str:
        """Return the ids, screenshot, URL and action as HTML for a notebook. No file is read; all text is escaped."""
        return _as_html(f"{self.session_id} / {self.step_id}", self.data)


def _as_html(title: str, data: StepData) -> str:
    url = (data.metadata or {}).get("url")
    texts = [
        title,
        "" if url is None else str(url),
        "" if data.action is None else json.dumps(data.action, default=str),
    ]
    rows = [f"<pre>{escape(text)}</pre>" for text in texts if text]
    if data.screenshot:
        source = f"data:{image_type(data.screenshot)};base64,{b64encode(data.screenshot).decode()}"
        rows.append(f'<img alt="screenshot" style="max-width: 100%" src="{source}">')
    return "".join(rows)


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
    """Return True if the name is a valid session or step id. Listings leave out all other names."""
    return _ID.fullmatch(name) is not None


def only_ids(names: list[str]) -> list[str]:
    """Return the names that are valid ids, in the same order. No name may contain a slash.

    Usually all names are valid. So they are first tested together with one pattern, which is six times as fast.
    """
    text = "/".join(names) + "/"
    if _SHAPES.fullmatch(text) and not any(part in text for part in ("::", "./", f"{LOST_AND_FOUND}/")):
        return names
    return list(filter(is_id, names))


def _fault(value: str) -> str:
    """Return the rule that an id breaks, and the reason for the rule."""
    foreign = _FOREIGN.search(value)
    if value in _WHY_WHOLE:
        return _WHY_WHOLE[value]
    if foreign:
        why = _WHY_FOREIGN.get(foreign[0], "an id has only A-Z a-z 0-9 _ . : = @ + , ~ -")
        return f"{foreign[0]!r} at position {foreign.start()} is not allowed: {why}"
    if len(value) > 128:
        return f"it has {len(value)} characters, but at most 128 are allowed: file names and S3 keys have limits"
    if "::" in value:
        return f"'::' at position {value.index('::')} is not allowed: fsspec chains URLs with it"
    if value.endswith("."):
        return "'.' at its end is not allowed: some file systems remove it"
    return f"{value[0]!r} at position 0 is not allowed: such names are hidden, or belong to the library"


def _shown(name: str) -> str:
    """Return a name for a message. For a long name, return only its length: a part of it could be part of a secret."""
    return repr(name) if len(name) <= 40 else f"of {len(name)} characters"


def as_id(value: object) -> Any:
    """Return a UUID as text, and an integer from 0 on as decimal digits. Return any other value unchanged.

    An integer is an int, or an object with `__index__`, such as an integer of numpy. True and False do not count.
    """
    if type(value) is str:
        return value
    if isinstance(value, UUID):
        return str(value)
    number = _number(value)
    return value if number is None or not 0 <= number < 10**128 else str(number)


def _number(value: Any) -> int | None:
    """Return an integer as an int; None for any other value. Arrays and tensors have `__index__` too."""
    if isinstance(value, bool) or not hasattr(type(value), "__index__") or hasattr(type(value), "__len__"):
        return None
    number = attempt(lambda: operator.index(value))
    return None if isinstance(number, Exception) else number


def check_id(value: object, what: str) -> str:
    """Check a session or step id, and return it as text. This needs no I/O.

    An id has 1 to 128 letters, digits and `_ . : = @ + , ~ -`. It begins with a letter or digit, has no `::`, and does
    not end in `.`. fsspec, S3, file systems, dask, pyarrow and Spark take such a name literally: it is not hidden, not
    a pattern, and not a chain of URLs. `lost+found` is refused, because file systems have a directory of this name.

    Parameters:
        value: the id: a str; or a UUID or an integer from 0 on, which is converted to text.
        what: "session_id" or "step_id", for the message.

    Raises:
        InvalidIdError: the id is not allowed. The message names the character, its position and the reason.
    """
    value = as_id(value)
    if not isinstance(value, str):
        if _number(value) is None:
            raise InvalidIdError(f"{what} must be a str, a UUID or an integer, not {type(value).__name__}")
        raise InvalidIdError(f"{what} cannot be used: an integer must be from 0 on, with at most 128 digits")
    if not is_id(value):
        raise InvalidIdError(f"{what} {_shown(value)} cannot be used: {_fault(value)}")
    return str.__str__(value)  # str() of an Enum would be its name


def check_ids(session_ids: object, operation: str) -> Iterable[Any] | None:
    """Return each id as `as_id` does. Refuse a value that is not an iterable of ids, such as a single id.

    Raises:
        InvalidIdError: `session_ids` is neither None nor such an iterable. The error has the given operation.
    """
    if isinstance(session_ids, str):
        raise InvalidIdError("session_ids is one id: give a list of ids", operation=operation)
    if session_ids is not None and (isinstance(session_ids, bytes) or not isinstance(session_ids, Iterable)):
        why = f"session_ids must be a list of ids or another iterable, not {type(session_ids).__name__}"
        raise InvalidIdError(why, operation=operation)
    return None if session_ids is None else map(as_id, session_ids)


def join(root: str, *names: str) -> str:
    """Return a URL below the root: the names of session, step and file, with a slash between them."""
    return "/".join((root, *names))


class ComponentSpec(NamedTuple):
    """One row of `COMPONENTS`: the names of a component, and how it is stored.

    `encode(value, keyword)` raises InvalidDataError. `decode(data)` raises ValueError if the data cannot be decoded.
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
_IMAGE = image_type, encode_image, bytes
_JSON = (lambda data: "application/json"), encode_json, decode_json

COMPONENTS = (
    ComponentSpec("html", HTML_FILENAME, "html_content", "html_path", *_HTML),
    ComponentSpec("screenshot", SCREENSHOT_FILENAME, "screenshot_bytes", "screenshot_path", *_IMAGE),
    ComponentSpec("action", ACTION_DATA_FILENAME, "action_data", "action_data_path", *_JSON),
    ComponentSpec("metadata", METADATA_FILENAME, "metadata", "metadata_path", *_JSON),
)
BY_FILENAME = {row.filename: row for row in COMPONENTS}


def is_component(path: str) -> bool:
    """Return True if a path, relative to a session, names a component: `step_000001/action.json`."""
    step_id, _, filename = path.rpartition("/")
    return is_id(step_id) and filename in BY_FILENAME


def is_attachment(path: str) -> bool:
    """Return True if a path, relative to a session, names an attachment: `step_000001/axtree.json`."""
    directory, _, name = path.rpartition("/")
    return (directory == ATTACHMENTS_DIRECTORY or is_id(directory)) and is_attachment_name(name)


def is_data(path: str) -> bool:
    """Return True if a path, relative to a session, names a component, an attachment or the metadata."""
    return path == SESSION_METADATA_FILENAME or is_component(path) or is_attachment(path)


# macOS and Windows create these when someone views a directory; NFS and FUSE, when an open file is deleted.
_SYSTEM_FILE = re.compile(
    r"\.DS_Store|\._.*|\.localized|Icon\r|(eh)?thumbs\.db|desktop\.ini|\.directory|\.nfs.*|\.__afs.*|\.fuse_hidden.*",
    re.IGNORECASE,
)


# Synology, QNAP, netatalk and macOS keep thumbnails and attributes in directories with these names.
_SYSTEM_DIRECTORIES = {"@eaDir", ".@__thumb", ".AppleDouble", "__MACOSX", ".AppleDB", ".AppleDesktop"}


def is_system_file(path: str) -> bool:
    """Return True if operating systems create files with this name. These files are not data of a session.

    Every file in a directory that operating systems create is such a file, too.
    """
    *above, name = path.split("/")
    return _SYSTEM_FILE.fullmatch(name) is not None or not _SYSTEM_DIRECTORIES.isdisjoint(above)


def is_system_directory(name: str) -> bool:
    """Return True if operating systems create directories with this name."""
    return name in _SYSTEM_DIRECTORIES


_ATTACHMENT_RULE = (
    "a name has 1 to 128 characters of A-Z a-z 0-9 _ . = @ + , -, begins with a letter or digit, and ends in an "
    "extension, such as .webm"
)
_ATTACHMENT_NAME = re.compile(r"(?=.{1,128}\Z)[A-Za-z0-9][A-Za-z0-9_.=@+,-]*\.[A-Za-z0-9]+")
_TYPES = MimeTypes()  # Python's own table, because the table of the operating system differs between machines
for _type, _extensions in {
    "application/json": ".har",
    "application/jsonl": ".jsonl .ndjson",
    "application/xhtml+xml": ".xhtml .xht",
    "image/webp": ".webp",
    "text/html": ".shtml",
    "text/markdown": ".md",
    "text/plain": ".log .yaml .yml",
    "video/webm": ".webm",
}.items():
    for _extension in _extensions.split():
        _TYPES.add_type(_type, _extension)
# A browser runs scripts in files of these types, and of types that end in +xml. If it opened such a file with a share
# link, the scripts would run as part of the service's site.
_ACTIVE = re.compile(r".*[/.+](x?html|xml|xslt?|xul|(java|ecma)script)(\+.*)?|message/rfc822|multipart/.*")


def is_attachment_name(name: str) -> bool:
    """Return True if an attachment can have this name."""
    is_shaped = _ATTACHMENT_NAME.fullmatch(name) is not None
    return is_shaped and name.lower() not in BY_FILENAME and not is_system_file(name)


def check_attachment_name(name: object) -> str:
    """Check the name of an attachment, and return it unchanged. This needs no I/O.

    A name has 1 to 128 letters, digits and `_ . = @ + , -`. It begins with a letter or digit, and ends in an extension:
    a dot, and letters or digits. In upper or lower case, it is neither the file name of a component nor the name of a
    file that operating systems create (`Thumbs.db`, `desktop.ini`).

    Raises:
        InvalidDataError: the name is not allowed. The message names the rule that it breaks.
    """
    if not isinstance(name, str):
        raise InvalidDataError(f"the name of an attachment must be a str, not {type(name).__name__}")
    if is_attachment_name(name):
        return str.__str__(name)
    why = _ATTACHMENT_RULE
    if name.lower() in BY_FILENAME:
        why = "it is the file name of a component"
    elif is_system_file(name):
        why = "operating systems leave files of this name"
    raise InvalidDataError(f"an attachment cannot be called {_shown(name)}: {why}")


def check_attachment_names(names: object) -> list[str]:
    """Check the names of attachments, and return them as a list.

    Raises:
        InvalidDataError: a name is not allowed, or `names` is not a list.
    """
    if isinstance(names, (str, bytes)) or not isinstance(names, Iterable):
        why = f"attachments must be a list of names, not {type(names).__name__}"
        raise InvalidDataError(why)
    return list(dict.fromkeys(map(check_attachment_name, names)))


def why_foreign(path: str) -> str:
    """Return why a file is not part of a session, and what to do about it. `path` is relative to the session."""
    directory, _, name = path.rpartition("/")
    first = directory.partition("/")[0]
    if name.startswith("."):
        return "it is hidden: rename it if it is data"
    if first != directory:
        return "a step has no directories: move its files into the step"
    if not directory and is_attachment_name(name):
        return f"files of a session are in {ATTACHMENTS_DIRECTORY}/: move it there, or store it with store_attachments"
    if directory and directory != ATTACHMENTS_DIRECTORY and not is_id(directory):
        return f"{directory} is not a step id: rename the directory"
    if name in BY_FILENAME:
        is_step = "" if directory else ": if its directory is a step, the directory of its session was given as a root"
        return f"only steps have components{is_step}"
    is_component_name = name.lower() in BY_FILENAME
    return f"it is not called {name.lower()}" if is_component_name else f"{_ATTACHMENT_RULE}: rename it"


def attachment_type(name: str) -> str:
    """Return the content type of an attachment, which depends on its name.

    HTML, XHTML, SVG, XML and JavaScript are text/plain, so that a browser does not run scripts in them.
    """
    kind, encoding = _TYPES.guess_type(name, strict=False)
    kind = kind if kind and not encoding else "application/octet-stream"
    if _ACTIVE.fullmatch(kind):
        kind = "text/plain"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


def content_type_of(path: str, data: bytes = b"") -> str:
    """Return the content type of a file of a session, by its path and, for a screenshot, by its first bytes."""
    directory, _, name = path.rpartition("/")
    if name in BY_FILENAME and directory != ATTACHMENTS_DIRECTORY:
        return BY_FILENAME[name].content_type(data)
    return "application/json" if not directory else attachment_type(name)


def formats(components: Sequence[Component]) -> list[ComponentSpec]:
    """Return the rows of `COMPONENTS` with these names, in the order of the table.

    Raises:
        InvalidDataError: a name is not the name of a component, or `components` is not a list.
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
