"""S3 through obstore, whose client is written in Rust: a small part of the CPU of s3fs (extra `obstore`).

Through obstore goes what is asked for often: a PUT and a GET of a component, the names in a directory, the bulk
deletion. An s3fs filesystem of the same options is kept beside it for what botocore knows better: which endpoint
serves a bucket, which credentials there are and when they end, the exact keys of whatever else lies in a tree (to
obstore `a//b` is none, and `a/` is `a`), an upload that was begun and not ended.

What obstore (0.12) cannot be told otherwise: a directory's names come after its last LIST, as a whole (its issue 494);
an XML document that is no LIST reads as an empty and last page, so that a deletion is proved by botocore, and a listing
of nothing asked again; a server that always has one page more is listed for ever; a GET follows redirects.
"""

import asyncio
import atexit
import errno
import os
import sys
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import Any, TypeVar

from fsspec.asyn import AsyncFileSystem
from obstore.exceptions import InvalidPathError
from obstore.fsspec import FsspecStore

from storage_manager.aio import run_to_end
from storage_manager.backends.base import Backend, File, FileInfo, retrying
from storage_manager.backends.digests import CHANGED, may_be_md5_of, md5_in
from storage_manager.backends.obstore_client import Credentials, open_store
from storage_manager.backends.obstore_errors import FAILURES, leaves_some, translated
from storage_manager.backends.s3 import PAGE, REQUEST_FAILURES, S3Backend
from storage_manager.errors import translating

__all__ = ["ObstoreBackend", "is_forked"]

MIB = 1 << 20
Out = TypeVar("Out")
_used_in: set[int] = set()  # the processes in which obstore has threads


def _let_threads_leave() -> None:
    """Wait, at the end of the process, until no thread of obstore is in Python: it would abort the process.

    A thread that has delivered a result may still be on its way out, and Python ends such threads by unwinding them,
    which Rust does not allow.
    """
    known = {thread.ident for thread in threading.enumerate()}
    until = time.monotonic() + 1
    while sys._current_frames().keys() - known and time.monotonic() < until:
        time.sleep(0.001)


def is_forked() -> bool:
    """True in a child of a process that has used obstore: its threads are not there, and every call would hang."""
    return bool(_used_in) and os.getpid() not in _used_in


