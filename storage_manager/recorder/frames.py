"""Read the HTML of a page with its open shadow roots and its frames, without changing the page.

`content()` of Playwright has neither, or only the shadow roots. So a page that has frames, or something else that
`content()` does not say, is copied by a script of ours: into a document that runs nothing and loads nothing.
"""

import asyncio
import secrets
from collections.abc import Mapping
from typing import Any

from storage_manager.recorder.calls import Deadline, failures
from storage_manager.recorder.markup import storable, with_frames

__all__ = ["EXTRAS", "Frames", "needs_frames"]

MAX_FRAMES = 64  # of a page, at all depths
MAX_DEPTH = 5  # frames in frames; each depth makes the escaped text of the innermost longer
MAX_CHARACTERS = 8 * 2**20  # of all frames
MAX_NAMED = 10  # frames that are named in `not_captured`
# Seconds for the frames of a page, and how much less for the frames of each frame: so a frame is stored without the
# frame in it that hangs.
FRAME_SECONDS, LESS_SECONDS = 2.0, 0.3

# What `content()` does not say: open shadow roots, and elements of the top layer (modal dialogs and open popovers).
EXTRAS = """(() => {
    const found = {shadow: 0, top: 0};
    const top = [":modal", ":popover-open"].filter(selector => CSS.supports(`selector(${selector})`)).join();
    const look = root => {
        if (top) found.top += root.querySelectorAll(top).length;
        for (const element of root.querySelectorAll("*"))
            if (element.shadowRoot) { found.shadow++; look(element.shadowRoot); }
    };
    look(document);
    return found;
})()"""

# Returns the document as markup, and the marks that were placed. `frames` are elements of frames, each with its mark.
COPY = """({elements, marks}) => {
    const places = new Map(elements.map((element, i) => [element, marks[i]]));
    const inert = document instanceof HTMLDocument && document.contentType === "text/html"
        ? document.implementation.createHTMLDocument("") : document.implementation.createDocument(null, null);
    const states = [["modal", ":modal"], ["popover-open", ":popover-open"]]
        .filter(([, selector]) => CSS.supports(`selector(${selector})`));
    const placed = [];
    const keepState = (from, to) => {
        for (const [state, selector] of states) {
            if (!from.matches(selector) || from === document.fullscreenElement) continue;
            const shown = getComputedStyle(from);
            to.setAttribute("data-recorded", state);
            for (const name of ["display", "position", "inset", "margin"]) to.style[name] = shown[name];
            to.style.zIndex = 2147483647;
        }
    };
    const shadow = root => {
        const template = inert.createElementNS("http://www.w3.org/1999/xhtml", "template");
        template.setAttribute("shadowrootmode", root.mode);
        if (root.delegatesFocus) template.setAttribute("shadowrootdelegatesfocus", "");
        if (root.clonable) template.setAttribute("shadowrootclonable", "");
        if (root.serializable) template.setAttribute("shadowrootserializable", "");
        for (const child of root.childNodes) template.content.append(inert.importNode(child, true));
        complete([...root.querySelectorAll("*")], [...template.content.querySelectorAll("*")]);
        return template;
    };
    const complete = (live, made) => live.forEach((from, i) => {
        const to = made[i], mark = places.get(from);
        if (mark && from.localName === "iframe") { to.setAttribute("srcdoc", mark); placed.push(mark); }
        keepState(from, to);
        if (from.shadowRoot) to.prepend(shadow(from.shadowRoot));
    });
    const root = document.documentElement, type = document.doctype;
    const start = type ? new XMLSerializer().serializeToString(type) : "";
    if (!root) return {html: start, placed};
    const copy = inert.importNode(root, true);
    complete([root, ...root.querySelectorAll("*")], [copy, ...copy.querySelectorAll("*")]);
    return {html: start + copy.outerHTML, placed};
}"""


def needs_frames(page: Any, extras: object, has_shadow: bool) -> bool:
    """Return True if `content()` of the page leaves something out. `has_shadow`: it has the open shadow roots."""
    found = extras if isinstance(extras, Mapping) else {}
    more = len(getattr(page, "frames", ())) > 1 or found.get("top") or (found.get("shadow") and not has_shadow)
    return bool(more) and hasattr(page, "main_frame")


class Frames:
    """One reading of the frames of a page.

    Attributes:
        problems: frames that could not be read, each with the reason.
    """

    def __init__(self, deadline: Deadline) -> None:
        self.problems: list[str] = []
        self._deadline = deadline
        self._frames, self._characters = MAX_FRAMES, MAX_CHARACTERS  # that may still be read

    async def read(self, frame: Any, depth: int = 0) -> str:
        """Return the markup of a frame, with its own frames as `srcdoc` of their elements."""
        children = self._allowed(frame, depth)
        answers = await asyncio.gather(*(self._child(child, depth) for child in children))
        known = {f"frame-{secrets.token_hex(16)}": answer for answer in answers if answer}
        elements = [element for _, element, _ in known.values()]
        given = {"elements": elements, "marks": list(known)}
        copy = await self._deadline.call(lambda: frame.evaluate(COPY, given), Mapping)
        await self._deadline.call_all({str(at): (element.dispose, object) for at, element in enumerate(elements)})
        for mark in known.keys() - set(copy["placed"]):
            self._name(known[mark][0], "its element is not an iframe, or is in a closed shadow root")
        return with_frames(await storable(copy["html"]), {mark: html for mark, (_, _, html) in known.items()})

    def _allowed(self, frame: Any, depth: int) -> list[Any]:
        """Return the frames in a frame that are read, and name the others."""
        children = list(frame.child_frames)
        count = min(len(children), self._frames) if depth < MAX_DEPTH else 0
        self._frames -= count
        for child in children[count:]:
            self._name(child, f"only {MAX_FRAMES} frames are read, and {MAX_DEPTH} frames in each other")
        return children[:count]

    async def _child(self, child: Any, depth: int) -> tuple[Any, Any, str] | None:
        """Return a frame with its element and its markup, or None if one of them cannot be read."""
        calls = {"element": (child.frame_element, object), "html": (lambda: self.read(child, depth + 1), str)}
        answer = await self._deadline.call_all(calls, FRAME_SECONDS - LESS_SECONDS * depth)
        for error in failures(answer).values():
            self._name(child, str(error) or type(error).__name__)
            return None
        if len(answer["html"]) > self._characters:
            self._name(child, f"only {MAX_CHARACTERS} characters of frames are stored")
            return None
        self._characters -= len(answer["html"])
        return child, answer["element"], answer["html"]

    def _name(self, frame: Any, why: str) -> None:
        if len(self.problems) < MAX_NAMED:
            self.problems.append(f"{frame.url or 'a frame'}: {why.partition(chr(10))[0]}")
