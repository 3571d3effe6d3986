"""Read the HTML of a page of Playwright with its open shadow roots and its frames, without changing the page.

`content()` of Playwright has neither, or only the shadow roots. So a page that has frames, or something else that
`content()` does not say, is copied by a script of ours. The script goes into frames of the same origin by itself. Each
other frame is a part of its own, in which the script runs too.
"""

import secrets
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from storage_manager.recorder.calls import Call, Deadline, Reading, Steps, Work, failures, values
from storage_manager.recorder.markup import LONG, cleaned, with_frames
from storage_manager.recorder.script import COPY, END, WATCH

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
    """Return a mark that no page knows, for the place of a frame in the markup of its parent."""
    return f"frame-{secrets.token_hex(16)}-"


class _Part:
    """A frame in which the script runs.

    Attributes:
        watch: the reader in the frame, if it answers.
        element: of the frame, if its parent is read.
        mark: the place of the frame in the markup of its parent.
        html: its markup with marks, if it could be copied.
        inner: the markup of frames that the script found by itself, by their marks; each after those in it.
        placed: the marks that are in the markup.
    """

    def __init__(self, frame: Any, watch: Any = None) -> None:
        self.frame, self.watch, self.element = frame, watch, None
        self.mark = new_mark()
        self.set_copy({"html": None, "parts": {}, "placed": []})

    def set_copy(self, copy: Mapping[str, Any]) -> None:
        """Take the markup that the script has copied."""
        self.html, self.inner, self.placed = copy["html"], copy["parts"], copy["placed"]

    def frames(self) -> dict[str, str | None]:
        """Return the markup of all frames of this part, by their marks."""
        return {**self.inner, self.mark: self.html}

    @property
    def size(self) -> int:
        """Characters of its markup."""
        return sum(len(html or "") for html in self.frames().values())


