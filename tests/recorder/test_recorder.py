"""A recorder stores behind its agent, in order, and loses nothing in silence."""

import asyncio
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from storage_manager import (
    AlreadyExistsError,
    InvalidDataError,
    InvalidIdError,
    LocalStorageError,
    StepData,
    StorageManager,
    StorageManagerError,
    sync,
)
from storage_manager.integrity import seal_session, verify_session
from storage_manager.recorder import Recorder, record
from storage_manager.recorder import recording as module
from storage_manager.recorder.camera import Picture
from storage_manager.redaction import redact_secrets
from tests.support.fake_pages import Still
from tests.support.roots import Make

CLICK = {"type": "click"}


@pytest.fixture
def base(local: StorageManager) -> Path:
    """Where that place lies."""
    return Path(local.url_for())


@contextmanager
def slow(sm: StorageManager) -> Iterator[Callable[[], None]]:
    """A disk that does nothing before it is let go on."""
    go_on = threading.Event()
    sm.async_fs._workers.submit(go_on.wait)
    try:
        yield go_on.set
    finally:
        go_on.set()


@contextmanager
def gone(base: Path) -> Iterator[None]:
    """A disk that is not there for a while."""
    base.rename(base.with_name("away"))
    try:
        yield
    finally:
        shutil.rmtree(base, ignore_errors=True)
        base.with_name("away").rename(base)


async def stored(recorder: Recorder) -> None:
    """Nothing waits any more."""
    while recorder._storing and not recorder._storing.done():
        await asyncio.wait([recorder._storing])


def nothing_is_left() -> bool:
    return asyncio.all_tasks() == {asyncio.current_task()}


async def test_steps_are_stored_and_sealed(sm: StorageManager) -> None:
    page = Still()
    async with record(sm, "s") as recorder:
        assert recorder.session_id == "s"
        assert await recorder.step(page, CLICK, {"url": "mine", "note": 1}) == "step_000001"
        assert await recorder.step(page) == "step_000002"
    assert nothing_is_left()
    first, second = [step.data async for step in sm.iter_steps(["s"], strict=True)]
    assert (first.html, first.screenshot, first.action) == (page.html, b"\x89PNG1", CLICK)
    assert first.metadata
    assert (first.metadata["url"], first.metadata["note"], first.metadata["title"]) == ("mine", 1, "Still")
    assert (second.screenshot, second.action) == (b"\x89PNG2", None)
    manifest = json.loads(sm.fs.cat_file(f"{sm.url_for('s')}/_manifest.json"))
    assert [name.partition("/")[0] for name in manifest["components"]] == ["step_000001"] * 4 + ["step_000002"] * 3


async def test_a_session_goes_on(local: StorageManager) -> None:
    for step_id in ("step_000007", "step_12", "step_0000123", "step_x00009", "other"):
        await local.store_step_data("s", step_id, "x")
    async with record(local, "s") as recorder:
        assert await recorder.step(Still()) == "step_000008"
    async with record(local, "s") as recorder:
        assert await recorder.step(Still()) == "step_000009"


async def test_a_session_of_other_digits_goes_on_with_them(local: StorageManager) -> None:
    for step_id in ("step_008", "step_009", "other_1"):
        await local.store_step_data("s", step_id, "x")
    async with record(local, "s") as recorder:
        assert await recorder.step(Still()) == "step_010"
    await local.store_step_data("t", "step_9", "x")
    async with record(local, "t") as recorder:
        with pytest.raises(InvalidDataError, match="9 is the last number with 1 digits"):
            await recorder.step(Still())


async def test_the_last_number_is_the_last(local: StorageManager) -> None:
    await local.store_step_data("s", "step_999998", "x")
    async with record(local, "s") as recorder:
        assert await recorder.step(Still()) == "step_999999"
        with pytest.raises(InvalidDataError, match="record another") as caught:
            await recorder.step(Still())
    assert caught.value.operation == "record"


