"""Many readers of large files, readers that stop, and reading that fails: the viewer holds a few blocks in memory."""

import asyncio
import tracemalloc
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest

from storage_manager import StorageManager
from storage_manager.backends.local import LocalBackend
from storage_manager.backends.streams import BLOCK
from storage_manager.viewer import app as viewer_app
from storage_manager.viewer import files, serve

MEGABYTE = 2**20
SIZE = 32 * MEGABYTE
READERS = 12
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
LARGE = ["t/screenshot", "t/attachments/video.webm", "attachments/all.zip"]


def lay_sparse(path: str, start: bytes) -> None:
    """Make a large file of which only the start takes room on the disk."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(start)
        file.truncate(SIZE)


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    """A viewer of a session with a screenshot and attachments of 32 MB, a screenshot of 1 MB, and a small action."""
    storage = StorageManager(local_base_path=tmp_path)
    await storage.store_step_data("s", "t", action_data={"a": 1})
    await storage.store_step_data("s", "u", screenshot_bytes=bytes(MEGABYTE))
    lay_sparse(storage.url_for("s", "t", "screenshot"), b"\xff\xd8\xff")
    lay_sparse(storage.url_for("s", "t", attachment="video.webm"), b"")
    lay_sparse(storage.url_for("s", attachment="all.zip"), b"")
    async with storage, serve(storage) as url:
        yield url


async def asked(url: str, path: str = "t/screenshot", method: str = "GET", version: str = "1.1") -> Connection:
    """Send a request, and read nothing yet."""
    port = int(url.rstrip("/").rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**16)
    request = f"{method} /sessions/s/{path} HTTP/{version}\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    writer.write(request.encode())
    return reader, writer


async def read_all(connection: Connection) -> tuple[bytes, int]:
    """Read the head and the body, and keep only the length of the body.

    Raises:
        IncompleteReadError, ConnectionError: the body ends before its end.
    """
    reader, writer = connection
    try:
        head, size = await reader.readuntil(b"\r\n\r\n"), 0
        if b"chunked" in head:
            while length := int(await reader.readuntil(b"\r\n"), 16):
                size += len(await reader.readexactly(length + 2)) - 2
        else:
            while piece := await reader.read(MEGABYTE):
                size += len(piece)
    finally:
        writer.close()
    return head, size


@pytest.mark.parametrize("path", LARGE)
async def test_memory_is_that_of_a_few_blocks(url: str, path: str) -> None:
    """Four readers took four times the size of the file, and before that each of 8 readers of 100 MB took 190 MB."""
    tracemalloc.start()
    try:
        connections = [await asked(url, path) for _ in range(READERS)]
        answers = await asyncio.gather(*map(read_all, connections))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < (2 * viewer_app.MAX_READERS + 2) * BLOCK < SIZE * 2
    for head, size in answers:
        assert head.startswith(b"HTTP/1.1 200 OK")
        assert (b"Content-Type: image/jpeg" in head) == path.endswith("screenshot")
        assert b"sandbox" in head
        assert size == SIZE


async def test_a_file_of_one_block_has_a_length(url: str) -> None:
    head, size = await read_all(await asked(url, "u/screenshot"))
    assert f"Content-Length: {MEGABYTE}".encode() in head
    assert size == MEGABYTE


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_client_never_takes_a_part_for_the_whole(
    url: str, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """Reading fails after the second block. To a client of HTTP/1.0, a connection that is closed is the end."""
    read = LocalBackend.read_blocks

    async def fail_later(self: LocalBackend, path: str) -> AsyncGenerator[bytes, None]:
        count = 0
        async for block in read(self, path):
            yield block
            count += 1
            if count == 2:
                raise OSError(5, "the disk is broken")

    monkeypatch.setattr(LocalBackend, "read_blocks", fail_later)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await read_all(await asked(url, version=version))
    monkeypatch.undo()
    _, size = await read_all(await asked(url, version=version))
    assert size == SIZE


@pytest.mark.parametrize("path", ["t/screenshot", "t/attachments/video.webm"])
async def test_a_reader_that_stops_does_not_keep_others_waiting(
    url: str, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(files, "SEND_SECONDS", 0.2)
    stopped = [await asked(url, path) for _ in range(viewer_app.MAX_READERS)]
    for reader, _ in stopped:
        await reader.readuntil(b"\r\n\r\n")  # each has its turn
    for small in ("t/action", path):
        head, size = await asyncio.wait_for(read_all(await asked(url, small)), 20)
        assert (head[:15], size) == (b"HTTP/1.1 200 OK", 8 if small == "t/action" else SIZE)
    for _, writer in stopped:
        writer.transport.abort()


async def test_readers_of_attachments_do_not_keep_those_of_components_waiting(url: str) -> None:
    """A video is downloaded for minutes."""
    slow = [await asked(url, "t/attachments/video.webm") for _ in range(viewer_app.MAX_READERS)]
    for reader, _ in slow:
        await reader.readuntil(b"\r\n\r\n")
    assert (await asyncio.wait_for(read_all(await asked(url, "t/action")), 20))[1] == 8
    for _, writer in slow:
        writer.transport.abort()


async def test_a_reader_that_leaves_gives_up_its_turn(url: str) -> None:
    for _ in range(2 * viewer_app.MAX_READERS):
        reader, writer = await asked(url)
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()
    _, size = await asyncio.wait_for(read_all(await asked(url)), 20)
    assert size == SIZE


@pytest.mark.parametrize(("path", "length"), [("t/screenshot", b""), ("u/screenshot", b"Content-Length: 1048576")])
async def test_the_head_alone(url: str, path: str, length: bytes) -> None:
    reader, writer = await asked(url, path, method="HEAD")
    answer = await asyncio.wait_for(reader.read(), 20)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert length in answer
    assert answer.endswith(b"\r\n\r\n")
    writer.close()
