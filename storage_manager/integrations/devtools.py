"""Read a page through the Chrome DevTools Protocol: its frames, as objects with the methods that the recorder calls.

https://chromedevtools.github.io/devtools-protocol/ describes the commands.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

__all__ = ["Frame", "Open", "Send", "read_frames"]

Send: TypeAlias = Callable[[str, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]  # a command and its parameters
Open: TypeAlias = Callable[[str | None], Awaitable[Send]]  # for the id of a target; None is the page

_WORLD = "storage_manager"  # the page's own scripts cannot reach what ours define, or replace what ours call


async def read_frames(open_target: Open) -> "list[Frame]":
    """Return the frames of a page, the main frame first. A frame with its own process is a separate target.

    Chromium before about version 140 does not report which frame such a target belongs to. The target is then left out.
    """
    main = await _frame(await open_target(None), None)
    known = {frame.id: frame for frame in main.all}
    for target in await _targets(open_target):
        parent = known.get(target.get("parentFrameId", ""))
        if parent and target["targetId"] not in known:
            frame = await _frame(await open_target(target["targetId"]), parent)
            parent.child_frames.append(frame)
            known |= {one.id: one for one in frame.all}
    return main.all


async def _targets(open_target: Open) -> list[Mapping[str, Any]]:
    """Return the targets that are frames. Each target comes after the target that contains it."""
    answer = await (await open_target(None))("Target.getTargets", {})
    found = {target["targetId"]: target for target in answer["targetInfos"] if target["type"] == "iframe"}

    def depth(target: Mapping[str, Any]) -> int:
        parent = found.get(target.get("parentId", ""))
        return 1 + depth(parent) if parent else 0

    return sorted(found.values(), key=depth)


async def _frame(send: Send, parent: "Frame | None") -> "Frame":
    await send("DOM.enable", {})
    return Frame(send, (await send("Page.getFrameTree", {}))["frameTree"], parent)


class Frame:
    """A frame of a page, with the methods of Playwright's frames that the recorder calls."""

    def __init__(self, send: Send, tree: Mapping[str, Any], parent: "Frame | None" = None) -> None:
        self.url: str = tree["frame"]["url"]
        self.id: str = tree["frame"]["id"]
        self.child_frames = [Frame(send, child, self) for child in tree.get("childFrames", ())]
        self.send, self.parent_frame = send, parent

    @property
    def all(self) -> list["Frame"]:
        """This frame and all frames inside it."""
        return [self, *(frame for child in self.child_frames for frame in child.all)]

    async def context(self) -> int:
        """Return the id of a context in which scripts run separately from those of the page."""
        answer = await self.send("Page.createIsolatedWorld", {"frameId": self.id, "worldName": _WORLD})
        return int(answer["executionContextId"])

    async def evaluate(self, function: str, given: object = None) -> Any:
        """Call a JavaScript function with an argument. In a mapping, `elements` has the elements of frames.

        Raises:
            RuntimeError: the function raised an error.
        """
        elements = given.get("elements", ()) if isinstance(given, Mapping) else ()
        value = {**given, "elements": []} if isinstance(given, Mapping) and elements else given
        call = {
            "functionDeclaration": f"(given, ...elements) => ({function})("
            "elements.length ? {...given, elements} : given)",
            "arguments": [{"value": value}, *({"objectId": element.object_id} for element in elements)],
            "executionContextId": await self.context(),
            "returnByValue": True,
        }
        answer = await self.send("Runtime.callFunctionOn", call)
        problem = answer.get("exceptionDetails")
        if problem:
            raise RuntimeError(problem.get("exception", {}).get("description") or problem["text"])
        return answer["result"].get("value")

    async def frame_element(self) -> "_Element":
        """Return the element of this frame in its parent."""
        assert self.parent_frame is not None  # the recorder asks only frames in frames
        owner = await self.parent_frame.send("DOM.getFrameOwner", {"frameId": self.id})
        where = {"backendNodeId": owner["backendNodeId"], "executionContextId": await self.parent_frame.context()}
        answer = await self.parent_frame.send("DOM.resolveNode", where)
        return _Element(self.parent_frame.send, answer["object"]["objectId"])


class _Element:
    """An element of a page, for the argument of a function."""

    def __init__(self, send: Send, object_id: str) -> None:
        self.object_id = object_id
        self._send = send

    async def dispose(self) -> None:
        await self._send("Runtime.releaseObject", {"objectId": self.object_id})
