"""What the library asks of a filesystem: a few literal things, each one call.

Literal: a path is a name, never a pattern. Every filesystem here is an fsspec `AsyncFileSystem`, so that any
other method of fsspec is there too; these exist because fsspec's own expand globs, stop at the first
error while the siblings run on, or have no pages.
"""

import asyncio
import contextlib
import errno
import posixpath
import random
import re
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, ClassVar, NamedTuple, TypeVar

from fsspec.asyn import AsyncFileSystem

from storage_manager.aio import run_to_end
from storage_manager.errors import is_transient, translating

__all__ = [
    "ATTEMPTS",
    "STAGED",
    "STAGING_PREFIX",
    "Backend",
    "File",
    "FileInfo",
    "hidden_name",
    "modified_in",
    "retrying",
    "sorted_pages",
]

ATTEMPTS = 3  # how often anything is tried before it is reported
STAGING_PREFIX = ".staging-"
STAGED = re.compile(re.escape(STAGING_PREFIX) + "[0-9a-f]{32}")

In = TypeVar("In")
Out = TypeVar("Out")


def hidden_name() -> str:
    """A new name for what is not to be seen: no listing shows it, no id is like it, and `sweep` finds it again."""
    return STAGING_PREFIX + uuid.uuid4().hex


class File(NamedTuple):
    """One file to write: where, what, and the content type under which a browser would open it."""

    path: str
    data: bytes
    content_type: str


class FileInfo(NamedTuple):
    """One file that a listing names, below the directory that was listed; times in UTC."""

    name: str
    size: int
    modified: datetime | None
    e_tag: str | None = None


class Backend(AsyncFileSystem):
    """These, made from fsspec's own methods: for S3, and for any backend that has no better way."""

    backoff_seconds: ClassVar[float] = 1.0  # the longest wait before the second attempt; it doubles
    cachable = False
    max_in_flight = 32  # requests of one instance at a time
    active = 0  # operations under way
    closing = False  # closed by the last of them
    _semaphore: asyncio.Semaphore | None = None

    async def write_files(self, files: Sequence[File]) -> None:
        """Write every file whole, all in one directory; when it raises, none is being written any more."""
        results = await self._each(self._write_file, files)
        for error in filter(None, results):
            raise error

    async def _write_file(self, file: File) -> None:
        with translating("store", file.path):
            await run_to_end(self._pipe_file(file.path, file.data))

    async def read_files(self, paths: Sequence[str]) -> Sequence[bytes | Exception]:
        """For each path its bytes, or why they could not be read."""
        return await self._each(self._cat_file, paths)

    async def iter_names(self, path: str) -> AsyncIterator[list[str]]:
        """The names of the directories in a directory, page by page, sorted by code point; none if it is missing."""
        try:
            async with self._slots:
                infos = await self._ls(path, detail=True)
        except FileNotFoundError:
            return
        yield sorted(posixpath.basename(info["name"]) for info in infos if info["type"] == "directory")

    async def iter_files(self, path: str) -> AsyncIterator[list[FileInfo]]:
        """What lies in a directory and below it, page by page; nothing if it is missing."""
        start = len(self._strip_protocol(path)) + 1
        async with self._slots:
            infos = await self._find(path, detail=True)
        yield [FileInfo(name[start:], info["size"], modified_in(info)) for name, info in sorted(infos.items())]

    async def link(self, path: str, seconds: int) -> str:
        """A link to a file that a browser opens, for so many seconds where the backend can bound it."""
        raise NotImplementedError("this backend has no links that a browser opens")

    async def remove_tree(self, path: str, also_delete: Sequence[str] = ()) -> bool:
        """Remove all that is below a directory, and prove it; False where nothing was there.

        The files `along` go, where they are, with it: what they say of it is then true no more.
        """
        try:
            async with self._slots:
                await run_to_end(self._rm(path, recursive=True))
        except FileNotFoundError:
            return False
        for left in await self._find(path):
            raise OSError(errno.ENOTEMPTY, "still there after deletion", left)
        for file in also_delete:
            with contextlib.suppress(FileNotFoundError):
                await run_to_end(self._rm_file(file))
        return True

    async def list_unfinished(self, path: str) -> list[str]:
        """The components below a directory of which an upload was begun and not ended, where a backend has those."""
        return []

    async def sweep(self, path: str, older_than: float) -> int:
        """Remove from a root what killed writers left there, if it is older than this many seconds; how many."""
        return 0

    async def close(self) -> None:
        """Give back connections and threads; a closed filesystem is not used again."""

    async def _each(self, function: Callable[[In], Awaitable[Out]], items: Iterable[In]) -> list[Out | Exception]:
        """The results, or errors, of a function for every item, within the bound on requests in flight."""

        async def bounded(item: In) -> Out:
            async with self._slots:
                return await function(item)

        return await asyncio.gather(*map(bounded, items), return_exceptions=True)  # type: ignore[return-value]

    @property
    def _slots(self) -> asyncio.Semaphore:
        if self._semaphore is None:
            self._semaphore = asyncio.Semaphore(self.max_in_flight)
        return self._semaphore


# By which names fsspec's backends say when a file was last written, the best first.
_MODIFIED = ("LastModified", "last_modified", "mtime", "updated", "modified", "created")


def modified_in(info: Mapping[str, Any]) -> datetime | None:
    """When a file was last written, of what a backend of fsspec tells of it: a datetime, its text, or seconds."""
    value = next((info[name] for name in _MODIFIED if info.get(name) is not None), None)
    if isinstance(value, str):
        value = datetime.fromisoformat(value.replace("Z", "+00:00"))
    elif isinstance(value, (int, float)):
        value = datetime.fromtimestamp(value, timezone.utc)
    if not isinstance(value, datetime):
        return None
    return value.astimezone(timezone.utc) if value.tzinfo else value.replace(tzinfo=timezone.utc)


async def retrying(work: Callable[[], Awaitable[Out]], failures: tuple[type[Exception], ...]) -> Out:
    """What the work gives, in three attempts where it fails with what may pass.

    Between them it waits up to 1 and 2 seconds at random ("full jitter", as botocore's `standard` mode does).
    """
    for attempt in range(ATTEMPTS - 1):
        try:
            return await work()
        except failures as error:
            if not is_transient(error):
                raise
        await asyncio.sleep(random.uniform(0, Backend.backoff_seconds * 2**attempt))
    return await work()


_BELOW_SLASH = re.compile(r"[\x00-.]")


async def sorted_pages(pages: AsyncIterable[Sequence[str]]) -> AsyncIterator[list[str]]:
    """Pages of names in the order of S3 again in the order of the names, holding back only what they must.

    S3 sorts `a-b/` before `a/`, because `-` sorts before `/`; the names sort the other way round. So names
    that begin like a shorter one that may still come (`run-1`, `run-2`: `run`) wait until the listing has
    passed it; memory is bounded by their number, and by a page for all others.
    """
    held: list[str] = []
    bound = ""
    async for page in pages:
        ready: list[str] = []
        for name in page:
            if name + "/" > bound:
                ready += sorted(held)
                below = _BELOW_SLASH.search(name)
                held, bound = [], name[: below.start() if below else None] + "/"
            held.append(name)
        if ready:
            yield ready
    if held:
        yield sorted(held)
