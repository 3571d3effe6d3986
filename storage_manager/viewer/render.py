"""A session as one HTML file, which opens from disk and asks nobody for anything."""

import asyncio
import base64
import hashlib
import json
import os
import uuid
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from storage_manager.aio import map_ahead, run_to_end
from storage_manager.errors import InvalidDataError, StorageManagerError, translating
from storage_manager.layout import COMPONENTS, ComponentSpec, formats
from storage_manager.storage import StorageManager
from storage_manager.viewer.components import read
from storage_manager.viewer.step_changes import changes_of
from storage_manager.viewer.templating import asset, page

__all__ = ["render_session"]

CONCURRENCY = 4  # steps that are in memory

[_HTML] = formats(["html"])

# For the file as a whole, and with it for the stored pages, which are srcdocs in it; as guard.OWN_POLICY.
_POLICY = (
    "default-src 'none'; script-src '{script}'; style-src 'unsafe-inline'; img-src blob: data:; font-src data:; "
    "frame-src 'none'; base-uri 'none'; form-action 'none'"
)
# No text in JSON can end its element, or begin a comment in which the end is not seen.
_ESCAPES = [(char, f"\\u{ord(char):04x}") for char in "<>&\u2028\u2029"]


async def render_session(storage: StorageManager, session_id: str, path: str | os.PathLike[str]) -> str:
    """Write one HTML file that replays a session from disk, offline; returns its absolute path.

    It appears, and replaces a file of that name, when it is complete; a failure or a cancellation leaves what was
    there. Stored pages are shown in a sandbox in which nothing runs or loads. A component that is there and cannot be
    read is shown as such. Memory is bounded by a few steps; the file has all components, screenshots 4/3 as large.

    Parameters:
        path: of the file, in a directory that exists.

    Raises:
        InvalidIdError, InvalidDataError: refused before anything is written: no id, no such session, no path.
        S3OperationError, S3ConfigError, LocalStorageError, StorageManagerError: the session cannot be listed, or the
            file not be written; jinja2 is not installed.
    """
    with translating("view", storage.url_for()):
        target = await asyncio.to_thread(_target, path)
        steps = await storage.list_steps_for_session(session_id)
        if not steps:
            raise InvalidDataError(f"there is no session {session_id} at {storage.url_for()}", operation="view")
        before, after = _shell(session_id, steps)
    with translating("view", str(target)):
        await _write(target, before, _blocks(storage, session_id, steps), after)
    return str(target)


def _target(path: str | os.PathLike[str]) -> Path:
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path) or "\0" in str(os.fspath(path)):
        raise InvalidDataError("cannot view: path must name a file", operation="view")
    target = Path(os.path.abspath(os.fsdecode(path)))
    if os.path.isdir(target):
        raise InvalidDataError(f"cannot view: {target} is a directory: name a file in it", operation="view")
    if not os.path.isdir(target.parent):
        raise InvalidDataError(f"cannot view: there is no directory {target.parent}", operation="view")
    return target


def _shell(session_id: str, steps: Sequence[str]) -> tuple[str, str]:
    """The page before and after the blocks with what is stored."""
    script = asset("viewer.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = page(
        "file",
        session_id=session_id,
        data={"session": session_id, "steps": steps, "live": False},
        policy=_POLICY.format(script=f"sha256-{digest}"),
        script=script,
        style=asset("viewer.css"),
    )
    before, _, after = text.rpartition("<!-- blocks -->")
    return before, after


class _Read(NamedTuple):
    """One step: for each component its bytes, None, or why it cannot be read."""

    number: int
    values: dict[ComponentSpec, bytes | str | None]


async def _blocks(storage: StorageManager, session_id: str, steps: Sequence[str]) -> AsyncGenerator[list[str], None]:
    """What is stored, step by step, as elements of the page."""

    async def load(number: int) -> _Read:
        return _Read(number, await _values(storage, session_id, steps[number]))

    html: bytes | str | None = None
    async with aclosing(map_ahead(load, range(len(steps)), CONCURRENCY)) as reads:
        async for step in reads:
            earlier, html = html, step.values[_HTML]
            since = steps[step.number - 1] if step.number else None
            yield await asyncio.to_thread(list, _elements(step, steps, since, earlier))


async def _values(storage: StorageManager, session_id: str, step_id: str) -> dict[ComponentSpec, bytes | str | None]:
    values: dict[ComponentSpec, bytes | str | None] = {}
    failed: list[StorageManagerError] = []
    for row in COMPONENTS:
        try:
            values[row] = await read(storage, session_id, step_id, row.name)
        except StorageManagerError as error:
            values[row] = str(error)
            failed.append(error)
    if len(failed) == len(COMPONENTS):  # it is the place that fails
        raise failed[0]
    return values


def _elements(step: _Read, steps: Sequence[str], since: str | None, earlier: bytes | str | None) -> Iterator[str]:
    for row, value in step.values.items():
        if value is not None:
            yield _element(step.number, steps[step.number], row.name, **_content(row, value))
    html = step.values[_HTML]
    changes = changes_of(since, *(value if isinstance(value, bytes) else None for value in (earlier, html)))
    yield _element(step.number, steps[step.number], "changes", _json(changes))


def _content(row: ComponentSpec, value: bytes | str) -> dict[str, str]:
    if isinstance(value, str):
        return {"text": _json(value), "kind": "error"}
    kind = row.content_type(value)
    if kind.startswith("image/"):
        return {"text": base64.b64encode(value).decode(), "kind": kind}
    return {"text": _json(value.decode(errors="replace")), "kind": "text"}


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    for char, escape in _ESCAPES:
        text = text.replace(char, escape)
    return text


def _element(number: int, step_id: str, component: str, text: str, kind: str = "json") -> str:
    """Data, which no browser runs; ids of steps have no character that HTML gives a meaning."""
    names = f'id="c-{number}-{component}" data-step="{step_id}" data-component="{component}" data-kind="{kind}"'
    return f'<script type="application/json" {names}>{text}</script>\n'


class _File:
    """A hidden file beside the target, which gets its name in the end; for one thread at a time."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._path = target.with_name(f".{uuid.uuid4().hex}.part")
        self._file: IO[str] | None = None

    def create(self, text: str) -> None:
        self._file = open(self._path, "x", encoding="utf-8", errors="replace", newline="")  # noqa: SIM115 (see remove)
        self._file.write(text)

    def add(self, texts: Iterable[str]) -> None:
        assert self._file
        self._file.writelines(texts)

    def publish(self, text: str) -> None:
        self.add([text])
        self.close()
        os.replace(self._path, self._target)

    def close(self) -> None:
        if self._file:
            self._file.close()

    def remove(self) -> None:
        """Where it was not published; a disk that is full may refuse to close it, which is reported already."""
        with suppress(OSError):
            self.close()
        self._path.unlink(missing_ok=True)


async def _write(target: Path, before: str, blocks: AsyncGenerator[list[str], None], after: str) -> None:
    """All of it, in threads, each of which is awaited: a cancellation leaves nothing behind."""
    file = _File(target)
    try:
        await run_to_end(asyncio.to_thread(file.create, before))
        async with aclosing(blocks):
            async for block in blocks:
                await run_to_end(asyncio.to_thread(file.add, block))
        await run_to_end(asyncio.to_thread(file.publish, after))
    finally:
        await run_to_end(asyncio.to_thread(file.remove))
