"""Ids, URLs, and components that come back as they went in."""

import enum
import json
import math
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import BaseModel

from storage_manager import InvalidDataError, InvalidIdError, Step, StorageManager
from storage_manager.encoding import MAX_JSON_DEPTH
from storage_manager.export import export_parquet
from storage_manager.integrity import seal_session, verify_session
from storage_manager.inventory import count_steps
from storage_manager.layout import (
    ALL_COMPONENTS,
    COMPONENTS,
    StepData,
    check_id,
    formats,
    is_id,
    is_system_file,
    join,
    only_ids,
)
from storage_manager.recorder import record
from storage_manager.transfer import copy_sessions

HTML, SCREENSHOT, ACTION, METADATA = COMPONENTS

GOOD = [
    "lost+found2",
    "alost+found",
    "a",
    "0",
    "A" * 128,
    "2024-01-01T10:00:00",
    "user@host",
    "a.b",
    "a=b",
    "x+y,z~",
    "step_000001",
    "a:b",
]
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
    ("lost+found", "at their root"),
]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (".DS_Store", True),
        ("run-1/._action.json", True),
        ("run-1/.nfs000000000001", True),
        ("run-1/.fuse_hidden0000000500000001", True),
        ("Thumbs.db", True),
        ("DESKTOP.INI", True),
        ("action.json", False),
        (".DS_Store/action.json", False),
        ("my.DS_Store", False),
    ],
)
def test_files_that_systems_leave(path: str, expected: bool) -> None:
    assert is_system_file(path) is expected


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


@given(st.lists(st.text("a.:-_*\n\0\u00e9", max_size=5) | st.sampled_from(["a" * 128, "a" * 129]), max_size=5))
def test_the_ids_of_a_page_are_those_of_its_names(names: list[str]) -> None:
    assert only_ids(names) == [name for name in names if is_id(name)]


@pytest.mark.parametrize("name", ["", *(name for name, _ in HOSTILE if "/" not in name)])
def test_one_hostile_name_leaves_the_others_of_its_page(name: str) -> None:
    for page in ([name, *GOOD], [*GOOD, name], ["a", name, "b"]):
        assert only_ids(page) == [other for other in page if other != name]


@pytest.mark.parametrize("name", [None, 7.0, b"a", ["a"], True])
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
        ({"a": {1: 2}}, "metadata['a'] cannot be stored: the key 1 has the type int"),
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
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(), inner, max_size=6),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), JSON, max_size=6))
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
        (HTML, 7, "html_content cannot be stored: text or bytes are needed, not int"),
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


# --- ids: the rest ------------------------------------------------------------------------------------------

FIRST = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
LATER = FIRST + "_.:=@+,~-"


def test_every_ascii_character_in_every_place() -> None:
    """`[A-Za-z0-9][A-Za-z0-9_.:=@+,~-]{0,127}`, without `::`, not ending in `.`"""
    every = [chr(number) for number in range(128)]
    assert [char for char in every if is_id(f"{char}a")] == sorted(FIRST)
    assert [char for char in every if is_id(f"a{char}a")] == sorted(LATER)
    assert [char for char in every if is_id(f"a{char}")] == sorted(set(LATER) - {"."})


@pytest.mark.parametrize("length", [1, 2, 127, 128])
def test_lengths_that_are_allowed(length: int) -> None:
    assert check_id("a" * length, "step_id") == "a" * length


@pytest.mark.parametrize(
    ("char", "why"), [("/", "directories"), ("*", "pattern"), ("#", "URLs"), ("é", "an id has only")]
)
def test_an_id_is_refused_with_a_reason(char: str, why: str) -> None:
    with pytest.raises(InvalidIdError, match=why):
        check_id(f"ab{char}", "step_id")


def test_a_long_id_is_shown_in_part() -> None:
    with pytest.raises(InvalidIdError, match="5000 characters") as caught:
        check_id("a" * 5000, "session_id")
    assert "a" * 41 not in str(caught.value)


class Disguised(str):
    """Text that says something else when it is asked nicely."""

    __slots__ = ()

    def __str__(self) -> str:
        return "../../etc"


@pytest.mark.parametrize("name", [Word.YES, Disguised("yes")])
def test_the_id_that_is_used_is_the_id_that_was_checked(name: str) -> None:
    """A `class Word(str, Enum)` is common; str(Word.YES) is "Word.YES"."""
    result = check_id(name, "session_id")
    assert (type(result), result) == (str, "yes")


