"""Secrets that a page, an agent or an error shows in a form that was not found, and secrets that made `re` stop."""

import base64
import html
import itertools
import json
import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from pydantic import TypeAdapter

from storage_manager import InvalidDataError, StepData, StorageManager
from storage_manager.layout import check_id
from storage_manager.recorder import record
from storage_manager.recorder.capture import MAX_LINE
from storage_manager.redaction import redact_secrets
from storage_manager.redaction.forms import ENCODED_LETTER, pattern_for
from storage_manager.redaction.masking import Secret
from tests.support.children import run_python

pytestmark = pytest.mark.thorough

MASK = "[redacted]"
KEY = "".join(random.Random(1).choices("ABCDEFabcdef0123456789+/", k=64))
PEM = f"-----BEGIN PRIVATE KEY-----\n+{KEY[1:]}\n{KEY[::-1]}\n/Zz9==\n-----END PRIVATE KEY-----\n"
TOKEN = "tok&n/Sé=€ hunter2"


def masked(text: str, *secrets: str, mask: str = MASK) -> str:
    return str(redact_secrets(secrets, mask)(StepData(html=text)).html)


def windows(text: str) -> str:
    return text.replace("\n", "\r\n")


def lines_of_base64(data: str) -> str:
    return base64.encodebytes(b"x" * 40 + data.encode() + b"y" * 40).decode()


def utf16(text: str, encoding: str) -> str:
    return text.encode(encoding).decode("latin-1")


LINE_ENDS: dict[str, Callable[[str], str]] = {
    "CR LF": windows,
    "CR": lambda pem: pem.replace("\n", "\r"),
    "URL": lambda pem: quote(windows(pem), safe=""),
    "form": lambda pem: quote_plus(windows(pem)),
    "JSON": lambda pem: json.dumps(windows(pem))[1:-1],
    "JSON in JSON": lambda pem: json.dumps(json.dumps(windows(pem)))[3:-3],
    "JSON in a URL": lambda pem: quote(json.dumps(windows(pem))[1:-1], safe=""),
    "HTML": lambda pem: html.escape(windows(pem)).replace("\r", "&#13;").replace("\n", "&#10;"),
    "HTML, hexadecimal": lambda pem: pem.replace("\n", "&#xA;"),
    "indented": lambda pem: pem.replace("\n", "\n\t    "),
    "a field of one line": lambda pem: pem.replace("\n", ""),
    "base64": lambda pem: base64.b64encode(windows(pem).encode()).decode(),
    "base64 of JSON": lambda pem: base64.b64encode(json.dumps(windows(pem)).encode()).decode(),
}


@pytest.mark.parametrize("how", LINE_ENDS)
def test_lines_of_a_secret_end_in_any_way(how: str) -> None:
    text = masked(f"<p>{LINE_ENDS[how](PEM)}</p>", PEM)
    assert MASK in text
    assert len(text) < 40, "nothing but line ends and the edges of base64 are left"


def test_a_short_secret_of_two_lines_needs_its_line_end() -> None:
    assert masked("ab a\r\nb a%0D%0Ab a\\n  b", "a\nb") == "ab [redacted] [redacted] [redacted]"
    assert masked("x\r\n y\n", "x\n") == f"{MASK} y\n"
    assert masked("a  b", "\n") == "a  b"


AGAIN: dict[str, Callable[[str], str]] = {
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON in JSON": lambda text: json.dumps(json.dumps(text))[3:-3],
    "JSON, CR LF": lambda text: json.dumps(windows(text))[1:-1],
    "URL": lambda text: quote(text, safe=""),
    "URL twice": lambda text: quote(quote(text, safe=""), safe=""),
    "HTML": lambda text: text.replace("\n", "&#10;"),
    "HTML twice": lambda text: text.replace("\n", "&amp;#x0A;"),
    "indented": lambda text: text.replace("\n", "\n        "),
    "64 columns": lambda text: "\n".join(re.findall(".{1,64}", text.replace("\n", ""))),
    "JavaScript": lambda text: text.replace("\n", "\\\n"),
}


