"""A DOM snapshot of Chromium becomes the HTML of the page, in bounded time."""

import time
from typing import Any

import pytest

from storage_manager.importers import dom_snapshot
from storage_manager.importers.dom_snapshot import html_of

Node = tuple[int, int, str, str, list[str]]  # parent, type, name, value, attributes


class Snapshot:
    """What `DOMSnapshot.captureSnapshot` answers."""

    def __init__(self) -> None:
        self.strings: list[str] = []
        self.documents: list[dict[str, Any]] = []

    def text(self, text: str) -> int:
        self.strings.append(text)
        return len(self.strings) - 1 if text else -1

    def document(self, *nodes: Node, frames: dict[int, int] | None = None, roots: tuple[int, ...] = ()) -> "Snapshot":
        """Add a document."""
        rows = [
            (parent, kind, self.text(name), self.text(value), list(map(self.text, pairs)))
            for parent, kind, name, value, pairs in nodes
        ]
        names = ("parentIndex", "nodeType", "nodeName", "nodeValue", "attributes")
        columns: dict[str, Any] = {
            name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)
        }
        columns["contentDocumentIndex"] = {"index": list(frames or {}), "value": list((frames or {}).values())}
        columns["shadowRootType"] = {"index": list(roots), "value": [0] * len(roots)}
        self.documents.append({"nodes": columns})
        return self

    def html(self) -> str:
        return html_of({"strings": self.strings, "documents": self.documents}, lambda: None)


def element(parent: int, name: str, *attributes: str) -> Node:
    return parent, 1, name, "", list(attributes)


def text(parent: int, value: str) -> Node:
    return parent, 3, "#text", value, []


DOCUMENT: Node = (-1, 9, "#document", "", [])


def test_a_page() -> None:
    page = Snapshot().document(
        DOCUMENT,
        (0, 10, "html", "", []),
        element(0, "HTML", "lang", "en"),
        element(2, "HEAD"),
        element(3, "STYLE"),
        text(4, "a > b {}"),
        element(2, "BODY"),
        element(6, "IMG", "alt", 'a "b" <c>', "bid", "7", "browsergym_set_of_marks", "1", "hidden", ""),
        element(6, "P"),
        text(8, "1 < 2 & 3"),
        (6, 8, "#comment", " a --> b ", []),
        element(6, "svg"),
        element(11, "linearGradient"),
        element(6, "::before"),
        element(6, "x y"),
    )
    assert page.html() == (
        '<!DOCTYPE html><html lang="en"><head><style>a > b {}</style></head><body>'
        '<img alt="a &quot;b&quot; &lt;c&gt;" bid="7" hidden=""><p>1 &lt; 2 &amp; 3</p><!-- a --&gt; b -->'
        "<svg><linearGradient></linearGradient></svg></body></html>"
    )


def test_frames_and_shadow_roots() -> None:
    page = Snapshot().document(
        DOCUMENT,
        element(0, "IFRAME", "src", "http://other.test/", "srcdoc", "x", "bid", "a"),
        element(0, "DIV"),
        (2, 11, "#document-fragment", "", []),
        element(3, "B"),
        element(2, "I"),
        frames={1: 1},
        roots=(3,),
    )
    page.document(DOCUMENT, element(0, "P"), text(1, '"'))
    assert page.html() == (
        '<iframe bid="a" srcdoc="&lt;p&gt;&quot;&lt;/p&gt;"></iframe>'
        '<div><template shadowrootmode="open"><b></b></template><i></i></div>'
    )


@pytest.mark.parametrize(
    ("snapshot", "why"),
    [
        ({}, "no list 'strings'"),
        ({"strings": []}, "no list 'documents'"),
        ({"strings": [], "documents": []}, "a position"),
        ({"strings": [], "documents": [1]}, "has no nodes"),
        ({"strings": [], "documents": [{"nodes": {}}]}, "no list 'parentIndex'"),
        ({"strings": [], "documents": [{"nodes": {"parentIndex": [-1]}}]}, "no list 'nodeType'"),
        ({"strings": [], "documents": [{"nodes": {"parentIndex": [-1], "nodeType": []}}]}, "a position"),
        (
            {"strings": [7], "documents": [{"nodes": {"parentIndex": [-1], "nodeType": [1], "nodeName": [0]}}]},
            "is not text",
        ),
        (
            {"strings": [], "documents": [{"nodes": {"parentIndex": [-1], "nodeType": [1], "nodeName": [9]}}]},
            "a position",
        ),
        (
            {"strings": [], "documents": [{"nodes": {"parentIndex": [-1], "nodeType": [1], "nodeName": ["x"]}}]},
            "a position",
        ),
    ],
)
def test_what_is_not_a_snapshot(snapshot: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        html_of(snapshot, lambda: None)


def test_nodes_that_are_not_in_order() -> None:
    page = Snapshot().document(DOCUMENT, element(2, "P"), element(0, "B"))
    with pytest.raises(ValueError, match="not in document order"):
        page.html()


def test_a_frame_in_itself() -> None:
    page = Snapshot().document(DOCUMENT, element(0, "IFRAME"), frames={1: 0})
    with pytest.raises(ValueError, match="frames in each other, deeper than 10 levels"):
        page.html()


@pytest.mark.parametrize("depth", [1, 5])
def test_a_small_snapshot_makes_no_large_page(depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same text in each attribute of each node, and each document in ten frames of the one before."""
    monkeypatch.setattr(dom_snapshot, "MAX_HTML", 2**20)
    page = Snapshot()
    for level in range(depth):
        frames = dict.fromkeys(range(1, 11), level + 1) if level + 1 < depth else {}
        page.document(DOCUMENT, *(element(0, "IFRAME" if frames else "P") for _ in range(10)), frames=frames)
    long, name = page.text("x" * 2**16), page.text("a")
    for document in page.documents:
        document["nodes"]["attributes"] = [[name, long] * 1000] * 11
    started = time.thread_time()
    with pytest.raises(ValueError, match="more than 1048576 characters"):
        page.html()
    assert time.thread_time() - started < 3
