"""Run searches one at a time, and refuse a search if too many others wait."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

__all__ = ["Turns"]


class Turns:
    """A queue of searches, which run one at a time.

    Parameters:
        limit: the number of searches that may run or wait.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = asyncio.Lock()
        self._queue: list[Callable[[], bool]] = []

    @asynccontextmanager
    async def turn(self, is_connected: Callable[[], bool] = lambda: True) -> AsyncGenerator[None, None]:
        """Wait for the turn of a search, which lasts until the block ends.

        Parameters:
            is_connected: returns False if the client has left. Its search is not counted then.

        Raises:
            HTTPServiceUnavailable: `limit` searches run or wait.
        """
        if sum(is_here() for is_here in self._queue) >= self._limit:
            why = f"{self._limit} searches are running or waiting, as many as are allowed. Try again in a moment."
            raise web.HTTPServiceUnavailable(text=why)
        self._queue.append(is_connected)
        try:
            async with self._lock:
                yield
        finally:
            self._queue.remove(is_connected)
