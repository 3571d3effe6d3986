"""The decorator that makes a command, and the options that several commands have."""

from collections.abc import Callable
from typing import Any

import click

__all__ = ["command", "json_option", "quiet_option", "root_option"]


def _set_debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    ctx.find_root().obj["debug"] = value


_debug_option = click.option(
    "--debug",
    is_flag=True,
    expose_value=False,
    callback=_set_debug,
    is_eager=True,
    help="Show the traceback of an error.",
)
root_option = click.option("--root", metavar="URL", help="Where the sessions are. Default: from the SM_* variables.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
quiet_option = click.option("--quiet", "-q", is_flag=True, help="Show no progress.")


def command(*examples: str, name: str | None = None) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a function a command that takes --debug and shows these examples below its help."""
    lines = [f"  storage-manager {example}" for example in examples]
    epilog = "\b\n" + "\n".join(["Examples:", *lines])
    return lambda function: click.command(name, epilog=epilog)(_debug_option(function))
