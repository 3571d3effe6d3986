"""Seal a session, verify that it is whole, and remove the files that killed writers left behind in a root."""

import asyncio
import errno
import logging
import re
import threading
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from datetime import datetime, timedelta, timezone
from functools import partial
from hashlib import sha256
from itertools import groupby
from typing import Annotated, Literal, NamedTuple, TypeVar

from pydantic import AfterValidator, BaseModel, NonNegativeInt, StringConstraints, ValidationError, model_validator

from storage_manager.aio import map_ahead, run_to_end
from storage_manager.backends import File
from storage_manager.errors import (
    InvalidDataError,
    S3ConfigError,
    StorageManagerError,
    first_of,
    is_missing,
    is_transient,
    translate,
    translating,
)
from storage_manager.inventory import (
    deleted_error,
    hash_file,
    is_foreign,
    is_leftover,
    list_files,
    read_stored,
    renamed_error,
)
from storage_manager.layout import (
    BY_FILENAME,
    COMPONENTS,
    MANIFEST_FILENAME,
    SESSION_METADATA_FILENAME,
    Component,
    is_component,
    is_data,
    join,
    why_foreign,
)
from storage_manager.manifest import ANY_FORM_BYTES, read_entries
from storage_manager.storage import StorageManager, check_storage

__all__ = ["Problem", "seal_session", "sweep", "unseal_session", "verify_session"]

logger = logging.getLogger(__name__)

_CONCURRENCY = 8  # steps in memory at a time; each is a page with its screenshot
_STREAMS = 2  # attachments that are read at a time, some megabytes of each in memory

_OURS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # this process or machine has too few files or too little memory
_Kind = Literal["missing", "changed", "unlisted", "unreadable", "leftover", "unsealed"]
_Answer = bytes | StorageManagerError | None  # the result of StorageManager.read_step for a component
_Steps = Iterable[tuple[str, list[Component]]]  # step ids, each with the components to read
Out = TypeVar("Out")


_LOST: tuple[_Kind, str] = ("missing", "the manifest lists it, but it does not exist")
_UNSEALED: tuple[_Kind, str] = (
    "unlisted",
    "the manifest does not list it: it was stored after the session was sealed",
)


class Problem(NamedTuple):
    """A problem of a session: the URL of a file or session, the kind, and the details."""

    url: str
    kind: _Kind
    detail: str


def _check_path(path: str) -> str:
    if not is_component(path):
        raise ValueError("a path is a step id, a slash, and the file name of a component")
    return path


def _check_other(path: str) -> str:
    if is_component(path) or not is_data(path):
        raise ValueError("a path is that of an attachment, or of the metadata of the session")
    return path


def _check_file(path: str) -> str:
    return _check_path(path) if is_component(path) else _check_other(path)


class _Seal(BaseModel, frozen=True):
    """Size and hash of one file."""

    size: NonNegativeInt
    sha256: Annotated[str, StringConstraints(max_length=64)]


_NEWEST = 2  # the version of the manifests that are written
_VERSION = re.compile(rb'"version"\s*:\s*([0-9]{1,9})\b')
_HEAD_BYTES = 1024  # of a manifest, in which its version is


class _Manifest(BaseModel):
    """The content of a session's manifest. The keys of the mappings are paths relative to the session.

    Version 1 had no `files`.
    """

    version: Literal[1, 2] = 2
    sealed_at: str
    components: dict[Annotated[str, AfterValidator(_check_path)], _Seal]
    files: dict[Annotated[str, AfterValidator(_check_other)], _Seal] = {}

    @model_validator(mode="after")
    def _check_version(self) -> "_Manifest":
        if self.version != 1 and "files" not in self.model_fields_set:
            raise ValueError("it has no 'files'")
        return self


