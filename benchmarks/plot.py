"""Draw the main ratios as an SVG without fonts or scripts, which follows the light or dark theme of the reader."""

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

from benchmarks.figures import ratio
from benchmarks.measure import Result

__all__ = ["to_svg"]

WIDTH, LEFT, RIGHT, BAR, STEP = 860, 250, 90, 12, 18  # pixels
FIRST, LAST = 0.5, 64.0  # the ends of the axis, in multiples of the limit


class _Work(NamedTuple):
    title: str
    row: str
    quantity: str  # cpu or wall


_LOCAL = (
    _Work("store, 8 in flight", "local-store-8", "cpu"),
    _Work("retrieve, 8 in flight", "local-retrieve-8", "cpu"),
    _Work("list 100,000 sessions", "local-list-sessions", "wall"),
    _Work("delete 1,000 steps", "local-delete-1000", "wall"),
    _Work("store attachments of 1 MB", "local-attach", "cpu"),
    _Work("retrieve attachments of 1 MB", "local-retrieve-attached", "cpu"),
    _Work("export to Parquet", "local-parquet", "cpu"),
)
_S3 = (
    _Work("store, 8 in flight", "s3-store-8", "cpu"),
    _Work("retrieve, 8 in flight", "s3-retrieve-8", "cpu"),
    _Work("store at 20 ms latency, 8 in flight", "s3-store-8-latency-20", "wall"),
    _Work("list 10,000 sessions", "s3-list-sessions", "cpu"),
    _Work("delete 1,000 objects", "s3-delete-250", "cpu"),
    _Work("store attachments of 1 MB", "s3-attach", "cpu"),
    _Work("retrieve attachments of 1 MB", "s3-retrieve-attached", "cpu"),
    _Work("copy from local disk, by programs", "s3-copy", "wall"),
)
_GROUPS = (("Local disk", _LOCAL), ("S3", _S3))

# Each CSS class has a colour. The picture has its own background, so it is readable on any page.
_STYLE = """
.ground{fill:#ffffff;stroke:#d0d7de}.ink{fill:#1f2328}.dim{fill:#59636e}.grid{stroke:#d8dee4}.limit{stroke:#59636e}
.ours{fill:#0969da}.other{fill:#afb8c1}
@media (prefers-color-scheme:dark){.ground{fill:#0d1117;stroke:#3d444d}.ink{fill:#f0f6fc}.dim{fill:#9198a1}
.grid{stroke:#2a313c}.limit{stroke:#9198a1}.ours{fill:#58a6ff}.other{fill:#656c76}}
text{font-family:-apple-system,BlinkMacSystemFont,"Segoe UI",Helvetica,Arial,sans-serif;font-size:13px}
.h1{font-size:18px;font-weight:600}.h2{font-size:15px;font-weight:600}.h3{font-weight:600}
"""


def to_svg(results: Sequence[Result]) -> str:
    """Return the picture, or "" if none of its rows was measured."""
    rows: dict[str, list[Result]] = {}
    for result in results:
        rows.setdefault(result.row.name, []).append(result)
    body: list[str] = []
    y = 94
    for title, works in _GROUPS:
        # without a limit, such as rclone, there is nothing to compare with
        shown = [work for work in works if work.row in rows and not rows[work.row][0].contestant.startswith("ours")]
        if shown:
            body.append(_text(24, y, title, "ink h2"))
        for work in shown:
            body += _work(work, rows[work.row], y + 26)
            y += STEP * len(rows[work.row]) + 26
        y += 50 if shown else 0
    return _page(body, y - 50) if body else ""


def _work(work: _Work, results: Sequence[Result], y: int) -> Iterator[str]:
    """Yield the title of a work, the grid, and a bar for each contestant but the limit, with its name and its ratio."""
    limit, *others = results
    quantity = "CPU" if work.quantity == "cpu" else "time"
    yield _text(24, y, f"{work.title}: {quantity}, in multiples of {limit.contestant}", "ink h3")
    yield from _grid(y + 8, y + 8 + STEP * len(others))
    for number, result in enumerate(others):
        yield from _bar(result.contestant, ratio(result, limit, work.quantity), y + 11 + STEP * number)


def _grid(top: int, bottom: int) -> Iterator[str]:
    for value in (1, 2, 4, 8, 16, 32, 64):
        style = "limit" if value == 1 else "grid"
        yield f'<line x1="{_x(value)}" x2="{_x(value)}" y1="{top}" y2="{bottom}" class="{style}"/>'


def _bar(name: str, value: float, y: int) -> Iterator[str]:
    """Yield a bar from the line of the limit: to the right if the contestant is slower, to the left if it is faster."""
    style = "ours" if name.startswith("ours") else "other"
    left, right = sorted((_x(1), _x(value)))
    yield _text(LEFT - 12, y + BAR - 2, name, "ink" if style == "ours" else "dim", "end")
    yield f'<rect x="{left}" y="{y}" width="{max(right - left, 1):.1f}" height="{BAR}" class="{style}"/>'
    yield _text(right + 6, y + BAR - 2, f"{value:.2f}×", "ink h3" if style == "ours" else "dim")


def _x(value: float) -> float:
    """Return the position of a ratio on a logarithmic axis."""
    share = math.log(min(max(value, FIRST), LAST) / FIRST) / math.log(LAST / FIRST)
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def _text(x: float, y: float, text: str, style: str, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" class="{style}" text-anchor="{anchor}">{escape(text)}</text>'


def _page(body: Sequence[str], height: int) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
    name = "The cost of storing browser steps, in multiples of the limit"
    below = (
        "Bars to the right of 1× cost more than the limit, bars to the left less. The lines are at 1×, 2×, 4×, ... 64×."
    )
    ground = f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="6" class="ground"/>'
    texts = [_text(24, 36, name, "ink h1"), _text(24, 58, below, "dim")]
    return "\n".join(
        [head + f'role="img"><title>{name}</title>', f"<style>{_STYLE}</style>", ground, *texts, *body, "</svg>", ""]
    )
