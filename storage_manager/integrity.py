"""Seal a session, verify that it is whole, and sweep away what killed writers left in a root."""

import asyncio
import errno
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from datetime import datetime, timedelta, timezone
from functools import partial
from hashlib import sha256
from itertools import groupby
from typing import Annotated, Literal, NamedTuple, TypeVar

from pydantic import AfterValidator, BaseModel, NonNegativeInt, StringConstraints, ValidationError

from storage_manager.aio import map_ahead, run_to_end
from storage_manager.backends import File
from storage_manager.errors import (
    InvalidDataError,
    S3ConfigError,
    StorageManagerError,
    is_missing,
    is_transient,
    translating,
)
from storage_manager.inventory import list_files, read_stored, renamed_error
from storage_manager.layout import (
    ALL_COMPONENTS,
    BY_FILENAME,
    COMPONENTS,
    MANIFEST_FILENAME,
    Component,
    is_component,
    join,
)
from storage_manager.manifest import ANY_FORM_BYTES, read_entries
from storage_manager.storage import StorageManager

__all__ = ["Problem", "seal_session", "sweep", "verify_session"]

logger = logging.getLogger(__name__)

_CONCURRENCY = 8  # steps in memory at a time; each is a page with its screenshot

_OURS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # what a process or a machine has too little of
_Kind = Literal["missing", "changed", "unlisted", "unreadable", "leftover"]
_Answer = bytes | StorageManagerError | None  # what StorageManager.read_step returns for a component
_Steps = Iterable[tuple[str, list[Component]]]  # step ids, each with the components to read
Out = TypeVar("Out")


_LOST: tuple[_Kind, str] = ("missing", "the manifest lists it, but it does not exist")


class Problem(NamedTuple):
    """One thing that is wrong with a session: its URL, its kind, and the details."""

    url: str
    kind: _Kind
    detail: str


def _check_path(path: str) -> str:
    if not is_component(path):
        raise ValueError("a path is a step id, a slash, and the file name of a component")
    return path


class _Seal(BaseModel, frozen=True):
    """Size and hash of one component."""

    size: NonNegativeInt
    sha256: Annotated[str, StringConstraints(max_length=64)]


class _Manifest(BaseModel):
    """The content of a session's manifest. The keys of `components` are paths relative to the session."""

    version: Literal[1] = 1
    sealed_at: str
    components: dict[Annotated[str, AfterValidator(_check_path)], _Seal]


async def seal_session(storage: StorageManager, session_id: str) -> str:
    """Read every component of a session, then write `<session>/_manifest.json`. Return the manifest's URL.

    The manifest is one line of JSON that ends in a newline: `{"version": 1, "sealed_at":
    "2026-01-31T12:00:00.000+00:00", "components": {"step_000001/observation.html": {"size": 12, "sha256": "..."},
    ...}}`, sorted by path. Size and SHA-256 (FIPS 180-4, in hexadecimal) are those of the bytes as they are stored.
    The manifest lists the components of `layout.COMPONENTS` that exist, and no other files. No listing shows the
    manifest. Sealing again replaces it. Deleting a step also deletes the manifest, so that the session is no longer
    sealed.

    Raises:
        InvalidIdError: the session id is not allowed. Raised before any I/O.
        InvalidDataError: there is no such session, or it has no components.
        S3OperationError, S3ConfigError, LocalStorageError: a component cannot be read, or the manifest cannot be
            written.
    """
    with translating("seal", storage.url_for()):
        url = storage.url_for(session_id)
    with translating("seal", url):
        async with storage.backend() as backend:
            components = await _seal_components(storage, session_id)
            if not components:
                raise InvalidDataError(f"cannot seal {url}: there is no such session, or it has no components", url=url)
            path = join(url, MANIFEST_FILENAME)
            await backend.write_files([File(path, _manifest_of(components), "application/json")])
    return path


def _manifest_of(components: dict[str, _Seal]) -> bytes:
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    return (_Manifest(sealed_at=now, components=components).model_dump_json() + "\n").encode()


async def _seal_components(storage: StorageManager, session_id: str) -> dict[str, _Seal]:
    step_ids = await storage.list_steps_for_session(session_id)
    steps = [(step_id, list(ALL_COMPONENTS)) for step_id in step_ids]
    seals: dict[str, _Seal] = {}
    async for found in _map_steps(_seal_step, storage, session_id, steps):
        seals |= found
    return dict(sorted(seals.items()))


async def _map_steps(
    function: Callable[[Mapping[str, _Answer]], Out], storage: StorageManager, session_id: str, steps: _Steps
) -> AsyncGenerator[Out, None]:
    """Read each step ahead, call the function on its components in a thread, and yield the results in order.

    The function hashes. That takes a millisecond or more per MB, which would hold up the event loop.

    Parameters:
        function: its argument has, by path relative to the session, what read_step returned for each component.
    """
    with ThreadPoolExecutor(1, "storage_manager") as thread:

        async def read(step: tuple[str, list[Component]]) -> Out:
            step_id, components = step
            stored = await storage.read_step(session_id, step_id, components=components)
            answers = {f"{step_id}/{spec.filename}": stored[spec.name] for spec in COMPONENTS if spec.name in stored}
            return await run_to_end(asyncio.get_running_loop().run_in_executor(thread, function, answers))

        async with aclosing(map_ahead(read, steps, _CONCURRENCY)) as results:
            async for result in results:
                yield result


