"""The command `check`."""

from contextlib import suppress
from pathlib import Path

from storage_manager.cli.options import command, root_option
from storage_manager.cli.process import run
from storage_manager.cli.root import local_directory, open_root
from storage_manager.cli.terminal import echo

__all__ = ["check"]


@command("check", "check --root s3://bucket/prefix")
@root_option
def check(root: str | None) -> None:
    """Test that the root can be used.

    Lists the root, then writes, reads and deletes a test file. If one of these fails, the error says what is wrong and
    what to do about it.
    """
    missing = _missing_directories(local_directory(root))
    try:
        url = run(_check(root))
    finally:
        for path in missing:  # a check leaves nothing, also if the path has a typing error
            with suppress(OSError):  # it was not created, or somebody has used it since
                path.rmdir()
    can = "does not exist yet, and can be created" if missing else "can be listed"
    echo(f"{url} {can}, written, read and deleted")


def _missing_directories(directory: str | None) -> list[Path]:
    """Return those of a directory and its parents that a StorageManager would create, the deepest first."""
    return [path for path in (Path(directory), *Path(directory).parents) if not path.exists()] if directory else []


async def _check(root: str | None) -> str:
    async with open_root(root, may_be_new=True) as storage:
        await storage.check()
        return storage.url_for()
