"""What a real browser shows is stored as it is, and the page itself is left as it was."""

import asyncio
import io
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.async_api import Browser, Page
from playwright.sync_api import sync_playwright

from storage_manager import InvalidDataError, StepData, StorageManager
from storage_manager.recorder import capture as module
from storage_manager.recorder import record
from storage_manager.recorder.pages import check_page
from tests.support.browsers import ARGUMENTS, launched

pytestmark = pytest.mark.thorough

SLOW_FONT = """<!doctype html><style>@font-face { font-family: slow; src: url(https://fonts.example/never.woff2) }
body { font-family: slow; margin: 0; background: rgb(0, 128, 0) }</style>text"""


@pytest.fixture
def sm(tmp_path: Path) -> StorageManager:
    return StorageManager(local_base_path=tmp_path / "base")


@pytest.fixture
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with launched(chromium) as browser:
        yield browser


@pytest.fixture
async def page(browser: Browser) -> Page:
    return await browser.new_page(viewport={"width": 320, "height": 240})


class Counting:
    """The page, with the number of its screenshots."""

    def __init__(self, page: Page) -> None:
        self.page, self.shots = page, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.page, name)

    async def screenshot(
        self, *, timeout: Any = None, caret: Any = None, type: Any = None, mask: Any = None, **options: Any
    ) -> bytes:
        self.shots += 1
        return await self.page.screenshot(timeout=timeout, caret=caret, type=type, mask=mask, **options)


async def recorded(sm: StorageManager, *pages: Any, **options: Any) -> list[StepData]:
    """What is stored of each page."""
    async with record(sm, "s", **options) as recorder:
        for page in pages:
            await recorder.step(page, {"type": "look"})
    return [step.data async for step in sm.iter_steps(["s"])]


def image_of(data: StepData) -> Image.Image:
    return Image.open(io.BytesIO(data.screenshot or b""))


def colours(data: StepData) -> set[Any]:
    """The colours of the screenshot, each with its share of the pixels above a hundredth."""
    image = image_of(data).convert("RGB")
    found: Any = image.getcolors(image.width * image.height)
    return {colour for count, colour in found if count > image.width * image.height / 100}


def about(data: StepData) -> dict[str, Any]:
    assert data.metadata
    return data.metadata


async def test_a_page_with_inputs_is_not_changed(sm: StorageManager, page: Page) -> None:
    await page.set_content("<input id=a><textarea></textarea>")
    await page.focus("#a")
    counting = Counting(page)
    before = await page.content()
    [data] = await recorded(sm, counting)
    assert (data.html, await page.content(), counting.shots) == (before, before, 1)


async def test_pixels_can_be_mapped_to_the_page(sm: StorageManager, browser: Browser) -> None:
    page = await browser.new_page(viewport={"width": 300, "height": 200}, device_scale_factor=2)
    await page.set_content("<div style='width: 2000px; height: 2000px'>")
    await page.evaluate("scrollTo(40, 500)")
    [data] = await recorded(sm, page)
    assert image_of(data).size == (600, 400)
    assert about(data)["viewport"] == {"width": 300, "height": 200}
    assert (about(data)["device_pixel_ratio"], about(data)["scroll"]) == (2, {"x": 40, "y": 500})


@pytest.mark.parametrize("image", ["jpeg", "webp"])
async def test_smaller_images_and_covered_elements(sm: StorageManager, page: Page, image: Any) -> None:
    await page.set_content("<body style='margin: 0'><div id=secret style='height: 240px; background: rgb(0, 0, 0)'>")
    sizes = []
    for quality in (20, 95):
        [*_, data] = await recorded(sm, page, image=image, quality=quality, mask=["#secret"])
        assert image_of(data).format == image.upper()
        pixel: Any = image_of(data).convert("RGB").getpixel((160, 120))
        assert pixel[0] > 200, "Playwright covers with pink"
        sizes.append(len(data.screenshot or b""))
    assert sizes[0] < sizes[1] or image == "webp", "a plain colour is as small in any quality of WebP"