def test_an_id_is_refused_before_anything(local: StorageManager) -> None:
    with pytest.raises(InvalidIdError, match="session_id") as caught:
        record(local, "a/b")
    assert caught.value.operation == "record"


async def test_an_empty_block_is_a_session_without_steps(local: StorageManager) -> None:
    async with record(local, "s", metadata={"goal": "look"}):
        pass
    assert await local.list_steps_for_session("s") == []
    about = await local.retrieve_session_metadata("s")
    assert about is not None
    assert about.keys() == {"started_at", "ended_at", "observed", "goal"}
    assert await verify_session(local, "s") == []


async def test_a_block_that_adds_nothing_seals_what_is_there(local: StorageManager, base: Path) -> None:
    await local.store_step_data("s", "t", "x")
    async with record(local, "s"):
        pass
    assert (base / "s/_manifest.json").exists()


async def test_a_step_outside_of_the_block_is_an_error(local: StorageManager) -> None:
    recording = record(local, "s")
    async with recording as recorder:
        await recorder.step(Still())
    with pytest.raises(InvalidDataError, match=r"inside the block of `record\(...\)`") as caught:
        await recorder.step(Still())
    assert caught.value.url == local.url_for("s")


@pytest.mark.parametrize(
    ("page", "action", "metadata", "match"),
    [
        (None, None, None, "NoneType is not a page"),
        (type("Driver", (), {"get_screenshot_as_png": None})(), None, None, r"use storage_manager\.sync\.record"),
        (
            type("Page", (), {"__module__": "patchright.sync_api._generated"})(),
            None,
            None,
            "synchronous API; use storage_",
        ),
        (Still(), {"a": {1}, "b": float("nan")}, None, r"action_data\['b'\]"),
        (Still(), None, {"a": object()}, r"metadata\['a'\]"),
        (Still(), [1], None, "action_data cannot be stored: a mapping"),
    ],
)
async def test_what_cannot_be_stored_is_refused_at_once(
    local: StorageManager, page: Any, action: Any, metadata: Any, match: str
) -> None:
    shots = getattr(page, "shots", 0)
    async with record(local, "s") as recorder:
        with pytest.raises(InvalidDataError, match=match) as caught:
            await recorder.step(page, action, metadata)
        assert caught.value.operation == "record"
        assert await recorder.step(Still()) == "step_000001"
    assert getattr(page, "shots", 0) == shots


def test_a_synchronous_manager_is_refused(local: StorageManager) -> None:
    storage: Any = sync.StorageManager.from_url(local.url_for())
    with pytest.raises(TypeError, match=r"not storage_manager\.sync\..*storage_manager\.sync has functions"):
        record(storage, "s")


async def test_an_array_is_no_screenshot(local: StorageManager) -> None:
    class Array:
        def __eq__(self, other: object) -> Any:
            raise ValueError("the truth value of an array is ambiguous")

        __hash__ = None  # type: ignore[assignment]

    array: Any = Array()
    async with record(local, "s") as recorder:
        with pytest.raises(InvalidDataError, match="bytes are needed, not Array"):
            await recorder.add(screenshot=array)


async def test_a_copy_is_taken_at_once(local: StorageManager) -> None:
    page, action, metadata = Still(), {"type": "fill", "values": ["a"]}, {"tags": ["first"]}
    async with record(local, "s") as recorder:
        step = asyncio.ensure_future(recorder.step(page, action, metadata))
        await asyncio.sleep(0)
        action["values"].append("b")  # type: ignore[attr-defined]
        metadata["tags"].clear()
        await step
    data = await local.retrieve_step_data("s", "step_000001")
    assert data.action == {"type": "fill", "values": ["a"]}
    assert data.metadata
    assert data.metadata["tags"] == ["first"]


