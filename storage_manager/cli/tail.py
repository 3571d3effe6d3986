"""The command `tail`."""

from typing import Any

import click

from storage_manager.cli.completion import complete_sessions
from storage_manager.cli.options import command, json_option, root_option
from storage_manager.cli.process import run
from storage_manager.cli.root import open_root
from storage_manager.cli.terminal import echo
from storage_manager.cli.text import json_line, one_line
from storage_manager.layout import Step

__all__ = ["tail"]


@command("tail run-1", "tail run-1 --json --root s3://bucket | jq .action.type")
@root_option
@click.argument("session", shell_complete=complete_sessions)
@click.option(
    "--interval", type=click.FloatRange(0.1), default=1.0, show_default=True, help="Seconds between listings."
)
@json_option
def tail(root: str | None, session: str, interval: float, as_json: bool) -> None:
    """Print the steps of a session while it is recorded.

    Prints the id, action and URL of each step when it is stored, beginning with the first step. Ends when the session
    is sealed, or with Ctrl+C. If the session does not exist yet, waits for it.
    """
    run(_tail(root, session, interval, as_json))


async def _tail(root: str | None, session: str, interval: float, as_json: bool) -> None:
    from storage_manager.live import follow_session

    async with open_root(root) as storage:
        async for step in follow_session(storage, session, interval=interval):
            echo(json_line(_facts(step)) if as_json else _text(step))


def _facts(step: Step) -> dict[str, Any]:
    ids = {"session_id": step.session_id, "step_id": step.step_id}
    return {**ids, "action": step.data.action, "metadata": step.data.metadata}


def _text(step: Step) -> str:
    action, metadata = step.data.action or {}, step.data.metadata or {}
    cells = [step.step_id, f"{one_line(action.get('type') or '-'):<10}", one_line(metadata.get("url") or "")]
    return "  ".join(cells).rstrip()
