"""Whole files on a local disk, synchronously: what `LocalBackend` has its worker do.

What is written lies first in a hidden directory at the root and is then renamed, so that no reader, kill or full
disk ever meets part of a file under its name, and a new step appears at once. As on an object store, a directory
below the root is there only as long as something is in it.
"""

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from storage_manager.backends.base import File, FileInfo, hidden_name
from storage_manager.backends.leftovers import STALE_SECONDS, sweep
from storage_manager.backends.walk import files_below

__all__ = ["DiskFileSystem"]

PATH_LIMIT = 4096  # bytes, the ending zero included (Linux, limits.h); a rename alone would not meet it
RACES = 20  # how often work is begun anew because others were quicker


class DiskFileSystem(LocalFileSystem):
    """`LocalFileSystem` that writes steps and `pipe_file` whole; it stages at `root`, and `fsync` goes to the disk."""

    root = ""
    fsync = False
    _swept = False

    def _staging(self, directory: str) -> str:
        """A new hidden name on the same disk: at the root, where no listing, glob or deletion of a session meets it."""
        base = self.root if self.root and directory.startswith(f"{self.root}/") else directory
        return f"{base}/{hidden_name()}"

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        """Write a file whole: under its name, a reader meets the old bytes or all of the new ones."""
        if self._intrans:  # nothing is written before its end
            super().pipe_file(path, value, mode, **kwargs)
        else:
            self._pipe_whole(self._strip_protocol(path), value, os.link if mode == "create" else os.replace)

    def _pipe_whole(self, path: str, value: bytes, publish: Callable[[str, str], None]) -> None:
        directory = os.path.dirname(path)
        if self.auto_mkdir:
            os.makedirs(directory, exist_ok=True)
        staged = self._staging(directory)
        try:
            self._write_whole(staged, value)
            publish(staged, path)
            self._sync(directory)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(staged)

    def _write_whole(self, path: str, data: bytes) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)  # half the system calls of open()
        try:
            rest = memoryview(data).cast("B")
            while rest:  # a write may end early, as where the disk is nearly full
                rest = rest[os.write(descriptor, rest) :]
            if self.fsync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _sync(self, directory: str) -> None:
        if self.fsync:
            descriptor = os.open(directory, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def write_step(self, files: Sequence[File]) -> None:
        """Write the files of one step; where a deletion meanwhile took its directory away, begin anew."""
        step = os.path.dirname(files[0].path)
        for directory in (os.path.dirname(step), step):
            self._refuse_link(directory)
        if any(len(os.fsencode(file.path)) >= PATH_LIMIT for file in files):
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), step)
        if not self._swept:
            self._swept = True
            with contextlib.suppress(OSError):  # housekeeping fails no store
                sweep(self.root, STALE_SECONDS)
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

    def _publish(self, staged: str, step: str, names: Iterable[str]) -> None:
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
        try:
            os.rename(staged, step)
        except FileNotFoundError:
            if self._rename_session(staged, step):
                return
            os.rename(staged, step)
        self._sync(os.path.dirname(step))

    def _rename_session(self, staged: str, step: str) -> bool:
        """Publish a new session with the step in it, so that no kill leaves an empty one; False if it is not new."""
        session, name = os.path.split(step)
        outer = self._staging(step)
        os.mkdir(outer)
        try:
            os.rename(staged, f"{outer}/{name}")
            self._sync(outer)
            os.rename(outer, session)
        except OSError as error:
            with contextlib.suppress(FileNotFoundError):
                os.rename(f"{outer}/{name}", staged)
            os.rmdir(outer)
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            return False
        self._sync(self.root)
        return True

    def _refuse_link(self, directory: str) -> None:
        if directory != self.root and os.path.islink(directory):
            raise OSError(errno.ELOOP, "a symbolic link: nothing is written or deleted through one", directory)

    def _require_root(self) -> None:
        """A directory that is gone, such as a disk that is not mounted, is no empty one."""
        if not os.path.isdir(self.root):
            raise FileNotFoundError(errno.ENOENT, "the base directory is gone", self.root)

    def read_all(self, paths: Sequence[str]) -> Sequence[bytes | Exception]:
        """For each path its bytes, or why they could not be read."""
        results = [_read_whole(path) for path in paths]
        if any(isinstance(result, FileNotFoundError) for result in results):
            self._require_root()
        return results

    def files(self, path: str) -> list[FileInfo]:
        """Every file in a directory and below it; none if it is missing."""
        found: list[FileInfo] = []
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found += files_below(path)
        self._require_root()  # also where it went while it was walked, and all in it seemed deleted
        return found

    def directories(self, path: str) -> list[str]:
        """The names of the directories in one, sorted; none if it is missing."""
        try:
            with os.scandir(path) as entries:
                return sorted(entry.name for entry in entries if _is_directory(entry))
        except (FileNotFoundError, NotADirectoryError):
            self._require_root()
            return []

    def remove_whole(self, path: str, also_delete: Sequence[str] = ()) -> bool:
        """Move a directory out of sight, and the files along with it; what cannot be removed comes back into sight."""
        session = os.path.dirname(path)
        self._refuse_link(session)
        try:
            hidden = self._hide(path, also_delete)
        except (FileNotFoundError, NotADirectoryError):
            self._require_root()
            hidden = ""
        self._prune(session)  # also where a kill came between the two
        if hidden:
            self._remove_hidden(hidden, path)
        return bool(hidden)

    def _hide(self, path: str, also_delete: Sequence[str]) -> str:
        """The hidden name of what was a directory, or a link; a file of somebody else's is left alone."""
        mode = os.lstat(path).st_mode
        if not stat.S_ISDIR(mode) and not stat.S_ISLNK(mode):
            return ""
        for file in also_delete:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(file)
        hidden = self._staging(path)
        os.rename(path, hidden)
        return hidden

    def _remove_hidden(self, hidden: str, path: str) -> None:
        races = RACES
        while os.path.lexists(hidden):
            try:
                (os.unlink if os.path.islink(hidden) else shutil.rmtree)(hidden)
            except OSError as error:
                # a write that had found the directory before it was moved may still arrive in it
                races -= 1
                if error.errno in (errno.ENOTEMPTY, errno.ENOENT) and races:
                    continue
                with contextlib.suppress(OSError):
                    os.makedirs(os.path.dirname(path), exist_ok=True)
                    os.rename(hidden, path)
                raise

    def _prune(self, session: str) -> None:
        if session != self.root:
            with contextlib.suppress(OSError):  # not empty, or gone already
                os.rmdir(session)


def _is_directory(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle, or to where nobody may look
        return False


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe would wait for its writer, and the worker with it


def _read_whole(path: str) -> bytes | OSError:
    try:
        with open(path, "rb", buffering=0, opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return OSError(errno.EINVAL, "not a regular file", path)
            return file.read()
    except OSError as error:
        return error
