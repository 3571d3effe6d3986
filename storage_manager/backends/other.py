"""Any other fsspec backend (`memory://`, `gs://`, `sftp://`, ...) behind the same interface.

An asynchronous filesystem is awaited; a synchronous filesystem runs in worker threads. The guarantees of this library
for S3 and local disk are not possible here: a reader may get a part of a file if the filesystem shows it.
"""

import asyncio
import contextlib
import posixpath
from collections.abc import Sequence
from typing import Any

import fsspec
from fsspec import AbstractFileSystem
from fsspec.asyn import AsyncFileSystem

from storage_manager.aio import run_to_end
from storage_manager.backends.base import FsspecBackend
from storage_manager.layout import is_system_file

__all__ = ["OtherBackend"]


class OtherBackend(FsspecBackend):
    """The fsspec filesystem for a protocol, with its operations as coroutines.

    Parameters:
        target_protocol: the protocol in fsspec's registry. Its package must be installed.
        target_options: keywords for this filesystem.
    """

    mirror_sync_methods = False

    def __init__(self, target_protocol: str, target_options: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        target = fsspec.get_filesystem_class(target_protocol)
        # a cached instance could belong to another loop
        options = {"asynchronous": True, "skip_instance_cache": True} if issubclass(target, AsyncFileSystem) else {}
        self.target = target(**target_options, **options)
        self.protocol = self.target.protocol
        self._strip_protocol = self.target._strip_protocol

    async def link(self, path: str, seconds: int) -> str:
        if self.target.async_impl and hasattr(self.target, "_url"):
            return str(await self.target._url(path, expires=seconds))
        if type(self.target).sign is AbstractFileSystem.sign:
            return await super().link(path, seconds)
        return str(await asyncio.to_thread(self.target.sign, path, expiration=seconds))

    async def remove_tree(self, path: str, also_delete: Sequence[str] = ()) -> bool:
        """Delete a directory. If it was the last one in a session, delete the session too, as on an object store.

        Files that operating systems created in the session are deleted with it.
        """
        removed = await super().remove_tree(path, also_delete)
        with contextlib.suppress(OSError):
            if removed:
                await self._remove_if_empty(posixpath.dirname(path), is_session=bool(also_delete))
        return removed

    async def remove_file(self, path: str, also_delete: Sequence[str] = ()) -> bool:
        """Delete an attachment. Delete its step and its session too, if they have no other file."""
        removed = await super().remove_file(path, also_delete)
        step = posixpath.dirname(path)
        for directory in (step, posixpath.dirname(step)) if removed and also_delete else ():
            with contextlib.suppress(OSError):
                await self._remove_if_empty(directory, is_session=True)
        return removed

    async def _remove_if_empty(self, directory: str, *, is_session: bool) -> None:
        infos = await self._call("ls", directory, detail=True)
        if not is_session and infos:  # the root
            return
        if all(info["type"] == "file" and is_system_file(posixpath.basename(info["name"])) for info in infos):
            for info in infos:
                await self._rm_file(info["name"])
            await self._call("rmdir", directory)

    async def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the filesystem: the coroutine if there is one, else the synchronous method in a thread."""
        if self.target.async_impl:
            return await getattr(self.target, f"_{name}")(*args, **kwargs)
        return await run_to_end(asyncio.to_thread(getattr(self.target, name), *args, **kwargs))

    async def _pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        """Write a file. Create its directory first if the backend has directories and this one is missing."""
        kwargs |= {"mode": mode} if mode != "overwrite" else {}  # not every backend has modes
        try:
            await self._call("pipe_file", path, value, **kwargs)
        except FileNotFoundError:
            await self._call("makedirs", posixpath.dirname(path), exist_ok=True)
            await self._call("pipe_file", path, value, **kwargs)

    async def _cat_file(self, path: str, *args: Any, **kwargs: Any) -> Any:
        return await self._call("cat_file", path, *args, **kwargs)

    async def _cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        await self._call("cp_file", path1, path2, **kwargs)

    async def _find(self, path: str, *args: Any, **kwargs: Any) -> Any:
        return await self._call("find", path, *args, **kwargs)

    async def _get_file(self, rpath: str, lpath: str, **kwargs: Any) -> None:
        await self._call("get_file", rpath, lpath, **kwargs)

    async def _info(self, path: str, **kwargs: Any) -> Any:
        return await self._call("info", path, **kwargs)

    async def _ls(self, path: str, *args: Any, **kwargs: Any) -> Any:
        return await self._call("ls", path, *args, **kwargs)

    async def _makedirs(self, path: str, *args: Any, **kwargs: Any) -> None:
        await self._call("makedirs", path, *args, **kwargs)

    async def _mkdir(self, path: str, *args: Any, **kwargs: Any) -> None:
        await self._call("mkdir", path, *args, **kwargs)

    async def _put_file(self, lpath: str, rpath: str, **kwargs: Any) -> None:
        await self._call("put_file", lpath, rpath, **kwargs)

    async def _rm(self, path: Any, *args: Any, **kwargs: Any) -> None:
        await self._call("rm", path, *args, **kwargs)

    async def _rm_file(self, path: str, **kwargs: Any) -> None:
        await self._call("rm_file", path, **kwargs)
