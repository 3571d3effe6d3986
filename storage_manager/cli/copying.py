"""Copy sessions from one root to another: the shared part of put, get and cp."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from storage_manager.cli.process import run
from storage_manager.cli.progress import Progress
from storage_manager.cli.root import open_root, require_session
from storage_manager.cli.terminal import echo
from storage_manager.cli.text import count
from storage_manager.errors import InvalidDataError, LocalStorageError, S3OperationError
from storage_manager.storage import StorageManager
from storage_manager.transfer import copy_sessions

__all__ = ["CopyRoot", "copy"]


class CopyRoot(NamedTuple):
    """The source or the target of a copy.

    Attributes:
        url: its URL; None for the root that the SM_* variables name.
        options: further arguments of its StorageManager.
    """

    url: str | None
    options: dict[str, Any] = {}  # noqa: RUF012 - nothing changes it


def copy(source: CopyRoot, target: CopyRoot, sessions: Sequence[str] | None, quiet: bool) -> None:
    """Copy these sessions, or all if None, with progress, and print how many steps were copied."""
    with Progress("copying", "copied", quiet=quiet) as progress:
        copied = run(_copy(source, target, sessions, progress))
    same = progress.done - copied
    echo(f"{count(copied, 'step')} copied" + (f", {same} were there already" if same else ""))


async def _copy(source: CopyRoot, target: CopyRoot, sessions: Sequence[str] | None, progress: Progress) -> int:
    async with open_root(source.url, **source.options) as source_storage:
        await _require_sessions(source_storage, sessions)
        # not before the source was found good, because this may create a directory
        async with open_root(target.url, may_be_new=True, **target.options) as target_storage:
            copied = await copy_sessions(source_storage, target_storage, sessions, progress=progress)
        if not progress.done:  # there were directories, and no steps in them
            raise _no_sessions(source_storage)
        return copied


async def _require_sessions(storage: StorageManager, sessions: Sequence[str] | None) -> None:
    for session_id in sessions or ():
        with suppress(S3OperationError, LocalStorageError):  # it cannot be listed: the copy reports it after the others
            await require_session(storage, session_id)
    if sessions is None and await anext(aiter(storage.iter_sessions()), None) is None:
        raise _no_sessions(storage)


def _no_sessions(storage: StorageManager) -> InvalidDataError:
    url = storage.url_for()
    return InvalidDataError(f"there are no sessions at {url}: nothing was copied", operation="copy", url=url)
