"""How far a command is, on stderr: a bar on a terminal, else a line now and then."""

import os
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from storage_manager.cli.process import Interrupted
from storage_manager.cli.text import count

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Progress"]

SECONDS = 5  # between two lines


class Progress:
    """A `progress` argument of the library, shown for the time of a `with` block; an interruption learns how far.

    Parameters:
        doing, did: "copying" and "copied": what happens to the things, and what has happened to them.
        unit: what is counted, in the singular.
        again: what an interrupted user is told to do.
    """

    def __init__(
        self,
        doing: str,
        did: str,
        *,
        unit: str = "step",
        quiet: bool = False,
        again: str = "run it again to go on",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._doing, self.did, self._unit, self._again, self._clock = doing, did, unit, again, clock
        self.done = 0
        self.total: int | None = None
        self._began = self._spoke = clock()
        self._lines = 0
        self._quiet = quiet
        is_terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._bar = _bar(doing) if is_terminal and not quiet else None

    def __enter__(self) -> "Self":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, cls: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()
        elif self._lines:
            self._line()
        if isinstance(error, Interrupted):
            error.done = f"{self._so_far()} {self.did}; {self._again}"

    def __call__(self, done: int, total: int | None) -> None:
        """So many are done, of so many."""
        self.done, self.total = done, self.total if total is None else total
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=done, total=self.total, rate=self._rate())
        elif not self._quiet and self._clock() - self._spoke >= SECONDS:
            self._line()

    def echo(self, text: str) -> None:
        """A line of the command's own output, which no bar may break."""
        if self._bar:
            self._bar.stop()
        click.echo(text)
        if self._bar:
            self._bar.start()

    def _line(self) -> None:
        left = f", {self._left():.0f} s left" if self.total and self.done else ""
        click.echo(f"{self._doing}: {self._so_far()}, {self._rate()}{left}", err=True)
        self._spoke = self._clock()
        self._lines += 1

    def _so_far(self) -> str:
        return count(self.done, self._unit) if self.total is None else f"{self.done} of {count(self.total, self._unit)}"

    def _seconds(self) -> float:
        return max(self._clock() - self._began, 1e-3)

    def _rate(self) -> str:
        return f"{self.done / self._seconds():.1f} {self._unit}s/s"

    def _left(self) -> float:
        return ((self.total or 0) - self.done) * self._seconds() / self.done


def _bar(doing: str) -> Any:
    """A bar that goes when it is done; rich leaves out the colours where NO_COLOR is set."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    text = TextColumn("{task.fields[rate]}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), text, TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False)
    bar.add_task(doing, total=None, rate="")
    return bar
