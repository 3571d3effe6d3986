"""Ids, URLs, and components that come back as they went in."""

import enum
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from storage_manager import InvalidDataError, InvalidIdError
from storage_manager.layout import COMPONENTS, MAX_JSON_DEPTH, check_id, formats, is_id, join

HTML, SCREENSHOT, ACTION, METADATA = COMPONENTS

GOOD = ["a", "0", "A" * 128, "2024-01-01T10:00:00", "user@host", "a.b", "a=b", "x+y,z~", "step_000001", "a:b"]
HOSTILE = [
    # (id, what the message says of it)
    ("", "empty"),
    (".", "'.' at its end"),
    ("..", "'.' at its end"),
    ("a.", "'.' at its end"),
    (".hidden", "position 0"),
    ("_own", "position 0"),
    ("-flag", "position 0"),
    ("~", "position 0"),
    ("a::b", "'::' at position 1"),
    ("::", "'::' at position 0"),
    ("a" * 129, "129 characters"),
    *((f"a{char}b", f"{char!r} at position 1") for char in "/\\*?[]{}#%&|<>\"'`$!;()^ \t\n\r\0\x7f\x1b"),
    *((f"a{char}", f"{char!r} at position 1") for char in ("é", "日", "\u202e", "\ud800", "\u2028", "\x85", "😀")),
    ("../up", "'/' at position 2"),
    ("a/../../b", "'/' at position 1"),
    ("/etc/passwd", "'/' at position 0"),
    ("C:\\x", "'\\\\' at position 2"),
    ("a\n", "'\\n' at position 1"),
    ("key?versionId=1", "'?' at position 3"),
]


@pytest.mark.parametrize("name", GOOD)
def test_good_ids(name: str) -> None:
    assert is_id(name)
    assert check_id(name, "session_id") == name


@pytest.mark.parametrize(("name", "fault"), HOSTILE)
def test_hostile_ids_are_refused_with_character_and_place(name: str, fault: str) -> None:
    assert not is_id(name)
    with pytest.raises(InvalidIdError) as caught:
        check_id(name, "step_id")
    assert str(caught.value).startswith("step_id ")
    assert fault in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", [None, 7, b"a", ["a"], True])
def test_ids_are_text(name: object) -> None:
    with pytest.raises(InvalidIdError, match=f"not {type(name).__name__}"):
        check_id(name, "session_id")


@given(st.text(max_size=140))
def test_an_id_is_what_the_message_says(name: str) -> None:
    """`[A-Za-z0-9][A-Za-z0-9_.:=@+,~-]{0,127}`, without `::`, not ending in `.`; all else has its reason."""
    if is_id(name):
        assert name.isascii()
        assert 1 <= len(name) <= 128
        assert name[0].isalnum()
        assert "::" not in name
        assert name[-1] != "."
    else:
        with pytest.raises(InvalidIdError, match="cannot be used: "):
            check_id(name, "session_id")


def test_join() -> None:
    assert join("s3://b/p", "s", "t", "action.json") == "s3://b/p/s/t/action.json"


def encoded(value: object) -> bytes:
    return METADATA.encode(value, "metadata")


class Colour(enum.Enum):
    RED = "red"


class Word(str, enum.Enum):
    YES = "yes"


class Level(enum.IntEnum):
    LOW = 1


@dataclass
class Point:
    x: int
    at: datetime


class Model(BaseModel):
    ids: list[uuid.UUID]


NOON = datetime(2024, 1, 1, 12, tzinfo=timezone.utc)
ID = uuid.UUID(int=7)


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (NOON, "2024-01-01T12:00:00Z"),
        (ID, str(ID)),
        (Path("/a/b"), "/a/b"),
        (Colour.RED, "red"),
        (Word.YES, "yes"),
        (Level.LOW, 1),
        (Point(1, NOON), {"x": 1, "at": "2024-01-01T12:00:00Z"}),
        (Model(ids=[ID]), {"ids": [str(ID)]}),
        ((1, (2,)), [1, [2]]),
        ({3}, [3]),
        (MappingProxyType({"a": MappingProxyType({})}), {"a": {}}),
        (10**4000, 10**4000),
        (-0.0, -0.0),
        (5e-324, 5e-324),
        ("\u2028 é 😀 \x00", "\u2028 é 😀 \x00"),
    ],
)
def test_values_are_encoded_as_pydantic_encodes_them(value: object, stored: object) -> None:
    data = encoded({"value": value})
    assert METADATA.decode(data) == {"value": stored}
    assert json.loads(data) == {"value": stored}
    assert data.count(b"\n") == 1
    assert data.endswith(b"}\n")


