"""One snapshot of a frame as HTML with holes, where what an earlier snapshot or another frame has belongs.

The recorder writes a node as text, as `[name, attributes, ...children]`, or as `[[ago, index]]`: the node with that
index in the snapshot of the same frame so many snapshots ago, counted in post-order without the references. A
snapshot is written once, with the place of each node; a page is then put together from slices. `["P", {}, "one"]` and
then `["DIV", {}, [[1, 1]], "two"]` are

    <P>one</P>           starts 3, 0   ends 6, 10      its nodes: 0 the text, 1 the P
    <DIV>.two</DIV>      starts 6, 0   ends 9, 15      a hole at 5, for node 1 of one snapshot ago

and the second as a page is the text up to the hole, the first from 0 to 10, and the rest: <DIV><P>one</P>two</DIV>.

What the recorder strips already is stripped again, since a trace may come from anyone: scripts, `on...` attributes,
`javascript:` URLs, refreshes. Every other `<` is escaped, so that no text and no attribute can become an element.
"""

import re
from array import array
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, NamedTuple
from urllib.parse import urljoin

from storage_manager.importers.archive import refuse

__all__ = ["Frame", "Markup", "Reference", "Sheet", "stylesheet", "written"]

_VOID = {"AREA", "BASE", "BR", "COL", "COMMAND", "EMBED", "HR", "IMG", "INPUT", "KEYGEN", "LINK", "META", "PARAM"}
_VOID |= {"SOURCE", "TRACK", "WBR"}
_WITHOUT_CONTENT = {"IFRAME", "NOEMBED", "NOFRAMES", *_VOID}
_RENAMED = {"XMP": "PRE", "PLAINTEXT": "PRE"}  # their text is not unescaped by browsers
_EATS_NEWLINE = {"PRE", "LISTING", "TEXTAREA", *_RENAMED}  # of a line feed right after their start tag
_DROPPED = {("IFRAME", name) for name in ("src", "srcdoc", "sandbox")}
_DROPPED |= {("FRAME", "src"), ("OBJECT", "data"), ("EMBED", "src")}  # they load documents
_ANIMATES = {"ANIMATE", "SET"}  # which may set a URL, to each of a list of values
_HARMLESS_META = {"content-type", "content-language", "default-style", "x-ua-compatible"}
_OWN_VALUE = {"checkbox", "radio", "file", "hidden", "submit", "reset", "button", "image"}
_STATES = {"__playwright_checked_": "checked", "__playwright_selected_": "selected"}
_SHEET = "__playwright_style_sheet_"

_NAME = re.compile(r"[A-Za-z][^\s\x00-\x20\x7f\"'/<>=&]*")
_ATTRIBUTE = re.compile(r"[^\s\x00-\x20\x7f\"'/<>=&]+")
_SCRIPT_URL = re.compile(
    "|".join(r"[\x00-\x20]*" + r"[\t\n\r]*".join(scheme) for scheme in ("javascript:", "vbscript:")), re.IGNORECASE
)
_TAG_OPENS = re.compile(r"<(?=[A-Za-z/!?]|\Z)")  # at its end, too: another text may come next


class Reference(NamedTuple):
    """A node of an earlier snapshot of the same frame."""

    ago: int
    node: int


class Frame(NamedTuple):
    """The attribute with what another frame showed."""

    frame_id: str


class Sheet(NamedTuple):
    """A linked style sheet, which scripts may have changed."""

    url: str
    markup: str


class Markup(NamedTuple):
    """HTML with a NUL for each hole; `starts` and `ends` of each node in it, in post-order."""

    text: str
    starts: "array[int]"
    ends: "array[int]"
    offsets: list[int]
    holes: list[Reference | Frame | Sheet]
    base: str


def stylesheet(css: str) -> str:
    """A style element; a tag in it becomes a CSS escape, which means the same in strings and URLs."""
    return f"<style>{_css(css)}</style>"


def _css(text: str) -> str:
    return _TAG_OPENS.sub(r"\\3c ", text.replace("<!--", " "))


def _reference(node: list[Any]) -> Reference:
    if len(node) == 1 and len(node[0]) == 2:
        ago, number = node[0]
        if type(ago) is int and type(number) is int and ago >= 0 and number >= 0:
            return Reference(ago, number)
    refuse("a reference to a node must be two counts")


def _attributes(node: list[Any]) -> dict[str, str]:
    attributes = node[1] if len(node) > 1 else {}
    if not isinstance(attributes, dict) or not all(isinstance(value, str) for value in attributes.values()):
        refuse("the attributes of a node must be an object of strings")
    return attributes


def _with_state(tag: str, attributes: Mapping[str, str]) -> dict[str, str]:
    """The attributes as they would have to be for the page to look as it did: value, checked, selected, open."""
    result = dict(attributes)
    value = result.pop("__playwright_value_", None)
    if tag == "INPUT" and value is not None and result.get("type", "").lower() not in _OWN_VALUE:
        result.pop("value", None)
        result |= {"value": value} if value else {}
    for state, name in _STATES.items():
        if state in result:
            result.pop(name, None)
            result |= {name: ""} if result.pop(state) == "true" else {}
    if result.pop("__playwright_dialog_open_", None):
        result["open"] = ""
    if result.pop("__playwright_shadow_root_", None):
        result["shadowrootmode"] = "open"
    return result


