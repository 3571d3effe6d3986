"""What changed in the HTML between two steps, line by line, in bounded time and size.

A line is a tag with the text after it. What both begin and end with is set aside; what is left is cut at the lines
that each side has once, in the same order in both ("patience diff", Bram Cohen), which takes n log n; the short pieces
between are compared by difflib, as long as the budget lasts, and a long piece is replaced as a whole.
"""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from difflib import SequenceMatcher
from itertools import islice, takewhile
from typing import Any, NamedTuple

__all__ = ["MAX_CHARACTERS", "Change", "compare"]

MAX_CHARACTERS = 8_000_000  # of each side
MAX_LINES = 100_000  # of each side: two seconds and 100 MB at worst; a page of 400 kB has 10,000
MAX_ROWS = 1500  # that are shown
MAX_WIDTH = 1000  # characters of a line that are shown
CONTEXT = 2
PIECE_COST = 1_000_000  # lines before, times lines after, times the fewer of them: what difflib takes at worst
TOTAL_COST = 10_000_000  # half a second

_LINE = re.compile(r"<?[^<\n]+|<")


class Change(NamedTuple):
    """Lines [a, b) of the one side become lines [c, d) of the other."""

    a: int
    b: int
    c: int
    d: int


def compare(before: str, after: str) -> dict[str, Any]:
    """The changes, as the browser is told them.

    Returns:
        added, removed: how many lines; rows: `[sign, text]` with the sign "+", "-", " " for context or "@" for how
        many equal lines are left out; cut: how many rows are not shown. Or `reason`, where they are not compared.
    """
    if max(len(before), len(after)) > MAX_CHARACTERS:
        return {"reason": f"The HTML is too large to be compared: more than {MAX_CHARACTERS:,} characters."}
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
    """How many lines both begin with."""
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
    """Where lines are that each side has once, as many as keep their order (longest increasing subsequence)."""
    counts = (Counter(old), Counter(new))
    places = {line: place for place, line in enumerate(new)}
    pairs = [(a, places[line]) for a, line in enumerate(old) if counts[0][line] == counts[1][line] == 1]
    ends: list[int] = []  # the smallest place at which a sequence of each length ends
    last: list[int] = []  # the number of the pair that ends it
    back: list[int] = []
    for number, (_, place) in enumerate(pairs):
        length = bisect_left(ends, place)
        back.append(last[length - 1] if length else -1)
        if length == len(ends):
            ends.append(place)
            last.append(number)
        else:
            ends[length], last[length] = place, number
    chain: list[tuple[int, int]] = []
    number = last[-1] if last else -1
    while number >= 0:
        chain.append((pairs[number][0] + offset, pairs[number][1] + offset))
        number = back[number]
    return chain[::-1]


def _rows(old: list[str], new: list[str], changes: list[Change]) -> tuple[list[list[str]], int]:
    """What is shown, and how many more rows there were."""
    every = _all_rows(old, new, changes)
    return list(islice(every, MAX_ROWS)), sum(1 for _ in every)


def _all_rows(old: list[str], new: list[str], changes: list[Change]) -> Iterator[list[str]]:
    """Changed lines, each with a little context; equal lines between them are counted."""
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
