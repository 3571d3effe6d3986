"""The interface of a filesystem for this library, and the default implementation for any fsspec backend.

Paths are literal: a path is a name, never a pattern. In contrast, fsspec's own methods expand patterns, raise the first
error while other calls are still running, and return listings without pages.
"""

import asyncio
import contextlib
import errno
import os
import posixpath
import re
import tempfile
from abc import ABC, ABCMeta, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime, timezone
from typing import Any, NamedTuple, TypeVar

from fsspec.asyn import AsyncFileSystem

from storage_manager.aio import run_to_end
from storage_manager.backends.streams import BLOCK, Stream, stream_of
from storage_manager.credentials import without_secrets
from storage_manager.errors import StorageManagerError, translating

__all__ = [
    "MAX_SIZE",
    "STAGED",
    "STAGING_PREFIX",
    "Backend",
    "File",
    "FileInfo",
    "FsspecBackend",
    "hidden_name",
    "md5_in",
    "modified_in",
    "moment_of",
]

STAGING_PREFIX = ".staging-"
MAX_SIZE = 2**63  # bytes; no file system and no service has a file of so many
_MD5 = re.compile('"?([0-9a-f]{32})"?')
STAGED = re.compile(re.escape(STAGING_PREFIX) + "[0-9a-f]{32}")

In = TypeVar("In")
Out = TypeVar("Out")


def hidden_name() -> str:
    """Return a new name for a staged file. It is not a valid id, listings hide it, and `sweep` recognises it."""
    return STAGING_PREFIX + os.urandom(16).hex()


def md5_in(e_tag: str) -> str | None:
    """Return an S3 ETag without quotes if it looks like an MD5 in hexadecimal; None otherwise."""
    digest = _MD5.fullmatch(e_tag.lower())
    return digest and digest[1]


class File(NamedTuple):
    """A file to write. `content_type` is the type that a browser gets if it opens the file on S3."""

    path: str
    data: bytes | Stream
    content_type: str


class FileInfo(NamedTuple):
    """A file in a listing. `name` is relative to the directory that was listed, `size` is in bytes, times are UTC."""

    name: str
    size: int
    modified: datetime | None
    e_tag: str | None = None

    @property
    def md5(self) -> str | None:
        """The ETag if it looks like an MD5 in hexadecimal; None otherwise."""
        return md5_in(self.e_tag or "")


