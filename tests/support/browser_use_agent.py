"""Run an agent of browser-use, whose model is a script, in a real Chromium, and record it with the code on stdin.

    PYTHON tests/support/browser_use_agent.py CHROMIUM DIRECTORY <snippet

PYTHON has browser-use and this package. The pages are on loopback, and nothing else is asked for.
"""

import os
import sys
import tempfile

chromium, directory = sys.argv[1:]
# before browser_use is imported, which reads them
os.environ.update(
    ANONYMIZED_TELEMETRY="false",
    BROWSER_USE_CLOUD_SYNC="false",
    BROWSER_USE_CONFIG_DIR=tempfile.mkdtemp(dir=directory),
    BROWSER_USE_LOGGING_LEVEL="result",
    BROWSER_USE_VERSION_CHECK="false",
    SM_LOCAL_BASE_PATH=directory,
)

import ast  # noqa: E402
import asyncio  # noqa: E402
import inspect  # noqa: E402
import re  # noqa: E402
import threading  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer  # noqa: E402
from typing import Any  # noqa: E402

from browser_use import BrowserProfile, BrowserSession  # type: ignore[import-not-found]  # noqa: E402
from browser_use.llm.views import ChatInvokeCompletion, ChatInvokeUsage  # type: ignore[import-not-found]  # noqa: E402

SHOP = """<!doctype html><title>Shop</title><input id=q><input type=password value=swordfish>
<button onclick="document.title = 'Bought'; this.textContent = 'Bought'">Buy</button><div id=host></div>
<script>host.attachShadow({mode: 'open'}).innerHTML = '<b>in the shadow</b>'</script>
<iframe src=/near></iframe><iframe src=http://localhost:PORT/far></iframe>"""
PAGES = {"/": SHOP, "/near": "<p>a near frame", "/far": "<p>a far frame, in a process of its own"}


class Site(BaseHTTPRequestHandler):
    """A shop with one page, and two frames in it."""

    def do_GET(self) -> None:
        body = PAGES.get(self.path, "").replace("PORT", str(self.server.server_address[1])).encode()
        self.send_response(200 if body else 404)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Print nothing."""


class Model:
    """A model with browser-use's interface (BaseChatModel), which gives the answers of a script."""

    model = model_name = "script-1"
    provider = name = "script"

    def __init__(self, url: str) -> None:
        self._answers = self._script(url)
        next(self._answers)

    def _script(self, url: str) -> Iterator[Any]:
        yield
        yield [{"navigate": {"url": url, "new_tab": False}}]
        yield lambda index: [{"wait": {"seconds": 0}}, {"click": {"index": index("button")}}]
        yield [{"done": {"success": True, "text": "a lamp is bought"}}]

    async def ainvoke(self, messages: Any, output_format: Any = None, **options: Any) -> Any:
        said = "\n".join(message.text for message in messages)
        answer = next(self._answers)
        actions = answer(lambda name: int(re.findall(rf"\[(\d+)\]<{name}", said)[-1])) if callable(answer) else answer
        thoughts = {
            "thinking": "I think \ud83d",
            "evaluation_previous_goal": "good",
            "memory": "a lamp",
            "next_goal": "go",
        }
        counts = dict.fromkeys(("prompt_cached_tokens", "prompt_cache_creation_tokens", "prompt_image_tokens"), 0)
        usage = ChatInvokeUsage(prompt_tokens=100, completion_tokens=10, total_tokens=110, **counts)
        return ChatInvokeCompletion(completion=output_format(**thoughts, action=actions), usage=usage)


async def main() -> None:
    """Run the snippet with a model and a browser."""
    site = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    profile = BrowserProfile(
        executable_path=chromium,
        headless=True,
        chromium_sandbox=False,
        enable_default_extensions=False,
        user_data_dir=tempfile.mkdtemp(dir=directory),
        args=["--site-per-process"],
    )
    model = Model(f"http://127.0.0.1:{site.server_address[1]}/")
    names = {"llm": model, "browser": BrowserSession(browser_profile=profile)}
    code = compile(sys.stdin.read(), "snippet", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    running = eval(code, names)  # the documentation's
    if inspect.isawaitable(running):
        await running
    site.shutdown()


asyncio.run(main())
