"""What is stored comes back as it went in, through a whole StorageManager, and lies there as anybody can read it."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from storage_manager import StepData, StorageManager
from storage_manager.layout import COMPONENTS

pytestmark = pytest.mark.thorough

PROPERTY = settings(
    settings.get_profile("property"),
    max_examples=settings.get_profile("property").max_examples,
    # one place serves all examples of a test: each stores every component of the same step anew
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def nested(levels: int) -> Any:
    """Lists and objects in each other."""
    value: Any = "innermost"
    for level in range(levels):
        value = [value] if level % 2 else {"é": value}
    return value


INTEGERS = st.integers() | st.sampled_from([2**53 + 1, 2**63, -(2**63) - 1, 2**64, 10**4300 - 1, 1 - 10**4300])
FLOATS = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(
    [-0.0, 5e-324, 1.7976931348623157e308, 1e16]
)
ODD_TEXT = [
    "\0",
    "\r\n",
    "\u2028\u2029",
    "\x85",
    "\x1c\x1e\x7f",
    "\ufeff",
    "\ufffe\uffff",
    "😀\U0010ffff",
    "\\u0041",
    '"',
    "",
]
TEXT = st.text() | st.sampled_from(ODD_TEXT) | st.lists(st.sampled_from(ODD_TEXT)).map("".join)
SCALARS = st.none() | st.booleans() | INTEGERS | FLOATS | TEXT
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=20)
OBJECTS = st.dictionaries(TEXT, JSON | st.integers(0, 190).map(nested))
DATA = st.builds(StepData, TEXT, st.binary(), OBJECTS, OBJECTS)


@pytest.fixture(params=["local_at", "s3fs_at", "obstore_at"])
def at(request: pytest.FixtureRequest) -> Any:
    """A way to make managers, for each backend."""
    return request.getfixturevalue(request.param)


@pytest.fixture
async def sm(at: Callable[[str], StorageManager]) -> AsyncIterator[StorageManager]:
    """A manager of an empty place, for each backend."""
    async with at("place") as manager:
        yield manager


def same(one: object, two: object) -> bool:
    """Equal to the type, sign and order of keys: 1 == 1.0 == True, and 0.0 == -0.0."""
    return repr(one) == repr(two)


async def stored(sm: StorageManager, data: StepData) -> list[bytes]:
    """The bytes of a step's files, as another program reads them."""
    paths = await sm.store_step_data("s", "t", *data)
    return [sm.fs.cat_file(path) for path in paths.values() if path]


@PROPERTY
@given(DATA)
async def test_a_step_comes_back_as_it_went_in(sm: StorageManager, data: StepData) -> None:
    """Text, bytes and JSON objects keep every character, type, sign and key."""
    await sm.store_step_data("s", "t", *data)
    assert same(await sm.retrieve_step_data("s", "t", strict=True), data)


@PROPERTY
@given(DATA)
async def test_a_step_lies_there_as_utf8_bytes_and_json_lines(sm: StorageManager, data: StepData) -> None:
    """Each file is what any program expects of it: text in UTF-8, bytes, one line of JSON ending in a newline."""
    html, screenshot, *objects = await stored(sm, data)
    assert (html.decode("utf-8"), screenshot) == (data.html, data.screenshot)
    for raw, value in zip(objects, (data.action, data.metadata), strict=True):
        line = raw.decode("utf-8")
        assert same(json.loads(line), value)
        assert raw.splitlines(keepends=True) == [raw]
        assert raw.endswith(b"}\n")


@PROPERTY
@given(st.binary())
@example(b"\xff\xfe<p>")
@example(b"\xed\xa0\x80")
@example(b"\xef\xbb\xbf<p>\r\n")
async def test_html_of_bytes_is_stored_as_it_is(sm: StorageManager, raw: bytes) -> None:
    """Bytes are stored unchanged, and come back as text where they are UTF-8, else as None."""
    assert await stored(sm, StepData(raw)) == [raw]  # type: ignore[arg-type]
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = None
    assert (await sm.retrieve_step_data("s", "t")).html == text


@PROPERTY
@given(DATA, DATA, st.sets(st.sampled_from(COMPONENTS)))
async def test_the_last_that_was_stored_comes_back(sm: StorageManager, old: StepData, new: StepData, rows: Any) -> None:
    """Nothing of an older and longer component shines through, and what is not given stays."""
    await sm.store_step_data("s", "t", *old)
    given_anew = {row.name: getattr(new, row.name) for row in rows}
    await sm.store_step_data("s", "t", *StepData(**given_anew))
    assert same(await sm.retrieve_step_data("s", "t", strict=True), old._replace(**given_anew))
