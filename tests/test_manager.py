"""What StorageManager promises, alike on every backend."""

import asyncio
import errno
import logging
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pytest

from storage_manager import (
    InvalidDataError,
    InvalidIdError,
    Step,
    StepData,
    StorageManager,
    StorageManagerError,
)
from storage_manager.layout import COMPONENTS

Make = Callable[..., StorageManager]
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
DATA = StepData("<p>é\r\n</p>", PNG, {"type": "click", "box": [1, 2.5, None, True]}, {"url": "http://é.test/"})
EXAMPLES = Path(__file__).parent.parent / "examples" / "sessions"


async def raw(sm: StorageManager, url: str, data: bytes) -> None:
    """Put bytes at a URL past the code under test."""
    sm.fs.makedirs(os.path.dirname(url), exist_ok=True)
    sm.fs.pipe_file(url, data)


async def test_step_round_trips(sm: StorageManager) -> None:
    paths = await sm.store_step_data("s", "t", *DATA)
    assert paths == {
        "html_path": sm.url_for("s", "t", "html"),
        "screenshot_path": sm.url_for("s", "t", "screenshot"),
        "action_data_path": sm.url_for("s", "t", "action"),
        "metadata_path": sm.url_for("s", "t", "metadata"),
    }
    assert await sm.retrieve_step_data("s", "t") == DATA


async def test_real_session_round_trips_byte_for_byte(sm: StorageManager) -> None:
    steps = sorted((EXAMPLES / "harbour-books").iterdir())
    assert len(steps) == 4
    for step in steps:
        files = [(step / row.filename).read_bytes() for row in COMPONENTS]
        values = [row.decode(data) for row, data in zip(COMPONENTS, files, strict=True)]
        paths = await sm.store_step_data("harbour-books", step.name, *values)
        assert [sm.fs.cat_file(path) for path in paths.values()] == files
        assert await sm.retrieve_step_data("harbour-books", step.name) == StepData(*values)


@pytest.mark.parametrize("row", COMPONENTS, ids=lambda row: row.name)
async def test_one_component_leaves_the_others(sm: StorageManager, row: Any) -> None:
    await sm.store_step_data("s", "t", *DATA)
    new = {"html": "new", "screenshot": b"new", "action": {"new": 1}, "metadata": {"new": 2}}[row.name]
    paths = await sm.store_step_data("s", "t", **{row.keyword: new})
    assert {key for key, path in paths.items() if path} == {row.path_key}
    assert await sm.retrieve_step_data("s", "t") == DATA._replace(**{row.name: new})


async def test_missing_components_are_none_with_a_warning_each(
    sm: StorageManager, caplog: pytest.LogCaptureFixture
) -> None:
    await sm.store_step_data("s", "t", metadata={})
    caplog.clear()
    assert await sm.retrieve_step_data("s", "t", strict=True) == StepData(metadata={})
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 3
    assert await sm.retrieve_step_data("nothing", "here") == StepData()


async def test_only_the_asked_components_are_read(sm: StorageManager, caplog: pytest.LogCaptureFixture) -> None:
    await sm.store_step_data("s", "t", *DATA)
    assert await sm.retrieve_step_data("s", "t", components=["metadata"]) == StepData(metadata=DATA.metadata)
    assert await sm.retrieve_step_data("s", "t", components=[]) == StepData()
    assert not caplog.records
    with pytest.raises(InvalidDataError, match="'pixels'"):
        await sm.retrieve_step_data("s", "t", components=["pixels"])  # type: ignore[list-item]