class Backend(ABC):
    """The interface of a filesystem for this library. Every backend is also an fsspec `AsyncFileSystem`.

    A backend belongs to one event loop and one process. To write a backend, subclass `FsspecBackend`, which implements
    every method for any fsspec filesystem. Override the methods that your filesystem can do better.
    """

    max_in_flight = 32  # requests at a time
    max_file_bytes = 2**30  # the largest file that read_files returns
    backoff_seconds = 1.0  # the longest pause before the second attempt of a request; twice that before the third
    has_conditional_writes = False  # True if write_files can leave existing files alone
    has_whole_steps = False  # True if a new step appears with all of its files at once

    @abstractmethod
    async def write_files(self, files: Sequence[File], *, overwrite: bool = True) -> None:
        """Write every file whole. All files are in the same directory. After an error, no write is running any more.

        Parameters:
            overwrite: False to replace no file.

        Raises:
            AlreadyExistsError: with overwrite=False, one of the files exists. Others may have been written.
            StorageManagerError: with overwrite=False, the backend has no conditional writes (`has_conditional_writes`).
                Raised before any I/O.
        """

    @abstractmethod
    async def write_new_step(self, files: Sequence[File]) -> None:
        """Write the files of a new step. The first file claims the step: only one of several writers succeeds.

        A backend without conditional writes overwrites existing files.

        Raises:
            AlreadyExistsError: the first file exists. Nothing is written.
        """

    async def write_from_path(self, path: str, source: "str | os.PathLike[str]", content_type: str) -> None:
        """Write a local file whole, without reading it into memory as a whole."""
        await self.write_files([File(path, stream_of(source), content_type)])

    @abstractmethod
    async def read_files(self, paths: Sequence[str]) -> Sequence[bytes | Exception]:
        """Return the bytes for each path, or the error that reading raised.

        For a file of more than `max_file_bytes`, return an error (EFBIG). It is not read.
        """

    @abstractmethod
    def read_blocks(self, path: str) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a file of any size in blocks of some megabytes. An empty file has no block."""

    @abstractmethod
    def iter_names(self, path: str) -> AsyncGenerator[list[str], None]:
        """Yield the names of the subdirectories of a directory, sorted by code point, in pages.

        A missing directory has none.
        """

    @abstractmethod
    def iter_files(self, path: str) -> AsyncGenerator[list[FileInfo], None]:
        """Yield the files in a directory and below it, in pages. A missing directory has none.

        If a part of it cannot be listed, first yield the other files, as far as possible, and then raise the error.
        """

    @abstractmethod
    async def remove_tree(self, path: str, also_delete: Sequence[str] = ()) -> bool:
        """Delete all files below a directory, and check the deletion with a listing.

        Parameters:
            also_delete: the paths of files to delete too, if the directory exists.

        Returns:
            False if there was nothing to delete.
        """

    @abstractmethod
    async def remove_file(self, path: str, also_delete: Sequence[str] = ()) -> bool:
        """Delete a file of a step or of a session, and check the deletion with a listing.

        If the step or session has no other file, it no longer exists.

        Parameters:
            also_delete: the paths of files of the session to delete too, if the file exists.

        Returns:
            False if there was nothing to delete.
        """

    @abstractmethod
    async def link(self, path: str, seconds: int) -> str:
        """Return a link with which a browser can open a file. If it can expire, it is valid for this many seconds."""

    @abstractmethod
    async def list_unfinished(self, path: str) -> list[str]:
        """Return the paths of files below a session or step whose upload was begun but not completed."""

    @abstractmethod
    async def sweep(self, path: str, older_than: float) -> int:
        """Delete the files that killed writers left at a root, if they are older than this many seconds.

        Returns:
            The number of files and uploads that were deleted.
        """

    async def table_options(self, path: str, *, to_write: bool) -> dict[str, str]:
        """Return the options with which Delta Lake opens a table in a directory. They contain secrets.

        Parameters:
            to_write: True to check that only one of several writers of the same version of the table can succeed.

        Raises:
            StorageManagerError: the backend does not support such tables.
        """
        why = "only roots on S3 and on local disk can have a catalogue"
        raise StorageManagerError(f"cannot open {path}: {why}", operation="open", url=path)

    @abstractmethod
    async def close(self) -> None:
        """Release connections and threads. It may be called several times."""


class _BackendMeta(ABCMeta, type(AsyncFileSystem)):  # type: ignore[misc]  # fsspec has no types
    """The metaclass of ABC together with that of fsspec."""


class FsspecBackend(Backend, AsyncFileSystem, metaclass=_BackendMeta):
    """The default implementation: it works for any fsspec filesystem through fsspec's own methods."""

    cachable = False
    _semaphore: asyncio.Semaphore | None = None

    async def write_files(self, files: Sequence[File], *, overwrite: bool = True) -> None:
        if not overwrite:
            raise _would_replace_error(files[0].path)
        await self._write_all(self._write_file, files)

    async def write_new_step(self, files: Sequence[File]) -> None:
        if self.has_conditional_writes:
            await self.write_files(files[:1], overwrite=False)
            files = files[1:]
        await self.write_files(files)

    async def _write_all(self, write: Callable[[File], Awaitable[None]], files: Sequence[File]) -> None:
        """Write files at the same time, but write streams one after another."""
        results = await self._map(write, [file for file in files if not isinstance(file.data, Stream)])
        for error in filter(None, results):
            raise error
        for file in files:
            if isinstance(file.data, Stream):
                await write(file)

    async def _write_file(self, file: File) -> None:
        with translating("store", file.path):
            if isinstance(file.data, Stream):
                await self._write_stream(file.path, file.data)
            else:
                await run_to_end(self._pipe_file(file.path, file.data))

    async def _write_stream(self, path: str, stream: Stream) -> None:
        """Write the stream to a temporary file, and pass this to fsspec: few filesystems can write in blocks."""
        with tempfile.NamedTemporaryFile() as file:
            async with aclosing(stream.blocks()) as blocks:
                async for block in blocks:
                    await run_to_end(asyncio.to_thread(file.write, block))
            file.flush()
            await run_to_end(self._put_file(file.name, path))

    async def read_files(self, paths: Sequence[str]) -> Sequence[bytes | Exception]:
        return await self._map(self._cat_file, paths)

    async def read_blocks(self, path: str) -> AsyncGenerator[bytes, None]:
        size = (await self._info(path))["size"]
        for start in range(0, size, BLOCK):
            async with self._slots:
                block = await self._cat_file(path, start=start, end=min(start + BLOCK, size))
            yield block

    async def iter_names(self, path: str) -> AsyncGenerator[list[str], None]:
        try:
            async with self._slots:
                infos = await self._ls(path, detail=True)
        except FileNotFoundError:
            return
        yield sorted(posixpath.basename(info["name"]) for info in infos if info["type"] == "directory")

    async def iter_files(self, path: str) -> AsyncGenerator[list[FileInfo], None]:
        start = len(self._strip_protocol(path)) + 1
        async with self._slots:
            infos = await self._find(path, detail=True)
        yield [FileInfo(name[start:], _size_in(info), modified_in(info)) for name, info in sorted(infos.items())]

    async def remove_tree(self, path: str, also_delete: Sequence[str] = ()) -> bool:
        try:
            async with self._slots:
                await run_to_end(self._rm(path, recursive=True))
        except FileNotFoundError:
            return False
        for left in await self._find(path):
            raise OSError(errno.ENOTEMPTY, "still there after deletion", left)
        await self._remove_present(also_delete)
        return True

    async def remove_file(self, path: str, also_delete: Sequence[str] = ()) -> bool:
        name, directory = posixpath.basename(path), posixpath.dirname(path)
        if not await self._has_file(directory, name):
            return False
        await run_to_end(self._rm_file(path))
        if await self._has_file(directory, name):
            raise OSError(errno.ENOTEMPTY, "still there after deletion", path)
        await self._remove_present(also_delete)
        return True

    async def _remove_present(self, paths: Sequence[str]) -> None:
        """Delete these files, if they exist."""
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                await run_to_end(self._rm_file(path))

    async def _has_file(self, directory: str, name: str) -> bool:
        async with aclosing(self.iter_files(directory)) as pages:
            return any([found.name == name async for page in pages for found in page])

    async def link(self, path: str, seconds: int) -> str:
        raise NotImplementedError("this backend has no links that a browser can open")

    async def list_unfinished(self, path: str) -> list[str]:
        return []

    async def sweep(self, path: str, older_than: float) -> int:
        return 0

    async def close(self) -> None:
        pass

    def to_dict(self, *, include_password: bool = True) -> dict[str, Any]:
        """Return fsspec's form for JSON, without credentials. A reader finds credentials on its own machine."""
        cls, options = type(self), without_secrets(self.storage_options)
        return {
            "cls": f"{cls.__module__}:{cls.__name__}",
            "protocol": self.protocol if isinstance(self.protocol, str) else self.protocol[0],
            "args": without_secrets(self.storage_args),
            **{name: value for name, value in options.items() if value is not None},  # fsspec refuses None
        }

    async def _map(self, function: Callable[[In], Awaitable[Out]], items: Iterable[In]) -> list[Out | Exception]:
        """Call a function for every item, at most `max_in_flight` at a time. Return the results or errors in order."""

        async def bounded(item: In) -> Out:
            async with self._slots:
                return await function(item)

        return await asyncio.gather(*map(bounded, items), return_exceptions=True)  # type: ignore[return-value]

    @property
    def _slots(self) -> asyncio.Semaphore:
        if self._semaphore is None:
            self._semaphore = asyncio.Semaphore(self.max_in_flight)
        return self._semaphore


