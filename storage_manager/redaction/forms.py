"""The regular expressions for a secret: each of its characters, encoded or not.

`re` tries every way in which an expression can match. To be quick for every text, each expression can match a piece of
text in only one way:

- no alternative occurs twice;
- an optional end of a reference or an escape (`;`, or a space in CSS) is always part of the match if the text has it;
- a run of backslashes is one repetition, and so is white space with a line end;
- every repetition is bounded.
"""

import re
from functools import cache
from html.entities import html5
from typing import NamedTuple

__all__ = ["ENCODED_LETTER", "pattern_for", "utf16_patterns"]

_LONG = 16  # characters; a secret of several lines that is this long is also found if its line ends were removed
_MOST_SPACE = 256  # characters between two lines
_GAP = "\ud800"  # stands for the white space between two lines; no secret holds a lone surrogate
_BETWEEN_LINES = re.compile(r"(?<=\S)[ \t]*\n[ \t\n]*(?=\S)")
_RUNS = re.compile(r"\\+|.", re.DOTALL)
_ENCODED_BACKSLASH = re.compile(r"%(?:25)*(?:u00)?5c|&(?:amp;)*(?:bsol|#0*92|#x0*5c)|\\(?:u00|x|0*)5c", re.IGNORECASE)
_REFERENCES: dict[str, set[str]] = {}
for _name, _value in html5.items():
    _REFERENCES.setdefault(_value, set()).add(_name.rstrip(";"))
_REFERENCES[" "] = _REFERENCES["\xa0"]  # browsers write a space as no-break space, so that it is not lost

_PERCENT = "%(?:25){0,8}"  # percent-encoded, up to nine times
_BACKSLASH = rf"(?:\\|{_PERCENT}5[cC])"
_CONTROLS = {"\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t"}


def pattern_for(secret: str, *, in_bytes: bool = False) -> str:
    """Return the regular expression for a secret in a text, or, with `in_bytes`, in bytes of UTF-8 or Latin-1.

    A line end inside a secret matches any white space, because pages break and indent lines in their own way. In a long
    secret it also matches nothing, because a text field of one line removes line ends. But if the secret itself looks
    encoded, a line end matches only line ends: otherwise a text could match in many ways.

    Parameters:
        in_bytes: True for an expression that is encoded as Latin-1 and used on bytes.
    """
    text = re.sub(r"\r\n?", "\n", secret)
    is_long = len(text.strip()) >= _LONG
    text = text.strip(" \t\n") if is_long else text
    runs = _RUNS.findall(text if {*"%&\\"} & {*text} else _BETWEEN_LINES.sub(_GAP, text))
    kind = _Kind(in_bytes, bool(_ENCODED_BACKSLASH.search(text)))
    around = zip(["", *runs], runs, [*runs[1:], ""], strict=False)
    return "".join(_run(before, run, after, kind, int(not is_long)) for before, run, after in around)


class _Kind(NamedTuple):
    """The kind of an expression: for bytes or for text, and for a secret with or without an encoded backslash.

    If the secret has an encoded backslash, its backslashes match only themselves, and additional backslashes before
    another character do not match.
    """

    in_bytes: bool
    has_encoded_backslash: bool


def utf16_patterns(secret: str) -> list[str]:
    """Return the regular expressions for a secret in UTF-16 that was read as UTF-8: it has a NUL beside each letter."""
    texts = {secret.encode(encoding).decode(errors="replace").strip("\0") for encoding in ("utf-16-le", "utf-16-be")}
    return [pattern_for(text) for text in texts if text and "\ufffd" not in text]


