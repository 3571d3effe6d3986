"""The command `render`."""

import click

from storage_manager.cli.completion import complete_sessions
from storage_manager.cli.options import command, quiet_option, root_option
from storage_manager.cli.process import run
from storage_manager.cli.progress import Progress
from storage_manager.cli.root import open_root, require_session
from storage_manager.cli.terminal import echo

__all__ = ["render"]


@command("render run-1", "render run-1 -o /tmp/login.html")
@root_option
@click.argument("session", shell_complete=complete_sessions)
@click.option("--output", "-o", type=click.Path(dir_okay=False), help="The file. Default: ./SESSION.html")
@quiet_option
def render(root: str | None, session: str, output: str | None, quiet: bool) -> None:
    """Write one HTML file that replays a session offline.

    Prints the path of the file.
    """
    with Progress("rendering", "read", quiet=quiet, advice="no file was written") as progress:
        path = run(_render(root, session, output or f"{session}.html", progress))
    echo(path)


async def _render(root: str | None, session: str, output: str, progress: Progress) -> str:
    from storage_manager.viewer import render_session

    async with open_root(root) as storage:
        await require_session(storage, session)
        return await render_session(storage, session, output, progress=progress)
