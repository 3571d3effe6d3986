"""A file system in user space (FUSE) that passes everything to a directory, with the quirks of other file systems.

    python tests/support/quirky_disk.py SOURCE MOUNTPOINT [--ignore-case] [--rename ERRNO] [--fsync ERRNO] [--silly]

It needs `mfusepy`, libfuse and `/dev/fuse`; it prints "mounted" when it can be used, and ends when it is unmounted.

--ignore-case      names that differ only in upper and lower case are the same, as on macOS
--rename ERRNO     a directory cannot be renamed (ENOSYS, EPERM, ...), as on mounts of object stores
--fsync ERRNO      fsync of a directory fails (EINVAL), as on CIFS
--silly            a file that is deleted while it is open is kept as `.nfs*` until it is closed, as on NFS
"""

import argparse
import errno
import os
import stat
from collections import Counter
from typing import Any

import mfusepy

STATUS = ("st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_atime_ns", "st_mtime_ns", "st_ctime_ns")


def refuse(name: str) -> OSError:
    number = getattr(errno, name)
    return OSError(number, os.strerror(number))


class QuirkyDisk(mfusepy.Operations):
    """The file system. Its paths are absolute; `path` returns the path in the source directory."""

    use_ns = True

    def __init__(self, source: str, ignore_case: bool, rename: str | None, fsync: str | None, silly: bool) -> None:
        self.source, self.ignores_case, self.silly = source, ignore_case, silly
        self.rename_error, self.fsync_error = rename, fsync
        self.open_files: Counter[str] = Counter()  # by the path under which each is now
        self.descriptors: dict[int, str] = {}

    def path(self, path: str) -> str:
        """Return the path in the source. If case is ignored, it has the stored spelling."""
        found = self.source
        for name in path.strip("/").split("/"):
            found = f"{found}/{self.stored(found, name)}"
        return found

    def stored(self, directory: str, name: str) -> str:
        if not self.ignores_case or not os.path.isdir(directory):
            return name
        return next((other for other in os.listdir(directory) if other.lower() == name.lower()), name)

    def init_with_config(self, conn_info: Any, config: Any) -> None:
        print("mounted", flush=True)

    init = init_with_config

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        status = os.lstat(self.path(path))
        return {name.removesuffix("_ns"): getattr(status, name) for name in STATUS}

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", *os.listdir(self.path(path))]

    def access(self, path: str, amode: int) -> int:
        if not os.access(self.path(path), amode):
            raise refuse("EACCES")
        return 0

    def statfs(self, path: str) -> dict[str, int]:
        status = os.statvfs(self.path(path))
        return {name: getattr(status, name) for name in dir(status) if name.startswith("f_") and name != "f_fsid"}

    def mkdir(self, path: str, mode: int) -> None:
        os.mkdir(self.path(path), mode)

    def rmdir(self, path: str) -> None:
        os.rmdir(self.path(path))

    def unlink(self, path: str) -> None:
        found = self.path(path)
        if not self.silly or not self.open_files[found]:
            os.unlink(found)
        elif os.path.basename(found).startswith(".nfs"):
            raise refuse("EBUSY")
        else:
            self.move(found, f"{os.path.dirname(found)}/.nfs{os.urandom(12).hex()}")

    def rename(self, old: str, new: str) -> None:
        source, target = self.path(old), self.path(new)
        if self.rename_error and stat.S_ISDIR(os.lstat(source).st_mode):
            raise refuse(self.rename_error)
        self.move(source, target)

    def move(self, source: str, target: str) -> None:
        os.rename(source, target)
        for path in [path for path in self.open_files if path == source or path.startswith(f"{source}/")]:
            self.open_files[target + path[len(source) :]] += self.open_files.pop(path)
        moved = {fh: path for fh, path in self.descriptors.items() if path == source or path.startswith(f"{source}/")}
        self.descriptors |= {fh: target + path[len(source) :] for fh, path in moved.items()}

    def link(self, target: str, source: str) -> None:
        os.link(self.path(source), self.path(target))

    def symlink(self, target: str, source: str) -> None:
        os.symlink(source, self.path(target))

    def readlink(self, path: str) -> str:
        return os.readlink(self.path(path))

    def chmod(self, path: str, mode: int) -> None:
        os.chmod(self.path(path), mode)

    def chown(self, path: str, uid: int, gid: int) -> None:
        os.chown(self.path(path), uid, gid)

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> None:
        os.utime(self.path(path), ns=times)

    def truncate(self, path: str, length: int, fh: int | None = None) -> None:
        os.truncate(self.path(path), length)

    def opened(self, path: str, flags: int, mode: int) -> int:
        found = self.path(path)
        descriptor = os.open(found, flags, mode)
        self.open_files[found] += 1
        self.descriptors[descriptor] = found
        return descriptor

    def open(self, path: str, flags: int) -> int:
        return self.opened(path, flags, 0)

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        return self.opened(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        return os.pwrite(fh, data, offset)

    def fsync(self, path: str, datasync: int, fh: int) -> None:
        os.fsync(fh)

    def fsyncdir(self, path: str, datasync: int, fh: int) -> None:
        if self.fsync_error:
            raise refuse(self.fsync_error)

    def release(self, path: str, fh: int) -> None:
        os.close(fh)
        found = self.descriptors.pop(fh)
        self.open_files[found] -= 1
        if not self.open_files[found]:
            del self.open_files[found]
            if self.silly and os.path.basename(found).startswith(".nfs"):
                os.unlink(found)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("source")
    parser.add_argument("mountpoint")
    parser.add_argument("--ignore-case", action="store_true")
    parser.add_argument("--silly", action="store_true")
    parser.add_argument("--rename", metavar="ERRNO")
    parser.add_argument("--fsync", metavar="ERRNO")
    given = parser.parse_args()
    disk = QuirkyDisk(given.source, given.ignore_case, given.rename, given.fsync, given.silly)
    # hard_remove: libfuse itself would keep open files as `.fuse_hidden*`
    caches = {"attr_timeout": 0, "entry_timeout": 0, "negative_timeout": 0, "ac_attr_timeout": 0}
    options = {"foreground": True, "nothreads": True, "hard_remove": True, "default_permissions": True}
    mfusepy.FUSE(disk, given.mountpoint, **options, **caches)


if __name__ == "__main__":
    os.umask(0)
    main()
