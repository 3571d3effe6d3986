"""The command `catalog update`."""

from typing import TYPE_CHECKING

import click

from storage_manager.cli.completion import complete_sessions
from storage_manager.cli.options import command, group, quiet_option, root_option
from storage_manager.cli.process import run
from storage_manager.cli.progress import Progress
from storage_manager.cli.root import open_root, require_sessions
from storage_manager.cli.terminal import echo
from storage_manager.cli.text import count
from storage_manager.errors import InvalidDataError
from storage_manager.storage import StorageManager

if TYPE_CHECKING:
    from storage_manager.catalog import CatalogUpdate

__all__ = ["catalog"]


@group("catalog update", "catalog update --full --root s3://bucket")
def catalog() -> None:
    """Update the table that `find` searches."""


@command("catalog update", "catalog update run-1 run-2", "catalog update --full --root s3://bucket", name="update")
@root_option
@click.argument("sessions", shell_complete=complete_sessions, metavar="[SESSION]...", nargs=-1)
@click.option("--full", is_flag=True, help="Read all sessions again, even if they are sealed.")
@quiet_option
def _update(root: str | None, sessions: tuple[str, ...], full: bool, quiet: bool) -> None:
    """Bring the catalogue up to date.

    Reads the sessions that are new, and those that have changed and are not sealed. Removes deleted sessions from the
    catalogue. If you name sessions, only these are read, even if they are sealed.
    """
    if sessions and full:
        raise click.UsageError("--full reads all sessions: name none, or leave it out")
    with Progress("cataloguing", "looked at", unit="session", quiet=quiet) as progress:
        update = run(_run(root, sessions, full, progress))
    done = f"{update.added} added, {update.refreshed} read again, {update.removed} removed"
    echo(f"{count(update.sessions, 'session')} in the catalogue: {done}")


async def _run(root: str | None, sessions: tuple[str, ...], full: bool, progress: Progress) -> "CatalogUpdate":
    from storage_manager.catalog import update_catalog

    async with open_root(root) as storage:
        await _require(storage, sessions)
        return await update_catalog(storage, sessions or None, full=full, progress=progress)


async def _require(storage: StorageManager, sessions: tuple[str, ...]) -> None:
    """Require that each session exists, or is in the catalogue: then the update removes it there.

    Raises:
        InvalidDataError: a session is in neither of both.
    """
    for session_id in sessions:
        try:
            await require_sessions(storage, [session_id])
        except InvalidDataError:
            if session_id not in await _catalogued(storage):
                raise


async def _catalogued(storage: StorageManager) -> list[str]:
    """Return the ids of the sessions in the catalogue."""
    from storage_manager.catalog.table import Catalog

    table = await Catalog(storage).read(["session_id"])
    return [] if table is None else list(table["session_id"].to_pylist())


catalog.add_command(_update)
