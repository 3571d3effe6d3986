"""iter_transitions pairs each action with the page before it and the page after it."""

import itertools
import logging
from pathlib import Path
from typing import Any

import pytest

from storage_manager import InvalidDataError, InvalidIdError, Step, StepData, StorageManager
from storage_manager.recorder import record
from storage_manager.transitions import Transition, iter_transitions


@pytest.fixture
def storage(tmp_path: Path) -> StorageManager:
    return StorageManager.from_url(tmp_path)


async def store(storage: StorageManager, session_id: str, steps: dict[str, tuple[str, str | None, str | None]]) -> None:
    """Store steps: each id with its page, the type of its action or None, and `observed` or None."""
    for step_id, (page, action, observed) in steps.items():
        await storage.store_step_data(
            session_id,
            step_id,
            html_content=page,
            action_data=action and {"type": action},  # type: ignore[arg-type]
            metadata=observed and {"observed": observed},  # type: ignore[arg-type]
        )


async def pages(storage: StorageManager, *session_ids: str, **options: Any) -> list[tuple[str | None, str, str | None]]:
    """Return the page before, the type of the action, and the page after, of each transition."""
    found = [each async for each in iter_transitions(storage, session_ids or None, **options)]
    assert all(page is None or page.action is None for each in found for page in (each.before, each.after))
    return [(each.before and each.before.html, each.action["type"], each.after and each.after.html) for each in found]


async def test_observed_after_the_action(storage: StorageManager) -> None:
    steps = {
        "step_1": ("start", None, "after"),
        "step_2": ("form", "click", "after"),
        "step_3": ("sent", "submit", "after"),
    }
    await store(storage, "s", steps)
    assert await pages(storage) == [("start", "click", "form"), ("form", "submit", "sent")]


async def test_observed_before_the_action(storage: StorageManager) -> None:
    steps = {
        "step_1": ("start", "click", "before"),
        "step_2": ("form", "submit", "before"),
        "step_3": ("sent", None, "before"),
    }
    await store(storage, "s", steps)
    assert await pages(storage) == [("start", "click", "form"), ("form", "submit", "sent")]


async def test_a_side_that_was_not_recorded_is_none(storage: StorageManager) -> None:
    await store(storage, "a", {"1": ("p1", "x", "after"), "3": ("p3", "y", "after")})
    await store(storage, "b", {"1": ("p1", "x", "before"), "3": ("p3", "y", "before")})
    assert await pages(storage, "a") == [(None, "x", "p1"), (None, "y", "p3")]
    assert await pages(storage, "b") == [("p1", "x", None), ("p3", "y", None)]


async def test_a_neighbour_that_shows_another_moment_is_not_taken(storage: StorageManager) -> None:
    """The page before step_2's action is neither of the two that were stored."""
    await store(storage, "s", {"step_1": ("p1", "x", "before"), "step_2": ("p2", "y", "after")})
    assert await pages(storage) == [("p1", "x", None), (None, "y", "p2")]


async def test_the_page_of_another_tab_is_not_taken(storage: StorageManager) -> None:
    """`page_id` tells the tabs of an imported trace apart."""
    for number, tab in enumerate(["a", "b", "b", None]):
        about = {"observed": "after", "page_id": tab} if tab else {"observed": "after"}
        data = StepData(f"p{number}", action={"type": f"x{number}"}, metadata=about)
        await storage.store_steps([Step("s", f"step_{number}", data)])
    assert [before for before, _, _ in await pages(storage)] == [None, None, "p1", "p2"]


async def test_the_numbers_of_the_ids_decide(storage: StorageManager) -> None:
    """In a list, step_10 comes before step_9."""
    steps = {f"step_{number}": (f"p{number}", f"a{number}", "after") for number in range(8, 12)}
    await store(storage, "s", steps)
    assert await storage.list_steps_for_session("s") == ["step_10", "step_11", "step_8", "step_9"]
    expected = [(None, "a8", "p8"), ("p8", "a9", "p9"), ("p9", "a10", "p10"), ("p10", "a11", "p11")]
    assert await pages(storage) == expected


@pytest.mark.parametrize(
    ("ids", "neighbours"),
    [
        (["a", "b"], True),
        (["a_1", "b_2"], False),
        (["1", "2"], True),
        (["step_09", "step_10"], True),
        (["step_1", "step_3"], False),
        (["final", "step_1"], False),
        (["step_1", "step_01", "step_2"], False),
        (["1" * 100 + "8", "1" * 100 + "9"], True),
    ],
    ids=str,
)
async def test_which_ids_are_neighbours(storage: StorageManager, ids: list[str], neighbours: bool) -> None:
    await store(storage, "s", {step_id: (step_id, step_id, "after") for step_id in ids})
    found = {action: before for before, action, _ in await pages(storage)}
    assert found[ids[-1]] == (ids[-2] if neighbours else None)


async def test_sessions_are_kept_apart(storage: StorageManager) -> None:
    await store(storage, "a", {"step_1": ("p", "x", "after")})
    await store(storage, "b", {"step_2": ("q", "y", "after")})
    assert await pages(storage, "a", "b") == [(None, "x", "p"), (None, "y", "q")]
    assert await pages(storage, "b") == [(None, "y", "q")]