def test_join_of_nothing_is_the_root() -> None:
    assert join("/data") == "/data"


# --- JSON: the rest -----------------------------------------------------------------------------------------


class Odd(Mapping[str, Any]):
    """A mapping that is no dict."""

    def __getitem__(self, key: str) -> Any:
        return {"a": [1]}[key]

    def __iter__(self) -> Iterator[str]:
        return iter("a")

    def __len__(self) -> int:
        return 1


@dataclass
class Box:
    inside: Any


@pytest.mark.parametrize("value", [{}, MappingProxyType({}), Odd(), {"a": Odd()}, {Word.YES: Word.YES}])
def test_any_mapping_is_stored(value: Mapping[str, Any]) -> None:
    plain = json.loads(json.dumps(value, default=dict))
    assert ACTION.decode(ACTION.encode(value, "action_data")) == plain


def test_an_empty_mapping_is_one_line() -> None:
    assert encoded({}) == b"{}\n"


@pytest.mark.parametrize("value", [2**14_000 - 1, 1 - 2**14_000, -0.0, 1.7976931348623157e308, 0.1, True, None])
def test_scalars_keep_type_and_sign(value: Any) -> None:
    result = METADATA.decode(encoded({"a": value}))["a"]
    assert (type(result), result) == (type(value), value)
    if isinstance(value, float):
        assert math.copysign(1, result) == math.copysign(1, value)


def test_text_has_no_second_line() -> None:
    """ "one line ending in a newline, so that each file is JSON and JSON Lines at once"."""
    data = encoded({"a\nb": "c\r\nd\x85\u2028"})
    assert data.count(b"\n") == 1
    assert b"\r" not in data
    assert METADATA.decode(data) == {"a\nb": "c\r\nd\x85\u2028"}


box_in_itself = Box(None)
box_in_itself.inside = box_in_itself
list_in_itself: list[Any] = []
list_in_itself.append(list_in_itself)


def boxes(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = Box(value)
    return value


class Lying(float, enum.Enum):
    NAN = math.nan


@pytest.mark.parametrize("keyword", ["action_data", "metadata"])
@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": [0, 1, {"b": object()}]}, "['a'][2]['b'] cannot be stored: builtins.object"),
        ({"a": (0, {"b": math.inf})}, "['a'][1]['b'] cannot be stored: inf"),
        ({"a": {"b\ud800": 1}}, "['a'] cannot be stored: the lone surrogate at position 1"),
        ({"a": MappingProxyType({1.5: 0})}, "['a'] cannot be stored: the key 1.5 has the type float"),
        ({b"a": 1}, " cannot be stored: a key has the type bytes"),
        ({True: 1}, " cannot be stored: the key True has the type bool"),
        ({"a": Box("\ud800")}, "['a']['inside'] cannot be stored: the lone surrogate"),
        ({"a": Path("\udcff")}, "['a'] cannot be stored: the lone surrogate"),
        ({"a": Lying.NAN}, "['a'] cannot be stored: "),
        ({"a": {math.nan}}, "['a'][0] cannot be stored: nan"),
        ({"a": Box(b"\xff")}, "['a'] cannot be stored: test_layout.Box has no JSON form"),
        ({"a": box_in_itself}, "['a'] cannot be stored: test_layout.Box has no JSON form"),
        ({"a": boxes(1000)}, "['a'] cannot be stored: test_layout.Box has no JSON form"),
        ({"a": list_in_itself}, "nested deeper than 200 levels, or in itself"),
        ({"a": [boxes(199)]}, "nested deeper than 200 levels"),
        ({"a": -(10**5000)}, "['a'] cannot be stored: an integer"),
        ({"a": 10**4300}, "['a'] cannot be stored: an integer"),
        ({"a": ValueError("x")}, "['a'] cannot be stored: builtins.ValueError"),
        ((1,), " cannot be stored: a mapping is needed, not tuple"),
        (7, " cannot be stored: a mapping is needed, not int"),
        ({1}, " cannot be stored: a mapping is needed, not set"),
    ],
)
def test_more_that_is_refused_with_keyword_and_place(value: object, place: str, keyword: str) -> None:
    place = place.replace("test_layout.", f"{__name__}.")
    with pytest.raises(InvalidDataError) as caught:
        ACTION.encode(value, keyword)
    assert str(caught.value).startswith(keyword)
    assert place in str(caught.value)


