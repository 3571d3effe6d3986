"""The command `export`."""

from collections.abc import Sequence
from typing import Any

import click

from storage_manager.cli.completion import complete_sessions
from storage_manager.cli.options import command, quiet_option, root_option
from storage_manager.cli.process import run
from storage_manager.cli.progress import Progress
from storage_manager.cli.root import open_root, require_sessions
from storage_manager.cli.terminal import echo
from storage_manager.cli.text import count
from storage_manager.config import arguments_of
from storage_manager.inventory import count_steps
from storage_manager.layout import ALL_COMPONENTS, Component
from storage_manager.storage import StorageManager

__all__ = ["export"]


@command(
    "export parquet exports/steps",
    "export parquet exports/index --component action --component metadata",
    "export webdataset s3://bucket/shards run-1 run-2 --root /data",
)
@root_option
@click.argument("kind", metavar="parquet|webdataset", type=click.Choice(["parquet", "webdataset"]))
@click.argument("url", metavar="URL")
@click.argument("sessions", shell_complete=complete_sessions, metavar="[SESSION]...", nargs=-1)
@click.option(
    "--component",
    "components",
    type=click.Choice(ALL_COMPONENTS),
    multiple=True,
    help="Export only this component; can be repeated. Only for parquet.",
)
@click.option(
    "--attachment",
    "attachments",
    metavar="NAME",
    multiple=True,
    help="Also export this attachment of the steps; can be repeated. Only for parquet.",
)
@click.option("--incomplete", is_flag=True, help="Also export steps that lack a component. Only for webdataset.")
@quiet_option
def export(
    root: str | None,
    kind: str,
    url: str,
    sessions: tuple[str, ...],
    components: tuple[Component, ...],
    attachments: tuple[str, ...],
    incomplete: bool,
    quiet: bool,
) -> None:
    """Export sessions as Parquet files or WebDataset shards.

    Exports the named sessions, or all, into a directory at any fsspec URL. Each step becomes one row or one sample.

    An export that already exists there is replaced only when the new one is complete.
    """
    given = {"--component": (components, "parquet"), "--attachment": (attachments, "parquet")}
    for option, (value, only) in {**given, "--incomplete": (incomplete, "webdataset")}.items():
        if value and kind != only:
            raise click.UsageError(f"{option} is only for {only}")
    parquet = {"components": components or ALL_COMPONENTS, "attachments": attachments}
    options = parquet if kind == "parquet" else {"complete_only": not incomplete}
    with Progress("exporting", "read", quiet=quiet, advice="nothing was changed at the target") as progress:
        done = run(_export(root, kind, url, list(sessions) or None, options, progress))
    echo(done)


async def _export(
    root: str | None, kind: str, url: str, sessions: Sequence[str] | None, options: dict[str, Any], progress: Progress
) -> str:
    from storage_manager.export import export_parquet, export_webdataset

    async with open_root(root) as storage:
        await require_sessions(storage, sessions or ())
        progress(0, await count_steps(storage, sessions, strict=False))
        options = {"storage_options": _storage_options(url), "progress": progress, **options}
        if kind == "parquet":
            return f"{count(await export_parquet(storage, url, sessions, **options), 'row')} in {url}"
        return f"{count(len(await export_webdataset(storage, url, sessions, **options)), 'shard')} in {url}"


def _storage_options(url: str) -> dict[str, Any] | None:
    """Return fsspec's options for an export to S3, from the same SM_* variables as for sessions, else None."""
    is_s3 = "s3_bucket_name" in (arguments_of(url) or {})
    return StorageManager.from_url(url).storage_options if is_s3 else None
