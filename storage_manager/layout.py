"""How a session lies in storage: ids, the table of components, URLs, encoding and decoding.

A path is always `f"{root}/{session}/{step}/{file}"`. JSON is UTF-8, one line ending in a newline, so that each
file is JSON (RFC 8259) and JSON Lines (jsonlines.org) at once. `COMPONENTS` is the one table from which
storing, retrieving and everything above follow.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

from pydantic_core import from_json, to_json, to_jsonable_python

from storage_manager.errors import InvalidDataError, InvalidIdError, refusing

__all__ = [
    "ACTION_DATA_FILENAME",
    "ALL_COMPONENTS",
    "COMPONENTS",
    "HTML_FILENAME",
    "METADATA_FILENAME",
    "SCREENSHOT_FILENAME",
    "Component",
    "Format",
    "Step",
    "StepData",
    "check_id",
    "formats",
    "is_id",
    "join",
]

HTML_FILENAME = "observation.html"
SCREENSHOT_FILENAME = "screenshot.png"
ACTION_DATA_FILENAME = "action.json"
METADATA_FILENAME = "metadata.json"

Component = Literal["html", "screenshot", "action", "metadata"]
ALL_COMPONENTS: tuple[Component, ...] = get_args(Component)

# jiter, which reads the JSON again, stops at 201 levels; a reader with less (serde_json: 128) is the user's choice.
MAX_JSON_DEPTH = 200
MAX_JSON_INT = 10**4300  # Python reads no more digits (sys.int_info.default_max_str_digits)


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


_ID = re.compile(r"(?!.*::)[A-Za-z0-9](?:[A-Za-z0-9_.:=@+,~-]{0,126}[A-Za-z0-9_:=@+,~-])?")
_FOREIGN = re.compile(r"[^A-Za-z0-9_.:=@+,~-]")
_WHY_FOREIGN = {
    **dict.fromkeys("/\\", "it separates directories"),
    **dict.fromkeys("*?[]{}", "it is a pattern to fsspec and to shells"),
    **dict.fromkeys("#%&", "it has a meaning in URLs"),
}


def is_id(name: str) -> bool:
    """True for a name that may be a session or a step id; listings leave out every other."""
    return _ID.fullmatch(name) is not None


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


def join(root: str, *names: str) -> str:
    """The one way to name a thing: the root, then session, step and file, with a slash between them."""
    return "/".join((root, *names))


_Place = tuple[str | int, ...]  # the keyword of the component, then the keys and indices that lead to a value


def _show(place: _Place) -> str:
    path = "".join(f"[{_short(name)}]" for name in place[1:9]) + ("[…]" if len(place) > 9 else "")
    return f"{place[0]}{path}"


def _short(name: object) -> str:
    text = repr(name)
    return text if len(text) <= 60 else text[:60] + "…"


def _refusal(place: _Place, why: str) -> InvalidDataError:
    return InvalidDataError(f"{_show(place)} cannot be stored: {why}")


def _plain_text(value: str, place: _Place) -> str:
    try:
        return value if value.isascii() else value.encode().decode()
    except UnicodeEncodeError as error:
        raise _refusal(place, f"the lone surrogate at position {error.start} has no UTF-8 form") from error


def _plain_number(value: float, place: _Place) -> float:
    if isinstance(value, float) and not math.isfinite(value):
        raise _refusal(place, f"{value} is no JSON number (RFC 8259, section 6)")
    if isinstance(value, int) and not -MAX_JSON_INT < value < MAX_JSON_INT:
        raise _refusal(place, "an integer of more than 4300 digits is not read back by Python")
    return value


def _plain_key(key: object, place: _Place) -> str:
    if not isinstance(key, str):
        raise _refusal(place, f"the key {_short(key)} is a {type(key).__name__}, and JSON has only str keys")
    return _plain_text(key, place)


def _plain_other(value: object, place: _Place) -> Any:
    """What is not one of JSON's types, as pydantic encodes it (datetime, UUID, Path, Enum, dataclass, model)."""
    with refusing(_show(place), f"{type(value).__module__}.{type(value).__qualname__} has no JSON form"):
        return _plain(to_jsonable_python(value), place)


def _plain(value: object, place: _Place) -> Any:
    """The value in JSON's own types, equal to it; or refused, naming the place."""
    if len(place) > MAX_JSON_DEPTH + 1:  # the place begins with the keyword
        raise _refusal(place, f"nested deeper than {MAX_JSON_DEPTH} levels, or in itself")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _plain_text(value, place)
    if isinstance(value, (int, float)):
        return _plain_number(value, place)
    if isinstance(value, Mapping):
        return {_plain_key(key, place): _plain(item, (*place, key)) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, (*place, index)) for index, item in enumerate(value)]
    return _plain_other(value, place)


def _encode_json(value: object, keyword: str) -> bytes:
    with refusing(keyword, "it cannot be read"):
        plain = _plain(value, (keyword,))
    if not isinstance(plain, dict):
        raise _refusal((keyword,), f"a mapping is needed, not {type(value).__name__}")
    return to_json(plain) + b"\n"


_OVERFLOW = re.compile(rb"\d{2}[eE]|[eE]\+?\d{3}|\d{300}")


def _decode_json(data: bytes) -> dict[str, Any]:
    value = from_json(data, allow_inf_nan=False)
    if _OVERFLOW.search(data):
        _plain(value, ("JSON",))  # jiter reads a number beyond float as infinity
    if not isinstance(value, dict):
        raise ValueError(f"a JSON object is expected, not {type(value).__name__}")
    return value


def _encode_bytes(value: object, keyword: str) -> bytes:
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise _refusal((keyword,), f"bytes are needed, not {type(value).__name__}")
    return bytes(value)


def _encode_html(value: object, keyword: str) -> bytes:
    if isinstance(value, str):
        return _plain_text(value, (keyword,)).encode()
    return _encode_bytes(value, keyword)


def _image_type(data: bytes) -> str:
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    return "image/webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else "image/png"


class Format(NamedTuple):
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
    Format("html", HTML_FILENAME, "html_content", "html_path", _HTML_TYPE, _encode_html, bytes.decode),
    Format("screenshot", SCREENSHOT_FILENAME, "screenshot_bytes", "screenshot_path", _image_type, _encode_bytes, bytes),
    Format("action", ACTION_DATA_FILENAME, "action_data", "action_data_path", _JSON_TYPE, _encode_json, _decode_json),
    Format("metadata", METADATA_FILENAME, "metadata", "metadata_path", _JSON_TYPE, _encode_json, _decode_json),
)
# fmt: on


def formats(components: Sequence[Component]) -> list[Format]:
    """The rows of `COMPONENTS` for these names, in the table's order.

    Raises:
        InvalidDataError: one of them is no component.
    """
    unknown = [name for name in components if name not in ALL_COMPONENTS]
    if unknown:
        raise InvalidDataError(f"no component is called {unknown[0]!r}: choose from {', '.join(ALL_COMPONENTS)}")
    return [row for row in COMPONENTS if row.name in components]
