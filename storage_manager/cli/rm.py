"""The command `rm`."""

import sys

import click

from storage_manager.cli.completion import complete_sessions, complete_steps
from storage_manager.cli.options import command, dry_run_option, quiet_option, root_option
from storage_manager.cli.process import run
from storage_manager.cli.progress import waiting
from storage_manager.cli.root import open_root, require_session, require_step
from storage_manager.cli.terminal import confirm, echo
from storage_manager.cli.text import count, size
from storage_manager.errors import InvalidDataError
from storage_manager.inventory import is_our_file, list_files, summarize
from storage_manager.storage import StorageManager

__all__ = ["rm"]


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
    what = run(_describe(root, session, step))
    if dry_run:
        echo(f"would delete {what}")
        return
    if not yes and not (sys.stdin and sys.stdin.isatty()):  # sys.stdin is None if the shell has closed it
        raise click.UsageError(f"cannot ask whether to delete {what}, because there is no terminal: give --yes")
    if yes or confirm(f"Delete {what}?"):
        with waiting("deleting", quiet=quiet):
            run(_delete(root, session, step))
        echo(f"deleted {what}")


async def _describe(root: str | None, session: str, step: str | None) -> str:
    """Return the URL and size of what would be deleted.

    Raises:
        InvalidDataError: it does not exist, or it is not a session or step.
    """
    async with open_root(root) as storage:
        return await (_describe_session(storage, session) if step is None else _describe_step(storage, session, step))


async def _describe_session(storage: StorageManager, session: str) -> str:
    await require_session(storage, session)
    await _require_our_files(storage, session)
    steps, total, _ = await summarize(storage, session)
    return f"{storage.url_for(session)} ({count(steps, 'step')}, {size(total)})"


async def _describe_step(storage: StorageManager, session: str, step: str) -> str:
    files, url = await require_step(storage, session, step), storage.url_for(session, step)
    await _require_our_files(storage, session)
    return f"{url} ({size(sum(file.size for file in files.values()))})"


async def _require_our_files(storage: StorageManager, session: str) -> None:
    """Refuse what is not a session. If the root is one level too high, the sources of a project look like one."""
    if not any([is_our_file(file.name) async for file in list_files(storage, session)]):
        url = storage.url_for(session)
        why = f"{url} has no component and no metadata, so it is not a session or step: nothing was deleted"
        raise InvalidDataError(why, operation="delete", url=url)


async def _delete(root: str | None, session: str, step: str | None) -> None:
    async with open_root(root) as storage:
        await (storage.delete_session(session) if step is None else storage.delete_step(session, step))
