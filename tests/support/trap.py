"""A server that no request may reach."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing

import pytest


class Trap:
    """A server that counts connections and keeps the path of each request. `bell` is the URL of a second port.

    Attributes:
        connections: their number, also without a request, as a preconnect makes them.
        asked: the paths of the requests, in order.
    """

    def __init__(self) -> None:
        self.connections = 0
        self.asked: list[str] = []
        self.changed = asyncio.Event()
        self.url = self.bell = ""

    async def _noted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.changed.set()
        await self._answer(reader, writer, self.asked)

    async def _rung(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._answer(reader, writer, [])

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: list[str]) -> None:
        with closing(writer):
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            asked.append(head.split(b" ", 2)[1].decode())
            self.changed.set()
            writer.write(
                b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )

    async def wait_for(self, done: Callable[[], bool], what: object) -> None:
        """Wait until `done` returns True. It is called after each connection and each request."""

        async def wait() -> None:
            while not done():
                self.changed.clear()
                await self.changed.wait()

        try:
            await asyncio.wait_for(wait(), 20)
        except asyncio.TimeoutError:
            pytest.fail(f"did not reach the trap: {what() if callable(what) else what}")

    @property
    def names(self) -> set[str]:
        """The first part of each path: the name of the page that sent the request."""
        return {path.split("/")[1].partition("?")[0] for path in self.asked}

    @property
    def caught(self) -> tuple[int, list[str]]:
        """The number of connections, and the paths of the requests."""
        return self.connections, self.asked


@asynccontextmanager
async def trap() -> AsyncIterator[Trap]:
    """Start a trap on 127.0.0.1."""
    it = Trap()
    server, bell = [await asyncio.start_server(serve, "127.0.0.1", 0) for serve in (it._noted, it._rung)]
    async with server, bell:
        it.url, it.bell = (f"http://127.0.0.1:{s.sockets[0].getsockname()[1]}" for s in (server, bell))
        yield it
