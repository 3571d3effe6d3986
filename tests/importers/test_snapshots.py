"""The page of a step is what its snapshot says, and nothing in it runs."""

from pathlib import Path
from typing import Any

import pytest

from storage_manager import StorageManager
from storage_manager.importers import markup
from tests.support.traces import CHILD, FRAME, action, header, imported, page, snapshot, write_zip

SCRIPTS = "javascript:alert(1)"


async def html_of(tmp_path: Path, members: dict[str, Any]) -> str:
    """The page of the only step."""
    sm = StorageManager(local_base_path=tmp_path / "base")
    [step] = await imported(sm, write_zip(tmp_path / "t.zip", members))
    return step.html or ""


@pytest.mark.parametrize(("tag", "name"), sorted(markup._DROPPED))
async def test_what_loads_documents_is_dropped(tmp_path: Path, tag: str, name: str) -> None:
    assert await html_of(tmp_path, {"t.trace": page([tag, {name: "http://x.test/"}], doctype=None)}) in (
        f"<{tag}></{tag}>", f"<{tag}>",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("node", "html"),
    [
        ("a < b & <i>", "a &lt; b &amp; &lt;i&gt;"),
        (["P", {"title": "\"<'>&"}], '<P title="&quot;&lt;&#x27;&gt;&amp;"></P>'),
        (["P"], "<P></P>"),
        (["br"], "<br>"),
        (["P", {}, "\0"], "<P>\ufffd</P>"),
        (["P", {}, "\ud800x\U0001f600"], "<P>\ufffdx\U0001f600</P>"),
        (["SCRIPT", {}, "alert(1)", ["P", {}, "x"]], ""),
        (["IMG", {"onerror": "alert(1)", "ONLOAD": "x", "src": "a.png"}], '<IMG src="a.png">'),
        (["A", {"href": SCRIPTS}, "a"], "<A>a</A>"),
        (["A", {"href": "\x01 JAVA\tscript:x"}, "a"], "<A>a</A>"),
        (["A", {"href": "vbscript:x"}, "a"], "<A>a</A>"),
        (["META", {"http-equiv": "Refresh", "content": "0"}], ""),
        (["META", {"charset": "utf-8"}], '<META charset="utf-8">'),
        (["IFRAME", {"srcdoc": "<b>", "sandbox": "x", "src": "/elsewhere"}, "text"], "<IFRAME></IFRAME>"),
        (["OBJECT", {"data": "x", "type": "y"}], '<OBJECT type="y"></OBJECT>'),
        (["XMP", {}, "</XMP><b>"], "<PRE>\n&lt;/XMP&gt;&lt;b&gt;</PRE>"),
        (["PRE", {}, "\nx"], "<PRE>\n\nx</PRE>"),
        (["x><script>", {}, "y"], "<x-unnamed>y</x-unnamed>"),
        (["P", {"a><script>": "", "b c": "", "": "", "@click": "x"}], '<P @click="x"></P>'),
        (["STYLE", {}, "a::after { content: '</style><b>' } @media (1px <= width) {}"],
         "<STYLE>a::after { content: '\\3c /style>\\3c b>' } @media (1px <= width) {}</STYLE>"),
        (["STYLE", {}, "<!-- a {} -->"], "<STYLE>  a {} --></STYLE>"),
        (["template", {"__playwright_style_sheet_": "p {} </style>"}], "<style>p {} \\3c /style></style>"),
        (["DIV", {}, ["template", {"__playwright_shadow_root_": "open"}, "in"]],
         '<DIV><template shadowrootmode="open">in</template></DIV>'),
        (["INPUT", {"__playwright_value_": "new", "value": "old"}], '<INPUT value="new">'),
        (["INPUT", {"__playwright_value_": "", "value": "old"}], "<INPUT>"),
        (["INPUT", {"type": "Password", "value": "hunter2"}], '<INPUT type="Password">'),
        (["INPUT", {"type": "password", "__playwright_value_": "hunter2"}], '<INPUT type="password">'),
        (["INPUT", {"__playwright_value_": "", "type": "Submit"}], '<INPUT type="Submit">'),
        (["INPUT", {"__playwright_checked_": "false", "checked": ""}], "<INPUT>"),
        (["INPUT", {"__playwright_checked_": "true"}], '<INPUT checked="">'),
        (["OPTION", {"__playwright_selected_": "true"}, "a"], '<OPTION selected="">a</OPTION>'),
        (["TEXTAREA", {"__playwright_value_": "new</textarea>"}, "old"],
         "<TEXTAREA>\nnew&lt;/textarea&gt;</TEXTAREA>"),
        (["TEXTAREA", {}, "old"], "<TEXTAREA>\nold</TEXTAREA>"),
        (["DIALOG", {"__playwright_dialog_open_": "modal"}], '<DIALOG open=""></DIALOG>'),
        (["P", {"__playwright_scroll_top_": "5"}], '<P __playwright_scroll_top_="5"></P>'),
        (["DIV", {}, ["SCRIPT", {}, ["STYLE", {}, "x"], [[0, 0]], ["IFRAME", {"src": "/snapshot/f"}]], "y"],
         "<DIV>y</DIV>"),
        (["DIV", {}, ["B", {}, "x"], [[0, 1]]], "<DIV><B>x</B><B>x</B></DIV>"),
        (["STYLE", {}, "a{}", "<", "/style>", "<", "script>alert(1)//", "<", "/script>"],
         r"<STYLE>a{}\3c /style>\3c script>alert(1)//\3c /script></STYLE>"),
        (["DIV", {}, ["STYLE", {}, "<"], ["B", {}, [[0, 0]], "script>"], ["STYLE", {}, [[0, 0]], "/style>"]],
         r"<DIV><STYLE>\3c </STYLE><B>\3c script&gt;</B><STYLE>\3c /style></STYLE></DIV>"),
        (["DIV", {}, ["B", {}, "<"], ["STYLE", {}, [[0, 0]], "/style>"]],
         "<DIV><B>&lt;</B><STYLE>&lt;/style></STYLE></DIV>"),
        (["animate", {"attributeName": "href", "values": "#;javascript:alert(1)", "to": "#a"}],
         '<animate attributeName="href" to="#a"></animate>'),
        (["NOSCRIPT", {}, ["P", {"title": "</noscript><img>"}]],
         '<NOSCRIPT><P title="&lt;/noscript&gt;&lt;img&gt;"></P></NOSCRIPT>'),
    ],
)  # fmt: skip
async def test_each_kind_of_node(tmp_path: Path, node: object, html: str) -> None:
    assert await html_of(tmp_path, {"t.trace": page(node, doctype=None)}) == html


