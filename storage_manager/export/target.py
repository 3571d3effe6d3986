"""The target of an export: a directory at any fsspec URL. It changes only when all files are written.

All files are first written as `<url>/.staging-<32 hex digits>/<name>.part`, with a hyphen for each slash in the name.
pyarrow and Spark skip such directories, and dask does not read such files. At the end, the files are moved to their
final names: by a rename on local disk, and by a copy within the service on S3. The code is synchronous, and runs in the
thread of the export.
"""

import errno
import os
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import IO, Any

from fsspec import AbstractFileSystem
from fsspec.core import split_protocol, url_to_fs
from fsspec.implementations.local import LocalFileSystem

from storage_manager.backends.base import STAGED, hidden_name
from storage_manager.config import arguments_of
from storage_manager.credentials import keep
from storage_manager.errors import InvalidDataError, StorageManagerError, translating
from storage_manager.overlap import lies_within
from storage_manager.storage import StorageManager

__all__ = ["Target", "target_url"]

# A running export adds a file more often than once a day. Older files were left behind by a killed export.
STALE_SECONDS = 86400


def target_url(storage: StorageManager, url: str | os.PathLike[str]) -> str:
    """Return the URL without a slash at its end. A local URL becomes an absolute path.

    Raises:
        InvalidDataError: the URL does not name a directory, contains a pattern, or is inside the storage root.
        StorageManagerError, S3ConfigError: the URL has a password or a query; the message does not repeat it.
    """
    _check_target(url)
    protocol, path = split_protocol(os.fspath(url))
    is_local = protocol in (None, "file", "local")
    target = url_to_fs(os.fspath(url))[1] if is_local else f"{protocol}://{path}"
    target = target.rstrip("/") or "/"
    with translating("export", target):
        is_within = protocol == "sm" or lies_within(target, storage.url_for())
    if is_within:
        why = f"it is inside the storage root {storage.url_for()}, and would be listed as a session"
        raise InvalidDataError(f"cannot export to {target}: {why}; choose another directory", operation="export")
    return str(target)


def _check_target(url: object) -> None:
    if not isinstance(url, (str, os.PathLike)) or not os.fspath(url):
        raise InvalidDataError("cannot export: url must name a directory", operation="export")
    if "::" in os.fspath(url):
        raise InvalidDataError(
            "cannot export: '::' chains URLs; use the URL of the directory itself", operation="export"
        )
    if not {*"*?["}.isdisjoint(os.fspath(url)):
        why = "* ? [ are patterns to fsspec; use the URL of the directory itself"
        raise InvalidDataError(f"cannot export: {why}", operation="export")
    arguments_of(os.fspath(url))  # raises if the URL has a password or a query, and does not repeat it


