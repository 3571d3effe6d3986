"""Sessions for the viewer's tests, one of them hostile."""

import base64

from storage_manager import StorageManager

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
JPEG = b"\xff\xd8\xff\xe0 not a whole one"
BREAKING = "</script><script>pwned = 1</script><!-- <script> \u2028 \u2029 & ]]> \0"
HOSTILE = """<!DOCTYPE html><html><head>
<base href="http://outside.test/"><meta http-equiv="refresh" content="0;url=http://outside.test/refresh">
<link rel="stylesheet" href="http://outside.test/style"><link rel="dns-prefetch" href="//outside.test">
<script>parent.pwned = 1; fetch("http://outside.test/script")</script>
<style>@import "http://outside.test/import"; body { background: url(http://outside.test/css) }</style>
</head><body onload="parent.pwned = 2"><h1>A stored page</h1>
<img src="http://outside.test/image" onerror="parent.pwned = 3" srcset="http://outside.test/set 2x">
<iframe src="http://outside.test/frame"></iframe><object data="http://outside.test/object"></object>
<svg><use href="http://outside.test/use#a"/><a xlink:href="http://outside.test/svg"><text y="20">svg</text></a></svg>
<template><img src="http://outside.test/template"></template><video poster="http://outside.test/poster"></video>
<a id="away" href="http://outside.test/link" target="_top" ping="http://outside.test/ping">a link</a>
<a id="code" href="javascript:parent.pwned = 4">code</a>
<form action="http://outside.test/form"><button id="send">send</button></form>
<div><template shadowrootmode="open"><link rel="preconnect" href="http://outside.test/"></template></div>
<p id="colored" style="color: rgb(1, 2, 3)">styled</p>
<svg></p><style><a title="</style><link rel=preconnect href=http://outside.test/><img src=x onerror=parent.pwned=5>">
</a></style></svg><math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;link rel=preconnect href=http://outside.test/&gt;">
</style></mglyph></table></mtext></math>
</body></html>"""


async def store_small(sm: StorageManager, session_id: str = "run-1") -> None:
    """Store three steps: whole, hostile, and without screenshot and HTML."""
    metadata = {"url": "https://shop.test/", "title": "A & <b>", "viewport": [640, 480]}
    await sm.store_step_data(session_id, "step_1", "<p>one</p>\n<p>same</p>", PNG, {"type": "goto"}, metadata)
    await sm.store_step_data(
        session_id, "step_2", HOSTILE, JPEG, {"type": BREAKING}, {"viewport": {"width": 400, "height": 300}}
    )
    await sm.store_step_data(session_id, "step_3", action_data={"type": "click", "selector": "#buy"})