def test_a_model_is_a_mapping() -> None:
    assert ACTION.decode(encoded(Model(ids=[]))) == {"ids": []}


def test_text_is_utf8_and_not_escaped() -> None:
    assert encoded({"é": "日"}) == '{"é":"日"}\n'.encode()


circle: dict[str, Any] = {}
circle["in"] = [circle]


def nested(depth: int, innermost: Any = 0) -> Any:
    for _ in range(depth):
        innermost = [innermost]
    return innermost


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": [0, {"b": float("nan")}]}, "metadata['a'][1]['b'] cannot be stored: nan"),
        ({"a": float("-inf")}, "metadata['a'] cannot be stored: -inf"),
        ({"a": "\ud800"}, "metadata['a'] cannot be stored: the lone surrogate at position 0"),
        ({"\ud800": 1}, "the lone surrogate"),
        ({"a": {1: 2}}, "metadata['a'] cannot be stored: the key 1 is a int"),
        ({None: 1}, "metadata cannot be stored: the key None"),
        ({"a": object()}, "metadata['a'] cannot be stored: builtins.object has no JSON form"),
        ({"a": b"\xff"}, "metadata['a'] cannot be stored: builtins.bytes"),
        ({"a": Point(1, float("nan"))}, "metadata['a']['at'] cannot be stored: nan"),  # type: ignore[arg-type]
        ({"a": 10**5000}, "metadata['a'] cannot be stored: an integer"),
        (circle, "nested deeper than"),
        ({"a": nested(MAX_JSON_DEPTH)}, "nested deeper than"),
        ({"a": nested(5000)}, "nested deeper than"),
        ([1], "metadata cannot be stored: a mapping is needed, not list"),
        ("text", "metadata cannot be stored: a mapping is needed, not str"),
        (Colour.RED, "metadata cannot be stored: a mapping is needed, not Colour"),
    ],
)
def test_what_is_not_faithful_is_refused_with_its_place(value: object, place: str) -> None:
    with pytest.raises(InvalidDataError) as caught:
        encoded(value)
    assert place in str(caught.value)
    assert len(str(caught.value)) < 300


def test_the_deepest_that_is_stored_is_read_again() -> None:
    value = {"a": nested(MAX_JSON_DEPTH - 1)}
    assert METADATA.decode(encoded(value)) == value


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b'{"a":',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xff",
        b"\xef\xbb\xbf{}",
        b'{"a":NaN}',
        b"[]",
        b"1",
        b"{} {}",
    ],
)
def test_what_cannot_be_decoded_is_an_error_and_no_crash(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each reader has its own words
        ACTION.decode(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.text(), JSON))
def test_json_round_trips(value: dict[str, Any]) -> None:
    data = encoded(value)
    assert METADATA.decode(data) == value
    assert json.loads(data) == value
    assert data.count(b"\n") == 1


@given(st.text())
def test_html_round_trips(text: str) -> None:
    assert HTML.decode(HTML.encode(text, "html_content")) == text


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_are_stored_as_they_are(kind: Callable[[bytes], Any]) -> None:
    assert HTML.encode(kind(b"\xff\xfe"), "html_content") == b"\xff\xfe"
    data = SCREENSHOT.encode(kind(b"\x89PNG"), "screenshot_bytes")
    assert (type(data), data) == (bytes, b"\x89PNG")


@pytest.mark.parametrize(
    ("row", "value", "message"),
    [
        (HTML, 7, "html_content cannot be stored: bytes are needed, not int"),
        (HTML, "a\udc80", "html_content cannot be stored: the lone surrogate at position 1"),
        (SCREENSHOT, "text", "screenshot_bytes cannot be stored: bytes are needed, not str"),
    ],
)
def test_other_types_are_refused(row: Any, value: object, message: str) -> None:
    with pytest.raises(InvalidDataError, match=message):
        row.encode(value, row.keyword)


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8", "image/webp"),
        (b"RIFF\x00\x00\x00\x00WAVE", "image/png"),
    ],
)
def test_content_type_is_what_the_bytes_say(data: bytes, content_type: str) -> None:
    assert SCREENSHOT.content_type(data) == content_type


def test_formats_follow_the_table() -> None:
    assert formats(["metadata", "html"]) == [HTML, METADATA]
    assert formats([]) == []
    with pytest.raises(InvalidDataError, match=r"'pixels'.*html, screenshot, action, metadata"):
        formats(["html", "pixels"])  # type: ignore[list-item]
