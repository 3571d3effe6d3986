"""Read the HTML of a Playwright page with its open shadow roots and its frames, without changing the page.

Playwright's `content()` leaves out frames and, in older versions, shadow roots. If a page has any of these, our own
script copies the page. The script also copies frames of the same origin. In each other frame, the script runs
separately.
"""

import secrets
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from storage_manager.recorder.answers import copy_of
from storage_manager.recorder.calls import Call, Deadline, Reading, Steps, Work, failures, values
from storage_manager.recorder.capture import reason_of
from storage_manager.recorder.markup import LONG, cleaned, with_frames
from storage_manager.recorder.script import COPY

__all__ = ["MAX_CHARACTERS", "Frames", "assembled", "has_frames", "new_mark"]

MAX_FRAMES = 64  # of a page, at all depths
MAX_DEPTH = 5  # frames in frames; each depth makes the escaped text of the innermost longer
MAX_CHARACTERS = 8 * 2**20  # of all frames
MAX_NAMED = 10  # frames that are named in `not_captured`
FRAME_SECONDS = 2.0  # for each call of a frame; after that the page is stored without this frame
FRAMES_SECONDS = 4.0  # for such calls of all frames, if they are made one after another


def has_frames(page: Any) -> bool:
    """Return True if the page has frames that can be read."""
    return hasattr(page, "main_frame") and len(page.frames) > 1


def new_mark() -> str:
    """Return an unpredictable mark for the position of a frame in the markup of its parent."""
    return f"frame-{secrets.token_hex(16)}-"


class _Part:
    """A frame in which the script runs.

    Attributes:
        secret: the name of the event that ends the watch of the script in the frame.
        element: the element of the frame; None if it was not found.
        mark: marks the position of the frame in the markup of its parent.
        html: the markup with marks; None if it was not copied.
        inner: the markup of frames of the same origin, by their marks. A frame comes after the frames in it.
        placed: the marks that are in the markup.
    """

    def __init__(self, frame: Any, element: Any = None) -> None:
        self.frame, self.element = frame, element
        self.secret, self.mark = secrets.token_hex(16), new_mark()
        self.set_copy({"html": None, "parts": {}, "placed": []})

    def set_copy(self, copy: Mapping[str, Any]) -> None:
        """Store the markup that the script has copied."""
        self.html, self.inner, self.placed = copy["html"], copy["parts"], copy["placed"]

    def frames(self) -> dict[str, str | None]:
        """Return the markup of all frames of this part, by their marks."""
        return {**self.inner, self.mark: self.html}

    @property
    def size(self) -> int:
        """The number of characters of the markup."""
        return sum(len(html or "") for html in self.frames().values())


