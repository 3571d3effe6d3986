"""Print on the terminal. Everything that a command prints goes through `echo`, which escapes it.

The output contains text that others wrote: a page's title, a service's message, the name of a file. A terminal obeys
control sequences in it, and a line break in it would look like a line of ours. So commands call no `click.echo` and no
`print`, and log records, warnings and tracebacks are printed here too. A test compares this rule with the code.
"""

import logging
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

import click

from storage_manager.cli.advice import in_terms_of

__all__ = [
    "Bar",
    "EscapedOutput",
    "confirm",
    "echo",
    "echo_bytes",
    "echo_error",
    "echo_exception",
    "echo_lines",
    "escape",
    "showing",
    "take_hooks",
]


def escape(text: str) -> str:
    """Return a text as one line of printable characters; every other character is shown as in Python source.

    Escaped are control characters (C0, C1, DEL), line breaks, characters that change the direction of text or cannot be
    seen, and lone surrogates.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


class Bar(Protocol):
    """Something that draws on the terminal until it is stopped."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


_bars: list[Bar] = []  # those that are shown


@contextmanager
def showing(bar: Bar) -> Iterator[None]:
    """Show a bar during a block. Each line that is printed meanwhile replaces it, and is followed by it."""
    bar.start()
    _bars.append(bar)
    try:
        yield
    finally:
        _bars.remove(bar)
        bar.stop()


def echo(text: str, *, err: bool = False) -> None:
    """Print one line on stdout, or on stderr."""
    bars = list(_bars)
    for bar in bars:
        bar.stop()
    click.echo(escape(text), err=err)
    for bar in bars:
        bar.start()


def echo_lines(lines: Iterable[str], *, err: bool = False) -> None:
    """Print lines that the caller has divided itself."""
    for line in lines:
        echo(line, err=err)


def echo_bytes(data: bytes) -> None:
    """Write stored bytes to stdout: unchanged to a file or a pipe, and as escaped lines to a terminal."""
    if sys.stdout.isatty():
        echo_lines(data.decode(errors="backslashreplace").removesuffix("\n").split("\n"))
    else:
        click.echo(data, nl=False)


def confirm(question: str) -> bool:
    """Ask on stderr; return True for yes."""
    return click.confirm(escape(question), err=True)


def echo_error(error: click.ClickException) -> None:
    """Print click's usage, if the error has it, and then the error as one line. Without a command, print the help."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        echo_lines(error.format_message().split("\n"), err=True)
        return
    context = getattr(error, "ctx", None)
    if context is not None:
        echo_lines(context.get_usage().split("\n"), err=True)
        echo(f"Try '{context.command_path} {context.help_option_names[0]}' for help.", err=True)
        echo("", err=True)
    message = error.format_message()
    if isinstance(error, click.MissingParameter):  # click lists the choices in lines of their own
        message = " ".join(message.split())
    echo(f"Error: {message}", err=True)


def echo_exception(error: BaseException) -> None:
    """Print a traceback on stderr. The text of an exception is one line, however many line breaks it has."""
    echo_lines(_lines_of(error), err=True)


def _lines_of(error: BaseException) -> Iterator[str]:
    shown = traceback.TracebackException.from_exception(error)
    for one in _chain(shown):
        _escape_details(one)
    for part in shown.format():
        # a place in the code has the lines of the code below it, and a heading has empty lines around it
        is_ours = part.startswith((" ", "\n", "Traceback "))
        text = part.removesuffix("\n")
        yield from text.split("\n") if is_ours else [text]


def _chain(shown: traceback.TracebackException) -> list[traceback.TracebackException]:
    """Return what is shown of an error, of its causes and contexts, and of the errors of a group."""
    chain = [shown]
    for one in chain:
        others = (one.__cause__, one.__context__, *(getattr(one, "exceptions", None) or ()))
        chain += [other for other in others if other is not None]
    return chain


def _escape_details(shown: traceback.TracebackException) -> None:
    """Escape what is shown in lines of its own: the notes of an error, and the file and the text of a SyntaxError."""
    notes = getattr(shown, "__notes__", None)  # since Python 3.11
    if isinstance(notes, (list, tuple)):
        setattr(shown, "__notes__", [escape(str(note)) for note in notes])  # noqa: B010 - Python 3.10 has no such name
    for name in ("filename", "text"):
        value = getattr(shown, name, None)
        if isinstance(value, str):
            setattr(shown, name, escape(value.removesuffix("\n")))


def take_hooks() -> None:
    """Print the errors that no command sees through `echo` too: of threads, of finalizers, and at the process's end."""
    sys.excepthook = lambda kind, error, trace: echo_exception(error)
    threading.excepthook = lambda hook: _echo_unseen(f"Exception in {hook.thread and hook.thread.name}", hook.exc_value)
    sys.unraisablehook = lambda hook: _echo_unseen(hook.err_msg or "Exception ignored", hook.exc_value)


def _echo_unseen(where: str, error: BaseException | None) -> None:
    if error is not None and not isinstance(error, SystemExit):
        echo(f"{where}:", err=True)
        echo_exception(error)


class _Records(logging.Handler):
    """Prints log records on stderr, as Python does if no handler is configured, but escaped."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):  # nobody reads stderr any more
            echo(_message(record), err=True)
            if record.exc_info and record.exc_info[1]:
                echo_exception(record.exc_info[1])


def _message(record: logging.LogRecord) -> str:
    """Return the text of a record, or its format if the arguments do not fit: a record must not end a command."""
    try:
        return in_terms_of(None, record.getMessage()).removesuffix("\n")
    except (TypeError, ValueError, LookupError):
        return str(record.msg)


class EscapedOutput:
    """In a `with` block, print log records, warnings, and the traceback of an unexpected error through `echo`.

    Raises:
        SystemExit: the block raised an error, which is a bug of ours: its traceback was printed. Or it raised a
            SystemExit with a text, which was printed.
    """

    def __init__(self) -> None:
        self._records = _Records(logging.WARNING)

    def __enter__(self) -> None:
        logging.captureWarnings(True)
        logging.getLogger().addHandler(self._records)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        logging.getLogger().removeHandler(self._records)
        logging.captureWarnings(False)
        if isinstance(error, SystemExit) and isinstance(error.code, str):
            echo(error.code, err=True)  # Python would print it
            raise SystemExit(1) from None
        if error is not None and not isinstance(error, SystemExit):
            echo_exception(error)
            raise SystemExit(1) from None