async def test_a_font_that_never_loads_costs_one_short_attempt(
    sm: StorageManager, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    timeouts = []
    screenshot = Page.screenshot

    @wraps(screenshot)
    async def noted(self: Page, **options: Any) -> bytes:
        timeouts.append(options["timeout"])
        return await screenshot(self, **options)

    monkeypatch.setattr(Page, "screenshot", noted)
    await page.route("https://fonts.example/*", lambda route: None)
    await page.set_content(SLOW_FONT, wait_until="domcontentloaded")
    async with record(sm, "s") as recorder:
        for _ in range(2):
            await recorder.step(page)
    assert timeouts == [2000], "the page is remembered"
    async for step in sm.iter_steps(["s"], strict=True):
        assert image_of(step.data).size == (320, 240)
        assert image_of(step.data).convert("RGB").getpixel((300, 200)) == (0, 128, 0)
        assert "not_captured" not in about(step.data)


async def test_the_whole_page_with_a_slow_font(sm: StorageManager, page: Page) -> None:
    await page.route("https://fonts.example/*", lambda route: None)
    await page.set_content(f"{SLOW_FONT}<div style='height: 900px'>", wait_until="domcontentloaded")
    [data] = await recorded(sm, page, full_page=True)
    assert image_of(data).height > 900


MASKED = f"""{SLOW_FONT}<style>#b {{ height: 100px; background: #00f }} b {{ display: none !important }}</style>
    <div id=host></div><dialog id=d style="margin: 0; border: 0; padding: 0"><div id=b></div></dialog><script>
    host.attachShadow({{mode: "open"}}).innerHTML = "<div class=a style='height: 100px; background: #00f'>secret</div>";
    d.showModal()</script>"""


async def test_a_slow_font_and_covered_elements(sm: StorageManager, page: Page) -> None:
    """Also in a shadow root, in a modal dialog, and above the styles of the page."""
    await page.route("https://fonts.example/*", lambda route: None)
    await page.set_content(MASKED, wait_until="domcontentloaded")
    before = await page.content()
    first, second = await recorded(sm, page, page, mask=["#host .a", "#b"])
    assert (await page.content(), "storage-manager-cover" in (first.html or "")) == (before, False)
    assert not {(0, 0, 255)} & {pixel for data in (first, second) for pixel in colours(data)}
    times = [datetime.fromisoformat(about(data)["timestamp"]) for data in (first, second)]
    assert (times[1] - times[0]).total_seconds() < 6, "the first attempt takes 2 of them"


async def test_elements_that_cannot_be_covered_are_no_screenshot(
    sm: StorageManager, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason says what Playwright was waiting for."""
    monkeypatch.setattr(module, "CALL_SECONDS", 3)
    await page.route("https://fonts.example/*", lambda route: None)
    await page.set_content(SLOW_FONT, wait_until="domcontentloaded")
    await page.evaluate("() => { HTMLElement.prototype.showPopover = function () { this.remove() } }")
    [data] = await recorded(sm, page, mask=["body"])
    assert data.screenshot is None
    assert "waiting for fonts to load" in about(data)["not_captured"]["screenshot"]


async def test_an_emulated_pixel_ratio_survives_a_slow_font(sm: StorageManager, browser: Browser) -> None:
    page = await browser.new_page(viewport={"width": 300, "height": 200}, device_scale_factor=2)
    await page.route("https://fonts.example/*", lambda route: None)
    await page.set_content(SLOW_FONT, wait_until="domcontentloaded")
    [data] = await recorded(sm, page)
    assert image_of(data).size == (300, 200)
    assert await page.evaluate("[devicePixelRatio, innerWidth, innerHeight]") == [2, 300, 200]


SHADOW = """<!doctype html><html lang="en"><head><title>Roots</title></head><body><x-a><b>light</b></x-a><script>
    const root = document.querySelector("x-a").attachShadow({mode: "open"});
    root.innerHTML = "<p>outer</p><x-b></x-b><slot></slot>";
    root.querySelector("x-b").attachShadow({mode: "open"}).innerHTML = "<p>inner</p>";
</script></body></html>"""


async def shown(browser: Browser, data: StepData) -> Page:
    """A page without scripts that shows what is stored."""
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.route("**/*", lambda route: route.fulfill(body=data.html or "", content_type="text/html"))
    await page.goto("http://stored.example/")
    return page


class WithoutShadow(Counting):
    """A page of Playwright before 1.65, whose content() leaves shadow roots out."""

    async def content(self) -> str:
        return await self.page.content()


@pytest.mark.parametrize("kind", [Counting, WithoutShadow])
async def test_open_shadow_roots_are_stored(sm: StorageManager, browser: Browser, page: Page, kind: type) -> None:
    await page.set_content(SHADOW)
    before = await page.content(include_shadow=True)
    [data] = await recorded(sm, kind(page))
    assert data.html == before == await page.content(include_shadow=True)
    other = await shown(browser, data)
    for text in ("outer", "inner", "light"):
        assert await other.get_by_text(text).is_visible()
    assert "not_captured" not in about(data)


async def serve(page: Page, **bodies: str) -> None:
    """Serve pages by the names of their hosts."""

    async def answer(route: Any) -> None:
        host = route.request.url.split("/")[2].split("@")[-1].partition(".")[0]
        await route.fulfill(body=bodies.get(host, ""), content_type="text/html; charset=utf-8")

    await page.context.route("**/*", answer)


async def test_frames_in_frames_are_stored(sm: StorageManager, browser: Browser, page: Page) -> None:
    await serve(
        page,
        a="<p>a &amp; \"quoted\"</p><x-a></x-a><iframe src='http://b.example/'></iframe>"
        "<script>document.querySelector('x-a').attachShadow({mode: 'open'}).innerHTML = "
        "`<iframe src='http://c.example/' sandbox></iframe>`</script>",
        b="<p>b</p><input type=password value=hidden><iframe src='http://c.example/'></iframe>",
        c="<p>c</p><iframe srcdoc='<p>d'></iframe>",
    )
    await page.goto("http://a.example/")
    before = await page.content()
    [data] = await recorded(sm, page)
    assert await page.content() == before
    assert "not_captured" not in about(data)
    assert "changed_during_capture" not in about(data)
    assert "hidden" not in (data.html or "")
    other = await shown(browser, data)
    texts: list[str] = []
    for _ in range(100):  # frames of other processes come a little later
        texts = sorted([(await frame.inner_text("body")).strip() for frame in other.frames])
        if len(texts) == 6 and all(texts):
            break
        await other.wait_for_timeout(50)
    assert texts == ['a & "quoted"', "b", "c", "c", "d", "d"]


async def test_frames_that_cannot_be_read_are_named(sm: StorageManager, page: Page) -> None:
    loop = "<p>before</p><script>setTimeout(() => { for (;;); }, 100)</script>"
    await serve(
        page,
        a="<p>a</p><iframe src='http://loop.example/'></iframe><iframe src='http://b.example/'></iframe>"
        "<div id=host></div><script>host.attachShadow({mode: 'closed'}).innerHTML = "
        "`<iframe src='http://c.example/'></iframe>`</script>",
        b="<p>b</p>",
        c="<p>c</p>",
        loop=loop,
    )
    await page.goto("http://a.example/")
    await page.wait_for_timeout(300)
    started = time.monotonic()
    [data] = await recorded(sm, page)
    print("seconds", time.monotonic() - started, about(data))
    assert time.monotonic() - started < 11
    assert "&lt;p&gt;b&lt;/p&gt;" in (data.html or "")
    why = about(data)["not_captured"]["frames"]
    assert "http://loop.example/: the page gave no answer in 2 seconds" in why
    assert "http://c.example/: its element is not an iframe, or is in a closed shadow root" in why


async def test_modal_dialogs_and_popovers_keep_their_state(sm: StorageManager, browser: Browser, page: Page) -> None:
    await page.set_content(
        "<!doctype html><dialog id=d>modal</dialog><div popover id=p>popover</div><div popover>closed</div>"
    )
    await page.evaluate("p.showPopover(); d.showModal(); p.showPopover()")
    before = await page.content()
    [data] = await recorded(sm, page)
    assert await page.content() == before
    assert 'data-recorded="modal"' in (data.html or "")
    other = await shown(browser, data)
    for text, visible in {"modal": True, "popover": True, "closed": False}.items():
        assert await other.get_by_text(text, exact=True).is_visible() is visible
        was, now = [await one.get_by_text(text, exact=True).bounding_box() or {} for one in (page, other)]
        assert now == pytest.approx(was, abs=1)


async def test_the_encoding_is_the_one_that_is_stored(sm: StorageManager, page: Page) -> None:
    html = "<meta http-equiv='content-type' content='text/html; charset=Shift_JIS'><title>x</title><p>日本語"

    async def answer(route: Any) -> None:
        await route.fulfill(body=html.encode("shift_jis"), content_type="text/html")

    await page.route("**/*", answer)
    await page.goto("http://a.example/")
    [data] = await recorded(sm, page)
    assert "日本語" in (data.html or "")
    assert 'content="text/html; charset=utf-8"' in (data.html or "")


async def test_no_password_is_stored(sm: StorageManager, page: Page) -> None:
    await serve(page, a="<input type=password value='word1'><input value=kept><p>x")
    await page.goto("http://user:word2@a.example/?q=1")
    assert "word2" in page.url
    [data] = await recorded(sm, page)
    assert "word1" not in (data.html or "")
    assert 'value="kept"' in (data.html or "")
    assert about(data)["url"] == "http://a.example/?q=1"


async def test_a_dialog_that_nobody_answers_is_named(
    sm: StorageManager, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CALL_SECONDS", 2)
    await page.set_content("<p>x")
    waiting = asyncio.Event()
    async with record(sm, "s") as recorder:
        await recorder.step(page)
        assert await page.evaluate("confirm('answered by Playwright')") is False
        await recorder.step(page)
        page.on("dialog", lambda dialog: waiting.set())
        await page.evaluate("setTimeout(() => confirm('Really?'), 0)")
        await waiting.wait()
        await recorder.step(page, {"type": "click"})
    first, second, third = [step.data async for step in sm.iter_steps(["s"])]
    assert "not_captured" not in about(first) | about(second)
    why = "the page gave no answer in 2 seconds: a dialog (confirm) waits for an answer, see page.on('dialog'): Really?"
    assert {"html": why, "screenshot": why}.items() <= about(third)["not_captured"].items()
    await page.close()


def test_a_synchronous_page_is_refused_at_once(sm: StorageManager, chromium: str) -> None:
    def look() -> None:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
            try:
                with pytest.raises(InvalidDataError, match=r"synchronous API; use storage_manager\.sync\.record"):
                    check_page(browser.new_page())
            finally:
                browser.close()

    with ThreadPoolExecutor() as pool:
        pool.submit(look).result()
