"""The command `view`."""

import asyncio
import os
import sys
import webbrowser

import click

from storage_manager.cli.options import command, root_option
from storage_manager.cli.process import Interrupted, run
from storage_manager.cli.root import open_root, require_session
from storage_manager.cli.terminal import echo

__all__ = ["view"]


@command("view", "view run-1 --no-open", "view --port 0 --root s3://bucket")
@root_option
@click.argument("session", required=False)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on. There is no login: any other address shows the sessions to others.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="The port; 0 for any free port."
)
@click.option("--no-open", is_flag=True, help="Do not open a browser.")
def view(root: str | None, session: str | None, host: str, port: int, no_open: bool) -> None:
    """Show the sessions in a browser, until Ctrl-C.

    Prints the URL.
    """
    if not host.strip():
        raise click.UsageError(f"--host is empty ({host!r}): give an address, or leave --host out")
    try:
        run(_view(root, session, host, port, no_open))
    except Interrupted:  # the normal end of this command
        echo("stopped")


async def _view(root: str | None, session: str | None, host: str, port: int, no_open: bool) -> None:
    from storage_manager.viewer import serve

    async with open_root(root) as storage:
        if session is not None:
            await require_session(storage, session)
        async with serve(storage, host, port) as base:
            url = base + (f"sessions/{session}" if session is not None else "")
            echo(f"{url}  (press Ctrl-C to stop)")
            if not no_open and _has_browser():
                await asyncio.to_thread(webbrowser.open, url)
            await asyncio.Event().wait()


def _has_browser() -> bool:
    """Return True if a graphical browser can be opened. A text browser would take over the terminal."""
    return sys.platform == "darwin" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")))
