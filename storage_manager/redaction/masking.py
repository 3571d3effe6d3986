"""Mask secrets in a step in the encodings that pages and agents use. Imported only if there are secrets."""

import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from functools import cache
from html import escape
from html.entities import html5
from json import dumps
from string import ascii_lowercase, ascii_uppercase, digits
from typing import Any
from urllib.parse import quote, quote_plus

from pydantic_core import to_json

from storage_manager.errors import InvalidDataError
from storage_manager.layout import StepData

__all__ = ["Masking"]


class Masking:
    """The redactor that `redact_secrets` makes. It can be pickled, and its repr shows no secret."""

    def __init__(self, secrets: Sequence[str], mask: str) -> None:
        longest_first = sorted(secrets, key=len, reverse=True)  # a long secret may contain a short one
        self._patterns = [re.compile(form) for secret in longest_first for form in _forms(secret)]
        self._mask = mask
        if self._text(mask * 2) != mask * 2:
            why = f"the mask {mask!r} contains a secret: give another, redact_secrets(secrets, mask=...)"
            raise InvalidDataError(why, operation="configure")

    def __call__(self, step: StepData) -> StepData:
        html = None if step.html is None else self._text(step.html)
        return step._replace(html=html, action=self._json(step.action), metadata=self._json(step.metadata))

    def _text(self, text: str) -> str:
        for pattern in self._patterns:
            text = pattern.sub(lambda _: self._mask, text)
        return text

    def _json(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict):
            return self._mapping(value)
        if isinstance(value, list):
            return [self._json(item) for item in value]
        stored = to_json(value).decode() if type(value) in (int, float) else ""
        return value if self._text(stored) == stored else self._mask

    def _mapping(self, value: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = {}
        for key, item in value.items():
            name = self._text(key)
            while name in answer:  # two keys that become equal: keep both
                name += "_"
            answer[name] = self._json(item)
        return answer


def _forms(secret: str) -> list[str]:
    """Return the regular expressions for a secret: its characters, each encoded or not, and its base64.

    Every alternative begins with a literal character, so that `re` skips most of a page quickly. Every repetition is
    bounded, so that no page makes `re` try for long.
    """
    runs = re.findall(r"\\+|[^\\]", secret)
    plain = "".join(_run(text, before) for before, text in zip(["", *runs], runs, strict=False))
    long = len(secret.encode()) >= _BASE64_FROM
    encoded = {encode(secret).encode() for encode in _BEFORE_BASE64 if long}
    return [plain, *(_base64(data, offset) for data in sorted(encoded, key=len, reverse=True) for offset in range(3))]


_BASE64_FROM = 4  # bytes; the base64 of fewer bytes has less than 4 fixed characters, which occur in ordinary words
_BEFORE_BASE64: tuple[Callable[[str], str], ...] = (
    str,
    escape,
    quote_plus,
    lambda secret: quote(secret, safe=""),
    lambda secret: quote(secret, safe="!'()*"),  # as encodeURIComponent (ECMA-262, 19.2.6.4)
    lambda secret: dumps(secret)[1:-1],
    lambda secret: dumps(secret, ensure_ascii=False)[1:-1],
)
_REFERENCES: dict[str, list[str]] = {}
for _name, _value in html5.items():
    _REFERENCES.setdefault(_value, []).append(re.escape(_name.rstrip(";")))


def _hex(number: int, digits: int) -> str:
    return "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in f"{number:0{digits}x}")


_PERCENT = "%(?:25){0,8}"  # percent-encoded, up to nine times
_BACKSLASH = rf"(?:\\|{_PERCENT}5[cC])"
_CONTROLS = {"\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t"}


def _run(text: str, before: str) -> str:
    """Return the regular expression for one character, or for a run of backslashes, that follows `before`.

    Backslashes that are doubled, up to four times, are one repetition, which also takes those of the next character's
    escape. If two repetitions could match the same backslashes, `re` would try every way to share them.
    """
    if text[0] == "\\":
        one = rf"\\(?:u00|x|0{{0,4}})5[cC]\s?|\\|{_PERCENT}5[cC]|&{_referred(text[0])}"
        return rf"(?:{one}){{{len(text)},{16 * len(text) + 16}}}"
    escaped, plain = _alphanumeric(text) if text.isascii() and text.isalnum() else _character(text)
    return f"(?:{escaped if before[:1] == chr(92) else plain})"


def _codes(char: str) -> str:
    """Return the codes of a character after a backslash in JSON, JavaScript and CSS (CSS Syntax, 4.3.7)."""
    utf16, code = char.encode("utf-16-be"), _hex(ord(char), 1)
    units = [int.from_bytes(utf16[at : at + 2], "big") for at in range(0, len(utf16), 2)]
    json = rf"{_BACKSLASH}{{1,16}}".join(f"u{_hex(unit, 4)}" for unit in units)
    latin = [f"x{_hex(ord(char), 2)}"] if ord(char) < 256 else []
    return "|".join([json, *latin, rf"u\{{0{{0,8}}{code}\}}", rf"0{{0,5}}{code}\s?"])


def _alphanumeric(char: str) -> tuple[str, str]:
    """Return the alternatives for an ASCII letter or digit, after backslashes and without. It is rarely encoded."""
    code = _hex(ord(char), 2)
    plain = f"{char}|{_PERCENT}{code}|&(?:amp;){{0,12}}#(?:0{{0,8}}{ord(char)}|[xX]0{{0,8}}{code});?"
    return f"{_codes(char)}|{plain}", rf"{plain}|\\{{1,16}}(?:{_codes(char)})"


def _character(char: str) -> tuple[str, str]:
    """Return the alternatives for any other character, after backslashes and without, the longest first."""
    referred, literal = _referred(char), re.escape(char)
    utf8 = _PERCENT.join(_hex(byte, 2) for byte in char.encode())
    if char == " ":
        utf8, literal = f"(?:{utf8}|2[bB])", r"[ +]"
    plain = f"{_PERCENT}(?:26{referred}|{utf8})|&{referred}|{literal}"
    control = [_CONTROLS[char]] if char in _CONTROLS else []
    escaped = "|".join([_codes(char), *control, f"u0026{referred}", plain])
    encoded = [
        rf"\\{_BACKSLASH}{{0,15}}(?:{escaped})",
        rf"{_PERCENT}(?:26{referred}|5[cC]{_BACKSLASH}{{0,15}}(?:{escaped})|{utf8})",
    ]
    return escaped, "|".join([*encoded, f"&{referred}", literal])


def _referred(char: str) -> str:
    """Return HTML's character references without the ampersand, also if that was encoded again."""
    end, number = f"(?:;|{_PERCENT}3[bB])", f"(?:#|{_PERCENT}23)"
    names = [*_REFERENCES.get(char, []), f"{number}0{{0,8}}{ord(char)}", f"{number}[xX]0{{0,8}}{_hex(ord(char), 1)}"]
    return f"(?:amp{end}){{0,12}}(?:{'|'.join(names)}){end}?"


# the characters for six bits in base64 (RFC 4648, tables 1 and 2)
_SEXTETS = {f"{value:06b}": char for value, char in enumerate(ascii_uppercase + ascii_lowercase + digits)}
_SEXTETS["111110"] = rf"\+|-|{_PERCENT}2[bB]|\\{{1,16}}u002[bB]|&(?:plus|#43|#[xX]2[bB]);"
_SEXTETS["111111"] = rf"/|_|{_PERCENT}2[fF]|\\{{1,16}}(?:/|u002[fF])|&(?:sol|#47|#[xX]2[fF]);"


def _base64(data: bytes, offset: int) -> str:
    """Return the regular expression for the base64 of data that begins `offset` bytes into a group of three."""
    bits = "?" * 8 * offset + "".join(f"{byte:08b}" for byte in data)
    groups = [bits[at : at + 6].ljust(6, "?") for at in range(0, len(bits), 6)]
    return r"\s{0,2}".join(_sextet(group) for group in groups if group != "??????")  # MIME breaks lines


@cache
def _sextet(known: str) -> str:
    """Return the base64 characters for six bits, some of which may be unknown ("?")."""
    return f"(?:{'|'.join(char for bits, char in _SEXTETS.items() if fnmatchcase(bits, known))})"
