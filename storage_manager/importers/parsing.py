"""Parse one line of a trace, so that no line blocks the interpreter for more than about a second.

`json.loads` runs in C. Meanwhile nothing else runs, and a cancellation is not noticed: 32 MB of empty lists took 7 s.
The time depends on the number of values, not on the number of bytes. So a line of many values is parsed by Python's own
parser. It is ten times slower, but it lets other threads run, and checks for a cancellation at each value.
"""

import json
import re
from collections.abc import Callable, Iterable
from json import decoder, scanner
from typing import Any

from storage_manager.encoding import count_values, without_surrogates

__all__ = ["MAX_QUICK", "parse_line"]

MAX_QUICK = 2**18  # values that are parsed in C, in up to 0.7 s; a page of 10 MB can have a million
_MAX_BYTES = 2**25  # that are parsed in C; a history of browser-use can have more, in few and long texts
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def parse_line(line: bytes, check_cancelled: Callable[[], None]) -> object:
    """Return the JSON value of a line.

    If Playwright cut a text, it may contain one half of a surrogate pair. UTF-8 cannot encode this, so it becomes
    U+FFFD.

    Parameters:
        check_cancelled: called while a line of many values is parsed. It may raise an error.

    Raises:
        ValueError, RecursionError: the line is not valid.
    """
    text, has_surrogates = line.decode(), _ESCAPED_SURROGATE.search(line) is not None
    if len(line) > _MAX_BYTES or count_values(line) > (MAX_QUICK // 4 if has_surrogates else MAX_QUICK):
        return _Slow(check_cancelled).decode(text)
    value: object = json.loads(text, parse_constant=_refuse_constant)
    if has_surrogates:
        value = json.loads(_cleaned(json.dumps(value, ensure_ascii=False)), parse_constant=_refuse_constant)
    return value


def _cleaned(text: str) -> str:
    return "".join(without_surrogates(text))


def _as_object(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    return {_cleaned(name): value for name, value in pairs}


class _Slow(json.JSONDecoder):
    """Python's own parser, which json has for interpreters without its C code."""

    def __init__(self, check_cancelled: Callable[[], None]) -> None:
        super().__init__(parse_constant=_refuse_constant, object_pairs_hook=_as_object)
        self._check = check_cancelled
        self.parse_array = self._array
        self.parse_object = self._object
        self.parse_string = self._string
        self.scan_once = scanner.py_make_scanner(self)  # type: ignore[attr-defined]

    def _checked(self, scan: Callable[[str, int], Any]) -> Callable[[str, int], Any]:
        def scan_and_check(text: str, at: int) -> Any:
            self._check()
            return scan(text, at)

        return scan_and_check

    def _array(self, state: Any, scan: Callable[[str, int], Any]) -> Any:
        return decoder.JSONArray(state, self._checked(scan))  # type: ignore[attr-defined]

    def _object(self, state: Any, strict: bool, scan: Callable[[str, int], Any], *hooks: Any) -> Any:
        return decoder.JSONObject(state, strict, self._checked(scan), *hooks)  # type: ignore[attr-defined]

    def _string(self, text: str, at: int, strict: bool) -> tuple[str, int]:
        value, end = decoder.scanstring(text, at, strict)  # type: ignore[attr-defined]
        return _cleaned(value), end
