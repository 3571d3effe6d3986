"""Pickles are data: what they describe is read, what they would do is refused, and what they claim is not believed."""

import collections
import datetime
import os
import pathlib
import pickle
import struct
import subprocess
import sys
import time
import types
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage_manager.importers import unpickling
from storage_manager.importers.unpickling import Array, Name, Plain, Record, unpickle


def plain(data: bytes) -> Any:
    """What a pickle describes, as JSON."""
    return Plain(10_000, lambda: None).of(unpickle(data, lambda: None))


class Settings:
    """An object with attributes."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


class Slots:
    """An object with slots."""

    __slots__ = ("a",)


class Message(dict[str, Any]):
    """A dictionary with attributes, as the messages of AgentLab are."""


class Several(list[Any]):
    """A list of another class."""


def slots() -> Slots:
    one = Slots()
    one.a = 1
    return one


def message() -> Message:
    one = Message(role="user")
    one.seen = True  # type: ignore[attr-defined]
    return one


shared = ["x"]
DATA: list[tuple[Any, Any]] = [
    (None, None),
    (
        [True, False, 0, 255, 256, 70_000, -1, 2**40, -(2**70), 1.5],
        [True, False, 0, 255, 256, 70_000, -1, 2**40, -(2**70), 1.5],
    ),
    (["a", "é", "x" * 300, "lone \ud800", ""], ["a", "é", "x" * 300, "lone \ufffd", ""]),
    ((1, (2, 3), (4, 5, 6), (7, 8, 9, 10), ()), [1, [2, 3], [4, 5, 6], [7, 8, 9, 10], []]),
    ({"a": {"b": [1]}, 1: "x", None: 2}, {"a": {"b": [1]}, "1": "x", "None": 2}),
    ([{"x"}, frozenset({1}), set()], [["x"], [1], []]),
    ([shared, shared], [["x"], ["x"]]),
    ([b"bytes", bytearray(b"x")], ["<bytes>", "<bytes>"]),
    ([float("nan"), float("inf")], [None, None]),
    (Settings(a=1, b=Settings(c=[2])), {"a": 1, "b": {"c": [2]}}),
    (slots(), {"a": 1}),
    (message(), {"role": "user", "seen": True}),
    (Several([1, 2]), [1, 2]),
    (Settings, "tests.importers.test_unpickling.Settings"),
    (collections.OrderedDict(a=1), {"a": 1}),
    (collections.defaultdict(list, a=[1]), {"a": [1]}),
    (pathlib.PurePosixPath("/tmp/a/b"), "/tmp/a/b"),
    (datetime.datetime(2025, 1, 2, 3, 4, 5, 6), "2025-01-02T03:04:05.000006"),
    (uuid.UUID(int=7), {"int": 7}),
    (np.array([[1, 2], [3, 4]]), [1, 2, 3, 4]),
    (np.array([1.5, 2.5], dtype=">f4"), [1.5, 2.5]),
    (np.array(5), [5]),
    (np.array([], dtype=bool), []),
    ([np.float32(1.5), np.int64(-3), np.bool_(True)], [1.5, -3, True]),
]


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize(("value", "expected"), DATA)
def test_data(value: Any, expected: Any, protocol: int) -> None:
    assert plain(pickle.dumps(value, protocol)) == expected


def test_records_and_arrays() -> None:
    record = unpickle(pickle.dumps(Settings(a=np.zeros((2, 3, 4), np.uint8))), lambda: None)
    assert isinstance(record, Record)
    assert record.kind == Name("tests.importers.test_unpickling", "Settings")
    array = record.fields["a"]
    assert isinstance(array, Array)
    assert (array.shape, array.data, array.is_image) == ((2, 3, 4), bytes(24), True)


def test_the_classes_of_a_pickle_need_not_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("an_agent")
    module.Args = type("Args", (Settings,), {"__module__": "an_agent"})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "an_agent", module)
    data = pickle.dumps(module.Args(a=1))
    monkeypatch.delitem(sys.modules, "an_agent")
    assert plain(data) == {"a": 1}
    assert "an_agent" not in sys.modules


# --- what would run code --------------------------------------------------------------------------

ran: list[object] = []


def note(*arguments: object) -> None:
    """Note that code was run."""
    ran.append(arguments)


class Calls:
    """Asks for a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> Any:
        return self.reduced


