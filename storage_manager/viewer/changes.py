"""Compare the HTML of two steps line by line, in bounded time and with a result of bounded size.

A line is a tag and the text after it. Equal lines at the beginning and at the end of both pages are left out first. The
rest is divided at the lines that occur exactly once in each page, in the same order ("patience diff", Bram Cohen). This
takes n log n steps. difflib compares the short pieces between these lines, until a budget is used up. Other pieces
count as replaced.
"""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from difflib import SequenceMatcher
from itertools import islice, takewhile
from typing import Any, NamedTuple

__all__ = ["MAX_BYTES", "MAX_CHARACTERS", "Change", "compare", "compare_steps"]

MAX_CHARACTERS = 8_000_000  # per page
MAX_LINES = 100_000  # per page; takes two seconds and 100 MB at most; a page of 400 kB has 10,000 lines
MAX_ROWS = 1500  # rows in the result
MAX_WIDTH = 1000  # characters of a line in the result
CONTEXT = 2  # equal lines around a change
PIECE_COST = 1_000_000  # lines before * lines after * the smaller of both: difflib's cost in the worst case
TOTAL_COST = 10_000_000  # takes half a second

MAX_BYTES = 4 * MAX_CHARACTERS  # per page; UTF-8 has at most four bytes for a character
_TOO_LARGE = {"reason": f"The HTML is too large to be compared: more than {MAX_CHARACTERS:,} characters."}
_LINE = re.compile(r"<?[^<\n]+|<")


class Change(NamedTuple):
    """Lines [a, b) of the old page become lines [c, d) of the new page."""

    a: int
    b: int
    c: int
    d: int


def compare_steps(since: str | None, before: bytes | None, after: bytes | None) -> dict[str, Any]:
    """Compare the HTML of a step with the HTML of an earlier step; return the JSON for the front end.

    Parameters:
        since: the id of the earlier step; None if there is none.
        before, after: the stored HTML of both steps; None for a step without HTML.

    Returns:
        The result of `compare`, and `since`.
    """
    if since is None:
        return {"since": None, "reason": "This is the first step, so there is nothing to compare it with."}
    if after is None:
        return {"since": since, "reason": "This step has no HTML."}
    if before is None:
        return {"since": since, "reason": f"The step before, {since}, has no HTML."}
    if max(len(before), len(after)) > MAX_BYTES:  # decoding it would take seconds
        return {"since": since, **_TOO_LARGE}
    return {"since": since, **compare(before.decode(errors="replace"), after.decode(errors="replace"))}


def compare(before: str, after: str) -> dict[str, Any]:
    """Compare two pages; return the JSON for the front end.

    Returns:
        added, removed: numbers of lines; rows: `[sign, text]` with the sign "+", "-", " " for context, or "@" for
        equal lines that are left out, with their number as text; cut: the number of rows that are left out. If the
        pages are too large to compare: only `reason`.
    """
    if max(len(before), len(after)) > MAX_CHARACTERS:
        return _TOO_LARGE
    if max(map(_lines_at_most, (before, after))) > MAX_LINES:
        return {"reason": f"The HTML is too large to be compared: more than {MAX_LINES:,} tags and lines."}
    old, new = _lines(before), _lines(after)
    changes = list(_changes(old, new))
    rows, cut = _rows(old, new, changes)
    added, removed = sum(c.d - c.c for c in changes), sum(c.b - c.a for c in changes)
    return {"added": added, "removed": removed, "rows": rows, "cut": cut}


def _lines_at_most(text: str) -> int:
    return text.count("<") + text.count("\n") + 1


def _lines(text: str) -> list[str]:
    return [line for line in map(str.strip, _LINE.findall(text)) if line]


def _common(old: list[str], new: list[str]) -> int:
    """Return the number of equal lines at the beginning."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False)))


def _changes(old: list[str], new: list[str]) -> Iterator[Change]:
    head = _common(old, new)
    tail = _common(old[head:][::-1], new[head:][::-1])
    ends = (len(old) - tail, len(new) - tail)
    budget, a, c = TOTAL_COST, head, head
    for b, d in [*_anchors(old[head : ends[0]], new[head : ends[1]], head), ends]:
        cost = (b - a) * (d - c) * min(b - a, d - c)
        if 0 < cost <= min(PIECE_COST, budget):
            budget -= cost
            yield from _by_difflib(old, new, Change(a, b, c, d))
        elif b > a or d > c:
            yield Change(a, b, c, d)
        a, c = b + 1, d + 1


def _by_difflib(old: list[str], new: list[str], piece: Change) -> Iterator[Change]:
    matcher = SequenceMatcher(None, old[piece.a : piece.b], new[piece.c : piece.d], autojunk=False)
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag != "equal":
            yield Change(piece.a + a, piece.a + b, piece.c + c, piece.c + d)


def _anchors(old: list[str], new: list[str], offset: int) -> list[tuple[int, int]]:
    """Return the positions of lines that occur once in each page, as many as possible in the same order."""
    counts = (Counter(old), Counter(new))
    positions = {line: position for position, line in enumerate(new)}
    pairs = [(a, positions[line]) for a, line in enumerate(old) if counts[0][line] == counts[1][line] == 1]
    return [(a + offset, c + offset) for a, c in _longest_increasing(pairs)]


def _longest_increasing(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the longest subsequence of the pairs in which the second numbers increase."""
    ends: list[int] = []  # for each length, the smallest number that ends a sequence of that length
    last: list[int] = []  # for each length, the index of the pair that ends it
    back: list[int] = []  # for each pair, the index of the pair before it in its sequence; -1 if there is none
    for index, (_, value) in enumerate(pairs):
        length = bisect_left(ends, value)
        back.append(last[length - 1] if length else -1)
        ends[length : length + 1], last[length : length + 1] = [value], [index]
    chain = []
    index = last[-1] if last else -1
    while index >= 0:
        chain.append(pairs[index])
        index = back[index]
    return chain[::-1]


def _rows(old: list[str], new: list[str], changes: list[Change]) -> tuple[list[list[str]], int]:
    """Return the first rows, and the number of the others."""
    every = _all_rows(old, new, changes)
    return list(islice(every, MAX_ROWS)), sum(1 for _ in every)


def _all_rows(old: list[str], new: list[str], changes: list[Change]) -> Iterator[list[str]]:
    """Yield the changed lines with some context, and the numbers of equal lines that are left out."""
    done = 0
    for change, following in zip(changes, [*changes, None][1:], strict=True):
        first = max(done, change.a - CONTEXT)
        if first > done:
            yield ["@", str(first - done)]
        yield from ([" ", _short(line)] for line in old[first : change.a])
        yield from (["-", _short(line)] for line in old[change.a : change.b])
        yield from (["+", _short(line)] for line in new[change.c : change.d])
        done = min(change.b + CONTEXT, following.a if following else len(old))
        yield from ([" ", _short(line)] for line in old[change.b : done])
    if changes and done < len(old):
        yield ["@", str(len(old) - done)]


def _short(line: str) -> str:
    return line if len(line) <= MAX_WIDTH else f"{line[:MAX_WIDTH]}… ({len(line) - MAX_WIDTH:,} more characters)"
