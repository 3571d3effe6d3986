"""Send the new steps of a session to its readers, as events, with one listing per interval for all readers."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from storage_manager.errors import StorageManagerError
from storage_manager.live import follow_ids
from storage_manager.storage import StorageManager

__all__ = ["Following"]

INTERVAL = 1.0  # seconds from one listing of a session to the next
QUIET_SECONDS = 600.0  # without a new step; then a session is quiet
QUIET_INTERVAL = 10.0  # seconds between two listings of a quiet session, until a new step comes


class Following:
    """The sessions that have readers."""

    def __init__(self, storage: StorageManager) -> None:
        self._storage = storage
        self._followed: dict[str, _Followed] = {}

    async def events(self, session_id: str) -> AsyncGenerator[bytes, None]:
        """Yield the events for one reader, as text/event-stream (HTML Standard, 9.2), until the session is sealed.

        `steps` has the ids of steps: the first event has all known steps, each later one the new steps. The last event
        is `sealed`, or `failed` with the reason if the session cannot be listed. After a listing without a new step
        there is a comment: sending it shows whether the reader is still connected.
        """
        followed = self._followed.get(session_id)
        if followed is None or followed.is_done:
            followed = self._followed[session_id] = _Followed(self._storage, session_id)
        queue = followed.join()
        try:
            while (event := await queue.get()) is not None:
                yield event
        finally:
            if followed.leave(queue):
                if self._followed.get(session_id) is followed:
                    del self._followed[session_id]  # before the wait, or a new reader would join and only get the end
                await followed.close()

    async def close(self) -> None:
        """Stop listing, and end the events of all readers."""
        for followed in list(self._followed.values()):
            await followed.close()


class _Followed:
    """A session that is followed, and the queues of its readers."""

    def __init__(self, storage: StorageManager, session_id: str) -> None:
        self._storage, self._session_id = storage, session_id
        self._known: list[str] | None = None  # None until the first listing
        self._queues: set[asyncio.Queue[bytes | None]] = set()
        self._task = asyncio.ensure_future(self._run())

    @property
    def is_done(self) -> bool:
        """True if there are no more events."""
        return self._task.done()

    def join(self) -> "asyncio.Queue[bytes | None]":
        """Add a reader. Return a queue of its events; None is the end."""
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._queues.add(queue)
        if self._known is not None:
            queue.put_nowait(_event("steps", self._known))
        return queue

    def leave(self, queue: "asyncio.Queue[bytes | None]") -> bool:
        """Remove a reader. Return True if there are no others."""
        self._queues.discard(queue)
        return not self._queues

    async def close(self) -> None:
        """Stop listing, and end the events. Raise the error if an unexpected one has stopped it."""
        self._task.cancel()
        [end] = await asyncio.gather(self._task, return_exceptions=True)
        self._send(None)
        if isinstance(end, Exception):
            raise end

    async def _run(self) -> None:
        try:
            await self._follow()
            self._send(_event("sealed", None))
        except StorageManagerError as error:
            self._send(_event("failed", str(error)))
        finally:
            self._send(None)

    async def _follow(self) -> None:
        """Send the steps after each listing. The next listing begins when the iteration goes on."""
        latest = time.monotonic()
        async with aclosing(follow_ids(self._storage, self._session_id, interval=INTERVAL)) as listings:
            async for ids in listings:
                is_first, self._known = self._known is None, [*(self._known or []), *ids]
                self._send(_event("steps", ids) if ids or is_first else b":\n\n")
                if ids:
                    latest = time.monotonic()
                elif time.monotonic() - latest > QUIET_SECONDS:
                    await asyncio.sleep(QUIET_INTERVAL)

    def _send(self, event: bytes | None) -> None:
        for queue in self._queues:
            queue.put_nowait(event)


def _event(name: str, value: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps(value)}\n\n".encode()
