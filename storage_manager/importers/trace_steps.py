"""Turn each action of a trace into a step: what was done, what the page showed then, and when and where."""

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from html import unescape
from typing import Any

from storage_manager.importers.archive import Archive, refuse
from storage_manager.importers.calls import acts, is_private, is_step, public
from storage_manager.importers.snapshots import Snapshot
from storage_manager.importers.trace import PHASES, Action
from storage_manager.layout import COMPONENTS, StepData

__all__ = ["MAX_SESSION", "Steps"]

# A trace of 100 MB becomes some GB of steps, because each step has its whole page. Without this limit, a hostile trace
# could fill the disk, or take forever with pages of many empty slices.
MAX_SESSION = 8 * 2**30

# Playwright writes the names of HTML elements in upper case, and those of XHTML as they are. Every other < of a page is
# escaped, and nothing here goes beyond the next one, so that the time is proportional to the length.
_TITLE = re.compile(r"<(TITLE|title)(?:\s[^<>]*)?>([^<]*)</\1>")
_BODIES = ("<BODY", "<body")
MAX_HEAD = 4 * 2**20  # characters; a head with style sheets has some 100 kB
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Steps:
    """The steps of a trace. Each is built when it is asked for. They are not thread-safe.

    Parameters:
        all_calls: False leaves out calls that neither act on a page nor check it.

    Raises (here and in each method):
        ValueError, zipfile.BadZipFile, zlib.error, EOFError: the trace is damaged or hostile.
    """

    def __init__(self, archive: Archive, actions: list[Action], *, all_calls: bool) -> None:
        self._archive = archive
        self._actions = [action for action in actions if all_calls or is_step(*action.name)]
        if not self._actions:
            refuse("none of its calls acts on a page or checks one; all_calls=True imports the other calls")
        self._page_ids = [_page_id(action) for action in self._actions]
        self._spent = 0
        self._starts: dict[str | None, list[float]] = defaultdict(list)
        for action, page_id in zip(self._actions, self._page_ids, strict=True):
            if acts(*action.name):
                self._starts[page_id].append(action.start)

    def __len__(self) -> int:
        return len(self._actions)

    def check(self) -> None:
        """Build every step once, so that data that cannot be stored is refused before anything is stored."""
        for number in range(len(self)):
            for row, value in zip(COMPONENTS, self.data(number), strict=True):
                self._spend(0 if value is None else len(row.encode(value, row.keyword)))
        self._spent = 0

    def _spend(self, count: int) -> None:
        self._archive.check_cancelled()
        self._spent += count
        if self._spent > MAX_SESSION:
            refuse(f"its session would have more than {MAX_SESSION} bytes")

    def data(self, number: int) -> StepData:
        """Return the components of a step. Steps are counted from 0. A component is None if the trace lacks it."""
        action, page_id = self._actions[number], self._page_ids[number]
        phase, shot = _snapshot_of(action)
        snapshots, moment = action.context.snapshots, action.moments.get(phase, "")
        html = snapshots.html(moment, shot.frame_id, self._sheet, self._spend) if shot else None
        screenshot, image = self._image(action, page_id)
        metadata = {
            "url": shot.url if shot else None,
            "title": _title(html or ""),
            "page_id": page_id,
            "snapshot": phase if shot else None,
            "screenshot": screenshot if image else None,
            "viewport": shot.viewport if shot else None,
            **_circumstances(action),
        }
        return StepData(html, image, _call(action), _present(metadata))

    def _sheet(self, name: str) -> str | None:
        data = self._archive.read(name)
        return None if data is None else data.decode(errors="replace")

    def _image(self, action: Action, page_id: str | None) -> tuple[str, bytes | None]:
        """Return the kind and the bytes of the step's image.

        It is the screenshot that was taken for the action, or else a frame of the screencast after it or before it.
        """
        taken = (action.context.screenshots.get(f"{phase}@{action.call_id}") for phase in PHASES)
        kind, name = "taken", next(filter(None, taken), None)
        if name is None and page_id is not None:
            end, starts = _end(action), self._starts[page_id]
            at = bisect_right(starts, end)
            kind, name = action.context.frame_at(page_id, end, starts[at] if at < len(starts) else float("inf"))
        return kind, self._archive.read(name) if name else None


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value not in (None, "", [], {})}


def _end(action: Action) -> float:
    return action.start if action.end is None else action.end


def _snapshot_of(action: Action) -> tuple[str, Snapshot | None]:
    """Return the phase and the snapshot of the page: after the action, or else during it, or else before it."""
    shots = [(phase, action.context.snapshots.main_frame(action.moments[phase], action.page_id)) for phase in PHASES]
    return next(((phase, shot) for phase, shot in shots if shot), ("", None))


def _page_id(action: Action) -> str | None:
    """Return the id of the action's page, or of its snapshot's page, or of the page that the action opened.

    Only traces up to version 5 need the last one.
    """
    _, shot = _snapshot_of(action)
    opened = action.result.get("page") if isinstance(action.result, dict) else None
    guid = opened.get("guid") if isinstance(opened, dict) else None
    return action.page_id or (shot.page_id if shot else None) or (guid if isinstance(guid, str) else None)


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
    return _present(call)


def _circumstances(action: Action) -> dict[str, Any]:
    """Return when and where the action ran. Times are in milliseconds; `timestamp` is in UTC."""
    options, wall_time = action.context.options, action.wall_time
    when = None if wall_time is None else _EPOCH + timedelta(milliseconds=wall_time)
    known = {
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
    viewport = options.fields("options").mapping("viewport")
    return known | ({"viewport": viewport} if viewport and not _snapshot_of(action)[1] else {})
