"""Whether a session is whole: its seal, and what is wrong with it; and what killed writers left in a place."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from datetime import datetime, timedelta, timezone
from functools import partial
from hashlib import sha256
from itertools import groupby
from typing import Annotated, Literal, NamedTuple, TypeVar

from pydantic import AfterValidator, BaseModel, NonNegativeInt, ValidationError

from storage_manager.aio import map_ahead, run_to_end
from storage_manager.backends import File
from storage_manager.errors import InvalidDataError, is_missing, is_transient, translate, translating
from storage_manager.inventory import list_files, read_stored
from storage_manager.layout import BY_FILENAME, MANIFEST_FILENAME, is_component, join
from storage_manager.storage import StorageManager

__all__ = ["Problem", "seal_session", "sweep", "verify_session"]

logger = logging.getLogger(__name__)

_CONCURRENCY = 8  # steps in memory at a time, each of which is a page and its screenshot

_Kind = Literal["missing", "changed", "unlisted", "unreadable", "leftover"]
Out = TypeVar("Out")


class Problem(NamedTuple):
    """One thing that is wrong with a session: where, which kind of thing, and what exactly."""

    url: str
    kind: _Kind
    detail: str


def _check_path(path: str) -> str:
    if not is_component(path):
        raise ValueError("a path is a step id, a slash, and a component's file name")
    return path


class _Seal(BaseModel, frozen=True):
    """Of one component."""

    size: NonNegativeInt
    sha256: str


class _Manifest(BaseModel):
    """Of one session; components by path below it."""

    version: Literal[1] = 1
    sealed_at: str
    components: dict[Annotated[str, AfterValidator(_check_path)], _Seal]


async def seal_session(storage: StorageManager, session_id: str) -> str:
    """Write `<session>/_manifest.json`, whole, after every component of the session was read; returns its URL.

    It is one line of JSON that ends in a newline: `{"version": 1, "sealed_at": "2026-01-31T12:00:00.000+00:00",
    "components": {"step_000001/observation.html": {"size": 12, "sha256": "..."}, ...}}`, sorted by path. Size and
    SHA-256 (FIPS 180-4, in hexadecimal) are those of the bytes as they are stored; of the components of
    `layout.COMPONENTS`, those that a step lacks are not listed, nor is any other file. A session that is sealed again
    has the new manifest; one of which a step is deleted is not sealed any more. No listing shows the manifest.

    Raises:
        InvalidIdError: refused before any I/O.
        InvalidDataError: there is no such session, or nothing in it.
        S3OperationError, S3ConfigError, LocalStorageError: a component cannot be read, or the manifest not written.
    """
    with translating("seal", storage.url_for()):
        url = storage.url_for(session_id)
    with translating("seal", url):
        components = await _components(storage, session_id)
        if not components:
            raise InvalidDataError(f"cannot seal {url}: no session with anything in it is there", url=url)
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        manifest = _Manifest(sealed_at=now, components=components).model_dump_json() + "\n"
        path = join(url, MANIFEST_FILENAME)
        await storage.async_fs.write_files([File(path, manifest.encode(), "application/json")])
    return path


async def _components(storage: StorageManager, session_id: str) -> dict[str, _Seal]:
    step_ids = await storage.list_steps_for_session(session_id)
    paths = [[f"{step_id}/{filename}" for filename in BY_FILENAME] for step_id in step_ids]
    found: dict[str, _Seal] = {}
    async for step in _looked_at(_sealed, storage, storage.url_for(session_id), paths):
        found |= step
    return dict(sorted(found.items()))


async def _looked_at(
    look: Callable[[str, Mapping[str, bytes | Exception]], Out],
    storage: StorageManager,
    url: str,
    steps: Iterable[Sequence[str]],
) -> AsyncIterator[Out]:
    """What is found in each step's files, read ahead, and hashed in a thread: 1 MB takes a millisecond or more.

    Parameters:
        look: called with the session's URL and, for each path below it, its bytes or why they could not be read.
        steps: the paths of the files of each step.
    """
    with ThreadPoolExecutor(1, "storage_manager") as thread:

        async def read(paths: Sequence[str]) -> Out:
            answers = await storage.async_fs.read_files([join(url, path) for path in paths])
            files = dict(zip(paths, answers, strict=True))
            return await run_to_end(asyncio.get_running_loop().run_in_executor(thread, look, url, files))

        async with aclosing(map_ahead(read, steps, _CONCURRENCY)) as looks:
            async for found in looks:
                yield found


def _sealed(url: str, files: Mapping[str, bytes | Exception]) -> dict[str, _Seal]:
    """Size and hash of each component that is there."""
    for path, answer in files.items():
        if isinstance(answer, Exception) and not is_missing(answer):
            raise translate(answer, "seal", join(url, path))
    return {path: _seal(answer) for path, answer in files.items() if not isinstance(answer, Exception)}


def _seal(data: bytes) -> _Seal:
    return _Seal(size=len(data), sha256=sha256(data).hexdigest())


async def verify_session(storage: StorageManager, session_id: str) -> list[Problem]:
    """What is wrong with a session: [] where it is whole. Every component is read, and nothing is changed.

    Sealed, it is held against its manifest: a component that is `missing`, `changed` (other bytes than were sealed), or
    `unlisted` (stored since). Sealed or not: a component that is `unreadable` (access refused, no UTF-8, no JSON
    object), and a `leftover` (a hidden file, an upload to S3 that was begun and not ended). A session that is not there
    is `missing`. Other files are nobody's concern. Problems are in the order of their URLs.

    Raises:
        InvalidIdError: refused before any I/O.
        S3OperationError, S3ConfigError, LocalStorageError: the session cannot be listed, or the service fails, so that
            nothing can be said of it.
    """
    with translating("verify", storage.url_for()):
        url = storage.url_for(session_id)
    with translating("verify", url):
        names = {found.name async for found in list_files(storage, session_id)}
        manifest, problems = await _manifest(storage, url) if MANIFEST_FILENAME in names else (None, [])
        if not names:
            problems.append(Problem(url, "missing", "there is no such session"))
        hidden = [join(url, name) for name in names if name.startswith(".") or "/." in name]
        leftovers = hidden + await _unfinished(storage, url)
        problems += [Problem(left, "leftover", "a writer left it: sweep, or delete it") for left in leftovers]
        sealed = manifest.components if manifest else {}
        look = partial(_problems, sealed if manifest else None)
        steps = groupby(sorted({*filter(is_component, names), *sealed}), lambda path: path.partition("/")[0])
        async for found in _looked_at(look, storage, url, [list(paths) for _, paths in steps]):
            problems += found
    return sorted(problems)


async def _unfinished(storage: StorageManager, url: str) -> list[str]:
    """Uploads that were begun; a session can be verified without the right to list them, which few are given."""
    try:
        unfinished: list[str] = await storage.async_fs.list_unfinished(url)
    except PermissionError as error:
        logger.warning("unfinished uploads to %s are not looked for (s3:ListBucketMultipartUploads): %s", url, error)
        return []
    return unfinished


async def _manifest(storage: StorageManager, url: str) -> tuple[_Manifest | None, list[Problem]]:
    path = join(url, MANIFEST_FILENAME)
    [data] = await read_stored(storage, [path], "verify")
    try:
        return _Manifest.model_validate_json(data), []
    except ValidationError as error:
        why = f"no manifest of this library's: {error.errors()[0]['msg']}; seal the session again"
        return None, [Problem(path, "unreadable", why)]


def _problems(sealed: Mapping[str, _Seal] | None, url: str, files: Mapping[str, bytes | Exception]) -> list[Problem]:
    found = []
    for path, answer in files.items():
        if isinstance(answer, Exception):
            fault = _unread(join(url, path), answer, is_sealed=bool(sealed and path in sealed))
        else:
            fault = _fault(path, answer, sealed)
        found += [Problem(join(url, path), *fault)] if fault else []
    return found


def _unread(url: str, error: Exception, *, is_sealed: bool) -> tuple[_Kind, str] | None:
    if is_missing(error):  # deleted meanwhile, where the manifest does not know it
        return ("missing", "the manifest lists it, and it is not there") if is_sealed else None
    if is_transient(error):
        raise translate(error, "verify", url)
    return "unreadable", str(translate(error, "verify", url))


def _fault(path: str, data: bytes, sealed: Mapping[str, _Seal] | None) -> tuple[_Kind, str] | None:
    if sealed is not None and path not in sealed:
        return "unlisted", "the manifest does not list it: it was stored since the session was sealed"
    if sealed is not None and sealed[path] != _seal(data):
        was, now = sealed[path], _seal(data)
        return "changed", f"{now.size} bytes, SHA-256 {now.sha256}; sealed were {was.size} bytes, SHA-256 {was.sha256}"
    try:
        BY_FILENAME[path.rpartition("/")[2]].decode(data)
    except ValueError as error:
        return "unreadable", f"it cannot be decoded: {error}"
    return None


async def sweep(storage: StorageManager, older_than: timedelta = timedelta(hours=1)) -> int:
    """Remove what killed writers left behind: staged files, probes of `check`, unfinished uploads; returns how many.

    No session, step or component is touched. The first store in each event loop sweeps a local disk of what is an hour
    old; on S3, and to have it gone sooner, call this. On S3 it needs the rights s3:ListBucketMultipartUploads and
    s3:AbortMultipartUpload. Other backends of fsspec have nothing to sweep.

    Parameters:
        older_than: only what was last written longer ago than this goes. Leave it longer than any write takes: a
            writer that is still at it has to begin anew on local disk, and fails on S3. Zero is for when nobody writes.

    Raises:
        InvalidDataError: a negative age; refused before any I/O.
        S3OperationError, S3ConfigError, LocalStorageError: the place cannot be listed, or a leftover not removed.
    """
    if older_than < timedelta(0):
        raise InvalidDataError(f"older_than is {older_than!r}: give an age that is not negative", operation="sweep")
    url = storage.url_for()
    with translating("sweep", url):
        swept: int = await storage.async_fs.sweep(url, older_than.total_seconds())
    return swept
