"""The command `ls`."""

from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

import click

from storage_manager.aio import map_ahead
from storage_manager.backends import FileInfo
from storage_manager.cli.options import command, json_option, root_option
from storage_manager.cli.process import print_error, run
from storage_manager.cli.root import open_root, require_session
from storage_manager.cli.terminal import echo
from storage_manager.cli.text import count, json_line, moment, size
from storage_manager.errors import StorageManagerError
from storage_manager.inventory import Summary, files_by_step, summarize
from storage_manager.layout import COMPONENTS, is_attachment_name
from storage_manager.storage import StorageManager

__all__ = ["ls"]


@command("ls", "ls --long", "ls run-1 --long", "ls --json --root s3://bucket | head")
@root_option
@click.argument("session", required=False)
@click.option("--long", "-l", "is_long", is_flag=True, help="Also print numbers of steps, sizes and times.")
@json_option
def ls(root: str | None, session: str | None, is_long: bool, as_json: bool) -> int:
    """List the sessions, or the steps of one session.

    Prints each line as soon as it is known. With --long, a session that cannot be listed has no numbers, and the exit
    code is 1.
    """
    unlisted = run(_ls(root, session, is_long, as_json))
    if unlisted:
        print_error(f"{count(unlisted, 'session')} could not be listed")
    return int(unlisted > 0)


async def _ls(root: str | None, session: str | None, is_long: bool, as_json: bool) -> int:
    """Print the list, and return how many sessions could not be listed."""
    async with open_root(root) as storage:
        if session is None and is_long:
            return await _print_sessions_long(storage, as_json)
        if session is None:
            await _print_sessions(storage, as_json)
        else:
            await (_print_steps_long if is_long else _print_steps)(storage, session, as_json)
    return 0


async def _print_sessions(storage: StorageManager, as_json: bool) -> None:
    async for session_id in storage.iter_sessions():
        echo(json_line(_session_facts(storage, session_id)) if as_json else session_id)


async def _print_sessions_long(storage: StorageManager, as_json: bool) -> int:
    async def summarized(session_id: str) -> tuple[str, Summary | StorageManagerError]:
        try:
            return session_id, await summarize(storage, session_id)
        except StorageManagerError as error:
            return session_id, error

    unlisted = 0
    async with aclosing(map_ahead(summarized, storage.iter_sessions(), 16)) as summaries:
        async for session_id, found in summaries:
            if isinstance(found, StorageManagerError):
                unlisted += 1
                print_error(found)
                facts: dict[str, Any] = {"error": str(found)}
                text = _session_text(session_id, "unreadable", "-", None)
            else:
                modified = moment(found.modified)
                facts = {"steps": found.steps, "size": found.size, "modified": modified}
                text = _session_text(session_id, count(found.steps, "step"), size(found.size), modified)
            echo(json_line({**_session_facts(storage, session_id), **facts}) if as_json else text)
    return unlisted


def _session_text(session_id: str, steps: str, bytes_: str, modified: str | None) -> str:
    return f"{steps:>12}  {bytes_:>9}  {modified or '-':<20}  {session_id}"


async def _print_steps(storage: StorageManager, session_id: str, as_json: bool) -> None:
    for step_id in await require_session(storage, session_id):
        echo(json_line(_step_facts(storage, session_id, step_id)) if as_json else step_id)


async def _print_steps_long(storage: StorageManager, session_id: str, as_json: bool) -> None:
    step_ids, unlisted = await require_session(storage, session_id), list[StorageManagerError]()
    steps = await files_by_step(storage, session_id, unlisted)
    for error in unlisted:
        print_error(error)
    for step_id in step_ids:
        sizes = _component_sizes(steps.get(step_id, {}))
        others = _attachment_sizes(steps.get(step_id, {}))
        facts = {
            **_step_facts(storage, session_id, step_id),
            "components": sizes,
            **({"attachments": others} if others else {}),
        }
        echo(json_line(facts) if as_json else _step_text(step_id, {**sizes, **others}))


def _session_facts(storage: StorageManager, session_id: str) -> dict[str, Any]:
    return {"session_id": session_id, "url": storage.url_for(session_id)}


def _step_facts(storage: StorageManager, session_id: str, step_id: str) -> dict[str, Any]:
    return {"session_id": session_id, "step_id": step_id, "url": storage.url_for(session_id, step_id)}


def _component_sizes(files: Mapping[str, FileInfo]) -> dict[str, int]:
    return {row.name: files[row.filename].size for row in COMPONENTS if row.filename in files}


def _attachment_sizes(files: Mapping[str, FileInfo]) -> dict[str, int]:
    return {name: file.size for name, file in files.items() if is_attachment_name(name)}


def _step_text(step_id: str, sizes: Mapping[str, int]) -> str:
    cells = [f"{row.name} {size(sizes[row.name]) if row.name in sizes else '-':>9}" for row in COMPONENTS]
    others = [f"{name} {size(number)}" for name, number in sizes.items() if is_attachment_name(name)]
    return "  ".join([step_id, *cells, *others])
