"""The actions of a trace, their snapshots and screenshots, whatever the version that it was recorded by.

What changed: 4 splits an action into before, input, log and after; 6 logs line by line; 7 gives every context its
clock, and the test runner's trace a header; 8 calls `apiName` a title; 9 names members by their path, takes
screenshots, and tells snapshots by their phase; 10 gives the test runner's step and the action one id.
"""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from storage_manager.importers.archive import refuse
from storage_manager.importers.fields import Fields
from storage_manager.importers.snapshots import Pages

__all__ = ["KNOWN_VERSIONS", "MAX_ACTIONS", "Action", "Context", "actions_of"]

KNOWN_VERSIONS = range(3, 11)  # Playwright 1.31 writes 4, 1.46 writes 7, 1.65 writes 10
# As many as have a place in step_000001 and so on, by far: a day's run has some thousands.
MAX_ACTIONS = 100_000
# A screencast shows what an action did a little later: frames are taken 5 times a second at least.
_LATER = 500.0
PHASES = ("after", "action", "before")


@dataclass(slots=True)
class Action:
    """One call of Playwright; times are milliseconds on the clock of its context."""

    context: "Context"
    call_id: str
    step_id: str
    start: float
    fields: Fields
    title: str | None
    page_id: str | None
    end: float | None = None
    error: Any = None
    point: Any = None
    result: Any = None
    log: list[str] = field(default_factory=list)
    moments: dict[str, str] = field(default_factory=dict)

    @property
    def wall_time(self) -> float | None:
        """When it began, in milliseconds since 1970."""
        origin = self.context.wall_origin
        return None if origin is None else origin + self.start

    def finish(self, event: Fields) -> None:
        """Take what an event says of the end."""
        self.end = event.number("endTime")
        self.error = event.mapping("error")
        self.result = event.values.get("result")
        self.point = event.mapping("point") or self.point


