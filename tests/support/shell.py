"""Run the command line as a user does: in real processes, with their exit codes and output."""

import os
import pty
import re
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import click

from storage_manager.cli.commands import cli
from tests.support import ROOT
from tests.support.forked import forks

SM = [sys.executable, "-W", "error", "-m", "storage_manager"]
SAMPLE = ROOT / "storage_manager/sample"
LIMIT = 50  # seconds; a command should take one


def commands() -> dict[str, click.Command]:
    """Return every command by its name, in the order of `--help`."""
    context = click.Context(cli, info_name="storage-manager")
    found = {name: cli.get_command(context, name) for name in cli.list_commands(context)}
    return {name: command for name, command in found.items() if command}


class Done(NamedTuple):
    """The exit code and the output of a process."""

    code: int
    out: str
    err: str


def sm(*args: object, text: bool = True, **kwargs: Any) -> Done:
    """Run a command; stdin is no terminal. It is a fork, unless coverage is measured or options are given."""
    argv = [*map(str, args)]
    if kwargs or not text or "COVERAGE_PROCESS_START" in os.environ:
        options = {"stdin": subprocess.DEVNULL, "capture_output": True, "timeout": LIMIT, **kwargs}
        done = subprocess.run([*SM, *argv], check=False, text=text, **options)
        return Done(done.returncode, done.stdout, done.stderr)
    code, out, err = forks().run(argv, os.environ, os.getcwd(), LIMIT)
    return Done(code, out.decode(), err.decode())


def on_terminal(*args: object, typed: bytes = b"", **env: str) -> Done:
    """Run a command whose stdin and stderr are a terminal. `err` is the output there."""
    ours, theirs = pty.openpty()
    os.write(ours, typed)
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "100", **env}
    with subprocess.Popen(
        [*SM, *map(str, args)], stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, env=env
    ) as process:
        os.close(theirs)
        shown = _until_closed(ours)
        assert process.stdout
        out = process.stdout.read().decode()
    os.close(ours)
    return Done(process.returncode, out, shown.decode())


def _until_closed(terminal: int) -> bytes:
    shown = b""
    while True:
        try:
            shown += os.read(terminal, 65536)
        except OSError:  # how Linux says that the other side is closed
            return shown


def has_colour(text: str) -> bool:
    """Return True if an escape sequence sets a colour (ECMA-48, SGR 30 to 49 and 90 to 107)."""
    numbers = [int(n) for escape in re.findall(r"\x1b\[([0-9;]*)m", text) for n in escape.split(";") if n]
    return any(30 <= number < 50 or 90 <= number < 108 for number in numbers)


def lines(text: str) -> Sequence[str]:
    """Return the lines of a text, with one blank for each run of blanks."""
    return [" ".join(line.split()) for line in text.splitlines()]