class Sets:
    """Has code for its state."""

    def __getstate__(self) -> Any:
        return "state"

    def __setstate__(self, state: Any) -> None:
        note(state)


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize(
    ("value", "why"),
    [
        (Calls(os.system, "exit 1"), "names (posix|nt).system, which is not data"),
        (Calls(eval, "1"), "names builtins.eval"),
        (Calls(getattr, "x", "upper"), "names builtins.getattr"),
        (Calls(subprocess.Popen, "true"), "names subprocess.Popen"),
        (Calls(note, 1), "would call tests.importers.test_unpickling.note"),
        (Calls(Settings), "would call tests.importers.test_unpickling.Settings"),
        (Calls(__import__, "os"), "__import__"),
        (Calls(np.load, "x"), "names numpy.load"),
        (Calls(object), "would call builtins.object"),
        ([os.system], "names (posix|nt).system"),
        (Sets(), "of a value that is not a dictionary"),
        (np.array([Calls(note, 1)]), "an array of values that are not numbers|would call tests"),
        (np.array([(1, 2)], dtype=[("a", "i4"), ("b", "i4")]), "array of values that are not numbers"),
        (ValueError("x"), "ValueError"),
        (1j, "complex"),
        ({(1, 2): 3}, "a key that is a tuple"),
        (collections.deque([1]), "names collections.deque"),
    ],
)
def test_what_would_run_code(value: Any, why: str, protocol: int) -> None:
    ran.clear()
    with pytest.raises(ValueError, match=why):
        plain(pickle.dumps(value, protocol))
    assert ran == []


