"""The protocol `sm://`. Any tool that uses fsspec can open `sm://session/step/metadata.json`.

The `SM_*` variables choose the root. fsspec finds the protocol through the entry point `fsspec.specs` of this package.
"""

import errno
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.core import has_magic, strip_protocol
from fsspec.spec import make_instance
from fsspec.utils import tokenize

from storage_manager.backends.base import STAGING_PREFIX
from storage_manager.config import arguments_of
from storage_manager.errors import InvalidDataError, InvalidIdError, StorageManagerError
from storage_manager.layout import BY_FILENAME
from storage_manager.storage import StorageManager

__all__ = ["SessionFileSystem"]

_LEVELS = 3  # session, step, component
_FEW_KEYWORDS = "s3_bucket_name, s3_endpoint_url, local_base_path and others"


class SessionFileSystem(AbstractFileSystem):
    """The sessions of one root as a synchronous filesystem. Its paths begin with the session id.

    Any thread and any forked child process may use it. Its pickle contains the root and the credentials, so that a
    worker needs no variables. `to_json` contains only the root. Listings do not show files that are being written.

    Most methods call the method of the same name in the fsspec filesystem of the root. `rm`, `cat` and `glob` expand
    patterns in the same way on every root. `get`, `cp` and `mv` expand patterns as the filesystem of the root does.
    Only the given path may be a pattern: on local disk, the base directory may have `*`, `?` and `[` in its name.

    Parameters:
        storage: a StorageManager; None to create one from the settings.
        asynchronous, loop: ignored. Asynchronous callers, such as zarr, pass them to every filesystem.
        anon: True to use S3 without credentials. pandas tries this after a request was refused.
        settings: keywords for StorageManager. If there are none, the `SM_*` variables choose the root.

    Raises:
        S3ConfigError, LocalStorageError: as StorageManager.
        InvalidIdError: a path contains `..` (in every method), or the root itself would be deleted or moved.
        InvalidDataError: `redact` is given. A file that is written here is not a step, so it cannot be redacted.
        TypeError: StorageManager has no such keyword.
        FileNotFoundError, PermissionError, OSError: raised by the methods, as by any fsspec filesystem.
    """

    protocol = "sm"
    cachable = False  # the variables may name another root later

    def __init__(
        self,
        *,
        storage: StorageManager | None = None,
        anon: bool | None = None,
        asynchronous: bool = False,
        loop: Any = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        if anon is not None:
            settings["storage_options"] = {**(settings.get("storage_options") or {}), "anon": anon}
        if storage is not None and settings:
            raise TypeError("cannot use settings with a storage, which has its own: give one or the other")
        self.storage = _manager(settings) if storage is None else storage
        self.path = strip_protocol(self.storage.url_for())
        # True: the filesystem of the root would take every path for a pattern, so this class expands patterns itself
        self._has_magic = has_magic(self.path)
        _ = self.fs  # opens it now, so that wrong options raise an error here

    @property
    def fs(self) -> AbstractFileSystem:
        """The filesystem of the root. It is looked up on each use, because a forked child process has another one."""
        return self.storage.fs

    def __repr__(self) -> str:
        return f"<SessionFileSystem {self.storage.url_for()}>"

    @property
    def storage_options(self) -> dict[str, Any]:
        """The keywords of `to_dict`, without credentials; {} if `to_dict` raises. The pickle keeps the credentials."""
        try:
            keywords = self.to_dict()
        except StorageManagerError:
            return {}
        return {name: value for name, value in keywords.items() if name not in ("cls", "protocol", "args")}

    @storage_options.setter
    def storage_options(self, given: object) -> None:
        """Ignore the value. fsspec sets the given keywords here, and they may contain credentials."""

    def __reduce__(self) -> tuple[Any, ...]:
        return make_instance, (type(self), (), {"storage": self.storage})

    @property
    def _fs_token(self) -> str:
        """The name for tasks of dask. It is the same in every process for the same root and options."""
        return str(tokenize(self.storage.url_for(), self.fs.storage_options))

    def to_dict(self, *, include_password: bool = True) -> dict[str, Any]:
        """Return keywords for the root that do not depend on variables. They contain no credentials.

        The process that reads them finds credentials on its own machine.

        Raises:
            StorageManagerError: the root is neither on S3 nor on local disk, so there are no keywords for it.
        """
        cls, options, url = type(self), self.storage.storage_options, self.storage.url_for()
        keywords = arguments_of(url)
        if keywords is None:
            why = f"cannot write sm:// as JSON: {url} has no JSON form; give tools that URL itself"
            raise StorageManagerError(why, operation="open", url=url)
        return {
            "cls": f"{cls.__module__}:{cls.__name__}",
            "protocol": self.protocol,
            "args": [],
            **keywords,
            # without an endpoint here, the service is Amazon's: None overrides SM_S3_ENDPOINT_URL of a worker
            "storage_options": {"endpoint_url": None, **options} if options else {},
        }

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        stripped = super()._strip_protocol(path)
        if isinstance(stripped, list):
            return stripped
        parts = [part for part in stripped.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise InvalidIdError(f"cannot use the path {stripped!r}: '..' may lead out of the root")
        return "/".join(parts)

    def _join(self, path: Any) -> Any:
        """Return one or several paths as paths of the root's filesystem.

        A slash at the end is kept, because it marks a directory in that filesystem too.
        """
        if isinstance(path, dict):
            return {self._join(name): value for name, value in path.items()}
        if isinstance(path, (list, tuple, set)):
            return [self._join(name) for name in path]
        name = self._strip_protocol(path)
        return f"{self.path.rstrip('/')}/{name}{'/' * str(path).endswith('/')}" if name else self.path

    def _relpath(self, path: str) -> str:
        return path.removeprefix(self.path).strip("/")

    def _visible(self, infos: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield the details of each file, with its `sm://` path. Leave out files that are being written."""
        for info in infos:
            name = self._relpath(info["name"])
            if f"/{STAGING_PREFIX}" not in f"/{name}":
                yield {**info, "name": name}

    # --- listing --------------------------------------------------------------------------------------

    def ls(self, path: Any, detail: bool = True, **kwargs: Any) -> list[Any]:
        infos = list(self._visible(self.fs.ls(self._join(path), detail=True, **kwargs)))
        return infos if detail else [info["name"] for info in infos]

    def find(
        self, path: Any, maxdepth: int | None = None, withdirs: bool = False, detail: bool = False, **kwargs: Any
    ) -> Any:
        """List all files below a path.

        If `maxdepth` includes the components, everything is listed and then filtered. On S3 that costs one LIST per
        thousand keys instead of one per step.
        """
        levels = _depth(self._strip_protocol(path)) + maxdepth if maxdepth else None
        asked = None if levels and levels >= _LEVELS else maxdepth
        found = self.fs.find(self._join(path), maxdepth=asked, withdirs=withdirs, detail=True, **kwargs)
        visible = {info["name"]: info for info in self._visible(found.values())}
        infos = {name: info for name, info in visible.items() if name and (levels is None or _depth(name) <= levels)}
        return infos if detail else list(infos)

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        info = self.fs.info(self._join(path), **kwargs)
        return {**info, "name": self._relpath(info["name"])}

    def isdir(self, path: Any) -> bool:
        """Return True if the path is a directory.

        A component is always a file on S3, so no request is sent for it. fsspec calls this for each path that matches a
        pattern.
        """
        *ids, name = self._strip_protocol(path).split("/")
        is_component = len(ids) == _LEVELS - 1 and name in BY_FILENAME
        return not (is_component and self.fs.async_impl) and bool(self.fs.isdir(self._join(path)))

    def isfile(self, path: str) -> bool:
        return bool(self.fs.isfile(self._join(path)))

    def exists(self, path: str) -> bool:
        return bool(self.fs.exists(self._join(path)))

    def sizes(self, paths: Iterable[str]) -> list[int | None]:
        sizes: list[int | None] = self.fs.sizes(self._join(paths))
        return sizes

    def created(self, path: str) -> datetime:
        created: datetime = self.fs.created(self._join(path))
        return created

    def modified(self, path: str) -> datetime:
        modified: datetime = self.fs.modified(self._join(path))
        return modified

    def checksum(self, path: str) -> Any:
        return self.fs.checksum(self._join(path))

    def ukey(self, path: str) -> Any:
        return self.fs.ukey(self._join(path))

    def invalidate_cache(self, path: str | None = None) -> None:
        self.fs.invalidate_cache(self._join(path or "") or None)

    def sign(self, path: str, *args: Any, **kwargs: Any) -> str:
        url: str = self.fs.sign(self._join(path), *args, **kwargs)
        return url

    # --- reading --------------------------------------------------------------------------------------

    def open(self, path: str, *args: Any, **kwargs: Any) -> Any:
        return self.fs.open(self._join(path), *args, **kwargs)

    def cat(self, path: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the content of one file, or a dict with the contents of several files. The path may be a pattern."""
        if self._has_magic:
            return super().cat(path, *args, **kwargs)
        contents = self.fs.cat(self._join(self._expanded(path)), *args, **kwargs)
        if isinstance(contents, dict):
            return {self._relpath(name): content for name, content in contents.items()}
        return contents

    def cat_file(self, path: str, *args: Any, **kwargs: Any) -> bytes:
        content: bytes = self.fs.cat_file(self._join(path), *args, **kwargs)
        return content

    def cat_ranges(self, paths: Any, *args: Any, **kwargs: Any) -> Any:
        """Return a range of bytes of each file. Raise an error if a path leads out of the root.

        Before version 2026.9, fsspec's own method returned this error as one of the results.
        """
        return self.fs.cat_ranges(self._join(paths), *args, **kwargs)

    def get(self, rpath: Any, *args: Any, **kwargs: Any) -> Any:
        if self._has_magic:
            return super().get(rpath, *args, **kwargs)
        return self.fs.get(self._join(rpath), *args, **kwargs)

    def get_file(self, rpath: str, lpath: Any, **kwargs: Any) -> Any:
        return self.fs.get_file(self._join(rpath), lpath, **kwargs)

    # --- writing --------------------------------------------------------------------------------------

    def pipe(self, path: Any, *args: Any, **kwargs: Any) -> Any:
        """Write bytes to one file, or to each file of a mapping from path to bytes."""
        return self.fs.pipe(self._join(path), *args, **kwargs)

    def pipe_file(self, path: str, *args: Any, **kwargs: Any) -> Any:
        return self.fs.pipe_file(self._join(path), *args, **kwargs)

    def put(self, lpath: Any, rpath: Any, *args: Any, **kwargs: Any) -> Any:
        if self._has_magic:
            return super().put(lpath, rpath, *args, **kwargs)
        return self.fs.put(lpath, self._join(rpath), *args, **kwargs)

    def put_file(self, lpath: Any, rpath: str, **kwargs: Any) -> Any:
        return self.fs.put_file(lpath, self._join(rpath), **kwargs)

    def touch(self, path: str, **kwargs: Any) -> Any:
        return self.fs.touch(self._join(path), **kwargs)

    def mkdir(self, path: str, *args: Any, **kwargs: Any) -> None:
        self.fs.mkdir(self._join(path), *args, **kwargs)

    def makedirs(self, path: str, *args: Any, **kwargs: Any) -> None:
        self.fs.makedirs(self._join(path), *args, **kwargs)

    def copy(self, path1: Any, path2: Any, *args: Any, **kwargs: Any) -> Any:
        if self._has_magic:
            return super().copy(path1, path2, *args, **kwargs)
        return self.fs.copy(self._join(path1), self._join(path2), *args, **kwargs)

    def cp_file(self, path1: str, path2: str, **kwargs: Any) -> Any:
        """Copy a single file within the filesystem."""
        return self.fs.cp_file(self._join(path1), self._join(path2), **kwargs)

    def mv(self, path1: Any, path2: Any, recursive: bool = False, **kwargs: Any) -> None:
        """Rename on local disk. On S3, copy and then delete.

        For a directory on S3, fsspec's own `mv` is not called, because it reports directories as missing files.
        """
        if recursive and self.fs.async_impl:
            self.copy(self._refuse_root(path1), path2, recursive=True)
            self.rm(path1, recursive=True)
        else:
            source, target = self._join(self._refuse_root(path1)), self._join(path2)
            self.fs.mv(source, target, recursive=recursive, **kwargs)

    # --- deleting -------------------------------------------------------------------------------------

    def rm(self, path: Any, *args: Any, **kwargs: Any) -> None:
        names = self._expanded(self._refuse_root(path))
        if not names:
            raise FileNotFoundError(errno.ENOENT, "nothing has this name or matches this pattern", path)
        self.fs.rm(self._join(self._refuse_root(names)), *args, **kwargs)

    def rm_file(self, path: str, **kwargs: Any) -> Any:
        """Delete a single file, not a directory."""
        return self.fs.rm_file(self._join(path), **kwargs)

    def rmdir(self, path: Any) -> None:
        self.fs.rmdir(self._join(self._refuse_root(path)))

    def _expanded(self, path: Any) -> Any:
        """Return the given path or paths. For a pattern, return the matching paths, the deepest first."""
        is_pattern = isinstance(path, str) and has_magic(path)
        return sorted(self.glob(path), reverse=True) if is_pattern else path

    def _refuse_root(self, path: Any) -> Any:
        """Return the given path or paths, unless one of them is the root. On S3, the root may be the bucket itself."""
        names = path if isinstance(path, (list, tuple, set)) else [path]
        if not all(map(self._strip_protocol, names)):
            raise InvalidIdError("the root is not deleted or moved: name the sessions in it")
        return path

    @property
    def transaction(self) -> Any:
        return self.fs.transaction


def _manager(settings: dict[str, Any]) -> StorageManager:
    if settings.get("redact") is not None:
        why = "sm:// redacts nothing, because the files written to it are no steps"
        advice = "store steps with StorageManager(redact=...) instead"
        raise InvalidDataError(f"cannot open sm:// with redact: {why}; {advice}", operation="configure")
    try:
        return StorageManager(**settings)
    except TypeError as error:
        advice = "give keywords of the filesystem in storage_options"
        raise TypeError(f"sm:// takes the keywords of StorageManager: {_FEW_KEYWORDS}; {advice} ({error})") from error


def _depth(name: str) -> int:
    return name.count("/") + 1 if name else 0
