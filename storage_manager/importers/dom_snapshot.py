"""Write a DOM snapshot of Chromium as HTML.

BrowserGym records the answer of `DOMSnapshot.captureSnapshot` (Chrome DevTools Protocol). It has columns with one value
per node, in document order. A number in a column is the position of a text in `strings`; -1 means no text.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from storage_manager.importers.budget import refuse
from storage_manager.importers.markup import ATTRIBUTE_NAME, TAG_NAME

__all__ = ["MAX_HTML", "html_of"]

MAX_HTML = 64 * 2**20  # characters
_MAX_FRAMES = 10  # levels of frames, each of which escapes the documents inside it once more
_NODE = 16  # each node counts as this many characters more
_ELEMENT, _TEXT, _COMMENT, _DOCTYPE = 1, 3, 8, 10
_MARKS = ("browsergym_visibility_ratio", "browsergym_set_of_marks")
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
_RAW = {"script", "style", "xmp", "iframe", "noembed", "noframes", "plaintext", "noscript"}  # HTML standard, 13.3


def html_of(snapshot: Mapping[str, Any], check_cancelled: Callable[[], None]) -> str:
    """Return the main document of a snapshot as HTML. The documents of frames are in `srcdoc` attributes.

    Attributes that BrowserGym adds for its own use are left out, except `bid`, which actions refer to.

    Parameters:
        check_cancelled: called regularly. It may raise an error.

    Raises:
        ValueError: this is not such a snapshot, or the page would be too large.
    """
    return _Writer(snapshot, check_cancelled).document(0, 0)


class _Writer:
    def __init__(self, snapshot: Mapping[str, Any], check_cancelled: Callable[[], None]) -> None:
        self._strings = _column(snapshot, "strings")
        self._documents = _column(snapshot, "documents")
        self._check_cancelled = check_cancelled
        self._written = 0

    def document(self, number: int, depth: int) -> str:
        document = _at(self._documents, number)
        nodes = document.get("nodes") if isinstance(document, Mapping) else None
        if not isinstance(nodes, Mapping) or depth > _MAX_FRAMES:
            refuse(f"its DOM snapshot has no nodes, or frames in each other, deeper than {_MAX_FRAMES} levels")
        return "".join(self._parts(nodes, depth))

    def _parts(self, nodes: Mapping[str, Any], depth: int) -> Iterator[str]:
        """Yield the markup. Nodes are in document order, so an element ends before the first that is not inside it."""
        opened: list[tuple[int, str, str]] = []  # number, name, end tag
        frames, roots = _sparse(nodes, "contentDocumentIndex"), _sparse(nodes, "shadowRootType")
        for number, parent in enumerate(_column(nodes, "parentIndex")):
            while opened and opened[-1][0] != parent:
                yield self._spent(opened.pop()[2])
            if number and not opened:
                refuse("the nodes of its DOM snapshot are not in document order")
            inside = opened[-1][1] if opened else ""
            if number in roots:
                start, name, end = '<template shadowrootmode="open">', "template", "</template>"
            elif number in frames:
                start, name, end = self._frame(nodes, number, self.document(frames[number], depth + 1))
            else:
                start, name, end = self._node(nodes, number, inside)
            yield self._spent(start)
            opened.append((number, name, end))
        yield from (end for _, _, end in reversed(opened))

    def _node(self, nodes: Mapping[str, Any], number: int, inside: str) -> tuple[str, str, str]:
        """Return the markup that begins a node, its name, and the markup that ends it."""
        kind, name = _at(_column(nodes, "nodeType"), number), self._string(nodes, "nodeName", number)
        if kind == _ELEMENT and TAG_NAME.fullmatch(name):
            name = name.lower() if name.isupper() else name
            start = f"<{name}{self._attributes(nodes, number)}>"
            return start, name, "" if name in _VOID else f"</{name}>"
        if kind == _DOCTYPE and TAG_NAME.fullmatch(name):
            return f"<!DOCTYPE {name}>", "", ""
        value = self._string(nodes, "nodeValue", number)
        if kind == _TEXT:
            return value if inside in _RAW else escape(value, quote=False), "", ""
        return f"<!--{value.replace('>', '&gt;')}-->" if kind == _COMMENT else "", "", ""

    def _frame(self, nodes: Mapping[str, Any], number: int, document: str) -> tuple[str, str, str]:
        attributes = self._attributes(nodes, number, leave_out=("src", "srcdoc"))
        return f'<iframe{attributes} srcdoc="{escape(document)}">', "iframe", "</iframe>"

    def _attributes(self, nodes: Mapping[str, Any], number: int, leave_out: Sequence[str] = ()) -> str:
        pairs, parts = _at(_column(nodes, "attributes"), number), []
        for at in range(0, len(pairs) - 1 if isinstance(pairs, list) else 0, 2):
            name, value = self._text(pairs[at]), self._text(pairs[at + 1])
            self._spent(value)  # the same text may be the value of every attribute
            if ATTRIBUTE_NAME.fullmatch(name) and name not in (*_MARKS, *leave_out):
                parts.append(f' {name}="{escape(value)}"')
        return "".join(parts)

    def _string(self, nodes: Mapping[str, Any], column: str, number: int) -> str:
        return self._text(_at(_column(nodes, column), number))

    def _text(self, at: object) -> str:
        text = "" if at == -1 else _at(self._strings, at)
        return text if isinstance(text, str) else refuse("a text of its DOM snapshot is not text")

    def _spent(self, text: str) -> str:
        self._written += len(text) + _NODE
        self._check_cancelled()
        if self._written > MAX_HTML:
            refuse(f"the page of its DOM snapshot has more than {MAX_HTML} characters")
        return text


def _column(table: Mapping[str, Any], name: str) -> list[Any]:
    column = table.get(name)
    return column if isinstance(column, list) else refuse(f"its DOM snapshot has no list {name!r}")


def _at(column: list[Any], number: object) -> Any:
    if not isinstance(number, int) or not 0 <= number < len(column):
        refuse("a position in its DOM snapshot is not a position of its lists")
    return column[number]


def _sparse(nodes: Mapping[str, Any], name: str) -> dict[int, Any]:
    """Return a column in which few nodes have a value."""
    column = nodes.get(name)
    if not isinstance(column, Mapping):
        return {}
    numbers, values = _column(column, "index"), _column(column, "value")
    return {number: value for number, value in zip(numbers, values, strict=False) if isinstance(number, int)}
