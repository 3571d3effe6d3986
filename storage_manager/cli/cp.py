"""The command `cp`."""

import click

from storage_manager.cli.completion import complete_sessions
from storage_manager.cli.copying import CopyRoot, copy
from storage_manager.cli.options import command, dry_run_option, quiet_option

__all__ = ["cp"]


@command("cp /data s3://bucket/archive", "cp s3://bucket /data run-1 run-2")
@click.argument("source", metavar="SOURCE_URL")
@click.argument("target", metavar="TARGET_URL")
@click.argument("sessions", shell_complete=complete_sessions, metavar="[SESSION]...", nargs=-1)
@click.option("--source-endpoint", metavar="URL", help="S3 endpoint of the source. Default: SM_S3_ENDPOINT_URL.")
@click.option("--target-endpoint", metavar="URL", help="S3 endpoint of the target. Default: SM_S3_ENDPOINT_URL.")
@click.option("--source-profile", metavar="NAME", help="AWS profile for the source.")
@click.option("--target-profile", metavar="NAME", help="AWS profile for the target.")
@dry_run_option
@quiet_option
def cp(source: str, target: str, sessions: tuple[str, ...], dry_run: bool, quiet: bool, **options: str | None) -> int:
    """Copy some sessions, or all, from one root to another.

    Copies byte for byte. Files that are already there with the same bytes are not sent again: after an interruption
    or a failure, run it again to continue. Nothing changes at the source, and nothing is deleted at the target. Files
    that are not part of a session are left behind and named; then the exit code is 1.
    """
    source_root, target_root = _copy_root(source, options, "source"), _copy_root(target, options, "target")
    return copy(source_root, target_root, list(sessions) or None, quiet=quiet, dry_run=dry_run)


def _copy_root(url: str, options: dict[str, str | None], end: str) -> CopyRoot:
    endpoint, profile = options[f"{end}_endpoint"], options[f"{end}_profile"]
    if (endpoint or profile) and not url.lower().startswith(("s3://", "s3a://")):
        raise click.UsageError(f"--{end}-endpoint and --{end}-profile are only for S3, and the {end} is not on S3")
    return CopyRoot(url, {"s3_endpoint_url": endpoint, "storage_options": {"profile": profile} if profile else None})
