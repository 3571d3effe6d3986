"""The group of all commands, in the order in which a newcomer needs them."""

from typing import Any

import click

from storage_manager import __version__
from storage_manager.cli.catalog import catalog
from storage_manager.cli.check import check
from storage_manager.cli.cp import cp
from storage_manager.cli.demo import demo
from storage_manager.cli.export import export
from storage_manager.cli.find import find
from storage_manager.cli.get import get
from storage_manager.cli.import_ import import_
from storage_manager.cli.info import info
from storage_manager.cli.ls import ls
from storage_manager.cli.options import common_options
from storage_manager.cli.process import BROKEN_PIPE, NAME
from storage_manager.cli.purge import purge
from storage_manager.cli.put import put
from storage_manager.cli.render import render
from storage_manager.cli.rm import rm
from storage_manager.cli.root import did_you_mean
from storage_manager.cli.seal import seal
from storage_manager.cli.share import share
from storage_manager.cli.show import show
from storage_manager.cli.tail import tail
from storage_manager.cli.verify import verify
from storage_manager.cli.view import view

__all__ = ["cli"]

_COMMANDS = (
    *(demo, info, check, put, ls, show, tail, view, get, cp, seal, verify, find, catalog),
    *(export, import_, render, share, purge, rm),
)


class _Commands(click.Group):
    """A group that lists its commands in the order in which they were added, and accepts a broken pipe."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in that order. click would sort them by the alphabet."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command. For a mistyped name, say which one is similar."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            ctx.fail(f"there is no command {args[0]}{did_you_mean(args[0], self.list_commands(ctx))}")
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

    The root contains the sessions, on S3 or on local disk. It is --root URL (s3://bucket/prefix, /data,
    file:///data, ...), before or after the command; else the URL in SM_ROOT; else the root that the other SM_*
    variables name; else ./.storage_data. Credentials are found as botocore finds them: AWS_* variables, profiles,
    roles.

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


for _command in _COMMANDS:
    cli.add_command(_command)
