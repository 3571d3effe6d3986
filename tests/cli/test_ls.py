"""`ls`: which sessions and steps are listed, and in which order."""

import os
from pathlib import Path

import pytest

from storage_manager import StorageManager
from tests.support.shell import lines, sm


@pytest.fixture
async def root(tmp_path: Path) -> Path:
    """Three sessions, of which each is the largest, the longest or the newest."""
    async with StorageManager(local_base_path=tmp_path) as storage:
        await storage.store_step_data("large", "1", "x" * 9000)
        for number in "123":
            await storage.store_step_data("long", number, "x" * int(number), attachments={"a.json": b"{}"})
        await storage.store_step_data("new", "1", "x" * 100)
    for number, name in enumerate(("large/1", "long/3", "new/1")):
        os.utime(tmp_path / name / "observation.html", (2_000_000_000 + number,) * 2)
    return tmp_path


@pytest.mark.parametrize(
    ("options", "listed"),
    [
        ("", "large long new"),
        ("--reverse", "new long large"),
        ("--limit 2", "large long"),
        ("--limit 0", ""),
        ("--reverse --limit 1", "new"),
        ("--prefix l", "large long"),
        ("--prefix lo --limit 1", "long"),
        ("--prefix x", ""),
        ("--sort size", "large new long"),
        ("--sort steps", "long large new"),
        ("--sort modified --limit 1", "new"),
        ("--sort modified --reverse --prefix l", "large long"),
    ],
)
def test_sessions(root: Path, options: str, listed: str) -> None:
    said = "no session begins with 'x'\n" if options == "--prefix x" else ""
    assert sm("ls", *options.split(), "--root", root) == (0, "".join(f"{name}\n" for name in listed.split()), said)
    table = sm("ls", "--long", *options.split(), "--root", root).out.splitlines()
    assert [row.split()[-1] for row in table[1:-1]] == listed.split()


def test_steps(root: Path) -> None:
    at = ("long", "--root", root)
    assert sm("ls", *at, "--sort", "size", "--limit", "2").out == "3\n2\n"
    assert sm("ls", *at, "--prefix", "2").out == "2\n"
    assert sm("ls", *at, "--sort", "modified", "--limit", "1").out == "3\n"
    assert sm("ls", *at, "--sort", "steps").code == 2
    assert lines(sm("ls", *at, "--long", "--limit", "1", "--reverse").out) == [
        "STEP HTML SCREENSHOT ACTION METADATA ATTACHMENTS",
        "3 3 B - - - a.json 2 B",
        "1 step, 5 B",
    ]
