"""Which place a command works on, and the options that commands share."""

import os
from collections.abc import Callable
from typing import Any

import click

from storage_manager.backends import FileInfo
from storage_manager.config import Config, arguments_of
from storage_manager.errors import InvalidDataError, LocalStorageError
from storage_manager.inventory import list_files
from storage_manager.storage import StorageManager

__all__ = [
    "command",
    "found_at",
    "json_option",
    "local_root",
    "open_place",
    "quiet_option",
    "require_session",
    "root_option",
]


def _debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    ctx.find_root().obj["debug"] = value


_debug_option = click.option(
    "--debug", is_flag=True, expose_value=False, callback=_debug, is_eager=True, help="Show the traceback of an error."
)
root_option = click.option("--root", metavar="URL", help="The place; else what the SM_* variables name.")
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
quiet_option = click.option("--quiet", "-q", is_flag=True, help="Show no progress.")


def command(*examples: str, name: str | None = None) -> Callable[[Callable[..., Any]], click.Command]:
    """A command that takes --debug, with examples below its help."""
    lines = [f"  storage-manager {example}" for example in examples]
    epilog = "\b\n" + "\n".join(["Examples:", *lines])
    return lambda function: click.command(name, epilog=epilog)(_debug_option(function))


def local_root(root: str | None) -> str | None:
    """The directory in which the sessions lie; None where they lie elsewhere. It is not created.

    Raises:
        UsageError: the URL is empty, as a shell's variable is that was never set: the default place is not meant.
        S3ConfigError, LocalStorageError, StorageManagerError: the URL or a variable names no place.
    """
    if root is not None and not root.strip():
        raise click.UsageError(f"the place is {root!r}: name one, or leave --root out")
    arguments = arguments_of(root) if root else {}
    if arguments is None:
        return None
    config = Config.resolve(**arguments)
    return None if config.uses_s3 else config.root


def open_place(root: str | None, *, is_new: bool = False, **kwargs: Any) -> StorageManager:
    """A manager of the place, which has to be there already unless it may be new: a manager would create a directory.

    Raises:
        LocalStorageError: there is no such directory.
    """
    directory = local_root(root)
    if not is_new and directory is not None and not os.path.isdir(directory):
        why = (
            f"there is no directory {directory}: name the place with --root, or SM_LOCAL_BASE_PATH or SM_S3_BUCKET_NAME"
        )
        raise LocalStorageError(why, operation="open", url=directory)
    return StorageManager.from_url(root, **kwargs) if root else StorageManager(**kwargs)


async def require_session(storage: StorageManager, session_id: str) -> list[str]:
    """The steps of a session that has to be there.

    Raises:
        InvalidDataError: it is not.
    """
    steps = await storage.list_steps_for_session(session_id)
    if not steps:
        url = storage.url_for(session_id)
        raise InvalidDataError(f"there is no session {url}", operation="list", url=url)
    return steps


async def found_at(storage: StorageManager, session_id: str, step_id: str) -> dict[str, FileInfo]:
    """The files of a step, by name, that has to be there.

    Raises:
        InvalidDataError: it is not.
    """
    files = {found.name: found async for found in list_files(storage, session_id, step_id)}
    if not files:
        url = storage.url_for(session_id, step_id)
        raise InvalidDataError(f"there is no step {url}", operation="list", url=url)
    return files