@pytest.mark.parametrize("data", [b"", b'{"a":', b"\xff{}", b"[" * 100_000, b'{"a":NaN}', b"[1]"])
async def test_undecodable_is_none_and_an_error_if_strict(
    sm: StorageManager, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    await raw(sm, sm.url_for("s", "t", "action"), data)
    await raw(sm, sm.url_for("s", "t", "html"), b"\xff\xfe")
    caplog.clear()
    assert await sm.retrieve_step_data("s", "t", components=["html", "action"]) == StepData()
    assert ["cannot be decoded" in record.getMessage() for record in caplog.records] == [True, True]
    with pytest.raises(StorageManagerError) as caught:
        await sm.retrieve_step_data("s", "t", components=["action"], strict=True)
    assert caught.value.url == sm.url_for("s", "t", "action")
    assert isinstance(caught.value.__cause__, ValueError)


async def test_empty_values_are_values(sm: StorageManager) -> None:
    empty = StepData("", b"", {}, {})
    await sm.store_step_data("s", "t", *empty)
    assert await sm.retrieve_step_data("s", "t") == empty


async def test_nothing_given_stores_nothing(sm: StorageManager) -> None:
    assert set((await sm.store_step_data("s", "t")).values()) == {None}
    assert await sm.list_sessions() == []


async def test_lists_are_sorted_by_code_point_and_hold_only_ids(sm: StorageManager) -> None:
    names = ["a", "a-1", "a.b", "a+c", "a=", "B", "b-1-2", "b-1", "b", "0", "~~~"[0:0] + "z~", "run-10", "run-9", "run"]
    for name in names:
        await sm.store_step_data(name, "t", metadata={})
        await sm.store_step_data("a", name, metadata={})
    await raw(sm, f"{sm.url_for()}/_hidden/t/metadata.json", b"{}")
    await raw(sm, f"{sm.url_for()}/file", b"no directory")
    await raw(sm, f"{sm.url_for('a')}/_manifest.json", b"{}")
    assert await sm.list_sessions() == sorted(names)
    assert [name async for name in sm.iter_sessions()] == sorted(names)
    assert await sm.list_steps_for_session("a") == sorted([*names, "t"])
    assert await sm.list_steps_for_session("nothing") == []
    assert await sm.list_steps_for_session("file") == []


async def test_deletion_takes_its_own_and_no_more(sm: StorageManager, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for session in ("s", "s-1", "s.1", "s1"):
        for step in ("t", "t-1", "t1"):
            await sm.store_step_data(session, step, *DATA)
    await sm.delete_step("s", "t")
    assert await sm.list_steps_for_session("s") == ["t-1", "t1"]
    await sm.delete_session("s")
    assert await sm.list_sessions() == ["s-1", "s.1", "s1"]
    for step in ("t", "t-1", "t1"):
        await sm.delete_step("s1", step)
    assert await sm.list_sessions() == ["s-1", "s.1"]
    caplog.clear()
    await sm.delete_session("s")
    await sm.delete_step("s-1", "nothing")
    assert [record.levelno for record in caplog.records] == [logging.INFO] * 2


async def test_bad_input_is_refused_by_every_operation(sm: StorageManager) -> None:
    bad = "../up"
    for call in (
        sm.store_step_data(bad, "t", "x"),
        sm.store_step_data("s", bad, "x"),
        sm.retrieve_step_data("s", bad),
        sm.list_steps_for_session(bad),
        sm.delete_step("s", bad),
        sm.delete_session(bad),
    ):
        with pytest.raises(InvalidIdError) as caught:
            await call
        assert caught.value.operation in {"store", "retrieve", "list", "delete"}
    with pytest.raises(InvalidDataError, match=r"metadata\['a'\]\[0\]"):
        await sm.store_step_data("s", "t", "kept out", metadata={"a": [float("nan")]})
    assert await sm.list_sessions() == []


async def test_steps_are_iterated_in_order(sm: StorageManager) -> None:
    stored = [Step(f"s-{i}", f"t{j}", DATA._replace(metadata={"n": [i, j]})) for i in range(3) for j in range(4)]
    assert await sm.store_steps(stored, concurrency=3) == 12
    assert [step async for step in sm.iter_steps(concurrency=5)] == stored
    assert [step async for step in sm.iter_steps(["s-2", "nothing", "s-0"])] == stored[8:] + stored[:4]
    first = await anext(sm.iter_steps(components=["metadata"]))
    assert first.data == StepData(metadata={"n": [0, 0]})


async def test_iteration_refuses_what_it_cannot_mean(sm: StorageManager) -> None:
    with pytest.raises(InvalidIdError, match="list of ids"):
        await anext(sm.iter_steps("s"))
    with pytest.raises(InvalidIdError):
        await anext(sm.iter_steps(["../up"]))
    with pytest.raises(ValueError, match="concurrency"):
        await anext(sm.iter_steps(concurrency=0))
    with pytest.raises(ValueError, match="concurrency"):
        await sm.store_steps([], concurrency=0)


async def test_store_steps_pulls_no_faster_than_it_stores(sm: StorageManager) -> None:
    pulled = 0

    async def source() -> AsyncIterator[Step]:
        nonlocal pulled
        for number in range(20):
            pulled += 1
            assert pulled - len(await sm.list_sessions()) <= 4
            yield Step(f"s{number}", "t", DATA)

    assert await sm.store_steps(source(), concurrency=3) == 20


async def test_store_steps_raises_what_failed_and_stops(sm: StorageManager) -> None:
    steps = [Step("s", f"t{n}", DATA if n != 5 else StepData(metadata={"bad": float("inf")})) for n in range(50)]
    with pytest.raises(InvalidDataError):
        await sm.store_steps(iter(steps), concurrency=2)
    assert len(await sm.list_steps_for_session("s")) <= 7


async def test_urls_open_in_fsspec_and_pandas(sm: StorageManager, make: Make) -> None:
    await sm.store_step_data("s", "t", *DATA)
    with fsspec.open(sm.url_for("s", "t", "html"), **sm.storage_options) as file:
        assert file.read() == DATA.html.encode() if DATA.html else False
    url = sm.url_for("s", "t", "metadata")
    assert pd.read_json(url, typ="series", storage_options=sm.storage_options).to_dict() == DATA.metadata
    assert len(pd.read_json(url, lines=True, storage_options=sm.storage_options)) == 1
    assert await sm.async_fs._cat_file(url) == sm.fs.cat_file(url)


async def test_url_for(sm: StorageManager) -> None:
    root = sm.url_for()
    assert sm.url_for("s") == f"{root}/s"
    assert sm.url_for("s", "t") == f"{root}/s/t"
    assert sm.url_for("s", "t", "screenshot") == f"{root}/s/t/screenshot.png"
    with pytest.raises(InvalidIdError, match="step_id is given without session_id"):
        sm.url_for(step_id="t")
    with pytest.raises(InvalidIdError, match="component is given without step_id"):
        sm.url_for("s", component="html")
    with pytest.raises(InvalidIdError):
        sm.url_for("..")
    with pytest.raises(InvalidDataError):
        sm.url_for("s", "t", "pixels")  # type: ignore[arg-type]


async def test_check_leaves_nothing(sm: StorageManager) -> None:
    await sm.check()
    assert sm.fs.find(sm.url_for()) == []
    assert await sm.list_sessions() == []


async def test_cancelled_store_has_ended(sm: StorageManager) -> None:
    """No byte changes behind a CancelledError, and the manager stays usable."""
    for delay in (0, 0.0005, 0.002, 0.005):
        task = asyncio.ensure_future(sm.store_step_data("s", "t", *DATA))
        await asyncio.sleep(delay)
        task.cancel()
        done = await asyncio.wait([task])
        assert done
        found = sm.fs.find(sm.url_for()) if sm.fs.exists(sm.url_for("s")) else []
        await asyncio.sleep(0.05)
        assert found == (sm.fs.find(sm.url_for()) if sm.fs.exists(sm.url_for("s")) else [])
        await sm.delete_session("s")


async def test_second_manager_sees_the_same(sm: StorageManager, make: Make) -> None:
    await sm.store_step_data("s", "t", *DATA)
    async with make() as other:
        assert await other.retrieve_step_data("s", "t") == DATA
        await other.delete_session("s")
    assert await sm.list_sessions() == []
    await sm.aclose()
    await sm.aclose()
    assert await sm.list_sessions() == []


async def test_memory_backend() -> None:
    async with StorageManager.from_url("memory://place/in") as sm:
        assert sm.get_storage_info()["effective_storage_type"] == "memory"
        await sm.store_step_data("s", "t", *DATA)
        await sm.store_step_data("s-1", "t", *DATA)
        assert await sm.retrieve_step_data("s", "t") == DATA
        await sm.delete_step("s", "t")
        await sm.delete_step("s", "t")
        assert await sm.list_sessions() == ["s-1"]
        assert (await sm.async_fs._info(sm.url_for("s-1", "t", "html")))["type"] == "file"
        await sm.check()
        await sm.delete_session("s-1")
        assert await sm.list_sessions() == []
        assert sm.storage_options == {}


@pytest.mark.parametrize("answer", [b"other bytes", PermissionError(errno.EACCES, "not yours")])
async def test_check_reads_what_it_wrote(sm: StorageManager, answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def read(paths: list[str]) -> list[Any]:
        return [answer]

    monkeypatch.setattr(sm.async_fs, "_read_files", read)
    with pytest.raises(StorageManagerError, match=r"other bytes|not yours") as caught:
        await sm.check()
    assert caught.value.operation == "check"
    assert sm.fs.find(sm.url_for()) == []


async def test_a_backend_that_deletes_nothing_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    sm = StorageManager.from_url("memory://lying")
    await sm.store_step_data("s", "t", "x")
    with monkeypatch.context() as patch:
        patch.setattr(sm.async_fs.target, "rm", lambda *args, **kwargs: None)
        with pytest.raises(StorageManagerError, match=r"still there.*observation\.html"):
            await sm.delete_session("s")
    await sm.delete_session("s")


@pytest.mark.parametrize("step", [("s", "t", StepData()), Step("s", "t", {"html": "x"}), None])  # type: ignore[arg-type]
async def test_store_steps_takes_steps(sm: StorageManager, step: Any) -> None:
    with pytest.raises(InvalidDataError, match="store_steps takes Step"):
        await sm.store_steps([step])
    assert await sm.list_sessions() == []