def _is_safe(tag: str, name: str, value: str) -> bool:
    lower = name.lower()
    return not (
        lower.startswith("on")
        or (tag, lower) in _DROPPED
        or _ATTRIBUTE.fullmatch(name) is None
        or (_SCRIPT_URL.search if tag in _ANIMATES else _SCRIPT_URL.match)(value)
    )


def _start_tag(tag: str, name: str, attributes: Mapping[str, str]) -> str:
    safe = [(key, value) for key, value in attributes.items() if _is_safe(tag, key, value)]
    return f"<{name}" + "".join(f' {key}="{escape(value)}"' for key, value in safe)


class _Writer:
    """Writes nodes one after another; below an element whose content is not shown, nothing."""

    def __init__(self, base: str) -> None:
        self.parts: list[str] = []
        self.size = 0
        self.muted = 0
        self.starts, self.ends = array("I"), array("I")
        self.offsets: list[int] = []
        self.holes: list[Reference | Frame | Sheet] = []
        self.base = base

    def write(self, text: str) -> None:
        if not self.muted:
            self.parts.append(text.replace("\0", "\ufffd"))
            self.size += len(text)

    def leave(self, hole: Reference | Frame | Sheet) -> None:
        if not self.muted:
            self.offsets.append(self.size)
            self.holes.append(hole)
            self.parts.append("\0")
            self.size += 1

    def close(self, start: int, end_tag: str, muted: int) -> None:
        self.muted -= muted
        self.write(end_tag)
        self.starts.append(start)
        self.ends.append(self.size)

    def open(self, node: list[Any]) -> tuple[int, str, int]:
        """Write the start tag of an element; what closes it."""
        start, attributes, tag = self.size, _attributes(node), node[0].upper()
        if self._instead(tag, node[0], attributes):
            return start, "", self._mute()
        name: str = _RENAMED.get(tag) or node[0] if _NAME.fullmatch(node[0]) else "x-unnamed"
        self.write(_start_tag(tag, name, _with_state(tag, attributes)))
        source = attributes.get("src", "")
        if tag == "IFRAME" and source.startswith("/snapshot/"):
            self.leave(Frame(source.removeprefix("/snapshot/")))
        self.write(">\n" if tag in _EATS_NEWLINE else ">")
        value = attributes.get("__playwright_value_") if tag == "TEXTAREA" else None
        self.write(escape(value or ""))
        hides = value is not None or tag in _WITHOUT_CONTENT
        return start, "" if tag in _VOID else f"</{name}>", self._mute() if hides else 0

    def _instead(self, tag: str, name: str, attributes: Mapping[str, str]) -> bool:
        """Write what takes the place of an element, or nothing for one that acts; False where it stays."""
        if tag == "BASE":
            self.base = attributes.get("href", self.base)
        if tag == "TEMPLATE" and _SHEET in attributes:
            self.write(stylesheet(attributes[_SHEET]))
        elif tag == "LINK" and "stylesheet" in attributes.get("rel", "").lower().split():
            url = _joined(self.base, attributes.get("href", ""))
            self.leave(Sheet(url, _start_tag(tag, name, attributes) + ">"))
        elif tag != "SCRIPT" and not (tag == "META" and _acts(attributes)):
            return False
        return True

    def _mute(self) -> int:
        self.muted += 1
        return 1


def _acts(attributes: Mapping[str, str]) -> bool:
    kinds = {value.strip().lower() for key, value in attributes.items() if key.lower() == "http-equiv"}
    return not kinds <= _HARMLESS_META


def _joined(base: str, url: str) -> str:
    try:
        return urljoin(base, url)
    except ValueError:  # no URL at all: nothing refers to it
        return url


def written(root: object, base: str) -> Markup:
    """The snapshot whose outermost node this is, in a document whose URLs are relative to `base`.

    Raises:
        ValueError: a node that the recorder does not write.
    """
    writer = _Writer(base)
    for node, in_style in _nodes(writer, root):
        if isinstance(node, str):
            start = writer.size
            writer.write(_css(node) if in_style else escape(node, quote=False))
            writer.close(start, "", 0)
        else:
            writer.leave(_reference(node))
    return Markup("".join(writer.parts), writer.starts, writer.ends, writer.offsets, writer.holes, writer.base)


def _nodes(writer: _Writer, root: object) -> Iterator[tuple[Any, bool]]:
    """Texts and references in their order; elements are opened and closed around them, however deep they are."""
    todo: list[tuple[Any, bool] | tuple[int, str, int]] = [(root, False)]
    while todo:
        item = todo.pop()
        if len(item) == 3:
            writer.close(*item)
            continue
        node, in_style = item
        if isinstance(node, list) and node and isinstance(node[0], str):
            todo.append(writer.open(node))
            todo.extend((child, node[0].upper() == "STYLE") for child in reversed(node[2:]))
        elif isinstance(node, str) or (isinstance(node, list) and node and isinstance(node[0], list)):
            yield node, in_style
        else:
            refuse(f"a node of a page must be a text, an element or a reference, not {type(node).__name__}")
