"""A hundred sessions at a time."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from storage_manager import LocalStorageError, StorageManager, StorageManagerError
from storage_manager.viewer import sessions
from storage_manager.viewer.list_query import ListQuery
from storage_manager.viewer.sessions import Listing, Page

ALL = [f"run-{number:04}" for number in range(2500)]


class Place:
    """Sessions, and how many of them have been asked for."""

    def __init__(self, names: list[str] = ALL) -> None:
        self.names = names
        self.asked = 0
        self.begun = 0
        self.closed = 0
        self.error: Exception | None = None

    async def iter_sessions(self) -> AsyncIterator[str]:
        self.begun += 1
        try:
            for name in self.names:
                self.asked += 1
                if self.error and self.asked > 1500:
                    raise self.error
                if self.asked % 500 == 0:
                    await asyncio.sleep(0.0001)
                yield name
        finally:
            self.closed += 1


def listing(place: Any) -> Listing:
    return Listing(place)


async def page_of(many: Listing, text: str = "", after: str = "") -> Page:
    return await many.page(ListQuery(text, after=after))


async def last_of(many: Listing, text: str = "") -> Page:
    return await many.page(ListQuery(text, is_last=True))


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing is not read again because a test is slow."""
    monkeypatch.setattr(sessions, "KEPT_TIMES", 1e9)


async def test_a_page_reads_no_further_than_it_needs() -> None:
    place = Place()
    many = listing(place)
    assert await page_of(many) == Page(ALL[:100], 0, None, None, "run-0099")
    assert place.asked <= 1001
    await many.close()
    assert place.closed == 1


async def test_pages_one_after_the_other_and_back() -> None:
    place = Place()
    many, seen, after, cursors = listing(place), list[str](), "", [""]
    while True:
        page = await page_of(many, "", after)
        assert page.start == len(seen)
        assert page.before == (cursors[-2] if len(cursors) > 1 else None)
        seen += page.sessions
        if page.next is None:
            break
        after = page.next
        cursors.append(after)
    assert seen == ALL
    assert page.total == 2500
    assert page == await last_of(many)
    assert (await page_of(many)).total == 2500
    assert place.begun == 1
    await many.close()


async def test_searching() -> None:
    many = listing(Place())
    page = await page_of(many, "UN-1")
    assert (page.sessions, page.next) == ([name for name in ALL if "un-1" in name][:100], "run-1099")
    page = await page_of(many, "7", "run-1999")
    assert page.start == sum("7" in name for name in ALL[:2000])
    assert page.before == [name for name in ALL[:2000] if "7" in name][-101]
    assert page.total == sum("7" in name for name in ALL)
    assert await page_of(many, "nothing") == Page([], 0, 0, None, None)
    assert await last_of(many, "nothing") == Page([], 0, 0, None, None)
    last = await last_of(many, "un-1")
    assert (last.sessions, last.start, last.total) == ([name for name in ALL if "un-1" in name][900:], 900, 1000)
    assert await last_of(many, "un-23") == Page(ALL[2300:2400], 0, 100, None, None)


async def test_a_search_that_takes_too_long_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "SEARCH_SECONDS", -1.0)
    many = listing(Place())
    assert await page_of(many, "run-24") == Page([], 0, None, None, "run-0999", True)
    assert await page_of(many, "run-24", "run-0999") == Page([], 0, None, None, "run-0999", True)
    monkeypatch.setattr(sessions, "SEARCH_SECONDS", 60.0)
    assert (await page_of(many, "run-24", "run-0999")).sessions == ALL[2400:]
    await many.close()


async def test_several_at_once_read_once() -> None:
    place = Place()
    many = listing(place)
    pages = await asyncio.gather(*(page_of(many, "", after) for after in ("", "run-0999", "run-2399")))
    assert [page.sessions[0] for page in pages] == ["run-0000", "run-1000", "run-2400"]
    assert (place.begun, place.asked) == (1, 2500)


async def test_what_is_new_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "KEPT_TIMES", 0)
    place = Place(["a"])
    many = listing(place)
    assert (await page_of(many)).sessions == ["a"]
    place.names = ["a", "b"]
    assert (await page_of(many)).sessions == ["a", "b"]


async def test_a_listing_that_fails_is_not_gone_on_with() -> None:
    place = Place()
    place.error = LocalStorageError("gone")
    many = listing(place)
    with pytest.raises(LocalStorageError):
        await last_of(many)
    place.error, place.asked = None, 0
    assert (await last_of(many)).total == 2500


async def test_whoever_waits_for_a_listing_that_fails_is_told_so() -> None:
    """An outage would look like an empty place."""
    place = Place()
    place.error, place.asked = LocalStorageError("gone"), 1499
    many = listing(place)
    errors = await asyncio.gather(page_of(many, "", "run-0500"), page_of(many, "", "run-0500"), return_exceptions=True)
    assert [str(error) for error in errors] == ["gone", "gone"]


async def test_whoever_waits_for_somebody_who_leaves_is_told_so() -> None:
    place = Place()
    place.asked = 499
    many = listing(place)
    leaving, waiting = asyncio.ensure_future(page_of(many)), asyncio.ensure_future(page_of(many))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(StorageManagerError, match="try again"):
        await waiting
    assert (await page_of(many)).sessions == ALL[:100]


async def test_nothing_is_open_before_it_is_used(tmp_path: object) -> None:
    await Listing(StorageManager.from_url(f"{tmp_path}/base")).close()
