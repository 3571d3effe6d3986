"""Put the snapshots of a page's frames together as one HTML document."""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from html import escape
from typing import NamedTuple

from storage_manager.importers.budget import refuse
from storage_manager.importers.fields import Fields
from storage_manager.importers.markup import Frame, Markup, Reference, Sheet, style_element, write_markup
from storage_manager.importers.style_sheets import Wanted

__all__ = ["MAX_HTML", "Snapshot", "Snapshots", "viewport_of"]

# Pages of real traces have up to about 10 MB. In a hostile trace, references can double the size with each snapshot.
MAX_HTML = 64 * 2**20
# Each slice counts as this many additional characters, so a page of many empty slices reaches the limit too.
_SLICE = 64
# Browsers parse trees of a depth of at most 512, so real trees are not deeper. A reference to a node that contains the
# reference would never end.
_MAX_DEPTH = 10_000
_MAX_DOCTYPE = 100  # characters; the longest that anybody uses is "html"
_NOT_IN_DOCTYPES = re.compile(r"[^A-Za-z0-9]")
_NOT_RECORDED = "<!-- not in the trace -->"
# Advertisements nest four or five frames. Each level escapes the documents inside it once more.
_MAX_FRAMES = 10


FindSheet = Callable[[Wanted, Callable[[int], None]], str | None]


class Snapshot(NamedTuple):
    """The snapshot of one frame at one moment.

    `overrides` are the style sheets that scripts had changed, by URL. The value is the name of a member, or the number
    of snapshots to go back to find it.
    """

    frame_id: str
    page_id: str
    is_main: bool
    url: str
    viewport: dict[str, object] | None
    doctype: str
    time: float
    markup: Markup
    overrides: dict[str, str | int]


class Snapshots:
    """The snapshots of one context, in the order in which they were taken."""

    def __init__(self, spend: Callable[[int], None]) -> None:
        self._spend = spend  # for the work of reading; that of `html` has its own
        self._histories: dict[str, list[Snapshot]] = {}
        self._moments: dict[str, dict[str, int]] = {}
        self._main: dict[tuple[str, str | None], Snapshot] = {}

    def add(self, event: Fields) -> None:
        """Add a snapshot. Its moment is `snapshotName` before version 9, and phase and call id since version 9.

        Raises:
            ValueError: the event is not a valid snapshot.
        """
        frame_id = event.required_text("frameId")
        history = self._histories.setdefault(frame_id, [])
        name = event.text("snapshotName") or f"{event.text('phase')}@{event.text('callId')}"
        shot = _snapshot(event, history[-1] if history else None, self._spend)
        frames = self._moments.setdefault(name, {})
        if frame_id not in frames and shot.is_main:
            self._main.setdefault((name, None), shot)
            self._main.setdefault((name, shot.page_id), shot)
        frames.setdefault(frame_id, len(history))
        history.append(shot)

    def main_frame(self, moment: str, page_id: str | None) -> Snapshot | None:
        """Return the snapshot of the main frame at a moment. If `page_id` is None, it may be of any page."""
        return self._main.get((moment, page_id))

    def html(self, moment: str, frame_id: str, sheet: FindSheet, spend: Callable[[int], None]) -> str:
        """Return the document of a frame at a moment. The documents of frames inside it are in `srcdoc` attributes.

        Parameters:
            sheet: returns the text of a style sheet, or None if the trace does not have it.
            spend: called with the additional cost of each slice. It may refuse the trace.

        Raises:
            ValueError: the references form a cycle, or the document has more than MAX_HTML characters.
        """
        return _Rendering(self._histories, self._moments[moment], sheet, spend).document(frame_id, 0)


def _snapshot(event: Fields, previous: Snapshot | None, spend: Callable[[int], None]) -> Snapshot:
    url = event.text("frameUrl") or ""
    base = previous.markup.base if previous and previous.url == url else url
    try:
        markup = write_markup(event.values.get("html"), base, spend)
    except ValueError as error:
        raise ValueError(f"{event.location}: {error}") from error
    overrides: dict[str, str | int] = {}
    for override in event.objects("resourceOverrides"):
        ago = override.number("ref")
        overrides[override.required_text("url")] = override.file() or int(ago or 0)
    return Snapshot(
        frame_id=event.required_text("frameId"),
        page_id=event.required_text("pageId"),
        is_main=event.flag("isMainFrame"),
        url=url,
        viewport=viewport_of(event.fields("viewport")),
        doctype=_NOT_IN_DOCTYPES.sub("", (event.text("doctype") or "")[:_MAX_DOCTYPE]),
        time=event.number("timestamp") or 0,
        markup=markup,
        overrides=overrides,
    )


