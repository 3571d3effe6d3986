"""What every contestant does, so that all do the same work; each is the good user of one library.

A contestant lives in a process of its own and has one root. Its methods block; those of an asynchronous library
run on one event loop, which `watched` watches.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, ClassVar, NamedTuple, TypeVar

from benchmarks.steps import STEP, StepData, in_flight, read_ahead

__all__ = ["READ_AHEAD", "Asynchronous", "Contestant", "Place", "Synchronous", "watched"]

READ_AHEAD = 16  # steps, in iterations
BUCKET = "benchmark"
IDLE = 0.5  # seconds at most for which an idle loop is watched, for comparison

Out = TypeVar("Out")


class Place(NamedTuple):
    """Where the work is done: a directory, or an S3 endpoint, with the credentials that the environment has."""

    directory: str
    endpoint: str | None = None
    bucket: str = BUCKET
    authority: str | None = None  # the file that certifies the endpoint; None where the system's do, or without TLS


class Contestant(ABC):
    """One library, used well; `root` is a directory, or a prefix in the bucket."""

    name: ClassVar[str]
    stall = 0.0  # seconds, of the last call that was watched

    def __init__(self, place: Place, root: str) -> None:
        self.place = place
        self.root = root

    def open(self) -> None:  # noqa: B027 - most need none
        """Connect; not measured."""

    @abstractmethod
    def store(self, session: str, steps: Sequence[str], count: int) -> int:
        """Store steps, so many in flight; how many."""

    @abstractmethod
    def retrieve(self, session: str, steps: Sequence[str], count: int) -> int:
        """Retrieve and decode steps, so many in flight; how many."""

    @abstractmethod
    def fetch(self, session: str, step: str) -> StepData:
        """One step, for comparison."""

    @abstractmethod
    def list_sessions(self) -> int:
        """The ids of all sessions, sorted, as a list; how many."""

    @abstractmethod
    def list_steps(self, session: str) -> int:
        """The ids of a session's steps, sorted, as a list; how many."""

    @abstractmethod
    def delete(self, session: str) -> int:
        """Delete a session with all that is in it; 0."""

    @abstractmethod
    def iterate(self, session: str) -> int:
        """Retrieve a session's steps in order, holding only so many in memory; how many."""

    def count(self, session: str) -> int:
        """How many steps a session has that may not be there; only the limits are asked to."""
        raise NotImplementedError

    def fill(self, sessions: int, steps: int) -> int:
        """Store the metadata alone of so many sessions of so many steps; only the limits are asked to."""
        raise NotImplementedError


class Synchronous(Contestant):
    """A library that blocks: one step after the other, whatever the number in flight."""

    @abstractmethod
    def put(self, session: str, step: str, data: StepData) -> None:
        """Store one step."""

    @abstractmethod
    def names(self, *session: str) -> list[str]:
        """The sorted names of the directories in the root or in a session."""

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
    """A library for asyncio, or one that blocks and is used from asyncio through threads."""

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
        """The sorted names of the directories in the root or in a session."""

    @abstractmethod
    async def remove(self, session: str) -> None:
        """Delete a session."""

    async def connect(self) -> None:
        """What needs the running loop."""

    def run(self, work: Coroutine[Any, Any, Out]) -> Out:
        """To its end, on the one loop of this process."""
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
        """A session's steps in order."""
        async for step in read_ahead(lambda step: self.get(session, step), await self.names(session), READ_AHEAD):
            yield step


async def watched(work: Coroutine[Any, Any, Out]) -> tuple[Out, float]:
    """What the work gives, and the longest time, in seconds, for which the loop did not come round meanwhile."""
    task, longest, before = asyncio.ensure_future(work), 0.0, time.perf_counter()
    while not task.done():
        await asyncio.sleep(0)
        now = time.perf_counter()
        longest, before = max(longest, now - before), now
    return await task, longest


async def _stall_above_idle(work: Coroutine[Any, Any, Out]) -> tuple[Out, float]:
    start = time.perf_counter()
    result, longest = await watched(work)
    _, idle = await watched(asyncio.sleep(min(IDLE, time.perf_counter() - start)))
    return result, max(0.0, longest - idle)
