"""Show the progress of a command on stderr: a bar on a terminal, otherwise a line every few seconds."""

import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any

from storage_manager.cli.process import Interrupted
from storage_manager.cli.terminal import echo, showing
from storage_manager.cli.text import count

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Progress"]

SECONDS = 5  # between two lines


class Progress:
    """A `progress` argument for the library, which shows the progress during a `with` block.

    If the block is interrupted, `Interrupted.done` is set to what was done.

    Parameters:
        doing, did: the verb for items that are being handled and for those that are done: "copying" and "copied".
        unit: the name of one item.
        advice: what a user who has interrupted the command can do.
    """

    def __init__(
        self,
        doing: str,
        did: str,
        *,
        unit: str = "step",
        quiet: bool = False,
        advice: str = "run it again to continue",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._doing, self.did, self._unit, self._advice, self._clock = doing, did, unit, advice, clock
        self.done = 0
        self.total: int | None = None
        self._started = self._last_line_at = clock()
        self._lines = 0
        self._quiet = quiet
        is_terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._bar = _bar(doing) if is_terminal and not quiet else None
        self._shown = ExitStack()

    def __enter__(self) -> "Self":
        if self._bar:
            self._shown.enter_context(showing(self._bar))
        return self

    def __exit__(self, cls: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._shown.close()
        if self._lines:
            self._print_line()
        if isinstance(error, Interrupted):
            error.done = f"{self._done_of_total()} {self.did}; {self._advice}"

    def __call__(self, done: int, total: int | None) -> None:
        """Show that `done` items of `total` are done; the total may be None, if it is not known."""
        self.done, self.total = done, self.total if total is None else total
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=done, total=self.total, rate=self._rate())
        elif not self._quiet and self._clock() - self._last_line_at >= SECONDS:
            self._print_line()

    def _print_line(self) -> None:
        left = f", {self._seconds_left():.0f} s left" if self.total and self.done else ""
        echo(f"{self._doing}: {self._done_of_total()}, {self._rate()}{left}", err=True)
        self._last_line_at = self._clock()
        self._lines += 1

    def _done_of_total(self) -> str:
        return count(self.done, self._unit) if self.total is None else f"{self.done} of {count(self.total, self._unit)}"

    def _seconds(self) -> float:
        return max(self._clock() - self._started, 1e-3)

    def _rate(self) -> str:
        return f"{self.done / self._seconds():.1f} {self._unit}s/s"

    def _seconds_left(self) -> float:
        return ((self.total or 0) - self.done) * self._seconds() / self.done


def _bar(doing: str) -> Any:
    """Return a bar that disappears when it is stopped. rich omits colours if NO_COLOR is set."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    text = TextColumn("{task.fields[rate]}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), text, TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False)
    bar.add_task(doing, total=None, rate="")
    return bar
