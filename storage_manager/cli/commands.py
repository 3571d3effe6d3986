"""The group of all commands, in the order in which a newcomer needs them. A command's module is imported if it is used.

To import all modules takes longer than to list the sessions of a local root.
"""

from importlib import import_module
from typing import Any

import click

from storage_manager import __version__
from storage_manager.cli.options import common_options
from storage_manager.cli.process import BROKEN_PIPE, NAME

__all__ = ["cli"]

# The names of the commands. Each is a function in a module of this name.
_COMMANDS = (
    *("demo", "info", "check", "put", "ls", "show", "tail", "view", "get", "cp", "seal", "verify", "find", "catalog"),
    *("export", "import", "render", "share", "purge", "rm", "completion"),
)

_ELSEWHERE = {"list": "ls", "delete": "rm", "remove": "rm", "copy": "cp", "cat": "show"}  # in other programs


class _Commands(click.Group):
    """A group that lists its commands in the order of the table, and accepts a broken pipe."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in that order. click would sort them by the alphabet."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; return None if there is none of this name."""
        if cmd_name not in _COMMANDS:
            return None
        name = "import_" if cmd_name == "import" else cmd_name  # `import` is a word of Python
        command: click.Command = getattr(import_module(f"storage_manager.cli.{name}"), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command. For a mistyped name, say which one is similar."""
        if args and not args[0].startswith("-") and args[0] not in _COMMANDS:
            from storage_manager.cli.root import did_you_mean  # only mistakes need it

            known = _ELSEWHERE.get(args[0])
            ctx.fail(f"there is no command {args[0]}{did_you_mean(known or args[0], _COMMANDS)}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. After a broken pipe, return its own exit code: click would exit with 1."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            return BROKEN_PIPE


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@common_options
@click.version_option(__version__, prog_name=NAME)
def cli() -> None:
    """Inspect, copy, verify and convert recorded sessions of browser agents.

    The root contains the sessions, on S3 or on local disk. Name it with --root URL (s3://bucket/prefix, /data,
    file:///data, ...), before or after the command. Without --root, the URL in SM_ROOT is used; if it is not set, the
    root that the other SM_* variables name; if there are none, ./.storage_data. Credentials are found as botocore finds
    them: in AWS_* variables, profiles or roles.

    \b
    Exit codes: 0 done, 1 problems found, 2 wrong usage, 3 storage error,
    130 interrupted (run the command again to continue).

    \b
    Examples:
      storage-manager demo                             a sample session in a browser
      storage-manager put recordings/                  into ./.storage_data
      storage-manager ls --long --root s3://bucket
      storage-manager cp /data s3://bucket/archive
      storage-manager verify --root s3://bucket/archive
    """
