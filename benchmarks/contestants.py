"""The operations of every contestant, so that all do the same work. Each contestant uses one library, and uses it well.

A contestant lives in a process of its own and has one root. Its methods block. An asynchronous library runs on one
event loop, and `watch_loop` measures how long the loop stalls.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, ClassVar, NamedTuple, TypeVar

from benchmarks.steps import STEP, StepData, in_flight, read_ahead

__all__ = ["READ_AHEAD", "Asynchronous", "Contestant", "Location", "Synchronous", "watch_loop"]

READ_AHEAD = 16  # steps that an iteration reads ahead
BUCKET = "benchmark"
IDLE = 0.5  # an idle loop is watched for at most this many seconds, for comparison

Out = TypeVar("Out")


class Location(NamedTuple):
    """A directory, or an S3 endpoint whose credentials are in the environment. All work is done there."""

    directory: str
    endpoint: str | None = None
    bucket: str = BUCKET
    authority: str | None = None  # the CA file of the endpoint; None without TLS, or to use the CAs of the system


class Contestant(ABC):
    """One library, used well. `root` is a directory, or a prefix in the bucket."""

    name: ClassVar[str]
    has_all_rows: ClassVar[bool] = True  # False: it is only in the rows that name it
    stall = 0.0  # seconds that the loop stalled in the last call that was watched

    def __init__(self, location: Location, root: str) -> None:
        self.location = location
        self.root = root

    def open(self) -> None:  # noqa: B027 - most contestants need no connection
        """Connect. This is not measured."""

    @abstractmethod
    def store(self, session: str, steps: Sequence[str], count: int) -> int:
        """Store steps, `count` in flight. Return how many were stored."""

    @abstractmethod
    def retrieve(self, session: str, steps: Sequence[str], count: int) -> int:
        """Retrieve and decode steps, `count` in flight. Return how many were retrieved."""

    @abstractmethod
    def fetch(self, session: str, step: str) -> StepData:
        """Return one step, to compare it with what was stored."""

    @abstractmethod
    def list_sessions(self) -> int:
        """List the ids of all sessions, sorted. Return how many there are."""

    @abstractmethod
    def list_steps(self, session: str) -> int:
        """List the ids of a session's steps, sorted. Return how many there are."""

    @abstractmethod
    def delete(self, session: str) -> int:
        """Delete a session with everything in it. Return 0."""

    @abstractmethod
    def iterate(self, session: str) -> int:
        """Retrieve a session's steps in order, with only READ_AHEAD in memory. Return how many were retrieved."""

    # Some rows have few contestants. Only these need the following methods.

    def attach(self, session: str, files: Sequence[str]) -> int:
        """Store attachments of a session, one after the other. Return how many were stored."""
        raise NotImplementedError

    def retrieve_attached(self, session: str, files: Sequence[str]) -> int:
        """Retrieve attachments of a session, one after the other. Return how many bytes they have."""
        raise NotImplementedError

    def export_parquet(self) -> int:
        """Export all steps to Parquet, into a local directory. Return how many were exported."""
        raise NotImplementedError

    def copy(self, source: str) -> int:
        """Copy a directory of sessions, which is in the working directory, to the root. Return 0."""
        raise NotImplementedError

    # Only the limit needs the following methods.

    def count(self, session: str) -> int:
        """Return how many steps a session has; 0 if it does not exist."""
        raise NotImplementedError

    def fill(self, sessions: int, steps: int) -> int:
        """Store only metadata: `sessions` sessions of `steps` steps each. Return 0."""
        raise NotImplementedError

    def fill_with_pages(self, steps: int) -> int:
        """Store steps whose pages and screenshots differ, as the compression of an export needs them. Return 0."""
        raise NotImplementedError

    def make_source(self, source: str, steps: int) -> int:
        """Write a directory with one session for `copy`, unless it is there already. Return 0."""
        raise NotImplementedError


