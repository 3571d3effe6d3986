"""Pair each action with the page before it and the page after it, for every way of recording."""

import logging
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Sequence
from contextlib import aclosing
from typing import Any, Literal, NamedTuple

from storage_manager.errors import InvalidDataError, StorageManagerError
from storage_manager.layout import Step, StepData, check_ids
from storage_manager.storage import StorageManager, check_storage, iter_listings

__all__ = ["Transition", "iter_transitions"]

logger = logging.getLogger(__name__)

Observed = Literal["before", "after"]

_BOTH = ("before", "after")
_DIGITS = "0123456789"


class Transition(NamedTuple):
    """One action, with the page before it and the page after it.

    Attributes:
        step_id: the step that holds the action.
        before: the page when the action was chosen. Its `action` is None.
        after: the page afterwards. Its `action` is None.
    """

    session_id: str
    step_id: str
    before: StepData | None
    action: dict[str, Any]
    after: StepData | None


async def iter_transitions(
    storage: StorageManager,
    session_ids: Iterable[str] | None = None,
    *,
    observed: Literal["before", "after"] | None = None,
    concurrency: int = 16,
) -> AsyncGenerator[Transition, None]:
    """Yield the page before, the action and the page after, for every action of these sessions.

    Each step has one page. If the page was observed before the action of its step, the page of the next step is the
    page after the action. If it was observed after the action, the page of the previous step is the page before the
    action. The page of such a neighbour is used only if the neighbour was observed in the same way or has no action,
    and if the `page_id` in the metadata of both steps is the same (if both have one). Otherwise this page is None.

    Two steps are neighbours if their ids have the same prefix and end in consecutive numbers, such as `step_9` and
    `step_10`. If no id of a session ends in a number, steps that follow each other in the list are neighbours.

    Transitions come in the order of these numbers. At most `concurrency` + 2 steps are in memory. Sessions and steps
    that cannot be read are left out with a warning, as by iter_steps.

    Parameters:
        session_ids: the sessions, in this order; None for all.
        observed: when the pages of all steps were observed. None to use `observed` in the metadata of each step, or
            else in the metadata of its session.
        concurrency: how many steps are read at a time.

    Raises:
        InvalidDataError: observed is another value; or it is None, and neither the metadata of a step with an action
            nor that of its session has it. A guess could pair each action with the wrong page.
        TypeError: `storage` is not a StorageManager.
        As iter_steps.
    """
    check_storage(storage)
    if observed not in (*_BOTH, None):
        raise InvalidDataError(f"observed must be 'before', 'after' or None, not {observed!r}", operation="retrieve")
    places: _Places = deque()
    ids = _ids(storage, check_ids(session_ids, "retrieve"), places)
    moments = _Moments(storage, observed)
    steps = storage.read_steps(ids, concurrency=concurrency)
    async with aclosing(steps), aclosing(_windows(steps, places)) as windows:
        async for previous, step, following in windows:
            if step.data.action is not None:
                yield await _transition(moments, previous, step, following)


_Ids = tuple[str, str]
# The prefix and the number in an id; None if the step has no neighbours.
_Place = tuple[str, int | None]
_Places = deque[tuple[_Ids, _Place]]  # in the order in which the steps are read
_Window = tuple[Step | None, Step, Step | None]


async def _ids(
    storage: StorageManager, session_ids: Iterable[str] | None, places: _Places
) -> AsyncGenerator[_Ids, None]:
    """Yield the ids of all steps in the order of their numbers. Append the place of each step to `places`."""

    def refuse(session_id: str, error: StorageManagerError) -> None:
        logger.warning("the actions of %s are left out: %s", session_id, error)

    async with aclosing(iter_listings(storage, session_ids, refuse)) as listings:
        async for session_id, step_ids in listings:
            for step_id, place in _ordered(step_ids):
                places.append(((session_id, step_id), place))
                yield session_id, step_id