@pytest.mark.parametrize("reference", [[1, 0], [0, 0], [10**30, 0], [0, 10**30]])
async def test_what_was_not_recorded_is_marked(tmp_path: Path, reference: list[int]) -> None:
    assert await html_of(tmp_path, {"t.trace": page([reference], doctype=None)}) == "<!-- not in the trace -->"


async def test_a_doctype_holds_no_markup(tmp_path: Path) -> None:
    assert await html_of(tmp_path, {"t.trace": page("x", doctype="html><script>")}) == "<!DOCTYPE htmlscript>x"


async def test_frames_lie_in_frames(tmp_path: Path) -> None:
    main = ["BODY", {}, ["IFRAME", {"src": f"/snapshot/{CHILD}", "name": "a"}], ["IFRAME", {"src": "/snapshot/gone"}]]
    inner = ["P", {"title": '"'}, "in & out"]
    events = [*page(main), snapshot("after@call@1", inner, CHILD, doctype=None)]
    assert await html_of(tmp_path, {"t.trace": events}) == (
        '<!DOCTYPE html><BODY><IFRAME name="a" srcdoc="&lt;P title=&quot;&amp;quot;&quot;&gt;in &amp;amp; out'
        '&lt;/P&gt;">'
        "</IFRAME><IFRAME></IFRAME></BODY>"
    )


async def test_the_moment_is_after_the_action_else_during_it_else_before(tmp_path: Path) -> None:
    """During it is before: Playwright dispatches the input after this snapshot."""
    pages = {1: ("before", "action", "after"), 2: ("before", "action"), 3: ("before",), 4: ()}
    events = [header()]
    for number, phases in pages.items():
        events += action(number, pageId=f"page@{number}")
        events += [snapshot(f"{name}@call@{number}", name, pageId=f"page@{number}") for name in phases]
    events.append(snapshot("after@call@4", "of another page"))
    steps = await imported(
        StorageManager(local_base_path=tmp_path / "base"), write_zip(tmp_path / "t.zip", {"t.trace": events})
    )
    assert [step.html for step in steps] == [
        *(f"<!DOCTYPE html>{name}" for name in ("after", "action", "before")),
        None,
    ]
    assert [(step.metadata or {}).get("snapshot") for step in steps] == ["after", "action", "before", None]
    assert [(step.metadata or {})["observed"] for step in steps] == ["after", "before", "before", "after"]