def viewport_of(size: Fields) -> dict[str, object] | None:
    """Return the width and the height; None if neither is known."""
    sides = {name: size.number(name) for name in ("width", "height")}
    return {name: side for name, side in sides.items() if side is not None} or None


class _Rendering:
    """Renders one page. The size limit applies to all of its frames together."""

    def __init__(
        self,
        histories: dict[str, list[Snapshot]],
        moment: dict[str, int],
        sheet: FindSheet,
        spend: Callable[[int], None],
    ) -> None:
        self._histories = histories
        self._moment = moment
        self._sheet = sheet
        self._spend = spend
        self._size = 0

    def document(self, frame_id: str, depth: int) -> str:
        if depth > _MAX_FRAMES:
            refuse(f"frames are nested deeper than {_MAX_FRAMES} levels, or they contain each other")
        history, index = self._histories[frame_id], self._moment[frame_id]
        doctype = history[index].doctype
        pieces = [f"<!DOCTYPE {doctype}>" if doctype else ""]
        for piece in self._pieces(history, index):
            text = piece if isinstance(piece, str) else self._fill(piece, history, index, depth)
            self._charge(len(text))
            pieces.append(text)
        return "".join(pieces)

    def _charge(self, size: int) -> None:
        self._spend(_SLICE)
        self._size += size + _SLICE
        if self._size > MAX_HTML:
            refuse(f"a page has more than {MAX_HTML} characters")

    def _pieces(self, history: list[Snapshot], index: int) -> Iterator[str | Frame | Sheet]:
        """Yield, in order, the slices of text between holes, and the holes that are not references."""
        todo = [(index, 0, len(history[index].markup.text))]
        while todo:
            at, position, end = todo.pop()
            markup = history[at].markup
            hole = bisect_left(markup.offsets, position)
            if hole == len(markup.offsets) or markup.offsets[hole] >= end:
                yield markup.text[position:end]
                continue
            offset, filling = markup.offsets[hole], markup.holes[hole]
            if position < offset:
                yield markup.text[position:offset]
            if offset + 1 < end:
                todo.append((at, offset + 1, end))
            if not isinstance(filling, Reference):
                yield filling
            elif target := _target(history, at, filling):
                todo.append(target)
            else:
                yield _NOT_RECORDED
            if len(todo) > _MAX_DEPTH:
                refuse("references between snapshots form a cycle")

    def _fill(self, hole: Frame | Sheet, history: list[Snapshot], index: int, depth: int) -> str:
        if isinstance(hole, Sheet):
            wanted = Wanted(hole.url, _override(history, index, hole.url), history[index].time)
            css = self._sheet(wanted, self._charge) if hole.is_used or wanted.override else None
            return hole.markup if css is None else style_element(css, self._spend, hole.media)
        if hole.frame_id not in self._moment:
            return ""
        return f' srcdoc="{escape(self.document(hole.frame_id, depth + 1))}"'


def _target(history: list[Snapshot], at: int, reference: Reference) -> tuple[int, int, int] | None:
    """Return the snapshot and the part of it that a reference means; None if the trace does not have it.

    A recording may be split into chunks. A later chunk may refer to a style sheet of a script that only an earlier
    chunk contains.
    """
    if reference.ago > at or reference.node >= len(history[at - reference.ago].markup.starts):
        return None
    markup = history[at - reference.ago].markup
    return at - reference.ago, markup.starts[reference.node], markup.ends[reference.node]


def _override(history: list[Snapshot], index: int, url: str) -> str | None:
    """Return the member with the text of a style sheet that scripts changed; None if they did not change it."""
    override = history[index].overrides.get(url)
    if isinstance(override, int) and 0 <= override <= index:
        override = history[index - override].overrides.get(url)
    return override if isinstance(override, str) else None