def op(text: str) -> bytes:
    return text.encode("latin-1")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "damaged"),
        (b"\x80\x04", "damaged"),
        (b".", "damaged"),
        (b"N", "damaged"),
        (b"t.", "damaged"),
        (b"h\x07.", "damaged"),
        (b"cos\nsystem\n.", "names os.system"),
        (b"cmy_module\n" + b"x" * 1000 + b"\n.", "a name of 1010 characters"),
        (b"cposix", "damaged|subsection"),
        (op("(S'exit'\nios\nsystem\n."), "opcode 0x53"),  # INST
        (op("(cmy\nC\no."), "opcode 0x6f"),  # OBJ
        (op("Pid\n."), "opcode 0x50"),  # PERSID
        (op("NQ."), "opcode 0x51"),  # BINPERSID
        (op("\x82\x01."), "opcode 0x82"),  # EXT1
        (op("\x97."), "opcode 0x97"),  # NEXT_BUFFER
        (op("I1\n."), "opcode 0x49"),
        (op("Na."), "damaged"),
        (op("NNa."), "appends to a value that is not a list"),
        (op("NNNs."), "sets an item of a value that is not a dictionary"),
        (op("]NNs."), "sets an item of a value that is not a dictionary"),
        (op("}(NNNu."), "damaged"),
        (op("NN\x93."), "names something by a value that is not text"),
        (op("cmy\nf\ncmy\nC\n\x85R."), "would call my.f"),
        (op("N)R."), "would call an object"),
        (op("cmy\nC\n)R."), "would call my.C"),
        (op("N)\x81."), "makes an object with arguments, or of a value that is not a class"),
        (op("cmy\nC\nK\x01\x85\x81."), "makes an object with arguments"),
        (op("cbuiltins\nlist\n)\x81."), "makes an object of builtins.list"),
        (op("cnumpy\nndarray\n)\x81."), "makes an object of numpy.ndarray"),
        (op("cmy\nC\n}b."), "sets the state of a value that is not a record"),
        (op("cmy\nC\n)\x81NN}b."), "damaged|sets the state"),
        (op("ccollections\nOrderedDict\n]\x85R."), "made of other objects"),
        (op("cdatetime\ndatetime\nN\x85R."), "a wrong date"),
        (op("cpathlib\nPosixPath\nN\x85R."), "a path that is not text, or is too long"),
        (op("cbuiltins\nset\n)\x85R."), "a set of a value that is not a list"),
        (op("cbuiltins\nbytearray\nK\x09\x85R."), "bytes that are made of something else"),
        (op("cnumpy\ndtype\nX\x02\x00\x00\x00O8\x85R."), "an array of values that are not numbers"),
        (op("cnumpy\ndtype\nN\x85R."), "an array of values that are not numbers"),
        (op("cnumpy.core.multiarray\n_reconstruct\nN\x85R."), "an array of another class"),
        (op("cnumpy.core.multiarray\nscalar\nNN\x86R."), "not of numbers"),
        (op("X\xff\xff\xff\x7fabc."), "cut off, or claims 2147483647 bytes"),
        (op("\x8d" + "\xff" * 8 + "abc."), "cut off, or claims 18446744073709551615 bytes"),
        (op("B\xff\xff\xff\xffabc."), "cut off, or claims"),
        (op("\x8b\x00\x10\x00\x00" + "x" * 4096 + "."), "an integer of 4096 bytes"),
        (op("X\x01\x00\x00\x00\xff."), "codec can't decode"),
    ],
)
def test_what_is_damaged_or_no_data(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        plain(data)


@pytest.mark.parametrize("shape", [(2**31, 1), (10,), (-1,), ("x",), [3], (1.0,), (1,) * 40, (2**20, 2**20, 2**20)])
def test_a_shape_is_not_believed(shape: Any) -> None:
    function, arguments, state = np.zeros(3, np.uint8).__reduce__()
    version, _, kind, is_fortran, data = state
    for wrong in ((version, shape, kind, is_fortran, data), (version, (3,), kind, True, data)):
        changed = type("Changed", (), {"__reduce__": lambda self, wrong=wrong: (function, arguments, wrong)})
        with pytest.raises(ValueError, match="the pickle has an array"):
            plain(pickle.dumps(changed()))


def test_an_index_of_the_memo_takes_no_memory() -> None:
    """Python's own unpickler makes a table up to the largest index: 2**31 took 32 GB."""
    assert plain(b"K\x07r" + struct.pack("<L", 2**32 - 1) + b"0j" + struct.pack("<L", 2**32 - 1) + b".") == 7


def laughs(levels: int) -> bytes:
    """Each list has the one before ten times."""
    return b"]" + b"".join(b"q%c(" % level + b"h%c" % level * 10 + b"l" for level in range(levels)) + b"."


def work(data: bytes) -> float:
    started = time.thread_time()
    with pytest.raises(ValueError, match=r"too many values|more than|in itself"):
        plain(data)
    return time.thread_time() - started


def itself() -> bytes:
    return b"]q\x00h\x00a."


def long_list(count: int) -> bytes:
    return b"](" + b"N" * count + b"eq\x00"


@pytest.mark.parametrize(
    "data",
    [
        laughs(30),
        itself(),
        b"]" * 300 + b"a" * 299 + b".",
        b"(" * 2**23,
        # one operation goes through a long value, again and again
        long_list(2**20) + b"0(" + b"cbuiltins\nset\nh\x00\x85R" * 2**16 + b"l.",
        b"X" + struct.pack("<L", 2**20) + b"x" * 2**20 + b"q\x00(" + b"h\x00" * 2**20 + b"l.",
        b"}("
        + b"".join(b"X\x05\x00\x00\x00%05dN" % number for number in range(20_000))
        + b"uq\x00("
        + b"cm\nC\n)\x81h\x00bh\x00b" * 2**14
        + b"l.",
    ],
)
def test_a_small_pickle_does_little(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpickling, "MAX_OPERATIONS", 2**16)
    # milliseconds; without the limit 8 seconds and more
    assert work(data) < 4


def test_a_million_narrow_rows_are_not_an_image() -> None:
    array = unpickle(pickle.dumps(np.zeros((2**20, 1, 3), np.uint8)), lambda: None)
    assert isinstance(array, Array)
    assert not array.is_image


def test_many_arrays_of_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pickle.dumps([np.zeros(1000, np.uint8)] * 1000)
    with pytest.raises(ValueError, match="too many values"):
        plain(data)


@pytest.mark.parametrize(
    "value",
    [{"k" * 1000: None}, Name("module", "n" * 400), 2**7000, "x" * 1000],
    ids=["key", "name", "integer", "text"],
)
def test_many_references_to_one_large_value(value: Any) -> None:
    """Each becomes a copy when it is written as JSON."""
    assert Plain(10_000, lambda: None).of([value]) != []
    with pytest.raises(ValueError, match="too often"):
        Plain(10_000, lambda: None).of([value] * 1000)


def test_it_can_be_cancelled() -> None:
    def cancel() -> None:
        raise ValueError("cancelled")

    with pytest.raises(ValueError, match="cancelled"):
        unpickle(b"N" * 10_000 + b".", cancel)
    with pytest.raises(ValueError, match="cancelled"):
        Plain(100, cancel).of({})


def byte_flips(data: bytes) -> Iterator[bytes]:
    for at in range(len(data)):
        for mask in (0x01, 0x10, 0xA5, 0xFF):
            yield data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]
        yield data[:at]


def test_every_cut_and_every_changed_byte() -> None:
    """It is read as something else, or refused with a ValueError, and nothing else happens."""
    ran.clear()
    value = Settings(a=[1, "x", {"b": 1.5}], c=np.zeros((2, 2)), d=message(), e=Path("/a/b"), f=note)
    outcomes = set()
    for data in byte_flips(pickle.dumps(value)):
        try:
            plain(data)
            outcomes.add("read")
        except ValueError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}
    assert ran == []
