"""Read a trace from a directory, with the same limits as for a zip. Nothing outside of the directory is read."""

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import IO

from storage_manager.importers.archive import MAX_MEMBERS, Archive, ZipArchive, check_name, is_foreign
from storage_manager.importers.budget import Budget, refuse
from storage_manager.importers.folder import FLAGS, checked_size

__all__ = ["FolderArchive", "open_archive"]

_MAX_DEPTH = 16  # folders in each other; the directory of a trace has one level
_NOT_A_PATH = {errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ENXIO}
_CHUNK = re.compile(r"-chunk\d{1,9}$")


def open_archive(path: str, budget: Budget) -> Archive:
    """Open a trace.zip, a directory of a trace, or a .trace file in such a directory.

    Raises:
        As Archive.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        return FolderArchive(path, budget)
    if not stat.S_ISREG(mode):
        refuse("it is neither a regular file nor a directory")
    if path.endswith(".trace"):
        path = os.path.realpath(path)
        return FolderArchive(os.path.dirname(path), budget, os.path.basename(path))
    return ZipArchive(path, budget)


class FolderArchive(Archive):
    """An open directory of a trace.

    Parameters:
        name: the only `.trace` file that is read. Others in the directory are ignored.
    """

    def __init__(self, path: str, budget: Budget, name: str | None = None) -> None:
        super().__init__(budget)
        self._root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with ExitStack() as stack:
            stack.callback(os.close, self._root)
            self._choose(_files(path) if name is None else [name, *self._logs(name)])
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Close the directory."""
        self._stack.close()

    def _logs(self, name: str) -> Iterator[str]:
        """Yield the name of the network log of a .trace file, if there is one. Chunks of a trace share one."""
        stem = name.removesuffix(".trace")
        for log in {f"{stem}.network", f"{_CHUNK.sub('', stem)}.network"}:
            with suppress(FileNotFoundError):
                os.stat(log, dir_fd=self._root, follow_symlinks=False)
                yield log

    def _open(self, name: str, limit: int) -> IO[bytes] | None:
        try:
            descriptor = self._descriptor(name)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in _NOT_A_PATH:
                refuse(f"{name!r} is not the path of a file in the directory: a link, perhaps")
            raise
        with ExitStack() as stack:
            stack.callback(os.close, descriptor)
            checked_size(descriptor, limit, repr(name))
            stack.pop_all()
        return open(descriptor, "rb")

    def _descriptor(self, name: str) -> int:
        """Open a file folder by folder, so that no part of its path can be a link."""
        *folders, last = name.split("/")
        with ExitStack() as stack:
            at = self._root
            for folder in folders:
                at = os.open(folder, FLAGS | os.O_DIRECTORY, dir_fd=at)
                stack.callback(os.close, at)
            return os.open(last, FLAGS, dir_fd=at)


def _files(root: str) -> Iterator[str]:
    """Yield the path of each file below a directory, relative to it. Anything but files and directories is refused."""
    todo, count = [""], 0
    while todo:
        folder = todo.pop()
        if folder.count("/") > _MAX_DEPTH:
            refuse(f"its folders are nested deeper than {_MAX_DEPTH} levels")
        with os.scandir(os.path.join(root, folder)) as entries:
            for entry in entries:
                count += 1
                if count > MAX_MEMBERS:
                    refuse(f"it has more than {MAX_MEMBERS} files")
                name = folder + entry.name
                check_name(name)
                if entry.is_dir(follow_symlinks=False):
                    todo.append(f"{name}/")
                elif not entry.is_file(follow_symlinks=False):
                    refuse(f"{name!r} is neither a file nor a directory, but a link, perhaps")
                elif not is_foreign(name):
                    yield name
