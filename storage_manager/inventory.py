"""List the files of a session with their sizes and times, and read the stored bytes of files."""

from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple

from storage_manager.aio import map_ahead
from storage_manager.backends import STAGED, FileInfo, hash_blocks
from storage_manager.errors import InvalidIdError, StorageManagerError, is_missing, translate, translating
from storage_manager.layout import (
    ATTACHMENTS_DIRECTORY,
    MANIFEST_FILENAME,
    check_ids,
    is_attachment,
    is_data,
    is_id,
    is_system_file,
)
from storage_manager.storage import StorageManager

__all__ = [
    "Summary",
    "count_steps",
    "deleted_error",
    "files_by_step",
    "hash_file",
    "is_foreign",
    "is_leftover",
    "is_our_file",
    "list_files",
    "read_stored",
    "renamed_error",
    "summarize",
]


class Summary(NamedTuple):
    """The number of steps and bytes of a session, and when one of its files was last written (UTC)."""

    steps: int
    size: int
    modified: datetime | None


async def list_files(
    storage: StorageManager, session_id: str, step_id: str | None = None
) -> AsyncGenerator[FileInfo, None]:
    """Yield every file of a session, or of one step, with its name, size, time and ETag.

    Files that operating systems create (`.DS_Store`, `Thumbs.db`, ...) are not part of a session, and are left out. The
    empty objects that S3 consoles create for directories are left out, too.

    The name is relative to the session (`step_000001/action.json`), or to the step if one is given. If there is no such
    session or step, nothing is yielded. On S3, this costs one LIST per thousand files.

    Raises:
        InvalidIdError: an id is not allowed. Raised before any I/O.
        S3OperationError, S3ConfigError, LocalStorageError: the session cannot be listed. If only a directory in it
            cannot be listed, the other files are yielded first.
    """
    url = storage.url_for(session_id, step_id)
    with translating("list", url):
        async with storage.backend() as backend, aclosing(backend.iter_files(url)) as pages:
            async for page in pages:
                for found in page:
                    if found.name and not found.name.endswith("/") and not is_system_file(found.name):
                        yield found


def is_leftover(path: str) -> bool:
    """Return True if a killed writer left a file behind. `path` is relative to a session."""
    return any(STAGED.fullmatch(part) for part in path.split("/"))


def is_foreign(path: str) -> bool:
    """Return True if neither this library nor the operating system creates files with this path.

    `path` is relative to a session.
    """
    return not (is_data(path) or path == MANIFEST_FILENAME or is_system_file(path) or is_leftover(path))


def is_our_file(path: str) -> bool:
    """Return True if a file proves that its directory is a session. `path` is relative to that directory.

    An attachment of a step proves nothing: many programs have files with such paths (`backups/2019/db.tar`).
    """
    is_of_step = is_attachment(path) and not path.startswith(f"{ATTACHMENTS_DIRECTORY}/")
    return is_data(path) and not is_of_step


async def hash_file(storage: StorageManager, url: str) -> tuple[int, str]:
    """Return the size of a file and its SHA-256 in hexadecimal. The file is read in blocks.

    Raises:
        S3OperationError, S3ConfigError, LocalStorageError: it cannot be read.
    """
    digest = sha256()
    with translating("retrieve", url):
        async with storage.backend() as backend:
            size = await hash_blocks(backend.read_blocks(url), digest)
    return size, digest.hexdigest()


async def files_by_step(
    storage: StorageManager, session_id: str, unlisted: list[StorageManagerError] | None = None
) -> Mapping[str, dict[str, FileInfo]]:
    """Return the files of a session by step id and file name. An id without files has an empty dict.

    Files directly in the session have the step id "". Attachments of the session have the step id `_files`.

    Parameters:
        unlisted: a list. If a part of the session cannot be listed, the error is appended to it, and the other files
            are returned. None to raise the error.

    Raises:
        As list_files.
    """
    steps: dict[str, dict[str, FileInfo]] = defaultdict(dict)
    try:
        async for found in list_files(storage, session_id):
            step_id, _, name = found.name.rpartition("/")
            steps[step_id][name] = found
    except StorageManagerError as error:
        if unlisted is None or not steps:
            raise
        unlisted.append(error)
    return steps


async def summarize(storage: StorageManager, session_id: str) -> Summary:
    """Return how many steps and bytes a session has, and when it was last written.

    If there is no such session, both numbers are zero, and the time is None.

    Raises:
        As list_files.
    """
    steps, size, modified = set(), 0, None
    async for found in list_files(storage, session_id):
        step_id, separator, _ = found.name.partition("/")
        if separator and is_id(step_id):
            steps.add(step_id)
        size += found.size
        modified = max(filter(None, (modified, found.modified)), default=None)
    return Summary(len(steps), size, modified)


async def count_steps(storage: StorageManager, session_ids: Iterable[str] | None = None, *, strict: bool = True) -> int:
    """Return how many steps the given sessions have. On S3, this costs one LIST per session.

    Parameters:
        session_ids: the sessions; None for all.
        strict: False to count no steps for a session that cannot be listed, instead of raising an error.

    Raises:
        InvalidIdError: an id is not allowed. Raised before any I/O.
        S3OperationError, S3ConfigError, LocalStorageError: the root cannot be listed; with strict, also if a session
            cannot be listed.
    """
    given = check_ids(session_ids, "list")

    async def count(session_id: str) -> int:
        try:
            return len(await storage.list_steps_for_session(session_id))
        except StorageManagerError as error:
            if strict or isinstance(error, InvalidIdError):
                raise
            return 0

    sessions = storage.iter_sessions() if given is None else given
    async with aclosing(map_ahead(count, sessions, 16)) as counts:
        return sum([steps async for steps in counts])


async def read_stored(storage: StorageManager, urls: Sequence[str], operation: str) -> list[bytes]:
    """Return the bytes of the files at these URLs. Nothing is decoded.

    Parameters:
        operation: the operation to name in errors.

    Raises:
        S3OperationError, S3ConfigError, LocalStorageError: a file is missing or cannot be read. The error names the
            first such file.
    """
    async with storage.backend() as backend:
        answers = await backend.read_files(urls)
    stored = []
    for url, answer in zip(urls, answers, strict=True):
        if isinstance(answer, Exception):
            raise translate(deleted_error() if is_missing(answer) else answer, operation, url) from answer
        stored.append(answer)
    return stored


def deleted_error() -> FileNotFoundError:
    """Return the error for a file that was listed, but was deleted before it was read.

    The error has no errno, because the advice for ENOENT is about a missing directory.
    """
    return FileNotFoundError("it was deleted after it was listed")


def renamed_error(error: StorageManagerError, operation: str) -> StorageManagerError:
    """Return an error of `StorageManager.read_step` with the name of the operation that the user called.

    For example, the message of read_step is "cannot retrieve <url>", and that of seal_session is "cannot seal <url>".
    """
    cause = error.__cause__
    return translate(cause if isinstance(cause, Exception) else error, operation, error.url or "")
