"""The commands that pages print: README's are those that CI runs, and none installs another project's package."""

import re
import subprocess

import pytest

from tests.support import ROOT

ANOTHER_PROJECT = re.compile(r"pip install\b[^`\n]*?(?<!agent-)\bstorage-manager\b")


def test_ci_runs_the_commands_of_the_readme() -> None:
    printed = re.findall(r"^ {4}(python3 -m venv .* && \.venv/bin/python .*)$", (ROOT / "README.rst").read_text(encoding="utf-8"), re.MULTILINE)
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
