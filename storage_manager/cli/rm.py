"""The command `rm`."""

import asyncio
import sys
from collections.abc import Collection, Sequence
from contextlib import aclosing, suppress
from typing import NamedTuple

import click

from storage_manager.backends import FileInfo
from storage_manager.cli.completion import complete_sessions, complete_steps
from storage_manager.cli.options import command, dry_run_option, quiet_option, root_option
from storage_manager.cli.process import run
from storage_manager.cli.progress import Progress
from storage_manager.cli.root import open_root, require_session, require_step
from storage_manager.cli.terminal import confirm, echo
from storage_manager.cli.text import count, size
from storage_manager.errors import InvalidDataError, StorageManagerError
from storage_manager.inventory import is_our_file, list_files
from storage_manager.layout import is_id
from storage_manager.storage import StorageManager

__all__ = ["rm"]

_SECONDS = 1  # between two listings, which show how many files are deleted


class _Target(NamedTuple):
    """The session or step to delete: its URL and size for the user, and its files in the order of the listing."""

    text: str
    files: Sequence[str]


@command("rm run-1", "rm run-1 --dry-run", "rm run-1 step_000002 --yes")
@root_option
@click.argument("session", shell_complete=complete_sessions)
@click.argument("step", shell_complete=complete_steps, required=False)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@dry_run_option
@quiet_option
def rm(root: str | None, session: str, step: str | None, yes: bool, dry_run: bool, quiet: bool) -> None:
    """Delete a session, or one of its steps.

    Asks first; if there is no terminal to ask on, --yes is required. Checks afterwards that nothing is left. If the
    last step of a session is deleted, the session is deleted, too, unless it has attachments or metadata.
    """
    target = run(_find(root, session, step))
    if dry_run:
        echo(f"would delete {target.text}")
        return
    if not yes and not (sys.stdin and sys.stdin.isatty()):  # sys.stdin is None if the shell has closed it
        raise click.UsageError(f"cannot ask whether to delete {target.text}, because there is no terminal: give --yes")
    if yes or confirm(f"Delete {target.text}?"):
        with Progress("deleting", "deleted", unit="file", quiet=quiet) as progress:
            run(_delete(root, session, step, target.files, progress))
        echo(f"deleted {target.text}")


async def _find(root: str | None, session: str, step: str | None) -> _Target:
    """Find what is to be deleted.

    Raises:
        InvalidDataError: it does not exist, or it is not a session or step.
    """
    async with open_root(root) as storage:
        return await (_find_session(storage, session) if step is None else _find_step(storage, session, step))


async def _find_session(storage: StorageManager, session: str) -> _Target:
    steps = await require_session(storage, session)
    files = [file async for file in list_files(storage, session)]
    _require_our_files(storage, session, files)
    text = f"{storage.url_for(session)} ({count(len(steps), 'step')}, {size(sum(file.size for file in files))})"
    return _Target(text, [file.name for file in files])


async def _find_step(storage: StorageManager, session: str, step: str) -> _Target:
    try:
        files = await require_step(storage, session, step)
    except InvalidDataError as error:
        if is_id(step) and [file async for file in list_files(storage, step)]:
            why = f"{step} is a session: rm deletes one session at a time"
            raise InvalidDataError(why, operation="delete", url=error.url) from error
        raise
    _require_our_files(storage, session, [file async for file in list_files(storage, session)])
    text = f"{storage.url_for(session, step)} ({size(sum(file.size for file in files.values()))})"
    return _Target(text, list(files))


def _require_our_files(storage: StorageManager, session: str, files: Collection[FileInfo]) -> None:
    """Refuse what is not a session. If the root is one level too high, the sources of a project look like one."""
    if not any(is_our_file(file.name) for file in files):
        url = storage.url_for(session)
        why = f"{url} has no component and no metadata, so it is not a session or step: nothing was deleted"
        raise InvalidDataError(why, operation="delete", url=url)


async def _delete(root: str | None, session: str, step: str | None, files: Sequence[str], progress: Progress) -> None:
    """Delete the session or step, and show how many of its files are deleted."""
    progress(0, len(files))
    async with open_root(root) as storage:
        watching = asyncio.ensure_future(_watch(storage, session, step, files, progress))
        try:
            await (storage.delete_session(session) if step is None else storage.delete_step(session, step))
        finally:
            watching.cancel()
            await asyncio.wait([watching])
            with suppress(StorageManagerError):
                progress(await _deleted(storage, session, step, files), None)


async def _watch(
    storage: StorageManager, session: str, step: str | None, files: Sequence[str], progress: Progress
) -> None:
    """Show how many files are deleted, until this is cancelled.

    On local disk, a deletion begins with a rename, after which no file is listed. So this number says nothing.
    """
    while True:
        await asyncio.sleep(_SECONDS)
        with suppress(StorageManagerError):  # the deletion raises it
            deleted = await _deleted(storage, session, step, files)
            if deleted < len(files):
                progress(deleted, None)


async def _deleted(storage: StorageManager, session: str, step: str | None, files: Sequence[str]) -> int:
    """Return how many of the files are deleted. They are deleted in the order of the listing."""
    async with aclosing(list_files(storage, session, step)) as left:
        first = await anext(left, None)
    if first is None:
        return len(files)
    return files.index(first.name) if first.name in files else 0
