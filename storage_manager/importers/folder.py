"""Read files in an untrusted directory, within limits. Nothing outside of the directory is read."""

import errno
import os
import stat
import zlib

from storage_manager.importers.archive import MAX_NAME
from storage_manager.importers.budget import refuse

__all__ = ["FLAGS", "MAX_NAMES", "MAX_UNPACKED", "Folder", "check_image", "checked_size", "gunzip", "read_file"]

FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # opening a pipe would wait for its other end

# A run of an agent has a few files per step, and at most some hundred steps.
MAX_NAMES = 50_000
# A step of AgentLab with both trees of a large page has 20 MB.
MAX_UNPACKED = 128 * 2**20
_NOT_THERE = {errno.ENOENT, errno.ENOTDIR}
_NOT_A_PATH = {errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO}
_IMAGES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")


class Folder:
    """A directory. A path that leads out of it, also through a link, is refused.

    Parameters:
        advice: the end of the message about such a path.

    Raises (here and in each method):
        ValueError: it is not a directory, or a path or a file in it is refused.
        OSError: it cannot be read.
    """

    def __init__(self, path: str, advice: str = "") -> None:
        self.path, self._advice = os.path.realpath(path), advice
        if not stat.S_ISDIR(os.stat(self.path).st_mode):
            refuse("it is not a directory")

    def names(self) -> set[str]:
        """Return the names of all files and directories in it."""
        found = set[str]()
        with os.scandir(self.path) as entries:
            for entry in entries:
                found.add(entry.name)
                if len(found) > MAX_NAMES:
                    refuse(f"the directory has more than {MAX_NAMES} files")
        return found

    def inside(self, name: str) -> str:
        """Return the real path of a file in the directory. The file need not exist.

        Messages contain the whole path. If they contained only a part, a secret in the path could not be masked later.
        """
        if len(name) > MAX_NAME:
            refuse(f"the path of a file has {len(name)} characters; the limit is {MAX_NAME}")
        path = os.path.realpath(os.path.join(self.path, name))
        if os.path.commonpath((self.path, path)) != self.path:
            refuse(f"the path {name!r} leads out of the folder {self.path}{self._advice}")
        return path

    def read(self, name: str, limit: int) -> bytes | None:
        """Return the bytes of a file; None if there is none.

        Parameters:
            limit: the maximum size of the file, in bytes.
        """
        try:
            return read_file(self.inside(name), limit, repr(name))
        except OSError as error:
            if error.errno in _NOT_A_PATH:
                refuse(f"{name!r} is not the path of a file: {error.strerror}")
            if error.errno not in _NOT_THERE:
                raise
            return None


def read_file(path: str, limit: int, name: str = "it") -> bytes:
    """Return the bytes of a regular file, but never more than the limit.

    Raises:
        ValueError: it is not a regular file, or it is too large.
        OSError: it cannot be read.
    """
    descriptor = os.open(path, FLAGS)
    try:
        size = checked_size(descriptor, limit, name)
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(size)  # bytes that are written to it meanwhile are not read
    finally:
        os.close(descriptor)


def checked_size(descriptor: int, limit: int, name: str) -> int:
    """Return the number of bytes of an open file.

    Raises:
        ValueError: it is not a regular file, or it is too large.
    """
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        refuse(f"{name} is not a regular file")
    if found.st_size > limit:
        refuse(f"{name} has {found.st_size} bytes; the limit is {limit}")
    return found.st_size


def gunzip(data: bytes, name: str) -> bytes:
    """Return the content of a gzip file, but never more than MAX_UNPACKED bytes.

    Raises:
        ValueError, zlib.error: it is not a complete gzip file, or its content is too large.
    """
    unzip = zlib.decompressobj(31)
    unpacked = unzip.decompress(data, MAX_UNPACKED + 1)
    if len(unpacked) > MAX_UNPACKED:
        refuse(f"{name!r} has more than {MAX_UNPACKED} bytes when it is decompressed")
    if not unzip.eof or unzip.unused_data:
        refuse(f"{name!r} is cut off, or has bytes after its end")
    return unpacked


def check_image(data: bytes, name: str) -> bytes:
    """Return the bytes of a PNG, JPEG or WebP image unchanged. Refuse any other file: a path may name a private one.

    Raises:
        ValueError: the bytes do not begin like such an image.
    """
    if not data.startswith(_IMAGES) and (data[:4], data[8:12]) != (b"RIFF", b"WEBP"):
        refuse(f"{name} is not a PNG, JPEG or WebP image")
    return data
