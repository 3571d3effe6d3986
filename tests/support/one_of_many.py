"""One of several processes that store, read, list and delete at one root; tests/crash/test_processes.py starts them.

The environment names the root. The process prints `ready`, waits for a line, does `count` things, and prints as JSON
how often it did each thing, each error, and the last version of each step that only it writes.
"""

import asyncio
import json
import logging
import random
import sys
from collections import Counter
from collections.abc import Awaitable, Callable

from storage_manager import StorageManager, StorageManagerError
from tests.support import whole

NUMBER, COUNT = int(sys.argv[1]), int(sys.argv[2])
SESSIONS, STEPS = ["s0", "s1"], ["t0", "t1"]  # that all processes share
LANES = 2  # things at a time

logging.getLogger("storage_manager").setLevel(logging.ERROR)  # other processes delete files that this one reads
rng = random.Random(NUMBER)
own: dict[str, int] = {}
torn: list[str] = []
clock = iter(range(NUMBER * 1_000_000, (NUMBER + 1) * 1_000_000))
done: Counter[str] = Counter()


def values(session: str, step: str, version: int) -> whole.StepData:
    return whole.step(session, step, version, [int(100 * 2000 ** rng.random()) for _ in range(4)]).data


def look(step: whole.Step) -> None:
    try:
        done["components read"] += len(whole.versions(step))
    except AssertionError as error:
        torn.append(str(error))


async def store(sm: StorageManager) -> None:
    session, step = rng.choice(SESSIONS), rng.choice(STEPS)
    await sm.store_step_data(session, step, *values(session, step, next(clock)))


async def store_own(sm: StorageManager) -> None:
    session, step, version = f"own{NUMBER}", f"t{len(own) % 5}-{next(clock)}", next(clock)
    own[step] = version
    await sm.store_step_data(session, step, *values(session, step, version))


async def retrieve(sm: StorageManager) -> None:
    ids = rng.choice(SESSIONS), rng.choice(STEPS)
    look(whole.Step(*ids, await sm.retrieve_step_data(*ids, strict=True)))


async def iterate(sm: StorageManager) -> None:
    async for step in sm.iter_steps(rng.choice([SESSIONS, None]), strict=True):
        look(step)


async def list_all(sm: StorageManager) -> None:
    for session in await sm.list_sessions():
        await sm.list_steps_for_session(session)


async def delete_step(sm: StorageManager) -> None:
    await sm.delete_step(rng.choice(SESSIONS), rng.choice(STEPS))


async def delete_session(sm: StorageManager) -> None:
    await sm.delete_session(rng.choice(SESSIONS))


THINGS: dict[Callable[[StorageManager], Awaitable[None]], int] = {
    store: 10, store_own: 1, retrieve: 8, iterate: 2, list_all: 2, delete_step: 4, delete_session: 2,
}  # fmt: skip


async def main() -> list[str]:
    sm = StorageManager()
    await sm.check()
    print("ready", flush=True)
    sys.stdin.readline()
    errors: list[str] = []

    async def lane() -> None:
        for thing in rng.choices(list(THINGS), list(THINGS.values()), k=COUNT // LANES):
            try:
                await thing(sm)
                done[thing.__name__] += 1
            except StorageManagerError as error:
                errors.append(f"{thing.__name__}: {error!r} from {error.__cause__!r}")

    await asyncio.gather(*(lane() for _ in range(LANES)))
    return errors


errors = asyncio.run(main())
print(json.dumps({"done": done, "errors": errors, "torn": torn, "own": own}))