def _would_replace_error(path: str) -> StorageManagerError:
    """Return the error for a write with overwrite=False if the backend does not support it."""
    why = "this backend has no write that never replaces a file (leave out overwrite=False)"
    return StorageManagerError(f"cannot store {path}: {why}", operation="store", url=path)


# The keys for the time of the last write in the details of fsspec's backends, the best first.
_MODIFIED = ("LastModified", "last_modified", "mtime", "updated", "modified", "created")


def modified_in(info: Mapping[str, Any]) -> datetime | None:
    """Return when a file was last written. fsspec's backends report a datetime, its text, or a number of seconds."""
    value = next((info[name] for name in _MODIFIED if info.get(name) is not None), None)
    if isinstance(value, (int, float)):
        return moment_of(value)
    with contextlib.suppress(ValueError, OverflowError):  # it is malformed, or before the year 1 or after 9999
        if isinstance(value, str):
            value = datetime.fromisoformat(value.replace("Z", "+00:00"))
        if isinstance(value, datetime):
            return value.astimezone(timezone.utc) if value.tzinfo else value.replace(tzinfo=timezone.utc)
    return None


def moment_of(seconds: float) -> datetime | None:
    """Return a time in seconds since 1970 as UTC; None if its year is not from 1 to 9999, as a file may have."""
    try:
        return datetime.fromtimestamp(seconds, timezone.utc)
    except (ValueError, OverflowError, OSError):
        return None


def _size_in(info: Mapping[str, Any]) -> int:
    """Return the size of a file; 0 if the backend does not report it, or reports a size that no file can have."""
    size = info.get("size")
    return size if isinstance(size, int) and 0 <= size < MAX_SIZE else 0
