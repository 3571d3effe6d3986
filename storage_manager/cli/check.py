"""The command `check`."""

from storage_manager.cli.options import command, root_option
from storage_manager.cli.process import run
from storage_manager.cli.root import leaving_no_directories, open_root
from storage_manager.cli.terminal import echo

__all__ = ["check"]


@command("check", "check --root s3://bucket/prefix")
@root_option
def check(root: str | None) -> None:
    """Test that the root can be used.

    Lists the root, then writes, reads and deletes a test file. If one of these fails, the error says what is wrong and
    what to do about it.
    """
    with leaving_no_directories(root) as missing:  # also if the path has a typing error
        url = run(_check(root))
    if missing:
        echo(f"{url} does not exist yet. It can be created, and files in it can be listed, written, read and deleted")
    else:
        echo(f"OK: files in {url} can be listed, written, read and deleted")


async def _check(root: str | None) -> str:
    async with open_root(root, may_be_new=True) as storage:
        await storage.check()
        return storage.url_for()
