"""Write one snapshot of a frame as HTML. For content of another snapshot or frame, a hole is left.

Playwright records a node as text, as `[name, attributes, ...children]`, or as a reference `[[ago, index]]`. A reference
means a node in an earlier snapshot of the same frame: `ago` counts the snapshots back, and `index` counts the nodes of
that snapshot in post-order, without the references.

Each snapshot is written once, together with the positions at which each node starts and ends in the text. A page is
then composed of slices of these texts. For example, take the two snapshots `["P", {}, "one"]` and
`["DIV", {}, [[1, 1]], "two"]`:

    <P>one</P>           node 0 (the text): 3 to 6     node 1 (the P): 0 to 10
    <DIV>.two</DIV>      node 0 (the text): 6 to 9     node 1 (the DIV): 0 to 15; the hole at 5 is the P

The page of the second snapshot is its own text up to the hole, then characters 0 to 10 of the first snapshot, then the
rest of its own text: <DIV><P>one</P>two</DIV>.

Playwright already removes scripts, `on...` attributes, `javascript:` URLs and refreshes. This module removes them
again, because anyone could have made the trace. All other `<` are escaped, so no text or attribute becomes an element.
"""

import re
import string
from array import array
from collections.abc import Callable, Iterator, Mapping
from html import escape
from typing import Any, NamedTuple
from urllib.parse import urljoin

from storage_manager.importers.budget import refuse

__all__ = [
    "ATTRIBUTE_NAME",
    "MAX_URL",
    "TAG_NAME",
    "Frame",
    "Markup",
    "Reference",
    "Sheet",
    "absolute_url",
    "style_element",
    "write_markup",
]

_VOID = {"AREA", "BASE", "BR", "COL", "COMMAND", "EMBED", "HR", "IMG", "INPUT", "KEYGEN", "LINK", "META", "PARAM"}
_VOID |= {"SOURCE", "TRACK", "WBR"}
_WITHOUT_CONTENT = {"IFRAME", "NOEMBED", "NOFRAMES", *_VOID}
_RENAMED = {"XMP": "PRE", "PLAINTEXT": "PRE"}  # browsers do not unescape the text of these elements
_SKIPS_NEWLINE = {"PRE", "LISTING", "TEXTAREA", *_RENAMED}  # browsers skip a line feed right after the start tag
_DROPPED = {("IFRAME", name) for name in ("src", "srcdoc", "sandbox")}
_DROPPED |= {("FRAME", "src"), ("OBJECT", "data"), ("EMBED", "src")}  # these attributes load documents
_ANIMATES = {"ANIMATE", "SET"}  # they may set a URL to each value of a list
_HARMLESS_META = {"content-type", "content-language", "default-style", "x-ua-compatible"}
_OWN_VALUE = {"checkbox", "radio", "file", "hidden", "submit", "reset", "button", "image"}
_STATES = {"__playwright_checked_": "checked", "__playwright_selected_": "selected"}
_SHEET = "__playwright_style_sheet_"

TAG_NAME = re.compile(r"[A-Za-z][^\s\x00-\x20\x7f\"'/<>=&]*")
ATTRIBUTE_NAME = re.compile(r"[^\s\x00-\x20\x7f\"'/<>=&]+")
_SCRIPT_SCHEMES = ("javascript:", "vbscript:")
_CONTROLS = "".join(map(chr, range(0x21)))  # browsers skip them before a URL
_TAG_STARTS = string.ascii_letters + "/!?"  # a tag, or a comment, is a < before one of them
# Most servers refuse a longer URL. The time and memory for joining URLs are proportional to their length.
MAX_URL = 2**14
_PARTS = 10_000  # parts of a style sheet between two looks at a cancellation
MAX_ATTRIBUTES = 10_000  # of an element; real ones have a few dozen


class Reference(NamedTuple):
    """A node of an earlier snapshot of the same frame."""

    ago: int
    node: int


class Frame(NamedTuple):
    """The attribute that holds the document of another frame."""

    frame_id: str


class Sheet(NamedTuple):
    """A linked style sheet, which scripts may have changed; `markup` is its link element.

    It is not used if it is disabled, or if it is an alternative style sheet.
    """

    url: str
    markup: str
    media: str
    is_used: bool


