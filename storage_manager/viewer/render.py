"""Write a session as one HTML file, which opens from disk and sends no request."""

import asyncio
import base64
import hashlib
import json
import os
import uuid
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from storage_manager.aio import Progress, map_ahead, run_to_end
from storage_manager.arguments import check_callable
from storage_manager.errors import InvalidDataError, StorageManagerError, translating
from storage_manager.inventory import list_files
from storage_manager.layout import COMPONENTS, MANIFEST_FILENAME, Component, ComponentSpec, check_id, is_attachment
from storage_manager.storage import StorageManager, check_storage
from storage_manager.viewer.attachments import read_session_metadata
from storage_manager.viewer.changes import compare_steps
from storage_manager.viewer.templating import render_page, script, style

__all__ = ["render_session"]

CONCURRENCY = 4  # steps in memory

_Answer = bytes | StorageManagerError | None

# The policy of the file, and so of the stored pages, which are srcdocs in it. Compare guard.OWN_POLICY.
_POLICY = (
    "default-src 'none'; script-src '{script}'; style-src 'unsafe-inline'; img-src blob: data:; font-src data:; "
    "frame-src 'none'; base-uri 'none'; form-action 'none'"
)
# With these escapes, no text in the JSON can end its script element, or begin a comment that hides the end.
_ESCAPES = [(char, f"\\u{ord(char):04x}") for char in "<>&\u2028\u2029"]


async def render_session(
    storage: StorageManager,
    session_id: str,
    path: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
) -> str:
    """Write one HTML file that replays a session from disk, offline. Return its absolute path.

    The file appears when it is complete, and then replaces a file of the same name; a failure or a cancellation leaves
    that file unchanged. Stored pages are shown in a sandbox, in which no script runs and nothing is loaded. If a
    component cannot be read, the file shows the error instead. Memory is bounded by a few steps. The file contains all
    components, and the metadata of the session; a screenshot takes 4/3 of its size. It does not contain attachments,
    and says how many there are.

    Parameters:
        path: the file to write. Its directory must exist.
        progress: called on the event loop with the number of steps that are in the file, and of all steps.

    Raises:
        InvalidIdError, InvalidDataError: refused before anything is written: the id or the path cannot be used, or
            there is no such session.
        S3OperationError, S3ConfigError, LocalStorageError, StorageManagerError: the session cannot be listed, no
            component of a step can be read, the file cannot be written, or jinja2 is not installed.
        TypeError: `storage` is not a StorageManager, or progress is not a function.
    """
    check_storage(storage)
    check_callable(progress, "progress", "the numbers of steps done and in all")
    with translating("render", storage.url_for()):
        target = await asyncio.to_thread(_target, path)
        steps, about = await storage.list_steps_for_session(session_id), await _about(storage, session_id)
        if not steps and not about["metadata"] and not about["attachments"]:
            why = f"there is no session {session_id} at {storage.url_for()}"
            raise InvalidDataError(f"cannot render: {why}", operation="render")
        before, after = _shell(check_id(session_id, "session_id"), steps, about)
    with translating("render", str(target)):
        await _write(target, before, _blocks(storage, session_id, steps, progress or (lambda done, total: None)), after)
    return str(target)


def _target(path: str | os.PathLike[str]) -> Path:
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path) or "\0" in str(os.fspath(path)):
        raise InvalidDataError("cannot render: path must name a file", operation="render")
    target = Path(os.path.abspath(os.fsdecode(path)))
    if os.path.islink(target):  # the file is renamed to the target, which would replace a link such as /dev/stdout
        target = Path(os.path.realpath(target))
    if os.path.exists(target) and not os.path.isfile(target) and not os.path.isdir(target):
        raise InvalidDataError(f"cannot render: {target} is a pipe or a device; name a file", operation="render")
    if os.path.isdir(target):
        raise InvalidDataError(f"cannot render: {target} is a directory; name a file in it", operation="render")
    if not os.path.isdir(target.parent):
        raise InvalidDataError(f"cannot render: the directory {target.parent} does not exist", operation="render")
    return target


async def _about(storage: StorageManager, session_id: str) -> dict[str, Any]:
    """Return the session's metadata, the number of attachments that are left out, and whether it is sealed."""
    names = [file.name async for file in list_files(storage, session_id)]
    metadata = await _session_metadata(storage, session_id)
    return {
        "metadata": metadata,
        "attachments": sum(map(is_attachment, names)),
        "sealed": MANIFEST_FILENAME in names,
    }


