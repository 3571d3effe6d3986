"""Text of a page, a file or a service against each regular expression: the time grows as the text does, not faster.

A pattern that backtracks over repeated characters takes time that grows with the square of their number, and holds the
interpreter meanwhile: no other task, no cancellation and no Ctrl+C gets through.
"""

import ast
import importlib
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import storage_manager
from storage_manager import StorageManagerError
from storage_manager.backends.obstore_errors import translated
from storage_manager.config import arguments_of
from storage_manager.credentials import without_credentials
from storage_manager.encoding import decode_json, image_type, without_surrogates
from storage_manager.importers.archive import check_name
from storage_manager.importers.markup import style_element, write_markup
from storage_manager.importers.trace_steps import _title
from storage_manager.layout import is_component, is_id, is_system_file, only_ids
from storage_manager.viewer.changes import compare

pytestmark = pytest.mark.thorough

ROOT = Path(storage_manager.__file__).parent
SIZES = (2_000, 20_000)  # characters; at the second a quadratic pattern takes 0.2 s, so this test never hangs
LIMIT = 0.3e-6  # seconds per character; linear patterns take 1 to 80 ns, a quadratic one 1 us at the smallest size
LEAST = 5e-3  # seconds; shorter times say nothing

# Repeated, each is what some pattern looks for, begins with or stops at.
UNITS = [*" \t\n\r\0\"'&<>/\\.:;=-_*?#%[](){}09aeEdDjuvsx", "\ud800", "\u20ac", "\\u", "\\ud", "::", "..", "../", "//"]
UNITS += [
    "<!--",
    "<title ",
    "<title>",
    "<TITLE x",
    "<body",
    "javascript",
    "j\t",
    "\tj",
    "a/",
    "step_",
    "shard-0",
    ",\n",
]
UNITS += [
    "Server returned non-2xx status code: 1",
    "403 x",
    "Error performing GET ",
    "InvalidCertificate(",
    " Connect",
    "kind: ",
    "%3a",
    "e9",
    "9e",
]
ENDS = ("", "\n", "!", "@", "\0", "</title>", ".tar")
STARTS = ("", "a", "[", "<title", "<TITLE", "shard-", "step_", "profile", "//", "non-2xx status code: 1")


class Pattern(NamedTuple):
    """A pattern of the package, and the names of the methods with which it is called."""

    where: str
    pattern: "re.Pattern[Any]"
    methods: frozenset[str]


def compiled() -> Iterator[Pattern]:
    """Yield every pattern that a module or a class of the package has, with the methods that the package calls."""
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        if parts[-1] == "__main__":
            continue
        module = importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
        classes = [value for value in vars(module).values() if isinstance(value, type)]
        owners = [module, *(cls for cls in classes if cls.__module__ == module.__name__)]
        for owner in owners:
            for name, value in vars(owner).items():
                for pattern in patterns_in(value):
                    used = re.findall(rf"\b{name}\.(\w+)", path.read_text())
                    methods = frozenset(used) & METHODS or frozenset(["search", "fullmatch"])
                    yield Pattern(f"{module.__name__}.{name}", pattern, methods)


def patterns_in(value: object) -> list["re.Pattern[Any]"]:
    """Return the patterns that a value is or holds."""
    if isinstance(value, re.Pattern):
        return [value]
    if isinstance(value, (list, tuple)):
        return [pattern for item in value for pattern in patterns_in(item)]
    return []


def inline() -> Iterator[Pattern]:
    """Yield every pattern that is written where it is used: `re.search(r"...", text)`."""
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                first, method = node.args[0], node.func.attr
                is_re = isinstance(node.func.value, ast.Name) and node.func.value.id == "re"
                if is_re and method in METHODS and isinstance(first, ast.Constant):
                    flags = re.IGNORECASE if "IGNORECASE" in ast.unparse(node) else 0
                    yield Pattern(f"{path.name}:{node.lineno}", re.compile(first.value, flags), frozenset([method]))


METHODS = frozenset({"search", "match", "fullmatch", "findall", "finditer", "sub", "subn", "split"})
# Patterns that no stranger's text reaches, or reaches only behind a fixed beginning.
OWN_TEXT = {
    "masking.py": "the user's own secrets; what is built from them is tested with redaction",
    "storage_manager.redaction": "the same",
}
PATTERNS = [one for one in (*compiled(), *inline()) if not one.where.startswith(tuple(OWN_TEXT))]


def calls(pattern: Pattern) -> Iterator[Callable[[Any], object]]:
    for method in sorted(pattern.methods):
        function = getattr(pattern.pattern, method)
        yield (lambda text, function=function: function("", text)) if method in ("sub", "subn") else function


def attacked(function: Callable[[Any], object], texts: Iterable[Callable[[int], Any]], limit: float = LIMIT) -> None:
    """Call a function with longer and longer texts, and check that the time per character does not grow."""
    for text_of in texts:
        for size in SIZES:
            text = text_of(size)
            most = max(LEAST, limit * size)
            is_quick = timed(function, text) < most or timed(function, text) < most
            assert is_quick, f"more than {most:.3f} s for {size} characters: {text[:20]!r}..."


def timed(function: Callable[[Any], object], text: Any) -> float:
    started = time.thread_time()
    function(text)
    return time.thread_time() - started


