"""The command `seal`."""

import click

from storage_manager.cli.completion import complete_sessions
from storage_manager.cli.options import command, quiet_option, root_option
from storage_manager.cli.process import run
from storage_manager.cli.progress import Progress
from storage_manager.cli.root import open_root, require_session
from storage_manager.cli.terminal import echo
from storage_manager.integrity import seal_session

__all__ = ["seal"]


@command("seal run-1", "seal run-1 run-2 --root s3://bucket")
@root_option
@click.argument("sessions", shell_complete=complete_sessions, metavar="SESSION...", nargs=-1, required=True)
@quiet_option
def seal(root: str | None, sessions: tuple[str, ...], quiet: bool) -> None:
    """Seal sessions, so that `verify` finds changes.

    Writes the size and SHA-256 of each component to the session's manifest, and prints the manifest's URL.
    """
    with Progress("sealing", "sealed", unit="session", quiet=quiet) as progress:
        run(_seal(root, sessions, progress))


async def _seal(root: str | None, sessions: tuple[str, ...], progress: Progress) -> None:
    async with open_root(root) as storage:
        for session_id in sessions:
            await require_session(storage, session_id)
        for done, session_id in enumerate(sessions, 1):
            echo(await seal_session(storage, session_id))
            progress(done, len(sessions))
