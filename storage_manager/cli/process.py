"""Run a command: its coroutine, signals, the one line on stderr if it fails, and its exit code.

====  ======================================================================================
code  meaning
====  ======================================================================================
0     done
1     done, and problems were found
2     wrong usage: nothing was done
3     a storage error, or a session or step that does not exist; the line says what to do
130   interrupted by Ctrl+C; 143 by SIGTERM; 129 by SIGHUP, because the terminal was closed
141   the program that reads the output has closed it (`| head`)
====  ======================================================================================
"""

import asyncio
import atexit
import gc
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import click

from storage_manager.cli.advice import in_terms_of
from storage_manager.cli.terminal import EscapedOutput, echo, echo_error, echo_exception
from storage_manager.errors import StorageManagerError

__all__ = ["BROKEN_PIPE", "NAME", "Interrupted", "print_error", "run", "run_command_line"]

NAME = "storage-manager"
USAGE, STORAGE, BROKEN_PIPE = 2, 3, 128 + signal.SIGPIPE

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STARTING = 1.0  # seconds, in which a backend may still import modules; garbage is collected afterwards

Out = TypeVar("Out")


class Interrupted(Exception):  # noqa: N818 - not an error, like KeyboardInterrupt
    """Raised when a signal has cancelled the command and the work has ended.

    Attributes:
        number: the number of the signal.
        done: what was done until then, for the user. The command's Progress sets it.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number
        self.done = ""


# Every other exception is a bug of ours, and shows its traceback.
_EXPLAINED = (click.ClickException, click.Abort, Interrupted, KeyboardInterrupt, StorageManagerError, OSError)


def print_error(error: Exception | str, command: str | None = None) -> None:
    """Print one line on stderr. The advice of an error names options of this command."""
    echo(f"{NAME}: {in_terms_of(command, str(error))}", err=True)


def run(work: Coroutine[Any, Any, Out]) -> Out:
    """Run a coroutine and return its result. Ctrl+C cancels it and waits until it has ended; a second Ctrl+C kills.

    Raises:
        Interrupted: SIGINT, SIGTERM or SIGHUP arrived. SIGHUP stays ignored if `nohup` has ignored it.
    """
    return asyncio.run(_run_until_signal(work))


async def _run_until_signal(work: Coroutine[Any, Any, Out]) -> Out:
    task, received = asyncio.ensure_future(work), list[int]()
    asyncio.get_running_loop().call_later(_STARTING, gc.enable)

    def stop(number: int) -> None:
        received.append(number)
        task.cancel()

    for number in _SIGNALS:
        _handle_once(number, stop)
    try:
        return await task
    except asyncio.CancelledError:
        raise Interrupted(received[0]) from None


def _handle_once(number: int, stop: Callable[[int], None]) -> None:
    """Call a function when the signal arrives, unless it is a SIGHUP that is ignored. A second signal kills.

    A second SIGHUP is ignored: if a terminal is closed, both the shell and the kernel send one.
    """
    loop = asyncio.get_running_loop()

    def handle() -> None:
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN if number == signal.SIGHUP else signal.SIG_DFL)
        stop(number)

    if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
        loop.add_signal_handler(number, handle)


def run_command_line(cli: click.Command) -> int:
    """Run the command that `sys.argv` names, and return its exit code."""
    _prepare_stdout()
    with EscapedOutput():
        return _run_explained(cli)


def _run_explained(cli: click.Command) -> int:
    """Run the command. If it fails, print why, and return the exit code."""
    settings: dict[str, Any] = {}
    try:
        code = cli.main(prog_name=NAME, standalone_mode=False, obj=settings)
        sys.stdout.flush()
    except _EXPLAINED as error:
        if settings.get("debug"):
            echo_exception(error)
        code = _explain(error, settings.get("command"))
        _flush_stdout()
    return int(code or 0)


def _prepare_stdout() -> None:
    """Replace a stdout that the shell has closed, and escape characters that the terminal cannot show."""
    if sys.stdout is None:  # closed by `>&-`: the command still does its work and has an exit code
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - it stays open until the process ends
        atexit.register(sys.stdout.close)
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a page's title on an ASCII terminal


def _explain(error: BaseException, command: str | None) -> int:
    """Print why the command ended, and return its exit code."""
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE
    if isinstance(error, click.ClickException):
        echo_error(error)
        return error.exit_code
    if isinstance(error, (StorageManagerError, OSError)):
        print_error(error, command)
        return _code(error)
    print_error(": ".join(filter(None, ("interrupted", getattr(error, "done", "")))))
    return 128 + int(getattr(error, "number", signal.SIGINT))


def _code(error: Exception) -> int:
    """Return the exit code of an error. An argument that is refused before any I/O is wrong usage: it has no URL."""
    return USAGE if isinstance(error, ValueError) and getattr(error, "url", None) is None else STORAGE


def _flush_stdout() -> None:
    """Write the rest of the output. If its reader has closed it, keep the interpreter from trying again at its exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
