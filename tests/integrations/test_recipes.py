"""The recipes of docs/howto/agents.rst: each runs as it is printed, with the real thing, and gives a sealed session."""

import ast
import asyncio
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import sync_playwright

from storage_manager import StepData, StorageManager, sync
from tests.support import ROOT
from tests.support.browsers import ARGUMENTS, launched
from tests.support.printed import hidden_blocks, text

RECIPES = hidden_blocks(text("howto/agents"))
URL = "data:text/html,<title>Shop</title><button id=buy onclick=\"document.title = 'Bought'\">Buy</button>"
# of other environments; a fixture hides them from every test
PYTHONS = {name: os.environ.get(name) for name in ("SM_TEST_BROWSER_USE", "SM_TEST_BROWSERGYM")}
MCP = os.environ.get("SM_TEST_MCP")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SM_LOCAL_BASE_PATH", str(tmp_path / "data"))


def recipe(word: str) -> str:
    [found] = [code for code in RECIPES if word in code]
    return found


@pytest.mark.parametrize("code", RECIPES)
def test_a_recipe_is_short(code: str) -> None:
    """Ten lines, without the imports, and the lines that record are six."""
    lines = [line for line in code.splitlines() if line.strip() and not re.match("from|import", line)]
    assert len(lines) <= 10
    assert len([line for line in lines if re.search("record|storage", line)]) <= 6


def stored(session_id: str) -> list[StepData]:
    """The steps of a session, which is sealed and whole."""
    storage = sync.StorageManager()
    assert sync.verify_session(storage, session_id) == []
    assert (Path(storage.url_for(session_id)) / "_manifest.json").exists()
    return [step.data for step in storage.iter_steps([session_id], strict=True)]


def titles(session_id: str) -> list[Any]:
    steps = stored(session_id)
    assert all(step.html and step.screenshot and step.action for step in steps)
    assert not any("not_captured" in (step.metadata or {}) for step in steps)
    return [(step.metadata or {})["title"] for step in steps]


@pytest.mark.thorough
def test_sync_playwright(chromium: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        exec(recipe("run-sync"), {"page": browser.new_page(), "url": URL})
        browser.close()
    assert titles("run-sync") == ["Shop", "Bought"]


@pytest.mark.thorough
def test_selenium(driver: Any) -> None:
    exec(recipe("run-selenium"), {"driver": driver, "url": URL})
    assert titles("run-selenium") == ["Shop", "Bought"]


async def awaited(code: str, names: dict[str, Any]) -> None:
    """Run code as a cell of a notebook is run: IPython compiles it with this flag, and awaits it in its loop."""
    running = eval(compile(code, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
    assert inspect.iscoroutine(running)
    await running


@pytest.mark.thorough
async def test_a_cell_of_a_notebook(chromium: str) -> None:
    async with launched(chromium) as browser:
        await awaited(recipe("run-notebook"), {"page": await browser.new_page(), "url": URL})
    assert titles("run-notebook") == ["Shop"]


async def test_a_desktop_agent() -> None:
    done: list[Any] = []
    actions = [{"type": "click", "x": 3, "y": 4}, {"type": "type", "text": "lamp"}]
    names = {"agent": iter(actions), "grab": lambda: Image.new("RGB", (4, 3)), "perform": done.append}
    await awaited(recipe("run-desktop"), names)
    steps = stored("run-desktop")
    assert [step.action for step in steps] == done == actions
    assert all((step.screenshot or b"").startswith(b"\x89PNG") for step in steps)
    assert [(step.metadata or {})["observed"] for step in steps] == ["before", "before"]


@pytest.mark.thorough
def test_only_the_session_of_a_failed_test_is_kept(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(recipe("testsfailed"))
    test = "def test_{0}(recorder):\n    recorder.add(action={{'type': '{0}'}})\n    assert '{0}' != 'bad'\n"
    (tmp_path / "test_it.py").write_text("".join(map(test.format, ["good", "bad", "fine"])))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "--rootdir=."]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "1 failed, 2 passed" in done.stdout
    [session_id] = sync.StorageManager().list_sessions()
    assert [step.action for step in stored(session_id)] == [{"type": "bad"}]
    about = sync.StorageManager().retrieve_session_metadata(session_id) or {}
    assert about["test"] == "test_it.py::test_bad"


def python_of(variable: str, package: str) -> str:
    """The Python of another environment, which has a package and this one."""
    python = PYTHONS[variable]
    if python is None:
        why = f"set {variable} to a Python of an environment of its own: pip install {package} -e ."
        assert "CI" not in os.environ, why
        pytest.skip(why)
    return python


async def run_elsewhere(python: str, script: str, code: str, *arguments: str) -> None:
    data = os.environ["SM_LOCAL_BASE_PATH"]
    Path(data).mkdir()
    command = [python, str(ROOT / "tests/support" / script), arguments[0], data, *arguments[1:]]
    run = await asyncio.to_thread(subprocess.run, command, input=code.encode(), stderr=subprocess.PIPE, timeout=100)
    assert run.returncode == 0, run.stderr.decode()


@pytest.mark.thorough
async def test_browsergym(chromium: str) -> None:
    python = python_of("SM_TEST_BROWSERGYM", "browsergym-core")
    await run_elsewhere(python, "browsergym_episode.py", recipe("run-gym"), chromium)
    assert titles("run-gym") == ["Shop", "Shop"]
    first, second = stored("run-gym")
    assert first.action == {"action": "noop(10)"}
    assert (second.action or {})["action"].startswith("click(")
    assert [(step.metadata or {})["observed"] for step in (first, second)] == ["before", "before"]
    about = await StorageManager().retrieve_session_metadata("run-gym") or {}
    assert about.items() >= {"goal": "Buy a lamp", "reward": 1.0, "outcome": "success"}.items()
    tree = await StorageManager().retrieve_attachment("run-gym", "axtree.json", "step_000001")
    assert b"Buy" in (tree or b"")


@pytest.mark.thorough
async def test_playwright_mcp(chromium: str) -> None:
    """The environment of browser-use has the package mcp."""
    python = python_of("SM_TEST_BROWSER_USE", "browser-use")
    if MCP is None:
        why = "npm install --prefix DIR @playwright/mcp; SM_TEST_MCP=DIR/node_modules/@playwright/mcp/cli.js"
        assert "CI" not in os.environ, why
        pytest.skip(why)
    await run_elsewhere(python, "mcp_session.py", recipe("run-mcp"), chromium, MCP)
    first, second = stored("run-mcp")
    assert [(step.action or {})["tool"] for step in (first, second)] == ["browser_navigate", "browser_press_key"]
    assert all((step.screenshot or b"").startswith(b"\x89PNG") for step in (first, second))
    result = await StorageManager().retrieve_attachment("run-mcp", "result.md", "step_000001")
    assert b"Page Title: Shop" in (result or b"")
