"""Read pickles without running any code in them: objects and numpy arrays become plain records and arrays.

Python's own unpickler calls the functions that a pickle names. This unpickler supports only the opcodes that write data
(Python's source, Lib/pickletools.py), and a short table of values that it builds itself: arrays, dates, paths,
dictionaries. A pickle with any other call or opcode is refused. A class is only a name; it is never imported.
"""

import math
import struct
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from storage_manager.encoding import without_surrogates
from storage_manager.importers.budget import refuse

__all__ = ["MAX_OPERATIONS", "Array", "Name", "Plain", "Record", "unpickle"]

# A step with both trees of a large page has about a million. Each takes up to a microsecond.
MAX_OPERATIONS = 2**22
_BATCH = 1024  # operations between two looks at the limit and at a cancellation
_STOP = ord(".")
_MAX_LONG = 1000  # bytes of an integer; JSON has up to 4300 digits
_MAX_DEPTH = 150  # levels; JSON that is stored has up to 200
_MAX_DIMENSIONS = 32
_MAX_SIDE = 2**16  # pixels of an image; Chromium takes screenshots of at most 2**14
_MAX_NAME = 512  # characters of the name of a class with its module
_MAX_PATH = 4096

# Classes of Python's own library that contain data. All other names of this library are refused, in any use.
_STANDARD = {
    "builtins": {"bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object", "set"}
    | {"str", "tuple"},
    "collections": {"OrderedDict", "defaultdict"},
    "datetime": {"datetime"},
    "pathlib": {"PosixPath", "PurePosixPath", "PureWindowsPath", "WindowsPath"},
    "pathlib._local": {"PosixPath", "PurePosixPath", "PureWindowsPath", "WindowsPath"},
    "uuid": {"UUID"},
}
_NUMPY = {"numpy": {"dtype", "ndarray"}}
for _core in ("numpy.core", "numpy._core"):
    _NUMPY |= {f"{_core}.multiarray": {"_reconstruct", "scalar"}, f"{_core}.numeric": {"_frombuffer"}}