async def test_storing_runs_behind_and_the_end_waits(local: StorageManager, base: Path) -> None:
    with slow(local) as go_on:
        recorder = Recorder(local, "s", "after", Picture(), {})
        recorder._number = 0  # its beginning lists the session, which this disk does not do either
        for number in range(1, 4):
            assert await recorder.step(Still()) == f"step_{number:06d}"
        assert not (base / "s").exists()
        leaving = asyncio.ensure_future(recorder.__aexit__(None, None, None))
        await asyncio.wait([leaving], timeout=0.05)
        assert not leaving.done()
        go_on()
        await leaving
    assert len(await local.list_steps_for_session("s")) == 3
    assert (base / "s/_manifest.json").exists()


async def test_concurrent_steps_are_in_order(local: StorageManager) -> None:
    """Also where the page of an earlier call takes longer to answer."""

    class Slower(Still):
        def __init__(self, turns: int) -> None:
            super().__init__()
            self.turns = turns

        async def content(self) -> str:
            for _ in range(self.turns):
                await asyncio.sleep(0)
            return self.html

    async with record(local, "s") as recorder:
        steps = [recorder.step(Slower(30 - number), {"number": number}) for number in range(1, 30)]
        assert await asyncio.gather(*steps) == [f"step_{number:06d}" for number in range(1, 30)]
    actions = [step.data.action async for step in local.iter_steps(["s"])]
    assert actions == [{"number": number} for number in range(1, 30)]