def _seal_step(answers: Mapping[str, _Answer]) -> dict[str, _Seal]:
    """Return size and hash of each component that exists."""
    for answer in answers.values():
        if isinstance(answer, StorageManagerError):
            raise renamed_error(answer, "seal")
    return {path: _seal(answer) for path, answer in answers.items() if isinstance(answer, bytes)}


def _seal(data: bytes) -> _Seal:
    return _Seal(size=len(data), sha256=sha256(data).hexdigest())


async def verify_session(storage: StorageManager, session_id: str) -> list[Problem]:
    """Return the problems of a session, sorted by URL; [] if it is whole. Read every component, change nothing.

    A sealed session is compared with its manifest. A component is `missing`, `changed` (its bytes differ from those
    that were sealed), or `unlisted` (it was stored after the session was sealed).

    In any session, a component is `unreadable` if access to it is refused, if a directory is in its place, or if it is
    not UTF-8 or not a JSON object. The session itself is `unreadable` if it cannot be listed, or a directory in it, for
    example because access is refused; what can be listed is verified all the same. A hidden file, and an upload to S3
    that was begun and not completed, is a `leftover`. A session that does not exist is `missing`. Other files are
    ignored, and so are those that operating systems leave.

    Raises:
        InvalidIdError: the session id is not allowed. Raised before any I/O.
        S3OperationError, S3ConfigError, LocalStorageError: the root is gone or cannot be used as it is configured, or
            the service fails, so that it is unknown if the session is whole.
    """
    with translating("verify", storage.url_for()):
        url = storage.url_for(session_id)
    with translating("verify", url):
        async with storage.backend():
            return await asyncio.to_thread(sorted, await _verify(storage, session_id, url))


async def _verify(storage: StorageManager, session_id: str, url: str) -> list[Problem]:
    names, unlisted = set[str](), list[Problem]()
    try:
        async for file in list_files(storage, session_id):
            names.add(file.name)
    except StorageManagerError as error:
        unlisted = [Problem(url, "unreadable", _why_unreadable(error))]
        if not names:
            return unlisted
    sealed, problems = await _read_manifest(storage, url, is_listed=MANIFEST_FILENAME in names)
    problems += unlisted
    if not names:
        problems.append(Problem(url, "missing", "there is no such session"))
    problems += await _leftovers(storage, url, names)
    seals = sealed or {}
    paths = await _to_read(storage, session_id, names)
    problems += await asyncio.to_thread(_lost, url, seals.keys() - paths)
    steps = _by_step(paths)
    function = partial(_check_step, sealed, url)
    async for found in _map_steps(function, storage, session_id, steps):
        problems += found
    return problems


def _why_unreadable(error: StorageManagerError) -> str:
    """Return why a session or component cannot be read. Raise the error if it is about the root or the service.

    Raise it also if this process has too little of something: then nothing can be said of the session.
    """
    ours, cause = renamed_error(error, "verify"), error.__cause__ or error
    is_ours = isinstance(cause, OSError) and cause.errno in _OURS
    if is_ours or is_transient(cause) or isinstance(cause, FileNotFoundError) or isinstance(error, S3ConfigError):
        raise ours
    return str(ours)


async def _to_read(storage: StorageManager, session_id: str, names: Iterable[str]) -> set[str]:
    """Return the paths of the components to read: those in the listing, and not what only the manifest lists.

    A forged manifest may list any number. On other backends than S3, every component of each step is read: a listing
    has no directories, and one may be in the place of a component.
    """
    paths = set(filter(is_component, names))
    if not storage.get_storage_info()["uses_s3"]:
        step_ids = await storage.list_steps_for_session(session_id)
        paths |= {f"{step_id}/{filename}" for step_id in step_ids for filename in BY_FILENAME}
    return paths


def _lost(url: str, paths: Iterable[str]) -> list[Problem]:
    return [Problem(join(url, path), *_LOST) for path in paths]


def _by_step(paths: Iterable[str]) -> list[tuple[str, list[Component]]]:
    """Return step ids, each with its components, for paths relative to the session."""
    names = sorted(path.partition("/")[::2] for path in paths)
    steps = groupby(names, lambda name: name[0])
    return [(step_id, [BY_FILENAME[filename].name for _, filename in group]) for step_id, group in steps]


async def _leftovers(storage: StorageManager, url: str, names: Iterable[str]) -> list[Problem]:
    hidden = [join(url, name) for name in names if name.startswith(".") or "/." in name]
    advice = "an interrupted writer left it behind: sweep the root, or delete it"
    return [Problem(left, "leftover", advice) for left in hidden + await _unfinished_uploads(storage, url)]


