"""Commands that look at a place, and change nothing: info, check, ls, show, share."""

import os
from collections.abc import Mapping
from contextlib import aclosing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from storage_manager.aio import map_ahead
from storage_manager.cli.place import (
    command,
    found_at,
    json_option,
    local_root,
    open_place,
    require_session,
    root_option,
)
from storage_manager.cli.process import run
from storage_manager.cli.show import show
from storage_manager.cli.text import as_json as line
from storage_manager.cli.text import columns, count, duration, moment, size
from storage_manager.inventory import files_by_step, summarize
from storage_manager.layout import COMPONENTS
from storage_manager.storage import StorageManager

__all__ = ["check", "info", "ls", "share", "show"]


@command("info", "info --json --root s3://bucket/prefix")
@root_option
@json_option
def info(root: str | None, as_json: bool) -> None:
    """Say which place this is. Nothing is asked or created."""
    facts = _facts(root)
    if as_json:
        click.echo(line(facts))
    else:
        click.echo(columns([(name, "-" if value is None else str(value)) for name, value in facts.items()]))


def _facts(root: str | None) -> dict[str, Any]:
    directory = local_root(root)
    if directory is None:
        storage = open_place(root)
        options = storage.storage_options
        return {"url": storage.url_for(), **storage.get_storage_info(), "endpoint_url": options.get("endpoint_url")}
    s3 = {"uses_s3": False, "s3_bucket": None, "s3_region": None}
    local = {"local_base_path": directory, "effective_storage_type": "Local", "exists": os.path.isdir(directory)}
    return {"url": directory, **s3, **local}


@command("check", "check --root s3://bucket/prefix")
@root_option
def check(root: str | None) -> None:
    """Prove that the place can be used, or say what is wrong.

    One probe is listed, written, read and deleted. What is wrong, and what to do about it, is the error.
    """
    missing = _missing(local_root(root))
    try:
        url = run(_check(root))
    finally:
        for path in missing:  # looking changes nothing, and a typing error stays one
            with suppress(OSError):  # not created, or used by somebody meanwhile
                path.rmdir()
    can = "is not there yet, and can be created" if missing else "can be listed"
    click.echo(f"{url} {can}, written, read and deleted")


def _missing(directory: str | None) -> list[Path]:
    """What a manager would create of a directory and its parents, the deepest first."""
    return [path for path in (Path(directory), *Path(directory).parents) if not path.exists()] if directory else []


async def _check(root: str | None) -> str:
    async with open_place(root, is_new=True) as storage:
        await storage.check()
        return storage.url_for()


@command("ls", "ls --long", "ls run-1 --long", "ls --json --root s3://bucket | head")
@root_option
@click.argument("session", required=False)
@click.option("--long", "-l", "is_long", is_flag=True, help="Steps, sizes and times too.")
@json_option
def ls(root: str | None, session: str | None, is_long: bool, as_json: bool) -> None:
    """List the sessions, or the steps of one, as they come."""
    run(_ls(root, session, is_long, as_json))


async def _ls(root: str | None, session: str | None, is_long: bool, as_json: bool) -> None:
    async with open_place(root) as storage:
        if session is not None:
            await (_steps_long if is_long else _steps)(storage, session, as_json)
        else:
            await (_sessions_long if is_long else _sessions)(storage, as_json)


async def _sessions(storage: StorageManager, as_json: bool) -> None:
    async for session_id in storage.iter_sessions():
        click.echo(line({"session_id": session_id, "url": storage.url_for(session_id)}) if as_json else session_id)


async def _sessions_long(storage: StorageManager, as_json: bool) -> None:
    async def look(session_id: str) -> tuple[str, int, int, str | None]:
        steps, total, modified = await summarize(storage, session_id)
        return session_id, steps, total, moment(modified)

    async with aclosing(map_ahead(look, storage.iter_sessions(), 16)) as rows:
        async for session_id, steps, total, modified in rows:
            facts = {"steps": steps, "size": total, "modified": modified}
            text = f"{count(steps, 'step'):>12}  {size(total):>9}  {modified or '-':<20}  {session_id}"
            url = storage.url_for(session_id)
            click.echo(line({"session_id": session_id, "url": url, **facts}) if as_json else text)


async def _steps(storage: StorageManager, session_id: str, as_json: bool) -> None:
    for step_id in await require_session(storage, session_id):
        facts = {"session_id": session_id, "step_id": step_id, "url": storage.url_for(session_id, step_id)}
        click.echo(line(facts) if as_json else step_id)


async def _steps_long(storage: StorageManager, session_id: str, as_json: bool) -> None:
    step_ids, found = await require_session(storage, session_id), await files_by_step(storage, session_id)
    for step_id in step_ids:
        files = found.get(step_id, {})
        facts = {"session_id": session_id, "step_id": step_id, "url": storage.url_for(session_id, step_id)}
        sizes: dict[str, int] = {row.name: files[row.filename].size for row in COMPONENTS if row.filename in files}
        click.echo(line({**facts, "components": sizes}) if as_json else _step_text(step_id, sizes))


def _step_text(step_id: str, sizes: Mapping[str, int]) -> str:
    cells = [f"{row.name} {size(sizes[row.name]) if row.name in sizes else '-':>9}" for row in COMPONENTS]
    return f"{step_id}  {'  '.join(cells)}"


@command("share run-1 step_000001", "share run-1 step_000001 --expires 7d --json")
@root_option
@click.argument("session")
@click.argument("step")
@click.option("--expires", callback=duration, default="1h", show_default=True, help="For how long, on S3: up to 7d.")
@json_option
def share(root: str | None, session: str, step: str, expires: timedelta, as_json: bool) -> None:
    """Print links to the components of a step.

    A browser opens them without credentials. On S3 whoever has the link may read until it expires; on local disk it
    is a file:// link.
    """
    links = run(_share(root, session, step, expires))
    if as_json:
        click.echo(line({"session_id": session, "step_id": step, **links}))
    else:
        click.echo(columns([(row.name, links[row.path_key] or "-") for row in COMPONENTS]))


async def _share(root: str | None, session: str, step: str, expires: timedelta) -> dict[str, str | None]:
    async with open_place(root) as storage:
        await found_at(storage, session, step)
        return await storage.get_share_links(session, step, expires)
