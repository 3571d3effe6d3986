"""Show sessions in a browser until Ctrl+C: the shared part of view and demo."""

import asyncio
import errno
import os
import sys
import webbrowser
from collections.abc import Callable
from typing import Any

import click

from storage_manager.cli.process import Interrupted, run
from storage_manager.cli.root import open_root, require_session
from storage_manager.cli.terminal import echo

__all__ = ["no_open_option", "port_option", "show_in_browser"]

no_open_option = click.option("--no-open", is_flag=True, help="Do not open a browser.")


def port_option(default: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option --port with this default."""
    ports = click.IntRange(0, 65535)
    return click.option("--port", type=ports, default=default, show_default=True, help="The port; 0 for any free port.")


def show_in_browser(root: str | None, session: str | None, host: str, port: int, no_open: bool) -> None:
    """Serve the viewer, print its URL and open a browser; return after Ctrl+C or SIGTERM.

    Raises:
        OSError: the port or the address cannot be used.
        StorageManagerError: the root cannot be used, or there is no such session.
    """
    try:
        run(_serve(root, session, host, port, no_open))
    except Interrupted:  # the normal end
        echo("stopped", err=True)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise OSError(f"port {port} of {host} is in use: give --port 0 for any free port") from error


async def _serve(root: str | None, session: str | None, host: str, port: int, no_open: bool) -> None:
    from storage_manager.viewer import serve

    async with open_root(root) as storage:
        if session is not None:
            await require_session(storage, session)
        async with serve(storage, host, port) as base:
            url = base + (f"sessions/{session}" if session is not None else "")
            echo(url)
            echo("Press Ctrl+C to stop", err=True)
            if not no_open and _has_browser():
                await asyncio.to_thread(webbrowser.open, url)
            await asyncio.Event().wait()


def _has_browser() -> bool:
    """Return True if a graphical browser can be opened. A text browser would take over the terminal."""
    return sys.platform == "darwin" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")))
