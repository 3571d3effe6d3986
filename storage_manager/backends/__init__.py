"""Backends: the only code that knows filesystems. The protocol in the URL of a root selects the backend.

On S3, the engine selects it. The library of a backend is imported on first use, because importing s3fs takes half a
second.
"""

import asyncio
import os
from asyncio import AbstractEventLoop, get_running_loop
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

import fsspec

from storage_manager.backends.base import STAGED, Backend, File, FileInfo, FsspecBackend, hidden_name
from storage_manager.backends.streams import Stream, hash_blocks, stream_of
from storage_manager.credentials import keep
from storage_manager.encoding import has_surrogates
from storage_manager.errors import LocalStorageError, S3ConfigError, StorageManagerError, translating
from storage_manager.s3_settings import S3Settings

if TYPE_CHECKING:
    from storage_manager.config import Config

__all__ = [
    "STAGED",
    "Backend",
    "File",
    "FileInfo",
    "FsspecBackend",
    "Root",
    "Stream",
    "hash_blocks",
    "hidden_name",
    "stream_of",
]


class Root:
    """A root URL with its settings, and its backends: one for each event loop of each process.

    When a loop ends, its backend is closed. A forked child process does not use the backends of its parent.

    Parameters:
        url: `s3://bucket[/prefix]`, an absolute directory, or a URL of another fsspec backend.
        config: region, endpoint and engine of S3.
        storage_options: the user's keywords for the filesystem; they override the library's own.
        fsync, max_concurrency, max_file_bytes: as for StorageManager.

    Raises:
        S3ConfigError: the credentials are visibly wrong.
        LocalStorageError: the directory cannot be created, or other tools could not open it.
        StorageManagerError: fsspec has no such backend, or its package is not installed.
    """

    def __init__(
        self,
        url: str,
        config: "Config",
        storage_options: Mapping[str, Any] | None = None,
        *,
        fsync: bool = False,
        max_concurrency: int = 32,
        max_file_bytes: int = 2**30,
    ) -> None:
        protocol, separator, path = url.rpartition("://")
        self.protocol = protocol or "file"
        self.url = f"{protocol}{separator}{path.rstrip('/')}" or "/"
        self._options = dict(storage_options or {})
        keep(self, self.url, self._options)
        s3 = (config.s3_engine, config.s3_region, config.s3_endpoint_url)
        self.s3 = S3Settings(*s3, self._options, max_concurrency) if self.protocol == "s3" else None
        self._fsync = fsync
        self._limits = max_concurrency, max_file_bytes
        self._opened: dict[AbstractEventLoop, _OpenBackend] = {}
        self._prepare()

    def _prepare(self) -> None:
        with translating("configure" if self.s3 else "open", self.url):
            _refuse_reserved(self.protocol, self._options)
            if self.s3:
                self.s3.check(self.url)
            elif self.protocol == "file":
                _check_directory(self.url)
                os.makedirs(self.url, exist_ok=True)
            else:
                fsspec.get_filesystem_class(self.protocol)

    @property
    def max_file_bytes(self) -> int:
        """The size of the largest file that is read into memory."""
        return self._limits[1]

    def backend(self) -> FsspecBackend:
        """Return the backend of the running loop. It is opened on first use."""
        return self._current().backend

    def use(self) -> AbstractAsyncContextManager[Backend]:
        """Return a context manager with the backend of the running loop. It is not closed before the block ends."""
        return _Operation(self._current)

    async def close(self) -> None:
        """Close the backend of the running loop, after the operations of other tasks have ended.

        If the calling task itself has an operation that has not ended, the end of that operation closes the backend.
        """
        loop = get_running_loop()
        opened = self._opened.get(loop)
        if opened is not None:
            await opened.close()
            if opened.closed and self._opened.get(loop) is opened:
                del self._opened[loop]

    def _current(self) -> "_OpenBackend":
        loop = get_running_loop()
        if loop not in self._opened or self._opened[loop].closed:
            for known in list(self._opened):  # a copy, because other threads may open theirs
                if known.is_closed():
                    self._opened.pop(known, None)
            backend = self._open()
            backend.max_in_flight, backend.max_file_bytes = self._limits
            self._opened[loop] = _OpenBackend(backend)
        return self._opened[loop]

    def _open(self) -> FsspecBackend:
        if self.s3:
            return self._open_s3(self.s3, self.s3.keywords(attempts=1))  # the backend itself tries again
        if self.protocol == "file":
            from storage_manager.backends.local import LocalBackend

            return LocalBackend(self.url, fsync=self._fsync, asynchronous=True, **self._options)
        from storage_manager.backends.other import OtherBackend

        return OtherBackend(self.protocol, self._options, asynchronous=True)

    def _open_s3(self, settings: S3Settings, keywords: dict[str, Any]) -> FsspecBackend:
        from storage_manager.backends.s3 import S3Backend

        cls = S3Backend
        if settings.engine == "obstore":
            from storage_manager.backends.obstore import ObstoreBackend, is_forked

            cls = S3Backend if is_forked() else ObstoreBackend
        backend = cls(asynchronous=True, **keywords)
        backend.root, backend.service = self.url, settings.service
        return backend

    def open_sync(self) -> fsspec.AbstractFileSystem:
        """Return a synchronous filesystem for the same root: fsspec's own, or a subclass. Any thread can use it."""
        if self.s3:
            from storage_manager.backends.s3 import SyncS3FileSystem

            return SyncS3FileSystem(**self.s3.keywords())
        if self.protocol == "file":
            from storage_manager.backends.disk import DiskFileSystem

            return DiskFileSystem(**{"auto_mkdir": True, **self._options, "root": self.url})
        return fsspec.filesystem(self.protocol, **self._options)

    @property
    def public_options(self) -> dict[str, Any]:
        """The options that another tool needs to open the same URLs. None of them ever contains a secret."""
        return self.s3.public_options if self.s3 else {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        keep(self, self.url, self._options)


def _refuse_reserved(protocol: str, options: Mapping[str, Any]) -> None:
    """Refuse storage_options that the library itself passes to each filesystem.

    Raises:
        S3ConfigError, LocalStorageError, StorageManagerError: such an option is given: on S3, on local disk, or for
            another backend.
    """
    reserved = ("asynchronous", "loop", *(("root", "fsync") if protocol == "file" else ()))
    cls = {"s3": S3ConfigError, "file": LocalStorageError}.get(protocol, StorageManagerError)
    for name in reserved:
        if name in options:
            raise cls(f"storage_options[{name!r}] is set by the library: leave it out", operation="configure")


def _check_directory(path: str) -> None:
    """Refuse a directory that fsspec could not open with the URL that `url_for` returns.

    Raises:
        LocalStorageError: the path has `::`, which chains URLs in fsspec, or is not valid UTF-8.
    """
    if "::" in path:
        why = "fsspec chains URLs with '::', so no other tool could open it"
    elif has_surrogates(path):
        why = "its name is not valid UTF-8"
    else:
        return
    message = f"cannot use the directory {path!r}: {why}; choose another local_base_path"
    raise LocalStorageError(message, operation="configure", url=path)


class _OpenBackend:
    """An open backend, and the operations that use it, each with its task."""

    def __init__(self, backend: FsspecBackend) -> None:
        self.backend = backend
        self.active: dict[_Operation, asyncio.Task[Any] | None] = {}
        self.closing = self.closed = False
        self._ended: asyncio.Future[None] | None = None  # the next end of an operation
        self._closers: set[asyncio.Task[Any] | None] = set()  # tasks that wait in close

    async def end(self, operation: "_Operation") -> None:
        """Forget an operation. The last one closes the backend if close was called and no call of close is waiting."""
        del self.active[operation]
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)
        if self.closing and not self.active and not self._closers:
            await self._close()

    async def _close(self) -> None:
        self.closed = True
        await self.backend.close()

    async def close(self) -> None:
        """Wait for the operations of other tasks. Then close the backend, unless an operation still uses it.

        This does not wait for operations that begin later, nor for operations of tasks that are waiting here. These
        operations use the same backend, because they may be part of an operation that this waits for. The last of them
        closes the backend.
        """
        self.closing = True
        current, begun = asyncio.current_task(), set(self.active)
        self._closers.add(current)
        try:
            while others := self._running(begun):
                if self._ended is None or self._ended.done():
                    self._ended = get_running_loop().create_future()
                await asyncio.wait({self._ended, *others}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._closers.discard(current)
        if not self.active:
            await self._close()

    def _running(self, begun: "set[_Operation]") -> "set[asyncio.Task[Any]]":
        """Return the tasks of those operations that have not ended, without the tasks that are waiting in close."""
        tasks = {self.active[operation] for operation in begun & self.active.keys()} - self._closers
        return {task for task in tasks if task and not task.done()}


class _Operation(AbstractAsyncContextManager[Backend]):
    """One use of a backend, as a context manager. Every operation enters one, and a generator would be slower."""

    def __init__(self, current: Callable[[], _OpenBackend]) -> None:
        self._current = current

    async def __aenter__(self) -> Backend:
        self._opened = self._current()
        self._opened.active[self] = asyncio.current_task()
        return self._opened.backend

    async def __aexit__(self, *error: object) -> None:
        await self._opened.end(self)
