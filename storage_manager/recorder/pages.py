"""Look at a page of Playwright, async or sync, or any object with its content(), screenshot(), title() and url."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from storage_manager.errors import InvalidDataError
from storage_manager.recorder.calls import (
    Call,
    Deadline,
    Reading,
    Steps,
    accepts,
    carry_out,
    failures,
    is_timeout,
    values,
)
from storage_manager.recorder.camera import Camera, Picture, Shot
from storage_manager.recorder.capture import Capture, View, capturing
from storage_manager.recorder.frames import Frames, has_frames
from storage_manager.recorder.script import END, LOOK, LOOK_ONCE, WATCH

__all__ = ["PageView", "capture", "check_page"]

_NEEDED = ("content", "screenshot", "title", "url")


def check_page(page: object) -> None:
    """Refuse an object that does not have the attributes of a page, and a synchronous page, which would not answer.

    Raises:
        InvalidDataError: names the first missing attribute, or what to use.
    """
    if type(page).__module__.startswith("playwright.sync_api"):
        why = "this is a page of Playwright's synchronous API"
        advice = "use storage_manager.sync.record, or open the page with playwright.async_api"
        raise InvalidDataError(f"cannot record: {why}; {advice}", operation="record")
    for name in _NEEDED:
        if not hasattr(page, name):
            why = f"{type(page).__name__} is not a page: it has no attribute {name!r}"
            advice = "give Playwright's async page, or an object with content(), screenshot(), title() and url"
            raise InvalidDataError(f"cannot record: {why}; {advice}", operation="record")


async def capture(page: Any, camera: Camera | None = None, *, full_page: bool = False) -> Capture:
    """Capture what an asynchronous page shows now.

    Parameters:
        camera: takes the screenshots. A session has one camera, which remembers pages that are slow.
        full_page: as in `record`, if there is no camera.
    """
    return await carry_out(capturing(PageView(page, camera or Camera(Picture(full_page)))))


class PageView(View):
    """A page of Playwright, or an object with the same methods.

    A page of Playwright is watched while the screenshot is taken: if the script that watches has seen no change, the
    HTML need not be read again. Any other page is read twice.
    """

    def __init__(self, page: Any, camera: Camera) -> None:
        self._page, self._camera = page, camera
        self._watch: Any = None  # the script in the page, while it watches
        self._frames: Frames | None = None  # of the last reading
        self._handles: list[Any] = []
        self._typed = 0  # how often somebody typed during the capture; the HTML does not show it

    def read(self, deadline: Deadline) -> Steps[Reading]:
        """Begin to watch the page, and read it."""
        self._watch, self._frames = None, None
        if hasattr(self._page, "evaluate_handle"):
            watch = (yield deadline.calls({"it": (partial(self._page.evaluate_handle, WATCH), object)}))["it"]
            if isinstance(watch, BaseException) and is_timeout(watch):
                return {"html": watch, "title": watch, **(yield deadline.calls(self._about()))}
            if not isinstance(watch, BaseException):
                self._watch = watch
                self._handles.append(watch)
        reading: Reading = yield deadline.calls(self._calls())
        reading |= self._looked(reading.pop("look", {}))
        return (yield from self._with_frames(reading, deadline))

    def read_again(self, deadline: Deadline, before: Reading) -> Steps[Reading]:
        """Read the page again, or, if it was watched and did not change, return the reading before it."""
        if not self._watch or failures(before):
            return (yield from self.read(deadline))
        end: Any = (yield deadline.calls({"it": (partial(self._watch.evaluate, END), Mapping)}))["it"]
        is_still = not self._frames or (yield from self._frames.is_same(deadline))
        if isinstance(end, BaseException) or end["changed"] or not is_still:
            return (yield from self.read(deadline))
        self._typed += end["typed"]
        about = yield deadline.calls(self._about())
        after = {**before, **about, **self._looked(end["look"])}
        if values(after) == values(before):
            return after
        return (yield from self.read(deadline))

    def shoot(self, deadline: Deadline) -> Steps[Shot]:
        """Take a screenshot with the camera."""
        return (yield from self._camera.take(self._page, deadline))

    def leave(self, deadline: Deadline) -> Steps[None]:
        """Dispose of the scripts and elements."""
        if self._handles:
            yield deadline.calls({str(at): (one.dispose, object) for at, one in enumerate(self._handles)}, 1.0)

    def is_closed(self) -> bool:
        """Return what is_closed() of the page says, if it has that."""
        return hasattr(self._page, "is_closed") and self._page.is_closed() is True

    def _about(self) -> dict[str, Call]:
        """Return the calls that make no request."""
        size = {"viewport": (lambda: getattr(self._page, "viewport_size", None), object)}
        return {"url": (lambda: self._page.url, str), **size}

    def _calls(self) -> dict[str, Call]:
        """Return the calls that read the page. A page with frames is copied afterwards, so content() is not needed."""
        page = self._page
        options = {"include_shadow": True} if accepts(page.content, "include_shadow") else {}
        html: dict[str, Call] = {"html": (partial(page.content, **options), str)}
        if self._watch:
            look: dict[str, Call] = {"look": (partial(self._watch.evaluate, LOOK), Mapping)}
            return look | ({} if has_frames(page) else html) | self._about()
        calls = html | {"title": (page.title, str)} | self._about()
        return calls | ({"layout": (partial(page.evaluate, LOOK_ONCE), object)} if hasattr(page, "evaluate") else {})

    def _looked(self, look: Any) -> Reading:
        """Return a reading from what the script in the page has said."""
        if isinstance(look, BaseException):
            return {"layout": look, "title": look} | ({"html": look} if has_frames(self._page) else {})
        layout = {name: value for name, value in look.items() if name != "title"}
        return {"layout": layout, "title": look["title"], "typed": self._typed} if look else {}

    def _with_frames(self, reading: Reading, deadline: Deadline) -> Steps[Reading]:
        """Replace the HTML by a copy that has the frames, if the page needs one."""
        if not self._needs_copy(reading):
            return reading
        self._frames = Frames(self._page, self._watch, self._handles)
        return reading | (yield from self._frames.read(deadline))

    def _needs_copy(self, reading: Reading) -> bool:
        """Return True if `content()` of the page leaves something out."""
        if not (self._watch and hasattr(self._page, "main_frame")) or failures(reading):
            return False
        extras, has_shadow = reading["layout"]["extras"], accepts(self._page.content, "include_shadow")
        return has_frames(self._page) or bool(extras["top"] or (extras["shadow"] and not has_shadow))
