"""Draw the main ratios as an SVG without fonts or scripts, which follows the light or dark theme of the reader."""

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

from benchmarks.figures import ratio
from benchmarks.measure import Result

__all__ = ["to_svg"]

WIDTH, LEFT, RIGHT, TOP, LINE = 860, 250, 96, 112, 34
FIRST, LAST = 0.8, 64.0  # the ends of the axis, in multiples of the limit


class _Work(NamedTuple):
    title: str
    row: str
    quantity: str  # cpu or wall


_LOCAL = (
    _Work("store, 8 in flight", "local-store-8", "cpu"),
    _Work("retrieve, 8 in flight", "local-retrieve-8", "cpu"),
    _Work("list 100,000 sessions", "local-list-sessions", "wall"),
    _Work("delete 1,000 steps", "local-delete-1000", "wall"),
)
_S3 = (
    _Work("store, 8 in flight", "s3-store-8", "cpu"),
    _Work("retrieve, 8 in flight", "s3-retrieve-8", "cpu"),
    _Work("store at 20 ms latency", "s3-store-8-latency-20", "wall"),
    _Work("list 10,000 sessions", "s3-list-sessions", "cpu"),
    _Work("delete 1,000 objects", "s3-delete-250", "cpu"),
)
_GROUPS = (("Local disk, against plain synchronous Python", _LOCAL), ("S3, against bare obstore", _S3))

# Each CSS class has a colour. The picture has its own background, so it is readable on any page.
_STYLE = """
.ground{fill:#ffffff;stroke:#d0d7de}.ink{fill:#1f2328}.dim{fill:#59636e}.grid{stroke:#d8dee4}.limit{stroke:#59636e}
.ours{fill:#0969da}.ours2{fill:#54aeff}.a{fill:#bc4c00}.b{fill:#8250df}.c{fill:#1a7f37}
@media (prefers-color-scheme:dark){.ground{fill:#0d1117;stroke:#3d444d}.ink{fill:#f0f6fc}.dim{fill:#9198a1}
.grid{stroke:#2a313c}.limit{stroke:#9198a1}.ours{fill:#58a6ff}.ours2{fill:#a5d6ff}.a{fill:#f0883e}.b{fill:#bc8cff}
.c{fill:#3fb950}}
text{font-family:-apple-system,BlinkMacSystemFont,"Segoe UI",Helvetica,Arial,sans-serif;font-size:13px}
.h1{font-size:18px;font-weight:600}.h2{font-weight:600}
"""
# The CSS class and the shape of each contestant. The shapes are for readers who cannot tell the colours apart.
_MARKS = {
    "ours": ("ours", "circle"),
    "fsspec LocalFileSystem": ("a", "square"),
    "fsspec AsyncFileSystemWrapper": ("b", "diamond"),
    "aiofiles": ("c", "triangle"),
    "ours on obstore": ("ours", "circle"),
    "ours on s3fs": ("ours2", "circle"),
    "s3fs": ("a", "square"),
    "boto3 in threads": ("b", "diamond"),
    "cloudpathlib in threads": ("c", "triangle"),
}


def _x(value: float) -> float:
    """Return the position of a ratio on a logarithmic axis."""
    share = math.log(min(max(value, FIRST), LAST) / FIRST) / math.log(LAST / FIRST)
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def _text(x: float, y: float, text: str, style: str, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" class="{style}" text-anchor="{anchor}">{escape(text)}</text>'


def _mark(x: float, y: float, name: str) -> str:
    style, shape = _MARKS[name]
    if shape == "circle":
        return f'<circle cx="{x}" cy="{y}" r="7" class="{style}"/>'
    points = {
        "square": ((-5, -5), (5, -5), (5, 5), (-5, 5)),
        "diamond": ((0, -7), (7, 0), (0, 7), (-7, 0)),
        "triangle": ((0, -6.5), (6.5, 5.5), (-6.5, 5.5)),
    }[shape]
    return f'<polygon points="{" ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in points)}" class="{style}"/>'


def to_svg(results: Sequence[Result]) -> str:
    """Return the picture, or "" if none of its rows was measured."""
    found = {(result.row.name, result.contestant): result for result in results}
    body: list[str] = []
    y = TOP - 20
    for title, works in _GROUPS:
        shown = [work for work in works if any(row == work.row for row, _ in found)]
        if shown:
            body += _group(title, shown, found, y)
            y += LINE * len(shown) + 104
    return _page(body, y - 20) if body else ""


def _group(title: str, works: Sequence[_Work], found: dict[tuple[str, str], Result], y: int) -> Iterator[str]:
    here = [name for name in _MARKS if any((work.row, name) in found for work in works)]
    yield _text(24, y, title, "ink h2")
    yield from _legend(here, y + 24)
    top, bottom = y + 38, y + 44 + LINE * len(works)
    yield from _axis(top, bottom)
    for number, work in enumerate(works):
        yield from _dots(work, here, found, y + 60 + LINE * number)


def _legend(names: Sequence[str], y: int) -> Iterator[str]:
    x = 30.0
    for name in names:
        yield _mark(x, y - 5, name)
        yield _text(x + 13, y, name, "dim")
        x += 36 + 7.3 * len(name)


def _axis(top: int, bottom: int) -> Iterator[str]:
    for value in (1, 2, 4, 8, 16, 32, 64):
        style = "limit" if value == 1 else "grid"
        yield f'<line x1="{_x(value)}" x2="{_x(value)}" y1="{top}" y2="{bottom}" class="{style}"/>'
        yield _text(_x(value), bottom + 16, f"{value}×", "dim", "middle")


def _dots(work: _Work, names: Sequence[str], found: dict[tuple[str, str], Result], y: int) -> Iterator[str]:
    limit = next(result for (row, _), result in found.items() if row == work.row)
    title = f"{work.title} ({'CPU' if work.quantity == 'cpu' else 'time'})"
    yield _text(LEFT - 24, y + 5, title, "ink", "end")
    values = {name: ratio(found[work.row, name], limit, work.quantity) for name in names if (work.row, name) in found}
    # Ours comes last, so it is drawn on top of the others.
    for name, value in sorted(values.items(), key=lambda pair: pair[0].startswith("ours")):
        label = f"<title>{escape(name)}: {value:.2f} times the limit</title>"
        yield f"<g>{label}{_mark(_x(value), y, name)}</g>"
    ours = next((value for name, value in values.items() if name.startswith("ours")), None)
    if ours is not None:
        yield _text(WIDTH - 24, y + 5, f"{ours:.2f}×", "ours h2", "end")


def _page(body: Sequence[str], height: int) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
    name = "The cost of storing browser steps, in multiples of the limit"
    below = "Further left is better. 1× is the fastest possible in Python. The axis is logarithmic."
    ground = f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="6" class="ground"/>'
    texts = [_text(24, 36, name, "ink h1"), _text(24, 58, below, "dim")]
    parts = [
        head + f'role="img"><title>{name}</title>',
        f"<style>{_STYLE}</style>",
        ground,
        *texts,
        *body,
        "</svg>",
        "",
    ]
    return "\n".join(parts)
