"""The one door to the terminal: everything that a command prints goes through `echo`, which escapes it.

What is printed contains text of strangers: a page's title, a service's message, the name of a file. A terminal obeys
control sequences in it, and a line break in it would look like a line of ours. So commands call no `click.echo` and no
`print`, and log records, warnings and tracebacks come here too. A test compares this rule with the code.
"""

import logging
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import suppress

import click

__all__ = ["Door", "confirm", "echo", "echo_bytes", "echo_error", "echo_exception", "echo_lines", "escape"]


def escape(text: str) -> str:
    """Return a text as one line of printable characters; every other character is shown as in Python source.

    Escaped are control characters (C0, C1, DEL), line breaks, characters that change the direction of text or cannot be
    seen, and lone surrogates.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def echo(text: str, *, err: bool = False) -> None:
    """Print one line on stdout, or on stderr."""
    click.echo(escape(text), err=err)


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
    """Print click's usage, if the error has it, and then the error as one line."""
    context = getattr(error, "ctx", None)
    if context is not None:
        echo_lines(context.get_usage().split("\n"), err=True)
        echo(f"Try '{context.command_path} {context.help_option_names[0]}' for help.", err=True)
        echo("", err=True)
    echo(f"Error: {error.format_message()}", err=True)


def echo_exception(error: BaseException) -> None:
    """Print a traceback on stderr. The text of an exception is one line, however many line breaks it has."""
    echo_lines(_lines_of(error), err=True)


def _lines_of(error: BaseException) -> Iterator[str]:
    for part in traceback.TracebackException.from_exception(error).format():
        # a place in the code has the lines of the code below it, and a heading has empty lines around it
        is_ours = part.startswith((" ", "\n", "Traceback "))
        text = part.removesuffix("\n")
        yield from text.split("\n") if is_ours else [text]


class _Records(logging.Handler):
    """Prints log records on stderr, as Python does if no handler is configured, but escaped."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):  # nobody reads stderr any more
            echo(record.getMessage().removesuffix("\n"), err=True)
            if record.exc_info and record.exc_info[1]:
                echo_exception(record.exc_info[1])


class Door:
    """Print log records, warnings, and the traceback of an error that nobody expected, through `echo`, in a block.

    Raises:
        SystemExit: the block raised an error, which is a bug of ours: its traceback was printed.
    """

    def __init__(self) -> None:
        self._records = _Records(logging.WARNING)

    def __enter__(self) -> None:
        logging.captureWarnings(True)
        logging.getLogger().addHandler(self._records)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        logging.getLogger().removeHandler(self._records)
        logging.captureWarnings(False)
        if isinstance(error, Exception):
            echo_exception(error)
            raise SystemExit(1) from None
