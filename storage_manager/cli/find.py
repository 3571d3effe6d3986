"""The command `find`."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click

from storage_manager.cli.options import command, json_option, root_option
from storage_manager.cli.process import run
from storage_manager.cli.root import open_root
from storage_manager.cli.terminal import echo
from storage_manager.cli.text import count, json_line, moment, one_line

__all__ = ["find"]

_LONGEST_GOAL = 80  # characters; --json has all of it


@command(
    "find",
    "find \"outcome = 'failure' and cost_usd > 1\"",
    'find "list_contains(hosts, \'example.com\')" --order-by "cost_usd DESC" --limit 10',
    "find \"goal ilike '%invoice%'\" --json --root s3://bucket",
)
@root_option
@click.argument("condition", required=False)
@click.option("--order-by", metavar="COLUMNS", help="The order of the sessions. Default: started_at DESC.")
@click.option("--limit", type=click.IntRange(min=0), metavar="NUMBER", help="Print at most this many sessions.")
@json_option
def find(root: str | None, condition: str | None, order_by: str | None, limit: int | None, as_json: bool) -> None:
    """List the sessions in the catalogue that meet a condition.

    The condition is an SQL expression of DuckDB. Columns: session_id, steps, bytes, started_at, ended_at, goal,
    outcome, reward, agent, model, owner, tags, start_url, hosts, input_tokens, output_tokens, cost_usd, sealed,
    last_modified, metadata. Changes after the last `catalog update` are not found.

    Prints the start, outcome, number of steps, id and goal of each session. With --json, prints all columns.
    """
    rows = run(_find(root, condition or "", {"order_by": order_by} if order_by else {}, limit))
    for row in rows:
        echo(json_line(_facts(row)) if as_json else _text(row))
    if not (rows or as_json or limit == 0):
        echo("no session meets the condition" if condition else "there are no sessions in the catalogue", err=True)


async def _find(root: str | None, condition: str, order: Mapping[str, str], limit: int | None) -> list[dict[str, Any]]:
    from storage_manager.catalog import find_sessions

    async with open_root(root) as storage:
        return await find_sessions(storage, condition, **order, limit=limit)


def _facts(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}


def _text(row: Mapping[str, Any]) -> str:
    goal = one_line(row["goal"] or "")
    goal = goal if len(goal) <= _LONGEST_GOAL else goal[: _LONGEST_GOAL - 3] + "..."
    cells = [f"{moment(row['started_at']) or '-':<20}", f"{one_line(row['outcome'] or '-'):<9}"]
    return "  ".join([*cells, f"{count(row['steps'], 'step'):>10}", row["session_id"], goal]).rstrip()
