"""The command `view`."""

import click

from storage_manager.cli.completion import complete_sessions
from storage_manager.cli.options import command, root_option
from storage_manager.cli.viewing import no_open_option, port_option, show_in_browser

__all__ = ["view"]


@command("view", "view run-1 --no-open", "view --port 0 --root s3://bucket")
@root_option
@click.argument("session", shell_complete=complete_sessions, required=False)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on. There is no login: on any other address, other people can see the sessions.",
)
@port_option(8000)
@no_open_option
def view(root: str | None, session: str | None, host: str, port: int, no_open: bool) -> None:
    """Show the sessions in a browser, until Ctrl+C.

    Prints the URL.
    """
    if not host.strip():
        raise click.UsageError(f"--host is empty ({host!r}): give an address, or leave --host out")
    show_in_browser(root, session, host, port, no_open)
