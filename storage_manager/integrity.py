"""What a session should hold, written down: its seal. What a place should not hold: leftovers of killed writers."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from typing import Any

from pydantic_core import to_json

from storage_manager.errors import InvalidDataError, is_missing, translate, translating
from storage_manager.filesystems import File
from storage_manager.layout import COMPONENTS, MANIFEST_FILENAME, join
from storage_manager.storage import StorageManager
from storage_manager.tasks import ahead, settled

__all__ = ["seal_session", "sweep"]

_CONCURRENCY = 8  # steps in memory at a time, each of which is a page and its screenshot

_Listed = dict[str, dict[str, Any]]  # by path below the session: size and sha256


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
        manifest = {"version": 1, "sealed_at": now, "components": components}
        path = join(url, MANIFEST_FILENAME)
        await storage.async_fs._write_files([File(path, to_json(manifest) + b"\n", "application/json")])
    return path


async def _components(storage: StorageManager, session_id: str) -> _Listed:
    url = storage.url_for(session_id)
    step_ids = await storage.list_steps_for_session(session_id)
    with ThreadPoolExecutor(1, "seal") as thread:

        async def measured(step_id: str) -> _Listed:
            paths = [join(url, step_id, row.filename) for row in COMPONENTS]
            answers = await storage.async_fs._read_files(paths)
            measure = asyncio.get_running_loop().run_in_executor(thread, _measured, paths, answers)
            return {path.removeprefix(f"{url}/"): found for path, found in (await settled(measure)).items()}

        async with aclosing(ahead(measured, step_ids, _CONCURRENCY)) as steps:
            found = [step async for step in steps]
    return dict(sorted(item for step in found for item in step.items()))


def _measured(paths: Sequence[str], answers: Sequence[bytes | Exception]) -> _Listed:
    """Size and hash of each component that is there; a page of 1 MB takes a millisecond or more."""
    found: _Listed = {}
    for path, answer in zip(paths, answers, strict=True):
        if isinstance(answer, Exception):
            if not is_missing(answer):
                raise translate(answer, "seal", path)
        else:
            found[path] = {"size": len(answer), "sha256": sha256(answer).hexdigest()}
    return found


async def sweep(storage: StorageManager, older_than: timedelta = timedelta(hours=1)) -> int:
    """Remove what killed writers left behind: staged files, probes of `check`, unfinished uploads; returns how many.

    No session, step or component is touched. The first store of each manager sweeps a local disk of what is an hour
    old; on S3, and to have it gone sooner, call this. On S3 it needs the rights s3:ListBucketMultipartUploads and
    s3:AbortMultipartUpload. Other backends of fsspec have nothing to sweep.

    Parameters:
        older_than: only what was last written longer ago than this goes. Leave it longer than any write takes: a
            writer that is still at it has to begin anew on local disk, and fails on S3. Zero is for when nobody writes.

    Raises:
        ValueError: a negative age.
        S3OperationError, S3ConfigError, LocalStorageError: the place cannot be listed, or a leftover not removed.
    """
    if older_than < timedelta(0):
        raise ValueError(f"older_than must not be negative: {older_than}")
    url = storage.url_for()
    with translating("sweep", url):
        swept: int = await storage.async_fs._sweep(url, older_than.total_seconds())
    return swept
