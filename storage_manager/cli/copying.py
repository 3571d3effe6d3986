"""Copy sessions from one root to another: the shared part of put, get and cp."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from storage_manager.cli.process import run
from storage_manager.cli.progress import Progress
from storage_manager.cli.root import leaving_no_directories, open_root, require_sessions
from storage_manager.cli.terminal import echo
from storage_manager.cli.text import count
from storage_manager.errors import InvalidDataError
from storage_manager.inventory import list_files
from storage_manager.layout import why_foreign
from storage_manager.storage import StorageManager
from storage_manager.transfer import CopyResult, copy_sessions

__all__ = ["CopyRoot", "copy"]

_SHOWN = 5  # the most files that are named


class CopyRoot(NamedTuple):
    """The source or the target of a copy.

    Attributes:
        url: its URL; None for the root that the SM_* variables name.
        options: further arguments of its StorageManager.
    """

    url: str | None
    options: dict[str, Any] = {}  # noqa: RUF012 - nothing changes it


class _Urls(NamedTuple):
    """The URLs of the roots of a copy."""

    source: str
    target: str


def copy(
    source: CopyRoot, target: CopyRoot, sessions: Sequence[str] | None, *, quiet: bool, dry_run: bool = False
) -> int:
    """Copy these sessions, or all if None, with progress, and print how many steps were copied, and what was not.

    Parameters:
        dry_run: True to print how many would be copied. The target is not changed, and not created.

    Returns:
        The exit code: 1 if files were left behind.
    """
    doing, did = ("comparing", "compared") if dry_run else ("copying", "copied")
    with Progress(doing, did, quiet=quiet) as progress, ExitStack() as stack:
        if dry_run:
            stack.enter_context(leaving_no_directories(target.url))
        copied, roots = run(_copy(source, target, sessions, progress, dry_run))
    same, steps = progress.done - copied, count(copied, "step")
    done = f"{steps} would be copied to {roots.target}" if dry_run else f"{steps} copied"
    echo(done + (f", {same} {'are' if dry_run else 'were'} there already" if same else ""))
    return _print_left_behind(copied.left_behind, roots.source)


def _print_left_behind(urls: Sequence[str], root: str) -> int:
    """Print which files are not part of a session and were not copied, and the likely mistake. Return the exit code."""
    if not urls:
        return 0
    paths = [url.removeprefix(f"{root}/") for url in urls]
    echo(f"{count(len(paths), 'file')} left behind: {', '.join(paths[:_SHOWN])}{', ...' * (len(paths) > _SHOWN)}")
    for path in paths[:_SHOWN]:
        echo(f"  {path}: {why_foreign(path.partition('/')[2])}")
    return 1


async def _copy(
    source: CopyRoot, target: CopyRoot, sessions: Sequence[str] | None, progress: Progress, dry_run: bool
) -> tuple[CopyResult, _Urls]:
    """Copy sessions. Return what was copied, and the URLs of the roots."""
    async with open_root(source.url, **source.options) as source_storage:
        await _require_sessions(source_storage, sessions)
        # not before the source was found good, because this may create a directory
        async with open_root(target.url, may_be_new=True, **target.options) as target_storage:
            copied = await copy_sessions(source_storage, target_storage, sessions, progress=progress, dry_run=dry_run)
        if not (progress.done or copied.left_behind or await _has_files(source_storage, sessions)):
            raise _no_sessions(source_storage)  # there were directories, and nothing in them
        return copied, _Urls(source_storage.url_for(), target_storage.url_for())


async def _has_files(storage: StorageManager, sessions: Sequence[str] | None) -> bool:
    """Return True if one of the sessions has a file: it may have no steps."""
    names = sessions if sessions is not None else [name async for name in storage.iter_sessions()]
    return bool([file.name for name in names async for file in list_files(storage, name)])


async def _require_sessions(storage: StorageManager, sessions: Sequence[str] | None) -> None:
    await require_sessions(storage, sessions or ())
    if sessions is None and await anext(aiter(storage.iter_sessions()), None) is None:
        raise _no_sessions(storage)


def _no_sessions(storage: StorageManager) -> InvalidDataError:
    url = storage.url_for()
    return InvalidDataError(f"there are no sessions at {url}: nothing was copied", operation="copy", url=url)
