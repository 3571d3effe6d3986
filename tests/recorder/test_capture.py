"""What is captured of a page that does not keep still, or does not answer."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from storage_manager import InvalidDataError, StorageManager
from storage_manager.recorder import capture as module
from storage_manager.recorder.calls import carry_out
from storage_manager.recorder.camera import Camera, Picture
from storage_manager.recorder.capture import Capture, capturing, shortened
from storage_manager.recorder.pages import PageView, check_page
from storage_manager.recorder.recording import metadata_of
from storage_manager.redaction import redact_secrets
from tests.support.fake_pages import Restless, Still


async def capture(page: Any, full_page: bool = False) -> Capture:
    return await carry_out(capturing(PageView(page, Camera(Picture(full_page)))))


async def test_a_still_page_is_one_screenshot() -> None:
    page = Still()
    html, image, metadata = await capture(page)
    assert (html, image) == (page.html, b"\x89PNG1")
    timestamp = metadata.pop("timestamp")
    assert len(timestamp) == len("2026-01-31T12:00:00.000+00:00")
    assert timestamp.endswith("+00:00")
    viewport = {"width": 640, "height": 480}
    assert metadata == {"url": page.url, "title": "Still", "viewport": viewport, "source": "recorder"}


@pytest.mark.parametrize(("changes", "shots", "flag"), [(1, 2, None), (2, 3, None), (3, 3, True), (9, 3, True)])
async def test_html_and_screenshot_are_of_one_moment(changes: int, shots: int, flag: bool | None) -> None:
    page = Restless(changes)
    shown = await capture(page)
    assert page.shots == shots
    assert shown.screenshot == b"\x89PNG%d" % shots
    assert shown.html == page.html == f"<p>{min(changes, shots)}"
    assert shown.metadata.get("changed_during_capture") is flag


async def test_a_change_of_url_or_title_or_size_is_a_change() -> None:
    for name, value in [("url", "https://example.com/2"), ("viewport_size", {"width": 1, "height": 1})]:
        page = Still()

        async def screenshot(page: Still = page, name: str = name, value: object = value) -> bytes:
            setattr(page, name, value)
            return await Still.screenshot(page)

        page.screenshot = screenshot  # type: ignore[method-assign]
        shown = await capture(page)
        assert page.shots == 2
        assert shown.metadata[name.removesuffix("_size")] == value


async def test_what_a_page_has_not_is_left_out() -> None:
    class Small:
        url = "about:blank"

        def content(self) -> str:
            return "<p>"

        def title(self) -> str:
            return ""

        async def screenshot(self) -> memoryview:
            return memoryview(b"")

    shown = await capture(Small())
    assert (shown.html, shown.screenshot) == ("<p>", None)
    assert shown.metadata.keys() == {"url", "title", "timestamp", "source", "not_captured"}
    assert shown.metadata["not_captured"] == {"screenshot": "bytes is needed, not memoryview"}


@pytest.mark.parametrize("missing", ["content", "screenshot", "title", "url"])
def test_what_is_no_page_is_refused(missing: str) -> None:
    names = {"content", "screenshot", "title", "url"} - {missing}
    page = type("Thing", (), dict.fromkeys(names, ""))()
    with pytest.raises(InvalidDataError, match=f"Thing is not a page: it has no attribute '{missing}'"):
        check_page(page)


async def test_what_fails_is_tried_again_and_then_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0)
    page, failures = Still(), 1

    async def title() -> str:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise RuntimeError("navigating\nat once")
        return "there"

    page.title = title  # type: ignore[method-assign]
    shown = await capture(page)
    assert (shown.metadata["title"], page.shots) == ("there", 2)
    assert "not_captured" not in shown.metadata
    failures = 99
    shown = await capture(page)
    assert page.shots == 5
    assert shown.metadata["not_captured"] == {"title": "navigating\nat once"}, "the recorder masks it, then shortens it"
    assert shortened(shown.metadata["not_captured"]["title"]) == "navigating"
    assert "changed_during_capture" not in shown.metadata


async def test_an_error_without_words_has_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0)
    page = Still()

    async def screenshot(**options: Any) -> bytes:
        raise ConnectionResetError

    page.screenshot = screenshot  # type: ignore[method-assign]
    shown = await capture(page)
    assert shown.html
    assert shown.metadata["not_captured"] == {"screenshot": "ConnectionResetError"}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CALL_SECONDS", 0.05)


async def never(*args: Any, **kwargs: Any) -> Any:
    await asyncio.Event().wait()


@pytest.mark.usefixtures("impatient")
async def test_a_page_that_never_answers_is_left_after_one_wait() -> None:
    page = Still()
    page.content = never  # type: ignore[method-assign]
    shown = await capture(page)
    why = "the page gave no answer in 0.05 seconds"
    assert shown.metadata["not_captured"] == {"html": why, "screenshot": why}
    assert (shown.html, shown.screenshot, page.shots) == (None, None, 0)
    assert shown.metadata["title"] == "Still"


@pytest.mark.usefixtures("impatient")
async def test_a_screenshot_that_never_ends_leaves_the_html() -> None:
    page = Still()
    page.screenshot = never  # type: ignore[method-assign]
    shown = await capture(page)
    assert shown.html == page.html
    assert shown.metadata["not_captured"] == {"screenshot": "the page gave no answer in 0.05 seconds"}


@pytest.mark.usefixtures("impatient")
async def test_a_reason_of_the_page_is_kept_if_its_next_attempt_hangs() -> None:
    page = Still()
    page.context = SimpleNamespace(new_cdp_session=fails)  # type: ignore[attr-defined]

    async def screenshot() -> bytes:
        page.screenshot = never  # type: ignore[method-assign]
        raise TimeoutError("waiting for fonts to load")

    page.screenshot = screenshot  # type: ignore[method-assign]
    shown = await capture(page)
    assert shown.metadata["not_captured"] == {"screenshot": "waiting for fonts to load"}


async def fails(*args: Any, **kwargs: Any) -> Any:
    raise ConnectionError("no protocol")


@pytest.mark.usefixtures("impatient")
async def test_a_page_that_hangs_after_its_screenshot_is_said_not_to_be_compared() -> None:
    page = Still()

    async def screenshot() -> bytes:
        page.content = never  # type: ignore[method-assign]
        return await Still.screenshot(page)

    page.screenshot = screenshot  # type: ignore[method-assign]
    shown = await capture(page)
    assert (shown.html, shown.screenshot) == (page.html, b"\x89PNG1")
    assert shown.metadata["changed_during_capture"] is True
    assert "not_captured" not in shown.metadata


async def test_the_browser_is_told_when_to_give_up() -> None:
    page, told = Still(), {}

    async def screenshot(*, timeout: float = 0, full_page: bool = False) -> bytes:
        told.update(timeout=timeout, full_page=full_page)
        return b""

    page.screenshot = screenshot  # type: ignore[method-assign, assignment]
    await capture(page)
    assert told == {"timeout": 9000, "full_page": False}
    await capture(page, full_page=True)
    assert told["full_page"] is True


async def test_a_capture_can_be_cancelled() -> None:
    page = Still()
    page.content = never  # type: ignore[method-assign]
    capturing = asyncio.ensure_future(capture(page))
    await asyncio.sleep(0)
    capturing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await capturing
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_a_reason_keeps_the_call_log() -> None:
    log = "Call log:\n\x1b[2m  - taking page screenshot\x1b[22m\n\x1b[2m  - waiting for fonts to load...\x1b[22m\n"
    kept = shortened(f"Page.screenshot: Timeout 2000ms exceeded.\n{log}")
    assert kept.splitlines() == [
        "Page.screenshot: Timeout 2000ms exceeded.",
        "Call log:",
        "- taking page screenshot",
        "- waiting for fonts to load...",
    ]
    assert len(shortened("x" * 999 + "\nCall log:\n" + "y\n" * 999).splitlines()) == 22
    assert shortened("nothing\nCall log:\n") == "nothing"
    assert shortened("see http://me:word@a.example/") == "see http://a.example/"


LOOK = {
    "viewport": {"width": 1, "height": 1},
    "device_pixel_ratio": 1,
    "scroll": {"x": 0, "y": 0},
    "title": "Still",
    "extras": {"shadow": 0, "top": 0, "frames": 0},
}
END = {"changed": False, "typed": 0, "look": LOOK}


class Lying(Still):
    """A page that says anything to a script, as one does that replaces functions of the browser."""

    def __init__(self, look: Any, end: Any) -> None:
        super().__init__()
        self._look, self._end = look, end

    async def evaluate(self, function: str, given: object = None) -> Any:
        return self._end if "dispatchEvent" in function else self._look


@pytest.mark.parametrize(
    "wrong",
    [
        {"title": {}},
        {"device_pixel_ratio": float("nan")},
        {"device_pixel_ratio": 10**400},
        {"scroll": {}},
        {"extras": 1},
    ],
)
async def test_what_a_page_says_wrongly_is_not_believed(monkeypatch: pytest.MonkeyPatch, wrong: Any) -> None:
    monkeypatch.setattr(module, "PAUSE", 0)
    shown = await capture(Lying({**LOOK, **wrong}, END))
    assert (shown.html, shown.metadata["title"]) == ("<title>Still</title>", "Still")
    assert shown.metadata["not_captured"].keys() == {"layout"}
    assert "device_pixel_ratio" not in shown.metadata


@pytest.mark.parametrize("end", [{}, {**END, "changed": None}, {**END, "typed": "a"}, {**END, "look": {}}])
async def test_a_wrong_end_of_a_watch_is_no_end(end: Any) -> None:
    shown = await capture(Lying(LOOK, end))
    assert (shown.html, shown.metadata["device_pixel_ratio"]) == ("<title>Still</title>", 1)
    assert "not_captured" not in shown.metadata


class Nested:
    """A frame, as Playwright shows it, with a chain of frames in it."""

    url = "about:blank"

    def __init__(self, parent: "Nested | None" = None) -> None:
        self.parent_frame = parent
        self.child_frames: list[Nested] = []

    async def evaluate(self, function: str, given: Any) -> Any:
        return {"html": "<p>", "parts": {}, "placed": given["marks"], "absent": []}

    async def frame_element(self) -> Any:
        return self

    async def dispose(self) -> None: ...


async def test_a_thousand_frames_in_each_other_are_no_error() -> None:
    page: Any = Lying(LOOK, END)
    page.main_frame = Nested()
    page.frames = [page.main_frame]
    for _ in range(1000):  # as many as Chromium allows
        page.frames[-1].child_frames.append(Nested(page.frames[-1]))
        page.frames.append(page.frames[-1].child_frames[0])
    shown = await capture(page)
    assert shown.html == "<p>"
    assert "only 64 frames are read, and 5 frames in each other" in shown.metadata["not_captured"]["frames"][0]


@pytest.mark.parametrize("wrong", [{"html": 5}, {"parts": {"a": 1}}, {"placed": [1]}, {"absent": 1}])
async def test_a_wrong_copy_is_none(wrong: Any) -> None:
    class Wrong(Nested):
        async def evaluate(self, function: str, given: Any) -> Any:
            return {**await super().evaluate(function, given), **wrong}

    page: Any = Lying(LOOK, END)
    page.main_frame = Wrong()
    page.main_frame.child_frames = [Wrong(page.main_frame)]
    page.frames = [page.main_frame, *page.main_frame.child_frames]
    shown = await capture(page)
    assert shown.html == "<title>Still</title>"
    assert "about:blank: the page replaces functions" in shown.metadata["not_captured"]["frames"][0]


async def test_secrets_in_the_error_of_a_frame_are_masked_before_it_is_shortened() -> None:
    class Hidden(Nested):
        async def frame_element(self) -> Any:
            raise RuntimeError("no frame of top\nsecret here\nand more")

    page: Any = Lying(LOOK, END)
    page.main_frame = Hidden()
    page.main_frame.child_frames = [Hidden(page.main_frame)]
    page.frames = [page.main_frame, *page.main_frame.child_frames]
    storage = StorageManager(redact=redact_secrets(["top\nsecret"]))
    about = metadata_of(storage, await capture(page), None)
    assert about["not_captured"]["frames"] == "about:blank: no frame of [redacted] here"
