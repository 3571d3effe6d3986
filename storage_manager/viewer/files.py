"""Send stored files to a browser in blocks, so that the memory does not depend on their size."""

import asyncio
import logging
import socket
import struct
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import NamedTuple

from aiohttp import web

from storage_manager.errors import StorageManagerError, is_missing, translating
from storage_manager.storage import StorageManager
from storage_manager.viewer.guard import STORED_POLICY

__all__ = ["SEND_SECONDS", "StoredFile", "read_at_most", "send_file"]

logger = logging.getLogger(__name__)

PIECE = 2**18  # bytes that are sent at a time; aiohttp would copy a larger piece
SEND_SECONDS = 60.0  # a client that takes no piece for so long is disconnected, because other requests wait
_RESET = struct.pack("ii", 1, 0)  # struct linger (POSIX, <sys/socket.h>): on, and no time


class StoredFile(NamedTuple):
    """A stored file, and the headers with which it is sent.

    Attributes:
        url: the URL in the storage.
        content_type: a function that returns the content type for the first bytes.
        missing: the text of the answer if there is no such file.
        headers: more headers of the answer.
    """

    url: str
    content_type: Callable[[bytes], str]
    missing: str
    headers: Mapping[str, str] = {}


async def send_file(request: web.Request, storage: StorageManager, file: StoredFile) -> web.StreamResponse:
    """Answer with a stored file. A few blocks of it are in memory at a time.

    A file of one block has a Content-Length. A larger file is sent while it is read. If reading fails then, the
    connection is reset, so that the client does not take the first part for the whole file.

    Raises:
        HTTPNotFound: there is no such file.
        S3OperationError, S3ConfigError, LocalStorageError: its beginning cannot be read.
    """
    async with aclosing(_read_blocks(storage, file.url)) as blocks:
        head = await _first_two(blocks, file)
        kind = file.content_type(head[0] if head else b"")
        headers = {"Content-Type": kind, "Content-Security-Policy": STORED_POLICY, **file.headers}
        size = sum(map(len, head)) if len(head) < 2 else None
        if size is not None and size <= PIECE:
            return web.Response(body=b"".join(head), headers=headers)
        response = web.StreamResponse(headers=headers)
        response.content_length = size
        await response.prepare(request)
        if request.method == "GET":
            await _send(request, response, head, blocks)
        return response


async def read_at_most(storage: StorageManager, url: str, limit: int) -> bytes | None:
    """Return the bytes of a file; None if there is none. If there are more than `limit` bytes, the rest is left out.

    The result has at most one block more than `limit`, so its length shows whether the file is larger.

    Raises:
        S3OperationError, S3ConfigError, LocalStorageError: it cannot be read.
    """
    found, size = list[bytes](), 0
    async with aclosing(_read_blocks(storage, url)) as blocks:
        try:
            while size <= limit and (block := await anext(blocks, None)) is not None:
                found.append(block)
                size += len(block)
        except StorageManagerError as error:
            if _is_missing(error, url):
                return None
            raise
    return b"".join(found)


async def _read_blocks(storage: StorageManager, url: str) -> AsyncGenerator[bytes, None]:
    with translating("retrieve", url):
        async with storage.backend() as backend, aclosing(backend.read_blocks(url)) as blocks:
            async for block in blocks:
                yield block


async def _first_two(blocks: AsyncGenerator[bytes, None], file: StoredFile) -> list[bytes]:
    """Return the first two blocks of a file, or all if it has fewer."""
    try:
        found = [await anext(blocks, None), await anext(blocks, None)]
    except StorageManagerError as error:
        if _is_missing(error, file.url):
            raise web.HTTPNotFound(text=file.missing) from error
        raise
    return [block for block in found if block is not None]


def _is_missing(error: StorageManagerError, url: str) -> bool:
    """Return True if the error says that this file does not exist, not that its root or bucket does not."""
    cause = error.__cause__
    return isinstance(cause, FileNotFoundError) and is_missing(cause) and cause.filename in (None, url)


async def _send(
    request: web.Request, response: web.StreamResponse, head: list[bytes], blocks: AsyncGenerator[bytes, None]
) -> None:
    """Send the blocks in `head`, then the other blocks. Send a piece when the client has taken the one before."""
    try:
        while (block := head.pop(0) if head else await anext(blocks, None)) is not None:
            for start in range(0, len(block), PIECE):
                await asyncio.wait_for(response.write(block[start : start + PIECE]), SEND_SECONDS)
    except StorageManagerError as error:
        logger.warning("an answer of the viewer is cut off: %s", error)
        _reset(request)
    except asyncio.TimeoutError:
        _reset(request)
    except ConnectionError:
        pass  # the client left


def _reset(request: web.Request) -> None:
    """Reset the connection. A client of HTTP/1.0 would take a closed connection for the end of the file."""
    transport = request.transport
    if transport is None or transport.is_closing():
        return
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()
