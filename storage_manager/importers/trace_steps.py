"""Convert each action of a trace to a step: the action, what the page showed, the time and the place."""

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, timezone
from html import unescape
from typing import Any, NamedTuple

from storage_manager.importers.archive import Archive
from storage_manager.importers.budget import Budget, refuse
from storage_manager.importers.calls import acts, is_private, is_step, public
from storage_manager.importers.sights import Sight, View, views
from storage_manager.importers.storing import present
from storage_manager.importers.style_sheets import StyleSheets
from storage_manager.importers.trace import Action
from storage_manager.layout import StepData

__all__ = ["Steps"]

# Playwright writes the names of HTML elements in upper case, and those of XHTML as they are. Every other < of a page is
# escaped, and nothing here goes beyond the next one, so that the time is proportional to the length.
_TITLE = re.compile(r"<(TITLE|title)(?:\s[^<>]*)?>([^<]*)</\1>")
_BODIES = ("<BODY", "<body")
MAX_HEAD = 4 * 2**20  # characters; a head with style sheets has some 100 kB
_MAX_NAMED = 10  # style sheets that a step names as absent
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Steps:
    """The steps of a trace. Each step is built on demand. This class is not thread-safe.

    Parameters:
        budget: limits the size of the pages.
        all_calls: False to leave out calls that neither act on a page nor check it.

    Raises (here and in each method):
        ValueError, zipfile.BadZipFile, zlib.error, EOFError: the trace is damaged or hostile.
    """

    def __init__(
        self, archive: Archive, actions: list[Action], sheets: StyleSheets, budget: Budget, *, all_calls: bool
    ) -> None:
        self._archive, self._budget = archive, budget
        self._views = views(actions, lambda action: all_calls or is_step(*action.name))
        if not self._views:
            refuse("none of its calls acts on a page or checks one; all_calls=True imports the other calls")
        self._sheets = sheets
        self._starts: dict[str | None, list[float]] = defaultdict(list)
        for view in self._views:
            if acts(*view.action.name):
                self._starts[view.page_id].append(view.action.start)

    def __len__(self) -> int:
        return len(self._views)

    def data(self, number: int) -> StepData:
        """Return the components of a step. Steps are counted from 0. A component is None if the trace lacks it."""
        view, self._sheets.missing = self._views[number], []
        html, shot = self._html(view.sight), view.sight.shot if view.sight else None
        image, screenshot = self._read(self._images(view))
        metadata = {
            "url": shot.url if shot else None,
            "title": _title(html or ""),
            "page_id": view.page_id,
            "observed": _observed(view, image),
            "snapshot": ("after" if view.is_after else view.sight.phase) if view.sight else None,
            "screenshot": image.kind if image and screenshot else None,
            "viewport": shot.viewport if shot else view.action.context.viewport,
            "not_captured": _reasons(image if screenshot is None else None, self._sheets.missing),
            **_circumstances(view.action),
        }
        return StepData(html, screenshot, _call(view.action), present(metadata))

    def _html(self, sight: Sight | None) -> str | None:
        if sight is None:
            return None
        snapshots, moment = sight.action.context.snapshots, sight.action.moments[sight.phase]
        return snapshots.html(moment, sight.shot.frame_id, self._sheets.css, self._budget.spend)

    def _read(self, images: Iterable["_Image"]) -> tuple["_Image | None", bytes | None]:
        """Return the first image that is in the trace, or else the first image that is missing."""
        missing = None
        for image in images:
            data = self._archive.read(image.name)
            if data is not None:
                return image, data
            missing = missing or image
        return missing, None

    def _images(self, view: View) -> Iterator["_Image"]:
        """Yield the images that may show the page, the best one first.

        They are a screenshot that was taken for the action, a frame after it, an attached screenshot, and a frame
        before it.
        """
        taken, frame = _taken(view), None
        if taken is None and view.page_id is not None:
            frame = self._frame(view, view.page_id)
        attached = _Image("attached", "after", view.action.attached) if view.action.attached else None
        images = (taken, attached, frame) if frame and frame.moment == "before" else (taken, frame, attached)
        yield from filter(None, images)

    def _frame(self, view: View, page_id: str) -> "_Image | None":
        starts, end = self._starts[page_id], view.action.ended
        at = bisect_right(starts, end)
        seen, until = end, starts[at] if at < len(starts) else float("inf")
        if view.sight:
            seen = view.sight.time
            end, until = (end, until) if view.is_after else (seen, seen)
        moment, name = view.action.context.frame_at(page_id, end, seen, until)
        return _Image(moment, moment, name) if name else None


class _Image(NamedTuple):
    """The name of an image. It shows the page at a moment: "before" or "after" the action."""

    kind: str
    moment: str
    name: str


def _taken(view: View) -> _Image | None:
    """Return the screenshot that was taken with the snapshot; else one of the action, from the same side of it.

    The sides are before and after the action. Without a snapshot, look after the action first.
    """
    sides = {"after": ("after",), "before": ("action", "before")}
    if view.sight and view.is_after:
        taken = _screenshot(view.sight.action, view.sight.phase)
        if taken:
            return _Image("taken", "after", taken)
    for moment, phases in sides.items():
        if not view.sight or view.is_after == (moment == "after"):
            name = next(filter(None, (_screenshot(view.action, phase) for phase in phases)), None)
            if name:
                return _Image("taken", moment, name)
    return None


def _screenshot(action: Action, phase: str) -> str | None:
    return action.context.screenshots.get(f"{phase}@{action.call_id}")


def _reasons(image: _Image | None, sheets: list[str]) -> dict[str, str]:
    """Return why something is absent, as a recorder does."""
    reasons = {} if image is None else {"screenshot": f"{image.name} is not in the trace"}
    if sheets:
        more = f" and {len(sheets) - _MAX_NAMED} more" if len(sheets) > _MAX_NAMED else ""
        reasons["style_sheets"] = f"{', '.join(sheets[:_MAX_NAMED])}{more}: not in the trace"
    return reasons


def _observed(view: View, image: _Image | None) -> str:
    """Return "after" or "before": the time at which the step shows its page. Return "after" if it shows nothing."""
    if view.sight:
        return "after" if view.is_after else "before"
    return image.moment if image else "after"


def _title(html: str) -> str:
    bodies = [html.find(name, 0, MAX_HEAD) for name in _BODIES]
    title = _TITLE.search(html, 0, min((at for at in bodies if at >= 0), default=MAX_HEAD))
    return unescape(title[2]).strip() if title else ""


def _call(action: Action) -> dict[str, Any]:
    kind, method = action.name
    said = {"params": action.fields.mapping("params"), "log": action.log, "result": action.result}
    call = {
        "type": method,
        "class": kind,
        "title": action.title,
        "point": action.point,
        "error": action.error,
        "call_id": action.call_id,
        **({} if is_private(method) else public(said)),
    }
    return present(call)


def _circumstances(action: Action) -> dict[str, Any]:
    """Return when and where the action ran. Times are in milliseconds; `timestamp` is in UTC."""
    options, wall_time = action.context.options, action.wall_time
    when = None if wall_time is None else _EPOCH + timedelta(milliseconds=wall_time)
    return {
        "timestamp": when.isoformat(timespec="milliseconds") if when else None,
        "start": action.start,
        "end": action.end,
        "duration": None if action.end is None else round(action.end - action.start, 3),
        "browser": options.text("browserName"),
        "platform": options.text("platform"),
        "trace_title": options.text("title"),
        "playwright_version": options.text("playwrightVersion"),
        "trace_version": action.context.version,
        "source": "playwright-trace",
    }