class Markup(NamedTuple):
    """HTML with a NUL character for each hole.

    `starts` and `ends` are the positions of the nodes, in post-order. `offsets` are the positions of the holes.
    """

    text: str
    starts: "array[int]"
    ends: "array[int]"
    offsets: list[int]
    holes: list[Reference | Frame | Sheet]
    base: str


def _charge_nothing(count: int) -> None:
    pass


def absolute_url(base: str, url: str, spend: Callable[[int], None]) -> str:
    """Return an absolute URL, and charge the work, because one base may serve many links.

    A URL that is too long or not valid is returned unchanged.
    """
    if len(base) + len(url) > MAX_URL:
        return url
    spend(len(base) + len(url))
    try:
        return urljoin(base, url)
    except ValueError:
        return url


def style_element(css: str, spend: Callable[[int], None] = _charge_nothing, media: str = "") -> str:
    """Return a style element. A tag in the CSS becomes a CSS escape, which means the same in strings and URLs.

    Parameters:
        spend: called while a long sheet is escaped. It may refuse the trace.
    """
    start = f'<style media="{escape(media)}">' if media else "<style>"
    return f"{start}{_escape_css(css, spend)}</style>"


def _escape_css(text: str, spend: Callable[[int], None]) -> str:
    first, *rest = text.replace("<!--", " ").split("<")
    pieces = [first]
    for start in range(0, len(rest), _PARTS):  # 32 MB of < take 13 s
        spend(0)
        pieces += [f"{_escaped_before(part)}{part}" for part in rest[start : start + _PARTS]]
    return "".join(pieces)


def _escaped_before(part: str) -> str:
    """Return a < before this text. It is escaped if it opens a tag, or may open a tag with the text after it."""
    return "\\3c " if part[:1] in _TAG_STARTS else "<"


def _as_reference(node: list[Any]) -> Reference:
    if len(node) == 1 and len(node[0]) == 2:
        ago, number = node[0]
        if type(ago) is int and type(number) is int and ago >= 0 and number >= 0:
            return Reference(ago, number)
    refuse("a reference to a node must be a pair of non-negative integers")


def _attributes(node: list[Any]) -> dict[str, str]:
    attributes = node[1] if len(node) > 1 else {}
    if not isinstance(attributes, dict) or not all(isinstance(value, str) for value in attributes.values()):
        refuse("the attributes of a node must be an object of strings")
    if len(attributes) > MAX_ATTRIBUTES:
        refuse(f"a node has more than {MAX_ATTRIBUTES} attributes")
    return attributes


def _with_state(tag: str, attributes: Mapping[str, str]) -> dict[str, str]:
    """Return the attributes that restore the state of the element: its value, checked, selected, open.

    The value of a password field is left out.
    """
    result = dict(attributes)
    value = result.pop("__playwright_value_", None)
    if tag == "INPUT" and value is not None and result.get("type", "").lower() not in _OWN_VALUE:
        result.pop("value", None)
        result |= {"value": value} if value else {}
    if tag == "INPUT" and result.get("type", "").strip().lower() == "password":
        result.pop("value", None)  # what was typed is a secret
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
        or ATTRIBUTE_NAME.fullmatch(name) is None
        or _runs_script(value, anywhere=tag in _ANIMATES)
    )


def _runs_script(value: str, *, anywhere: bool) -> bool:
    """Return True if a URL has the scheme of a script, as browsers read it: without tabs and line breaks.

    Parameters:
        anywhere: True to look for a scheme anywhere in the value, which may be a list of URLs.
    """
    if ":" not in value:
        return False
    url = value.replace("\t", "").replace("\n", "").replace("\r", "").lower()
    if anywhere:
        return any(scheme in url for scheme in _SCRIPT_SCHEMES)
    return url.lstrip(_CONTROLS).startswith(_SCRIPT_SCHEMES)


def _start_tag(tag: str, name: str, attributes: Mapping[str, str]) -> str:
    safe = [(key, value) for key, value in attributes.items() if _is_safe(tag, key, value)]
    return f"<{name}" + "".join(f' {key}="{escape(value)}"' for key, value in safe)