def repeated(*, binary: bool = False, starts: Iterable[str] = STARTS) -> Iterator[Callable[[int], Any]]:
    """Yield functions that return a text of about this many characters: one unit again and again, with some ends."""
    for unit in UNITS:
        for start in starts:
            for end in ENDS if start == "" else ("!",):
                yield lambda size, parts=(start, unit, end): built(*parts, size, binary)


def built(start: str, unit: str, end: str, size: int, binary: bool) -> str | bytes:
    text = start + unit * (size // len(unit)) + end
    return text.encode(errors="surrogatepass") if binary else text


def test_the_patterns_are_found() -> None:
    where = {one.where.rpartition(".")[0] for one in PATTERNS}
    for name in (
        "importers.archive",
        "importers.markup",
        "importers.trace_steps",
        "layout",
        "viewer.guard",
        "cli.text",
    ):
        assert f"storage_manager.{name}" in where
    assert len(PATTERNS) > 25


def test_a_quadratic_pattern_is_found() -> None:
    """The patterns that froze the process: the fuzz must see each of them."""
    schemes = re.compile(r"[\x00-\x20]*j[\t\n\r]*a[\t\n\r]*v", re.IGNORECASE)
    for slow in (schemes, re.compile(r"<title(?:\s[^>]*)?>"), re.compile(r"\s+$")):
        with pytest.raises(AssertionError, match="characters"):
            attacked(slow.search, repeated())


@pytest.mark.parametrize("pattern", PATTERNS, ids=[one.where for one in PATTERNS])
def test_every_pattern_is_linear(pattern: Pattern) -> None:
    for function in calls(pattern):
        attacked(function, repeated(binary=isinstance(pattern.pattern.pattern, bytes)))


def spend(count: int) -> None:
    """Accept any cost."""


def decoded(text: bytes) -> None:
    """Decode JSON that holds the text in several places."""
    with suppress(ValueError):
        decode_json(b'{"a": "' + text.replace(b'"', b"").replace(b"\\", b"") + b'"}')


def numbers(text: bytes) -> None:
    with suppress(ValueError):
        decode_json(b'{"a": [' + text + b"1]}")


def named(text: str) -> None:
    with suppress(ValueError):
        check_name(text)


def located(url: str) -> None:
    with suppress(StorageManagerError):
        arguments_of(url)


def refused(text: str) -> None:
    translated(OSError(f"Server returned non-2xx status code: 403 Forbidden: {text}"), "GetObject", "http://x")


# What a page, a trace or a listing can pass to the package, and how the package reads it.
ENTRIES: dict[str, Callable[[str], object]] = {
    "attribute": lambda text: write_markup(["P", {"to": text, "href": text, text: "x"}], "", spend),
    "animation": lambda text: write_markup(["SET", {"to": text, "values": f"a:{text}"}], "", spend),
    "name": lambda text: write_markup([f"A{text}", {}, "x"], "", spend),
    "text": lambda text: write_markup(["P", {}, text], "", spend),
    "style": lambda text: write_markup(["STYLE", {}, text], "", spend),
    "sheet": style_element,
    "link": lambda text: write_markup(["LINK", {"rel": f"stylesheet {text}", "href": text}], text, spend),
    "meta": lambda text: write_markup(["META", {"http-equiv": text, text: text}], "", spend),
    "title": _title,
    "member": named,
    "lines": lambda text: compare(text, f"{text}x"),
    "ids": lambda text: (is_id(text), only_ids([text, text[:100]]), is_component(text), is_system_file(text)),
    "url": lambda text: located(f"ftp://{text}"),
    "answer": lambda text: translated(OSError(f"Server returned non-2xx status code: {text}"), "GetObject", "http://x"),
    "refusal": lambda text: refused("".join(without_surrogates(text))),
    "message": lambda text: without_credentials(text, "s3://bucket", from_service=True),
    "surrogates": lambda text: list(without_surrogates(text)),
}
EACH = 3e-6  # seconds per character; these do more than search
BINARY: dict[str, Callable[[bytes], object]] = {"json": decoded, "numbers": numbers, "image": image_type}


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_way_in_is_linear(entry: str) -> None:
    attacked(ENTRIES[entry], repeated(starts=("a",)), EACH)


@pytest.mark.parametrize("entry", BINARY)
def test_every_way_in_of_bytes_is_linear(entry: str) -> None:
    attacked(BINARY[entry], repeated(binary=True, starts=("a",)), EACH)


@pytest.mark.parametrize("units", [b"9" * 299 + b",", b"9" * 209 + b",", b"1,", b"1e9,", b'"Infinity",'])
def test_numbers_are_read_quickly(units: bytes) -> None:
    """Looking for numbers that are too large took 0.39 s per megabyte, on the event loop."""
    text = b'{"a": [' + units * (2**20 // len(units)) + b"1]}"
    parsed = min(timed(decode_json, text) for _ in range(3))
    assert parsed < 0.25
    with pytest.raises(ValueError, match="too large for a 64-bit float"):
        decode_json(text.replace(b"1]}", b"1e999]}"))


def test_every_number_that_is_too_large_is_found() -> None:
    for number in (b"1e999", b"-1e999", b"9" * 400 + b".0", b"9" * 250 + b".5e99", b"0.1e+0000000000310"):
        with pytest.raises(ValueError, match="too large for a 64-bit float"):
            decode_json(b'{"Infinity": ["Infinity", ' + number + b"]}")
    assert decode_json(b'{"Infinity": "Infinity", "a": 1e308}') == {"Infinity": "Infinity", "a": 1e308}
