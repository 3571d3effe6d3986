"""Progress: a bar on a terminal, lines elsewhere, nothing with --quiet; and values as they are shown."""

import asyncio
import io
import re
import shutil
import sys
from datetime import datetime, timedelta, timezone
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

import click
import pytest

from storage_manager.cli import main, text
from storage_manager.cli.commands import cli
from storage_manager.cli.process import Interrupted, print_error
from storage_manager.cli.progress import Progress
from storage_manager.cli.terminal import echo, escape, showing
from storage_manager.errors import LocalStorageError
from storage_manager.storage import StorageManager
from tests.support import ROOT
from tests.support.shell import LIMIT, SAMPLE, commands, has_colour, on_terminal, sm


def test_a_bar_on_a_terminal(tmp_path: Any) -> None:
    command = ("put", SAMPLE, "--root")
    done = on_terminal(*command, tmp_path / "a")
    assert (done.code, done.out) == (0, "4 steps copied\n")
    assert "copying" in done.err
    assert has_colour(done.err)
    plain = on_terminal(*command, tmp_path / "b", NO_COLOR="1")
    assert "copying" in plain.err
    assert not has_colour(plain.err)
    assert on_terminal(*command, tmp_path / "c", "--quiet") == (0, "4 steps copied\n", "")
    done = on_terminal("purge", "--older-than", "0s", "--yes", "--root", tmp_path / "c")
    assert (done.code, done.out.endswith("  harbour-books\n1 session (285.3 kB) deleted\n")) == (0, True)
    assert "checking" in done.err


@pytest.mark.thorough
def test_render_and_rm_show_how_many_of_how_many(tmp_path: Any) -> None:
    at = ("--root", tmp_path / "root")
    assert sm("put", SAMPLE, *at).code == 0
    done = on_terminal("render", "harbour-books", "-o", tmp_path / "a.html", *at)
    assert (done.code, done.out) == (0, f"{tmp_path}/a.html\n")
    assert re.search("rendering.*4/4", done.err)
    assert on_terminal("render", "harbour-books", "-q", "-o", tmp_path / "a.html", *at).err == ""
    done = on_terminal("rm", "harbour-books", "--yes", *at)
    assert (done.code, done.out) == (0, f"deleted {tmp_path}/root/harbour-books (4 steps, 285.3 kB)\n")
    assert re.search("deleting.*16/16", done.err)


async def test_rm_lists_what_is_left_to_count_what_is_deleted(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    five_are_shown = asyncio.Event()

    class Watched(Progress):
        def __call__(self, done: int, total: int | None) -> None:
            super().__call__(done, total)
            if done == 5:
                five_are_shown.set()

    class Slow(StorageManager):
        async def delete_session(self, session_id: str) -> None:
            for name in target.files[:5]:
                (tmp_path / session_id / name).unlink()
            await asyncio.wait_for(five_are_shown.wait(), LIMIT)
            raise LocalStorageError("the disk fails")

    module = import_module("storage_manager.cli.rm")
    monkeypatch.setattr(module, "_SECONDS", 0)
    monkeypatch.setattr(module, "open_root", Slow.from_url)
    shutil.copytree(SAMPLE, tmp_path, dirs_exist_ok=True)
    target = await module._find(str(tmp_path), "harbour-books", None)
    progress = Watched("deleting", "deleted", unit="file", quiet=True)
    with pytest.raises(LocalStorageError, match="the disk fails"):
        await module._delete(str(tmp_path), "harbour-books", None, target.files, progress)
    assert (progress.done, progress.total) == (5, 16)


class Drawn:
    """A bar that writes down when it is drawn, on the same stream as the output."""

    def start(self) -> None:
        print("[", end="")

    def stop(self) -> None:
        print("]", end="")


def test_no_line_is_glued_to_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with showing(Drawn()):
        echo("a result")
        print_error("a warning")
    echo("the end")
    assert capsys.readouterr() == ("[]a result\n[][]the end\n", "storage-manager: a warning\n")


class Clock:
    """A second later each time it is looked at."""

    now = 0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def test_lines_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("copying", "copied", clock=Clock()) as progress:
        for done in range(11):
            progress(done, 20)
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "copying: 4 of 20 steps, 0.6 steps/s, 24 s left"
    assert told[-1].startswith("copying: 10 of 20 steps, ")
    assert len(told) == 3
    with Progress("checking", "checked", unit="session", clock=Clock()) as progress:
        for done in range(6):
            progress(done, None)
    assert capsys.readouterr().err.splitlines()[0] == "checking: 4 sessions, 0.7 sessions/s"
    with Progress("copying", "copied", quiet=True, clock=Clock()) as progress:
        for done in range(11):
            progress(done, 20)
    assert capsys.readouterr().err == ""


def test_an_interruption_learns_how_far_it_was() -> None:
    with pytest.raises(Interrupted) as caught, Progress("copying", "copied") as progress:
        progress(1, 400)
        raise Interrupted(2)
    assert caught.value.done == "1 of 400 steps copied; run it again to continue"


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "dumb")
    with Progress("copying", "copied", clock=Clock()) as progress:
        for done in range(6):
            progress(done, 20)
    assert terminal.getvalue().startswith("copying: 4 of 20 steps, 0.6 steps/s, 24 s left\ncopying: 5 of")


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_951, "1.0 MB"), (5 * 10**9, "5.0 GB"),
     (2 * 10**15, "2000.0 TB")],
)  # fmt: skip
def test_sizes(number: int, expected: str) -> None:
    assert text.size(number) == expected


def test_times() -> None:
    when = datetime(2026, 1, 31, 13, tzinfo=timezone(timedelta(hours=1)))
    assert text.moment(when) == "2026-01-31T12:00:00Z"
    assert text.moment(None) is None
    context, param = click.Context(cli), cli.params[0]
    assert text.age(context, param, "2w") == timedelta(weeks=2)
    assert text.age(context, param, "2026-01-31T12:00Z") == datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
    assert text.age(context, param, "2026-01-31") == datetime(2026, 1, 31, tzinfo=timezone.utc)
    assert text.duration(context, param, "90s") == timedelta(seconds=90)


def test_what_is_no_text_is_escaped() -> None:
    assert escape("ä\n\x1b[2J\u202e\x9b") == "ä\\n\\x1b[2J\\u202e\\x9b"


@pytest.mark.parametrize("name", list(commands()))
def test_every_command_has_help_with_examples(name: str) -> None:
    command = commands()[name]
    help_text = command.get_help(click.Context(command, parent=click.Context(cli, info_name="storage-manager")))
    assert f"  storage-manager {name}" in help_text
    assert all(isinstance(option, click.Argument) or option.help for option in command.params)  # type: ignore[attr-defined]


def test_help_and_completion() -> None:
    code, out, err = sm("--help")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.partition("Commands:\n")[2].splitlines()] == list(commands())
    assert "..." not in out.partition("Commands:\n")[2]
    code, out, _ = sm("purge", "--help")
    assert (code, "storage-manager purge --older-than 30d" in out) == (0, True)
    assert import_module("storage_manager.__main__").main is main  # and runs nothing
    assert sm("--version").out.startswith("storage-manager, version ")


def test_the_documents_have_every_command() -> None:
    docs = ROOT / "docs"
    text = (docs / "cli.rst").read_text()
    assert all(f"    storage-manager {name} " in text for name in commands())
    spec = spec_from_file_location("record_round", docs / "record_round.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    shown = re.findall(r"^\$ (.*)", (docs / "round.txt").read_text(), re.MULTILINE)
    assert shown == [command.format(port=9000) for command in module.ROUND if command != "C-c"]
