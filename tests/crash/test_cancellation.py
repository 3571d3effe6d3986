"""After a cancellation nothing goes on: no byte changes, nothing is torn or left over, and all can be used.

Each operation is cancelled at random moments from its beginning to a bit after its end, 210 in all.
"""

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest

from storage_manager import Step, StorageManager
from storage_manager.backends.base import STAGING_PREFIX
from storage_manager.backends.s3 import S3Backend
from tests.support import whole
from tests.support.roots import ENGINES, MOTO_KEYS, managers_at

pytestmark = pytest.mark.thorough

POINTS = 8  # for each operation on each backend
CHANGING = {"PUT", "POST", "DELETE"}

Make = Callable[..., StorageManager]


def step(name: str, number: int, size: int = 20_000) -> Step:
    return whole.step("s", name, number, [size, 300, 200, 100])


async def read_all(sm: StorageManager) -> None:
    assert [step async for step in sm.iter_steps(strict=True)]


async def list_all(sm: StorageManager) -> None:
    for session in await sm.list_sessions():
        await sm.list_steps_for_session(session)


OPERATIONS: dict[str, Callable[[StorageManager, int], Awaitable[object]]] = {
    "store new": lambda sm, n: sm.store_step_data("s", f"new{n}", *step(f"new{n}", n).data),
    "store over": lambda sm, n: sm.store_step_data("s", "t0", *step("t0", n).data),
    "delete": lambda sm, n: sm.delete_session("s"),
    "retrieve": lambda sm, n: sm.retrieve_step_data("s", "t0", strict=True),
    "list": lambda sm, n: list_all(sm),
    "store_steps": lambda sm, n: sm.store_steps((step(f"t{k}", n) for k in range(3)), concurrency=2),
    "iter_steps": lambda sm, n: read_all(sm),
}


class Server:
    """moto, knowing how many requests that change something have reached it, and how many it is working on."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.begun = 0
        self.ended = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ["REQUEST_METHOD"] not in CHANGING:
            return self.app(environ, start_response)
        self.begun += 1
        try:
            return self.app(environ, start_response)
        finally:
            self.ended += 1


class Place:
    """A manager, and what its disk or its bucket holds."""

    def __init__(self, sm: StorageManager, server: Server | None) -> None:
        self.sm = sm
        self.server = server

    def requests(self) -> tuple[int, int]:
        return (self.server.begun, self.server.ended) if self.server else (0, 0)

    def snapshot(self) -> dict[str, object]:
        """All that is stored, and when, but for the session `other`."""
        root = self.sm.url_for()
        if self.server:
            found = self.sm.fs.find(root, detail=True).items()
            state = {name: (info["ETag"], info["size"], info["LastModified"]) for name, info in found}
        else:
            paths = [path for path in Path(root).rglob("*") if path.is_file()]
            state = {str(path): (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino) for path in paths}
        return {name: value for name, value in state.items() if "/other/" not in name}

    def leftovers(self) -> list[object]:
        root = self.sm.url_for()
        if self.server:
            answer = self.sm.fs.call_s3("list_multipart_uploads", Bucket=root.removeprefix("s3://"))
            return list(answer.get("Uploads", []))
        return [path for path in Path(root).iterdir() if path.name.startswith(STAGING_PREFIX)]

    async def prepare(self) -> None:
        """The session `s` with two steps and no others, whatever the last point left of it."""
        names = await self.sm.list_steps_for_session("s")
        for name in set(names) - {"t0", "t1"}:
            await self.sm.delete_step("s", name)
        await self.sm.store_steps(step(name, 1) for name in {"t0", "t1"} - set(names))

    async def check_after(self) -> None:
        """Nothing is under way, and what is next done with the manager works, and changes nothing else."""
        begun, ended = self.requests()
        before = self.snapshot()
        assert begun == ended
        assert self.leftovers() == []
        assert asyncio.all_tasks() == {asyncio.current_task()}
        other = whole.step("other", "t", 1, [100] * 4)
        await self.sm.store_step_data(*other[:2], *other.data)
        assert await self.sm.retrieve_step_data("other", "t", strict=True) == other.data
        assert self.snapshot() == before
        assert self.leftovers() == []
        assert self.requests() in {(begun, ended), (begun + 4, ended + 4)}
        steps = [step async for step in self.sm.iter_steps(strict=True)]
        assert all(len(whole.versions(step)) == 4 for step in steps)


@pytest.fixture(params=["local", *ENGINES])
def place(request: pytest.FixtureRequest, base: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    if request.param == "local":
        yield Place(StorageManager(local_base_path=base), None)
        return
    url, recorder = request.getfixturevalue("moto_server")
    make = managers_at(url, monkeypatch, **MOTO_KEYS)
    server = Server(recorder.app)
    recorder.app = server
    try:
        yield Place(make(s3_engine=request.param), server)
    finally:
        recorder.app = server.app


async def cancelled(work: Awaitable[object], delay: float) -> float | None:
    """Begin work and cancel it after a delay; how long it took where it had ended by then, else None.

    The loop turns meanwhile: a timer is too coarse for a disk.
    """
    task = asyncio.ensure_future(work)
    begun = time.perf_counter()
    await asyncio.sleep(0)
    while time.perf_counter() - begun < delay and not task.done():  # noqa: ASYNC110
        await asyncio.sleep(0)
    ended = time.perf_counter()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return None if task.cancelled() else ended - begun


async def cancel_at_random(place: Place, operation: Callable[[int], Awaitable[object]], points: int) -> None:
    """Cancel an operation at random points of the shortest time that it was seen to take, and a fifth more.

    Up to five times as often, until one has met the operation: on a busy machine it may have ended before.
    """
    await place.prepare()
    await operation(1)  # which may have to connect
    shortest, met = math.inf, 0
    for number in range(2, 3 + 5 * points):
        if met and number > 2 + points:
            break
        await place.prepare()
        delay = random.uniform(0, 1.2 * shortest) if shortest < math.inf else math.inf
        took = await cancelled(operation(number), delay)
        met += took is None
        shortest = min(shortest, took or math.inf)
        await place.check_after()
    print(f"{met} of {points} cancellations met the operation")
    assert met


@pytest.mark.parametrize("name", OPERATIONS)
async def test_cancellation(place: Place, name: str) -> None:
    """After CancelledError no byte changes, each component is whole, and the manager goes on."""
    await cancel_at_random(place, lambda number: OPERATIONS[name](place.sm, number), POINTS)


@pytest.mark.parametrize("place", ENGINES, indirect=True)
@pytest.mark.parametrize("name", ["t0", "new"])
async def test_cancellation_of_a_big_component(place: Place, name: str) -> None:
    """The same while 8 MB are on their way."""
    big = [step(name, number, 8_000_000).data for number in range(7)]
    await cancel_at_random(place, lambda number: place.sm.store_step_data("s", name, *big[number % len(big)]), 3)


@pytest.mark.parametrize("place", ["s3fs"], indirect=True)
async def test_cancellation_of_a_multipart_upload(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """No multipart upload is left, which nobody sees in a listing, and somebody pays."""
    pipe_file = partialmethod(S3Backend._pipe_file, chunksize=5 * 2**20)
    monkeypatch.setattr(S3Backend, "_pipe_file", pipe_file)
    big = [step("t0", number, 12_000_000).data for number in range(8)]
    await cancel_at_random(place, lambda number: place.sm.store_step_data("s", "t0", *big[number % len(big)]), 4)