class Synchronous(Contestant):
    """A library that blocks. It handles one step after the other, and ignores the number in flight."""

    @abstractmethod
    def put(self, session: str, step: str, data: StepData) -> None:
        """Store one step."""

    @abstractmethod
    def names(self, *session: str) -> list[str]:
        """Return the sorted names of the directories in the root or in a session."""

    def store(self, session: str, steps: Sequence[str], count: int) -> int:
        for step in steps:
            self.put(session, step, STEP)
        return len(steps)

    def retrieve(self, session: str, steps: Sequence[str], count: int) -> int:
        return len([None for step in steps if self.fetch(session, step)])

    def list_sessions(self) -> int:
        return len(self.names())

    def list_steps(self, session: str) -> int:
        return len(self.names(session))

    def iterate(self, session: str) -> int:
        return self.retrieve(session, self.names(session), 1)


class Asynchronous(Contestant):
    """A library for asyncio, or a library that blocks and is used from asyncio through threads."""

    loop: ClassVar[asyncio.AbstractEventLoop | None] = None
    watching = False

    @abstractmethod
    async def put(self, session: str, step: str, data: StepData) -> None:
        """Store one step."""

    @abstractmethod
    async def get(self, session: str, step: str) -> StepData:
        """Retrieve one step."""

    @abstractmethod
    async def names(self, *session: str) -> list[str]:
        """Return the sorted names of the directories in the root or in a session."""

    @abstractmethod
    async def remove(self, session: str) -> None:
        """Delete a session."""

    async def connect(self) -> None:
        """Connect, if this needs the running loop."""

    def run(self, work: Coroutine[Any, Any, Out]) -> Out:
        """Run the coroutine to its end, on the one loop of this process."""
        loop = Asynchronous.loop = Asynchronous.loop or asyncio.new_event_loop()
        if not self.watching:
            return loop.run_until_complete(work)
        result, self.stall = loop.run_until_complete(_stall_above_idle(work))
        return result

    def open(self) -> None:
        self.run(self.connect())

    def store(self, session: str, steps: Sequence[str], count: int) -> int:
        self.run(in_flight(lambda step: self.put(session, step, STEP), steps, count))
        return len(steps)

    def retrieve(self, session: str, steps: Sequence[str], count: int) -> int:
        self.run(in_flight(lambda step: self.get(session, step), steps, count))
        return len(steps)

    def fetch(self, session: str, step: str) -> StepData:
        return self.run(self.get(session, step))

    def list_sessions(self) -> int:
        return len(self.run(self.names()))

    def list_steps(self, session: str) -> int:
        return len(self.run(self.names(session)))

    def delete(self, session: str) -> int:
        self.run(self.remove(session))
        return 0

    def iterate(self, session: str) -> int:
        return self.run(self._iterate(session))

    async def _iterate(self, session: str) -> int:
        async with aclosing(self.steps(session)) as steps:
            return len([None async for _ in steps])

    async def steps(self, session: str) -> AsyncGenerator[object, None]:
        """Yield a session's steps in order."""
        async for step in read_ahead(lambda step: self.get(session, step), await self.names(session), READ_AHEAD):
            yield step


async def watch_loop(work: Coroutine[Any, Any, Out]) -> tuple[Out, float]:
    """Return the result of the work, and the longest time, in seconds, that the event loop was blocked meanwhile."""
    task, longest, before = asyncio.ensure_future(work), 0.0, time.perf_counter()
    while not task.done():
        await asyncio.sleep(0)
        now = time.perf_counter()
        longest, before = max(longest, now - before), now
    return await task, longest


async def _stall_above_idle(work: Coroutine[Any, Any, Out]) -> tuple[Out, float]:
    start = time.perf_counter()
    result, longest = await watch_loop(work)
    _, idle = await watch_loop(asyncio.sleep(min(IDLE, time.perf_counter() - start)))
    return result, max(0.0, longest - idle)
