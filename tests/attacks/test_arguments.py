"""Arguments of a wrong type: an error at once that names the argument, and no hang and no error from deep inside."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from storage_manager import InvalidDataError, InvalidIdError, Step, StepData, StorageManager, sync
from storage_manager.aio import map_ahead
from storage_manager.catalog import find_sessions, update_catalog
from storage_manager.export import export_dask, export_parquet, export_webdataset, read_dask
from storage_manager.importers import import_agentlab, import_browser_use, import_playwright_trace, import_webvoyager
from storage_manager.integrity import seal_session, sweep, unseal_session, verify_session
from storage_manager.inventory import count_steps
from storage_manager.live import follow_session
from storage_manager.recorder import record
from storage_manager.transfer import copy_sessions, purge_sessions, purging
from storage_manager.transitions import iter_transitions
from storage_manager.viewer import create_app, render_session, serve

pytestmark = pytest.mark.thorough


@pytest.fixture
async def sm(tmp_path: Path) -> StorageManager:
    """A manager of a root with one step."""
    storage = StorageManager(local_base_path=tmp_path / "base")
    await storage.store_step_data("s", "t", "x")
    return storage


async def each(items: Any) -> None:
    async for _ in items:
        pass


async def called(function: Callable[[], Any]) -> None:
    """Call a function, and await or read its result."""
    answer = function()
    if hasattr(answer, "__aiter__"):
        await each(answer)
    elif hasattr(answer, "__aenter__"):
        async with answer:
            pass
    elif asyncio.iscoroutine(answer) or isinstance(answer, Awaitable):
        await answer


NOT_WHOLE = ["4", 2.5, float("nan"), float("inf"), None, [4], b"4"]


@pytest.mark.parametrize("value", NOT_WHOLE, ids=repr)
async def test_concurrency_that_is_no_whole_number(sm: StorageManager, tmp_path: Path, value: Any) -> None:
    other, steps = StorageManager(local_base_path=tmp_path / "other"), [Step("s", "u", StepData("y"))]
    calls: list[Callable[[], Any]] = [
        lambda: sm.iter_steps(concurrency=value),
        lambda: sm.store_steps(steps, concurrency=value),
        lambda: copy_sessions(sm, other, concurrency=value),
        lambda: map_ahead(sm.list_steps_for_session, ["s"], value),
    ]
    for call in calls:
        with pytest.raises(
            TypeError, match=r"^concurrency must be an int, not .*: give a whole number, such as concurrency=8"
        ):
            await asyncio.wait_for(called(call), 30)
    assert (await sm.list_steps_for_session("s"), await other.list_sessions()) == (["t"], [])
    with pytest.raises(TypeError, match=r"^max_concurrency must be an int, not"):
        StorageManager(local_base_path=tmp_path, max_concurrency=value)


def test_the_example_for_a_number_of_bytes_is_a_usual_one(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"such as max_file_bytes=1073741824 \(1 GiB\)"):
        StorageManager(local_base_path=tmp_path, max_file_bytes="1G")  # type: ignore[arg-type]


async def test_numbers_that_are_too_small(sm: StorageManager, tmp_path: Path) -> None:
    for number in (0, -1):
        with pytest.raises(ValueError, match=f"^concurrency must be at least 1, not {number}"):
            await called(lambda number=number: sm.iter_steps(concurrency=number))
        with pytest.raises(ValueError, match=f"^max_concurrency must be at least 1, not {number}"):
            StorageManager(local_base_path=tmp_path, max_concurrency=number)


@pytest.mark.parametrize("value", [*NOT_WHOLE, 0, -1], ids=repr)
async def test_sizes_of_exports(sm: StorageManager, tmp_path: Path, value: Any) -> None:
    calls: dict[str, Callable[[], Any]] = {
        "row_group_bytes": lambda: export_parquet(sm, tmp_path / "a", row_group_bytes=value),
        "shard_bytes": lambda: export_webdataset(sm, tmp_path / "b", shard_bytes=value),
        "steps_per_partition": lambda: read_dask(sm, steps_per_partition=value),
        "steps_per_partition ": lambda: export_dask(sm, tmp_path / "a", steps_per_partition=value),
    }
    for name, call in calls.items():
        with pytest.raises(InvalidDataError, match=f"^cannot export: {name.strip()} must be"):
            await called(call)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("value", ["s", b"s", 5, 2.5, object()], ids=lambda value: type(value).__name__)
async def test_lists_of_ids_that_are_none(sm: StorageManager, tmp_path: Path, value: Any) -> None:
    other = StorageManager(local_base_path=tmp_path / "other")
    calls: list[Callable[[], Any]] = [
        lambda: sm.iter_steps(value),
        lambda: copy_sessions(sm, other, value),
        lambda: count_steps(sm, value),
        lambda: export_parquet(sm, tmp_path / "a", value),
        lambda: export_webdataset(sm, tmp_path / "b", value),
        lambda: asyncio.to_thread(read_dask, sm, value),
        lambda: asyncio.to_thread(export_dask, sm, tmp_path / "c", value),
    ]
    for call in calls:
        with pytest.raises(InvalidIdError, match=r"^session_ids (is one id|must be a list of ids)"):
            await called(call)


@pytest.mark.parametrize("value", ["html", 5, None, [5], ["page"], [None]], ids=repr)
async def test_components_that_are_none(sm: StorageManager, tmp_path: Path, value: Any) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: sm.iter_steps(components=value),
        lambda: sm.retrieve_step_data("s", "t", components=value),
        lambda: sm.read_step("s", "t", components=value),
        lambda: export_parquet(sm, tmp_path / "a", components=value),
        lambda: read_dask(sm, components=value),
        lambda: export_dask(sm, tmp_path / "b", components=value),
    ]
    for call in calls:
        with pytest.raises(InvalidDataError, match="component"):
            await called(call)


@pytest.mark.parametrize("wrong", ["dir", None, sync.StorageManager], ids=repr)
async def test_something_else_in_place_of_a_manager(local: StorageManager, tmp_path: Path, wrong: Any) -> None:
    wrong = wrong if not isinstance(wrong, type) else wrong(local_base_path=tmp_path / "sync")
    calls: list[Callable[[], Any]] = [
        lambda: copy_sessions(wrong, local),
        lambda: copy_sessions(local, wrong),
        lambda: purge_sessions(wrong, timedelta(0)),
        lambda: purging(wrong, timedelta(0)),
        lambda: find_sessions(wrong),
        lambda: update_catalog(wrong),
        lambda: export_parquet(wrong, f"{tmp_path}/out"),
        lambda: export_webdataset(wrong, f"{tmp_path}/out"),
        lambda: read_dask(wrong),
        lambda: export_dask(wrong, f"{tmp_path}/out"),
        lambda: import_browser_use(wrong, tmp_path / "no.json"),
        lambda: seal_session(wrong, "s"),
        lambda: unseal_session(wrong, "s"),
        lambda: verify_session(wrong, "s"),
        lambda: sweep(wrong),
        lambda: iter_transitions(wrong),
        lambda: follow_session(wrong, "s"),
        lambda: record(wrong, "s"),
        lambda: render_session(wrong, "s", tmp_path / "page.html"),
        lambda: create_app(wrong),
        lambda: serve(wrong),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=r"(storage|source|target) must be a storage_manager\.StorageManager, not "):
            await called(call)


async def test_other_arguments(sm: StorageManager, tmp_path: Path) -> None:
    other: Any = StorageManager(local_base_path=tmp_path / "other")
    wrong: Any = 5
    cases: list[tuple[Callable[[], Any], type[Exception], str]] = [
        (lambda: sm.store_steps(wrong), TypeError, "steps must be a list or another iterable of Step, not int"),
        (lambda: sm.store_steps("ab"), TypeError, "steps must be a list"),  # type: ignore[arg-type]
        (lambda: copy_sessions(sm, other, progress=wrong), TypeError, "progress must be a function that takes two"),
        (lambda: purging(sm, timedelta(0), progress=wrong), TypeError, "progress must be a function"),
        (lambda: export_parquet(sm, tmp_path / "a", progress=wrong), InvalidDataError, "progress must be a function"),
        (lambda: purge_sessions(sm, wrong), InvalidDataError, "older_than is 5: give an age"),
        (lambda: sweep(sm, wrong), InvalidDataError, "older_than is 5: give an age"),
        (lambda: sm.get_share_links("s", "t", "1h"), InvalidDataError, "expires_in is '1h': give"),  # type: ignore[arg-type]
        (lambda: import_playwright_trace(sm, wrong), TypeError, "path must be a str or a Path, not int"),
        (lambda: import_browser_use(sm, wrong), TypeError, "path must be a str or a Path, not int"),
        (lambda: import_webvoyager(sm, wrong), TypeError, "path must be a str or a Path, not int"),
        (lambda: import_agentlab(sm, wrong), TypeError, "path must be a str or a Path, not int"),
        (lambda: StorageManager.from_url(wrong), TypeError, "url must be a str or a Path, not int"),
        (lambda: StorageManager(local_base_path=tmp_path, fsync="yes"), TypeError, "fsync must be True or False"),  # type: ignore[arg-type]
        (lambda: StorageManager.from_url(tmp_path, fsync=1), TypeError, "fsync must be True or False, not int"),  # type: ignore[arg-type]
        (lambda: StorageManager.from_url("memory://x", fsync=1), TypeError, "fsync must be True or False"),  # type: ignore[arg-type]
        (lambda: StorageManager(storage_options="x"), TypeError, "storage_options must be a mapping"),  # type: ignore[arg-type]
        (lambda: create_app(sm, hosts="x.test"), TypeError, "hosts must be a list or another iterable of names"),
        (lambda: serve(sm, hosts="x.test"), TypeError, "hosts must be a list or another iterable of names"),
        (lambda: serve(sm, port="80"), TypeError, "port must be an int, not str"),  # type: ignore[arg-type]
        (lambda: serve(sm, port=65536), ValueError, "port must be 0 to 65535, not 65536"),
        (lambda: serve(sm, port=-1), ValueError, "port must be 0 to 65535, not -1"),
    ]
    for call, kind, why in cases:
        with pytest.raises(kind, match=why):
            await called(call)


async def test_whole_numbers_of_other_types_are_accepted(sm: StorageManager) -> None:
    class Whole:
        def __index__(self) -> int:
            return 2

    whole: Any = Whole()
    assert [step.step_id async for step in sm.iter_steps(concurrency=whole)] == ["t"]