async def _unfinished_uploads(storage: StorageManager, url: str) -> list[str]:
    """Return the components with an unfinished upload.

    Few users have the right to list uploads. Without it the session is verified all the same.
    """
    try:
        async with storage.backend() as backend:
            return await backend.list_unfinished(url)
    except PermissionError as error:
        why = "it needs the right s3:ListBucketMultipartUploads"
        logger.warning("unfinished uploads to %s cannot be listed and are not checked (%s): %s", url, why, error)
        return []


async def _read_manifest(
    storage: StorageManager, url: str, *, is_listed: bool
) -> tuple[Mapping[str, _Seal] | None, list[Problem]]:
    """Return the seals of a session, None if it is not sealed; and what is wrong with its manifest.

    Parameters:
        is_listed: the manifest is in the listing of the session. On other backends than S3 it is read if not, too:
            a directory may be in its place.
    """
    path = join(url, MANIFEST_FILENAME)
    if not is_listed and storage.get_storage_info()["uses_s3"]:
        return None, []
    try:
        [data] = await read_stored(storage, [path], "verify")
    except StorageManagerError as error:
        if not is_missing(error.__cause__ or error):
            return None, [Problem(path, "unreadable", _why_unreadable(error))]
        if not is_listed:
            return None, []
        why = "the seal was removed while the session was verified: verify it again, or seal it again"
        return None, [Problem(path, "missing", why)]
    cancelled = threading.Event()
    try:
        return await asyncio.to_thread(_seals_in, data, cancelled), []
    except ValueError as error:
        why = f"not a manifest of this library: {_first_fault(error)}; seal the session again"
        return None, [Problem(path, "unreadable", why)]
    finally:
        cancelled.set()


def _seals_in(data: bytes, cancelled: threading.Event) -> Mapping[str, _Seal]:
    """Return the seals in a manifest. A small one may have any form of JSON.

    Raises:
        ValueError: it is no manifest.
    """
    if len(data) <= ANY_FORM_BYTES:
        return _Manifest.model_validate_json(data).components
    entries = read_entries(data, cancelled)
    return {_check_path(path): _Seal(size=size, sha256=sha256) for path, size, sha256 in entries}


def _first_fault(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    return str(error.errors(include_url=False, include_context=False, include_input=False)[0]["msg"])


def _check_step(seals: Mapping[str, _Seal] | None, url: str, answers: Mapping[str, _Answer]) -> list[Problem]:
    """Return the problems of one step. `seals` is None if the session is not sealed."""
    problems = []
    for path, answer in answers.items():
        fault = _fault(path, answer, seals) if isinstance(answer, bytes) else _unread(path, answer, seals or {})
        problems += [Problem(join(url, path), *fault)] if fault else []
    return problems


def _unread(path: str, error: StorageManagerError | None, seals: Mapping[str, _Seal]) -> tuple[_Kind, str] | None:
    """Return the fault of a component that is missing (None) or cannot be read."""
    if error is None:  # without a seal, it was deleted after it was listed, which is no problem
        return _LOST if path in seals else None
    return "unreadable", _why_unreadable(error)


def _fault(path: str, data: bytes, seals: Mapping[str, _Seal] | None) -> tuple[_Kind, str] | None:
    if seals is not None and path not in seals:
        return "unlisted", "the manifest does not list it: it was stored after the session was sealed"
    if seals is not None and seals[path] != _seal(data):
        was, now = seals[path], _seal(data)
        return "changed", f"{now.size} bytes, SHA-256 {now.sha256}; sealed were {was.size} bytes, SHA-256 {was.sha256}"
    try:
        BY_FILENAME[path.rpartition("/")[2]].decode(data)
    except ValueError as error:
        return "unreadable", f"it cannot be decoded: {error}"
    return None


async def sweep(storage: StorageManager, older_than: timedelta = timedelta(hours=1)) -> int:
    """Remove what killed writers left behind: staged files, probes of `check`, unfinished uploads. Return how many.

    Sessions, steps and components are not touched. On local disk, the first store in each event loop already sweeps
    what is older than an hour. Call this for S3, or to remove leftovers sooner. On S3 it needs the rights
    s3:ListBucketMultipartUploads and s3:AbortMultipartUpload. On other fsspec backends there is nothing to sweep.

    Parameters:
        older_than: the minimum age of what is removed, counted from its last write. Keep it longer than any write
            takes: a writer whose files are swept away has to start again on local disk, and fails on S3. Use zero
            only when nobody is writing.

    Raises:
        InvalidDataError: the age is negative, or not a timedelta. Raised before any I/O.
        S3OperationError, S3ConfigError, LocalStorageError: the root cannot be listed, or a leftover cannot be removed.
    """
    if not isinstance(older_than, timedelta) or older_than < timedelta(0):
        why = f"older_than is {older_than!r}: give an age (a timedelta) that is not negative"
        raise InvalidDataError(f"cannot sweep: {why}", operation="sweep")
    url = storage.url_for()
    with translating("sweep", url):
        async with storage.backend() as backend:
            return await backend.sweep(url, older_than.total_seconds())