def _ordered(step_ids: Sequence[str]) -> list[tuple[str, _Place]]:
    """Return the ids of a session in the order of their numbers, each with its place.

    Two ids with the same number, such as `step_1` and `step_01`, have no neighbours: a guess could be wrong.
    """
    found = {step_id: _split(step_id) for step_id in step_ids}
    if all(number is None for _, number in found.values()):
        return [(step_id, ("", number)) for number, step_id in enumerate(step_ids)]
    count = Counter(found.values())
    in_order = sorted(step_ids, key=lambda step_id: (found[step_id][0], found[step_id][1] or 0, step_id))
    return [(step_id, found[step_id] if count[found[step_id]] == 1 else ("", None)) for step_id in in_order]


def _split(step_id: str) -> _Place:
    prefix = step_id.rstrip(_DIGITS)
    number = step_id[len(prefix) :]
    return prefix, int(number) if number else None


async def _windows(steps: AsyncIterable[Step], places: _Places) -> AsyncGenerator[_Window, None]:
    """Yield each step with the steps before and after it. A neighbour that does not exist is None."""
    previous: Step | None = None
    step: Step | None = None
    place: _Place = ("", None)
    async for following in steps:
        next_place = _place_of(following, places)
        is_next = step is not None and step.session_id == following.session_id and _follows(place, next_place)
        if step is not None:
            yield previous, step, following if is_next else None
        previous, step, place = step if is_next else None, following, next_place
    if step is not None:
        yield previous, step, None


def _place_of(step: Step, places: _Places) -> _Place:
    """Return the place of a step. Remove it from the places, and those of earlier steps, which could not be read."""
    while True:
        ids, place = places.popleft()
        if ids == (step.session_id, step.step_id):
            return place


def _follows(place: _Place, next_place: _Place) -> bool:
    prefix, number = place
    return number is not None and next_place == (prefix, number + 1)


class _Moments:
    """Finds out if the page of a step was observed before or after its action."""

    def __init__(self, storage: StorageManager, given: Observed | None) -> None:
        self._storage = storage
        self._given = given
        self._session: tuple[str, object] = ("", None)

    async def of(self, step: Step) -> str:
        """Return "before" or "after": when the page of a step with an action was observed.

        Raises:
            InvalidDataError: neither the step nor its session has this field.
        """
        said = self._given or (step.data.metadata or {}).get("observed")
        said = said if said in _BOTH else await self._of_session(step.session_id)
        if isinstance(said, str) and said in _BOTH:
            return said
        url = self._storage.url_for(step.session_id, step.step_id)
        why = "neither the step nor its session has observed='before' or 'after' in its metadata"
        advice = "give observed='after' if each step was stored after its action, which is usual, else 'before'"
        message = f"cannot pair the action of {url} with a page: {why}; {advice}"
        raise InvalidDataError(message, operation="retrieve", url=url)

    async def _of_session(self, session_id: str) -> object:
        if self._session[0] != session_id:
            about = await self._storage.retrieve_session_metadata(session_id)
            self._session = session_id, (about or {}).get("observed")
        return self._session[1]

    async def page_of(self, neighbour: Step | None, step: Step, moment: str) -> StepData | None:
        """Return the page of a neighbour if it was observed at this moment of its action, or if it has no action.

        The page of another tab is not returned.
        """
        if neighbour is None or _is_of_another_tab(neighbour, step):
            return None
        if neighbour.data.action is not None and await self.of(neighbour) != moment:
            return None
        return neighbour.data._replace(action=None)


def _is_of_another_tab(one: Step, other: Step) -> bool:
    """Return True if both steps have a tab in their metadata, and the tabs differ."""
    tabs = [(step.data.metadata or {}).get("page_id") for step in (one, other)]
    return None not in tabs and tabs[0] != tabs[1]


async def _transition(moments: _Moments, previous: Step | None, step: Step, following: Step | None) -> Transition:
    own, action = step.data._replace(action=None), step.data.action or {}
    if await moments.of(step) == "before":
        return Transition(step.session_id, step.step_id, own, action, await moments.page_of(following, step, "before"))
    return Transition(step.session_id, step.step_id, await moments.page_of(previous, step, "after"), action, own)
