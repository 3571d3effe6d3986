"""Any other fsspec backend (`memory://`, `gs://`, `sftp://`, ...) behind the same literal things.

An asynchronous backend is awaited, a synchronous one runs in worker threads. A component is as whole as the
backend writes it: what this library adds for S3 and local disk, it cannot add here.
"""

import asyncio
import contextlib
import posixpath
from collections.abc import Callable, Sequence
from typing import Any

import fsspec
from fsspec import AbstractFileSystem
from fsspec.asyn import AsyncFileSystem

from storage_manager.aio import run_to_end
from storage_manager.backends.base import Backend

__all__ = ["OtherBackend"]


class OtherBackend(Backend):
    """The filesystem that fsspec has for a protocol, with its operations as coroutines.

    Parameters:
        target_protocol: as in fsspec's registry; its package must be installed.
        target_options: the keywords of that filesystem.
    """

    mirror_sync_methods = False

    def __init__(self, target_protocol: str, target_options: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        target = fsspec.get_filesystem_class(target_protocol)
        # a cached instance could be that of another loop
        options = {"asynchronous": True, "skip_instance_cache": True} if issubclass(target, AsyncFileSystem) else {}
        self.target = target(**target_options, **options)
        self.protocol = self.target.protocol
        self._strip_protocol = self.target._strip_protocol

    async def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if self.target.async_impl:
            return await getattr(self.target, f"_{name}")(*args, **kwargs)
        return await run_to_end(asyncio.to_thread(getattr(self.target, name), *args, **kwargs))

    async def _pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        """Write a file, after its directory where the backend has directories and this one is missing."""
        kwargs |= {"mode": mode} if mode != "overwrite" else {}  # not every backend knows of modes
        try:
            await self._call("pipe_file", path, value, **kwargs)
        except FileNotFoundError:
            await self._call("makedirs", posixpath.dirname(path), exist_ok=True)
            await self._call("pipe_file", path, value, **kwargs)

    async def link(self, path: str, seconds: int) -> str:
        if self.target.async_impl and hasattr(self.target, "_url"):
            return str(await self.target._url(path, expires=seconds))
        if type(self.target).sign is AbstractFileSystem.sign:
            return str(await super().link(path, seconds))
        return str(await asyncio.to_thread(self.target.sign, path, expiration=seconds))

    async def remove_tree(self, path: str, also_delete: Sequence[str] = ()) -> bool:
        """As of an object store: with the last step its session is gone, though the backend keep directories."""
        removed = await super().remove_tree(path, also_delete)
        with contextlib.suppress(OSError):
            session = posixpath.dirname(path)
            if removed and not await self._call("ls", session, detail=False):
                await self._call("rmdir", session)
        return removed


def _delegating(name: str) -> Callable[..., Any]:
    async def call(self: OtherBackend, *args: Any, **kwargs: Any) -> Any:
        return await self._call(name, *args, **kwargs)

    return call


for _name in (
    "cat_file", "cp_file", "find", "get_file", "info", "ls", "makedirs", "mkdir", "put_file", "rm", "rm_file",
):  # fmt: skip
    setattr(OtherBackend, f"_{_name}", _delegating(_name))