def _run(before: str, run: str, after: str, kind: _Kind, least: int) -> str:
    """Return the regular expression for one character, or for a run of backslashes or white space.

    A run of backslashes, doubled up to four times, is one repetition. It also matches the backslashes in the escape of
    the next character. If two repetitions could match the same backslashes, `re` would try every way to divide them.
    """
    is_escaped = before[:1] == "\\" and not kind.has_encoded_backslash
    if run[0] == "\\":
        return _backslashes(len(run), kind.has_encoded_backslash)
    if run == _GAP:
        return f"(?:{_white_space('+' not in (before, after))}){{{least},{_MOST_SPACE}}}"
    forms = _line_end(kind) if run == "\n" else _forms(run, kind)
    return f"(?:{forms.escaped if is_escaped else forms.later if before else forms.first})"


def _backslashes(count: int, are_exact: bool) -> str:
    plain, codes = rf"\\|{_PERCENT}(?:u00)?5[cC]|&{_referred(chr(92))}", r"\\{1,16}(?:u00|x|0{0,4})5[cC]"
    codes = rf"(?:{codes}{_taken(chr(92) + 's')}){{{count}}}"
    if are_exact:
        return f"(?:{codes}|(?:{plain}){{{count}}})"
    return f"(?:{codes}(?:{plain}){{0,16}}|(?:{plain}){{{count},{16 * count + 16}}})"


@cache
def _white_space(may_be_plus: bool) -> str:
    space, *others = (_forms(char, _Kind(False, False)).later for char in " \t\r\n")
    return "|".join([space if may_be_plus else space.replace("[ +]", "[ ]").replace("|2[bB]", ""), *others])


@cache
def _line_end(kind: _Kind) -> "_Forms":
    """Return the alternatives for a line end of any kind: CR LF, LF or CR."""
    carriage_return, line_feed = (_forms(char, kind) for char in "\r\n")
    both = zip(carriage_return, line_feed, strict=True)
    return _Forms(*(f"(?:{first}){_taken(line_feed.first)}|(?:{second})" for first, second in both))


def _taken(pattern: str) -> str:
    """Return the regular expression for an optional part. It is always part of the match if the text has it."""
    return f"(?:(?:{pattern})|(?!{pattern}))"


def _hex(number: int, digits: int) -> str:
    return "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in f"{number:0{digits}x}")


class _Forms(NamedTuple):
    """The alternatives for a character."""

    escaped: str  # after the backslashes of its escape
    first: str  # each begins with a literal character, so that `re` skips most of a page quickly
    later: str  # the same as `first`, in an expression that is compiled more quickly


@cache
def _forms(char: str, kind: _Kind) -> _Forms:
    return _alphanumeric(char) if char.isascii() and char.isalnum() else _character(char, kind)


def _units(char: str) -> list[int]:
    utf16 = char.encode("utf-16-be")
    return [int.from_bytes(utf16[at : at + 2], "big") for at in range(0, len(utf16), 2)]


def _codes(char: str) -> str:
    """Return the codes of a character after a backslash in JSON, JavaScript, CSS (CSS Syntax, 4.3.7) and Python."""
    code, space = _hex(ord(char), 1), _taken(r"\s")
    json = rf"{_BACKSLASH}{{1,16}}".join(f"u{_hex(unit, 4)}" for unit in _units(char))
    latin = [f"x{_hex(ord(char), 2)}"] if ord(char) < 256 else []
    utf8 = rf"{_BACKSLASH}{{1,16}}".join(f"x{_hex(byte, 2)}" for byte in char.encode())
    python = [] if char.isascii() else [utf8, f"U{_hex(ord(char), 8)}"]
    return "|".join([json, *python, *latin, rf"u\{{0{{0,8}}{code}\}}", rf"0{{0,5}}{code}{space}"])


def _percent_codes(char: str) -> list[str]:
    """Return what follows the percent sign: UTF-8, Latin-1, Windows-1252, and JavaScript's `escape` (B.2.1.1)."""
    in_charsets = (char.encode(charset, "ignore") for charset in ("utf-8", "latin-1", "cp1252"))
    data = dict.fromkeys(encoded for encoded in in_charsets if encoded)  # each of them once
    plain = [_PERCENT.join(_hex(byte, 2) for byte in encoded) for encoded in data]
    return [*plain, _PERCENT.join(f"u{_hex(unit, 4)}" for unit in _units(char))]


