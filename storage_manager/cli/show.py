"""One step: `show`."""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import click

from storage_manager.backends import FileInfo
from storage_manager.cli.place import command, found_at, json_option, open_place, root_option
from storage_manager.cli.process import run, shown
from storage_manager.cli.text import as_json as line
from storage_manager.cli.text import columns, moment, one_line, size
from storage_manager.inventory import read_stored
from storage_manager.layout import ALL_COMPONENTS, COMPONENTS, Component, formats

__all__ = ["show"]


# what is shown first, and what the recorder and the importers call it in the metadata
_FIRST = {"url": "url", "title": "title", "time": "timestamp"}


class _Part(NamedTuple):
    """A component that is there: what the listing says of it, and its URL."""

    found: FileInfo
    url: str


class _Look(NamedTuple):
    """A step as `show` prints it; action and metadata are None where they are not there or cannot be read."""

    url: str
    parts: dict[Component, _Part]
    action: dict[str, Any] | None
    metadata: dict[str, Any] | None


@command(
    "show run-1 step_000001",
    "show run-1 step_000001 --json",
    "show run-1 step_000001 --component html | less",
    "show run-1 step_000001 --component screenshot -o step.png",
)
@root_option
@click.argument("session")
@click.argument("step")
@click.option("--component", type=click.Choice(ALL_COMPONENTS), help="Write its bytes as they are stored.")
@click.option("--output", "-o", type=click.Path(dir_okay=False), help="Write the component to this file.")
@json_option
def show(
    root: str | None, session: str, step: str, component: Component | None, output: str | None, as_json: bool
) -> int:
    """Show a step, or write one of its components.

    Its url, title, time, action and metadata, and its components with sizes and URLs. The exit code is 1 where the
    action or the metadata is there and cannot be read.
    """
    if component:
        _write(root, session, step, component, output)
        return 0
    if output:
        raise click.UsageError("--output is for a --component")
    look = run(_look(root, session, step))
    click.echo(line(_facts(session, step, look)) if as_json else shown(_text(look)))
    return int(any(name in look.parts and getattr(look, name) is None for name in ("action", "metadata")))


def _write(root: str | None, session: str, step: str, component: Component, output: str | None) -> None:
    if output is None and component == "screenshot" and sys.stdout.isatty():
        raise click.UsageError("a screenshot is no text for a terminal: give -o FILE")
    data = run(_read(root, session, step, component))
    if output is None:
        click.echo(data, nl=False)
    else:
        Path(output).write_bytes(data)


async def _read(root: str | None, session: str, step: str, component: Component) -> bytes:
    async with open_place(root) as storage:
        await found_at(storage, session, step)
        [data] = await read_stored(storage, [storage.url_for(session, step, component)], "retrieve")
        return data


async def _look(root: str | None, session: str, step: str) -> _Look:
    async with open_place(root) as storage:
        files = await found_at(storage, session, step)
        rows = [row for row in COMPONENTS if row.filename in files]
        parts: dict[Component, _Part] = {
            row.name: _Part(files[row.filename], storage.url_for(session, step, row.name)) for row in rows
        }
        wanted: list[Component] = [row.name for row in formats(["action", "metadata"]) if row.name in parts]
        data = await storage.retrieve_step_data(session, step, components=wanted)  # warns of what it cannot read
        return _Look(storage.url_for(session, step), parts, data.action, data.metadata)


def _facts(session: str, step: str, look: _Look) -> dict[str, Any]:
    parts = {
        name: {"url": url, "size": found.size, "modified": moment(found.modified)}
        for name, (found, url) in look.parts.items()
    }
    ids = {"session_id": session, "step_id": step, "url": look.url}
    return {**ids, "action": look.action, "metadata": look.metadata, "components": parts}


def _text(look: _Look) -> str:
    metadata = look.metadata or {}
    rows = [(name, one_line(metadata[key])) for name, key in _FIRST.items() if metadata.get(key) is not None]
    rows += [("action", json.dumps(look.action, ensure_ascii=False))] if look.action is not None else []
    parts = [(name, f"{size(found.size):>9}  {url}") for name, (found, url) in look.parts.items()]
    pretty = [f"metadata  {json.dumps(metadata, indent=2, ensure_ascii=False)}"] if metadata else []
    return "\n\n".join(filter(None, [columns(rows), columns(parts), *pretty]))
