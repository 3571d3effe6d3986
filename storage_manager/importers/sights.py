"""Find the snapshot that shows the result of each action: the last snapshot before the next step on the same page.

Playwright takes three snapshots of an action: "before" it, just before the input is dispatched ("action"), and "after"
it. A page may change between two actions, for example when a server answers. So the snapshot before the next action
shows the result of this action best. It also shows the page on which the next action was chosen.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from storage_manager.importers.snapshots import Snapshot
from storage_manager.importers.trace import PHASES, Action

__all__ = ["Sight", "View", "views"]


class Sight(NamedTuple):
    """A snapshot of a page: the action that it was taken for, the phase, and the time on the clock of the context."""

    action: Action
    phase: str
    shot: Snapshot
    time: float


class View(NamedTuple):
    """An action, its page, and a snapshot of the page after the action or, if there is none, before it.

    `is_after` is True if the snapshot shows the page after the action, and False if there is no snapshot.
    """

    action: Action
    page_id: str | None
    sight: Sight | None
    is_after: bool


def views(actions: Iterable[Action], is_step: Callable[[Action], bool]) -> list[View]:
    """Return a view of each action that is a step. The actions must be sorted by their start."""
    found: list[View] = []
    pages: dict[str | None, _Page] = {}
    for action in reversed(list(actions)):
        own = {sight.phase: sight for sight in _sights(action)}
        page_id = _page_id(action, own.values())
        page = pages.setdefault(page_id, _Page())
        if is_step(action):
            found.append(_view(action, page_id, own, page.later))
            page.later, page.limit = own.get("before") or own.get("action"), action.start
        elif page.later is None:
            page.later = next((sight for sight in own.values() if sight.time <= page.limit), None)
    return found[::-1]


class _Page:
    """The next snapshot of a page. The actions are processed backwards."""

    def __init__(self) -> None:
        self.later: Sight | None = None
        self.limit = float("inf")  # when the next step begins


def _view(action: Action, page_id: str | None, own: dict[str, Sight], later: Sight | None) -> View:
    if later and page_id is not None and later.time >= action.ended:
        return View(action, page_id, later, True)
    return View(action, page_id, next(iter(own.values()), None), "after" in own)


def _sights(action: Action) -> Iterator[Sight]:
    """Yield the snapshots of the action's page, the last one first."""
    for phase in PHASES:
        shot = action.context.snapshots.main_frame(action.moments[phase], action.page_id)
        if shot:
            yield Sight(action, phase, shot, action.ended if phase == "after" else action.start)


def _page_id(action: Action, own: Iterable[Sight]) -> str | None:
    """Return the id of the action's page, or of its snapshot's page, or of the page that the action opened.

    Only traces up to version 5 have the opened page in the result.
    """
    opened = action.result.get("page") if isinstance(action.result, dict) else None
    guid = opened.get("guid") if isinstance(opened, dict) else None
    shown = next((sight.shot.page_id for sight in own), None)
    return action.page_id or shown or action.opened or (guid if isinstance(guid, str) else None)