_OLD_NAMES = {"__builtin__", "copy_reg"}  # of Python 2
_FLOAT = struct.Struct(">d")
_NUMBERS = {"b1": "?", "i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "i8": "q", "u8": "Q"}
_NUMBERS |= {"f2": "e", "f4": "f", "f8": "d"}


class Name(NamedTuple):
    """A class or function that a pickle names. Nothing is imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Record:
    """An object that a pickle describes: the name of its class, and its attributes.

    A subclass of dict or list has its items, too.
    """

    __slots__ = ("fields", "items", "kind", "values")

    def __init__(self, kind: Name) -> None:
        self.kind = kind
        self.fields: dict[str, Any] = {}
        self.items: dict[str, Any] = {}
        self.values: list[Any] = []


class _Type:
    """The type of the numbers in an array."""

    __slots__ = ("code", "order")

    def __init__(self, code: str) -> None:
        self.code = code
        self.order = "<"

    @property
    def format(self) -> struct.Struct:
        return struct.Struct(self.order + _NUMBERS[self.code])


class Array:
    """An array of numbers: its shape, and its bytes in the order of C."""

    __slots__ = ("data", "kind", "shape")

    def __init__(self) -> None:
        self.kind = _Type("u1")
        self.shape: tuple[int, ...] = (0,)
        self.data = b""

    def fill(self, shape: object, kind: object, is_fortran: object, data: object) -> "Array":
        """Set shape and bytes, and return self. Refuse a shape that does not match the number of bytes."""
        if not isinstance(kind, _Type) or not isinstance(data, (bytes, bytearray)) or is_fortran:
            refuse("the pickle has an array that is not of numbers in the order of C")
        is_shape = isinstance(shape, tuple) and len(shape) <= _MAX_DIMENSIONS and all(map(_is_size, shape))
        if not isinstance(shape, tuple) or not is_shape or math.prod(shape) * kind.format.size != len(data):
            refuse(f"the pickle has an array of {len(data)} bytes that claims another shape")
        self.shape, self.kind, self.data = shape, kind, bytes(data)
        return self

    @property
    def is_image(self) -> bool:
        """True if the array may be an image: bytes with height, width and 3 or 4 colours.

        Each row of pixels needs 50 additional bytes of memory, so millions of narrow rows are not an image.
        """
        is_image = self.kind.code == "u1" and len(self.shape) == 3 and self.shape[2] in (3, 4) and bool(self.data)
        return is_image and max(self.shape) <= _MAX_SIDE

    def values(self) -> list[Any]:
        """Return the numbers in one list."""
        return [value for (value,) in self.kind.format.iter_unpack(self.data)] if self.data else []


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**31


def unpickle(data: bytes, check_cancelled: Callable[[], None]) -> object:
    """Return what a pickle describes: None, bool, int, float, str, bytes, list, tuple, dict, Record, Array and Name.

    Sets are lists. Keys of dictionaries are str, as in JSON.

    Parameters:
        check_cancelled: called regularly. It may raise an error.

    Raises:
        ValueError: the pickle is damaged, needs a function call, or contains something that is not data.
    """
    try:
        return _Machine(data, check_cancelled).run()
    except (IndexError, KeyError, struct.error, OverflowError) as error:
        raise ValueError(f"the pickle is damaged ({type(error).__name__}: {error})") from error


class _Machine:
    """The stack machine that runs a pickle as a program."""

    def __init__(self, data: bytes, check_cancelled: Callable[[], None]) -> None:
        self._data = data
        self._at = 0
        self._check_cancelled = check_cancelled
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._left = MAX_OPERATIONS

    def run(self) -> object:
        """Run the program until STOP, and return its result."""
        data, operations = self._data, _OPERATIONS
        while True:
            self._charge(_BATCH)
            for _ in range(_BATCH):
                code = data[self._at]
                self._at += 1
                if code == _STOP:
                    return self._stack.pop()
                if code not in operations:
                    refuse(f"the pickle has the opcode {code:#x}, which data does not need")
                operations[code](self)

    def _charge(self, count: int) -> None:
        """Count operations, and the values that an operation reads: it may read the same values again and again."""
        self._check_cancelled()
        self._left -= count
        if self._left < 0:
            refuse(f"the pickle has more than {MAX_OPERATIONS} operations")

    # --- reading arguments ------------------------------------------------------------------------

    def _bytes(self, count: int) -> bytes:
        if count > len(self._data) - self._at:
            refuse(f"the pickle is cut off, or claims {count} bytes that it does not have")
        self._at += count
        return self._data[self._at - count : self._at]

    def _number(self, size: int) -> int:
        return int.from_bytes(self._bytes(size), "little")

    def _line(self) -> str:
        end = self._data.index(b"\n", self._at)
        return self._bytes(end + 1 - self._at)[:-1].decode()

    def push_bytes(self, size: int) -> None:
        self._stack.append(self._bytes(self._number(size)))

    def push_text(self, size: int) -> None:
        self._stack.append(_text(self._bytes(self._number(size))))

    def push_short_text(self) -> None:
        start = self._at + 1
        self._at = start + self._data[self._at]
        if self._at > len(self._data):
            refuse("the pickle is cut off in a text")
        self._stack.append(_text(self._data[start : self._at]))

    def push_long(self, size: int) -> None:
        count = self._number(size)
        if count > _MAX_LONG:
            refuse(f"the pickle has an integer of {count} bytes")
        self._stack.append(int.from_bytes(self._bytes(count), "little", signed=True))

    def push_int(self, size: int) -> None:
        self._stack.append(self._number(size))

    def push_byte(self) -> None:
        self._stack.append(self._data[self._at])
        self._at += 1

    def push_signed(self) -> None:
        self._stack.append(int.from_bytes(self._bytes(4), "little", signed=True))

    def push_float(self) -> None:
        self._stack.append(_FLOAT.unpack_from(self._data, self._at)[0])
        self._at += 8

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def skip(self, count: int) -> None:
        """Skip the version of the protocol, or the length of a frame."""
        self._bytes(count)

    # --- the stack and the memo -------------------------------------------------------------------

    def mark(self) -> None:
        self._marked.append(self._stack)
        self._stack = []

    def _unmarked(self) -> list[Any]:
        values, self._stack = self._stack, self._marked.pop()
        return values

    def drop(self) -> None:
        self._stack.pop()

    def drop_marked(self) -> None:
        self._unmarked()

    def repeat(self) -> None:
        self._stack.append(self._stack[-1])

    def memoize(self) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def put(self, size: int) -> None:
        self._memo[self._number(size)] = self._stack[-1]

    def get_short(self) -> None:
        self._stack.append(self._memo[self._data[self._at]])
        self._at += 1

    def get(self, size: int) -> None:
        self._stack.append(self._memo[self._number(size)])

    # --- containers -------------------------------------------------------------------------------

    def tuple_of(self, count: int) -> None:
        values = [self._stack.pop() for _ in range(count)]
        self._stack.append(tuple(reversed(values)))

    def tuple_marked(self) -> None:
        values = tuple(self._unmarked())
        self._stack.append(values)

    def list_marked(self) -> None:
        values = self._unmarked()
        self._stack.append(values)

    def append(self) -> None:
        value = self._stack.pop()
        _list(self._stack[-1]).append(value)

    def append_marked(self) -> None:
        values = self._unmarked()
        _list(self._stack[-1]).extend(values)

    def set_item(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        _dict(self._stack[-1])[_key(key)] = value

    def set_marked(self) -> None:
        values = self._unmarked()
        items = _dict(self._stack[-1])
        for at in range(0, len(values), 2):
            items[_key(values[at])] = values[at + 1]

    # --- objects ----------------------------------------------------------------------------------

    def name_of_lines(self) -> None:
        self._stack.append(_checked(Name(self._line(), self._line())))

    def name_of_stack(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            refuse("the pickle names something by a value that is not text")
        self._stack.append(_checked(Name(module, name)))

    def new(self, arguments: int) -> None:
        """Put a record for an object that is made by `cls.__new__(cls, ...)`."""
        values = [self._stack.pop() for _ in range(arguments)]
        kind = self._stack.pop()
        if not isinstance(kind, Name) or any(values):
            refuse("the pickle makes an object with arguments, or of a value that is not a class")
        if kind.module in _NUMPY or (kind.module in _STANDARD and kind.module != "uuid"):
            refuse(f"the pickle makes an object of {kind}, which is not a record")
        self._stack.append(Record(kind))

    def call(self) -> None:
        arguments, name = self._stack.pop(), self._stack.pop()
        build = _BUILDERS.get(name) if isinstance(name, Name) else None
        if build is None or not isinstance(arguments, tuple):
            refuse(f"the pickle would call {name if isinstance(name, Name) else 'an object'}, which is not data")
        self._stack.append(build(*arguments))

    def build(self) -> None:
        """Give an object its state."""
        state, target = self._stack.pop(), self._stack[-1]
        if isinstance(target, Record):
            for part in state if isinstance(state, tuple) and len(state) == 2 else (state,):
                self._add_fields(target, {} if part is None else _dict(part))
        elif isinstance(target, Array) and isinstance(state, tuple) and len(state) == 5:
            target.fill(*state[1:])
        elif isinstance(target, _Type) and isinstance(state, tuple) and len(state) >= 5:
            _set_order(target, state)
        else:
            refuse("the pickle sets the state of a value that is not a record")

    def _add_fields(self, target: Record, fields: dict[str, Any]) -> None:
        self._charge(len(fields))
        target.fields = {**target.fields, **fields} if target.fields else fields


def _checked(name: Name) -> Name:
    """Refuse a name of Python's own library or of numpy that does not hold data."""
    if len(str(name)) > _MAX_NAME:
        refuse(f"the pickle has a name of {len(str(name))} characters")
    top = name.module.partition(".")[0]
    is_known = name.name in _STANDARD.get(name.module, _NUMPY.get(name.module, ()))
    if not is_known and (top in sys.stdlib_module_names or top in _OLD_NAMES or top == "numpy"):
        refuse(f"the pickle names {name}, which is not data")
    return name


def _text(data: bytes) -> str:
    text = data.decode("utf-8", "surrogatepass")
    return text if text.isascii() else "".join(without_surrogates(text))


def _list(target: object) -> list[Any]:
    if isinstance(target, Record):
        return target.values
    return target if isinstance(target, list) else refuse("the pickle appends to a value that is not a list")


def _dict(target: object) -> dict[str, Any]:
    if isinstance(target, Record):
        return target.items
    return target if isinstance(target, dict) else refuse("the pickle sets an item of a value that is not a dictionary")


def _key(key: object) -> str:
    """Return a key for JSON. Numbers become text, because hostile numbers make a dictionary extremely slow."""
    if isinstance(key, str):
        return key
    if key is None or isinstance(key, (int, float)):
        return str(key)
    return refuse(f"the pickle has a key that is a {type(key).__name__}")


# --- what is built, in place of a call ------------------------------------------------------------


def _array(kind: object = None, *_: object) -> Array:
    if kind != Name("numpy", "ndarray"):
        refuse("the pickle has an array of another class")
    return Array()


def _array_of_buffer(
    data: object = None, kind: object = None, shape: object = None, order: object = "C", *_: object
) -> Array:
    return Array().fill(shape, kind, order != "C", data)


def _scalar(kind: object = None, data: object = None, *_: object) -> Any:
    return Array().fill((), kind, False, data).values()[0]


def _type(code: object = None, *_: object) -> _Type:
    if not isinstance(code, str) or code not in _NUMBERS:
        refuse("the pickle has an array of values that are not numbers")
    return _Type(code)


def _set_order(kind: _Type, state: tuple[Any, ...]) -> None:
    if state[1] not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
        refuse("the pickle has an array of structures")
    kind.order = ">" if state[1] == ">" else "<"


def _dictionary(*arguments: object) -> dict[str, Any]:
    if arguments and not isinstance(arguments[0], Name):
        refuse("the pickle has a dictionary that is made of other objects")
    return {}


def _several(values: object = (), *_: object) -> list[Any]:
    """Return the list itself. A pickle could ask for a copy again and again."""
    return values if isinstance(values, list) else refuse("the pickle has a set of a value that is not a list")


def _bytes(data: object = b"", *_: object) -> bytes:
    return data if isinstance(data, bytes) else refuse("the pickle has bytes that are made of something else")


def _path(*parts: object) -> str:
    texts = [part for part in parts if isinstance(part, str)]
    if len(texts) < len(parts) or sum(map(len, texts)) > _MAX_PATH:
        refuse("the pickle has a path that is not text, or is too long")
    return "/".join(texts).replace("//", "/", 1)


def _date(state: object = None, *_: object) -> str:
    """Return a datetime as ISO 8601 (Python's source, `datetime._getstate`). The time zone is left out."""
    if not isinstance(state, bytes) or len(state) != 10:
        refuse("the pickle has a wrong date")
    year, month, day, hour, minute, second = struct.unpack(">H5B", state[:7])
    micro = int.from_bytes(state[7:], "big")
    return f"{year:04}-{month & 127:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micro:06}"


_BUILDERS: dict[Name, Callable[..., Any]] = {
    Name("numpy", "dtype"): _type,
    Name("collections", "OrderedDict"): _dictionary,
    Name("collections", "defaultdict"): _dictionary,
    Name("builtins", "set"): _several,
    Name("builtins", "frozenset"): _several,
    Name("builtins", "bytearray"): _bytes,
    Name("datetime", "datetime"): _date,
}
for _core in ("numpy.core", "numpy._core"):
    _BUILDERS[Name(f"{_core}.multiarray", "_reconstruct")] = _array
    _BUILDERS[Name(f"{_core}.multiarray", "scalar")] = _scalar
    _BUILDERS[Name(f"{_core}.numeric", "_frombuffer")] = _array_of_buffer
for _module in ("pathlib", "pathlib._local"):
    _BUILDERS |= {Name(_module, _name): _path for _name in _STANDARD[_module]}

# The opcodes of protocols 3 to 5 that data needs. The opcodes for extensions, persistent ids, out-of-band buffers, and
# classes with arguments (INST, OBJ) are left out.
_OPERATIONS: dict[int, Callable[[_Machine], None]] = {
    0x80: lambda machine: machine.skip(1),  # PROTO
    0x95: lambda machine: machine.skip(8),  # FRAME
    ord("N"): lambda machine: machine.push(None),
    0x88: lambda machine: machine.push(True),
    0x89: lambda machine: machine.push(False),
    ord("K"): _Machine.push_byte,  # BININT1
    ord("M"): lambda machine: machine.push_int(2),  # BININT2
    ord("J"): _Machine.push_signed,  # BININT
    0x8A: lambda machine: machine.push_long(1),  # LONG1
    0x8B: lambda machine: machine.push_long(4),  # LONG4
    ord("G"): _Machine.push_float,  # BINFLOAT
    0x8C: _Machine.push_short_text,  # SHORT_BINUNICODE
    ord("X"): lambda machine: machine.push_text(4),  # BINUNICODE
    0x8D: lambda machine: machine.push_text(8),  # BINUNICODE8
    ord("C"): lambda machine: machine.push_bytes(1),  # SHORT_BINBYTES
    ord("B"): lambda machine: machine.push_bytes(4),  # BINBYTES
    0x8E: lambda machine: machine.push_bytes(8),  # BINBYTES8
    0x96: lambda machine: machine.push_bytes(8),  # BYTEARRAY8
    ord("("): _Machine.mark,
    ord("0"): _Machine.drop,  # POP
    ord("1"): _Machine.drop_marked,  # POP_MARK
    ord("2"): _Machine.repeat,  # DUP
    0x94: _Machine.memoize,
    ord("q"): lambda machine: machine.put(1),  # BINPUT
    ord("r"): lambda machine: machine.put(4),  # LONG_BINPUT
    ord("h"): _Machine.get_short,  # BINGET
    ord("j"): lambda machine: machine.get(4),  # LONG_BINGET
    ord(")"): lambda machine: machine.push(()),
    0x85: lambda machine: machine.tuple_of(1),
    0x86: lambda machine: machine.tuple_of(2),
    0x87: lambda machine: machine.tuple_of(3),
    ord("t"): _Machine.tuple_marked,
    ord("]"): lambda machine: machine.push([]),
    ord("l"): _Machine.list_marked,
    ord("a"): _Machine.append,
    ord("e"): _Machine.append_marked,
    ord("}"): lambda machine: machine.push({}),
    ord("s"): _Machine.set_item,
    ord("u"): _Machine.set_marked,
    0x8F: lambda machine: machine.push([]),  # EMPTY_SET
    0x90: _Machine.append_marked,  # ADDITEMS
    0x91: _Machine.list_marked,  # FROZENSET
    ord("c"): _Machine.name_of_lines,  # GLOBAL
    0x93: _Machine.name_of_stack,  # STACK_GLOBAL
    0x81: lambda machine: machine.new(1),  # NEWOBJ
    0x92: lambda machine: machine.new(2),  # NEWOBJ_EX
    ord("R"): _Machine.call,  # REDUCE
    ord("b"): _Machine.build,  # BUILD
}


class Plain:
    """Convert unpickled values to JSON values, within limits: a few bytes can refer to a value a billion times."""

    def __init__(self, most: int, check_cancelled: Callable[[], None]) -> None:
        self._left = most
        self._check_cancelled = check_cancelled

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            refuse("the pickle has too many values, or refers to them too often")

    def of(self, value: object, depth: int = 0) -> Any:
        """Return a JSON value. A record becomes an object, and a number that is not finite becomes None."""
        self._spend(1)
        if depth > _MAX_DEPTH:
            refuse(f"the pickle is nested deeper than {_MAX_DEPTH} levels, or in itself")
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if isinstance(value, dict):
            return self._object(value, depth)
        if isinstance(value, (list, tuple)) and not isinstance(value, Name):
            return self._list(value, depth)
        return self._other(value, depth)

    def _text(self, text: str) -> str:
        self._spend(len(text) // 8)
        return text

    def _object(self, values: dict[str, Any], depth: int) -> dict[str, Any]:
        self._check_cancelled()
        return {self._text(name): self.of(value, depth + 1) for name, value in values.items()}

    def _list(self, values: list[Any] | tuple[Any, ...], depth: int) -> list[Any]:
        return [self.of(value, depth + 1) for value in values]

    def _other(self, value: object, depth: int) -> Any:
        if isinstance(value, Record):
            fields = self._object({**value.items, **value.fields}, depth)
            return self._list(value.values, depth) if value.values and not fields else fields
        if isinstance(value, Array):
            self._spend(len(value.data))
            return self._list(value.values(), depth)
        if isinstance(value, (bytes, _Type)):
            return f"<{type(value).__name__}>"
        if isinstance(value, int):
            self._spend(value.bit_length() // 32)
        return self._text(str(value)) if isinstance(value, Name) else value
