"""Where an export goes: any fsspec URL, at which what was there is replaced when all is written, and not before.

Everything is written below `<url>/.staging-<32 hex digits>/`, where pyarrow and Spark do not look, as `<name>.part`,
which dask does not read, and moved to its final name at the end: a rename on local disk, a copy within the service on
S3. Synchronous, for a thread of its own.
"""

import errno
import os
import re
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
from storage_manager.errors import InvalidDataError, StorageManagerError, translating
from storage_manager.overlap import lies_within
from storage_manager.storage import StorageManager

__all__ = ["Target", "target_url"]

STALE_SECONDS = 86400  # an export adds a file more often than once a day: what is older was left by a kill


def target_url(storage: StorageManager, url: str | os.PathLike[str]) -> str:
    """The URL without a slash at its end; an absolute path where it is local.

    Raises:
        InvalidDataError: it names no directory, has a pattern in it, or lies where sessions are.
        StorageManagerError, S3ConfigError: it holds more than a place (a password, a query); it is not repeated.
    """
    if not isinstance(url, (str, os.PathLike)) or not os.fspath(url):
        raise InvalidDataError("cannot export: url must name a directory", operation="export")
    if "::" in os.fspath(url):
        raise InvalidDataError("cannot export: '::' chains URLs: name the place itself", operation="export")
    if not {*"*?["}.isdisjoint(os.fspath(url)):
        raise InvalidDataError("cannot export: * ? [ are patterns to fsspec: name the place itself", operation="export")
    arguments_of(url)  # which refuses, and does not repeat, what is more than a place
    protocol, path = split_protocol(os.fspath(url))
    is_local = protocol in (None, "file", "local")
    target = LocalFileSystem._strip_protocol(os.fspath(url)) if is_local else f"{protocol}://{path}"
    target = target.rstrip("/") or "/"
    with translating("export", target):
        is_within = protocol == "sm" or lies_within(target, storage.url_for())
    if is_within:
        why = "it lies among the sessions, and would be listed as one: choose a place outside of their root"
        raise InvalidDataError(f"cannot export to {target}: {why}", operation="export")
    return str(target)


class Target:
    """A directory at any fsspec URL, whose files are replaced together by those that were created.

    Parameters:
        url: as target_url gives it; opened on first use.
        storage_options: for its filesystem.
    """

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None) -> None:
        self.url = url
        self._options = dict(storage_options or {})
        self._staging = f"{url}/{hidden_name()}"

    @cached_property
    def _fs(self) -> AbstractFileSystem:
        return url_to_fs(self.url, **self._options)[0]

    def _staged(self, name: str) -> str:
        return f"{self._staging}/{name}.part"

    def create(self, name: str) -> IO[bytes]:
        """A new file to write; it has its final name when it is published."""
        path = self._staged(name)
        try:
            return self._fs.open(path, "wb")  # type: ignore[no-any-return]
        except FileNotFoundError:  # asked for only then: s3fs would create a bucket that is missing
            self._fs.makedirs(self._staging, exist_ok=True)
            return self._fs.open(path, "wb")  # type: ignore[no-any-return]

    def publish(self, names: Sequence[str], ours: "re.Pattern[str]") -> None:
        """Give these files their final names, in this order; then remove those of an earlier export.

        Parameters:
            names: files that were created, and closed.
            ours: the final names that an export may have.

        Raises:
            IsADirectoryError: a directory has one of these names; nothing is moved.
        """
        earlier = {name: kind for name, kind in self._names().items() if ours.fullmatch(name)}
        for name, kind in earlier.items():
            if kind == "directory":
                raise IsADirectoryError(errno.EISDIR, "a directory is in the way of a file", f"{self.url}/{name}")
        for name in names:
            self._move(self._staged(name), f"{self.url}/{name}")
        for name in earlier.keys() - set(names):
            self._fs.rm_file(f"{self.url}/{name}")

    def _move(self, path: str, final: str) -> None:
        """A rename on local disk, where `mv` would move into a directory of that name."""
        (os.replace if isinstance(self._fs, LocalFileSystem) else self._fs.mv)(path, final)

    def clean(self) -> None:
        """Remove what is staged, of this export and of those that were killed; what stays is hidden, and no error."""
        with suppress(StorageManagerError), translating("export", self.url):
            self._remove(self._staging)
        with suppress(StorageManagerError), translating("export", self.url):
            staged = (f"{self.url}/{name}" for name in self._names() if STAGED.fullmatch(name))
            for path in staged:
                if self._modified(path) < time.time() - STALE_SECONDS:
                    self._remove(path)
        self._fs.invalidate_cache()  # of whoever shares it

    def _names(self) -> dict[str, str]:
        """What is there now, also where a cached listing knows better: "file" or "directory" by its name."""
        self._fs.invalidate_cache()
        try:
            infos = self._fs.ls(self.url, detail=True)
        except FileNotFoundError:
            return {}
        return {info["name"].rstrip("/").rpartition("/")[2]: info["type"] for info in infos}

    def _modified(self, path: str) -> float:
        """When the newest file in a directory was written, as seconds since 1970."""
        return max(float(self._fs.modified(name).timestamp()) for name in self._fs.find(path) or [path])

    def _remove(self, path: str) -> None:
        self._fs.invalidate_cache()
        if self._fs.exists(path):
            self._fs.rm(path, recursive=True)
