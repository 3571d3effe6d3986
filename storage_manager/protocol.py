"""`sm://session/step/metadata.json` in any tool that speaks fsspec: the place that the `SM_*` variables name.

The tools open it through fsspec's registry, where the package's entry point `fsspec.specs` has put it.
"""

import errno
from collections.abc import Iterable, Iterator
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.core import has_magic
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.spec import make_instance
from fsspec.utils import tokenize

from storage_manager.backends.base import STAGING_PREFIX
from storage_manager.config import arguments_of
from storage_manager.errors import InvalidDataError, InvalidIdError, StorageManagerError
from storage_manager.layout import BY_FILENAME
from storage_manager.storage import StorageManager

__all__ = ["SessionFileSystem"]

_LEVELS = 3  # session, step, component


class SessionFileSystem(AbstractFileSystem):
    """The sessions of one place as a synchronous filesystem; its names begin with the session.

    Any thread may use it, and a forked child. Pickled, it takes its place and credentials along, so a worker needs
    no variables; `to_json` has the place alone. What is being written is hidden, as from every listing. What is not
    written out here is `DirFileSystem`'s, below the class. `get`, `cp` and `mv` of a pattern are those of the
    filesystem below; `rm`, `cat` and `glob` are alike on each.

    Parameters:
        storage: a manager that you have; None: one of the settings.
        asynchronous, loop: not used; callers that can do both, such as zarr, give them to every filesystem.
        anon: True: without credentials on S3; pandas tries this where a request was refused.
        settings: the keywords of StorageManager; without any, the `SM_*` variables choose the place.

    Raises:
        S3ConfigError, LocalStorageError: as StorageManager.
        InvalidIdError: a name with `..`, in any method, or a deletion of the root itself.
        InvalidDataError: `redact` is given: what is written here is no step, and would not be redacted.
        TypeError: a keyword that StorageManager does not have.
        FileNotFoundError, PermissionError, OSError: of the operations, as of any filesystem of fsspec.
    """

    protocol = "sm"
    cachable = False  # the variables may name another place the next time

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
            raise TypeError("a storage has its settings already: give one or the other")
        self.storage = _manager(settings) if storage is None else storage
        self.path = self.fs._strip_protocol(self.storage.url_for())

    @property
    def fs(self) -> AbstractFileSystem:
        """fsspec's own filesystem for the place; asked for anew, as a forked child has another."""
        return self.storage.fs

    def __repr__(self) -> str:
        return f"<SessionFileSystem {self.storage.url_for()}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return make_instance, (type(self), (), {"storage": self.storage})

    @property
    def _fs_token(self) -> str:
        """By this dask names its tasks: in any process the same for the same place and options."""
        return str(tokenize(self.storage.url_for(), self.fs.storage_options))

    def to_dict(self, *, include_password: bool = True) -> dict[str, Any]:
        """The place, whatever variables there are; never credentials, which are found where it is read.

        Raises:
            StorageManagerError: it is neither S3 nor local disk, so no keywords stand for it.
        """
        cls, options, url = type(self), self.storage.storage_options, self.storage.url_for()
        place = arguments_of(url)
        if place is None:
            raise StorageManagerError(f"{url} has no JSON form: give tools that URL itself", operation="open", url=url)
        return {
            "cls": f"{cls.__module__}:{cls.__name__}",
            "protocol": self.protocol,
            "args": [],
            **place,
            # None, over a worker's own SM_S3_ENDPOINT_URL: without one here the place is Amazon's
            "storage_options": {"endpoint_url": None, **options} if options else {},
        }

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        stripped = super()._strip_protocol(path)
        if isinstance(stripped, list):
            return stripped
        parts = [part for part in stripped.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise InvalidIdError(f"{stripped!r} cannot be used: '..' may lead out of where sessions lie")
        return "/".join(parts)

    def _join(self, path: Any) -> Any:
        """The name, or each of several, as the filesystem below has it; a slash at the end says directory there too."""
        if isinstance(path, dict):
            return {self._join(name): value for name, value in path.items()}
        if isinstance(path, (list, tuple, set)):
            return [self._join(name) for name in path]
        name = self._strip_protocol(path)
        return f"{self.path.rstrip('/')}/{name}{'/' * str(path).endswith('/')}" if name else self.path

    def _relpath(self, path: str) -> str:
        return path.removeprefix(self.path).strip("/")

    def _shown(self, infos: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """What is known of each file under its name here, without what is being written."""
        for info in infos:
            name = self._relpath(info["name"])
            if not name.startswith(STAGING_PREFIX):
                yield {**info, "name": name}

    def ls(self, path: Any, detail: bool = True, **kwargs: Any) -> list[Any]:
        infos = list(self._shown(self.fs.ls(self._join(path), detail=True, **kwargs)))
        return infos if detail else [info["name"] for info in infos]

    def find(
        self, path: Any, maxdepth: int | None = None, withdirs: bool = False, detail: bool = False, **kwargs: Any
    ) -> Any:
        """Where `maxdepth` takes in the components, everything is listed: a LIST a thousand keys, not one a step."""
        levels = _depth(self._strip_protocol(path)) + maxdepth if maxdepth else None
        asked = None if levels and levels >= _LEVELS else maxdepth
        found = self.fs.find(self._join(path), maxdepth=asked, withdirs=withdirs, detail=True, **kwargs)
        shown = {info["name"]: info for info in self._shown(found.values())}
        infos = {name: info for name, info in shown.items() if name and (levels is None or _depth(name) <= levels)}
        return infos if detail else list(infos)

    def cat(self, path: Any, *args: Any, **kwargs: Any) -> Any:
        """Of a pattern the names are found here, as `find` has them."""
        return DirFileSystem.cat(self, self._named(path), *args, **kwargs)

    def cat_ranges(self, paths: Any, *args: Any, **kwargs: Any) -> Any:
        """A name that leads out is raised, where fsspec before 2026.9 gives it back among the answers."""
        return self.fs.cat_ranges(self._join(paths), *args, **kwargs)

    def _named(self, path: Any) -> Any:
        """The name or names; those that a pattern stands for, the deepest first."""
        is_pattern = isinstance(path, str) and has_magic(path)
        return sorted(self.glob(path), reverse=True) if is_pattern else path

    def isdir(self, path: Any) -> bool:
        """S3 is not asked of a component, which is a file: fsspec asks of each name that a pattern gave."""
        *ids, name = self._strip_protocol(path).split("/")
        is_component = len(ids) == _LEVELS - 1 and name in BY_FILENAME
        return not (is_component and self.fs.async_impl) and bool(self.fs.isdir(self._join(path)))

    def _below(self, path: Any) -> Any:
        """The name or names, of which none is the root: of S3 it may be the bucket."""
        names = path if isinstance(path, (list, tuple, set)) else [path]
        if not all(map(self._strip_protocol, names)):
            raise InvalidIdError("the root is not deleted or moved: name what is in it")
        return path

    def rm(self, path: Any, *args: Any, **kwargs: Any) -> None:
        names = self._named(self._below(path))
        if not names:
            raise FileNotFoundError(errno.ENOENT, "nothing is called like this", path)
        DirFileSystem.rm(self, self._below(names), *args, **kwargs)

    def rmdir(self, path: Any) -> None:
        DirFileSystem.rmdir(self, self._below(path))

    def mv(self, path1: Any, path2: Any, recursive: bool = False, **kwargs: Any) -> None:
        """A rename on local disk. On S3 a copy and a deletion; fsspec's own takes directories for missing files."""
        if recursive and self.fs.async_impl:
            self.copy(self._below(path1), path2, recursive=True)
            self.rm(path1, recursive=True)
        else:
            DirFileSystem.mv(self, self._below(path1), path2, recursive=recursive, **kwargs)

    @property
    def transaction(self) -> Any:
        return self.fs.transaction


def _manager(settings: dict[str, Any]) -> StorageManager:
    if settings.get("redact") is not None:
        why = "sm:// redacts nothing, as what is written through it is no step: store by StorageManager(redact=...)"
        raise InvalidDataError(why, operation="configure")
    try:
        return StorageManager(**settings)
    except TypeError as error:
        keywords = (
            "s3_bucket_name, s3_endpoint_url, local_base_path and others; those of the filesystem in storage_options"
        )
        raise TypeError(f"sm:// takes the keywords of StorageManager: {keywords} ({error})") from error


def _depth(name: str) -> int:
    return name.count("/") + 1 if name else 0


# Its methods without its ancestors, by which tools would take this for asynchronous, and for a link of chained URLs.
for _name in (
    "cat_file", "checksum", "copy", "cp_file", "created", "exists", "get", "get_file", "info",
    "invalidate_cache", "isfile", "makedirs", "mkdir", "modified", "open", "pipe", "pipe_file", "put",
    "put_file", "rm_file", "sign", "sizes", "touch", "ukey",
):  # fmt: skip
    setattr(SessionFileSystem, _name, getattr(DirFileSystem, _name))
