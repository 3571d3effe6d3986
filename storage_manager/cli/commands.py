"""All commands, in the order in which a newcomer meets them."""

from typing import Any

import click

from storage_manager import __version__
from storage_manager.cli.convert import export, import_, render, view
from storage_manager.cli.look import check, info, ls, share, show
from storage_manager.cli.move import cp, get, purge, put, rm
from storage_manager.cli.process import BROKEN_PIPE, NAME
from storage_manager.cli.trust import seal, verify

__all__ = ["cli"]

_COMMANDS = (info, check, put, ls, show, view, get, cp, seal, verify, export, import_, render, share, purge, rm)


class _InOrder(click.Group):
    """Lists its commands as they were added, not by the alphabet; a reader that has left is no failure of ours."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; click itself would make a failure of a broken pipe, exit code 1."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            return BROKEN_PIPE


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name=NAME)
def cli() -> None:
    """Sessions of browser agents, on S3 or on local disk: look at them, move them, verify them.

    The place is --root URL (s3://bucket/prefix, /data, file:///data, ...), or what the SM_* variables name, or
    ./.storage_data. Credentials are found as botocore finds them: AWS_* variables, profiles, roles.

    \b
    Exit codes: 0 done, 1 problems found, 2 wrong usage, 3 storage refused,
    130 interrupted (run it again to go on).

    \b
    Examples:
      storage-manager put recordings/                  into ./.storage_data
      storage-manager ls --long --root s3://bucket
      storage-manager cp /data s3://bucket/archive
      storage-manager verify --root s3://bucket/archive
    """


for _command in _COMMANDS:
    cli.add_command(_command)
