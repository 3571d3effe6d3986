"""Each step shows the page on which the next action was chosen: the last snapshot before it."""

from pathlib import Path

import pytest

from storage_manager import StorageManager
from storage_manager.importers import import_playwright_trace
from storage_manager.transitions import Transition, iter_transitions
from tests.support.traces import Event, action, header, snapshot, write_zip

Shots = dict[str, str]


def call(number: int, method: str, *phases: str, page: str = "page@1", length: float = 0.5) -> list[Event]:
    """A call, of which snapshots were taken in these phases. Each says of which call and phase it is."""
    before, after = action(number, method, pageId=page)
    after["endTime"] = before["startTime"] + length
    shots = [
        snapshot(f"{phase}@call@{number}", f"{method} {phase}", pageId=page, frame=f"frame of {page}", isMainFrame=True)
        for phase in phases
    ]
    return [before, after, *shots]


async def transitions(tmp_path: Path, *calls: list[Event], all_calls: bool = False) -> list[Transition]:
    sm = StorageManager(local_base_path=tmp_path / "base")
    path = write_zip(tmp_path / "t.zip", {"t.trace": [header(), *(event for events in calls for event in events)]})
    await import_playwright_trace(sm, path, all_calls=all_calls)
    return [found async for found in iter_transitions(sm)]


def pages(found: list[Transition]) -> list[tuple[str | None, str, str | None]]:
    """Return the text of the page before, the method, and the text of the page after each action."""

    def text(side: object) -> str | None:
        html = getattr(side, "html", None)
        return None if html is None else html.removeprefix("<!DOCTYPE html>")

    return [(text(one.before), one.action["type"], text(one.after)) for one in found]


ALL = ("before", "action", "after")


async def test_the_page_before_is_the_one_on_which_the_action_was_chosen(tmp_path: Path) -> None:
    """Not the one that the action before it left: an answer may have come since."""
    found = await transitions(
        tmp_path, call(1, "goto", "before", "after"), call(2, "fill", *ALL), call(3, "click", *ALL)
    )
    assert pages(found) == [
        (None, "goto", "fill before"),
        ("fill before", "fill", "click before"),
        ("click before", "click", "click after"),
    ]


@pytest.mark.parametrize(
    ("phases", "seen"),
    [(("before", "after"), "waitForSelector after"), (("before",), "waitForSelector before"), ((), "goto after")],
)
async def test_a_wait_that_is_left_out_tells_what_it_waited_for(
    tmp_path: Path, phases: tuple[str, ...], seen: str
) -> None:
    wait = call(2, "waitForSelector", *phases)
    found = await transitions(tmp_path, call(1, "goto", "after"), wait, call(3, "mouseDown", "after"))
    assert pages(found) == [(None, "goto", seen), (seen, "mouseDown", "mouseDown after")]


async def test_a_wait_that_went_on_tells_nothing_of_the_time_before(tmp_path: Path) -> None:
    wait = call(2, "waitForSelector", "after", length=1.5)
    found = await transitions(tmp_path, call(1, "goto", "after"), wait, call(3, "mouseDown", "after"))
    assert pages(found)[0] == (None, "goto", "goto after")
    assert pages(found)[1] == ("goto after", "mouseDown", "mouseDown after")


async def test_what_began_before_an_action_ended_does_not_show_its_effect(tmp_path: Path) -> None:
    found = await transitions(tmp_path, call(1, "goto", "after", length=2), call(2, "click", *ALL))
    assert pages(found)[0] == (None, "goto", "goto after")


async def test_the_next_action_on_another_page_shows_nothing_of_this_one(tmp_path: Path) -> None:
    calls = [call(1, "goto", "after"), call(2, "click", *ALL, page="page@2"), call(3, "fill", *ALL)]
    found = await transitions(tmp_path, *calls)
    assert [page for *_, page in pages(found)] == ["fill before", "click after", "fill after"]


async def test_an_action_that_was_seen_before_it_alone_pairs_with_its_own_page(tmp_path: Path) -> None:
    found = await transitions(tmp_path, call(1, "goto", "before", "after"), call(2, "click", "action"))
    assert pages(found) == [(None, "goto", "click action"), ("click action", "click", None)]


async def test_of_all_calls_each_shows_what_the_next_began_with(tmp_path: Path) -> None:
    calls = [call(1, "goto", "after"), call(2, "waitForTimeout", "before", "after"), call(3, "title")]
    found = await transitions(tmp_path, *calls, all_calls=True)
    assert [page for *_, page in pages(found)] == ["waitForTimeout before", "waitForTimeout after", None]
