"""The command `put`."""

import os
from itertools import islice
from pathlib import Path

import click

from storage_manager.cli.copying import CopyRoot, copy
from storage_manager.cli.options import command, quiet_option, root_option
from storage_manager.layout import (
    ATTACHMENTS_DIRECTORY,
    COMPONENTS,
    MANIFEST_FILENAME,
    SESSION_METADATA_FILENAME,
    is_id,
)

__all__ = ["put"]


@command("put recordings/", "put recordings/run-1 --root s3://bucket/prefix")
@root_option
@click.argument("directory", metavar="DIR", type=click.Path(exists=True, file_okay=False))
@quiet_option
def put(root: str | None, directory: str, quiet: bool) -> int:
    """Copy a directory of sessions, or one session, to the root.

    DIR contains sessions (DIR/SESSION/STEP/observation.html ...) or is one session (DIR/STEP/observation.html ...),
    which keeps its name. Files that are already there with the same bytes are not sent again. Files that are no part of
    a session are left behind and named; then the exit code is 1.
    """
    source, sessions = _source_and_sessions(Path(os.path.abspath(directory)))
    return copy(CopyRoot(str(source)), CopyRoot(root), sessions, quiet)


def _source_and_sessions(directory: Path) -> tuple[Path, list[str] | None]:
    """Return the root to copy from and the ids to copy, or None for all: a directory is a root, or a session in one."""
    if _is_step(directory):
        raise click.UsageError(f"{directory} is a single step: give the directory of its session")
    if any(
        (directory / name).exists() for name in (SESSION_METADATA_FILENAME, MANIFEST_FILENAME, ATTACHMENTS_DIRECTORY)
    ):
        return directory.parent, [directory.name]
    children = (child for child in directory.iterdir() if is_id(child.name))
    if any(map(_is_step, islice(children, 100))):
        return directory.parent, [directory.name]
    return directory, None


def _is_step(directory: Path) -> bool:
    return any((directory / row.filename).is_file() for row in COMPONENTS)