class _Writer:
    """Writes nodes one after another. Nothing is written inside an element whose content is not shown."""

    def __init__(self, base: str, spend: Callable[[int], None]) -> None:
        self.spend = spend
        self.parts: list[str] = []
        self.size = 0
        self.muted = 0  # how many open elements do not show their content
        self.starts, self.ends = array("I"), array("I")
        self.offsets: list[int] = []
        self.holes: list[Reference | Frame | Sheet] = []
        self.base = base

    def write(self, text: str) -> None:
        if not self.muted:
            self.parts.append(text.replace("\0", "\ufffd"))
            self.size += len(text)

    def leave_hole(self, hole: Reference | Frame | Sheet) -> None:
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
        """Write the start tag of an element. Return the arguments for `close`."""
        start, attributes, tag = self.size, _attributes(node), node[0].upper()
        if self._replace(tag, node[0], attributes):
            return start, "", self._mute()
        name: str = _RENAMED.get(tag) or node[0] if TAG_NAME.fullmatch(node[0]) else "x-unnamed"
        self.write(_start_tag(tag, name, _with_state(tag, attributes)))
        source = attributes.get("src", "")
        if tag == "IFRAME" and source.startswith("/snapshot/"):
            self.leave_hole(Frame(source.removeprefix("/snapshot/")))
        self.write(">\n" if tag in _SKIPS_NEWLINE else ">")
        value = attributes.get("__playwright_value_") if tag == "TEXTAREA" else None
        self.write(escape(value or ""))
        hides = value is not None or tag in _WITHOUT_CONTENT
        return start, "" if tag in _VOID else f"</{name}>", self._mute() if hides else 0

    def _replace(self, tag: str, name: str, attributes: Mapping[str, str]) -> bool:
        """Replace or remove an element. Return False if the element must be written unchanged.

        Style sheets are replaced. Scripts, and meta elements that have an effect, are removed.
        """
        if tag == "BASE":
            self.base = attributes.get("href", self.base)
        if tag == "TEMPLATE" and _SHEET in attributes:
            self.write(style_element(attributes[_SHEET], self.spend))
        elif tag == "LINK" and "stylesheet" in (kinds := attributes.get("rel", "").lower().split()):
            url, markup = (
                absolute_url(self.base, attributes.get("href", ""), self.spend),
                _start_tag(tag, name, attributes) + ">",
            )
            is_used = "alternate" not in kinds and "disabled" not in attributes
            self.leave_hole(Sheet(url, markup.replace("\0", "\ufffd"), attributes.get("media", ""), is_used))
        elif tag != "SCRIPT" and not (tag == "META" and _has_effect(attributes)):
            return False
        return True

    def _mute(self) -> int:
        self.muted += 1
        return 1


def _has_effect(attributes: Mapping[str, str]) -> bool:
    kinds = {value.strip().lower() for key, value in attributes.items() if key.lower() == "http-equiv"}
    return not kinds <= _HARMLESS_META


def write_markup(root: object, base: str, spend: Callable[[int], None]) -> Markup:
    """Write the snapshot with this outermost node. URLs of its document are relative to `base`.

    Parameters:
        spend: called for each node, with the number of characters that are added to it. It may refuse the trace.

    Raises:
        ValueError: Playwright does not write such a node.
    """
    writer = _Writer(base, spend)
    for node, in_style in _nodes(writer, root):
        if isinstance(node, str):
            start = writer.size
            writer.write(_escape_css(node, spend) if in_style else escape(node, quote=False))
            writer.close(start, "", 0)
        else:
            writer.leave_hole(_as_reference(node))
    return Markup("".join(writer.parts), writer.starts, writer.ends, writer.offsets, writer.holes, writer.base)


def _nodes(writer: _Writer, root: object) -> Iterator[tuple[Any, bool]]:
    """Yield texts and references in order, and open and close the elements around them.

    There is no recursion, so the depth of the tree has no limit.
    """
    todo: list[tuple[Any, bool] | tuple[int, str, int]] = [(root, False)]
    while todo:
        item = todo.pop()
        if len(item) == 3:
            writer.close(*item)
            continue
        writer.spend(0)
        node, in_style = item
        if isinstance(node, list) and node and isinstance(node[0], str):
            todo.append(writer.open(node))
            is_style = node[0].upper() == "STYLE"  # once per node: a long name of many children is quadratic
            todo.extend([(child, is_style) for child in reversed(node[2:])])
        elif isinstance(node, str) or (isinstance(node, list) and node and isinstance(node[0], list)):
            yield node, in_style
        else:
            refuse(f"a node of a page must be a text, an element or a reference, not {type(node).__name__}")
