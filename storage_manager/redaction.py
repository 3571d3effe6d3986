"""Redaction: what must not be stored is taken out of a step before any of it is written.

A redactor is a function from StepData to StepData. `redact_secrets` makes one that masks given texts, however the
page or the agent had encoded them.
"""

import re
from collections.abc import Callable, Sequence, Set
from fnmatch import fnmatchcase
from functools import cache
from html import escape
from html.entities import html5
from json import dumps
from string import ascii_lowercase, ascii_uppercase, digits
from typing import Any
from urllib.parse import quote, quote_plus

from storage_manager.errors import InvalidDataError, refusing
from storage_manager.layout import COMPONENTS, StepData

__all__ = ["Redactor", "as_redactor", "redact_secrets", "redacted"]

Redactor = Callable[[StepData], StepData]

_TEXT = re.compile(r"[^\ud800-\udfff]+")  # a lone surrogate has no UTF-8 form, so it is in nothing that is stored


def redact_secrets(secrets: Sequence[str], mask: str = "[redacted]") -> Redactor:
    """Replace every secret, also as URL-, JSON-, HTML- and base64-encoded, in html, action and metadata.

    Screenshots are pixels: they are left alone, and may show a secret. So are session and step ids.

    Found is a secret whose characters are percent-encoded (RFC 3986, section 2.1; once or again, `+` for a space),
    JSON's or JavaScript's escapes (RFC 8259, section 7), or HTML's character references (HTML standard, 13.1.4), or,
    but for letters and digits, one of these inside of another; and its base64 (RFC 4648, sections 4 and 5), anywhere
    within what was encoded, if it has 4 bytes or more. Not found is what is cut in pieces, compressed, encrypted or
    hashed. In JSON, keys and numbers are looked at as well. A page of 400 kB takes 6 to 20 ms for each secret.

    Parameters:
        secrets: passwords, tokens, whatever must not be stored; none of them empty.
        mask: what stands in place of each.

    Raises:
        InvalidDataError: secrets is one str, or holds what is no str or empty, or the mask holds a secret.
    """
    if isinstance(secrets, str) or not all(isinstance(secret, str) and _TEXT.fullmatch(secret) for secret in secrets):
        raise InvalidDataError("redact takes a list of secrets, each a str that is not empty", operation="configure")
    return _Masking(secrets, mask)


def as_redactor(redact: "Redactor | Sequence[str] | None") -> Redactor | None:
    """A redactor as it came; one that masks secrets, where they were given.

    Raises:
        InvalidDataError: it is neither.
    """
    if redact is None or callable(redact):
        return redact
    if not isinstance(redact, (Sequence, Set)):
        raise InvalidDataError("redact is a function or a list of secrets", operation="configure")
    return redact_secrets(redact if isinstance(redact, str) else list(redact))


def redacted(redact: Redactor, values: Sequence[object]) -> StepData:
    """The components of a step as the redactor gives them back; it sees them as a reader would.

    Raises:
        InvalidDataError: a value cannot be stored or read again, the redactor failed or gave back no StepData.
    """
    step = StepData(*map(_as_read, COMPONENTS, values))
    with refusing("the step", "redact failed"):
        answer = redact(step)
    if not isinstance(answer, StepData):
        raise InvalidDataError(f"redact must return StepData, not {type(answer).__name__}", operation="store")
    return answer


def _as_read(row: Any, value: object) -> Any:
    with refusing(row.keyword, "what cannot be read cannot be redacted"):
        return None if value is None else row.decode(row.encode(value, row.keyword))


