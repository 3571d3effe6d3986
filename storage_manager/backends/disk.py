"""Whole files on a local disk. Everything here is synchronous: `LocalBackend` calls it in a worker thread.

Files are first written with a hidden name (see `staging`), and then renamed. So a kill or a full disk never leaves an
incomplete file with its final name, no reader gets a part of a file, and a new step appears at once. As on an object
store, a directory below the root exists only if it contains something.

Some file systems cannot rename every directory: overlayfs cannot rename those of a lower layer, and many mounts of
object stores cannot rename any. On these, a new step appears file by file, in the given order, and a deletion removes
file by file.
"""

import contextlib
import ctypes
import errno
import os
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from fsspec.implementations.local import LocalFileOpener, LocalFileSystem
from fsspec.utils import isfilelike

from storage_manager.backends.base import STAGED, Backend, File, FileInfo, moment_of
from storage_manager.backends.spelling import Spelling
from storage_manager.backends.staging import (
    BUSY,
    STALE_SECONDS,
    Staging,
    cannot_rename,
    files_left,
    is_about_root,
    is_staged_now,
    link_error,
    refuse_links,
    refuse_other_names,
    remove_staged,
    remove_tree,
    sweep,
    unlink_files,
)
from storage_manager.backends.streams import open_regular, refuse_irregular, too_large
from storage_manager.errors import already_exists, attempt, first_of
from storage_manager.layout import LOST_AND_FOUND, is_system_directory, is_system_file

__all__ = ["DiskFileSystem", "move_new", "write_all"]

PATH_LIMIT = 4096  # bytes, with the final zero byte (Linux, limits.h); a rename of a directory would not check it
RACES = 20  # attempts of a write whose directory another process deletes meanwhile
# The errors of fsync for a directory if the file system does not support it (CIFS: EINVAL). They are ignored: the files
# are on the disk, and no other call could do more.
NO_DIRECTORY_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
# The errors of link(2) if the file system does not support hard links, or not for this file.
NO_LINK = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EINVAL)
AT_FDCWD, RENAME_NOREPLACE = -100, 1  # of renameat2(2), Linux


