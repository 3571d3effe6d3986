"""Local disk for asyncio: fsspec's `LocalFileSystem` behind one worker thread, with whole files only.

A batch is one hop to the thread. What is written lies first in a hidden directory at the root and is then
renamed, so that no reader, kill or full disk ever meets part of a file under its name, and a new step appears
at once. fsspec's `AsyncFileSystemWrapper` is not used: in 2026.9.0 `open(path, "wb")` on it returns and writes
no file, and each of its calls is a hop of its own.

As on an object store, a directory below the root is there only as long as something is in it.
"""

import asyncio
import contextlib
import errno
import os
import shutil
import stat
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from fsspec.implementations.local import LocalFileSystem

from storage_manager.filesystems.base import File, LiteralFileSystem

__all__ = ["STAGING_PREFIX", "AsyncLocalFileSystem"]

STAGING_PREFIX = ".staging-"
STALE_SECONDS = 3600  # a writer needs seconds: what is an hour old was left by a kill
RACES = 20  # how often a write is begun anew because others deleted its directory meanwhile
PAGE = 1000  # names between two turns of the event loop

Out = TypeVar("Out")


class AsyncLocalFileSystem(LiteralFileSystem, LocalFileSystem):
    """`LocalFileSystem` with its operations also as coroutines; the synchronous ones are fsspec's own.

    Parameters:
        root: the directory at which writes are staged.
        fsync: True to have files and directories on the disk before they are published; 13 to 70 times slower.
        max_workers: threads; one is best on a local disk, a network disk may want more.
    """

    mirror_sync_methods = False

    def __init__(
        self, root: str = "", *, fsync: bool = False, max_workers: int = 1, auto_mkdir: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(auto_mkdir=auto_mkdir, **kwargs)
        self.root = root
        self.fsync = fsync
        self._workers = ThreadPoolExecutor(max_workers, "storage_manager")
        self._swept = False

    async def _hop(self, function: Callable[..., Out], *args: Any, **kwargs: Any) -> Out:
        call = partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._workers, call)

    async def _close(self) -> None:
        self._workers.shutdown(wait=False)

    async def _write_files(self, files: Sequence[File]) -> None:
        await self._hop(self._write_step, files)

    async def _read_files(self, paths: Sequence[str]) -> Sequence[bytes | Exception]:
        return await self._hop(self._read_all, paths)

    async def _iter_names(self, path: str) -> AsyncIterator[list[str]]:
        names = await self._hop(self._directories, path)
        for start in range(0, len(names), PAGE):
            yield names[start : start + PAGE]
            await asyncio.sleep(0)

    async def _remove_tree(self, path: str) -> bool:
        return await self._hop(self._remove_whole, path)

    async def _pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        await self._hop(self.pipe_file, path, value, mode)

    # --- what the worker does -------------------------------------------------------------------------

    def _staging(self, directory: str) -> str:
        """A new hidden name on the same disk: at the root, where no listing, glob or deletion of a session meets it."""
        base = self.root if directory.startswith(f"{self.root}/") else directory
        return f"{base}/{STAGING_PREFIX}{uuid.uuid4().hex}"

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        """Write a file whole: under its name, a reader meets the old bytes or all of the new ones."""
        path = self._strip_protocol(path)
        directory = os.path.dirname(path)
        os.makedirs(directory, exist_ok=True)
        staged = self._staging(directory)
        try:
            self._write_whole(staged, value)
            (os.link if mode == "create" else os.replace)(staged, path)
            self._sync(directory)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(staged)

    def _write_whole(self, path: str, data: bytes) -> None:
        with open(path, "xb") as file:
            file.write(data)
            if self.fsync:
                file.flush()
                os.fsync(file.fileno())

    def _sync(self, directory: str) -> None:
        if self.fsync:
            descriptor = os.open(directory, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _write_step(self, files: Sequence[File]) -> None:
        """Write the files of one step; where a deletion meanwhile took its directory away, begin anew."""
        step = os.path.dirname(files[0].path)
        self._refuse_link(os.path.dirname(step))
        if not self._swept:
            self._swept = True
            self.sweep(STALE_SECONDS)
        races = RACES
        while True:
            try:
                return self._stage_and_publish(step, {os.path.basename(file.path): file.data for file in files})
            except FileNotFoundError:
                races -= 1
                if not races or not os.path.isdir(self.root):
                    raise

    def _stage_and_publish(self, step: str, files: dict[str, bytes]) -> None:
        staged = self._staging(step)
        try:
            os.mkdir(staged)
            for name, data in files.items():
                self._write_whole(f"{staged}/{name}", data)
            self._sync(staged)
            self._publish(staged, step, files)
            staged = ""
        finally:
            if staged:
                shutil.rmtree(staged, ignore_errors=True)
                self._prune(os.path.dirname(step))

    def _publish(self, staged: str, step: str, names: Sequence[str] | dict[str, bytes]) -> None:
        """One rename where the step is new, else one for each file."""
        try:
            self._rename_step(staged, step)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            for name in names:
                os.replace(f"{staged}/{name}", f"{step}/{name}")
            os.rmdir(staged)
            self._sync(step)

    def _rename_step(self, staged: str, step: str) -> None:
        session = os.path.dirname(step)
        try:
            os.rename(staged, step)
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):
                os.mkdir(session)
                self._sync(self.root)
            os.rename(staged, step)
        self._sync(session)

    def _refuse_link(self, directory: str) -> None:
        if directory != self.root and os.path.islink(directory):
            raise OSError(errno.ELOOP, "a symbolic link: nothing is written or deleted through one", directory)

    def _read_all(self, paths: Sequence[str]) -> Sequence[bytes | Exception]:
        results = [_read_whole(path) for path in paths]
        if all(isinstance(result, FileNotFoundError) for result in results) and not os.path.isdir(self.root):
            return [NotADirectoryError(errno.ENOTDIR, "the base directory is gone", self.root)] * len(paths)
        return results

    def _directories(self, path: str) -> list[str]:
        try:
            with os.scandir(path) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir())
        except (FileNotFoundError, NotADirectoryError):
            if path == self.root:
                raise
            return []

    def _remove_whole(self, path: str) -> bool:
        """Move a directory out of sight and remove it there; what cannot be removed comes back into sight."""
        self._refuse_link(os.path.dirname(path))
        try:
            mode = os.lstat(path).st_mode
            hidden = self._staging(path)
            if stat.S_ISLNK(mode):
                os.unlink(path)
            elif stat.S_ISDIR(mode):
                os.rename(path, hidden)
            else:
                return False
        except (FileNotFoundError, NotADirectoryError):
            return False
        if stat.S_ISDIR(mode):
            self._remove_hidden(hidden, path)
        self._prune(os.path.dirname(path))
        return True

    def _remove_hidden(self, hidden: str, path: str) -> None:
        races = RACES
        while os.path.lexists(hidden):
            try:
                shutil.rmtree(hidden)
            except OSError as error:
                # a write that had found the directory before it was moved may still arrive in it
                races -= 1
                if error.errno in (errno.ENOTEMPTY, errno.ENOENT) and races:
                    continue
                with contextlib.suppress(OSError):
                    os.rename(hidden, path)
                raise

    def _prune(self, session: str) -> None:
        if session != self.root:
            with contextlib.suppress(OSError):  # not empty, or gone already
                os.rmdir(session)

    def sweep(self, older_than: float) -> int:
        """Remove what killed writers left at the root, when it is older than this many seconds; returns how many."""
        limit = time.time() - older_than
        with os.scandir(self.root) as entries:
            staged = [entry for entry in entries if entry.name.startswith(STAGING_PREFIX)]
        stale = [entry.path for entry in staged if _modified(entry) < limit]
        for path in stale:
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
        return len(stale)


def _modified(entry: "os.DirEntry[str]") -> float:
    try:
        return entry.stat(follow_symlinks=False).st_mtime
    except FileNotFoundError:  # published meanwhile
        return time.time()


def _read_whole(path: str) -> bytes | OSError:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except OSError as error:
        return error


def _hopping(name: str) -> Callable[..., Any]:
    method = getattr(LocalFileSystem, name)

    async def hop(self: AsyncLocalFileSystem, *args: Any, **kwargs: Any) -> Any:
        return await self._hop(method, self, *args, **kwargs)

    return hop


# What fsspec's asynchronous methods build on, each the synchronous one in the worker.
for _name in (
    "cat_file", "cp_file", "created", "du", "exists", "find", "get_file", "glob", "info", "isdir", "isfile", "ls",
    "makedirs", "mkdir", "modified", "put_file", "rm", "rm_file", "rmdir", "touch",
):  # fmt: skip
    setattr(AsyncLocalFileSystem, f"_{_name}", _hopping(_name))