class _Masking:
    """The redactor of `redact_secrets`; it can be pickled, and shows no secret."""

    def __init__(self, secrets: Sequence[str], mask: str) -> None:
        longest_first = sorted(secrets, key=len, reverse=True)  # what it holds of a shorter one goes with it
        self._patterns = [re.compile(form) for secret in longest_first for form in _forms(secret)]
        self._mask = mask
        if self._text(mask * 2) != mask * 2:
            why = f"the mask {mask!r} holds a secret: give another, redact_secrets(secrets, mask=...)"
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
        number = "" if value is None or isinstance(value, bool) else dumps(value)
        return value if self._text(number) == number else self._mask

    def _mapping(self, value: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = {}
        for key, item in value.items():
            name = self._text(key)
            while name in answer:  # two keys that are masked alike: both stay
                name += "_"
            answer[name] = self._json(item)
        return answer


def _forms(secret: str) -> list[str]:
    """The regular expressions of a secret: its characters, each encoded or not, and its base64.

    Every alternative begins with a literal character, so that `re` passes over most of a page without trying any,
    and every repetition is bounded, so that no page makes it try for long.
    """
    runs = re.findall(r"\\+|[^\\]", secret)
    plain = "".join(map(_run, runs))
    long = len(secret.encode()) >= _BASE64_FROM
    encoded = {encode(secret).encode() for encode in _BEFORE_BASE64 if long}
    return [plain, *(_base64(data, offset) for data in sorted(encoded, key=len, reverse=True) for offset in range(3))]


_BASE64_FROM = 4  # bytes; of fewer, base64 has less than 4 characters of their own, which stand in other words
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


_PERCENT = "%(?:25){0,8}"  # percent-encoded once, or again and again
_BACKSLASH = rf"(?:\\|{_PERCENT}5[cC])"
_CONTROLS = {"\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t"}


def _run(text: str) -> str:
    """The regular expression of one character, or of any number of backslashes."""
    if text[0] == "\\":
        return _backslashes(len(text))
    return _alphanumeric(text) if text.isascii() and text.isalnum() else _character(text)


def _backslashes(count: int) -> str:
    """As many backslashes, doubled up to four times: one repetition, as one for each would try all combinations."""
    return rf"(?:\\(?:u00|x)5[cC]|\\|{_PERCENT}5[cC]|&{_referred(chr(92))}){{{count},{16 * count}}}"


def _alphanumeric(char: str) -> str:
    """The regular expression of a letter or digit of ASCII: few encode it, and then once."""
    code = _hex(ord(char), 2)
    reference = f"(?:amp;){{0,12}}#(?:0{{0,8}}{ord(char)}|[xX]0{{0,8}}{code});?"
    return rf"(?:{char}|{_PERCENT}{code}|\\{{1,16}}(?:u00{code}|x{code}|u\{{0{{0,8}}{code}\}})|&{reference})"


def _character(char: str) -> str:
    """The regular expression of any other, however it is encoded; what is longer is tried first."""
    referred, literal = _referred(char), re.escape(char)
    utf8 = _PERCENT.join(_hex(byte, 2) for byte in char.encode())
    if char == " ":
        utf8, literal = f"(?:{utf8}|2[bB])", r"[ +]"
    escaped = _escaped(char, f"{_PERCENT}{utf8}|&{referred}|{literal}")
    alternatives = [
        rf"\\{_BACKSLASH}{{0,15}}(?:{escaped}|u0026{referred})",
        rf"{_PERCENT}(?:26{referred}|5[cC]{_BACKSLASH}{{0,15}}{escaped}|{utf8})",
        rf"&{referred}",
        literal,
    ]
    return f"(?:{'|'.join(alternatives)})"


def _escaped(char: str, plain: str) -> str:
    """What may follow a backslash: JSON's and JavaScript's escapes."""
    utf16 = char.encode("utf-16-be")
    units = [int.from_bytes(utf16[at : at + 2], "big") for at in range(0, len(utf16), 2)]
    alternatives = [
        rf"{_BACKSLASH}{{1,16}}".join(f"u{_hex(unit, 4)}" for unit in units),
        rf"u\{{0{{0,8}}{_hex(ord(char), 1)}\}}",
        *([f"x{_hex(ord(char), 2)}"] if ord(char) < 256 else []),
        _CONTROLS.get(char, plain),
    ]
    return f"(?:{'|'.join(alternatives)})"


def _referred(char: str) -> str:
    """What may follow an ampersand: HTML's references, also of an ampersand that was encoded again."""
    end, number = f"(?:;|{_PERCENT}3[bB])", f"(?:#|{_PERCENT}23)"
    names = [*_REFERENCES.get(char, []), f"{number}0{{0,8}}{ord(char)}", f"{number}[xX]0{{0,8}}{_hex(ord(char), 1)}"]
    return f"(?:amp{end}){{0,12}}(?:{'|'.join(names)}){end}?"


# six bits: how base64 writes them (RFC 4648, tables 1 and 2)
_SEXTETS = {f"{value:06b}": char for value, char in enumerate(ascii_uppercase + ascii_lowercase + digits)}
_SEXTETS["111110"] = rf"\+|-|{_PERCENT}2[bB]|\\{{1,16}}u002[bB]|&(?:plus|#43|#[xX]2[bB]);"
_SEXTETS["111111"] = rf"/|_|{_PERCENT}2[fF]|\\{{1,16}}(?:/|u002[fF])|&(?:sol|#47|#[xX]2[fF]);"


def _base64(data: bytes, offset: int) -> str:
    """The regular expression of the base64 of data that begins that many bytes into a group of three."""
    bits = "?" * 8 * offset + "".join(f"{byte:08b}" for byte in data)
    groups = [bits[at : at + 6].ljust(6, "?") for at in range(0, len(bits), 6)]
    return "".join(_sextet(group) for group in groups if group != "??????")


@cache
def _sextet(known: str) -> str:
    """The characters of base64 that may stand for six bits, of which some are known."""
    return f"(?:{'|'.join(char for bits, char in _SEXTETS.items() if fnmatchcase(bits, known))})"
