"""examples/record_agent.py as a user runs it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from storage_manager import StorageManager
from tests.support import ROOT

pytestmark = pytest.mark.thorough

EXAMPLE = ROOT / "examples" / "record_agent.py"


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-W", "error", str(EXAMPLE), *arguments]
    env = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=50, check=False, env=env)


@pytest.mark.usefixtures("chromium")
async def test_it_records_its_agent(tmp_path: Path) -> None:
    done = run("--root", str(tmp_path), "--session", "agent")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"recording {tmp_path}/agent\n")
    assert "stored and sealed: 9 steps, step_000001 to step_000009" in done.stdout
    assert re.search(r"cost the agent \d+ ms", done.stdout)
    steps = [step.data async for step in StorageManager(local_base_path=tmp_path).iter_steps(["agent"], strict=True)]
    assert all(None not in step for step in steps)
    types = [step.action["type"] for step in steps if step.action]
    assert types == ["goto", "fill", "click", "click", "fill", "click", "click", "click", "download"]
    titles = [step.metadata["title"] for step in steps if step.metadata]
    library, asked = ["Harbour library"], ["Ask for a book"]
    assert titles == library * 3 + asked * 2 + ["Thank you"] + library + ["Moby-Dick"] + library
    assert not any("not_captured" in step.metadata for step in steps if step.metadata)
    assert "We look for Walden" in (steps[5].html or "")
    assert (tmp_path / "agent/_manifest.json").exists()


def test_without_playwright_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "playwright.py").write_text("raise ImportError")
    done = run("--root", f"{tmp_path}/root", PYTHONPATH=f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    assert done.returncode == 1
    assert 'pip install ".[playwright]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_browser_it_says_what_to_install(tmp_path: Path) -> None:
    done = run("--root", f"{tmp_path}/root", PATH=str(tmp_path), PLAYWRIGHT_BROWSERS_PATH=str(tmp_path))
    assert done.returncode == 1
    assert "apt-get install chromium" in done.stderr
    assert "Traceback" not in done.stderr