async def _session_metadata(storage: StorageManager, session_id: str) -> dict[str, str] | None:
    """Return the metadata of a session as `text`, or why it cannot be read as `error`; None if there is none."""
    try:
        data = await read_session_metadata(storage, session_id)
    except StorageManagerError as error:
        return {"error": str(error)}
    return None if data is None else {"text": data.decode(errors="replace")}


def _shell(session_id: str, steps: Sequence[str], about: Mapping[str, Any]) -> tuple[str, str]:
    """Return the page in two parts: before and after the elements with stored data."""
    digest = base64.b64encode(hashlib.sha256(script().encode()).digest()).decode()
    text = render_page(
        "file",
        session_id=session_id,
        data={"session": session_id, "steps": steps, "live": False, **about},
        policy=_POLICY.format(script=f"sha256-{digest}"),
        script=script(),
        style=style(),
    )
    before, _, after = text.rpartition("<!-- blocks -->")
    return before, after


class _Step(NamedTuple):
    """One step, with its components as `read_step` returns them."""

    number: int
    answers: Mapping[Component, _Answer]


async def _blocks(
    storage: StorageManager, session_id: str, steps: Sequence[str], progress: Progress
) -> AsyncGenerator[list[str], None]:
    """Yield the stored data of each step as elements of the page. The backend stays open until the last step."""

    async def read(number: int) -> _Step:
        return _Step(number, await _read_step(storage, session_id, steps[number]))

    html: _Answer = None
    progress(0, len(steps))
    async with storage.backend(), aclosing(map_ahead(read, range(len(steps)), CONCURRENCY)) as read_ahead:
        async for step in read_ahead:
            earlier, html = html, step.answers["html"]
            yield await asyncio.to_thread(list, _elements(step, steps, earlier))
            progress(step.number + 1, len(steps))


async def _read_step(storage: StorageManager, session_id: str, step_id: str) -> Mapping[Component, _Answer]:
    """Read the components of a step. Raise the error if no component can be read, because then the storage fails."""
    answers = await storage.read_step(session_id, step_id)
    failed = [answer for answer in answers.values() if isinstance(answer, StorageManagerError)]
    if len(failed) == len(answers):
        raise failed[0]
    return answers


def _elements(step: _Step, steps: Sequence[str], earlier: _Answer) -> Iterator[str]:
    """Yield the elements of a step. The last one is the comparison with `earlier`, the HTML of the step before."""
    step_id = steps[step.number]
    for spec in COMPONENTS:
        answer = step.answers[spec.name]
        if answer is not None:
            yield _element(step.number, step_id, spec.name, **_content(spec, answer))
    since = steps[step.number - 1] if step.number else None
    pages = [answer if isinstance(answer, bytes) else None for answer in (earlier, step.answers["html"])]
    yield _element(step.number, step_id, "changes", _json(compare_steps(since, *pages)))


def _content(spec: ComponentSpec, answer: bytes | StorageManagerError) -> dict[str, str]:
    if isinstance(answer, StorageManagerError):
        return {"text": _json(str(answer)), "kind": "error"}
    kind = spec.content_type(answer)
    if kind.startswith("image/"):
        return {"text": base64.b64encode(answer).decode(), "kind": kind}
    return {"text": _json(answer.decode(errors="replace")), "kind": "text"}


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    for char, escape in _ESCAPES:
        text = text.replace(char, escape)
    return text


def _element(number: int, step_id: str, component: str, text: str, kind: str = "json") -> str:
    """Return a script element with data, which browsers do not run. Step ids need no escaping in HTML."""
    names = f'id="c-{number}-{component}" data-step="{step_id}" data-component="{component}" data-kind="{kind}"'
    return f'<script type="application/json" {names}>{text}</script>\n'


class _File:
    """A hidden file beside the target, which is renamed to the target at the end. One thread uses it at a time."""

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
        """Remove the file if it was not published."""
        with suppress(OSError):  # closing fails if the disk is full, and the write before has raised that error
            self.close()
        self._path.unlink(missing_ok=True)


async def _write(target: Path, before: str, blocks: AsyncGenerator[list[str], None], after: str) -> None:
    """Write the file in threads. Await each thread to its end, so that a cancellation leaves no file behind."""
    file = _File(target)
    try:
        await run_to_end(asyncio.to_thread(file.create, before))
        async with aclosing(blocks):
            async for block in blocks:
                await run_to_end(asyncio.to_thread(file.add, block))
        await run_to_end(asyncio.to_thread(file.publish, after))
    finally:
        await run_to_end(asyncio.to_thread(file.remove))
