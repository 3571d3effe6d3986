"""Forks writers and kills them, one for each line of standard input; tests/crash/test_kill.py starts it.

It stays single-threaded, and has imported all that a writer needs, so that a fork is clean and quick.
A line is JSON. `{"version": 7, "after": 3, "then": 0.0001}` kills a writer when three of its stores have returned or,
if `then` is not null, so many seconds after a staged name is next seen.
`{"version": 7, "session": "s", "delete": false, "at": 3}` lets the writer kill itself just before its third call to the
system on the base. The answer is one line: `killed`, or `ended` if there was no such call.
"""

import asyncio
import itertools
import json
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import storage_manager.backends.local  # noqa: F401
from storage_manager import StorageManager
from storage_manager.backends.base import STAGING_PREFIX
from storage_manager.integrity import sweep
from tests.support import whole

BASE, ACKNOWLEDGED, FSYNC = sys.argv[1], sys.argv[2], sys.argv[3] == "fsync"
LANES = 4  # stores in flight
STORES = 6  # of each of them, so that a check after the kill is short, however late it comes
OLD_STEPS = 2  # that each of them overwrites
CALLS = {"open", "os.mkdir", "os.rename", "os.rmdir", "os.remove"}  # audit events; os.replace is os.rename


def size() -> int:
    """Return a random size from 100 B to 300 kB, small ones as often as large ones."""
    return int(100 * 3000 ** random.random())


async def store_until_killed(number: int, begun: int) -> None:
    """Let each lane overwrite an old step, add one to an old session, and one to a new session, again and again."""
    sm = StorageManager(local_base_path=BASE, fsync=FSYNC)
    parent = os.getppid()
    acknowledged = os.open(ACKNOWLEDGED, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def run(lane: int) -> None:
        for count in range(STORES):
            name = f"{number}-{lane}-{count}"
            old = ("old", f"old-{lane}-{count % OLD_STEPS}")
            ids = (old, ("old", f"new-{name}"), (f"new-{name}", "t"))[count % 3]
            version = number * 1000 + count
            await sm.store_step_data(*ids, *whole.step(*ids, version, [size() for _ in range(4)]).data)
            os.write(acknowledged, f"{'/'.join(ids)} {version}\n".encode())

    os.write(begun, b".")
    await asyncio.gather(*map(run, range(LANES)))
    while os.getppid() == parent:  # noqa: ASYNC110
        await asyncio.sleep(0.1)


def kill_before(at: int) -> None:
    """Have this process kill itself before its next call number `at` on the base."""
    calls = itertools.count(1)

    def count(event: str, args: tuple[Any, ...]) -> None:
        below = event in CALLS and isinstance(args[0], str) and args[0].startswith(BASE)
        if below and next(calls) == at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


async def one_call(version: int, session: str, delete: Sequence[str], at: int) -> None:
    sm = StorageManager(local_base_path=BASE, fsync=FSYNC)
    assert await sweep(sm) == 0  # so that the calls of the store itself are counted
    sm.async_fs._swept = True
    kill_before(at)
    if delete:
        await getattr(sm, delete[0])(session, *delete[1:])
    else:
        await sm.store_step_data(session, "t", *whole.step(session, "t", version, [100] * 4).data)


def wait_until(reached: Callable[[], bool]) -> None:
    end = time.perf_counter() + 1
    while not reached() and time.perf_counter() < end:
        os.sched_yield()


def staged() -> set[str]:
    names = os.listdir(BASE) if os.path.isdir(BASE) else []
    return {name for name in names if name.startswith(STAGING_PREFIX)}


def await_moment(after: int, then: float | None, known: set[str]) -> None:
    with open(ACKNOWLEDGED, "rb") as file:
        wait_until(lambda: file.seek(0) or file.read().count(b"\n") >= after)
    if then is not None:
        wait_until(lambda: bool(staged() - known))
        end = time.perf_counter() + then
        wait_until(lambda: time.perf_counter() > end)


def fork(order: dict[str, Any]) -> str:
    reading, begun = os.pipe()
    known = staged()
    if os.path.exists(ACKNOWLEDGED):
        os.unlink(ACKNOWLEDGED)
    pid = os.fork()
    if not pid:
        try:
            work = store_until_killed(order["version"], begun) if "after" in order else one_call(**order)
            asyncio.run(work)
            os._exit(0)
        finally:
            traceback.print_exc()
            os._exit(1)
    os.close(begun)
    if "after" in order:
        os.read(reading, 1)
        await_moment(order["after"], order["then"], known)
        os.kill(pid, signal.SIGKILL)
    os.close(reading)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return {0: "ended", -signal.SIGKILL: "killed"}.get(status, f"failed: {status}")


for line in sys.stdin:
    assert threading.active_count() == 1
    print(fork(json.loads(line)), flush=True)
