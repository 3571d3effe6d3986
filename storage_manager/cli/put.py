"""The command `put`."""

import os
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from pathlib import Path

import click

from storage_manager.cli.copying import CopyRoot, copy
from storage_manager.cli.options import command, dry_run_option, quiet_option, root_option
from storage_manager.layout import (
    ATTACHMENTS_DIRECTORY,
    COMPONENTS,
    MANIFEST_FILENAME,
    SESSION_METADATA_FILENAME,
    is_attachment_name,
    is_id,
    is_system_directory,
)

__all__ = ["put"]


@command("put recordings/", "put recordings/run-1 --root s3://bucket/prefix")
@root_option
@click.argument("directory", metavar="DIR", type=click.Path(exists=True, file_okay=False))
@dry_run_option
@quiet_option
def put(root: str | None, directory: str, dry_run: bool, quiet: bool) -> int:
    """Copy a directory of sessions, or one session, to the root.

    DIR contains sessions (DIR/SESSION/STEP/observation.html ...) or is one session (DIR/STEP/observation.html ...),
    which keeps its name. Files that are already there with the same bytes are not sent again. Files that are not part
    of a session are left behind and named; then the exit code is 1.
    """
    source, sessions = _source_and_sessions(Path(os.path.abspath(directory)))
    return copy(CopyRoot(str(source)), CopyRoot(root), sessions, quiet=quiet, dry_run=dry_run)


def _source_and_sessions(directory: Path) -> tuple[Path, list[str] | None]:
    """Return the root to copy from and the ids to copy, or None for all: a directory is a root, or a session in one."""
    if _is_step(directory):
        raise click.UsageError(f"{directory} is a single step: give the directory of its session")
    if any(
        (directory / name).exists() for name in (SESSION_METADATA_FILENAME, MANIFEST_FILENAME, ATTACHMENTS_DIRECTORY)
    ):
        return directory.parent, [directory.name]
    children = list(islice((child for child in directory.iterdir() if is_id(child.name)), 100))
    if any(map(_is_step, children)) or _are_steps_of_attachments(children):
        return directory.parent, [directory.name]
    return directory, None


def _are_steps_of_attachments(children: Iterable[Path]) -> bool:
    """Return True if directories have attachments, and neither directories nor metadata, as sessions have."""
    entries = list[Path]()
    for child in children:
        with suppress(OSError):  # it is a file, or access is refused
            entries += [entry for entry in child.iterdir() if not is_system_directory(entry.name)]
    is_session = any(
        entry.name in (SESSION_METADATA_FILENAME, MANIFEST_FILENAME) or entry.is_dir() for entry in entries
    )
    return not is_session and any(is_attachment_name(entry.name) for entry in entries)


def _is_step(directory: Path) -> bool:
    return any((directory / row.filename).is_file() for row in COMPONENTS)