class Target:
    """A directory at any fsspec URL. An earlier export is replaced when all new files are complete.

    Parameters:
        url: the result of target_url. The filesystem is opened when it is first used.
        storage_options: options for the filesystem.
        staging: the staging directory of the export, if this process only writes some of its files.

    Attributes:
        staging: the directory of the files that are being written.
    """

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None, staging: str | None = None) -> None:
        self.url = url
        self._options = dict(storage_options or {})
        keep(self, url, self._options)
        self.staging = staging or f"{url}/{hidden_name()}"
        # A worker may write a part twice, if it is taken for dead. Each attempt has a path of its own.
        self._attempt = f"-{secrets.token_hex(8)}" if staging else ""
        self._is_worker = staging is not None
        self._paths: dict[str, str] = {}  # of the staged files, by their final names

    @cached_property
    def _fs(self) -> AbstractFileSystem:
        return url_to_fs(self.url, **self._options)[0]

    def prepare(self) -> None:
        """Create the staging directory for workers, if it is on local disk. No worker creates it."""
        if isinstance(self._fs, LocalFileSystem):
            self._fs.makedirs(self.staging, exist_ok=True)

    def create(self, name: str) -> IO[bytes]:
        """Create a file to write. It gets its final name when it is published."""
        path = self._paths[name] = f"{self.staging}/{name.replace('/', '-')}{self._attempt}.part"
        try:
            return self._fs.open(path, "wb")  # type: ignore[no-any-return]
        except FileNotFoundError:  # not before, because s3fs would create a missing bucket
            if self._is_worker and isinstance(self._fs, LocalFileSystem):
                raise self._error("its staging directory does not exist here") from None
            self._fs.makedirs(self.staging, exist_ok=True)
            return self._fs.open(path, "wb")  # type: ignore[no-any-return]

    def path_of(self, name: str) -> str:
        """Return the path of a file that was created and is not published yet."""
        return self._paths[name]

    def adopt(self, name: str, path: str) -> None:
        """Add a file that a worker has written, to publish it.

        Raises:
            StorageManagerError: it does not exist here.
        """
        self._fs.invalidate_cache()
        if not self._fs.exists(path):
            raise self._error(f"{path} does not exist here")
        self._paths[name] = path

    def _error(self, what: str) -> StorageManagerError:
        why = f"{what}: the export has ended, or a worker has another disk; export to a URL that all workers share"
        return StorageManagerError(f"cannot export to {self.url}: {why}", operation="export", url=self.url)

    def publish(self, names: Sequence[str], name_pattern: "re.Pattern[str]") -> None:
        """Give these files their final names, in this order. Then remove other files of an earlier export.

        Parameters:
            names: the names of the files that were created and closed.
            name_pattern: matches the final name of every file that an export can have.

        Raises:
            IsADirectoryError: a directory has one of these names. Nothing is moved.
        """
        directories = {name.rpartition("/")[0] for name in names} | {""}
        earlier = {name: kind for name, kind in self._names(*directories).items() if name_pattern.fullmatch(name)}
        for name, kind in earlier.items():
            if kind == "directory":
                raise IsADirectoryError(errno.EISDIR, "a directory is in the way of a file", f"{self.url}/{name}")
        for directory in directories - {""}:
            self._fs.makedirs(f"{self.url}/{directory}", exist_ok=True)
        for name in names:
            self._move(self._paths[name], f"{self.url}/{name}")
        for name in earlier.keys() - set(names):
            self._fs.rm_file(f"{self.url}/{name}")

    def _move(self, path: str, final: str) -> None:
        """Move a file. On local disk, rename it, because `mv` would move it into a directory with the final name."""
        (os.replace if isinstance(self._fs, LocalFileSystem) else self._fs.mv)(path, final)

    def clean(self) -> None:
        """Remove the staged files of this export, and those of killed exports. Ignore errors: the files are hidden."""
        with suppress(StorageManagerError), translating("export", self.url):
            self._remove(self.staging)
        with suppress(StorageManagerError), translating("export", self.url):
            staged = (f"{self.url}/{name}" for name in self._names("") if STAGED.fullmatch(name))
            for path in staged:
                if self._modified(path) < time.time() - STALE_SECONDS:
                    self._remove(path)
        self._fs.invalidate_cache()  # fsspec shares the instance with other users

    def _names(self, *directories: str) -> dict[str, str]:
        """Return the names in these directories, each with "file" or "directory". No cached listing is used.

        Parameters:
            directories: below the URL; "" is the URL itself.
        """
        self._fs.invalidate_cache()
        found: dict[str, str] = {}
        for directory in directories:
            with suppress(FileNotFoundError, NotADirectoryError):
                infos = self._fs.ls(f"{self.url}/{directory}".rstrip("/"), detail=True)
                found |= {f"{directory}/{_last(info['name'])}".lstrip("/"): info["type"] for info in infos}
        return found

    def _modified(self, path: str) -> float:
        """Return when the newest file in a directory was written, in seconds since 1970."""
        return max(float(self._fs.modified(name).timestamp()) for name in self._fs.find(path) or [path])

    def _remove(self, path: str) -> None:
        self._fs.invalidate_cache()
        if self._fs.exists(path):
            self._fs.rm(path, recursive=True)


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]
