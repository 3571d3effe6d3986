"""Whole files on a local disk. Everything here is synchronous: `LocalBackend` calls it in a worker thread.

Files are first written in a hidden directory at the root, which is then renamed. So no reader, kill or full disk leaves
part of a file under its name, and a new step appears at once. As on an object store, a directory below the root
exists only while there is something in it.
"""

import contextlib
import errno
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timezone
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from storage_manager.backends.base import STAGED, File, FileInfo, hidden_name

__all__ = ["DiskFileSystem", "sweep"]

PATH_LIMIT = 4096  # bytes, with the final zero byte (Linux, limits.h); a rename alone would not reach the limit
RACES = 20  # attempts of work that another process undid
STALE_SECONDS = 3600  # a writer needs seconds, so a staged file that is an hour old was left by a kill


class DiskFileSystem(LocalFileSystem):
    """`LocalFileSystem` that writes each step, and each file given to `pipe_file`, completely or not at all.

    Attributes:
        root: the directory at which writes are staged.
        fsync: True to flush files and directories to the disk before they are published.
    """

    root = ""
    fsync = False
    _swept = False

    def _staging(self, directory: str) -> str:
        """Return a new hidden path on the same disk: at the root, where no listing or deletion of a session sees it."""
        base = self.root if self.root and directory.startswith(f"{self.root}/") else directory
        return f"{base}/{hidden_name()}"

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        """Write a file whole: a reader gets the old bytes or all of the new ones."""
        if self._intrans:  # a transaction writes nothing before its end
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
            while rest:  # a write may be partial, for example if the disk is nearly full
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
        """Write the files of one step. Begin again if a deletion removes its directory meanwhile."""
        step = os.path.dirname(files[0].path)
        self._refuse_link(os.path.dirname(step))
        if any(len(os.fsencode(file.path)) >= PATH_LIMIT for file in files):
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), step)
        if not self._swept:
            self._swept = True
            with contextlib.suppress(OSError):  # a failed cleanup is no failed store
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
        """Rename the directory to be the step; if the step exists, move the files into it one after another."""
        try:
            self._rename_step(staged, step)
        except OSError as error:
            self._refuse_link(step)
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
        """Publish a new session with the step in it, so that a kill leaves no empty session. False if it exists."""
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
        """Raise if the root is gone: for example, its disk is not mounted. It is not taken for an empty one."""
        if not os.path.isdir(self.root):
            raise FileNotFoundError(errno.ENOENT, "the base directory is gone", self.root)

    def read_all(self, paths: Sequence[str]) -> Sequence[bytes | Exception]:
        """Return for each path its bytes, or the error that reading it raised."""
        results = [_read_whole(path) for path in paths]
        if any(isinstance(result, FileNotFoundError) for result in results):
            self._require_root()
        return results

    def files(self, path: str) -> list[FileInfo]:
        """Return every file in a directory and below it; none if the directory is missing."""
        found: list[FileInfo] = []
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found += _files_below(path)
        self._require_root()  # it may have gone during the walk, so that all files seemed deleted
        return found

    def directories(self, path: str) -> list[str]:
        """Return the sorted names of the subdirectories of a directory; none if it is missing."""
        try:
            with os.scandir(path) as entries:
                return sorted(entry.name for entry in entries if _is_directory(entry))
        except (FileNotFoundError, NotADirectoryError):
            self._require_root()
            return []

    def remove_whole(self, path: str, also_delete: Sequence[str] = ()) -> bool:
        """Rename the directory to a hidden name and delete it; on failure rename it back. False if it is missing."""
        session = os.path.dirname(path)
        self._refuse_link(session)
        try:
            hidden = self._hide(path, also_delete)
        except (FileNotFoundError, NotADirectoryError):
            self._require_root()
            hidden = ""
        self._remove_if_empty(session)  # also after a kill that came between the two
        if hidden:
            self._remove_hidden(hidden, path)
        return bool(hidden)

    def _hide(self, path: str, also_delete: Sequence[str]) -> str:
        """Rename a directory or link, and return its hidden name. Leave a regular file alone: it is not ours."""
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
                # a writer that opened the directory before the rename may still create a file in it
                races -= 1
                if error.errno in (errno.ENOTEMPTY, errno.ENOENT) and races:
                    continue
                with contextlib.suppress(OSError):
                    os.makedirs(os.path.dirname(path), exist_ok=True)
                    os.rename(hidden, path)
                raise

    def _remove_if_empty(self, session: str) -> None:
        if session != self.root:
            with contextlib.suppress(OSError):  # it is not empty, or gone already
                os.rmdir(session)


def _is_directory(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a circular link, or a target that may not be read
        return False


def _read_whole(path: str) -> bytes | OSError:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would block until a writer opens it
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                number = errno.EISDIR if stat.S_ISDIR(status.st_mode) else errno.EINVAL
                return OSError(number, "not a regular file", path)
            return _read_open(descriptor, status.st_size)
        finally:
            os.close(descriptor)
    except OSError as error:
        return error.with_traceback(None)  # its frames would keep the bytes of the other files in memory


def _read_open(descriptor: int, size: int) -> bytes:
    data = os.read(descriptor, size + 1)  # one system call, and one byte more to see that the file ends there
    if len(data) == size:
        return data
    pieces = [data]  # the file has another size by now, or it is larger than one read
    while piece := os.read(descriptor, max(size, 1 << 20)):
        pieces.append(piece)
    return b"".join(pieces)


def _files_below(path: str, name: str = "", *, follows_links: bool = True) -> Iterator[FileInfo]:
    """Yield every file below a directory, sorted, with its name relative to it. Skip those that are deleted meanwhile.

    A link to a directory in the directory itself counts as a directory, because a step may be one; below, as a file.

    Raises:
        OSError: the directory is missing, or the disk refuses one below it, which fsspec's own `find` would skip.
    """
    with os.scandir(path) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        try:
            if entry.is_dir(follow_symlinks=follows_links):
                yield from _files_below(entry.path, f"{name}{entry.name}/", follows_links=False)
            else:
                yield _file_info(entry, f"{name}{entry.name}")
        except FileNotFoundError:
            continue


def _file_info(entry: "os.DirEntry[str]", name: str) -> FileInfo:
    status = entry.stat(follow_symlinks=False)
    return FileInfo(name, status.st_size, datetime.fromtimestamp(status.st_mtime, timezone.utc))


def sweep(root: str, older_than: float) -> int:
    """Remove the staged files at a root that are older than this many seconds; return how many."""
    limit = time.time() - older_than
    with os.scandir(root) as entries:
        staged = [entry for entry in entries if STAGED.fullmatch(entry.name)]
    return sum(_remove_staged(entry) for entry in staged if _modified(entry) < limit)


def _remove_staged(entry: "os.DirEntry[str]") -> bool:
    """Remove a staged file or directory. False if another process removed it first.

    Rename it first: a writer that still uses it then finds it gone, and begins again. Without the rename, the writer
    could publish it while half of it is removed.
    """
    renamed = os.path.join(os.path.dirname(entry.path), hidden_name())
    try:
        os.rename(entry.path, renamed)
        (shutil.rmtree if entry.is_dir(follow_symlinks=False) else os.unlink)(renamed)
    except FileNotFoundError:
        return False
    return True


def _modified(entry: "os.DirEntry[str]") -> float:
    try:
        return entry.stat(follow_symlinks=False).st_mtime
    except FileNotFoundError:  # it was published meanwhile
        return time.time()