async def seal_session(storage: StorageManager, session_id: str) -> str:
    """Read every file of a session, then write `<session>/_manifest.json`. Return the manifest's URL.

    The manifest is one line of JSON that ends in a newline: `{"version": 2, "sealed_at":
    "2026-01-31T12:00:00.000+00:00", "components": {"step_000001/observation.html": {"size": 12, "sha256": "..."}, ...},
    "files": {"_session.json": {...}, "step_000001/axtree.json": {...}, ...}}`, sorted by path. Size and SHA-256 (FIPS
    180-4, in hexadecimal) are those of the stored bytes. `files` has the attachments and the metadata of the session.
    The manifest does not name files that are not part of the layout. No listing shows the manifest. Sealing again
    replaces it, with a warning if a file is missing or has changed since the last seal. Deleting a step or an
    attachment also deletes the manifest. The session is then no longer sealed.

    Raises:
        InvalidIdError: the session id is not allowed. Raised before any I/O.
        TypeError: `storage` is not a StorageManager. Raised before any I/O.
        InvalidDataError: there is no such session, or it is empty.
        S3OperationError, S3ConfigError, LocalStorageError: a file cannot be read, or the manifest cannot be written.
    """
    check_storage(storage)
    with translating("seal", storage.url_for()):
        url = storage.url_for(session_id)
    with translating("seal", url):
        async with storage.backend() as backend:
            names = {found.name async for found in list_files(storage, session_id)}
            manifest = _Manifest(
                sealed_at=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
                components=await _seal_components(storage, session_id, names),
                files={path: _readable(seal) async for path, seal in _hash_files(storage, url, _others(names))},
            )
            if not manifest.components and not manifest.files:
                raise InvalidDataError(f"cannot seal {url}: there is no such session, or it is empty", url=url)
            path = join(url, MANIFEST_FILENAME)
            before, _ = await _read_manifest(storage, url, is_listed=True) if MANIFEST_FILENAME in names else (None, [])
            await backend.write_files([File(path, (manifest.model_dump_json() + "\n").encode(), "application/json")])
    _report_changes(url, before or {}, {**manifest.components, **manifest.files})
    return path


def _report_changes(url: str, before: Mapping[str, _Seal], now: Mapping[str, _Seal]) -> None:
    """Warn if files are missing or have changed since the seal that was replaced: `verify` no longer finds them."""
    missing = [f"{path} is missing" for path in before.keys() - now.keys()]
    changed = [f"{path} has changed" for path in before.keys() & now.keys() if before[path] != now[path]]
    if differences := sorted([*missing, *changed]):
        logger.warning("the new seal of %s replaces another one, from which it differs: %s", url, first_of(differences))


async def unseal_session(storage: StorageManager, session_id: str) -> bool:
    """Delete the manifest of a session, before more is stored in it. Return False if it has none.

    Raises:
        TypeError: `storage` is not a StorageManager. Raised before any I/O.
        S3OperationError, S3ConfigError, LocalStorageError: it cannot be deleted.
    """
    check_storage(storage)
    path = join(storage.url_for(session_id), MANIFEST_FILENAME)
    with translating("delete", path):
        async with storage.backend() as backend:
            return await backend.remove_file(path)


async def _seal_components(storage: StorageManager, session_id: str, names: Iterable[str]) -> dict[str, _Seal]:
    seals: dict[str, _Seal] = {}
    async for found in _map_steps(
        _seal_step, storage, session_id, _by_step(await _to_read(storage, session_id, names))
    ):
        seals |= found
    return dict(sorted(seals.items()))


def _others(names: Iterable[str]) -> list[str]:
    """Return the sorted paths of the attachments and the metadata of a session."""
    return sorted(name for name in names if is_data(name) and not is_component(name))


async def _hash_files(
    storage: StorageManager, url: str, paths: Iterable[str]
) -> AsyncGenerator[tuple[str, _Seal | StorageManagerError], None]:
    """Read files in blocks. Yield the path of each file with its size and hash, or with the error."""

    async def read(path: str) -> tuple[str, _Seal | StorageManagerError]:
        try:
            size, digest = await hash_file(storage, join(url, path))
        except StorageManagerError as error:
            return path, error
        return path, _Seal(size=size, sha256=digest)

    async with aclosing(map_ahead(read, paths, _STREAMS)) as found:
        async for item in found:
            yield item


def _readable(seal: _Seal | StorageManagerError) -> _Seal:
    if isinstance(seal, StorageManagerError):
        is_gone = is_missing(seal.__cause__ or seal)
        raise translate(deleted_error(), "seal", seal.url or "") if is_gone else renamed_error(seal, "seal")
    return seal


