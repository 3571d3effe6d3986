"""Empty arguments, as a shell writes them for variables that are not set. Sockets take an empty host for every one."""

import os
import socket
from pathlib import Path
from typing import Any

import click
import pytest

from storage_manager import InvalidDataError, StorageManager
from storage_manager.cli.options import Command
from storage_manager.viewer import render_session, serve
from tests.support.shell import SAMPLE, commands, sm

EMPTY = ["", " ", "\t\n"]


@pytest.mark.parametrize("host", [*EMPTY, None, 0, b""], ids=repr)
async def test_serve_opens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: Any) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a socket was opened")

    storage = StorageManager(local_base_path=tmp_path)
    monkeypatch.setattr(socket.socket, "listen", refuse)
    with pytest.raises(InvalidDataError, match=r"cannot view: host is .*: give an address, such as 127\.0\.0\.1"):
        async with serve(storage, host):
            pass


@pytest.mark.parametrize("host", EMPTY, ids=repr)
def test_view_opens_nothing(host: str, tmp_path: Path) -> None:
    code, out, err = sm("view", "--host", host, "--port", "0", "--no-open", "--root", SAMPLE)
    assert (code, out) == (2, "")
    assert "Error: --host is empty" in err
    code, out, err = sm("view", "--host", host, "--root", tmp_path / "none")
    assert (code, out, "--host is empty" in err) == (2, "", True)  # before the root is looked at


EMPTIES = (
    ("cp", SAMPLE, "s3://bucket", "--target-profile", ""),  # it took the default profile
    ("cp", SAMPLE, "s3://bucket", "--source-endpoint", " "),
    ("cp", SAMPLE, "s3://bucket", "run-1", ""),
    ("render", "run-1", "-o", "", "--root", SAMPLE),  # it wrote ./run-1.html
    ("show", "run-1", "step_000001", "-o", "", "--root", SAMPLE),  # it printed the step
    ("rm", "run-1", "", "--yes", "--root", SAMPLE),
    ("export", "parquet", "", "--root", SAMPLE),
    ("seal", "", "--root", SAMPLE),
)


@pytest.mark.parametrize("words", EMPTIES)
def test_an_empty_word_is_refused(words: tuple[str, ...]) -> None:
    code, out, err = sm(*words)
    assert (code, out) == (2, "")
    assert "is empty" in err


def test_every_option_is_looked_at() -> None:
    """Also one that is added."""
    all_commands = commands().values()
    groups = [found for found in all_commands if isinstance(found, click.Group)]
    every = [*all_commands, *(inner for found in groups for inner in found.commands.values())]
    assert all(isinstance(found, Command) for found in every if found not in groups)


@pytest.mark.parametrize("kind", ["pipe", "device"])
async def test_a_rendered_file_replaces_no_pipe_and_no_device(tmp_path: Path, kind: str) -> None:
    """`render -o /dev/null` made a file of it."""
    storage = StorageManager(local_base_path=tmp_path / "base")
    await storage.store_step_data("s", "t", "<p>")
    path = tmp_path / kind
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/full")
    with pytest.raises(InvalidDataError, match="is a pipe or a device"):
        await render_session(storage, "s", path)
    assert not path.is_file()
