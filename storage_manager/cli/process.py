"""How a command ends: its exit code, one line on stderr where it failed, and nothing that goes on behind it.

====  =============================================================================
code  meaning
====  =============================================================================
0     done
1     done, and problems were found
2     wrong usage: nothing was done
3     storage refused, or what was named is not there; the line says what to do
130   interrupted by Ctrl-C; 143 by SIGTERM
141   who read the output has left (`| head`)
====  =============================================================================
"""

import asyncio
import os
import signal
import sys
import traceback
from collections.abc import Coroutine
from typing import Any, TypeVar

import click

from storage_manager.errors import StorageManagerError

__all__ = ["BROKEN_PIPE", "NAME", "Interrupted", "run", "say", "shown", "start"]

NAME = "storage-manager"
USAGE, REFUSED, BROKEN_PIPE = 2, 3, 128 + signal.SIGPIPE

Out = TypeVar("Out")


class Interrupted(Exception):  # noqa: N818 - no error, as KeyboardInterrupt is none
    """A signal ended the command; what it was doing has settled.

    Attributes:
        done: what was done so far, for the user; the command's Progress fills it in.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number
        self.done = ""


# Any other exception is a fault of ours, and shows its traceback.
_EXPLAINED = (click.ClickException, click.Abort, Interrupted, KeyboardInterrupt, StorageManagerError, OSError)


def shown(text: str) -> str:
    """The text with its control characters as escapes: a page's title must not drive the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def say(text: str) -> None:
    """One line on stderr."""
    click.echo(f"{NAME}: {shown(text)}".replace("\n", "\\n"), err=True)


def run(work: Coroutine[Any, Any, Out]) -> Out:
    """The result of a coroutine. Ctrl-C cancels it and waits until it has settled; the second one kills.

    Raises:
        Interrupted: a signal came.
    """
    return asyncio.run(_until_signal(work))


async def _until_signal(work: Coroutine[Any, Any, Out]) -> Out:
    task = asyncio.ensure_future(work)
    loop, came = asyncio.get_running_loop(), list[int]()

    def stop(number: int) -> None:
        came.append(number)
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        return await task
    except asyncio.CancelledError:
        raise Interrupted(came[0]) from None


def start(cli: click.Command) -> int:
    """Run the command of `sys.argv`; returns its exit code."""
    settings: dict[str, bool] = {}
    if sys.stdout is None:  # the shell has closed it (`>&-`): there is a result, and an exit code, all the same
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lives
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a title on an ASCII terminal
    try:
        code = cli.main(prog_name=NAME, standalone_mode=False, obj=settings)
        sys.stdout.flush()
    except _EXPLAINED as error:
        if settings.get("debug"):
            traceback.print_exception(error)
        code = _explain(error)
        _abandon_output()
    return int(code or 0)


def _explain(error: BaseException) -> int:
    """Say what became of the command; its exit code."""
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, (StorageManagerError, OSError)):
        say(str(error))
        return _code(error)
    say(": ".join(filter(None, ("interrupted", getattr(error, "done", "")))))
    return 128 + int(getattr(error, "number", signal.SIGINT))


def _code(error: Exception) -> int:
    """An argument that is refused before any I/O has no URL: the command line is wrong."""
    return USAGE if isinstance(error, ValueError) and getattr(error, "url", None) is None else REFUSED


def _abandon_output() -> None:
    """Write what is left on stdout; where nobody takes it, let the interpreter not try again at its exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