def _alphanumeric(char: str) -> _Forms:
    """Return the alternatives for an ASCII letter or digit. It is rarely encoded."""
    code = _hex(ord(char), 2)
    number = f"&(?:amp;){{0,12}}#(?:0{{0,8}}{ord(char)}|[xX]0{{0,8}}{code}){_taken(';')}"
    plain = f"{char}|{_PERCENT}(?:u00)?{code}|{number}"
    alone = rf"{plain}|\\\\{{0,15}}(?:{_codes(char)})"
    return _Forms(f"{_codes(char)}|{plain}", alone, alone)


def _character(char: str, kind: _Kind) -> _Forms:
    """Return the alternatives for any other character, the longest first."""
    referred, literal = _referred(char), _literal(char, kind.in_bytes)
    percent = "|".join([f"26{referred}", *_percent_codes(char), *(["2[bB]"] if char == " " else [])])
    codes = "|".join([_codes(char), *_CONTROLS.get(char, ""), f"u0026{referred}"])
    plain = f"{_PERCENT}(?:{percent})|&{referred}|{literal}"
    backslash = r"\\" if kind.has_encoded_backslash else _BACKSLASH
    escape = rf"{backslash}{{0,15}}(?:{codes}|{plain})"
    after_percent = percent if kind.has_encoded_backslash else f"5[cC]{escape}|{percent}"
    first = rf"\\{escape}|{_PERCENT}(?:{after_percent})|&{referred}|{literal}"
    later = f"{backslash}{{1,16}}(?:{codes})|{backslash}{{0,16}}(?:{plain})"
    return _Forms(f"{codes}|{plain}", first, later)


def _literal(char: str, in_bytes: bool) -> str:
    if char == " ":
        return "[ +]|\xc2?\xa0" if in_bytes else "[ +]|\xa0"
    if not in_bytes or char.isascii():
        return re.escape(char)
    data = [char.encode(), char.encode("latin-1", "ignore")]
    return "|".join(re.escape(encoded.decode("latin-1")) for encoded in data if encoded)


def _referred(char: str) -> str:
    """Return HTML's character references without the ampersand, also if `&` or `;` was encoded again."""
    end, number = rf"(?:;|{_PERCENT}3[bB]|\\{{1,16}}u003[bB])", f"(?:#|{_PERCENT}23)"
    names = sorted(map(re.escape, _REFERENCES.get(char, ())), key=len, reverse=True)
    for code in _numbers(char):
        names += [f"{number}0{{0,8}}{code}", f"{number}[xX]0{{0,8}}{_hex(code, 1)}"]
    return f"(?:amp{end}){{0,12}}(?:{'|'.join(names)}){_taken(end)}"


def _numbers(char: str) -> list[int]:
    """Return the numbers of a character in HTML: its code point, and its byte in Windows-1252 (13.2.5.80)."""
    byte = char.encode("cp1252", "ignore")
    old = [byte[0]] if byte and 0x80 <= byte[0] < 0xA0 else []
    return [ord(char), *old, *([0xA0] if char == " " else [])]


_LETTER = "(?:3[0-9]|[46][1-9a-fA-F]|[57][0-9aA])"  # a digit or a letter of ASCII in hexadecimal
_DECIMAL = "(?:4[89]|5[0-7]|6[5-9]|[78][0-9]|90|9[7-9]|1[01][0-9]|12[0-2])"
# Finds each letter and digit that `_alphanumeric` finds encoded, if no backslash is before it in the secret.
ENCODED_LETTER = re.compile(
    rf"{_PERCENT}(?:u00)?{_LETTER}|\\(?:u00|x|u\{{0{{0,8}}|0{{0,5}}){_LETTER}"
    rf"|&(?:amp;){{0,12}}#(?:0{{0,8}}{_DECIMAL}|[xX]0{{0,8}}{_LETTER})"
)
