"""The synchronous recorder reads pages and drivers in the calling thread, and stores what the asynchronous one does."""

import asyncio
import base64
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage_manager import InvalidDataError, InvalidIdError, StepData, StorageManagerError, sync
from storage_manager.recorder import capture as module
from storage_manager.redaction import redact_secrets

PNG = b"\x89PNG\r\n\x1a\n"
GEOMETRY = {"viewport": {"width": 500, "height": 193}, "device_pixel_ratio": 2, "scroll": {"x": 0, "y": 40}}


class Driver:
    """The four parts of a WebDriver that are needed; each notes the thread that asks."""

    def __init__(self) -> None:
        self.threads = set[threading.Thread]()
        self.pages = ["<p>"]

    def _seen(self, value: Any) -> Any:
        self.threads.add(threading.current_thread())
        if isinstance(value, Exception):
            raise value
        return value

    page_source = property(lambda self: self._seen(self.pages.pop(0) if len(self.pages) > 1 else self.pages[0]))
    title = property(lambda self: self._seen("Shop"))
    current_url = property(lambda self: self._seen("https://user:secret@example.com/a@b"))

    def get_screenshot_as_png(self) -> bytes:
        image: bytes = self._seen(PNG)
        return image


class FullDriver(Driver):
    """With scripts and the Chrome DevTools Protocol; notes the calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []

    def execute_script(self, script: str, *args: Any) -> Any:
        self.calls.append(("script", args))
        look = {**GEOMETRY, "title": "Shop", "extras": {"shadow": 0, "top": 0, "frames": 0}}
        return look if script.endswith("look()") else True

    def execute_cdp_cmd(self, command: str, options: dict[str, Any]) -> dict[str, Any]:
        self.calls.append((command, options))
        size = {"x": 0, "y": 0, "width": 500, "height": 900}
        return {"cssContentSize": size, "data": base64.b64encode(b"RIFF").decode()}


class Page:
    """A sync page, with the methods that are needed."""

    url = "about:blank"
    error: Exception | None = None

    def content(self) -> str:
        if self.error:
            raise self.error
        return "<p>\ud800"

    def title(self) -> str:
        return "Page"

    def screenshot(self) -> bytes:
        if self.error:
            raise self.error
        return PNG


class AsyncPage(Page):
    async def content(self) -> str:  # type: ignore[override]
        return "<p>"


@pytest.fixture
def sm(tmp_path: Path) -> sync.StorageManager:
    return sync.StorageManager(local_base_path=tmp_path / "base")


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0)


def recorded(sm: sync.StorageManager, page: Any, action: Any = None, **options: Any) -> StepData:
    with sync.record(sm, "s", **options) as recorder:
        step_id = recorder.step(page, action)
    assert sync.verify_session(sm, "s") == []
    return sm.retrieve_step_data("s", step_id, strict=True)


def test_a_driver_with_the_least_is_read_in_this_thread(sm: sync.StorageManager) -> None:
    driver = Driver()
    html, image, action, metadata = recorded(sm, driver, {"type": "get"})
    assert (html, image, action) == ("<p>", PNG, {"type": "get"})
    assert metadata
    assert metadata.pop("timestamp")
    url = "https://example.com/a@b"
    assert metadata == {"url": url, "title": "Shop", "observed": "after", "source": "recorder"}
    assert driver.threads == {threading.current_thread()}


def test_a_driver_with_more(sm: sync.StorageManager) -> None:
    driver = FullDriver()
    data = recorded(sm, driver, image="webp", quality=80, full_page=True, mask=["#secret"], observed="before")
    assert data.screenshot == b"RIFF"
    assert data.metadata
    assert GEOMETRY.items() <= data.metadata.items()
    assert data.metadata["observed"] == "before"
    clip = {"x": 0, "y": 0, "width": 500, "height": 900, "scale": 1}
    options = {"format": "webp", "quality": 80, "captureBeyondViewport": True, "clip": clip}
    calls = [("script", (["#secret"],)), ("Page.getLayoutMetrics", {}), ("Page.captureScreenshot", options)]
    assert driver.calls == [("script", ()), *calls, ("script", ()), ("script", ())]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_a_step_that_is_ended_from_outside_removes_the_mask(
    sm: sync.StorageManager, error: type[BaseException]
) -> None:
    class Ended(FullDriver):
        def get_screenshot_as_png(self) -> bytes:
            raise error  # as a handler of a signal does

    driver = Ended()
    with pytest.raises(error):
        recorded(sm, driver, mask=["#card"])
    assert driver.calls == [("script", ()), ("script", (["#card"],)), ("script", ())]


def test_a_mask_that_cannot_be_laid_takes_no_screenshot(sm: sync.StorageManager) -> None:
    class Failing(FullDriver):
        def execute_script(self, script: str, *args: Any) -> Any:
            if args:
                raise ValueError("no such selector")
            return super().execute_script(script, *args)

    data = recorded(sm, Failing(), mask=["#secret"])
    assert data.screenshot is None
    assert (data.metadata or {})["not_captured"] == {"screenshot": "no such selector"}


@pytest.mark.parametrize("options", [{"mask": ["#a"]}, {"full_page": True}, {"image": "jpeg"}])
def test_what_a_driver_cannot_do_is_refused(sm: sync.StorageManager, options: dict[str, Any]) -> None:
    with (
        sync.record(sm, "s", **options) as recorder,
        pytest.raises(InvalidDataError, match="needs a driver with execute_"),
    ):
        recorder.step(Driver())


def test_a_page_with_the_least(sm: sync.StorageManager) -> None:
    data = recorded(sm, Page())
    assert (data.html, data.screenshot) == ("<p>\ufffd", PNG)
    assert "not_captured" not in (data.metadata or {})


@pytest.mark.parametrize(("changes", "marked"), [(1, None), (9, True)])
def test_html_and_screenshot_are_of_one_moment(sm: sync.StorageManager, changes: int, marked: bool | None) -> None:
    driver = Driver()
    driver.pages = [f"<p>{number}" for number in range(changes + 1)]
    data = recorded(sm, driver)
    assert (data.metadata or {}).get("changed_during_capture") is marked
    assert data.html == "<p>1" if marked is None else data.html


def test_a_page_that_fails(sm: sync.StorageManager) -> None:
    page = Page()
    page.error = ValueError("Target page has been closed\nCall log: ...")
    with sync.record(sm, "s") as recorder:
        with pytest.raises(StorageManagerError, match=r"cannot capture anything.*has been closed \(record a page"):
            recorder.step(page)
        assert recorder.step(page, {"type": "click"}) == "step_000001"
    data = sm.retrieve_step_data("s", "step_000001")
    why = "Target page has been closed\nCall log:\n..."
    assert (data.metadata or {})["not_captured"] == {"html": why, "screenshot": why}


def test_secrets_in_reasons_are_masked_before_they_are_shortened(tmp_path: Path) -> None:
    sm = sync.StorageManager(local_base_path=tmp_path / "base", redact=redact_secrets(["first\nsecond"]))
    page = Page()
    page.error = ValueError("typed first\nsecond")
    with sync.record(sm, "s") as recorder:
        recorder.step(page, {"type": "click"})
    assert "first" not in (tmp_path / "base" / "s" / "step_000001" / "metadata.json").read_text()


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (AsyncPage(), r"asynchronous page: use storage_manager\.recorder\.record"),
        (None, "NoneType is not a page: it has no method 'content'"),
        ("<p>", "str is not a page"),
    ],
)
def test_what_is_no_page_is_refused(sm: sync.StorageManager, page: Any, why: str) -> None:
    with sync.record(sm, "s") as recorder:
        with pytest.raises(InvalidDataError, match=why):
            recorder.step(page)
        assert recorder.add(html="<p>") == "step_000001"


REFUSED: dict[str, tuple[Callable[..., Any], type[Exception]]] = {
    "id": (lambda sm: sync.record(sm, "../s"), InvalidIdError),
    "observed": (lambda sm: sync.record(sm, "s", observed="later"), InvalidDataError),  # type: ignore[arg-type]
    "image": (lambda sm: sync.record(sm, "s", image="gif"), InvalidDataError),  # type: ignore[arg-type]
    "quality of PNG": (lambda sm: sync.record(sm, "s", quality=80), InvalidDataError),
    "quality": (lambda sm: sync.record(sm, "s", image="jpeg", quality=101), StorageManagerError),
    "mask": (lambda sm: sync.record(sm, "s", mask="#a"), StorageManagerError),
    "storage": (lambda sm: sync.record(sm.asynchronous, "s"), TypeError),
}


@pytest.mark.parametrize("what", REFUSED)
def test_arguments_are_refused_before_any_io(sm: sync.StorageManager, what: str) -> None:
    call, error = REFUSED[what]
    with pytest.raises(error):
        call(sm)
    assert sm.list_sessions() == []


def test_what_a_session_says_of_itself(sm: sync.StorageManager) -> None:
    with sync.record(sm, "s", metadata={"goal": "buy"}) as recorder:
        recorder.add(action={"type": "wait"}, attachments={"a.txt": "text"})
        recorder.finish(outcome="success")
    about = sm.retrieve_session_metadata("s") or {}
    assert (about["goal"], about["outcome"], about["observed"]) == ("buy", "success", "after")
    assert about["started_at"] <= about["ended_at"]
    with pytest.raises(InvalidDataError, match="not being recorded"):
        recorder.step(Page())


@pytest.mark.parametrize(("error", "outcome"), [(ValueError("mine"), "error"), (KeyboardInterrupt(), "cancelled")])
def test_a_block_that_ends_with_an_error(sm: sync.StorageManager, error: BaseException, outcome: str) -> None:
    with pytest.raises(type(error)) as caught, sync.record(sm, "s") as recorder:
        recorder.step(Page())
        raise error
    assert caught.value is error
    assert (sm.retrieve_session_metadata("s") or {})["outcome"] == outcome
    assert sm.list_steps_for_session("s") == ["step_000001"]
    assert "sealed" not in str(sync.verify_session(sm, "s"))
    assert not sm.fs.exists(sm.url_for("s") + "/_manifest.json")


@pytest.mark.parametrize("error", [None, ValueError("mine"), KeyboardInterrupt()])
def test_a_step_that_cannot_be_stored(sm: sync.StorageManager, error: BaseException | None, tmp_path: Path) -> None:
    def record() -> None:
        with sync.record(sm, "s") as recorder:
            (tmp_path / "base" / "s" / "step_000001").write_text("in the way")
            recorder.step(Page())
            if error:
                raise error

    expected = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else StorageManagerError
    with pytest.raises(expected) as caught:
        record()
    failure = caught.value.__cause__ if isinstance(error, KeyboardInterrupt) else caught.value
    assert "step_000001" in str(failure)
    if isinstance(error, ValueError):
        assert caught.value.__context__ is error


async def test_while_a_loop_is_running(sm: sync.StorageManager) -> None:
    assert recorded(sm, Page()).html == "<p>\ufffd"
