"""Answer requests that take long one at a time, and refuse a request if too many others wait."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

__all__ = ["ClientHasLeft", "Turns"]


class ClientHasLeft(web.HTTPClientError):
    """Nobody reads the answer."""

    status_code = 499  # as nginx logs it


class Turns:
    """A queue of requests, which are answered one at a time.

    Parameters:
        what: the requests, in the plural, for the message of a refusal: "searches".
        limit: the number of requests that may run or wait.
    """

    def __init__(self, what: str, limit: int) -> None:
        self._what, self._limit = what, limit
        self._lock = asyncio.Lock()
        self._queue: list[Callable[[], bool]] = []

    @asynccontextmanager
    async def turn(self, is_connected: Callable[[], bool] = lambda: True) -> AsyncGenerator[None, None]:
        """Wait for the turn of a request, which lasts until the block ends.

        Parameters:
            is_connected: returns False if the client has left. Its request is not counted then.

        Raises:
            HTTPServiceUnavailable: `limit` requests run or wait.
            ClientHasLeft: the client left while the request was waiting.
        """
        if sum(is_here() for is_here in self._queue) >= self._limit:
            why = f"{self._limit} {self._what} are running or waiting, as many as are allowed. Try again in a moment."
            raise web.HTTPServiceUnavailable(text=why)
        self._queue.append(is_connected)
        try:
            async with self._lock:
                if not is_connected():
                    raise ClientHasLeft
                yield
        finally:
            self._queue.remove(is_connected)
