"""Encode the value of a component as bytes, and decode it again. A value that would change in this way is refused.

JSON is one line of UTF-8 that ends in a newline, so each file is valid JSON (RFC 8259) and JSON Lines (jsonlines.org).
The functions that use pydantic_core import it themselves, because a listing does not need it.
"""

import errno
import io
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping
from types import NoneType
from typing import Any

from storage_manager.errors import InvalidDataError, refusing

__all__ = [
    "MAX_JSON_DEPTH",
    "MAX_JSON_VALUES",
    "count_values",
    "decode_json",
    "encode_attachment",
    "encode_bytes",
    "encode_html",
    "encode_image",
    "encode_json",
    "has_surrogates",
    "image_type",
    "without_surrogates",
]

MAX_JSON_DEPTH = 200  # levels; jiter, which reads the JSON again, stops at 201
# Commas and brackets, also those in strings. Decoding a component of a gigabyte would take minutes and 30 GB.
MAX_JSON_VALUES = 2**22
MAX_JSON_INT = 10**4300  # Python reads at most 4300 digits (sys.int_info.default_max_str_digits)

_KeyPath = tuple[str | int, ...]  # the keyword of the component, then the keys and indices that lead to a value


def _show(where: _KeyPath) -> str:
    keyword, *names = where
    return f"{keyword}{''.join(f'[{_short(name)}]' for name in names[:8])}{'[…]' if len(names) > 8 else ''}"


def _short(name: object) -> str:
    """Return a key as text. For a long key, return only its type and length, because a part of it could be secret."""
    text = repr(name) if isinstance(name, (str, int, float, NoneType)) else ""
    return text if text and len(text) <= 60 else f"<{type(name).__name__}{_length(name)}>"


def _length(name: object) -> str:
    return f" of {len(name)} characters" if isinstance(name, str) else ""


def _refusal(where: _KeyPath, why: str) -> InvalidDataError:
    return InvalidDataError(f"{_show(where)} cannot be stored: {why}")


def _utf8(value: str, where: _KeyPath) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise _refusal(where, f"the lone surrogate at position {error.start} has no UTF-8 form") from error


def _plain_text(value: str, where: _KeyPath) -> str:
    return value if value.isascii() else _utf8(value, where).decode()


def _plain_number(value: float, where: _KeyPath) -> float:
    if isinstance(value, float) and not math.isfinite(value):
        raise _refusal(where, f"{value} is not a JSON number (RFC 8259, section 6)")
    if isinstance(value, int) and not -MAX_JSON_INT < value < MAX_JSON_INT:
        raise _refusal(where, "an integer of more than 4300 digits cannot be read back by Python")
    return value


def _plain_key(key: object, where: _KeyPath) -> str:
    if type(key) is str and key.isascii():
        return key
    if not isinstance(key, str):
        shown = f"the key {key}" if isinstance(key, (int, float, NoneType)) else "a key"
        raise _refusal(where, f"{shown} has the type {type(key).__name__}, but JSON has only str keys")
    return _plain_text(key, where)


def _plain_other(value: object, where: _KeyPath) -> Any:
    """Return a value of another type as pydantic encodes it (datetime, UUID, Path, Enum, dataclass, model)."""
    if hasattr(value, "tolist") and hasattr(value, "dtype"):  # a scalar or array of numpy, which need not be installed
        return _plain(getattr(value, "tolist")(), where)  # noqa: B009 - pyright knows only object
    from pydantic_core import to_jsonable_python

    with refusing(_show(where), f"{type(value).__module__}.{type(value).__qualname__} has no JSON form"):
        return _plain(to_jsonable_python(value), where)


def _plain(value: object, where: _KeyPath) -> Any:
    """Return an equal value of JSON's own types. If there is none, raise an error that names the position."""
    if len(where) > MAX_JSON_DEPTH + 1:  # the path begins with the keyword
        raise _refusal(where, f"nested deeper than {MAX_JSON_DEPTH} levels, or in itself")
    if (type(value) is str and value.isascii()) or value is None or isinstance(value, bool):  # most values, first
        return value
    if isinstance(value, str):
        return _plain_text(value, where)
    if isinstance(value, (int, float)):
        return _plain_number(value, where)
    if isinstance(value, Mapping):
        return {_plain_key(key, where): _plain(item, (*where, key)) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, (*where, index)) for index, item in enumerate(value)]
    return _plain_other(value, where)


def encode_json(value: object, keyword: str) -> bytes:
    """Return a mapping as JSON. If JSON cannot hold a value, InvalidDataError names its key."""
    from pydantic_core import to_json

    with refusing(keyword, "it cannot be read"):
        plain = _plain(value, (keyword,))
    if not isinstance(plain, dict):
        raise _refusal((keyword,), f"a mapping is needed, not {type(value).__name__}")
    data = to_json(plain) + b"\n"
    if _has_too_many_values(data):
        raise _refusal((keyword,), f"it has more than {MAX_JSON_VALUES} values")
    return data


