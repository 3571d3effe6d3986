"""Tell the readers of a session of its new steps, with one listing per second for all of them."""

import asyncio
import json
from collections.abc import AsyncGenerator

from storage_manager.errors import StorageManagerError
from storage_manager.live import follow_ids
from storage_manager.storage import StorageManager

__all__ = ["Following"]

INTERVAL = 1.0  # seconds from one listing of a session to the next


class Following:
    """The sessions that somebody follows."""

    def __init__(self, storage: StorageManager) -> None:
        self._storage = storage
        self._followed: dict[str, _Followed] = {}

    async def events(self, session_id: str) -> AsyncGenerator[bytes, None]:
        """Yield events for a reader, as text/event-stream (HTML Standard, 9.2), until the session is sealed.

        `steps` has the ids of steps: at first all that are known, later the new ones. `sealed` is the last event if the
        session is sealed, and `failed`, with the reason, if it cannot be listed. After each listing without a new step
        there is a comment, so that a reader who has gone is noticed.
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
                    del self._followed[session_id]  # before the wait: who joins now would only see the end
                await followed.close()

    async def close(self) -> None:
        """Stop, and end the events of every reader."""
        for followed in list(self._followed.values()):
            await followed.close()


class _Followed:
    """A session that is followed, and its readers."""

    def __init__(self, storage: StorageManager, session_id: str) -> None:
        self._storage, self._session_id = storage, session_id
        self._known: list[str] | None = None  # None until the first listing
        self._queues: set[asyncio.Queue[bytes | None]] = set()
        self._task = asyncio.ensure_future(self._run())

    @property
    def is_done(self) -> bool:
        """True if no more events come."""
        return self._task.done()

    def join(self) -> "asyncio.Queue[bytes | None]":
        """Return a queue that gets the events, from now on; None is the end."""
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._queues.add(queue)
        if self._known is not None:
            queue.put_nowait(_event("steps", self._known))
        return queue

    def leave(self, queue: "asyncio.Queue[bytes | None]") -> bool:
        """Forget a queue. Return True if it was the last."""
        self._queues.discard(queue)
        return not self._queues

    async def close(self) -> None:
        """Stop listing, and tell the readers that this is the end. Raise what ended it unexpectedly."""
        self._task.cancel()
        [end] = await asyncio.gather(self._task, return_exceptions=True)
        self._tell(None)
        if isinstance(end, Exception):
            raise end

    async def _run(self) -> None:
        try:
            async for ids in follow_ids(self._storage, self._session_id, interval=INTERVAL):
                is_first = self._known is None
                self._known = [*(self._known or []), *ids]
                self._tell(_event("steps", ids) if ids or is_first else b":\n\n")
            self._tell(_event("sealed", None))
        except StorageManagerError as error:
            self._tell(_event("failed", str(error)))
        finally:
            self._tell(None)

    def _tell(self, event: bytes | None) -> None:
        for queue in self._queues:
            queue.put_nowait(event)


def _event(name: str, value: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps(value)}\n\n".encode()
