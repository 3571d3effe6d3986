"""Many readers of large components, and readers that stop: the viewer holds a few components in memory, not all."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage_manager import StorageManager
from storage_manager.viewer import app as viewer_app
from storage_manager.viewer import serve

MEGABYTE = 2**20
SIZE = 16 * MEGABYTE
READERS = 12
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    """A viewer of a session with a screenshot of 16 MB, and a small action."""
    storage = StorageManager(local_base_path=tmp_path)
    await storage.store_step_data("s", "t", screenshot_bytes=b"\xff\xd8\xff" + bytes(SIZE - 3), action_data={"a": 1})
    async with storage, serve(storage) as url:
        yield url


async def asked(url: str, path: str = "screenshot", method: str = "GET") -> Connection:
    """Send a request, and read nothing yet."""
    port = int(url.rstrip("/").rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**16)
    writer.write(f"{method} /sessions/s/t/{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    return reader, writer


async def read_all(connection: Connection) -> tuple[bytes, int]:
    """Read the head and the body, and keep only the length of the body."""
    reader, writer = connection
    head, size = await reader.readuntil(b"\r\n\r\n"), 0
    while piece := await reader.read(MEGABYTE):
        size += len(piece)
    writer.close()
    return head, size


async def test_memory_is_that_of_a_few_readers(url: str) -> None:
    """Each of 8 readers of 100 MB took 190 MB."""
    tracemalloc.start()
    try:
        connections = [await asked(url) for _ in range(READERS)]
        answers = await asyncio.gather(*map(read_all, connections))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < (viewer_app.MAX_READERS + 1) * SIZE + 16 * MEGABYTE
    for head, size in answers:
        assert head.startswith(b"HTTP/1.1 200 OK")
        assert f"Content-Length: {SIZE}".encode() in head
        assert b"Content-Type: image/jpeg" in head
        assert b"sandbox" in head
        assert size == SIZE


async def test_a_reader_that_stops_does_not_keep_others_waiting(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewer_app, "SEND_SECONDS", 0.2)
    stopped = [await asked(url) for _ in range(viewer_app.MAX_READERS)]
    for reader, _ in stopped:
        await reader.readuntil(b"\r\n\r\n")  # each has its turn
    head, size = await asyncio.wait_for(read_all(await asked(url, "action")), 20)
    assert (head[:15], size) == (b"HTTP/1.1 200 OK", 8)
    for _, writer in stopped:
        writer.transport.abort()


async def test_a_reader_that_leaves_gives_up_its_turn(url: str) -> None:
    for _ in range(2 * viewer_app.MAX_READERS):
        reader, writer = await asked(url)
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()
    _, size = await asyncio.wait_for(read_all(await asked(url)), 20)
    assert size == SIZE


async def test_the_head_alone(url: str) -> None:
    head, size = await asyncio.wait_for(read_all(await asked(url, method="HEAD")), 20)
    assert (head[:15], size) == (b"HTTP/1.1 200 OK", 0)
    assert f"Content-Length: {SIZE}".encode() in head
