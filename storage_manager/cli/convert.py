"""Commands that make other things of sessions, and sessions of other things: export, import, render, view."""

import asyncio
import logging
import os
import sys
import webbrowser
from collections.abc import Sequence
from typing import Any

import click

from storage_manager.cli.place import command, open_place, quiet_option, require_session, root_option
from storage_manager.cli.process import Interrupted, run
from storage_manager.cli.progress import Progress
from storage_manager.cli.text import count
from storage_manager.config import arguments_of
from storage_manager.inventory import count_steps
from storage_manager.layout import ALL_COMPONENTS, Component
from storage_manager.storage import StorageManager

__all__ = ["export", "import_", "render", "view"]


@command(
    "export parquet exports/steps",
    "export parquet exports/index --component action --component metadata",
    "export webdataset s3://bucket/shards run-1 run-2 --root /data",
)
@root_option
@click.argument("kind", metavar="parquet|webdataset", type=click.Choice(["parquet", "webdataset"]))
@click.argument("url", metavar="URL")
@click.argument("sessions", metavar="[SESSION]...", nargs=-1)
@click.option(
    "--component", "components", type=click.Choice(ALL_COMPONENTS), multiple=True, help="Only these; parquet."
)
@click.option("--incomplete", is_flag=True, help="Steps that lack a component, too; webdataset.")
@quiet_option
def export(
    root: str | None,
    kind: str,
    url: str,
    sessions: tuple[str, ...],
    components: tuple[Component, ...],
    incomplete: bool,
    quiet: bool,
) -> None:
    """Write sessions as Parquet or as WebDataset shards.

    All sessions, or those that are named; a row or a sample a step; to a directory at any fsspec URL.

    An export that is there already is replaced when the new one is complete, not before.
    """
    if (components and kind != "parquet") or (incomplete and kind != "webdataset"):
        raise click.UsageError("--component is for parquet, --incomplete for webdataset")
    own = {"components": components or ALL_COMPONENTS} if kind == "parquet" else {"complete_only": not incomplete}
    again = "nothing was changed at the target"
    with Progress("exporting", "read", quiet=quiet, again=again) as progress:
        click.echo(run(_export(root, kind, url, list(sessions) or None, own, progress)))


async def _export(
    root: str | None, kind: str, url: str, sessions: Sequence[str] | None, own: dict[str, Any], progress: Progress
) -> str:
    from storage_manager.export import export_parquet, export_webdataset

    # a component that is missing is no news here; those that cannot be read are counted in one warning
    logging.getLogger("storage_manager.storage").setLevel(logging.ERROR)
    async with open_place(root) as storage:
        progress(0, await count_steps(storage, sessions))
        options = {"storage_options": _options(url), "progress": progress, **own}
        if kind == "parquet":
            return f"{count(await export_parquet(storage, url, sessions, **options), 'row')} in {url}"
        return f"{count(len(await export_webdataset(storage, url, sessions, **options)), 'shard')} in {url}"


def _options(url: str) -> dict[str, Any] | None:
    """Where S3 is, for an export that goes there: as for sessions, so say the SM_* variables."""
    is_s3 = "s3_bucket_name" in (arguments_of(url) or {})
    return StorageManager.from_url(url).storage_options if is_s3 else None


@command("import trace.zip", "import trace.zip --session login --root s3://bucket", name="import")
@root_option
@click.argument("file", metavar="TRACE.ZIP", type=click.Path(exists=True, dir_okay=False))
@click.option("--session", metavar="ID", help="The session's id; else from the file's name.")
def import_(root: str | None, file: str, session: str | None) -> None:
    """Store a Playwright trace as a session, a step an action.

    Prints the session's id.
    """
    click.echo(run(_import(root, file, session)))


async def _import(root: str | None, file: str, session: str | None) -> str:
    from storage_manager.importers import import_playwright_trace

    async with open_place(root, is_new=True) as storage:
        return await import_playwright_trace(storage, file, session)


@command("render run-1", "render run-1 -o /tmp/login.html")
@root_option
@click.argument("session")
@click.option("--output", "-o", type=click.Path(dir_okay=False), help="The file; else SESSION.html here.")
def render(root: str | None, session: str, output: str | None) -> None:
    """Write one HTML file that replays a session, offline.

    Prints its path.
    """
    click.echo(run(_render(root, session, output or f"{session}.html")))


async def _render(root: str | None, session: str, output: str) -> str:
    from storage_manager.viewer import render_session

    async with open_place(root) as storage:
        await require_session(storage, session)
        return await render_session(storage, session, output)


@command("view", "view run-1 --no-open", "view --port 0 --root s3://bucket")
@root_option
@click.argument("session", required=False)
@click.option("--host", default="127.0.0.1", show_default=True, help="There is no login: another shows it to others.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any that is free.")
@click.option("--no-open", is_flag=True, help="Open no browser.")
def view(root: str | None, session: str | None, host: str, port: int, no_open: bool) -> None:
    """Show the sessions in a browser, until Ctrl-C.

    Prints the URL.
    """
    try:
        run(_view(root, session, host, port, no_open))
    except Interrupted:  # which is how it ends
        click.echo("stopped")


async def _view(root: str | None, session: str | None, host: str, port: int, no_open: bool) -> None:
    from storage_manager.viewer import serve

    async with open_place(root) as storage:
        if session is not None:
            await require_session(storage, session)
        async with serve(storage, host, port) as base:
            url = base + (f"sessions/{session}" if session is not None else "")
            click.echo(f"{url}  (Ctrl-C ends it)")
            if not no_open and _has_browser():
                await asyncio.to_thread(webbrowser.open, url)
            await asyncio.Event().wait()


def _has_browser() -> bool:
    """Not a text browser, which would take the terminal over."""
    return sys.platform == "darwin" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")))