LINK = ["LINK", {"rel": "stylesheet", "href": "s.css"}]
HEAD = ["HEAD", {}, ["BASE", {"href": "http://shop.test/a/"}], ["BASE", {}], LINK]
CHANGED = [{"url": "http://shop.test/a/s.css", "sha1": "1.css"}]


async def test_a_style_sheet_that_scripts_changed(tmp_path: Path) -> None:
    events = [header(), *action(1, html=HEAD), *action(2, html=HEAD), *action(3, html=[[1, 3]]), *action(4, html=LINK)]
    shots = [event["snapshot"] for event in events if event["type"] == "frame-snapshot"]
    for shot, changed in zip(shots, [[], CHANGED, [{**CHANGED[0], "sha1": None, "ref": 1}], CHANGED], strict=True):
        shot["resourceOverrides"] = changed
        shot["doctype"] = None
    members = {"t.trace": events, "resources/1.css": b"p {} </style>\xff"}
    steps = await imported(StorageManager(local_base_path=tmp_path / "base"), write_zip(tmp_path / "t.zip", members))
    bases = '<HEAD><BASE href="http://shop.test/a/"><BASE>'
    style = "<style>p {} \\3c /style>\ufffd</style>"
    assert [step.html for step in steps] == [
        bases + '<LINK rel="stylesheet" href="s.css"></HEAD>',
        bases + style + "</HEAD>",
        bases + style + "</HEAD>",
        style,  # relative to the base that an earlier snapshot of the same page had
    ]


@pytest.mark.parametrize("override", [{"ref": 5}, {"ref": -1}, {}, {"sha1": "gone.css"}])
async def test_a_style_sheet_that_is_not_there_stays_a_link(tmp_path: Path, override: dict[str, Any]) -> None:
    events = page(LINK, doctype=None, resourceOverrides=[{"url": "http://shop.test/s.css", **override}])
    assert await html_of(tmp_path, {"t.trace": events}) == '<LINK rel="stylesheet" href="s.css">'


async def test_style_sheets_that_are_not_there_are_named(tmp_path: Path) -> None:
    links = [["LINK", {"rel": "stylesheet", "href": f"{number}.css"}] for number in range(12)]
    overrides = [{"url": f"http://shop.test/{number}.css", "sha1": f"s{number}"} for number in range(12)]
    events = page(["HEAD", {}, *links], resourceOverrides=overrides)
    sm = StorageManager(local_base_path=tmp_path / "base")
    [step] = await imported(sm, write_zip(tmp_path / "t.zip", {"t.trace": events}))
    names = ", ".join(f"resources/s{number}" for number in range(10))
    assert (step.metadata or {})["not_captured"] == {"style_sheets": f"{names} and 2 more: not in the trace"}


async def test_a_url_that_is_none(tmp_path: Path) -> None:
    link = ["LINK", {"rel": "Stylesheet x", "href": "http://[1"}]
    html = await html_of(tmp_path, {"t.trace": page(link, doctype=None)})
    assert html == '<LINK rel="Stylesheet x" href="http://[1">'


async def test_trees_may_be_deep(tmp_path: Path) -> None:
    events = [header(), snapshot("0", ["P", {}, "x"])]
    events += [snapshot(str(number), ["P", {}, [[1, number if number < 2 else 0]]]) for number in range(1, 5000)]
    events += [*action(1), snapshot("after@call@1", ["DIV", {}, [[1, 0]]], doctype=None)]
    html = await html_of(tmp_path, {"t.trace": events})
    assert html == "<DIV>" + "<P>" * 5000 + "x" + "</P>" * 5000 + "</DIV>"


async def test_frames_of_other_pages_do_not_mix(tmp_path: Path) -> None:
    events = [header(), snapshot("x", ["P", {}, "child"], CHILD), snapshot("y", ["P", {}, "main"], FRAME)]
    events += [*action(1), snapshot("after@call@1", [[1, 1]], doctype=None)]
    assert await html_of(tmp_path, {"t.trace": events}) == "<P>main</P>"
