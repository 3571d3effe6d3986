"""The command `render`."""

from typing import Any

import click

from storage_manager.cli.completion import complete_sessions
from storage_manager.cli.options import command, quiet_option, root_option
from storage_manager.cli.process import run
from storage_manager.cli.progress import Progress
from storage_manager.cli.root import open_root, require_session
from storage_manager.cli.terminal import echo
from storage_manager.storage import StorageManager

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

    async with open_root(root, kind=_counting(progress)) as storage:
        progress(0, len(await require_session(storage, session)))
        return await render_session(storage, session, output)


def _counting(progress: Progress) -> type[StorageManager]:
    """Return a class of managers that show each step that was read: `render_session` itself reports no progress."""

    class Counting(StorageManager):
        async def read_step(self, session_id: str, step_id: str, **options: Any) -> Any:
            answers = await super().read_step(session_id, step_id, **options)
            progress(progress.done + 1, None)
            return answers

    return Counting