async def _map_steps(
    function: Callable[[Mapping[str, _Answer]], Out], storage: StorageManager, session_id: str, steps: _Steps
) -> AsyncGenerator[Out, None]:
    """Read the steps ahead, call the function for the components of each in a thread, and yield the results in order.

    The function computes hashes, which takes a millisecond or more per MB. It would block the event loop.

    Parameters:
        function: gets the results of read_step, by the paths of the components relative to the session.
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
    """Return the size and the hash of each component that exists."""
    for answer in answers.values():
        if isinstance(answer, StorageManagerError):
            raise renamed_error(answer, "seal")
    return {path: _seal(answer) for path, answer in answers.items() if isinstance(answer, bytes)}


def _seal(data: bytes) -> _Seal:
    return _Seal(size=len(data), sha256=sha256(data).hexdigest())


async def verify_session(storage: StorageManager, session_id: str, *, require_seal: bool = False) -> list[Problem]:
    """Return the problems of a session, sorted by URL; [] if it is whole. Nothing is changed.

    A sealed session is compared with its manifest. A component, an attachment or the metadata of the session is
    `missing`, `changed` (its bytes differ from the sealed ones), or `unlisted` (it was stored after the session was
    sealed).

    In every session, a component or the metadata of the session is `unreadable` if access to it is refused, if a
    directory has its name, or if it is not UTF-8 or not a JSON object. The session itself is `unreadable` if it or a
    directory in it cannot be listed, for example because access is refused. The other files are still verified.
    A staged file of this library is a `leftover`, and so is an S3 upload that was not completed. Any other file that is
    not part of the layout is `unlisted`. A session that does not exist is `missing`. Files that operating systems
    create are ignored. The attachments of a session without a seal are not read.

    Parameters:
        require_seal: True to report a session without a seal as `unsealed`.

    Raises:
        InvalidIdError: the session id is not allowed. Raised before any I/O.
        TypeError: `storage` is not a StorageManager. Raised before any I/O.
        S3OperationError, S3ConfigError, LocalStorageError: it is unknown if the session is whole, because the root is
            missing, the root cannot be used as it is configured, or the service fails.
    """
    check_storage(storage)
    with translating("verify", storage.url_for()):
        url = storage.url_for(session_id)
    with translating("verify", url):
        async with storage.backend():
            return await asyncio.to_thread(sorted, await _verify(storage, session_id, url, require_seal))


async def _verify(storage: StorageManager, session_id: str, url: str, require_seal: bool) -> list[Problem]:
    names, unlisted = await _names_of(storage, session_id, url)
    if unlisted and not names:
        return unlisted
    sealed, problems = await _read_manifest(storage, url, is_listed=MANIFEST_FILENAME in names)
    problems += unlisted + _check_session(url, names, require_seal)
    problems += await _leftovers(storage, url, names)
    problems += [Problem(join(url, path), "unlisted", _foreign(path)) for path in filter(is_foreign, names)]
    seals, others = sealed or {}, _others(names)
    paths = await _to_read(storage, session_id, names)
    problems += await asyncio.to_thread(_lost, url, seals.keys() - paths - set(others))
    function = partial(_check_step, sealed, url)
    async for found in _map_steps(function, storage, session_id, _by_step(paths)):
        problems += found
    return problems + await _check_others(storage, url, others, sealed)


async def _names_of(storage: StorageManager, session_id: str, url: str) -> tuple[set[str], list[Problem]]:
    """Return the names of the files of a session, and a problem if not all of them can be listed."""
    names = set[str]()
    try:
        async for file in list_files(storage, session_id):
            names.add(file.name)
    except StorageManagerError as error:
        return names, [Problem(url, "unreadable", _why_unreadable(error))]
    return names, []


def _check_session(url: str, names: Collection[str], require_seal: bool) -> list[Problem]:
    if not names:
        return [Problem(url, "missing", "there is no such session")]
    if require_seal and MANIFEST_FILENAME not in names:
        return [Problem(url, "unsealed", "it has no seal, so nobody can tell whether it has changed")]
    return []


def _foreign(path: str) -> str:
    return f"it is not part of a session: {why_foreign(path)}"


async def _check_others(
    storage: StorageManager, url: str, paths: Sequence[str], seals: Mapping[str, _Seal] | None
) -> list[Problem]:
    """Return the problems of the attachments and the metadata of a session. `seals` is None if it is not sealed."""
    found = [(path, *_UNSEALED) for path in paths if seals is not None and path not in seals]
    to_read = [path for path in paths if seals and path in seals]
    async for path, now in _hash_files(storage, url, to_read):
        if isinstance(now, StorageManagerError):
            found.append((path, *await _why_unhashed(storage, join(url, path), now)))
        elif seals and now != seals[path]:
            found.append((path, "changed", _changed(seals[path], now)))
    found += await _check_metadata(storage, url) if SESSION_METADATA_FILENAME in paths else []
    return [Problem(join(url, path), kind, why) for path, kind, why in found]


async def _why_unhashed(storage: StorageManager, url: str, error: StorageManagerError) -> tuple[_Kind, str]:
    """Return the kind and details for a listed file that cannot be read. Raise an error if the root is missing."""
    if is_missing(error.__cause__ or error):
        async with storage.backend() as backend:
            await backend.read_files([url])  # raises if the root is missing
        return _LOST
    return "unreadable", _why_unreadable(error)


async def _check_metadata(storage: StorageManager, url: str) -> list[tuple[str, _Kind, str]]:
    try:
        await storage.retrieve_session_metadata(url.rpartition("/")[2])
    except StorageManagerError as error:
        return [(SESSION_METADATA_FILENAME, "unreadable", _why_unreadable(error))]
    return []


def _why_unreadable(error: StorageManagerError) -> str:
    """Return why a session or component cannot be read.

    Raise the error instead if its cause is the root or the service, or if this process has no free file descriptor or
    memory. The state of the session is then unknown.
    """
    ours, cause = renamed_error(error, "verify"), error.__cause__ or error
    is_ours = isinstance(cause, OSError) and cause.errno in _OURS
    if is_ours or is_transient(cause) or isinstance(cause, FileNotFoundError) or isinstance(error, S3ConfigError):
        raise ours
    return str(ours)


async def _to_read(storage: StorageManager, session_id: str, names: Iterable[str]) -> set[str]:
    """Return the paths of the components to read: those in the listing, but not those that only the manifest has.

    A forged manifest may name any number of components. On backends other than S3, every component of each step is
    read: a directory may have the name of a component, and the listing of files does not show directories.
    """
    paths = set(filter(is_component, names))
    if not storage.get_storage_info()["uses_s3"]:
        step_ids = await storage.list_steps_for_session(session_id)
        paths |= {f"{step_id}/{filename}" for step_id in step_ids for filename in BY_FILENAME}
    return paths


def _lost(url: str, paths: Iterable[str]) -> list[Problem]:
    return [Problem(join(url, path), *_LOST) for path in paths]


def _by_step(paths: Iterable[str]) -> list[tuple[str, list[Component]]]:
    """Return the step ids in these paths, each with its components. The paths are relative to the session."""
    names = sorted(path.partition("/")[::2] for path in paths)
    steps = groupby(names, lambda name: name[0])
    return [(step_id, [BY_FILENAME[filename].name for _, filename in group]) for step_id, group in steps]


async def _leftovers(storage: StorageManager, url: str, names: Iterable[str]) -> list[Problem]:
    hidden = [join(url, name) for name in filter(is_leftover, names)]
    advice = "an interrupted writer left it behind: sweep the root, or delete it"
    return [Problem(left, "leftover", advice) for left in hidden + await _unfinished_uploads(storage, url)]


async def _unfinished_uploads(storage: StorageManager, url: str) -> list[str]:
    """Return the files with an unfinished upload.

    Few users have the right to list uploads. Without this right, a warning is logged, and nothing is returned.
    """
    try:
        async with storage.backend() as backend:
            return await backend.list_unfinished(url)
    except PermissionError as error:
        why = "it needs the right s3:ListBucketMultipartUploads"
        reason = translate(error, "verify", url)  # the service's own text may quote credentials
        logger.warning("unfinished uploads to %s cannot be listed and are not checked (%s): %s", url, why, reason)
        return []


async def _read_manifest(
    storage: StorageManager, url: str, *, is_listed: bool
) -> tuple[Mapping[str, _Seal] | None, list[Problem]]:
    """Return the seals of a session (None if it is not sealed), and the problems of its manifest.

    Parameters:
        is_listed: True if the manifest is in the listing of the session. On backends other than S3, it is read in any
            case, because a directory may have its name.
    """
    path = join(url, MANIFEST_FILENAME)
    if not is_listed and storage.get_storage_info()["uses_s3"]:
        return None, []
    try:
        [data] = await read_stored(storage, [path], "verify")
    except StorageManagerError as error:
        return None, _without_manifest(path, error, is_listed)
    cancelled = threading.Event()
    try:
        return await asyncio.to_thread(_seals_in, data, cancelled), []
    except ValueError as error:
        return None, [Problem(path, "unreadable", _why_no_manifest(data, error))]
    finally:
        cancelled.set()


def _why_no_manifest(data: bytes, error: ValueError) -> str:
    version = _VERSION.search(data[:_HEAD_BYTES])
    if version and int(version[1]) > _NEWEST:
        advice = "a newer version of this library may have written it: update the library"
        return f"its version is {int(version[1])}, and this library reads up to {_NEWEST}: {advice}"
    return f"not a manifest of this library: {_first_fault(error)}; seal the session again"


def _without_manifest(path: str, error: StorageManagerError, is_listed: bool) -> list[Problem]:
    """Return the problem of a manifest that cannot be read. A missing manifest that was not listed is no problem."""
    if not is_missing(error.__cause__ or error):
        return [Problem(path, "unreadable", _why_unreadable(error))]
    why = "the seal was removed while the session was verified: verify it again, or seal it again"
    return [Problem(path, "missing", why)] if is_listed else []


def _seals_in(data: bytes, cancelled: threading.Event) -> Mapping[str, _Seal]:
    """Return the seals in a manifest. A small manifest may have any JSON formatting.

    Raises:
        ValueError: it is not a manifest.
    """
    if len(data) <= ANY_FORM_BYTES:
        manifest = _Manifest.model_validate_json(data)
        return {**manifest.components, **manifest.files}
    entries = read_entries(data, cancelled)
    return {_check_file(path): _Seal(size=size, sha256=sha256) for path, size, sha256 in entries}


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
    """Return the kind and details for a component that is missing (None) or cannot be read."""
    if error is None:  # if the session is not sealed, a deletion after the listing is no problem
        return _LOST if path in seals else None
    return "unreadable", _why_unreadable(error)


def _fault(path: str, data: bytes, seals: Mapping[str, _Seal] | None) -> tuple[_Kind, str] | None:
    if seals is not None and path not in seals:
        return _UNSEALED
    if seals is not None and seals[path] != _seal(data):
        return "changed", _changed(seals[path], _seal(data))
    try:
        BY_FILENAME[path.rpartition("/")[2]].decode(data)
    except ValueError as error:
        return "unreadable", f"it cannot be decoded: {error}"
    return None


def _changed(was: _Seal, now: _Seal) -> str:
    return f"{now.size} bytes, SHA-256 {now.sha256}; the seal has {was.size} bytes, SHA-256 {was.sha256}"


async def sweep(storage: StorageManager, older_than: timedelta = timedelta(hours=1)) -> int:
    """Remove what killed writers left: staged files, test files of `check`, unfinished uploads. Return how many.

    Sessions, steps and their files do not change. On local disk, the first store in each event loop already removes
    leftovers that are older than an hour. Call this function for S3, or to remove leftovers sooner. On S3, it needs the
    rights s3:ListBucketMultipartUploads and s3:AbortMultipartUpload. Other fsspec backends have no leftovers.

    Parameters:
        older_than: the minimum age of a leftover, counted from its last write. It must be longer than the longest
            write. If the files of a running writer are removed, the writer starts again on local disk, and fails on S3.
            Use zero only if nobody is writing.

    Raises:
        InvalidDataError: the age is negative, or not a timedelta. Raised before any I/O.
        TypeError: `storage` is not a StorageManager. Raised before any I/O.
        S3OperationError, S3ConfigError, LocalStorageError: the root cannot be listed, or a leftover cannot be removed.
    """
    check_storage(storage)
    if not isinstance(older_than, timedelta) or older_than < timedelta(0):
        why = f"older_than is {older_than!r}: give an age (a timedelta) that is not negative"
        raise InvalidDataError(f"cannot sweep: {why}", operation="sweep")
    url = storage.url_for()
    with translating("sweep", url):
        async with storage.backend() as backend:
            return await backend.sweep(url, older_than.total_seconds())