def test_the_cause_is_kept() -> None:
    with pytest.raises(InvalidDataError) as caught:
        encoded({"a": "\ud800"})
    assert isinstance(caught.value.__cause__, UnicodeEncodeError)


def failing() -> Iterator[int]:
    yield 1
    raise KeyError("boom")


def test_a_value_that_fails_is_refused() -> None:
    """`encode(value, keyword)` raises InvalidDataError."""
    with pytest.raises(InvalidDataError):
        encoded({"a": failing()})


def test_a_message_stays_readable() -> None:
    with pytest.raises(InvalidDataError) as caught:
        encoded({"k" * 10_000: math.nan})
    assert len(str(caught.value)) < 1000


def test_the_message_about_integers_is_true() -> None:
    value = 10**4299
    assert len(str(value)) == 4300
    assert METADATA.decode(encoded({"a": value})) == {"a": value}


def deepest(works: Callable[[int], object]) -> int:
    """The most levels at which a function does not raise ValueError."""
    for levels in range(1, 1000):
        try:
            works(levels)
        except ValueError:
            return levels - 1
    raise AssertionError("no limit")


@pytest.mark.parametrize("innermost", [[], {}, [0], {"a": 0}, "x"])
def test_what_is_stored_so_deep_is_read_again(innermost: Any) -> None:
    """The limits meet: nothing that encode lets through is refused by decode, empty containers included."""

    def encode(levels: int) -> bytes:
        return encoded({"a": nested(levels, innermost)})

    most = deepest(encode)
    assert METADATA.decode(encode(most)) == {"a": nested(most, innermost)}


