"""Completion with Tab: ids of sessions and steps, in the root that the line names; and the scripts, in real shells."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.shell import LIMIT, SAMPLE, sm


def completed(line: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a shell offers for the last word of a line."""
    words = line.split(" ")
    monkeypatch.setenv("_STORAGE_MANAGER_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    code, out, err = sm()
    assert (code, err) == (0, "")
    return [each.partition(",")[2] for each in out.splitlines() if each]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("sho", ["show"]),
        (f"show --root {SAMPLE} ", ["harbour-books"]),
        (f"--root {SAMPLE} seal har", ["harbour-books"]),
        (f"--root {SAMPLE} ls x", []),
        (f"--root {SAMPLE} rm harbour-books step_000003", ["step_000003"]),
        (f"cp {SAMPLE} target ", ["harbour-books"]),
        ("ls --root /nowhere ", []),
        ("ls --root s3:/malformed ", []),
    ],
)
def test_words(line: str, offered: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert completed(f"storage-manager {line}", monkeypatch) == offered


def test_the_default_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SM_ROOT", str(SAMPLE))
    assert len(completed("storage-manager show harbour-books ", monkeypatch)) == 4


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_are_read_by_their_shells(shell: str, tmp_path: Path) -> None:
    code, script, err = sm("completion", shell)
    assert (code, err, "_STORAGE_MANAGER_COMPLETE" in script) == (0, "", True)
    if shutil.which(shell):
        subprocess.run([shell, "-n", "/dev/stdin"], input=script, text=True, check=True, timeout=LIMIT)
    assert sm("completion", "other").code == 2


def test_bash_completes(tmp_path: Path) -> None:
    command = tmp_path / "storage-manager"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m storage_manager "$@"\n')
    command.chmod(0o700)
    (tmp_path / "script").write_text(sm("completion", "bash").out)
    line = f"COMP_WORDS=(storage-manager --root {SAMPLE} show har); COMP_CWORD=4"
    code = f"PATH={tmp_path}:$PATH; . {tmp_path}/script; {line}; _storage_manager_completion storage-manager"
    done = subprocess.run(
        ["bash", "-c", f'{code}; echo "${{COMPREPLY[@]}}"'], capture_output=True, text=True, timeout=LIMIT, check=True
    )
    assert (done.stdout, done.stderr) == ("harbour-books\n", "")