class Context:
    """One `.trace` member: what a browser context, or the test runner, wrote."""

    def __init__(self) -> None:
        self.options = Fields({}, "")
        self.version = 6  # of a test runner's trace without a header
        self.from_library = False
        self.wall_origin: float | None = None
        self.actions: dict[str, Action] = {}
        self.pages = Pages()
        self.screenshots: dict[str, str] = {}
        self.frames: dict[str, list[tuple[float, str]]] = {}

    def take(self, events: Iterable[tuple[str, object]]) -> "Context":
        """All events of the member, in their order.

        Raises:
            ValueError: one is none, or there are too many actions.
        """
        takers = {
            "context-options": self._header,
            "action": self._whole_action,
            "before": self._before,
            "input": self._input,
            "log": self._log,
            "after": self._after,
            "frame-snapshot": lambda event: self.pages.add(event.fields("snapshot")),
            "screencast-frame": self._frame,
            "screenshot": self._screenshot,
        }
        for where, value in events:
            event = Fields(value, where)
            taker = takers.get(event.needed("type"))
            if taker:
                taker(event)
            if len(self.actions) > MAX_ACTIONS:
                refuse(f"it has more than {MAX_ACTIONS} actions")
        for frames in self.frames.values():
            frames.sort()
        return self

    def _header(self, event: Fields) -> None:
        version = event.needed_number("version")
        if version not in KNOWN_VERSIONS:
            known = f"{KNOWN_VERSIONS[0]} to {KNOWN_VERSIONS[-1]}"
            newer = "a newer Playwright" if version > KNOWN_VERSIONS[-1] else "an older one"
            refuse(f"it has version {version:g} of the format, from {newer}: this library knows versions {known}")
        self.options, self.version = event, int(version)
        self.from_library = self.version < 7 or event.text("origin") == "library"
        wall_time, monotonic = event.number("wallTime"), event.number("monotonicTime")
        if wall_time is not None and monotonic is not None:
            self.wall_origin = wall_time - monotonic

    def _before(self, event: Fields) -> None:
        if not event.needed("method").startswith("tracing"):
            self._add(event, event.needed("callId"), event.text("apiName") or event.text("title"))
            self._moment(event, "before", "beforeSnapshot")

    def _whole_action(self, event: Fields) -> None:
        if self.version > 3:
            self._before(event)
            self._input(event)
            self._after(event)
            return
        call = event.fields("metadata")
        if call.flag("internal") or call.needed("method").startswith("tracing"):
            return
        action = self._add(call, call.needed("id"), call.text("apiName"))
        action.finish(call)
        action.error = call.fields("error").mapping("error")
        action.log = _texts(call)
        for snapshot in call.objects("snapshots"):
            phase = snapshot.needed("title")
            action.moments["action" if phase == "input" else phase] = snapshot.needed("snapshotName")

    def _add(self, event: Fields, call_id: str, title: str | None) -> Action:
        start, wall_time = event.needed_number("startTime"), event.number("wallTime")
        if self.wall_origin is None and wall_time:  # until version 6, each action knows the time
            self.wall_origin = wall_time - start
        step_id = event.text("stepId") or call_id
        if self.version < 7 and wall_time is not None:
            step_id = f"{title}@{wall_time}"
        action = Action(self, call_id, step_id, start, event, title, event.text("pageId"))
        action.moments = {phase: f"{phase}@{call_id}" for phase in PHASES}
        self.actions[call_id] = action
        return action

    def _known(self, event: Fields) -> Action | None:
        return self.actions.get(event.needed("callId"))

    def _moment(self, event: Fields, phase: str, name: str) -> None:
        action, moment = self._known(event), event.text(name)
        if action and moment:
            action.moments[phase] = moment

    def _input(self, event: Fields) -> None:
        self._moment(event, "action", "inputSnapshot")
        action = self._known(event)
        if action:
            action.point = event.mapping("point")

    def _log(self, event: Fields) -> None:
        action = self._known(event)
        if action:
            action.log.append(event.needed("message"))

    def _after(self, event: Fields) -> None:
        self._moment(event, "after", "afterSnapshot")
        action = self._known(event)
        if action:
            action.finish(event)
            action.log += _texts(event)

    def _frame(self, event: Fields) -> None:
        name = event.file()
        if name:
            frames = self.frames.setdefault(event.needed("pageId"), [])
            frames.append((event.needed_number("timestamp"), name))

    def _screenshot(self, event: Fields) -> None:
        name = event.file()
        if name:
            self.screenshots[f"{event.needed('phase')}@{event.needed('callId')}"] = name

    def frame_at(self, page_id: str, end: float, before: float) -> tuple[str, str | None]:
        """The frame "after" an action that ended, and before the next began; else the last one "before"."""
        frames = self.frames.get(page_id, [])
        at = bisect_left(frames, (end, ""))
        if at < len(frames) and frames[at][0] < min(end + _LATER, before):
            return "after", frames[at][1]
        return "before", frames[at - 1][1] if at else None


def _texts(event: Fields) -> list[str]:
    log = event.values.get("log") or []
    if not isinstance(log, list) or not all(isinstance(line, str) for line in log):
        refuse(f"{event.where}: 'log' must be a list of strings")
    return log


def actions_of(contexts: list[Context]) -> list[Action]:
    """The actions in the order of their start; those of the test runner where the library recorded none.

    The test runner records a step for each action, too, and knows whether an expectation failed.
    """
    recorded = [action for context in contexts if context.from_library for action in context.actions.values()]
    steps = [action for context in contexts if not context.from_library for action in context.actions.values()]
    if not recorded and not steps:
        refuse("it has no actions")
    errors = {step.step_id: step.error for step in steps if step.error}
    for action in recorded:
        action.error = errors.get(action.step_id, action.error)
    return sorted(recorded or steps, key=lambda action: (action.wall_time or 0, action.start))
