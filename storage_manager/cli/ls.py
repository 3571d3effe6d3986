"""The command `ls`."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import click

from storage_manager.aio import map_ahead
from storage_manager.backends import FileInfo
from storage_manager.cli.completion import complete_sessions
from storage_manager.cli.options import command, json_option, root_option
from storage_manager.cli.process import print_error, run
from storage_manager.cli.root import open_root, require_session, session_ids
from storage_manager.cli.terminal import echo, echo_lines
from storage_manager.cli.text import count, json_line, moment, size
from storage_manager.errors import StorageManagerError
from storage_manager.inventory import Summary, files_by_step, summarize
from storage_manager.layout import COMPONENTS, is_attachment_name
from storage_manager.storage import StorageManager

__all__ = ["ls"]

_SORTS = ("name", "size", "steps", "modified")


class _Selection(NamedTuple):
    """The sessions or steps to list, and their order."""

    prefix: str
    sort: str
    reverse: bool
    limit: int | None

    @property
    def needs_numbers(self) -> bool:
        """True if the order depends on more than the names."""
        return self.sort != "name"

    def sorted(self, rows: Iterable["_Row"]) -> list["_Row"]:
        """Return the rows in this order: names from A to Z, the largest and the newest first. Unknown numbers are last.

        Rows with the same number keep their order.
        """
        names = [*rows]
        if self.needs_numbers:
            names.sort(key=lambda row: row.number(self.sort), reverse=True)
        return names[:: -1 if self.reverse else 1][: self.limit]


class _Row(NamedTuple):
    """A session or a step; its numbers are None if they are not needed, or cannot be known."""

    name: str
    summary: Summary | None = None
    error: StorageManagerError | None = None
    files: Mapping[str, FileInfo] = {}  # of a step

    def number(self, sort: str) -> float:
        """Return the number by which the row is sorted."""
        if self.summary is None:
            return -1
        value = getattr(self.summary, sort)
        return value.timestamp() if isinstance(value, datetime) else -1 if value is None else float(value)


@dataclass
class _Totals:
    """The totals of the sessions that were listed. `unlisted` is the number of those that could not be listed."""

    sessions: int = 0
    steps: int = 0
    size: int = 0
    unlisted: int = 0

    def add(self, row: _Row) -> None:
        """Add a session."""
        self.sessions += 1
        self.unlisted += row.error is not None
        if row.summary:
            self.steps += row.summary.steps
            self.size += row.summary.size


@command(
    "ls",
    "ls --long",
    "ls --long --sort modified --limit 10",
    "ls --prefix run-2026-01-",
    "ls run-1 --long",
    "ls --json --root s3://bucket | head",
)
@root_option
@click.argument("session", shell_complete=complete_sessions, required=False)
@click.option("--long", "-l", "is_long", is_flag=True, help="Also print numbers of steps, sizes, times and totals.")
@click.option("--prefix", default="", metavar="TEXT", help="List only ids that begin with this.")
@click.option(
    "--sort",
    type=click.Choice(_SORTS),
    default="name",
    show_default=True,
    help="By name from A to Z; or first the largest, those with the most steps, or the newest.",
)
@click.option("--reverse", is_flag=True, help="List in the opposite order.")
@click.option("--limit", type=click.IntRange(min=0), metavar="NUMBER", help="List at most this many.")
@json_option
def ls(root: str | None, session: str | None, is_long: bool, as_json: bool, **selection: Any) -> int:
    """List the sessions, or the steps of one session.

    If the order is by name from A to Z, each line is printed as soon as it is known. With --long, prints a table with
    totals. If a session cannot be listed, the table has no numbers for it, and the exit code is 1.
    """
    if session is not None and selection["sort"] == "steps":
        raise click.UsageError("--sort steps is for sessions, and a session is named")
    unlisted = run(_ls(root, session, is_long, as_json, _Selection(**selection)))
    if unlisted:
        print_error(f"{count(unlisted, 'session')} could not be listed")
    return int(unlisted > 0)


async def _ls(root: str | None, session: str | None, is_long: bool, as_json: bool, selection: _Selection) -> int:
    """Print the list, and return how many sessions could not be listed."""
    async with open_root(root) as storage:
        if session is None:
            return await _print_sessions(storage, is_long, as_json, selection)
        await _print_steps(storage, session, is_long, as_json, selection)
    return 0


# --- sessions ------------------------------------------------------------------------------------------


async def _print_sessions(storage: StorageManager, is_long: bool, as_json: bool, selection: _Selection) -> int:
    has_table, totals = is_long and not as_json, _Totals()
    if has_table:
        echo(_session_line("STEPS", "SIZE", "MODIFIED", "SESSION"))
    async with aclosing(_selected(storage, is_long or selection.needs_numbers, selection)) as rows:
        async for row in rows:
            totals.add(row)
            if row.error:
                print_error(row.error)
            facts = _session_facts(storage, row, is_long)
            echo(json_line(facts) if as_json else _session_text(row) if is_long else row.name)
    if selection.prefix and not (totals.sessions or as_json or selection.limit == 0):
        echo(f"no session begins with {selection.prefix!r}", err=True)
    if has_table:
        echo(f"{count(totals.sessions, 'session')}, {count(totals.steps, 'step')}, {size(totals.size)}")
    return totals.unlisted


async def _selected(storage: StorageManager, has_numbers: bool, selection: _Selection) -> AsyncGenerator[_Row, None]:
    """Yield the sessions that are selected: at once, if they are listed from A to Z."""
    async with aclosing(_rows(storage, has_numbers, selection.prefix)) as rows:
        if selection.needs_numbers or selection.reverse:
            for row in selection.sorted([row async for row in rows]):
                yield row
            return
        left = selection.limit
        async for row in rows:
            if left == 0:
                return
            left = None if left is None else left - 1
            yield row


async def _rows(storage: StorageManager, has_numbers: bool, prefix: str) -> AsyncGenerator[_Row, None]:
    async def summarized(session_id: str) -> _Row:
        try:
            return _Row(session_id, await summarize(storage, session_id))
        except StorageManagerError as error:
            return _Row(session_id, error=error)

    names = session_ids(storage, prefix)
    if has_numbers:
        async with aclosing(map_ahead(summarized, names, 16)) as rows:
            async for row in rows:
                yield row
        return
    async with aclosing(names):
        async for name in names:
            yield _Row(name)


def _session_line(steps: str, bytes_: str, modified: str, name: str) -> str:
    return f"{steps:>10}  {bytes_:>9}  {modified:<20}  {name}"


def _session_text(row: _Row) -> str:
    if row.summary is None:
        return _session_line("unreadable", "-", "-", row.name)
    steps, number, modified = row.summary
    return _session_line(str(steps), size(number), moment(modified) or "-", row.name)


def _session_facts(storage: StorageManager, row: _Row, is_long: bool) -> dict[str, Any]:
    facts: dict[str, Any] = {"session_id": row.name, "url": storage.url_for(row.name)}
    if is_long and row.error:
        facts["error"] = str(row.error)
    if is_long and row.summary:
        steps, number, modified = row.summary
        facts |= {"steps": steps, "size": number, "modified": moment(modified)}
    return facts


# --- steps ---------------------------------------------------------------------------------------------


async def _print_steps(
    storage: StorageManager, session_id: str, is_long: bool, as_json: bool, selection: _Selection
) -> None:
    step_ids, unlisted = await require_session(storage, session_id), list[StorageManagerError]()
    has_numbers = is_long or selection.needs_numbers
    files = await files_by_step(storage, session_id, unlisted) if has_numbers else {}
    for error in unlisted:
        print_error(error)
    rows = [_step_row(name, files.get(name, {})) for name in step_ids if name.startswith(selection.prefix)]
    rows = selection.sorted(rows)
    if selection.prefix and not (rows or as_json or selection.limit == 0):
        echo(f"no step begins with {selection.prefix!r}", err=True)
    if as_json:
        echo_lines(json_line(_step_facts(storage, session_id, row, is_long)) for row in rows)
    elif is_long:
        _print_table(rows)
    else:
        echo_lines(row.name for row in rows)


def _step_row(step_id: str, files: Mapping[str, FileInfo]) -> _Row:
    modified = max(filter(None, (file.modified for file in files.values())), default=None)
    return _Row(step_id, Summary(1, sum(file.size for file in files.values()), modified), files=files)


def _print_table(rows: Sequence[_Row]) -> None:
    width = max([len(row.name) for row in rows] + [len("STEP")])
    names = [*(f"{row.name.upper():>10}" for row in COMPONENTS), "ATTACHMENTS"]
    has_attachments = any(_attachment_sizes(row.files) for row in rows)
    echo("  ".join([f"{'STEP':<{width}}", *names[: None if has_attachments else -1]]))
    for row in rows:
        echo(f"{row.name:<{width}}  {_step_text(row)}".rstrip())
    echo(f"{count(len(rows), 'step')}, {size(sum(row.summary.size for row in rows if row.summary))}")


def _step_text(row: _Row) -> str:
    sizes, others = _component_sizes(row.files), _attachment_sizes(row.files)
    cells = [f"{size(sizes[spec.name]) if spec.name in sizes else '-':>10}" for spec in COMPONENTS]
    return "  ".join([*cells, ", ".join(f"{name} {size(number)}" for name, number in others.items())])


def _step_facts(storage: StorageManager, session_id: str, row: _Row, is_long: bool) -> dict[str, Any]:
    facts: dict[str, Any] = {"session_id": session_id, "step_id": row.name}
    facts["url"] = storage.url_for(session_id, row.name)
    if is_long:
        others = _attachment_sizes(row.files)
        facts |= {"components": _component_sizes(row.files), **({"attachments": others} if others else {})}
    return facts


def _component_sizes(files: Mapping[str, FileInfo]) -> dict[str, int]:
    return {row.name: files[row.filename].size for row in COMPONENTS if row.filename in files}


def _attachment_sizes(files: Mapping[str, FileInfo]) -> dict[str, int]:
    return {name: file.size for name, file in files.items() if is_attachment_name(name)}
