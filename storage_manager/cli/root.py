"""Open the root that a command works on, and require the session or step that it names."""

import os
import re
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from typing import Any

import click

from storage_manager.backends import FileInfo
from storage_manager.config import Config, arguments_of
from storage_manager.errors import InvalidDataError, LocalStorageError, S3OperationError, StorageManagerError
from storage_manager.inventory import list_files
from storage_manager.layout import MANIFEST_FILENAME
from storage_manager.storage import StorageManager

__all__ = [
    "did_you_mean",
    "leaving_no_directories",
    "local_directory",
    "missing_session",
    "open_root",
    "require_session",
    "require_sessions",
    "require_step",
    "session_ids",
    "settings_of",
]

_SIMILAR = 0.8  # the ratio of difflib from which a name is suggested: rnu-1 has 0.8 for run-1, and nope 0.75 for open
_NUMBER = re.compile(r"(?:step)?[_-]?0*([0-9]{1,18})", re.IGNORECASE)  # of a step: 1, step_1, step_000001
_MOST_NAMES = 5000  # that are compared with a mistyped one, in half a second


def settings_of(root: str | None) -> Config | None:
    """Return the settings of a root, without creating anything; None if the URL is neither of S3 nor of the local disk.

    Parameters:
        root: the URL that the user gave; None for the root that the SM_* variables name.

    Raises:
        UsageError: the URL is empty. A shell gives an empty word for a variable that was never set, so the user does
            not mean the default root.
        S3ConfigError, LocalStorageError, StorageManagerError: the URL or a variable does not name a root.
    """
    if root is not None and not root.strip():
        raise click.UsageError(f"the URL of the root is empty ({root!r}): give a URL, or leave --root out")
    arguments = arguments_of(root) if root else {}
    return None if arguments is None else Config.resolve(**arguments)


def local_directory(root: str | None) -> str | None:
    """Return the directory of a root on local disk, without creating it; None for every other root.

    Raises:
        UsageError, StorageManagerError: as settings_of.
    """
    config = settings_of(root)
    is_local = config is not None and not config.uses_s3 and config.other_root is None
    return config.root if config and is_local else None


def open_root(root: str | None, *, may_be_new: bool = False, **options: Any) -> StorageManager:
    """Return a StorageManager of the root.

    Parameters:
        root: its URL; None for the root that the SM_* variables name.
        may_be_new: True to accept a local directory that does not exist. StorageManager creates it; without this, a
            typing error in the URL would create a directory.
        options: further arguments of StorageManager.

    Raises:
        LocalStorageError: there is no such directory, or it is a file.
    """
    directory = local_directory(root)
    if not may_be_new and directory is not None and not os.path.isdir(directory):
        fault = f"{directory} is a file" if os.path.isfile(directory) else f"there is no directory {directory}"
        why = f"{fault}: name the root with --root or SM_ROOT"
        raise LocalStorageError(why, operation="open", url=directory)
    return StorageManager.from_url(root, **options) if root else StorageManager(**options)


@contextmanager
def leaving_no_directories(root: str | None) -> Iterator[bool]:
    """Delete the directories that a StorageManager of this root creates in a block. Yield True if some are missing."""
    directory = local_directory(root)
    paths = [Path(directory), *Path(directory).parents] if directory else []
    missing = [path for path in paths if not path.exists()]
    try:
        yield bool(missing)
    finally:
        for path in missing:  # the deepest first
            with suppress(OSError):  # it was not created, or somebody has used it since
                path.rmdir()


async def session_ids(storage: StorageManager, prefix: str) -> AsyncGenerator[str, None]:
    """Yield the ids of sessions with this prefix, and end after the last one: they are listed in order.

    Raises:
        StorageManagerError: the root cannot be listed.
    """
    async with aclosing(storage.iter_sessions()) as names:
        async for name in names:
            if name.startswith(prefix):
                yield name
            elif name > prefix:
                return


async def require_session(storage: StorageManager, session_id: str) -> list[str]:
    """Return the step ids of a session. One that has only attachments or metadata has none.

    Raises:
        InvalidDataError: there is no such session.
    """
    steps = await storage.list_steps_for_session(session_id)
    if not steps and not [file async for file in list_files(storage, session_id) if file.name != MANIFEST_FILENAME]:
        raise await missing_session(storage, session_id)
    return steps


async def require_sessions(storage: StorageManager, session_ids: Iterable[str]) -> None:
    """Require each of these sessions, unless it cannot be listed: the caller reports that after the others.

    Raises:
        InvalidDataError: there is no such session.
    """
    for session_id in session_ids:
        with suppress(S3OperationError, LocalStorageError):
            await require_session(storage, session_id)


async def require_step(storage: StorageManager, session_id: str, step_id: str) -> dict[str, FileInfo]:
    """Return the files of a step, by name.

    Raises:
        InvalidDataError: there is no such step, or no such session.
    """
    files = {file.name: file async for file in list_files(storage, session_id, step_id)}
    if not files:
        steps = await require_session(storage, session_id)
        url, alike = storage.url_for(session_id, step_id), _same_number(step_id, steps)
        if alike is not None:
            why = f"there is no step {url}: did you mean {alike}?"
            raise InvalidDataError(why, operation="list", url=url)
        raise _missing("step", url, steps[:_MOST_NAMES], step_id, f"ls {session_id}")
    return files


async def missing_session(storage: StorageManager, session_id: str) -> InvalidDataError:
    """Return the error for a session that does not exist. It names one that has a similar id."""
    return _missing("session", storage.url_for(session_id), await _first(storage.iter_sessions()), session_id, "ls")


async def _first(names: AsyncGenerator[str, None]) -> list[str]:
    """Return the first names, to find a similar one. If they cannot be listed, return those before the error."""
    found: list[str] = []
    with suppress(StorageManagerError):
        async with aclosing(names):
            async for name in names:
                found.append(name)
                if len(found) == _MOST_NAMES:
                    break
    return found


def _missing(what: str, url: str, names: Sequence[str], name: str, listing: str) -> InvalidDataError:
    """Return the error for a session or step that does not exist.

    Parameters:
        listing: the command that lists the names, if none of them is similar.
    """
    if name in names:
        why = ": there are directories, and no file of a session"
    else:
        why = did_you_mean(name, names) or f": list them with storage-manager {listing}"
    return InvalidDataError(f"there is no {what} {url}{why}", operation="list", url=url)


def _same_number(name: str, step_ids: Iterable[str]) -> str | None:
    """Return the first of the ids that has the number of this one, which need not be similar: step_000001 for 1."""
    if not (number := _NUMBER.fullmatch(name)):
        return None
    return next((each for each in step_ids if (found := _NUMBER.fullmatch(each)) and found[1] == number[1]), None)


def did_you_mean(name: str, names: Sequence[str]) -> str:
    """Return `: did you mean run-1?` if one of the names is similar, in upper or lower case, else an empty text."""
    from difflib import get_close_matches  # only mistakes need it

    by_lower = {each.lower(): each for each in names}
    similar = get_close_matches(name.lower(), [*by_lower], n=1, cutoff=_SIMILAR)
    return f": did you mean {by_lower[similar[0]]}?" if similar else ""
