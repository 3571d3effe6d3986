"""Commands that move sessions, or remove them: get, put, cp, rm, purge."""

import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import click

from storage_manager.cli.place import command, found_at, open_place, quiet_option, require_session, root_option
from storage_manager.cli.process import run
from storage_manager.cli.progress import Progress
from storage_manager.cli.text import age, count, size
from storage_manager.errors import InvalidDataError
from storage_manager.inventory import list_files, summarize
from storage_manager.layout import COMPONENTS, is_component, is_id
from storage_manager.transfer import copy_sessions, purging

__all__ = ["cp", "get", "purge", "put", "rm"]


class _End(NamedTuple):
    """One end of a copy: its URL, None for that of the SM_* variables, and what its manager is told."""

    root: str | None
    options: dict[str, Any] = {}  # noqa: RUF012 - nobody writes to it


_YES = click.option("--yes", "-y", is_flag=True, help="Do not ask.")
_DIRECTORY = click.Path(exists=True, file_okay=False)


@command("get run-1 copies/", "get run-1 copies/ --root s3://bucket", "ls run-1 --root copies/")
@root_option
@click.argument("session")
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False))
@quiet_option
def get(root: str | None, session: str, directory: str, quiet: bool) -> None:
    """Copy a session into a directory.

    It becomes DIR/SESSION/STEP/... What is there already with the same bytes is not fetched again. DIR is a place
    like every other: --root DIR.
    """
    _copy(_End(root), _End(directory), [session], quiet)


@command("put recordings/", "put recordings/run-1 --root s3://bucket/prefix")
@root_option
@click.argument("directory", metavar="DIR", type=_DIRECTORY)
@quiet_option
def put(root: str | None, directory: str, quiet: bool) -> None:
    """Copy a directory of sessions, or one session, to the place.

    DIR holds sessions (DIR/SESSION/STEP/observation.html ...), or is itself a session (DIR/STEP/observation.html ...),
    which keeps its name. What is there already with the same bytes is not sent again.
    """
    source, sessions = _sessions_in(Path(os.path.abspath(directory)))
    _copy(_End(str(source)), _End(root), sessions, quiet)


@command("cp /data s3://bucket/archive", "cp s3://bucket /data run-1 run-2")
@click.argument("source", metavar="SOURCE_URL")
@click.argument("target", metavar="TARGET_URL")
@click.argument("sessions", metavar="[SESSION]...", nargs=-1)
@click.option("--source-endpoint", metavar="URL", help="Of S3 at the source; else SM_S3_ENDPOINT_URL.")
@click.option("--target-endpoint", metavar="URL", help="Of S3 at the target; else SM_S3_ENDPOINT_URL.")
@click.option("--source-profile", metavar="NAME", help="Whose credentials are used at the source.")
@click.option("--target-profile", metavar="NAME", help="Whose credentials are used at the target.")
@quiet_option
def cp(source: str, target: str, sessions: tuple[str, ...], quiet: bool, **ends: str | None) -> None:
    """Copy sessions, or all, between any two places.

    Byte for byte. Interrupted, or after a failure, run it again: what is there with the same bytes is not sent a
    second time. Nothing at the source changes, and what only the target has stays there.
    """
    _copy(_end(source, ends, "source"), _end(target, ends, "target"), list(sessions) or None, quiet)


def _end(url: str, ends: dict[str, str | None], end: str) -> _End:
    endpoint, profile = ends[f"{end}_endpoint"], ends[f"{end}_profile"]
    if (endpoint or profile) and not url.lower().startswith(("s3://", "s3a://")):
        raise click.UsageError(f"--{end}-endpoint and --{end}-profile are of S3, which the {end} is not")
    return _End(url, {"s3_endpoint_url": endpoint, "storage_options": {"profile": profile} if profile else None})


def _sessions_in(directory: Path) -> tuple[Path, list[str] | None]:
    """The place that a directory is, or is in, and which of its sessions are meant: None for all."""
    if _is_step(directory):
        raise click.UsageError(f"{directory} is a single step: give the directory of its session")
    children = (child for child in directory.iterdir() if is_id(child.name))
    if any(map(_is_step, islice(children, 100))):
        return directory.parent, [directory.name]
    return directory, None


def _is_step(directory: Path) -> bool:
    return any((directory / row.filename).is_file() for row in COMPONENTS)


