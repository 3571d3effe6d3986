"""The command `share`."""

from datetime import timedelta

import click

from storage_manager.cli.completion import complete_sessions, complete_steps
from storage_manager.cli.options import command, json_option, root_option
from storage_manager.cli.process import run
from storage_manager.cli.root import open_root, require_step
from storage_manager.cli.terminal import echo, echo_lines
from storage_manager.cli.text import columns, duration, json_line
from storage_manager.layout import COMPONENTS

__all__ = ["share"]


@command("share run-1 step_000001", "share run-1 step_000001 --expires 7d --json")
@root_option
@click.argument("session", shell_complete=complete_sessions)
@click.argument("step", shell_complete=complete_steps)
@click.option(
    "--expires",
    callback=duration,
    default="1h",
    show_default=True,
    help="How long the links work on S3, up to 7d.",
)
@json_option
def share(root: str | None, session: str, step: str, expires: timedelta, as_json: bool) -> None:
    """Print links to the components of a step.

    A browser opens them without credentials. On S3, everybody who has a link can read the component until the link
    expires. On local disk, the links are file:// URLs.
    """
    links = run(_share(root, session, step, expires))
    if as_json:
        echo(json_line({"session_id": session, "step_id": step, **links}))
    else:
        echo_lines(columns([(row.name, links[row.path_key] or "-") for row in COMPONENTS]))


async def _share(root: str | None, session: str, step: str, expires: timedelta) -> dict[str, str | None]:
    async with open_root(root) as storage:
        await require_step(storage, session, step)
        return await storage.get_share_links(session, step, expires)
