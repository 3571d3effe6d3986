"""README's examples, and the script of the recorder's page, run as they are printed. README's links lead to files."""

import configparser
import contextlib
import io
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import playwright.async_api
import playwright.sync_api
import pytest

from storage_manager import sync
from storage_manager.errors import DISTRIBUTION, NOT_ON_PYPI
from tests.support import ROOT
from tests.support.browsers import ARGUMENTS
from tests.support.printed import blocks, hidden_blocks, run_each, text

README = (ROOT / "README.rst").read_text(encoding="utf-8")
ABOUT = configparser.ConfigParser()
ABOUT.read(ROOT / "setup.cfg")
HOME = ABOUT["metadata"]["url"]
RAW = HOME.replace("https://github.com/", "https://raw.githubusercontent.com/")
PAGE = "<title>Example Domain</title><a href=/more>More</a>"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def shown() -> str:
    """Return the output that README shows below the example of pandas."""
    [output] = re.findall(r"code-block:: text\n\n((?: {4}.*\n|\n)+)", README)
    return textwrap.dedent(output).rstrip("\n")


def actions() -> list[dict[str, Any]]:
    goto, click = {"type": "goto", "url": "https://example.com/"}, {"type": "click", "selector": "a"}
    return [goto, click, goto]


def test_pandas_prints_what_is_shown_and_the_rest_runs() -> None:
    storage = sync.StorageManager()
    for action, step in zip(actions(), ("run-1/1", "run-1/2", "run-2/1"), strict=True):
        session_id, _, number = step.partition("/")
        storage.store_step_data(session_id, f"step_{number:0>6}", action_data=action)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        names = run_each("../README", blocks(README), {})
    assert printed.getvalue().rstrip("\n") == shown()
    assert names["action"] == {"type": "done"}
    assert len(blocks(README)) == 2


@pytest.fixture
def example_com(chromium: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let scripts start the Chromium of the tests, in which every address has the same page."""
    answer = {"body": PAGE, "content_type": "text/html"}

    async def new_page(browser: Any, **options: Any) -> Any:
        page = await (await browser.new_context(**options)).new_page()
        await page.route("**", lambda route: route.fulfill(**answer))
        return page

    def new_sync_page(browser: Any, **options: Any) -> Any:
        page = browser.new_context(**options).new_page()
        page.route("**", lambda route: route.fulfill(**answer))
        return page

    for api, make in ((playwright.async_api, new_page), (playwright.sync_api, new_sync_page)):
        monkeypatch.setattr(api.BrowserType, "launch", launching(api.BrowserType.launch, chromium))
        monkeypatch.setattr(api.Browser, "new_page", make)


def launching(launch: Callable[..., Any], chromium: str) -> Callable[..., Any]:
    """Return a launch that starts this browser."""
    return lambda browser: launch(browser, executable_path=chromium, args=[*ARGUMENTS])


def recorded(code: str) -> list[Any]:
    """Run a script; return the actions of all sessions, which are sealed and whole."""
    exec(compile(code, "script.py", "exec"), {"__name__": "__main__"})
    storage = sync.StorageManager()
    assert all(step.data.html and step.data.screenshot for step in storage.iter_steps())
    assert {len(sync.verify_session(storage, session_id)) for session_id in storage.list_sessions()} == {0}
    return [step.data.action for step in storage.iter_steps()]


@pytest.mark.thorough
@pytest.mark.usefixtures("example_com")
def test_both_recordings_are_those_that_pandas_shows() -> None:
    asynchronous, synchronous = hidden_blocks(README)
    assert recorded(asynchronous) == actions()[:2]
    assert recorded(synchronous) == actions()


@pytest.mark.thorough
@pytest.mark.usefixtures("example_com")
def test_the_script_of_the_recorder() -> None:
    [script] = hidden_blocks(text("recorder"))
    assert len([line for line in script.splitlines() if line]) == 15
    assert recorded(script) == actions()[:2]
    assert (sync.StorageManager().retrieve_session_metadata("run-1") or {})["outcome"] == "success"


def test_a_recording_has_twelve_lines() -> None:
    asynchronous, synchronous = hidden_blocks(README)
    assert len([line for line in asynchronous.splitlines() if line]) == 12
    assert len(synchronous.splitlines()) < 12


def test_every_link_is_absolute_and_leads_to_a_file() -> None:
    links = re.findall(r"<([^<>\s]+)>`_", README) + re.findall(r"image:: (\S+)", README)
    ours = [re.fullmatch(f"(?:{HOME}/blob|{RAW})/main/(.+)", link) for link in links]
    assert None not in ours
    assert [link[1] for link in ours if link and not (ROOT / link[1]).is_file()] == []
    assert len(links) > 15


def test_the_addresses_of_the_project_are_of_one_repository() -> None:
    urls = dict(line.split(" = ") for line in ABOUT["metadata"]["project_urls"].strip().splitlines())
    assert {url[: len(HOME)] for url in urls.values()} == {HOME}
    assert set(urls) == {"Documentation", "Source", "Issues", "Changes"}


def test_the_name_of_the_distribution() -> None:
    assert ABOUT["metadata"]["name"] == DISTRIBUTION
    assert re.search(rf"``{DISTRIBUTION}``\. It is\s+{NOT_ON_PYPI}", README)