def _copy(source: _End, target: _End, sessions: Sequence[str] | None, quiet: bool) -> None:
    with Progress("copying", "copied", quiet=quiet) as progress:
        copied = run(_copied(source, target, sessions, progress))
    same = progress.done - copied
    click.echo(f"{count(copied, 'step')} copied" + (f", {same} were there already" if same else ""))


async def _copied(source: _End, target: _End, sessions: Sequence[str] | None, progress: Progress) -> int:
    """The target is opened when the source has what is named: it may be created by that."""
    async with open_place(source.root, **source.options) as here:
        for session_id in sessions or ():
            await require_session(here, session_id)
        if sessions is None and await anext(aiter(here.iter_sessions()), None) is None:
            raise _nothing_at(here.url_for())
        async with open_place(target.root, is_new=True, **target.options) as there:
            copied = await copy_sessions(here, there, sessions, progress=progress)
        if not progress.done:
            raise _nothing_at(here.url_for())
        return copied


def _nothing_at(url: str) -> InvalidDataError:
    return InvalidDataError(f"there are no sessions at {url}: nothing was copied", operation="copy", url=url)


@command("rm run-1", "rm run-1 step_000002 --yes")
@root_option
@click.argument("session")
@click.argument("step", required=False)
@_YES
def rm(root: str | None, session: str, step: str | None, yes: bool) -> None:
    """Delete a session, or one of its steps.

    And prove that nothing is left. It asks first; without a terminal to ask on it needs --yes. A session whose last
    step goes, goes with it.
    """
    what = run(_described(root, session, step))
    if not yes and not (sys.stdin and sys.stdin.isatty()):  # None where the shell has closed it
        raise click.UsageError(f"it would delete {what}: give --yes")
    if yes or click.confirm(f"Delete {what}?", err=True):
        run(_delete(root, session, step))
        click.echo(f"deleted {what}")


async def _described(root: str | None, session: str, step: str | None) -> str:
    async with open_place(root) as storage:
        if step is not None:
            files = await found_at(storage, session, step)
            _refuse_foreign(storage.url_for(session, step), map(f"{step}/{{}}".format, files))
            return f"{storage.url_for(session, step)} ({size(sum(found.size for found in files.values()))})"
        await require_session(storage, session)
        _refuse_foreign(storage.url_for(session), [found.name async for found in list_files(storage, session)])
        steps, total, _ = await summarize(storage, session)
        return f"{storage.url_for(session)} ({count(steps, 'step')}, {size(total)})"


def _refuse_foreign(url: str, names: Iterable[str]) -> None:
    """With a root one level too high, a place looks like a session, and a project's source like one too."""
    if not any(map(is_component, names)):
        why = f"{url} holds no component of a step: it is none of ours, and nothing was deleted"
        raise InvalidDataError(why, operation="delete", url=url)


async def _delete(root: str | None, session: str, step: str | None) -> None:
    async with open_place(root) as storage:
        await (storage.delete_session(session) if step is None else storage.delete_step(session, step))


@command("purge --older-than 30d", "purge --older-than 2026-01-01 --yes --root s3://bucket")
@root_option
@click.option("--older-than", callback=age, required=True, metavar="AGE|DATE", help="12h, 30d, 2w, or a date (UTC).")
@click.option("--yes", "-y", is_flag=True, help="Delete them.")
@quiet_option
def purge(root: str | None, older_than: datetime | timedelta, yes: bool, quiet: bool) -> None:
    """Name the sessions that are old; with --yes, delete them.

    Old are those to which nothing was written since then. Each is looked at once more before it is deleted: one
    that is written to meanwhile stays.
    """
    purged: list[str] = []
    with Progress("looking", "looked at", unit="session", quiet=quiet) as progress:
        try:
            run(_purge(root, older_than, yes, purged, progress))
        finally:
            progress.did = f"looked at, {len(purged)} {'deleted' if yes else 'of them old'}"
    sessions = count(len(purged), "session")
    click.echo(f"{sessions} deleted" if yes else f"{sessions} would be deleted; --yes deletes")


async def _purge(
    root: str | None, older_than: datetime | timedelta, yes: bool, purged: list[str], progress: Progress
) -> None:
    async with open_place(root) as storage:
        old = purging(storage, older_than, dry_run=not yes, progress=progress)
        async with aclosing(old) as sessions:
            async for session_id in sessions:
                purged.append(session_id)
                progress.echo(session_id)
