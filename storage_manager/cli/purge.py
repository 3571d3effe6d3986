"""The command `purge`."""

from contextlib import aclosing
from datetime import datetime, timedelta

import click

from storage_manager.cli.options import command, quiet_option, root_option
from storage_manager.cli.process import run
from storage_manager.cli.progress import Progress
from storage_manager.cli.root import open_root
from storage_manager.cli.terminal import echo
from storage_manager.cli.text import age, count, moment, size
from storage_manager.transfer import PurgedSession, purging

__all__ = ["purge"]


@command("purge --older-than 30d", "purge --older-than 2026-01-01 --yes --root s3://bucket")
@root_option
@click.option(
    "--older-than", callback=age, required=True, metavar="AGE|DATE", help="An age (12h, 30d, 2w) or a date (UTC)."
)
@click.option("--yes", "-y", is_flag=True, help="Delete the old sessions.")
@quiet_option
def purge(root: str | None, older_than: datetime | timedelta, yes: bool, quiet: bool) -> None:
    """List old sessions; with --yes, delete them.

    Prints the size, the time of the last file, and the id of each session. A session is old if its last file
    was written before the given date, or longer ago than the given age. Each session is checked again just before it is
    deleted: if something was written to it meanwhile, it is kept.
    """
    purged: list[PurgedSession] = []
    with Progress("checking", "checked", unit="session", quiet=quiet) as progress:
        try:
            run(_purge(root, older_than, yes, purged, progress))
        finally:
            progress.did = f"checked, {len(purged)} {'deleted' if yes else 'of them old'}"
    sessions = f"{count(len(purged), 'session')} ({size(sum(session.size for session in purged))})"
    echo(f"{sessions} deleted" if yes else f"{sessions} would be deleted; give --yes to delete")


async def _purge(
    root: str | None, older_than: datetime | timedelta, yes: bool, purged: list[PurgedSession], progress: Progress
) -> None:
    async with open_root(root) as storage:
        old = purging(storage, older_than, dry_run=not yes, progress=progress)
        async with aclosing(old) as sessions:
            async for session_id in sessions:
                purged.append(session_id)
                echo(f"{size(session_id.size):>9}  {moment(session_id.modified)}  {session_id}")