class ObstoreBackend(Backend, FsspecStore):
    """`FsspecStore` for S3 that answers literally, for one event loop, and needs no closing.

    Parameters:
        options: as `s3fs.S3FileSystem` takes them.
    """

    protocol = "s3"
    _is_compared = True  # what is read, with its ETag: not over TLS (RFC 8446, 5.2), nor where that is no MD5

    def __init__(self, options: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.s3fs = S3Backend(**options, **kwargs)
        self._stores: dict[tuple[str, int], tuple[Any, Credentials]] = {}
        self._opening = asyncio.Lock()
        storage_class = self.s3fs.s3_additional_kwargs.get("StorageClass")
        self._attributes = {"Storage-Class": storage_class} if storage_class else {}
        if os.getpid() not in _used_in:
            _used_in.add(os.getpid())
            atexit.register(_let_threads_leave)

    # FsspecStore's own would go, past every option, to a store that it makes of AWS_* variables
    _cat_ranges = AsyncFileSystem._cat_ranges

    def _open(self, *args: Any, **kwargs: Any) -> Any:
        return self.s3fs._open(*args, **kwargs)

    async def close(self) -> None:
        await self.s3fs.close()

    @property
    def _slots(self) -> asyncio.Semaphore:
        """One bound for the requests of both."""
        self.s3fs.max_in_flight = self.max_in_flight
        return self.s3fs._slots

    def _split_path(self, path: str) -> tuple[str, str]:
        """Bucket and key, literally: to a parser of URLs, `#` would end the key."""
        bucket, _, key = path.removeprefix("s3://").partition("/")
        return bucket, key.rstrip("/")

    async def _store(self, bucket: str, timeout_factor: int) -> tuple[Any, Credentials]:
        async with self._opening:
            opened = self._stores.get((bucket, timeout_factor)) or await open_store(self.s3fs, bucket, timeout_factor)
            self._stores[bucket, timeout_factor] = opened
            self._endpoint = self.s3fs._s3.meta.endpoint_url
            self._is_compared &= self._endpoint.startswith("http:")
        return opened

    async def _asked(
        self, operation: str, bucket: str, ask: Callable[[Any], Awaitable[Out]], timeout_factor: int = 1
    ) -> Out:
        """One attempt of one request."""
        store, credentials = self._stores.get((bucket, timeout_factor)) or await self._store(bucket, timeout_factor)
        try:
            return await ask(store)
        except InvalidPathError:
            raise
        except FAILURES as error:
            why = credentials.error or translated(error, operation, self._endpoint)
        raise why

    async def _write_file(self, file: File) -> None:
        with translating("store", file.path):
            await retrying(partial(self._put_whole, file), REQUEST_FAILURES)

    async def _put_whole(self, file: File) -> None:
        bucket, key = self._split_path(file.path)
        attributes = {"Content-Type": file.content_type, **self._attributes}

        async def put(store: Any) -> Any:
            return await store.put_async(key, file.data, attributes=attributes, use_multipart=False)

        # a read timeout for each MiB: obstore's begins when the request does, not when it has been sent
        timeout_factor = 1 << (len(file.data) // MIB).bit_length()
        answer = await run_to_end(self._asked("PutObject", bucket, put, timeout_factor))
        e_tag = answer["e_tag"]
        # A service compares the body with its SHA-256 in the signature, if there is one; an ETag like no other's
        # may be that of a page that the request was sent on to.
        is_proved = may_be_md5_of(e_tag, file.data) if self.s3fs.anon else md5_in(e_tag)
        if self._is_compared and not is_proved:
            await self._read_alike(bucket, key, file.data)

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        """One GET; an attempt ends with the last byte, not with the headers."""
        if start is None and end is None and not kwargs:
            return await retrying(partial(self._get_whole, *self._split_path(path)), REQUEST_FAILURES)
        return bytes(await self.s3fs._cat_file(path, start=start, end=end, **kwargs))

    async def _get_whole(self, bucket: str, key: str) -> bytes:
        async def get(store: Any) -> tuple[Mapping[str, Any], bytes]:
            answer = await store.get_async(key)
            return answer.meta, (await answer.bytes_async()).to_bytes()

        answer, data = await self._asked("GetObject", bucket, get)
        if answer["e_tag"] is None:
            raise OSError(errno.EPROTO, "what answered GetObject is not S3: it names no ETag")
        if self._is_compared and not may_be_md5_of(answer["e_tag"], data):
            await self._read_alike(bucket, key, data)
        return data

    async def _read_alike(self, bucket: str, key: str, data: bytes) -> None:
        """Refuse bytes that changed on their way, which s3fs, told by headers what the ETag is, does not read alike.

        Where it does, ETags are no MD5 here (with a key of KMS, for one), and not compared any more.
        """
        if await self.s3fs._get_whole(Bucket=bucket, Key=key) != data:
            raise OSError(errno.EBADMSG, CHANGED)
        self._is_compared = False

    async def iter_names(self, path: str) -> AsyncIterator[list[str]]:
        bucket, key = self._split_path(path)

        async def ask(store: Any) -> Any:
            return await store.list_with_delimiter_async(key or None)

        names: list[str] = []
        with suppress(InvalidPathError):
            async with self._slots:
                answer = await retrying(partial(self._asked, "ListObjectsV2", bucket, ask), REQUEST_FAILURES)
            below = answer["common_prefixes"]
            if not all(prefix.startswith(key and f"{key}/") for prefix in below):
                raise OSError(errno.EPROTO, "what answered the LIST names keys that are not below the directory")
            names = sorted(prefix.rpartition("/")[2] for prefix in below)
        for start in range(0, len(names), PAGE):
            yield names[start : start + PAGE]
        if not names:
            async for page in self.s3fs.iter_names(path):
                yield page

    def iter_files(self, path: str) -> AsyncIterator[list[FileInfo]]:
        return self.s3fs.iter_files(path)

    async def remove_tree(self, path: str, also_delete: Sequence[str] = ()) -> bool:
        """Delete what obstore can name, a page at a time; then botocore the rest, if there is any, and the proof."""
        bucket, key = self._split_path(path)
        found = False
        with suppress(InvalidPathError):
            async with aclosing(self._key_pages(bucket, key)) as pages:
                async for keys in pages:
                    found = True
                    await self._delete_keys(
                        bucket, [*(self._split_path(file)[1] for file in also_delete), *keys][:PAGE]
                    )
        return await self.s3fs.remove_tree(path, also_delete) or found

    async def _key_pages(self, bucket: str, key: str) -> AsyncGenerator[list[str], None]:
        """The keys below a directory, a LIST at a time; after a failure from the beginning."""
        stream: Any = None

        async def ask(store: Any) -> list[str]:
            nonlocal stream
            pages = stream or store.list(key or None, chunk_size=PAGE)
            stream = None
            async for page in pages:
                stream = pages
                return [row["path"] for row in page if row["path"].startswith(key and f"{key}/")]
            return []

        while True:
            async with self._slots:
                keys = await retrying(partial(self._asked, "ListObjectsV2", bucket, ask), REQUEST_FAILURES)
            if not keys:
                return
            yield keys

    async def _delete_keys(self, bucket: str, keys: list[str]) -> None:
        """One DeleteObjects; what it leaves is listed again. Cancelled, it ends with the attempt under way."""

        async def ask(store: Any) -> None:
            try:
                await store.delete_async(keys)
            except FAILURES as error:
                if not leaves_some(error):
                    raise

        async with self._slots:
            await retrying(lambda: run_to_end(self._asked("DeleteObjects", bucket, ask)), REQUEST_FAILURES)


def _delegating(name: str) -> Callable[..., Any]:
    async def call(self: ObstoreBackend, *args: Any, **kwargs: Any) -> Any:
        return await getattr(self.s3fs, name)(*args, **kwargs)

    return call


# What else fsspec has, and this library has no need of: as it is in s3fs, with its answers checked.
for _name in (
    "_checksum", "_cp_file", "_find", "_get_file", "_info", "_ls", "_mkdir", "_makedirs", "_pipe_file",
    "_put_file", "_rm", "_rm_file", "_rmdir", "sweep", "_touch", "link", "list_unfinished", "_url", "open_async",
):  # fmt: skip
    setattr(ObstoreBackend, _name, _delegating(_name))