class Frames:
    """A reading of the frames of a page.

    Parameters:
        handles: a list for the handles that the reading keeps in the page. The caller disposes of them.
    """

    def __init__(self, page: Any, handles: list[Any]) -> None:
        self._handles = handles
        self._main = _Part(page.main_frame)
        self._parts = {page.main_frame: self._main}  # each after its parent
        self._tree = _tree(page.main_frame)
        self._problems: list[str] = []

    def read(self, deadline: Deadline) -> Steps[Reading]:
        """Return the HTML with all frames that can be read, and the reasons for frames that could not be read.

        There is no HTML if the main frame cannot be read. At first, the script copies frames of the same origin. If it
        does not find all of them, the script runs in every frame separately, so that absent frames can be named.
        """
        frames = [frame for frame, _ in _tree(self._main.frame)]
        is_small = len(frames) <= MAX_FRAMES and all(_depth(frame) <= MAX_DEPTH for frame in frames)
        others = [frame for frame in frames if not _is_nested(frame)] if is_small else []
        if not is_small or not (yield from self._copy(others, len(frames) - len(others), deadline)):
            yield from self._copy(list(self._allowed(frames)), 0, deadline)
        self._look_for_absent()
        reading: Reading = {"frames": sorted(self._problems)} if self._problems else {}
        if self._main.html is not None:
            is_long = sum(part.size for part in self._parts.values()) > LONG
            reading["html"] = yield Work(self._assembled, is_long)
        return reading

    def watched(self) -> list[tuple[Any, str]]:
        """Return the frames that are watched in addition to the main frame, each with its secret."""
        parts = [part for part in self._parts.values() if part.html is not None and part is not self._main]
        return [(part.frame, part.secret) for part in parts]

    def is_same_tree(self) -> bool:
        """Return True if the page still has the same frames."""
        return self._tree == _tree(self._main.frame)

    def _allowed(self, frames: list[Any]) -> Iterator[Any]:
        """Yield the frames that will be read. Note the others as not captured."""
        for at, frame in enumerate(frames):
            if at < MAX_FRAMES and _depth(frame) <= MAX_DEPTH:
                yield frame
            else:
                self._note_problem(frame, f"only {MAX_FRAMES} frames are read, and {MAX_DEPTH} frames in each other")

    def _copy(self, frames: list[Any], nested: int, deadline: Deadline) -> Steps[bool]:
        """Copy the page and these frames. Return True if the script has found all frames of the same origin in them."""
        yield from self._find([frame for frame in frames if frame not in self._parts], deadline)
        parts = {str(at): part for at, part in enumerate(self._parts.values()) if part.element or part is self._main}
        calls = {at: self._copying(part, new_mark() if nested else "") for at, part in parts.items()}
        given: Reading = yield deadline.calls(calls, FRAME_SECONDS, FRAMES_SECONDS)
        answers = {at: copy_of(copy) for at, copy in given.items()}
        for at, copy in values(answers).items():
            parts[at].set_copy(copy)
        for at, error in failures(answers).items():
            self._note_problem(parts[at].frame, reason_of(error))
        return sum(len(part.inner) for part in parts.values()) == nested

    def _find(self, frames: list[Any], deadline: Deadline) -> Steps[None]:
        """Find the element of each frame."""
        calls: dict[str, Call] = {str(at): (frame.frame_element, object) for at, frame in enumerate(frames)}
        answers = yield deadline.calls(calls, FRAME_SECONDS, FRAMES_SECONDS)
        self._handles += values(answers).values()
        for frame, element in zip(frames, answers.values(), strict=True):
            is_found = not isinstance(element, BaseException)
            self._parts[frame] = _Part(frame, element if is_found else None)
            if not is_found:
                self._note_problem(frame, reason_of(element))

    def _copying(self, part: _Part, prefix: str) -> Call:
        children = [self._parts[frame] for frame in part.frame.child_frames if frame in self._parts]
        placed = {child.mark: child.element for child in children if child.element}
        given = {"elements": [*placed.values()], "marks": [*placed], "prefix": prefix, "characters": MAX_CHARACTERS}
        secret = "" if part is self._main else part.secret  # the main frame is watched already
        return partial(part.frame.evaluate, COPY, {**given, "secret": secret}), Mapping

    def _look_for_absent(self) -> None:
        """Note the copied frames that are too large, or have no position in the markup of their parent."""
        placed = {mark for part in self._parts.values() for mark in part.placed}
        left = MAX_CHARACTERS
        for part in list(self._parts.values())[1:]:
            if part.html is not None and part.mark not in placed:
                self._note_problem(part.frame, "its element is not an iframe, or is in a closed shadow root")
            left -= part.size
            if left < 0:
                self._note_problem(part.frame, f"only {MAX_CHARACTERS} characters of frames are stored")
                part.html = None

    def _assembled(self) -> str:
        frames: dict[str, str | None] = {}
        for part in reversed(list(self._parts.values())[1:]):
            frames |= part.frames()
        return assembled(self._main.html or "", frames | self._main.inner)

    def _note_problem(self, frame: Any, why: str) -> None:
        problem = f"{frame.url or 'a frame'}: {why}"
        if len(self._problems) < MAX_NAMED and problem not in self._problems:
            self._problems.append(problem)


def assembled(html: str, frames: Mapping[str, str | None]) -> str:
    """Return markup with its frames at their positions. In `frames`, each frame comes after the frames in it."""
    done: dict[str, str | None] = {}
    for mark, inner in frames.items():
        done[mark] = with_frames(cleaned(inner), done) if inner is not None else None
    return with_frames(html, done)


def _tree(frame: Any) -> list[tuple[Any, str]]:
    """Return all frames in a frame, with their URLs. Each frame comes before the frames in it."""
    pairs: list[tuple[Any, str]] = []
    left = list(reversed(frame.child_frames))
    while left:  # a thousand frames may be in each other
        child = left.pop()
        pairs.append((child, child.url))
        left += reversed(child.child_frames)
    return pairs


def _depth(frame: Any) -> int:
    depth = 0
    while frame := frame.parent_frame:
        depth += 1
    return depth


def _is_nested(frame: Any) -> bool:
    """Return True if a frame and all frames in it seem to have the parent's origin, so its script can read them."""
    inner, outer = urlsplit(frame.url), urlsplit(frame.parent_frame.url)
    is_near = inner.scheme in ("about", "") or inner[:2] == outer[:2]
    return is_near and all(_is_nested(child) for child in frame.child_frames)
