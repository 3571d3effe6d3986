"""Files that are read and written in blocks, because they may not fit into memory."""

import asyncio
import codecs
import errno
import os
import stat
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import Any, NamedTuple

from storage_manager.aio import run_to_end
from storage_manager.errors import translate, translating

__all__ = [
    "BLOCK",
    "Stream",
    "hash_blocks",
    "open_regular",
    "read_descriptor",
    "refuse_irregular",
    "stream_of",
    "too_large",
]

BLOCK = 2**22  # bytes that are read or written at a time: 2 ms on a local disk


class Stream(NamedTuple):
    """The content of a file that is not held in memory as a whole.

    Attributes:
        open: yields the bytes in blocks. Each call begins at the start of the file.
        size: the total number of bytes.
        url: the file that is read, for error messages.
    """

    open: Callable[[], AsyncGenerator[bytes, None]]
    size: int
    url: str = ""

    async def blocks(self) -> AsyncGenerator[bytes, None]:
        """Yield the bytes in blocks.

        Raises:
            StorageManagerError: the number of bytes is not `size`, because someone is writing to the file.
        """
        rest = self.size
        async with aclosing(self.open()) as blocks:
            async for block in blocks:
                rest -= len(block)
                if rest < 0:
                    break
                yield block
        if rest:
            raise translate(OSError(errno.ESTALE, "the file changed while it was read"), "store", self.url)

    async def parts(self, size: int) -> AsyncGenerator[bytes, None]:
        """Yield the bytes in parts of this size; the last one may be smaller."""
        waiting = bytearray()
        async with aclosing(self.blocks()) as blocks:
            async for block in blocks:
                waiting += block
                while len(waiting) >= size:
                    yield bytes(waiting[:size])
                    del waiting[:size]
        if waiting:
            yield bytes(waiting)

    async def is_text(self) -> bool:
        """Return True if the bytes are valid UTF-8 without NUL."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            async with aclosing(self.blocks()) as blocks:
                async for block in blocks:
                    if "\0" in await asyncio.to_thread(decoder.decode, block):
                        return False
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
        return True

    async def read(self) -> bytes:
        """Return all bytes."""
        return b"".join([block async for block in self.blocks()])


async def hash_blocks(blocks: AsyncGenerator[bytes, None], *digests: Any) -> int:
    """Update digests of hashlib with blocks. Return the number of bytes.

    The digests are updated in a thread, because this takes a millisecond per MB and would block the event loop.
    """
    size = 0
    async with aclosing(blocks):
        async for block in blocks:
            size += len(block)
            for digest in digests:
                await asyncio.to_thread(digest.update, block)
    return size


def too_large(size: int | None, limit: int) -> OSError:
    """Return the error for a file that is larger than the limit. `size` is None if it is not known."""
    held = f"{size:,} bytes" if size is not None else "more bytes"
    advice = "raise max_file_bytes, or open it with storage.fs.open(storage.url_for(...))"
    return OSError(errno.EFBIG, f"the file has {held}, but only {limit:,} may be read into memory: {advice}")


def open_regular(path: str) -> tuple[int, int]:
    """Open a file to read it. Return its descriptor and its size in bytes.

    Raises:
        OSError: it is not a regular file. A pipe would block until a writer opens it.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    status = os.fstat(descriptor)
    try:
        refuse_irregular(path, status.st_mode)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor, status.st_size


def refuse_irregular(path: str, mode: int) -> None:
    """Raise an error if the mode of a path does not belong to a regular file.

    Raises:
        OSError: EISDIR for a directory; EINVAL for a pipe or anything else.
    """
    if not stat.S_ISREG(mode):
        raise OSError(errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL, "not a regular file", path)


async def read_descriptor(
    descriptor: int, run: Callable[[Callable[[], bytes]], "asyncio.Future[bytes]"]
) -> AsyncGenerator[bytes, None]:
    """Yield the rest of an open file in blocks, and close it.

    Parameters:
        run: calls a function in a thread.
    """
    try:
        while block := await run_to_end(run(partial(os.read, descriptor, BLOCK))):
            yield block
    finally:
        os.close(descriptor)


def stream_of(path: "str | os.PathLike[str]") -> Stream:
    """Return the content of a local file as a stream.

    Raises:
        OSError: it is missing, or not a regular file.
    """
    name = os.fspath(path)
    descriptor, size = open_regular(name)
    os.close(descriptor)

    async def blocks() -> AsyncGenerator[bytes, None]:
        loop = asyncio.get_running_loop()
        with translating("store", name):  # an error names this file, not the URL of the target
            opening = asyncio.to_thread(open_regular, name)
            descriptor, _ = await run_to_end(opening, undo=lambda opened: os.close(opened[0]))
            async with aclosing(read_descriptor(descriptor, partial(loop.run_in_executor, None))) as read:
                async for block in read:
                    yield block

    return Stream(blocks, size, str(name))
