"""Measures local storage beside plain synchronous Python, interleaved, and the stalls of the event loop.

    MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=268435456 taskset -c 0 python -m benchmarks /dev/shm

A step is 120 kB of HTML, 250 kB of screenshot and two JSON of 300 B. CPU is that of the whole process (getrusage),
medians of nine rounds. Reads of 250 kB vary tenfold with the state of the allocator, which the two variables pin.
"""

import asyncio
import json
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable

from storage_manager import StepData, StorageManager

ROUNDS, STEPS = 9, 192
SMALL = {"text": "x" * 280}
HTML, SCREENSHOT = "<p>text</p>\n" * 10_000, os.urandom(250_000)
STEP = StepData(HTML, SCREENSHOT, SMALL, SMALL)


def cpu() -> float:
    """Seconds of CPU that the process has used."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def plain_store(base: str) -> None:
    """Every step with open and write, nothing else."""
    for number in range(STEPS):
        folder = f"{base}/s/t{number}"
        os.makedirs(folder)
        contents = (HTML.encode(), SCREENSHOT, json.dumps(SMALL).encode(), json.dumps(SMALL).encode())
        for name, data in zip(
            ("observation.html", "screenshot.png", "action.json", "metadata.json"), contents, strict=True
        ):
            with open(f"{folder}/{name}", "wb") as file:
                file.write(data)


def plain_retrieve(base: str) -> None:
    """Every step with open and read, nothing else."""
    for number in range(STEPS):
        folder = f"{base}/s/t{number}"
        with open(f"{folder}/observation.html", "rb") as html, open(f"{folder}/screenshot.png", "rb") as screenshot:
            html.read().decode(), screenshot.read()
        for name in ("action.json", "metadata.json"):
            with open(f"{folder}/{name}", "rb") as file:
                json.loads(file.read())


async def in_flight(work: Callable[[int], Awaitable[object]], count: int) -> None:
    """Every step, so many at a time."""
    numbers = iter(range(STEPS))

    async def worker() -> None:
        for number in numbers:
            await work(number)

    await asyncio.gather(*(worker() for _ in range(count)))


async def watched(work: Awaitable[object]) -> float:
    """The longest time, in seconds, for which the loop did not come round while something ran."""
    task, longest, before = asyncio.ensure_future(work), 0.0, time.perf_counter()
    while not task.done():
        await asyncio.sleep(0)
        now = time.perf_counter()
        longest, before = max(longest, now - before), now
    await task
    return longest


def ours(base: str, count: int) -> dict[str, float]:
    """CPU for storing and retrieving, and the longest stall of the loop while storing."""
    storage = StorageManager(local_base_path=base, prefer_s3=False)

    async def run() -> dict[str, float]:
        start = cpu()
        await in_flight(lambda number: storage.store_step_data("s", f"t{number}", *STEP), count)
        stored = cpu()
        await in_flight(lambda number: storage.retrieve_step_data("s", f"t{number}"), count)
        retrieved = cpu()
        again = (storage.store_step_data("again", f"t{number}", *STEP) for number in range(count))
        return {"store": stored - start, "retrieve": retrieved - stored, "stall": await watched(asyncio.gather(*again))}

    return asyncio.run(run())


def plain(base: str) -> dict[str, float]:
    """CPU for the same without the library."""
    start = cpu()
    plain_store(base)
    stored = cpu()
    plain_retrieve(base)
    return {"store": stored - start, "retrieve": cpu() - stored}


def main(folder: str) -> None:
    """Print one row for each number in flight."""
    print(f"Python {sys.version.split()[0]}, {STEPS} steps, medians of {ROUNDS} rounds, CPU against plain Python")
    for count in (1, 8, 64):
        rounds: list[tuple[dict[str, float], dict[str, float]]] = []
        for _ in range(ROUNDS):
            bases = [tempfile.mkdtemp(dir=folder) for _ in range(2)]
            rounds.append((plain(bases[0]), ours(bases[1], count)))
            for base in bases:
                shutil.rmtree(base)
        ratio = {key: statistics.median(us[key] / limit[key] for limit, us in rounds) for key in ("store", "retrieve")}
        stall = statistics.median(us["stall"] for _, us in rounds)
        print(f"{count:3} in flight: store {ratio['store']:.2f}x, retrieve {ratio['retrieve']:.2f}x, ", end="")
        print(f"longest stall {stall * 1000:.1f} ms")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else tempfile.gettempdir())
