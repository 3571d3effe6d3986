"""Read the actions of a trace with their snapshots and screenshots, in each known version of the format.

The versions of the format changed the following:

- 4 splits an action into the events before, input, log and after.
- 6 writes an event for each line of the log.
- 7 gives each context its own clock, and the test runner's trace a header.
- 8 renames `apiName` to `title`.
- 9 refers to members by their path, adds screenshots, and identifies snapshots by their phase.
- 10 gives a step of the test runner and its action the same id.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from storage_manager.importers.budget import refuse
from storage_manager.importers.fields import Fields
from storage_manager.importers.snapshots import Snapshots, viewport_of

__all__ = ["KNOWN_VERSIONS", "MAX_ACTIONS", "Action", "Context", "actions_of"]

KNOWN_VERSIONS = range(3, 11)  # Playwright 1.31 writes 4, 1.46 writes 7, 1.65 writes 10
# The six digits of step_000001 allow far more. A run of a whole day has a few thousand actions.
MAX_ACTIONS = 100_000
_IMAGES = ("image/png", "image/jpeg")
PHASES = ("after", "action", "before")


@dataclass(slots=True)
class Action:
    """One call of Playwright. Its times are milliseconds on the clock of its context.

    `moments` names the snapshot that was taken in each phase: "before" the action, during it ("action"), "after" it.
    `opened` is the id of the last page that was opened before the action ended. `attached` names the member with a
    screenshot that the test runner attached.
    """

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
    opened: str | None = None
    attached: str | None = None
    log: list[str] = field(default_factory=list)
    moments: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> tuple[str, str]:
        """Return the class and the method, such as `Frame` and `click`."""
        kind = self.fields.text("class") or self.fields.text("type") or ""
        return kind, self.fields.required_text("method")

    @property
    def ended(self) -> float:
        """Return when the action ended. If it did not end, return when it began."""
        return self.start if self.end is None else self.end

    @property
    def wall_end(self) -> float:
        """Return when the action ended, in milliseconds since 1970; 0 if this is not known."""
        return 0 if self.wall_time is None else self.wall_time + self.ended - self.start

    @property
    def wall_time(self) -> float | None:
        """Return when the action began, in milliseconds since 1970, or None if this is not known."""
        origin = self.context.wall_origin
        return None if origin is None else origin + self.start

    def finish(self, event: Fields) -> None:
        """Copy the end, the result and the error of the action from an event."""
        self.end = event.number("endTime")
        self.attached = next(filter(None, map(_screenshot_of, event.objects("attachments"))), None)
        self.error = event.mapping("error")
        self.result = event.values.get("result")
        self.point = event.mapping("point") or self.point


class Context:
    """One `.trace` member, which a browser context or the test runner wrote.

    Parameters:
        spend: called with the work that the events cause in addition to their bytes. It may refuse the trace.
    """

    def __init__(self, spend: Callable[[int], None]) -> None:
        self.options = Fields({}, "")
        self.version = 6  # the version of a test runner's trace without a header
        self.from_library = False
        self.wall_origin: float | None = None
        self.actions: dict[str, Action] = {}
        self.snapshots = Snapshots(spend)
        self.screenshots: dict[str, str] = {}
        self.frames: dict[str, list[tuple[float, str]]] = {}
        self._opened: str | None = None

    @property
    def viewport(self) -> dict[str, object] | None:
        """Return the initial size of pages, or None if it is not known."""
        return viewport_of(self.options.fields("options").fields("viewport"))

    def read(self, events: Iterable[tuple[str, object]]) -> "Context":
        """Read all events of the member, in their order. Return self.

        Raises:
            ValueError: an event is not valid, or there are too many actions.
        """
        handlers = {
            "context-options": self._header,
            "action": self._whole_action,
            "before": self._before,
            "input": self._input,
            "log": self._log,
            "after": self._after,
            "frame-snapshot": lambda event: self.snapshots.add(event.fields("snapshot")),
            "screencast-frame": self._frame,
            "screenshot": self._screenshot,
            "event": self._happened,
        }
        for location, value in events:
            event = Fields(value, location)
            handler = handlers.get(event.required_text("type"))
            if handler:
                handler(event)
            if len(self.actions) > MAX_ACTIONS:
                refuse(f"it has more than {MAX_ACTIONS} actions")
        for frames in self.frames.values():
            frames.sort()
        return self

    def _header(self, event: Fields) -> None:
        version = event.required_number("version")
        if version not in KNOWN_VERSIONS:
            known = f"{KNOWN_VERSIONS[0]} to {KNOWN_VERSIONS[-1]}"
            newer = "a newer Playwright" if version > KNOWN_VERSIONS[-1] else "an older one"
            refuse(f"it has version {version:g} of the format, from {newer}; this library reads versions {known}")
        self.options, self.version = event, int(version)
        self.from_library = self.version < 7 or event.text("origin") == "library"
        wall_time, monotonic = event.number("wallTime"), event.number("monotonicTime")
        if wall_time is not None and monotonic is not None:
            self.wall_origin = wall_time - monotonic

    def _before(self, event: Fields) -> None:
        if not event.required_text("method").startswith("tracing"):
            self._add(event, event.required_text("callId"), event.text("apiName") or event.text("title"))
            self._set_moment(event, "before", "beforeSnapshot")

    def _whole_action(self, event: Fields) -> None:
        if self.version > 3:
            self._before(event)
            self._input(event)
            self._after(event)
            return
        call = event.fields("metadata")
        if call.flag("internal") or call.required_text("method").startswith("tracing"):
            return
        action = self._add(call, call.required_text("id"), call.text("apiName"))
        action.finish(call)
        action.error = call.fields("error").mapping("error")
        action.log = _log_lines(call)
        for snapshot in call.objects("snapshots"):
            phase = snapshot.required_text("title")
            action.moments["action" if phase == "input" else phase] = snapshot.required_text("snapshotName")

    def _add(self, event: Fields, call_id: str, title: str | None) -> Action:
        start, wall_time = event.required_number("startTime"), event.number("wallTime")
        if self.wall_origin is None and wall_time:  # until version 6, each action has the wall time
            self.wall_origin = wall_time - start
        step_id = event.text("stepId") or call_id
        if self.version < 7 and wall_time is not None:
            step_id = f"{title}@{wall_time}"
        action = Action(self, call_id, step_id, start, event, title, event.text("pageId"))
        action.moments = {phase: f"{phase}@{call_id}" for phase in PHASES}
        self.actions[call_id] = action
        return action

    def _action_of(self, event: Fields) -> Action | None:
        return self.actions.get(event.required_text("callId"))

    def _set_moment(self, event: Fields, phase: str, name: str) -> None:
        action, moment = self._action_of(event), event.text(name)
        if action and moment:
            action.moments[phase] = moment

    def _input(self, event: Fields) -> None:
        self._set_moment(event, "action", "inputSnapshot")
        action = self._action_of(event)
        if action:
            action.point = event.mapping("point")

    def _log(self, event: Fields) -> None:
        action = self._action_of(event)
        if action:
            action.log.append(event.required_text("message"))

    def _after(self, event: Fields) -> None:
        self._set_moment(event, "after", "afterSnapshot")
        action = self._action_of(event)
        if action:
            action.finish(event)
            action.opened = self._opened if action.name[1] == "newPage" else None
            action.log += _log_lines(event)

    def _happened(self, event: Fields) -> None:
        if event.values.get("method") == "page" and event.values.get("class") == "BrowserContext":
            self._opened = event.fields("params").text("pageId")

    def _frame(self, event: Fields) -> None:
        name = event.file()
        if name:
            frames = self.frames.setdefault(event.required_text("pageId"), [])
            frames.append((event.required_number("timestamp"), name))

    def _screenshot(self, event: Fields) -> None:
        name = event.file()
        if name:
            self.screenshots[f"{event.required_text('phase')}@{event.required_text('callId')}"] = name

    def frame_at(self, page_id: str, end: float, seen: float, until: float) -> tuple[str, str | None]:
        """Return a frame "after" the end of an action, or else the last frame "before" it.

        A frame counts as "after" if it was taken before `until`, when the next action begins. Of these frames, the
        last one until the time `seen` of the snapshot is returned or, if there is none, the first one.
        """
        frames = self.frames.get(page_id, [])
        at = bisect_left(frames, (end, ""))
        if at < len(frames) and frames[at][0] < until:
            last = bisect_right(frames, seen, key=itemgetter(0)) - 1
            return "after", frames[max(at, last)][1]
        return "before", frames[at - 1][1] if at else None


def _screenshot_of(attachment: Fields) -> str | None:
    """Return the name of the member with an attached screenshot; None if the attachment is something else.

    "-expected" and "-diff" images of a failed comparison do not show the page.
    """
    kind, name = attachment.text("contentType"), (attachment.text("name") or "").removesuffix(".png")
    return attachment.file() if kind in _IMAGES and not name.endswith(("-expected", "-diff")) else None


def _log_lines(event: Fields) -> list[str]:
    log = event.values.get("log") or []
    if not isinstance(log, list) or not all(isinstance(line, str) for line in log):
        refuse(f"{event.location}: 'log' must be a list of strings")
    return log


def actions_of(contexts: list[Context]) -> list[Action]:
    """Return the actions in the order of their start.

    If the library recorded no actions, return the steps of the test runner. Otherwise the test runner also recorded a
    step for each action. Only this step has the error of a failed expectation, so the error is copied from it. An
    attached screenshot belongs to the action of its step or, if there is none, to the action that had ended last.
    """
    recorded = [action for context in contexts if context.from_library for action in context.actions.values()]
    steps = [action for context in contexts if not context.from_library for action in context.actions.values()]
    if not recorded and not steps:
        refuse("it has no actions")
    errors = {step.step_id: step.error for step in steps if step.error}
    for action in recorded:
        action.error = errors.get(action.step_id, action.error)
    _hand_over([step for step in steps if step.attached], recorded)
    return sorted(recorded or steps, key=lambda action: (action.wall_time or 0, action.start))


def _hand_over(steps: list[Action], recorded: list[Action]) -> None:
    """Copy attached screenshots from the test runner's steps to the library's actions. The first one is used."""
    owners = {action.step_id: action for action in recorded}
    ended = sorted(recorded, key=lambda action: action.wall_end)
    for step in sorted(steps, key=lambda step: step.wall_end):
        at = bisect_right(ended, step.wall_end, key=lambda action: action.wall_end)
        owner = owners.get(step.step_id) or (ended[at - 1] if at else None)
        if owner:
            owner.attached = owner.attached or step.attached