@pytest.mark.parametrize("how", AGAIN)
def test_lines_of_base64_that_were_encoded_again(how: str) -> None:
    secret = "correct horse battery staple, and a good deal more than one line of base64 has"
    text = masked(f"<p>{AGAIN[how](lines_of_base64(secret))}</p>", secret)
    rest = re.sub(r"%25|%0A|%0D|&(amp;)?#(10|x0A);|\\+[nr]|[^A-Za-z0-9+/]", "", text.replace(MASK, ""))
    assert MASK in text
    assert b"rrect" not in base64.b64decode(rest[1 : len(rest) // 4 * 4 + 1])
    assert len(rest) < 130, "40 bytes on either side"


@pytest.mark.parametrize(
    "text",
    [
        "tok&#128;n=x&amp;y z1",
        "tok&#x80n=x&y z1",
        "tok€n=x&amp;y&nbsp;z1",
        "tok€n=x&y\xa0z1",
        "tok%E2%82%ACn%3Dx%26y&#160;z1",
        "tok€n\\u003Dx\\u0026amp\\u003By z1",
        "tok\\\\u20ACn=x\\\\u0026amp\\\\u003by z1",
        repr("tok€n=x&y z1".encode()),
        repr(repr("tok€n=x&y z1".encode())),
        "tok\\U000020acn=x&y z1",
    ],
)
def test_more_ways_in_which_browsers_and_libraries_write(text: str) -> None:
    assert MASK in masked(f"<p>{text}</p>", "tok€n=x&y z1")
    assert MASK in masked(base64.b64encode(f"<p>{text}</p>".encode()).decode(), "tok€n=x&y z1")


IN_BASE64: dict[str, Callable[[str], str | bytes]] = {
    "slashes": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "JSON for HTML": lambda text: json.dumps(text)[1:-1].replace("&", "\\u0026").replace("=", "\\u003D"),
    "URL, lower case": lambda text: re.sub("%..", lambda byte: byte[0].lower(), quote(text, safe="")),
    "HTML twice": lambda text: html.escape(html.escape(text)),
    "URL in JSON": lambda text: json.dumps(quote(text)),
    "Latin-1": lambda text: text.replace("€", "").encode("latin-1"),
    "UTF-16, little": lambda text: text.encode("utf-16-le"),
    "UTF-16, big": lambda text: text.encode("utf-16-be"),
    "UTF-16, with its mark": lambda text: text.encode("utf-16"),
}


@pytest.mark.parametrize("how", IN_BASE64)
@pytest.mark.parametrize("offset", range(4))
def test_base64_of_a_secret_that_was_encoded_before(how: str, offset: int) -> None:
    inner = IN_BASE64[how](TOKEN)
    data = b"-" * offset + (inner if isinstance(inner, bytes) else inner.encode())
    secret = TOKEN.replace("€", "") if how == "Latin-1" else TOKEN
    text = masked(f"<p>{base64.b64encode(data).decode()}</p>", secret)
    assert MASK in text
    assert len(text.replace(MASK, "")) < len("<p></p>") + 12


OLD: dict[str, Callable[[str], str]] = {
    "escape of JavaScript": lambda text: "".join(
        char if char.isalnum() and char.isascii() else f"%{ord(char):02X}" if ord(char) < 256 else f"%u{ord(char):04X}"
        for char in text
    ),
    "%uXXXX": lambda text: "".join(f"%u{ord(char):04x}" for char in text),
    "Latin-1": lambda text: quote(text.replace("€", "&#8364;"), safe="", encoding="latin-1"),
    "Windows-1252": lambda text: quote_plus(text, encoding="cp1252"),
}


@pytest.mark.parametrize("how", OLD)
def test_percent_forms_of_other_charsets(how: str) -> None:
    assert masked(f"<a>{OLD[how](TOKEN)}</a>", TOKEN) == f"<a>{MASK}</a>"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("outer", [str, quote, lambda text: json.dumps(text)[1:-1]])
def test_bytes_of_utf16_that_were_taken_for_text(encoding: str, outer: Callable[[str], str]) -> None:
    text = masked(outer(utf16("<p>hunter2&co</p>", encoding)), "hunter2&co")
    assert MASK in text
    assert "n" not in text.replace(MASK, "").replace("\\u", "")


@pytest.mark.parametrize("mask", ["", "hun", "ter2", "2", "u", "%", "hunter"])
@pytest.mark.parametrize("depth", [1, 2, 3, 10, 1000])
@pytest.mark.parametrize("at", range(1, 7))
def test_no_mask_makes_a_secret_of_what_is_left(mask: str, depth: int, at: int) -> None:
    head, tail = "hunter2"[:at], "hunter2"[at:]
    for text in (head * depth + "hunter2" + tail * depth, (head + mask + tail) * depth, f"{head * depth}hunter2{tail}"):
        assert "hunter2" not in masked(text, "hunter2", mask=mask)
        assert "hunter2" not in masked(text.replace("hunter2", "%68unter2"), "hunter2", "%68", mask=mask)


def test_an_empty_mask_removes_the_secret_and_no_more() -> None:
    assert masked("<p>hunter2, hunter2!</p>", "hunter2", mask="") == "<p>, !</p>"


@pytest.mark.parametrize(("secret", "text"), [("d]x", "d]xx"), ("]x", "]xxx"), ("x[", "xx["), ("[x", "[[xx")])
def test_a_secret_that_begins_as_the_mask_ends(secret: str, text: str) -> None:
    assert secret not in masked(text, secret)


@pytest.mark.parametrize("mask", [5, None, b"x", "\ud800", "hunter2", "hunter2hunter"])
def test_a_mask_that_is_none_is_refused_without_quoting_it(mask: Any) -> None:
    with pytest.raises(InvalidDataError, match="mask") as raised:
        redact_secrets(["hunter2"], mask)
    assert "hunter2" not in str(raised.value)


def test_keys_that_become_equal_build_no_secret() -> None:
    step = redact_secrets(["hunter2", "]_"])(StepData(action={"hunter2": 1, MASK: 2}))
    assert step.action is not None
    assert sorted(step.action.values()) == [1, 2]
    assert "]_" not in "".join(step.action)


def test_many_keys_that_become_equal_take_no_time() -> None:
    """Each got one more suffix than the one before: for 16,000 keys that was 130 MB, and a minute."""
    codes = [(char, ord(char)) for char in "hunter2"]
    ways = itertools.product(*((char, f"%{code:02x}", f"&#{code};", f"\\x{code:02x}") for char, code in codes))
    action = {"".join(way): number for number, way in enumerate(ways)}
    redact = redact_secrets(["hunter2"])
    start = time.thread_time()
    masked = redact(StepData(action=action)).action
    assert time.thread_time() - start < 10, "0.5 s as a rule"
    assert masked is not None
    assert sorted(masked.values()) == sorted(action.values())
    assert max(map(len, masked)) < 40


@pytest.mark.parametrize("item", ["abcdefgh", 1, 1.5, {"a": "b"}, ["x"]], ids=str)
def test_many_small_values_take_as_long_as_one_text(item: Any) -> None:
    """Each was masked by itself: 1 MB of short texts held the event loop for 3.5 s."""
    redact = redact_secrets(["hunter2", "tok&n/x", "AKIAXX", "correct horse", "password1"])
    value = {"a": [item] * 100_000, "b": ["hunter2", {"hunter2": "x"}]}
    start = time.thread_time()
    assert redact(StepData(metadata=value)).metadata == {"a": value["a"], "b": [MASK, {MASK: "x"}]}
    assert time.thread_time() - start < 3, "0.3 s as a rule"


def test_values_beside_each_other_are_searched_apart() -> None:
    redact = redact_secrets(["hunter2"])
    value = {"hunt": ["er2", "hun", "ter2"], "\ud800" * 8: "\ud800", "ter2": 2, "": ["", "////", True, None]}
    assert redact(StepData(metadata=value)).metadata == value


SLOW = """
import json, sys, time
from storage_manager import StepData
from storage_manager.redaction import redact_secrets
from storage_manager.redaction.forms import ENCODED_LETTER, pattern_for
from storage_manager.redaction.masking import Secret
secret, text = json.load(sys.stdin)
redact = redact_secrets([secret])
redact(StepData(html=text[:1000]))
start = time.thread_time()
redact(StepData(html=text))
print(time.thread_time() - start)
"""
AMP = "&" * 40 + "X"


@pytest.mark.parametrize(
    ("secret", "unit"),
    [
        (AMP, "&amp;"),
        (AMP, "&"),
        (AMP, "%26amp;"),
        (AMP, "\\u0026amp;"),
        (" " * 40 + "X", "\\20 "),
        (";" * 40 + "X", "&semi;"),
        ("\n" * 40 + "X", "\r\n"),
        ("a" + "\n+" * 30 + "X", "a++++++\n"),
        ("a" + " \n " * 30 + "X", "a   \n   "),
        ("\\&" * 20 + "X", "\\\\&amp;"),
        ("\\" * 20 + "X", "\\"),
        ("Ã\x83ƒ" * 15 + "X", "%C3%83"),
        ("&amp;" * 15 + "X", "&amp;amp;"),
        ("&#38;" * 15 + "X", "&#38;#38;"),
        ("%25" * 15 + "X", "%2525"),
    ],
)
def test_no_secret_makes_a_page_take_long(secret: str, unit: str) -> None:
    """A child process, because a regular expression that takes years cannot be interrupted."""
    page = (unit * 20_000)[:100_000]
    seconds = float(run_python(SLOW, stdin=json.dumps([secret, page]), timeout=60))
    assert seconds < 10, "0.1 to 3 s as a rule"


FUZZ = """
import random, re, sys, time
sys.path.insert(0, ".")
from storage_manager.redaction.forms import pattern_for
from tests.attacks.test_redaction import SOUP, encoded
seed, rounds = int(sys.argv[1]), int(sys.argv[2])
dice, worst = random.Random(seed), 0.0
for _ in range(rounds):
    parts = dice.choices(SOUP, k=dice.randint(1, 3))
    unit = "".join(dice.choices(parts, k=dice.randint(1, 3)))
    secret = unit * dice.choice([6, 12]) + dice.choice(["", "Z"])
    text = "".join(encoded(dice, dice.choice([unit, *parts])) for _ in range(150))[:5000]
    pattern = re.compile(pattern_for(secret))
    print(repr((secret, text)), file=sys.stderr, flush=True)
    start = time.thread_time()
    pattern.sub("", text)
    worst = max(worst, time.thread_time() - start)
print(worst)
"""
SOUP = [
    *"&;#%\\{}=/+<023anux",
    *(
        "amp;",
        "&amp;",
        "#38;",
        "&#97;",
        "lt;",
        "25",
        "%25",
        "26",
        "5c",
        "%5c",
        "u005c",
        "u0026",
        "2b",
        "20",
        "%0a",
        "61",
    ),
    *("x61", "33", "bsol;", "&bsol;", "&#10;"),
    *(" ", "\n", "\r\n", "\t", "\0", "é", "Ã", "\x83", "ƒ", "€", "😀"),
]
_WAYS: list[Callable[[str], str]] = [
    str,
    html.escape,
    quote_plus,
    lambda text: quote(text, safe=""),
    lambda text: json.dumps(text)[1:-1],
    lambda text: html.escape(html.escape(text)),
    lambda text: quote(quote(text, safe=""), safe=""),
    lambda text: json.dumps(json.dumps(text))[3:-3],
    lambda text: quote(html.escape(text), safe=""),
    lambda text: "".join(f"&#{ord(char)}" for char in text),
    lambda text: "".join(f"\\{ord(char):x} " for char in text),
    lambda text: "".join(f"\\{ord(char):x}" for char in text),
    lambda text: quote(text, safe="", encoding="cp1252", errors="ignore"),
    lambda text: text.replace("&", "&amp"),
    lambda text: repr(text.encode())[2:-1],
    lambda text: text.replace("&", "&amp\\u003b").replace(" ", "&nbsp;"),
    lambda text: text.replace("&", "\\u0026amp;"),
]


def encoded(dice: random.Random, text: str) -> str:
    return dice.choice(_WAYS)(text)


@pytest.mark.parametrize("seed", range(2))
def test_random_secrets_that_look_like_encodings_take_no_time(seed: int) -> None:
    assert float(run_python(FUZZ, str(seed), "25", timeout=110)) < 2, "0.02 s as a rule"


@pytest.mark.thorough
@pytest.mark.parametrize("seed", [2])
def test_more_random_secrets_take_no_time(seed: int) -> None:
    assert float(run_python(FUZZ, str(seed), "150", timeout=600)) < 2, "0.05 s as a rule"


def test_no_secret_is_skipped_that_its_expression_finds() -> None:
    """If a text has no encoded letter and not the letters of the secret, the expression is not tried."""
    dice = random.Random(5)
    for _ in range(150):
        secret = "".join(dice.choices([*SOUP, "hunter", "Pass9", "zZ"], k=4))
        pattern, known = re.compile(pattern_for(secret)), Secret(secret)
        for _ in range(20):
            text = f"<p>{encoded(dice, encoded(dice, secret))}</p>"
            if pattern.search(text):
                assert ENCODED_LETTER.search(text) or known.may_be_in(text), (secret, text)


def test_a_secret_of_many_lines_costs_a_page_without_it_nothing() -> None:
    """Its expression has two megabytes, and is not compiled for pages that cannot hold it."""
    start = time.thread_time()
    redact = redact_secrets([PEM * 10])
    redact(StepData(html="<p>&amp; %41 text</p>".replace("%41", "") * 1000))
    assert time.thread_time() - start < 4, "0.01 s as a rule; 10 s before"


class Page:
    """A page whose calls fail with a text that quotes what was typed."""

    url = "https://example.com/"

    def __init__(self, text: str) -> None:
        self.text = text

    async def content(self) -> str:
        raise RuntimeError(self.text)

    async def screenshot(self) -> bytes:
        raise RuntimeError(self.text)

    async def title(self) -> str:
        return "title"


LONG = "correct-horse-battery-staple-0123456789-abcdefghi"


@pytest.mark.parametrize("before", [0, MAX_LINE - 48, MAX_LINE - 38, MAX_LINE - 5, MAX_LINE - 1])
@pytest.mark.parametrize("secret", [LONG, PEM])
async def test_a_reason_is_masked_before_it_is_shortened(secret: str, before: int, tmp_path: Path) -> None:
    """It was cut to its first line and its first characters, and what was left of a secret was none any more."""
    sm = StorageManager(local_base_path=tmp_path, redact=[secret])
    async with record(sm, "s") as recorder:
        await recorder.step(Page("x" * before + secret + " was typed"), {"type": "fill"})
    why = (await sm.retrieve_step_data("s", "step_000001")).metadata["not_captured"]["html"]  # type: ignore[index]
    rest = "" if secret == PEM else " was typed"  # only the first line is stored
    assert why == ("x" * before + MASK + rest)[:MAX_LINE].strip()
    with pytest.raises(Exception, match="cannot capture anything") as raised:
        async with record(sm, "t") as recorder:
            await recorder.step(Page("x" * before + secret))
    assert secret[:8] not in str(raised.value)


async def test_a_reason_that_is_a_book_is_not_quoted(tmp_path: Path) -> None:
    sm = StorageManager(local_base_path=tmp_path, redact=[LONG])
    async with record(sm, "s") as recorder:
        await recorder.step(Page(LONG[:-1] * 10_000), {"type": "fill"})
    metadata = (await sm.retrieve_step_data("s", "step_000001")).metadata
    assert metadata is not None
    assert metadata["not_captured"]["html"] == "RuntimeError, with a message of 480000 characters"


@pytest.mark.parametrize("shape", [LONG * 2, "k" * 40 + LONG, (LONG, LONG), LONG.encode(), frozenset([LONG])])
async def test_an_error_quotes_a_key_whole_or_not_at_all(shape: Any, tmp_path: Path) -> None:
    sm = StorageManager(local_base_path=tmp_path, redact=[LONG])
    for value in ({shape: float("nan")}, {"a": {shape: {"b": object()}}}):
        with pytest.raises(InvalidDataError) as raised:
            await sm.store_step_data("s", "a", action_data=value)
        assert LONG[:6] not in str(raised.value)


async def test_an_error_of_pydantic_is_not_quoted(tmp_path: Path) -> None:
    """It quotes the first and the last characters of a value."""

    class Lazy(dict):  # type: ignore[type-arg]
        def items(self) -> Any:
            return TypeAdapter(int).validate_python(LONG)

    sm = StorageManager(local_base_path=tmp_path, redact=[LONG])
    with pytest.raises(InvalidDataError, match="1 faults in int") as raised:
        await sm.store_step_data("s", "a", action_data=Lazy(a=1))
    assert LONG[:6] not in str(raised.value)


def test_an_id_is_quoted_whole_or_not_at_all() -> None:
    with pytest.raises(
        InvalidDataError.__bases__[0], match="of 57 characters cannot be used: '/' at position 0"
    ) as raised:
        check_id("/" * 8 + LONG, "session_id")
    assert LONG[:6] not in str(raised.value)
