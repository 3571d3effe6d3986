"""The commands that pages print: README's are those that CI runs, and none installs another project's package."""

import configparser
import re
import subprocess

import pytest

from storage_manager.errors import DISTRIBUTION, NOT_ON_PYPI
from tests.support import ROOT

ANOTHER_PROJECT = re.compile(r"pip install\b[^`\n]*?(?<!agent-)\bstorage-manager\b")


def test_ci_runs_the_commands_of_the_readme() -> None:
    readme = (ROOT / "README.rst").read_text(encoding="utf-8")
    printed = re.findall(r"^ {4}(python3 -m venv .* && \.venv/bin/python .*)$", readme, re.MULTILINE)
    run = re.findall(r'^run_\w+="(.*)"$', (ROOT / ".ci/run").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(printed) == 2
    assert run == printed


@pytest.mark.parametrize("command", ["storage-manager", '-U "storage-manager[viewer]"', "-e 'storage-manager'"])
def test_another_projects_package_is_found(command: str) -> None:
    assert ANOTHER_PROJECT.search(f"pip install {command}")
    assert not ANOTHER_PROJECT.search(f"pip install {command}".replace("storage-", "agent-storage-"))


def test_no_page_installs_another_projects_package() -> None:
    """On PyPI, `storage-manager` is another project; this one is `agent-storage-manager`."""
    if not (ROOT / ".git").exists():
        pytest.skip("the sdist does not say which files are tracked")
    tracked = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True).split("\0")
    texts = {name: (ROOT / name).read_bytes().decode(errors="replace") for name in tracked if (ROOT / name).is_file()}
    assert [name for name, text in texts.items() if ANOTHER_PROJECT.search(text)] == []


PAGES = sorted((ROOT / "docs").rglob("*.rst"))
ABOUT = configparser.ConfigParser()
ABOUT.read(ROOT / "setup.cfg")


def test_a_page_that_needs_an_extra_says_how_to_install_it() -> None:
    """It names the distribution, and says that it is not on PyPI, in the words of the messages of errors."""
    for page in PAGES:
        text = " ".join(page.read_text(encoding="utf-8").split())
        installed = {
            extra for names in re.findall(r"pip install '\.\[([\w,-]+)\]'", text) for extra in names.split(",")
        }
        assert installed <= set(ABOUT["options.extras_require"]), page
        assert set(re.findall(r"extra ``([\w-]+)``", text)) <= installed, page
        if installed and page.stem != "cli":
            assert f"``{DISTRIBUTION}``" in text, page
            assert NOT_ON_PYPI in text, page


EXTRAS = {
    "browser-use": ["howto/agents", "reference/integrations"],
    "catalog": ["howto/find", "reference/catalog"],
    "cli": ["cli", "importers"],
    "dask": ["export", "tools", "reference/export"],
    "obstore": ["engines"],
    "parquet": ["export", "reference/export"],
    "playwright": ["recorder", "howto/agents", "howto/sync"],
    "testing": ["reference/testing"],
    "viewer": ["viewer", "reference/viewer"],
}


def test_an_extra_is_installed_on_its_pages() -> None:
    texts = {
        page: (ROOT / f"docs/{page}.rst").read_text(encoding="utf-8") for pages in EXTRAS.values() for page in pages
    }
    asked = [(page, extra) for extra, pages in EXTRAS.items() for page in pages]
    assert [one for one in asked if not re.search(rf"pip install '\.\[[\w,-]*{one[1]}\b", texts[one[0]])] == []
