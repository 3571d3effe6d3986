"""The command `import`."""

import click

from storage_manager.cli.options import command, root_option
from storage_manager.cli.process import run
from storage_manager.cli.root import open_root
from storage_manager.cli.terminal import echo

__all__ = ["import_"]


@command("import trace.zip", "import trace.zip --session login --root s3://bucket", name="import")
@root_option
@click.argument("file", metavar="TRACE.ZIP", type=click.Path(exists=True, dir_okay=False))
@click.option("--session", metavar="ID", help="The session's id. Default: from the file's name.")
def import_(root: str | None, file: str, session: str | None) -> None:
    """Store a Playwright trace as a session, one step per action.

    Prints the session's id.
    """
    echo(run(_import(root, file, session)))


async def _import(root: str | None, file: str, session: str | None) -> str:
    from storage_manager.importers import import_playwright_trace

    async with open_root(root, may_be_new=True) as storage:
        return await import_playwright_trace(storage, file, session)