class DiskFileSystem(LocalFileSystem):
    """A `LocalFileSystem` that writes each step, and each file given to `pipe_file`, completely or not at all.

    Attributes:
        root: the directory at which writes are staged.
        fsync: True to flush files and directories to the disk before they are published.
        removal_pauses: the pauses between attempts to remove a directory that is in use, 1 second in all. NFS renames a
            deleted file that is still open to `.nfs*`, so its directory is not empty.
    """

    fsync = False
    max_file_bytes = Backend.max_file_bytes
    removal_pauses = tuple(0.001 * 2**number for number in range(10))
    _swept = False

    def __init__(self, root: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.root = root
        self._staging = Staging(root)
        self._spelling = Spelling(root)

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        """Write a file whole: a reader gets either the old bytes or all new bytes."""
        if self._intrans:  # a transaction writes nothing before its end
            super().pipe_file(path, value, mode, **kwargs)
        else:
            path = self._own(path)
            if self.auto_mkdir:
                os.makedirs(os.path.dirname(path), exist_ok=True)
            publish, session = (move_new if mode == "create" else os.replace), self._staging.session_of(path)
            self._staged_well(session, lambda: self._pipe_whole(session, path, value, publish))

    def _pipe_whole(self, session: str | None, path: str, value: bytes, publish: Callable[[str, str], None]) -> None:
        directory = os.path.dirname(path)
        staged = self._staging.new_path(session, directory)
        try:
            self._write_whole(staged, value)
            publish(staged, path)
            self._sync(directory)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(staged)
            self._staging.end(staged)

    def _staged_well(self, session: str | None, write: Callable[[], None]) -> None:
        """Call a function that writes. If it cannot stage files at the root, call it again to stage in the session."""
        try:
            write()
        except OSError as error:
            if not self._staging.move_inside(session, error):
                raise
            try:
                write()
            except OSError:
                self._staging.forget(session)
                raise

    # fsspec's own methods that write or delete: each refuses symbolic links below the root.

    def _own(self, path: Any) -> str:
        """Return the path of a file or directory that will be written or deleted. Refuse symbolic links."""
        stripped: str = self._strip_protocol(path)
        refuse_links(self.root, stripped)
        return stripped

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **kwargs: Any) -> LocalFileOpener:
        """Open a regular file. Refuse a pipe: the only worker thread would wait forever for its other end."""
        path = self._strip_protocol(path) if mode == "rb" else self._own_file(path)
        with contextlib.suppress(FileNotFoundError):
            refuse_irregular(path, os.stat(path).st_mode)
        return super()._open(path, mode, block_size, **kwargs)

    def _own_file(self, path: Any) -> str:
        """Return the path of a file that will be changed in place. Refuse symbolic and hard links."""
        stripped = self._own(path)
        refuse_other_names(self.root, stripped)
        return stripped

    def cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        super().cp_file(path1, self._own_file(path2), **kwargs)

    def get_file(self, path1: str, path2: Any, callback: Any = None, **kwargs: Any) -> None:
        if not isfilelike(path2):
            return super().get_file(path1, path2, callback, **kwargs)  # type: ignore[no-any-return]
        with self.open(path1, "rb") as source:
            shutil.copyfileobj(source, path2)

    def chmod(self, path: str, mode: int) -> None:
        super().chmod(self._own_file(path), mode)

    def link(self, *paths: Any, **kwargs: Any) -> Any:
        """Give a file an additional name: the first path is its name, the second path is the new name."""
        super().link(*map(self._own, paths), **kwargs)

    def mv(self, path1: str, path2: str, recursive: bool = True, **kwargs: Any) -> None:
        super().mv(self._own(path1), self._own(path2), recursive, **kwargs)

    def rm_file(self, path: str) -> None:
        super().rm_file(self._own(path))

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        super().rm([self._own(one) for one in (path if isinstance(path, list) else [path])], recursive, maxdepth)

    def rmdir(self, path: str) -> None:
        super().rmdir(self._own(path))

    def mkdir(self, path: str, create_parents: bool = True, **kwargs: Any) -> None:
        super().mkdir(self._own(path), create_parents, **kwargs)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        super().makedirs(self._own(path), exist_ok)

    def touch(self, path: str, truncate: bool = True, **kwargs: Any) -> None:
        super().touch(self._own_file(path), truncate, **kwargs)

    def symlink(self, src: str, dst: str, **kwargs: Any) -> None:
        super().symlink(src, self._own(dst), **kwargs)

    def _write_whole(self, path: str, data: bytes) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)  # half the system calls of open()
        try:
            write_all(descriptor, data)
            if self.fsync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _sync(self, directory: str) -> None:
        if self.fsync:
            descriptor = os.open(directory, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            except OSError as error:
                if error.errno not in NO_DIRECTORY_SYNC:
                    raise
            finally:
                os.close(descriptor)

    def stage_file(self, path: str) -> tuple[str, int]:
        """Create a hidden file that `write_step` can move to this path. Return its path and a descriptor."""
        session, staged = self._staging.session_of(path), list[tuple[str, int]]()

        def create() -> None:
            hidden = self._staging.new_path(session, os.path.dirname(path))
            staged.append((hidden, os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)))

        self._staged_well(session, create)
        return staged[-1]

    def discard_staged(self, staged: tuple[str, int]) -> None:
        """Close and remove what `stage_file` returned."""
        os.close(staged[1])
        self.unstage_files(staged[:1])

    def unstage_files(self, paths: Iterable[str]) -> None:
        """Remove hidden files, if they still exist."""
        for hidden in paths:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(hidden)
            self._staging.end(hidden)

    def write_step(
        self, files: Sequence[File], staged: Mapping[str, str] | None = None, *, overwrite: bool = True
    ) -> None:
        """Write the files of one step. Begin again if a deletion removes its directory meanwhile.

        Parameters:
            staged: the hidden file with the content of each stream, by the final path of the stream.
            overwrite: False to replace no file.

        Raises:
            LocalStorageError: the disk ignores upper and lower case, and another spelling exists.
            AlreadyExistsError: with overwrite=False, one of the files exists.
        """
        step = os.path.dirname(files[0].path)
        if any(len(os.fsencode(file.path)) >= PATH_LIMIT for file in files):
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), step)
        session = self._staging.session_of(step)
        self._sweep_once(session)
        self._spelling.refuse_other(step, [file.path for file in files])
        hidden = staged or {}
        contents: _Contents = {os.path.basename(file.path): hidden.get(file.path) or file.data for file in files}  # type: ignore[misc]
        self._again_after_deletion(session, lambda: self._stage_and_publish(session, step, contents, overwrite))

    def _sweep_once(self, session: str | None) -> None:
        if not self._swept:
            self._swept = True
            # the store does not fail if this cleanup does
            attempt(lambda: sweep(self.root, STALE_SECONDS, filter(None, [session])))

    def _again_after_deletion(self, session: str | None, write: Callable[[], None]) -> None:
        races = RACES
        while True:
            try:
                return self._staged_well(session, write)
            except FileNotFoundError:
                races -= 1
                if not races or not os.path.isdir(self.root):
                    raise

    def _stage_and_publish(self, session: str | None, step: str, files: "_Contents", overwrite: bool) -> None:
        staged = self._staging.new_path(session, step)
        is_published = False
        try:
            os.mkdir(staged)
            for name, data in files.items():
                if isinstance(data, str):
                    _link_or_move(data, f"{staged}/{name}")
                else:
                    self._write_whole(f"{staged}/{name}", data)
            self._sync(staged)
            self._publish(staged, step, files, os.replace if overwrite else move_new)
            is_published = True
        finally:
            if not is_published:
                _discard(staged, files)
            self._staging.end(staged)

    def _publish(self, staged: str, step: str, names: Iterable[str], move: "_Move") -> None:
        """Rename the staged directory to the step. If the step exists, move the files into it one after another."""
        try:
            self._rename_step(staged, step)
        except OSError as error:
            self._refuse_link(step)
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                self._spelling.refuse_other(step, step)  # another writer may just have created the step
                self._move_files(staged, step, names, move)
            elif self._is_on_other_disk(error, staged, step) or not cannot_rename(error, os.path.dirname(staged)):
                raise
            else:
                self._move_files_to_new(staged, step, names, move)

    def _is_on_other_disk(self, error: OSError, staged: str, step: str) -> bool:
        """Return True if the session is on another disk than the root. The step must then be staged in the session."""
        is_at_root = os.path.dirname(staged) == self.root
        return error.errno == errno.EXDEV and is_at_root and os.path.isdir(self._staging.session_of(step) or "")

    def _move_files(self, staged: str, step: str, names: Iterable[str], move: "_Move") -> None:
        for name in names:
            move(f"{staged}/{name}", f"{step}/{name}")
        os.rmdir(staged)
        self._sync(step)

    def _move_files_to_new(self, staged: str, step: str, names: Iterable[str], move: "_Move") -> None:
        """Create the step and its session, and move the files into the step. After a failure, remove what is empty."""
        session = os.path.dirname(step)
        created = [directory for directory in (session, step) if _create(directory)]
        try:
            self._move_files(staged, step, names, move)
        except OSError:
            for directory in reversed(created):
                with contextlib.suppress(OSError):
                    os.rmdir(directory)
            raise
        for directory in reversed(created):
            self._sync(os.path.dirname(directory))

    def _rename_step(self, staged: str, step: str) -> None:
        try:
            os.rename(staged, step)
        except FileNotFoundError:
            if self._rename_session(staged, step):
                return
            self._spelling.refuse_other(step)  # another writer created the session
            os.rename(staged, step)
        self._sync(os.path.dirname(step))

    def _rename_session(self, staged: str, step: str) -> bool:
        """Publish a new session together with the step, so that a kill leaves no empty session.

        Returns:
            False if the session exists.
        """
        session, name = os.path.split(step)
        outer = self._staging.new_at_root()
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
            raise link_error(directory)

    def _require_root(self) -> None:
        """Raise an error if the root is missing, for example if its disk is not mounted. It would seem to be empty."""
        if not os.path.isdir(self.root):
            raise FileNotFoundError(errno.ENOENT, "the base directory is gone", self.root)

    def read_all(self, paths: Sequence[str]) -> Sequence[bytes | Exception]:
        """Return the bytes for each path, or the error that reading raised."""
        results = [self._missing(path) or _read_whole(path, self.max_file_bytes) for path in paths]
        if any(isinstance(result, FileNotFoundError) for result in results):
            self._require_root()
        return results

    def open_to_read(self, path: str) -> int:
        """Return the descriptor of a regular file that is open for reading."""
        missing = self._missing(path)
        if missing:
            raise missing
        try:
            return open_regular(path)[0]
        except FileNotFoundError:
            self._require_root()
            raise

    def _missing(self, path: str) -> FileNotFoundError | None:
        """Return the error for a path that is stored only with another spelling."""
        if self._spelling.is_other(path):
            return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return None

    def files(self, path: str, stop: threading.Event | None = None) -> tuple[list[FileInfo], OSError | None]:
        """Return every file in a directory and below it; none if the directory is missing. Leave out staged files.

        Also return the first error of a subdirectory that cannot be listed. The result lacks the files of such
        subdirectories.

        Parameters:
            stop: an event that ends the walk when it is set. The result is then not needed.
        """
        found, refused = list[FileInfo](), list[OSError]()
        if not self._spelling.is_other(path):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                found += _files_below(_sorted_entries(path), refused, stop or threading.Event())
        self._require_root()  # without it, all files would seem deleted
        return found, next(iter(refused), None)

    def directories(self, path: str) -> list[str]:
        """Return the sorted names of the subdirectories of a directory; none if it is missing."""
        if self._spelling.is_other(path):
            return []
        try:
            with os.scandir(path) as entries:
                return sorted(entry.name for entry in entries if _is_directory(entry))
        except (FileNotFoundError, NotADirectoryError):
            self._require_root()
            return []

    def remove_one(self, path: str, also_delete: Sequence[str] = ()) -> bool:
        """Delete a file, and its directory and session if these become empty. Return False if there is no such file."""
        self._own(path)
        if self._spelling.is_other(path) or not os.path.isfile(path):
            self._require_root()
            return False
        for file in (*also_delete, path):
            with contextlib.suppress(FileNotFoundError):
                self._unlink_hidden(file)
        directory = os.path.dirname(path)
        self._remove_if_empty(directory)
        self._remove_if_empty(os.path.dirname(directory))
        return True

    def remove_whole(self, path: str, also_delete: Sequence[str] = ()) -> bool:
        """Rename a directory to a hidden name, and delete it. If that fails, rename it back.

        If it cannot be renamed, delete it in place: first `also_delete`, then files, then directories. Return False if
        the directory is missing.
        """
        session = os.path.dirname(path)
        self._refuse_link(session)
        if self._spelling.is_other(path):
            return False
        try:
            hidden = self._hide(path, also_delete)
        except (FileNotFoundError, NotADirectoryError):
            self._require_root()
            hidden = ""
        if hidden != path:
            self._remove_if_empty(session)  # also after a kill that came between the two
        if hidden:
            self._remove_hidden(hidden, path)
        if hidden == path:
            self._remove_if_empty(session)
        return bool(hidden)

    def _hide(self, path: str, also_delete: Sequence[str]) -> str:
        """Rename a directory or link, and return its hidden name. If it cannot be renamed, return the path itself.

        A regular file is not touched, because it does not belong to this library.
        """
        mode = os.lstat(path).st_mode
        if not stat.S_ISDIR(mode) and not stat.S_ISLNK(mode):
            return ""
        for file in also_delete:
            with contextlib.suppress(FileNotFoundError):
                self._unlink_hidden(file)
        hidden = self._staging.new_at_root()
        try:
            os.rename(path, hidden)
        except OSError as error:
            return self._hide_in_session(path, error)
        return hidden

    def _unlink_hidden(self, file: str) -> None:
        """Delete a file. Rename it first: NFS keeps an open file as `.nfs*`, which must not be in the session."""
        hidden = self._staging.new_at_root()
        try:
            os.rename(file, hidden)
        except FileNotFoundError:
            raise
        except OSError:  # the root may not be written
            hidden = file
        os.unlink(hidden)

    def _hide_in_session(self, path: str, error: OSError) -> str:
        """Rename the directory of a step to a hidden name in its session, after an error at the root."""
        session = os.path.dirname(path)
        if session == self.root or not is_about_root(error):
            return self._cannot_hide(path, error)
        try:
            hidden = self._staging.new_inside(session)
        except OSError:
            raise error from None
        try:
            os.rename(path, hidden)
        except OSError as second:
            self._staging.end(hidden)
            return self._cannot_hide(path, second)
        return hidden

    def _cannot_hide(self, path: str, error: OSError) -> str:
        """Return the path if the file system cannot rename it, so it is deleted in place. Otherwise raise the error."""
        if not cannot_rename(error, os.path.dirname(path)):
            raise error
        return path

    def _remove_hidden(self, hidden: str, path: str) -> None:
        remove = _remove_in_place if hidden == path else remove_tree
        pauses = iter(self.removal_pauses)
        while os.path.lexists(hidden):
            try:
                (os.unlink if os.path.islink(hidden) else remove)(hidden)
            except OSError as error:
                # a writer that opened the directory before the rename may still create a file in it
                pause = next(pauses, None)
                if error.errno not in BUSY or pause is None:
                    return self._leave(hidden, path, error)
                time.sleep(pause)
        self._staging.end(hidden)

    def _leave(self, hidden: str, path: str, error: OSError) -> None:
        """Leave a hidden directory to `sweep` if it has only system files. Otherwise rename it back, and raise."""
        left = files_left(hidden)
        if hidden != path and error.errno in BUSY and all(map(is_system_file, left)):
            return
        if hidden != path:
            with contextlib.suppress(OSError):
                os.makedirs(os.path.dirname(path), exist_ok=True)
                os.rename(hidden, path)
                self._staging.end(hidden)
        raise OSError(error.errno, f"{error.strerror or error}{_in_words(left)}", path) from error

    def _remove_if_empty(self, session: str) -> None:
        """Remove a session that is empty, or has only system files and leftovers of killed writers."""
        if session == self.root:
            return
        with contextlib.suppress(OSError):  # it is not empty, or gone already
            try:
                os.rmdir(session)
            except OSError as error:
                if error.errno not in BUSY:
                    raise
                _remove_leftovers(session)
                os.rmdir(session)