def test_the_limits_of_depth() -> None:
    def written(opening: str, closing: str) -> Callable[[int], object]:
        return lambda levels: METADATA.decode(
            ('{"a":' + opening * (levels - 1) + "0" + closing * (levels - 1) + "}").encode()
        )

    assert deepest(lambda levels: encoded({"a": nested(levels - 1)})) == MAX_JSON_DEPTH == 200
    assert deepest(written("[", "]")) >= MAX_JSON_DEPTH
    assert deepest(written('{"a":', "}")) >= MAX_JSON_DEPTH


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b'{"a"}',
        b'{"a":1,}',
        b'{"a":"' + b"x" * 1000,
        b'{"a":-Infinity}',
        b'{"a":"\\ud800"}',
        b'{"a":"\xc3"}',
        b'{"a":' + b"9" * 5000 + b"}",
        b"{'a': 1}",
        b"null",
        b'"text"',
        b"\0",
        b"\xff\xd8\xff\xe0",
        "{}".encode("utf-16"),
        "{}".encode("utf-32-le"),
        b'{"a":' * 201 + b"0" + b"}" * 201,
    ],
)
@pytest.mark.parametrize("row", [ACTION, METADATA])
def test_more_that_cannot_be_decoded(row: Any, data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each reader has its own words
        row.decode(data)


@given(st.binary())
def test_any_bytes_are_decoded_or_refused(data: bytes) -> None:
    for row in (HTML, ACTION, METADATA):
        with suppress(ValueError):
            assert isinstance(row.decode(data), str if row is HTML else dict)


@given(st.dictionaries(st.text(), JSON, min_size=1, max_size=6), st.data())
def test_a_truncated_file_is_never_an_object(value: dict[str, Any], data: Any) -> None:
    """Only the newline may be missing."""
    whole = encoded(value)
    cut = data.draw(st.integers(0, len(whole) - 2))
    with pytest.raises(ValueError):  # noqa: PT011 - the reader's own words
        METADATA.decode(whole[:cut])


@pytest.mark.parametrize("number", [b"1e999", b"-1e999"])
def test_a_number_beyond_float(number: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the reader's own words
        METADATA.decode(b'{"a":' + number + b"}")


@given(JSON)
def test_only_objects_are_stored_and_read(value: Any) -> None:
    if not isinstance(value, dict):
        with pytest.raises(InvalidDataError, match="a mapping is needed"):
            encoded(value)
        with pytest.raises(ValueError, match="object"):
            METADATA.decode(json.dumps(value).encode())


# --- html and screenshot: the rest --------------------------------------------------------------------------


@given(st.binary())
def test_screenshots_round_trip(data: bytes) -> None:
    for value in (data, bytearray(data), memoryview(data)):
        assert SCREENSHOT.decode(SCREENSHOT.encode(value, "screenshot_bytes")) == data


def test_html_is_stored_byte_for_byte() -> None:
    """No newline is translated, no BOM taken away."""
    for text in ("a\r\nb\rc\n", "\ufeff<p>", "", "\0", "é😀"):
        assert HTML.encode(text, "html_content") == text.encode()
        assert HTML.decode(text.encode()) == text


def test_a_view_of_every_second_byte() -> None:
    assert HTML.encode(memoryview(b"a-b-c-")[::2], "html_content") == b"abc"


@pytest.mark.parametrize("data", [b"\xff", b"\xc3", b"\xed\xa0\x80", "é".encode("utf-16")])
def test_html_that_is_not_utf8_is_unreadable(data: bytes) -> None:
    with pytest.raises(UnicodeDecodeError):
        HTML.decode(data)


@pytest.mark.parametrize("row", [HTML, SCREENSHOT])
@pytest.mark.parametrize("value", [None, 7, 3.5, [1], {"a": 1}, object()])
def test_bytes_are_never_guessed(row: Any, value: object) -> None:
    """bytes(7) would be seven zeros, bytes([1]) one byte."""
    with pytest.raises(InvalidDataError, match=rf"{row.keyword} cannot be stored: (text or )?bytes are needed"):
        row.encode(value, row.keyword)


@pytest.mark.parametrize(
    ("row", "filename", "keyword", "path_key", "content_type"),
    [
        (HTML, "observation.html", "html_content", "html_path", "text/html; charset=utf-8"),
        (SCREENSHOT, "screenshot.png", "screenshot_bytes", "screenshot_path", "image/png"),
        (ACTION, "action.json", "action_data", "action_data_path", "application/json"),
        (METADATA, "metadata.json", "metadata", "metadata_path", "application/json"),
    ],
)
def test_the_table_is_the_contract(row: Any, filename: str, keyword: str, path_key: str, content_type: str) -> None:
    assert (row.filename, row.keyword, row.path_key) == (filename, keyword, path_key)
    assert row.content_type(b"\xff\xd8") == content_type


def test_components_in_order() -> None:
    assert ALL_COMPONENTS == tuple(row.name for row in COMPONENTS) == StepData._fields
    assert formats(tuple(reversed(ALL_COMPONENTS))) == list(COMPONENTS)
    assert formats(["action", "html", "action"]) == [HTML, ACTION]


@pytest.mark.parametrize("names", [["HTML"], [""], [None], ["observation.html"]])
def test_unknown_components(names: Any) -> None:
    with pytest.raises(InvalidDataError, match=f"no component is called {names[0]!r}"):
        formats(names)


def test_one_name_is_no_list_of_names() -> None:
    with pytest.raises(InvalidDataError, match=r"give a list, \['html'\]"):
        formats("html")  # type: ignore[arg-type]


def test_numbers_of_numpy() -> None:
    """A np.float64 is a float; a reward or a score often is one."""
    assert METADATA.decode(encoded({"a": numpy.float64(1.5)})) == {"a": 1.5}


@pytest.mark.parametrize("number", [b"9" * 300 + b"e99", b"9" * 308 + b".0e9"])
def test_a_number_beyond_float_in_other_spellings(number: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the reader's own words
        METADATA.decode(b'{"a":' + number + b"}")


RUN = uuid.UUID(int=5)


@pytest.mark.parametrize(
    "given", [RUN, 7, 0, numpy.int64(7), numpy.uint8(7), 10**127], ids=lambda given: str(given)[:9]
)
async def test_uuids_and_integers_are_ids(sm: StorageManager, given: Any) -> None:
    """Every method takes them, and returns their text."""
    name = str(given)
    paths = await sm.store_step_data(given, given, metadata={"n": 1}, attachments={"a.txt": "a"})
    assert paths["metadata_path"] == sm.url_for(name, name, "metadata") == sm.url_for(given, given, "metadata")
    assert (await sm.list_sessions(), await sm.list_steps_for_session(given)) == ([name], [name])
    assert (await sm.retrieve_step_data(given, given, components=["metadata"])).metadata == {"n": 1}
    assert [step[:2] async for step in sm.iter_steps([given, name])] == [(name, name)] * 2
    await sm.store_session_metadata(given, {"goal": "g"})
    assert await sm.retrieve_attachment(given, "a.txt", given) == b"a"
    assert (await sm.get_share_links(given, given))["metadata_path"]
    assert Path(await seal_session(sm, given)).name == "_manifest.json"
    assert await verify_session(sm, given) == []
    await sm.delete_attachment(given, "a.txt", given)
    await sm.delete_step(given, given)
    await sm.delete_session(given)
    assert await sm.list_sessions() == []


async def test_integers_are_ids_of_whole_sessions(sm: StorageManager, tmp_path: Path) -> None:
    target = StorageManager(local_base_path=tmp_path / "target")
    assert await sm.store_steps([Step(7, number, StepData("x")) for number in range(3)]) == 3  # type: ignore[arg-type]
    given: Any = [7, "7"]
    assert await copy_sessions(sm, target, given) == 3
    assert await count_steps(target, given[:1]) == 3
    assert await export_parquet(target, str(tmp_path / "out"), given[:1]) == 3
    async with record(target, 8) as recorder:  # type: ignore[arg-type]
        await recorder.add(action={})
    assert recorder.session_id == "8"
    assert await target.list_sessions() == ["7", "8"]


@pytest.mark.parametrize("bad", [True, 1.5, b"a", None, numpy.bool_(True), numpy.array(7), numpy.float64(7)])
async def test_other_values_are_no_ids(sm: StorageManager, bad: Any) -> None:
    with pytest.raises(InvalidIdError, match=f"must be a str, a UUID or an integer, not {type(bad).__name__}"):
        await sm.store_step_data(bad, "t", "x")


@pytest.mark.parametrize("bad", [-1, numpy.int64(-7), 10**128, 10**5000], ids=lambda bad: hex(bad)[:9])
async def test_integers_that_are_no_ids(sm: StorageManager, bad: Any) -> None:
    with pytest.raises(InvalidIdError, match="session_id cannot be used: an integer must be from 0 on"):
        await sm.store_step_data(bad, "t", "x")
    with pytest.raises(InvalidIdError, match="step_id cannot be used: an integer must be from 0 on"):
        sm.url_for("s", bad)


async def test_values_of_numpy_are_stored_as_json(local: StorageManager) -> None:
    action = {"at": numpy.array([1, 2.5]), "n": numpy.int64(3), "f": numpy.float32(0.5), "ok": numpy.bool_(True)}
    await local.store_step_data("s", "t", action_data=action)
    stored = (await local.retrieve_step_data("s", "t", components=["action"])).action
    assert stored == {"at": [1, 2.5], "n": 3, "f": 0.5, "ok": True}
    with pytest.raises(InvalidDataError, match="nan is not a JSON number"):
        await local.store_step_data("s", "t", action_data={"at": numpy.array([numpy.nan])})


async def test_a_screenshot_may_be_a_path_or_an_image_of_pillow(local: StorageManager, tmp_path: Path) -> None:
    image = Image.new("RGB", (2, 1), "red")
    image.save(tmp_path / "shot.jpg")
    await local.store_step_data("s", "t", screenshot_bytes=image)  # type: ignore[arg-type]
    await local.store_step_data("s", "u", screenshot_bytes=tmp_path / "shot.jpg")  # type: ignore[arg-type]
    shots = [step.data.screenshot async for step in local.iter_steps(components=["screenshot"])]
    assert shots[0] is not None
    assert Image.open(BytesIO(shots[0])).tobytes() == image.tobytes()
    assert shots[1] == (tmp_path / "shot.jpg").read_bytes()
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "missing", tmp_path / "pipe", tmp_path):
        with pytest.raises(InvalidDataError, match="screenshot_bytes cannot be stored: its file cannot be read"):
            await local.store_step_data("s", "v", screenshot_bytes=path)  # type: ignore[arg-type]


def test_a_step_in_a_notebook() -> None:
    """No text of a page becomes markup."""
    data = StepData("<p>", b"\x89PNG", {"text": "<script>"}, {"url": "javascript:alert(1)", "title": "<b>"})
    shown = Step("s", "t", data)._repr_html_()
    assert shown == (
        "<pre>s / t</pre><pre>javascript:alert(1)</pre><pre>{&quot;text&quot;: &quot;&lt;script&gt;&quot;}</pre>"
        '<img alt="screenshot" style="max-width: 100%" src="data:image/png;base64,iVBORw==">'
    )
    assert StepData()._repr_html_() == ""
