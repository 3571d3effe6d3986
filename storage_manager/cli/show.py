"""The command `show`."""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import click

from storage_manager.backends import FileInfo
from storage_manager.cli.completion import complete_sessions, complete_steps
from storage_manager.cli.options import command, json_option, root_option
from storage_manager.cli.process import run
from storage_manager.cli.root import open_root, require_step
from storage_manager.cli.session_view import SessionView, load_session
from storage_manager.cli.terminal import echo_bytes, echo_lines
from storage_manager.cli.text import columns, indented, json_line, moment, one_line, paragraphs, size
from storage_manager.errors import InvalidDataError, LocalStorageError
from storage_manager.layout import ALL_COMPONENTS, COMPONENTS, Component, formats, is_attachment_name

__all__ = ["show"]

# The fields that are printed first, and their keys in the metadata that the recorder and the importers write.
_FIRST = {"url": "url", "title": "title", "time": "timestamp"}


class _StoredFile(NamedTuple):
    """A component or attachment that exists: its entry in the listing, and its URL."""

    file: FileInfo
    url: str


class _StepView(NamedTuple):
    """A step as `show` prints it. The action and the metadata are None if they are missing or cannot be read."""

    url: str
    components: dict[Component, _StoredFile]
    action: dict[str, Any] | None
    metadata: dict[str, Any] | None
    attachments: dict[str, _StoredFile]


@command(
    "show run-1",
    "show run-1 step_000001",
    "show run-1 step_000001 --json",
    "show run-1 step_000001 --component html | less",
    "show run-1 step_000001 --component screenshot -o step.png",
)
@root_option
@click.argument("session", shell_complete=complete_sessions)
@click.argument("step", shell_complete=complete_steps, required=False)
@click.option("--component", type=click.Choice(ALL_COMPONENTS), help="Write the stored bytes of this component.")
@click.option("--output", "-o", type=click.Path(dir_okay=False), help="Write the component to this file.")
@json_option
def show(
    root: str | None, session: str, step: str | None, component: Component | None, output: str | None, as_json: bool
) -> int:
    """Print a session or a step, or write one component of a step.

    For a session, prints the number of steps, the size, the metadata, and how many steps have each component. For a
    step, prints the URL and title of the page, the time, the action and the metadata, and the size and URL of each
    component. A component is written as it is stored. Only on a terminal, its control characters are escaped. The exit
    code is 1 if the action or the metadata exists but cannot be read.
    """
    if component and step is None:
        raise click.UsageError("--component needs a STEP")
    if component and step:
        _write(root, session, step, component, output)
        return 0
    if output:
        raise click.UsageError("--output needs --component")
    return _show_session(root, session, as_json) if step is None else _show_step(root, session, step, as_json)


def _show_session(root: str | None, session: str, as_json: bool) -> int:
    view = run(_load_session(root, session))
    echo_lines([view.json()] if as_json else view.lines())
    return int(not view.is_readable)


async def _load_session(root: str | None, session: str) -> SessionView:
    async with open_root(root) as storage:
        return await load_session(storage, session)


def _show_step(root: str | None, session: str, step: str, as_json: bool) -> int:
    view = run(_load(root, session, step))
    echo_lines([json_line(_facts(session, step, view))] if as_json else _lines(view))
    values = {"action": view.action, "metadata": view.metadata}
    return int(any(name in view.components and value is None for name, value in values.items()))


def _write(root: str | None, session: str, step: str, component: Component, output: str | None) -> None:
    if output is None and component == "screenshot" and sys.stdout.isatty():
        raise click.UsageError("a screenshot is not text, so it cannot be shown on a terminal: give -o FILE")
    data = run(_read(root, session, step, component))
    if output is not None:
        _write_file(Path(output), data)
    else:
        echo_bytes(data)


def _write_file(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        advice = "create its directory, or " if isinstance(error, FileNotFoundError) else ""
        why = f"cannot write {path}: {error.strerror} ({advice}give another file with --output)"
        raise LocalStorageError(why, operation="retrieve", url=str(path)) from error


async def _read(root: str | None, session: str, step: str, component: Component) -> bytes:
    async with open_root(root) as storage:
        await require_step(storage, session, step)
        answer = (await storage.read_step(session, step, components=[component]))[component]
        if isinstance(answer, bytes):
            return answer
        url = storage.url_for(session, step, component)
        why = f"cannot retrieve {url}: the step has no component {component}"
        raise answer or InvalidDataError(why, operation="retrieve", url=url)


async def _load(root: str | None, session: str, step: str) -> _StepView:
    async with open_root(root) as storage:
        files = await require_step(storage, session, step)
        components: dict[Component, _StoredFile] = {
            row.name: _StoredFile(files[row.filename], storage.url_for(session, step, row.name))
            for row in COMPONENTS
            if row.filename in files
        }
        wanted: list[Component] = [row.name for row in formats(["action", "metadata"]) if row.name in components]
        data = await storage.retrieve_step_data(session, step, components=wanted)  # logs a warning if one is unreadable
        attachments = {
            name: _StoredFile(file, storage.url_for(session, step, attachment=name))
            for name, file in files.items()
            if is_attachment_name(name)
        }
        return _StepView(storage.url_for(session, step), components, data.action, data.metadata, attachments)


def _facts(session: str, step: str, view: _StepView) -> dict[str, Any]:
    components, attachments = (
        {
            name: {"url": url, "size": file.size, "modified": moment(file.modified)}
            for name, (file, url) in found.items()
        }
        for found in (view.components, view.attachments)
    )
    ids = {"session_id": session, "step_id": step, "url": view.url}
    values = {"action": view.action, "metadata": view.metadata}
    return {**ids, **values, "components": components, **({"attachments": attachments} if attachments else {})}


def _lines(view: _StepView) -> list[str]:
    metadata = view.metadata or {}
    rows = [(name, one_line(metadata[key])) for name, key in _FIRST.items() if metadata.get(key) is not None]
    rows += [("action", json.dumps(view.action, ensure_ascii=False))] if view.action is not None else []
    components = [
        (name, f"{size(file.size):>9}  {url}")
        for name, (file, url) in [*view.components.items(), *view.attachments.items()]
    ]
    return paragraphs(columns(rows), columns(components), indented("metadata", metadata))