_Contents = dict[str, bytes | str]  # the bytes of a file by its name, or the path of a hidden file that has them
_Move = Callable[[str, str], None]


def write_all(descriptor: int, data: bytes) -> None:
    """Write all bytes to an open file. A write may be partial, for example if the disk is nearly full."""
    rest = memoryview(data).cast("B")
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def move_new(source: str, target: str) -> None:
    """Move a file without replacing another file.

    Raises:
        AlreadyExistsError: the target exists. Nothing is moved.
    """
    try:
        _move_new(source, target)
    except FileExistsError as error:
        raise already_exists(target) from error


def _move_new(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in NO_LINK:
            raise
        return _rename_new(source, target)
    os.unlink(source)


def _rename_new(source: str, target: str) -> None:
    """Rename a file with renameat2(2), which fails if the target exists. FAT, for example, has no hard links."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        raise OSError(errno.ENOTSUP, "this system has no rename that never replaces: leave out overwrite=False", target)
    if rename(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target), RENAME_NOREPLACE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def _link_or_move(source: str, target: str) -> None:
    """Give a file a second name, or move it if there are no hard links. A repeated write needs the first name."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in NO_LINK:
            raise
        os.rename(source, target)


def _in_words(left: Sequence[str]) -> str:
    number = f"{len(left)} files are" if len(left) != 1 else "1 file is"
    return f"; {number} left: {first_of(left, most=3)}" if left else ""


def _remove_leftovers(session: str) -> None:
    """Remove system files and leftovers of killed writers from a session, if it has no other files."""
    left = []
    with os.scandir(session) as entries:
        for entry in entries:  # usually the first one is a step, and a session may have thousands
            if not (_is_system_entry(entry) or STAGED.fullmatch(entry.name)) or is_staged_now(entry):
                return
            left.append(entry)
    for entry in left:
        if not _is_system_entry(entry):
            remove_staged(entry)
        elif entry.is_dir(follow_symlinks=False):
            remove_tree(entry.path)
        else:
            os.unlink(entry.path)


def _is_system_entry(entry: "os.DirEntry[str]") -> bool:
    return (is_system_directory if entry.is_dir(follow_symlinks=False) else is_system_file)(entry.name)


def _remove_in_place(directory: str) -> None:
    """Delete a directory in place: first its own files, such as the seal of a session, then its directories."""
    waiting = [directory]
    while waiting:
        below = sorted(unlink_files(waiting[-1]), reverse=True)
        waiting += below
        if not below:
            os.rmdir(waiting.pop())


def _discard(staged: str, names: Iterable[str]) -> None:
    """Remove a staged step by the names of its files. A listing would need a file descriptor, and none may be free."""
    for path in [*(f"{staged}/{name}" for name in names), staged]:
        with contextlib.suppress(OSError):
            (os.rmdir if path == staged else os.unlink)(path)


def _create(directory: str) -> bool:
    """Create a directory. Return False if it exists."""
    try:
        os.mkdir(directory)
    except FileExistsError:
        return False
    return True


def _is_directory(entry: "os.DirEntry[str]", *, follow_symlinks: bool = True) -> bool:
    try:
        return entry.is_dir(follow_symlinks=follow_symlinks)
    except OSError:  # a circular link, or a target that may not be read
        return False


def _read_whole(path: str, limit: int) -> bytes | OSError:
    """Return the bytes of a regular file, or the error. More than `limit` bytes are an error, too."""
    try:
        descriptor, size = open_regular(path)
        try:
            return too_large(size, limit) if size > limit else _read_open(descriptor, size, limit)
        finally:
            os.close(descriptor)
    except MemoryError:
        return OSError(errno.ENOMEM, os.strerror(errno.ENOMEM), path)
    except OSError as error:
        return error.with_traceback(None)  # its frames would keep the bytes of other files in memory


def _read_open(descriptor: int, size: int, limit: int) -> bytes:
    data = os.read(descriptor, size + 1)  # one byte more than the size: usually one call then shows that this is all
    if len(data) == size:
        return data
    pieces, rest = [data], limit - len(data)  # the size has changed, or the file is larger than one read
    while piece := os.read(descriptor, max(size, 1 << 20)):
        pieces.append(piece)
        rest -= len(piece)
        if rest < 0:
            raise too_large(None, limit)
    return b"".join(pieces)


def _files_below(
    top: "Iterator[os.DirEntry[str]]", refused: list[OSError], stop: threading.Event
) -> Iterator[FileInfo]:
    """Yield every file below a directory, sorted, with its relative name. Skip files that are deleted meanwhile.

    A link to a directory counts as a directory if it is directly in the top directory, because a step may be such a
    link. Every other link counts as a file.

    Parameters:
        top: the entries of the top directory.
        refused: a list for the error of each directory that cannot be listed. fsspec's own `find` would skip these.
        stop: an event that ends the walk when it is set.
    """
    waiting = [("", top)]  # no recursion: directories may be deep
    while waiting and not stop.is_set():
        prefix, entries = waiting[-1]
        entry = next(entries, None)
        if entry is None:
            waiting.pop()
        elif prefix or not (entry.name == LOST_AND_FOUND or is_staged_now(entry)):
            name = f"{prefix}{entry.name}"
            with contextlib.suppress(FileNotFoundError):
                if _is_directory(entry, follow_symlinks=not prefix):
                    waiting.append((f"{name}/", _entries_or_none(entry.path, refused)))
                else:
                    yield _file_info(entry, name)


def _entries_or_none(path: str, refused: list[OSError]) -> "Iterator[os.DirEntry[str]]":
    try:
        return _sorted_entries(path)
    except FileNotFoundError:
        raise
    except OSError as error:  # a permission is missing, or its path is too long
        refused.append(error)
        return iter(())


def _sorted_entries(path: str) -> "Iterator[os.DirEntry[str]]":
    with os.scandir(path) as entries:
        return iter(sorted(entries, key=lambda entry: entry.name))


def _file_info(entry: "os.DirEntry[str]", name: str) -> FileInfo:
    status = entry.stat(follow_symlinks=False)
    return FileInfo(name, status.st_size, moment_of(status.st_mtime))