def encode_attachment(name: str, value: object) -> bytes:
    """Return bytes unchanged, text as UTF-8, and a mapping or list as JSON if the name ends in `.json`.

    Raises:
        InvalidDataError: the value has another type or no JSON form, or the name does not end in `.json`.
    """
    where = (f"attachments[{name!r}]",)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, str):
        return _utf8(value, where)
    kind = type(value).__name__
    if not isinstance(value, (Mapping, list)):
        raise _refusal(where, f"it must be bytes, str, a mapping, a list or a Path, not {kind}")
    if not name.lower().endswith(".json"):
        raise _refusal(where, f"a {kind} is stored as JSON, and only under a name that ends in .json")
    from pydantic_core import to_json

    with refusing(where[0], "it cannot be read"):
        return to_json(_plain(value, where)) + b"\n"


def decode_json(data: bytes) -> dict[str, Any]:
    """Return the mapping in the bytes. Raise ValueError if they are not a JSON object, or have too many values."""
    from pydantic_core import from_json

    if _has_too_many_values(data):
        raise ValueError(f"it has more than {MAX_JSON_VALUES} values")
    value = from_json(data, allow_inf_nan=False)
    if _has_infinity(value):
        raise ValueError("a number in it is too large for a 64-bit float")
    if not isinstance(value, dict):
        raise ValueError(f"a JSON object is expected, not {type(value).__name__}")
    return value


def count_values(data: bytes) -> int:
    """Return an upper limit for the number of values: the number of commas and brackets, also those in strings."""
    return data.count(b",") + data.count(b"[") + data.count(b"{") + 1


def _has_too_many_values(data: bytes) -> bool:
    """Return True if decoding would take more than two seconds. Nothing else could run in that time."""
    return len(data) > MAX_JSON_VALUES and count_values(data) > MAX_JSON_VALUES


def _has_infinity(value: object) -> bool:
    """Return True if a number was too large for a float. jiter reads such a number as infinity.

    Writing the JSON again is the quickest test: it takes 27 ms for the worst megabyte. A search for such numbers in the
    text took up to 450 ms.
    """
    from pydantic_core import to_json

    written = to_json(value)
    return b"Infinity" in written and written != to_json(value, inf_nan_mode="null")  # a text may hold the word


def encode_bytes(value: object, keyword: str) -> bytes:
    """Return bytes unchanged."""
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise _refusal((keyword,), f"bytes are needed, not {type(value).__name__}")
    return bytes(value)


def encode_image(value: object, keyword: str) -> bytes:
    """Return bytes unchanged. For a path, return the content of the file. Return an image of Pillow as PNG."""
    if isinstance(value, os.PathLike):
        return _file_content(value, keyword)
    if hasattr(value, "save") and hasattr(value, "getbands"):  # Pillow need not be installed
        written = io.BytesIO()
        with refusing(keyword, "the image cannot be written as PNG"):
            getattr(value, "save")(written, format="PNG")  # noqa: B009 - pyright knows only object
        return written.getvalue()
    return encode_bytes(value, keyword)


def _file_content(path: "os.PathLike[str]", keyword: str) -> bytes:
    with refusing(keyword, "its file cannot be read"):
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would block until a writer opens it
            raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
        with open(path, "rb") as file:
            return file.read()


def encode_html(value: object, keyword: str) -> bytes:
    """Return text as UTF-8, and bytes unchanged."""
    if isinstance(value, str):
        return _utf8(value, (keyword,))
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise _refusal((keyword,), f"text or bytes are needed, not {type(value).__name__}")
    return bytes(value)


_SURROGATE = re.compile("[\ud800-\udfff]")


def has_surrogates(text: str) -> bool:
    """Return True if a text has a lone surrogate, which UTF-8 cannot encode."""
    return not text.isascii() and _SURROGATE.search(text) is not None


_PIECE = 2**16  # characters that are replaced in less than 10 ms


def without_surrogates(text: str) -> Iterator[str]:
    """Yield a text in pieces, with U+FFFD in place of each lone surrogate. A page may contain lone surrogates.

    Other work can run between two pieces. One megabyte of surrogates takes 150 ms in all.
    """
    if text.isascii():
        yield text
        return
    for start in range(0, len(text), _PIECE):
        yield _SURROGATE.sub("\ufffd", text[start : start + _PIECE])


def image_type(data: bytes) -> str:
    """Return the content type of an image: that of JPEG or WebP if it begins like one, else that of PNG."""
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    return "image/webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else "image/png"