async def test_what_waits_is_bounded(local: StorageManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that finds no room waits for it; cancelled, it has used no number."""
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    async with record(local, "s") as recorder:
        with slow(local):
            await recorder.step(Still())
            await recorder.step(Still())
            third = asyncio.ensure_future(recorder.step(Still(), {"is": "third"}))
            await asyncio.wait([third], timeout=0.05)
            assert not third.done()
            assert len(recorder._waiting) == 2
            third.cancel()
            await asyncio.wait([third])
            assert third.cancelled()
        assert await recorder.step(Still(), CLICK) == "step_000003"
    assert (await local.retrieve_step_data("s", "step_000003")).action == CLICK


async def test_a_step_that_waits_when_the_block_ends_is_told(
    local: StorageManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 1)
    async with record(local, "s") as recorder:
        with slow(local):
            await recorder.step(Still())
            late = asyncio.ensure_future(recorder.step(Still()))
            await asyncio.wait([late], timeout=0.05)
    with pytest.raises(InvalidDataError, match="not being recorded"):
        await late
    assert await local.list_steps_for_session("s") == ["step_000001"]


async def test_the_next_step_tells_which_were_not_stored(
    local: StorageManager, base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    page = Still()
    async with record(local, "s") as recorder:
        with gone(base):
            await recorder.step(page)
            await recorder.step(page)
            await stored(recorder)
        with pytest.raises(
            LocalStorageError, match="cannot store steps of session s: step_000001, step_000002: "
        ) as caught:
            await recorder.step(page)
        assert page.shots == 2
        assert await recorder.step(page, CLICK) == "step_000003"
    assert (caught.value.operation, caught.value.url) == ("record", local.url_for("s", "step_000001"))
    assert isinstance(caught.value.__cause__, LocalStorageError)
    assert await local.list_steps_for_session("s") == ["step_000003"]
    assert not (base / "s/_manifest.json").exists()  # by which a session with two steps lost would be whole
    assert "session not sealed, because some of its steps were not stored" in caplog.text


async def test_the_end_tells_which_were_not_stored_and_seals_nothing(local: StorageManager, base: Path) -> None:
    with pytest.raises(LocalStorageError, match="step_000001: "):
        async with record(local, "s") as recorder:
            with gone(base):
                await recorder.step(Still())
                await stored(recorder)
            with slow(local):
                await recorder._put(module.StepData("after"), {})
    assert nothing_is_left()
    assert await local.list_steps_for_session("s") == ["step_000002"]
    assert not (base / "s/_manifest.json").exists()


async def test_a_bucket_that_is_gone_is_told(moto: Make) -> None:
    sm = moto()
    with pytest.raises(StorageManagerError, match=r"step_000001.*NoSuchBucket"):
        async with sm, record(sm, "s") as recorder:
            sm.fs.rm(sm.url_for("s"), recursive=True)
            sm.fs.rmdir(sm.url_for().removeprefix("s3://"))
            await asyncio.gather(recorder.step(Still()), recorder.step(Still()))


async def test_the_agents_error_passes_and_all_is_stored(local: StorageManager, base: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with record(local, "s") as recorder:
            await recorder.step(Still())
            await recorder.step(Still())
            raise ZeroDivisionError
    assert len(await local.list_steps_for_session("s")) == 2
    assert not (base / "s/_manifest.json").exists()


async def end_with(error: type[BaseException], local: StorageManager, base: Path) -> None:
    """A block whose only step is not stored, and that ends so."""
    async with record(local, "s") as recorder:
        with gone(base):
            await recorder.step(Still())
            await stored(recorder)
        raise error


async def test_an_error_of_storing_has_the_agents_as_context(local: StorageManager, base: Path) -> None:
    with pytest.raises(LocalStorageError, match="step_000001") as caught:
        await end_with(ZeroDivisionError, local, base)
    assert isinstance(caught.value.__context__, ZeroDivisionError)


@pytest.mark.parametrize("kind", [asyncio.CancelledError, KeyboardInterrupt])
async def test_a_cancellation_stays_one(local: StorageManager, base: Path, kind: type[BaseException]) -> None:
    with pytest.raises(kind) as caught:
        await end_with(kind, local, base)
    assert isinstance(caught.value.__cause__, LocalStorageError)
    assert [path.name for path in (base / "s").iterdir()] == ["_session.json"]


@pytest.mark.parametrize("fails", [False, True])
async def test_cancelled_while_it_leaves_it_stores_all_the_same(local: StorageManager, base: Path, fails: bool) -> None:
    causes: list[BaseException | None] = []
    ready = asyncio.Event()

    async def agent() -> None:
        try:
            async with record(local, "s") as recorder:
                if fails:
                    with gone(base):
                        await recorder.step(Still())
                        await stored(recorder)
                await recorder._put(module.StepData("second"), {})
                await recorder._put(module.StepData("third"), {})
                ready.set()
        except asyncio.CancelledError as error:
            causes.append(error.__cause__)
            raise

    local.async_fs  # noqa: B018 (opened here)
    running = asyncio.ensure_future(agent())
    await ready.wait()
    with slow(local) as go_on:
        await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait([running], timeout=0.05)
        assert not running.done()
        go_on()
        await asyncio.wait([running])
    assert running.cancelled()
    assert [isinstance(cause, LocalStorageError) for cause in causes] == [fails]
    assert len(await local.list_steps_for_session("s")) == 2
    assert not (base / "s/_manifest.json").exists()
    assert nothing_is_left()


async def test_a_loop_that_cancels_everything_loses_nothing(local: StorageManager) -> None:
    async with record(local, "s") as recorder:
        with slow(local):
            for _ in range(3):
                await recorder.step(Still())
            assert recorder._storing
            recorder._storing.cancel()
            await asyncio.sleep(0)
    assert len(await local.list_steps_for_session("s")) == 3


async def test_a_loop_that_ends_while_the_block_ends_loses_nothing(local: StorageManager) -> None:
    ready, held = asyncio.Event(), ExitStack()

    async def agent() -> None:
        async with record(local, "s") as recorder:
            go_on.append(held.enter_context(slow(local)))
            for _ in range(4):
                await recorder.step(Still())
            ready.set()

    go_on: list[Callable[[], None]] = []
    running = asyncio.ensure_future(agent())
    with held:
        await ready.wait()
        await asyncio.sleep(0)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:  # as asyncio.run does it
            task.cancel()
        await asyncio.sleep(0)
        go_on[0]()
        await asyncio.wait([running])
    assert running.cancelled()
    assert len(await local.list_steps_for_session("s")) == 4


async def test_nothing_captured_and_nothing_done_is_an_error(local: StorageManager) -> None:
    asked = 0

    class Gone(Still):
        async def content(self) -> str:
            nonlocal asked
            asked += 1
            raise RuntimeError("The page has been closed.")

        screenshot = content  # type: ignore[assignment]

        def is_closed(self) -> bool:
            return True

    async with record(local, "s") as recorder:
        with pytest.raises(StorageManagerError, match=r"page has been closed \(record a page that is open") as caught:
            await recorder.step(Gone(), None, {"note": 1})
        assert caught.value.operation == "record"
        assert asked == 2  # once, and once for the screenshot: it says itself that it is closed
        assert await recorder.step(Gone(), CLICK, {"note": 1}) == "step_000001"
    data = await local.retrieve_step_data("s", "step_000001")
    assert data.action == CLICK
    assert data.metadata
    assert data.metadata["note"] == 1
    assert data.metadata["not_captured"] == dict.fromkeys(("html", "screenshot"), "The page has been closed.")


async def test_a_secret_is_in_no_error(base: Path) -> None:
    sm = StorageManager(local_base_path=base, redact=["hunter2"])

    class Gone(Still):
        async def content(self) -> str:
            raise RuntimeError("no page at https://a.test/?q=hunter2")

        screenshot = content  # type: ignore[assignment]

    async with record(sm, "s") as recorder:
        with pytest.raises(StorageManagerError, match=r"q=\[redacted\]"):
            await recorder.step(Gone())
        with pytest.raises(InvalidDataError, match=r"action_data\['\[redacted\]'\] cannot be stored") as caught:
            await recorder.step(Still(), {"hunter2": object()})
        assert "hunter2" not in str(caught.value)
        assert caught.value.__context__ is None


async def test_a_redactor_that_fails_repeats_nothing(base: Path) -> None:
    """As one may that has only ever seen whole steps."""
    sm = StorageManager(local_base_path=base, redact=lambda step: step._replace(action={**step.action}))  # type: ignore[dict-item]
    async with record(sm, "s") as recorder:
        with pytest.raises(InvalidDataError, match="redact failed") as caught:
            await recorder.step(Still(), {"hunter2": object()})
    error: BaseException | None = caught.value
    while error:
        assert "hunter2" not in str(error)
        error = error.__cause__ or error.__context__


async def test_a_secret_is_nowhere(base: Path) -> None:
    secret = "hunter2 & <co>"
    sm = StorageManager(local_base_path=base, redact=[secret])
    page = Still()
    page.html, page.url = "<p>hunter2 &amp; &lt;co&gt;</p>", "https://example.com/?q=hunter2+%26+%3Cco%3E"

    async def title() -> str:
        raise RuntimeError(f"no title for {secret}")

    page.title = title  # type: ignore[method-assign]
    async with record(sm, "s") as recorder:
        await recorder.step(page, {"value": secret}, {"note": secret})
    stored = {path.name: path.read_bytes() for path in base.rglob("*") if path.is_file()}
    assert len(stored) == 6
    assert not any(b"hunter2" in data for data in stored.values())
    assert sum(data.count(b"[redacted]") for data in stored.values()) == 5


async def test_two_recorders_of_one_session_lose_nothing(sm: StorageManager) -> None:
    """Each is told once which of its steps have other ids, and every step is stored."""
    reported: dict[str, str] = {}
    returned: dict[str, str] = {}

    async def agent(name: str) -> None:
        try:
            async with record(sm, "s") as recorder:
                number = 0
                while number < 5:
                    try:
                        step_id = await recorder.add(action={"by": name, "number": number})
                    except AlreadyExistsError as error:
                        reported[name] = reported.get(name, "") + str(error)
                        continue
                    returned[f"{name} {number}"] = step_id
                    number += 1
        except AlreadyExistsError as error:
            reported[name] = reported.get(name, "") + str(error)

    await asyncio.gather(agent("a"), agent("b"))
    found = {
        f"{step.data.action['by']} {step.data.action['number']}": step.step_id async for step in sm.iter_steps(["s"])
    }  # type: ignore[index]
    assert len(found) == 10
    for name, step_id in returned.items():
        moved = f"{step_id} is stored as {found[name]}"
        assert step_id == found[name] or moved in reported[name[0]]
    assert reported


async def test_a_taken_number_is_told_once_by_the_next_call(local: StorageManager, base: Path) -> None:
    async with record(local, "s") as recorder:
        await local.store_step_data("s", "step_000001", metadata={"by": "another"})
        await local.store_step_data("s", "step_000002", metadata={"by": "another"})
        with slow(local):
            assert [await recorder.add(html=html) for html in ("a", "b")] == ["step_000001", "step_000002"]
        await stored(recorder)
        moved = "step_000001 is stored as step_000003, step_000002 is stored as step_000004"
        with pytest.raises(AlreadyExistsError, match=moved) as caught:
            await recorder.step(Still())
        assert (caught.value.operation, caught.value.url) == ("record", local.url_for("s"))
        assert await recorder.step(Still()) == "step_000005"
    assert (await local.retrieve_step_data("s", "step_000001")).metadata == {"by": "another"}
    assert (await local.retrieve_step_data("s", "step_000004")).html == "b"
    assert (base / "s/_manifest.json").exists()


async def test_the_end_tells_of_a_taken_number_and_seals_nothing(local: StorageManager, base: Path) -> None:
    with pytest.raises(AlreadyExistsError, match="step_000001 is stored as step_000002"):
        async with record(local, "s") as recorder:
            await local.store_step_data("s", "step_000001", metadata={})
            await recorder.add(html="mine")
    assert (await local.retrieve_step_data("s", "step_000002")).html == "mine"
    assert not (base / "s/_manifest.json").exists()


async def test_the_metadata_of_a_session(local: StorageManager) -> None:
    async with record(local, "s", metadata={"goal": "buy", "tags": ["a"]}, observed="before") as recorder:
        begun = await local.retrieve_session_metadata("s")
        await recorder.add(action={"type": "click"}, metadata={"timestamp": "mine"})
        recorder.finish(outcome="success", reward=0.5)
        recorder.finish(reward=1.0)
    assert begun is not None
    ended = await local.retrieve_session_metadata("s")
    assert ended == {**begun, "ended_at": ended and ended["ended_at"], "outcome": "success", "reward": 1.0}
    assert begun == {"started_at": begun["started_at"], "observed": "before", "goal": "buy", "tags": ["a"]}
    step = await local.retrieve_step_data("s", "step_000001")
    assert step.metadata == {"timestamp": "mine", "observed": "before", "source": "recorder"}
    async with record(local, "s", metadata={"tags": []}):
        again = await local.retrieve_session_metadata("s")
        assert not await local.async_fs._exists(f"{local.url_for('s')}/_manifest.json")
    assert again == {**begun, "observed": "after", "tags": [], "reward": 1.0}


@pytest.mark.parametrize(("kind", "outcome"), [(ZeroDivisionError, "error"), (asyncio.CancelledError, "cancelled")])
async def test_a_run_that_ends_early(local: StorageManager, kind: type[BaseException], outcome: str) -> None:
    with pytest.raises(kind):
        async with record(local, "s") as recorder:
            raise kind
    assert ((await local.retrieve_session_metadata("s")) or {})["outcome"] == outcome
    with pytest.raises(InvalidDataError, match="not being recorded"):
        recorder.finish(reward=1)


async def test_attachments_of_a_step(sm: StorageManager, tmp_path: Path) -> None:
    (tmp_path / "v.webm").write_bytes(b"video")
    async with record(sm, "s") as recorder:
        tree = {"role": "button"}
        step_id = await recorder.step(Still(), attachments={"axtree.json": tree, "v.webm": tmp_path / "v.webm"})
        tree["role"] = "changed"
        with pytest.raises(InvalidDataError, match="an attachment cannot be called"):
            await recorder.step(Still(), attachments={"action.json": {}})
        with pytest.raises(InvalidDataError, match="No such file"):
            await recorder.step(Still(), attachments={"v.webm": tmp_path / "missing"})
        with pytest.raises(InvalidDataError, match="nothing to store"):
            await recorder.add()
    assert await sm.retrieve_attachment("s", "axtree.json", step_id) == b'{"role":"button"}\n'
    assert await sm.retrieve_attachment("s", "v.webm", step_id) == b"video"
    assert await sm.list_steps_for_session("s") == [step_id]
    assert await verify_session(sm, "s") == []


def mask(step: StepData) -> StepData:
    return step._replace(html=step.html and step.html.replace("hunter2", "[gone]"))


async def test_a_redactor_that_is_a_plain_function_can_record(tmp_path: Path) -> None:
    """The fields that the library itself writes need no redactor; all others do."""
    sm = StorageManager(local_base_path=tmp_path, redact=mask)
    async with record(sm, "s") as recorder:
        await recorder.add(html="<p>hunter2</p>")
        recorder.finish(outcome="success")
        with pytest.raises(InvalidDataError, match=r"knows only steps; give the redactor a method redact_attachment"):
            recorder.finish(goal="hunter2")
        with pytest.raises(InvalidDataError, match=r"the attachment a\.txt cannot be stored"):
            await recorder.add(attachments={"a.txt": "hunter2"})
        with pytest.raises(InvalidDataError, match=r"the attachment a\.txt cannot be stored"):
            await sm.store_attachments("s", {"a.txt": "hunter2"})
    with pytest.raises(InvalidDataError, match="knows only steps"):
        record(sm, "s", metadata={"goal": "hunter2"})
    assert (await sm.retrieve_step_data("s", "step_000001")).html == "<p>[gone]</p>"
    assert ((await sm.retrieve_session_metadata("s")) or {})["outcome"] == "success"


async def test_no_password_of_a_page_and_no_user_of_a_url_is_stored(local: StorageManager) -> None:
    html, url = "<p>é</p><input type=password value=word>", "https://me:word@example.com/"
    page = Still()
    page.html = html + "<p>" * 40_000  # long enough for a thread
    async with record(local, "s", metadata={"start_url": url}) as recorder:
        await recorder.step(page, None, {"url": url})
        await recorder.add(html=html, metadata={"url": url})
        await recorder.add(html=html.encode(), metadata={"url": 1})
    steps = [step.data async for step in local.iter_steps(["s"])]
    assert all('<p>é</p><input type=password value="">' in (data.html or "") for data in steps)
    assert [(data.metadata or {})["url"] for data in steps] == ["https://example.com/"] * 2 + [1]
    assert (await local.retrieve_session_metadata("s") or {})["start_url"] == "https://example.com/"


async def test_a_sealed_session_that_has_only_attachments_is_continued(local: StorageManager, base: Path) -> None:
    """Its seal is removed before the first new step, as with any other."""
    await local.store_attachments("s", {"notes.txt": "1"})
    await seal_session(local, "s")
    async with record(local, "s") as recorder:
        assert not (base / "s" / "_manifest.json").exists()
        await recorder.add(html="<p>")
    assert await verify_session(local, "s") == []


async def test_a_secret_is_masked_before_the_user_is_removed(tmp_path: Path) -> None:
    url = "https://me:word@example.com/token-1"
    sm = StorageManager(local_base_path=tmp_path / "base", redact=redact_secrets([url, "word@example.com/token-2"]))
    async with record(sm, "s") as recorder:
        await recorder.add(metadata={"url": url})
        await recorder.add(metadata={"url": "https://me:word@example.com/token-2"})
    urls = [(step.data.metadata or {})["url"] async for step in sm.iter_steps(["s"])]
    assert urls == ["[redacted]", "https://me:[redacted]"]
