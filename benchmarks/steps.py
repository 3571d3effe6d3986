"""The step that every contestant stores, and helpers that keep several steps in flight."""

import asyncio
import json
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

__all__ = [
    "ATTACHMENT",
    "CONTENT_TYPES",
    "FILENAMES",
    "METADATA",
    "STEP",
    "STEP_BYTES",
    "StepData",
    "decode",
    "encode",
    "folders",
    "in_flight",
    "names",
    "read_ahead",
]

In = TypeVar("In")
Out = TypeVar("Out")


class StepData(NamedTuple):
    """A step as a user of the library sees it."""

    html: str
    screenshot: bytes
    action: dict[str, Any]
    metadata: dict[str, Any]


FILENAMES = ("observation.html", "screenshot.png", "action.json", "metadata.json")
CONTENT_TYPES = ("text/html; charset=utf-8", "image/png", "application/json", "application/json")
SMALL = {"text": "x" * 280}  # 300 bytes as JSON
# 120 kB of HTML, and 250 kB of random bytes, which do not compress, with the signature of a PNG. The seed makes them
# equal in every process.
_PNG = b"\x89PNG\r\n\x1a\n" + random.Random(0).randbytes(249_992)
STEP = StepData("<p>text</p>\n" * 10_000, _PNG, SMALL, SMALL)


def encode(step: StepData) -> tuple[bytes, bytes, bytes, bytes]:
    """Return the four files of a step, in the layout of the library."""
    action, metadata = (json.dumps(value).encode() + b"\n" for value in step[2:])
    return step.html.encode(), step.screenshot, action, metadata


def decode(files: Sequence[bytes]) -> StepData:
    """Return the step from its four files."""
    html, screenshot, action, metadata = files
    return StepData(html.decode(), screenshot, json.loads(action), json.loads(metadata))


METADATA = encode(STEP)[3]
ATTACHMENT = random.Random(1).randbytes(10**6)
STEP_BYTES = sum(map(len, encode(STEP)))


def names(prefix: str, count: int) -> list[str]:
    """Return `count` ids in order."""
    return [f"{prefix}{number:06}" for number in range(count)]


def folders(sessions: int, steps: int) -> Iterator[str]:
    """Yield `session/step` for each step of each session."""
    return (f"{session}/{step}" for session in names("s", sessions) for step in names("t", steps))


async def in_flight(work: Callable[[In], Awaitable[object]], items: Iterable[In], count: int) -> None:
    """Do the work for every item, `count` at a time."""
    waiting = iter(items)

    async def worker() -> None:
        for item in waiting:
            await work(item)

    await asyncio.gather(*(worker() for _ in range(count)))


async def read_ahead(read: Callable[[In], Awaitable[Out]], items: Iterable[In], count: int) -> AsyncIterator[Out]:
    """Yield the results in order, and read `count` of them ahead."""
    tasks: deque[asyncio.Future[Out]] = deque()
    for item in items:
        tasks.append(asyncio.ensure_future(read(item)))
        if len(tasks) == count:
            yield await tasks.popleft()
    while tasks:
        yield await tasks.popleft()