class Frames:
    """A reading of the frames of a page.

    Parameters:
        watch: the script in the main frame.
        handles: gets what the reading holds in the page. The caller disposes of them.
    """

    def __init__(self, page: Any, watch: Any, handles: list[Any]) -> None:
        self._handles = handles
        self._main = _Part(page.main_frame, watch)
        self._parts = {page.main_frame: self._main}  # each after its parent
        self._tree = _tree(page.main_frame)
        self._problems: list[str] = []

    def read(self, deadline: Deadline) -> Steps[Reading]:
        """Return the HTML with all frames that can be read, and what could not be read.

        Frames of the same origin are first left to the script. If it does not find each of them, every frame becomes a
        part of its own, so that those that are absent can be named.
        """
        frames = [frame for frame, _ in _tree(self._main.frame)]
        others = [frame for frame in frames if not _is_nested(frame)]
        is_small = len(frames) <= MAX_FRAMES and all(_depth(frame) <= MAX_DEPTH for frame in frames)
        if not is_small or not (yield from self._copy(others, len(frames) - len(others), deadline)):
            yield from self._copy(list(self._allowed(frames)), 0, deadline)
        self._look_for_absent()
        if self._main.html is None:
            return {"html": RuntimeError("; ".join(self._problems))}
        html = yield Work(self._assembled, is_long=sum(part.size for part in self._parts.values()) > LONG)
        return {"html": html} | ({"frames": "; ".join(sorted(self._problems))} if self._problems else {})

    def is_same(self, deadline: Deadline) -> Steps[bool]:
        """Return True if nothing has changed in the frames since they were read."""
        parts = [part for part in self._parts.values() if part.html is not None and part is not self._main]
        calls = {str(at): (partial(part.watch.evaluate, END), Mapping) for at, part in enumerate(parts)}
        ends = yield deadline.calls(calls, FRAME_SECONDS, FRAMES_SECONDS)
        is_still = all(isinstance(end, Mapping) and not end["changed"] and not end["typed"] for end in ends.values())
        return is_still and self._tree == _tree(self._main.frame)

    def _allowed(self, frames: list[Any]) -> Iterator[Any]:
        """Yield the frames that are read, and name the others."""
        for at, frame in enumerate(frames):
            if at < MAX_FRAMES and _depth(frame) <= MAX_DEPTH:
                yield frame
            else:
                self._name(frame, f"only {MAX_FRAMES} frames are read, and {MAX_DEPTH} frames in each other")

    def _copy(self, frames: list[Any], nested: int, deadline: Deadline) -> Steps[bool]:
        """Copy the page and these frames. Return True if the script has found all frames in them that are nested."""
        yield from self._enter([frame for frame in frames if frame not in self._parts], deadline)
        parts = {str(at): part for at, part in enumerate(self._parts.values()) if part.watch}
        calls = {at: self._copying(part, new_mark() if nested else "") for at, part in parts.items()}
        answers = yield deadline.calls(calls, FRAMES_SECONDS)
        for at, copy in values(answers).items():
            parts[at].set_copy(copy)
        for at, error in failures(answers).items():
            self._name(parts[at].frame, _reason(error))
        return sum(len(part.inner) for part in parts.values()) == nested

    def _enter(self, frames: list[Any], deadline: Deadline) -> Steps[None]:
        """Get the element and the reader of each frame."""
        calls: dict[str, Call] = {}
        for at, frame in enumerate(frames):
            calls[f"{at} element"] = (frame.frame_element, object)
            calls[f"{at} watch"] = (partial(frame.evaluate_handle, WATCH), object)
        answers = yield deadline.calls(calls, FRAME_SECONDS, FRAMES_SECONDS)
        self._handles += values(answers).values()
        for at, frame in enumerate(frames):
            part = self._parts[frame] = _Part(frame)
            found = {name: answers[f"{at} {name}"] for name in ("element", "watch")}
            for error in list(failures(found).values())[:1]:
                self._name(frame, _reason(error))
            if not failures(found):
                part.element, part.watch = found["element"], found["watch"]

    def _copying(self, part: _Part, prefix: str) -> Call:
        children = [self._parts[frame] for frame in part.frame.child_frames if frame in self._parts]
        placed = {child.mark: child.element for child in children if child.element}
        given = {"elements": [*placed.values()], "marks": [*placed], "prefix": prefix, "characters": MAX_CHARACTERS}
        return partial(part.watch.evaluate, COPY, given), Mapping

    def _look_for_absent(self) -> None:
        """Name the frames that are copied but have no place in the markup of their parent, or are too large."""
        placed = {mark for part in self._parts.values() for mark in part.placed}
        left = MAX_CHARACTERS
        for part in list(self._parts.values())[1:]:
            if part.html is not None and part.mark not in placed:
                self._name(part.frame, "its element is not an iframe, or is in a closed shadow root")
            left -= part.size
            if left < 0:
                self._name(part.frame, f"only {MAX_CHARACTERS} characters of frames are stored")
                part.html = None

    def _assembled(self) -> str:
        frames: dict[str, str | None] = {}
        for part in reversed(list(self._parts.values())[1:]):
            frames |= part.frames()
        return assembled(self._main.html or "", frames | self._main.inner)

    def _name(self, frame: Any, why: str) -> None:
        problem = f"{frame.url or 'a frame'}: {why}"
        if len(self._problems) < MAX_NAMED and problem not in self._problems:
            self._problems.append(problem)


def assembled(html: str, frames: Mapping[str, str | None]) -> str:
    """Return markup with its frames in their places. Each frame comes after the frames in it."""
    done: dict[str, str | None] = {}
    for mark, inner in frames.items():
        done[mark] = with_frames(cleaned(inner), done) if inner is not None else None
    return with_frames(html, done)


def _tree(frame: Any) -> list[tuple[Any, str]]:
    """Return all frames in a frame with their URLs, each before those in it."""
    return [pair for child in frame.child_frames for pair in ((child, child.url), *_tree(child))]


def _depth(frame: Any) -> int:
    return 1 + _depth(frame.parent_frame) if frame.parent_frame else 0


def _is_nested(frame: Any) -> bool:
    """Return True if a frame and those in it seem to have the origin of its parent, whose script can read them."""
    inner, outer = urlsplit(frame.url), urlsplit(frame.parent_frame.url)
    is_near = inner.scheme in ("about", "") or inner[:2] == outer[:2]
    return is_near and all(_is_nested(child) for child in frame.child_frames)


def _reason(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
