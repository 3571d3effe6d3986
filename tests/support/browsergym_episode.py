"""Run an episode of BrowserGym's released package in a real Chromium, and record it with the code on stdin.

    PYTHON tests/support/browsergym_episode.py CHROMIUM DIRECTORY <snippet

PYTHON has browsergym-core and this package. The page is a `data:` URL, and nothing is asked for.
"""

import os
import sys
from pathlib import Path
from typing import Any

chromium, directory = sys.argv[1:]
os.environ["SM_LOCAL_BASE_PATH"] = directory
os.environ["PLAYWRIGHT_BROWSERS_PATH"] = f"{directory}/browsers"

from browsergym.core.env import BrowserEnv  # type: ignore[import-not-found]  # noqa: E402
from browsergym.core.task import AbstractBrowserTask  # type: ignore[import-not-found]  # noqa: E402
from playwright.sync_api import sync_playwright  # noqa: E402

PAGE = "data:text/html,<title>Shop</title><button onclick=\"document.title = 'Bought'\">Buy</button>"


class Buy(AbstractBrowserTask):  # type: ignore[misc]
    """Buy something: the title says whether it is done."""

    @classmethod
    def get_task_id(cls) -> str:
        return "buy"

    def setup(self, page: Any) -> tuple[str, dict[str, Any]]:
        page.goto(PAGE)
        return "Buy a lamp", {}

    def validate(self, page: Any, chat_messages: list[Any]) -> tuple[float, bool, str, dict[str, Any]]:
        done = page.title() == "Bought"
        return float(done), done, "", {}

    def teardown(self) -> None:
        """Leave nothing."""


def agent(seen: Any) -> str:
    """Wait once, then click the button."""
    if not seen["last_action"]:
        return "noop(10)"
    nodes = seen["axtree_object"]["nodes"]
    [button] = [node for node in nodes if node["role"]["value"] == "button"]
    return f"click('{button['browsergym_id']}')"


# BrowserGym starts two browsers. That of its chat has to be at the path that Playwright expects.
with sync_playwright() as playwright:
    expected = Path(playwright.chromium.executable_path)
expected.parent.mkdir(parents=True)
expected.symlink_to(chromium)
env = BrowserEnv(task_entrypoint=Buy, pre_observation_delay=0)
exec(sys.stdin.read(), {"env": env, "agent": agent})
env.close()