async def test_a_session_may_be_named_twice(storage: StorageManager) -> None:
    steps = {"1": ("p1", "x", "before"), "2": ("p2", "y", "before")}
    await store(storage, "7", steps)
    expected = [("p1", "x", "p2"), ("p2", "y", None)]
    assert await pages(storage, "7", 7) == expected * 2  # type: ignore[arg-type]


async def test_the_session_says_it_for_its_steps(storage: StorageManager) -> None:
    await store(storage, "s", {"1": ("p", "x", None), "2": ("q", "y", "nonsense")})
    await storage.store_session_metadata("s", {"observed": "before"})
    assert await pages(storage) == [("p", "x", "q"), ("q", "y", None)]


@pytest.mark.parametrize("about", [None, {}, {"observed": ["after"]}])
async def test_it_refuses_to_guess(storage: StorageManager, about: dict[str, Any] | None) -> None:
    await store(storage, "s", {"1": ("p", "x", None)})
    if about is not None:
        await storage.store_session_metadata("s", about)
    with pytest.raises(
        InvalidDataError, match=r"cannot pair the action of .*/s/1 with a page: .* give observed="
    ) as info:
        await pages(storage)
    assert info.value.url == storage.url_for("s", "1")
    assert await pages(storage, observed="after") == [(None, "x", "p")]


async def test_what_is_given_is_for_all_steps(storage: StorageManager) -> None:
    await store(storage, "s", {"1": ("p", "x", "after"), "2": ("q", "y", "before")})
    assert await pages(storage, observed="before") == [("p", "x", "q"), ("q", "y", None)]


async def test_bad_input_is_refused(storage: StorageManager) -> None:
    with pytest.raises(InvalidDataError, match="observed must be 'before', 'after' or None, not 'during'"):
        await pages(storage, observed="during")
    with pytest.raises(InvalidIdError):
        await pages(storage, "..")
    with pytest.raises(ValueError, match="concurrency"):
        await pages(storage, concurrency=0)


async def test_a_transition_has_all_components(storage: StorageManager) -> None:
    data = StepData("<p>", b"png", {"type": "x"}, {"observed": "after", "url": "http://a/"})
    await storage.store_steps([Step("s", "1", data)])
    [found] = [each async for each in iter_transitions(storage)]
    assert found == Transition("s", "1", None, {"type": "x"}, StepData("<p>", b"png", None, data.metadata))


async def test_a_session_that_cannot_be_listed_is_left_out(
    storage: StorageManager, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await store(storage, "a", {"1": ("p", "x", "after")})
    await store(storage, "b", {"1": ("q", "y", "after")})
    whole = StorageManager.list_steps_for_session

    async def refusing(self: StorageManager, session_id: str) -> list[str]:
        if session_id == "a":
            raise InvalidDataError("no")
        return await whole(self, session_id)

    monkeypatch.setattr(StorageManager, "list_steps_for_session", refusing)
    with caplog.at_level(logging.WARNING):
        assert await pages(storage) == [(None, "y", "q")]
    assert "the actions of a are left out: no" in caplog.text


class Shop:
    """A page that shows how often it was clicked."""

    url = "http://shop.example/"

    def __init__(self) -> None:
        self.clicks = 0

    async def content(self) -> str:
        return f"<p>{self.clicks}</p>"

    async def title(self) -> str:
        return "Shop"

    async def screenshot(self, **_: object) -> bytes:
        return b"png"

    def click(self) -> dict[str, Any]:
        """Click, and return the action: it says on which page it was chosen, and what the page showed then."""
        self.clicks += 1
        return {"type": "click", "chosen_on": f"<p>{self.clicks - 1}</p>", "led_to": f"<p>{self.clicks}</p>"}


@pytest.mark.parametrize("observed", ["before", "after"])
async def test_a_recording_pairs_each_action_with_its_page(storage: StorageManager, observed: Any) -> None:
    """Whether step() was called before or after the action."""
    shop = Shop()
    async with record(storage, "s", observed=observed) as recorder:
        if observed == "after":
            await recorder.step(shop)
        for _ in range(12):
            if observed == "before":
                seen = Shop()
                seen.clicks = shop.clicks
                await recorder.step(seen, shop.click())
            else:
                action = shop.click()
                await recorder.step(shop, action)
        if observed == "before":
            await recorder.step(shop)
    found = [each async for each in iter_transitions(storage, ["s"])]
    assert len(found) == 12
    for each in found:
        assert each.before is not None
        assert each.after is not None
        assert (each.before.html, each.after.html) == (each.action["chosen_on"], each.action["led_to"])


async def test_memory_is_bounded(storage: StorageManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps are read as fast as transitions are taken."""
    await store(storage, "s", {f"{number}": ("p", "x", "after") for number in range(100)})
    read = itertools.count()
    whole = StorageManager.read_files_of_step

    async def counting(self: StorageManager, *args: Any, **options: Any) -> Any:
        next(read)
        return await whole(self, *args, **options)

    monkeypatch.setattr(StorageManager, "read_files_of_step", counting)
    transitions = iter_transitions(storage, concurrency=4)
    await anext(transitions)
    await transitions.aclose()
    assert next(read) <= 6
