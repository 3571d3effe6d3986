"""The command `get`."""

import click

from storage_manager.cli.completion import complete_sessions
from storage_manager.cli.copying import CopyRoot, copy
from storage_manager.cli.options import command, dry_run_option, quiet_option, root_option

__all__ = ["get"]


@command("get run-1 copies/", "get run-1 copies/ --root s3://bucket", "ls run-1 --root copies/")
@root_option
@click.argument("session", shell_complete=complete_sessions)
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False))
@dry_run_option
@quiet_option
def get(root: str | None, session: str, directory: str, dry_run: bool, quiet: bool) -> int:
    """Copy a session into a directory.

    The files are written to DIR/SESSION/STEP/... Files that are already there with the same bytes are not fetched
    again. DIR is a root like any other: read it with --root DIR. Files that are not part of a session are left behind
    and named; then the exit code is 1.
    """
    return copy(CopyRoot(root), CopyRoot(directory), [session], quiet=quiet, dry_run=dry_run)
