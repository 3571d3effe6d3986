"""Measure the speed and the memory of exports: `python -m benchmarks.export`. It takes about a minute."""

import asyncio
import multiprocessing
import os
import random
import statistics
import tarfile
import tempfile
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from storage_manager import Step, StepData, StorageManager
from storage_manager.export import export_parquet, export_webdataset, read_dask
from storage_manager.layout import ALL_COMPONENTS, COMPONENTS

MEMORY = "/dev/shm"


class Work(NamedTuple):
    """An amount of steps, with the bytes of the HTML and of the screenshot of each."""

    name: str
    steps: int
    html: int
    screenshot: int


class Cost(NamedTuple):
    """The cost of a process that only exports: wall time and CPU in seconds, and peak resident memory in MB."""

    seconds: float
    cpu: float
    peak: int


WORK = (Work("10,000 steps of 2 kB", 10_000, 1_200, 500), Work("2,000 steps of 370 kB", 2_000, 120_000, 250_000))


def _peak() -> int:
    """Return the peak memory of this process in MB.

    `ru_maxrss` is not used, because it has the memory of the parent process if the parent used more.
    """
    with open("/proc/self/status", encoding="ascii") as status:  # proc(5)
        [kilobytes] = [line.split()[1] for line in status if line.startswith("VmHWM:")]
    return int(kilobytes) * 1024 // 10**6


def steps(work: Work) -> Iterator[Step]:
    """Yield steps with pages of words, which compress well, and screenshots of noise, which do not."""
    source = random.Random(1)
    words = [f"<li>{source.randrange(10**6)}</li>" for _ in range(1000)]
    for number in range(work.steps):
        html = "".join(source.choices(words, k=work.html // 15)).ljust(work.html)
        metadata = {"url": f"https://example.com/{number}", "viewport": [1024, 640], "title": "Harbour books"}
        data = StepData(html, source.randbytes(work.screenshot), {"type": "click", "selector": "#buy"}, metadata)
        yield Step(f"run-{number // 250:03}", f"step_{number % 250:06}", data)


async def read(storage: StorageManager, url: str) -> None:
    """Only read all steps by iter_steps. Every export takes at least this long."""
    async for _ in storage.iter_steps():
        pass


async def to_parquet(storage: StorageManager, url: str) -> None:
    """Export to Parquet with default settings."""
    await export_parquet(storage, url)


async def to_webdataset(storage: StorageManager, url: str) -> None:
    """Export to WebDataset with default settings."""
    await export_webdataset(storage, url)


def _step_directories(root: str) -> list[Path]:
    return [Path(step.path) for session in sorted(os.scandir(root), key=lambda entry: entry.name)
            for step in sorted(os.scandir(session.path), key=lambda entry: entry.name)]  # fmt: skip


async def plain_pyarrow(storage: StorageManager, url: str) -> None:
    """Write the same steps with pyarrow alone."""
    export_by_pyarrow(storage.url_for(), url)


def export_by_pyarrow(root: str, url: str) -> int:
    """Read steps with `open`, write them by pyarrow in row groups of 64 MiB, in one thread, and return their number."""
    import pyarrow as pa  # noqa: PLC0415 (its memory must not count for the others)
    import pyarrow.parquet as pq  # noqa: PLC0415

    types = {row.name: pa.binary() if row.name == "screenshot" else pa.string() for row in COMPONENTS}
    columns = pa.schema([("session_id", pa.string()), ("step_id", pa.string()), *types.items()])
    os.makedirs(url, exist_ok=True)
    steps = _step_directories(root)
    with pq.ParquetWriter(f"{url}/steps.parquet", columns, compression="zstd", use_dictionary=["session_id"]) as writer:
        rows: list[dict[str, Any]] = []
        size = 0
        for step in steps:
            data: dict[str, Any] = {row.name: (step / row.filename).read_bytes() for row in COMPONENTS}
            rows.append({"session_id": step.parent.name, "step_id": step.name, **data})
            size += sum(map(len, data.values()))
            if size >= 64 * 2**20:
                writer.write_table(pa.Table.from_pylist(rows, columns))
                rows, size = [], 0
        writer.write_table(pa.Table.from_pylist(rows, columns))
    return len(steps)


async def plain_tarfile(storage: StorageManager, url: str) -> None:
    """Read the same files with `open`, and write them with tarfile alone, in shards of 256 MiB."""
    os.makedirs(url)
    tar, number = None, 0
    for step in _step_directories(storage.url_for()):
        if tar is None or tar.offset >= 256 * 2**20:
            if tar:
                tar.close()
            tar, number = tarfile.open(f"{url}/shard-{number:06}.tar", "w"), number + 1  # noqa: SIM115
        for row in COMPONENTS:
            with (step / row.filename).open("rb") as file:
                member = tarfile.TarInfo(f"{step.parent.name}/{step.name}.{row.filename}")
                member.size = os.fstat(file.fileno()).st_size
                tar.addfile(member, file)
    if tar:
        tar.close()


EXPORTS = {
    "iter_steps alone": read,
    "plain pyarrow": plain_pyarrow,
    "export_parquet": to_parquet,
    "plain tarfile": plain_tarfile,
    "export_webdataset": to_webdataset,
}


def measure(name: str, root: str, url: str) -> Cost:
    """Measure an export in this process. The time of earlier imports does not count."""
    start, cpu = time.perf_counter(), time.process_time()
    asyncio.run(EXPORTS[name](StorageManager(local_base_path=root), url))
    peak = _peak()
    return Cost(time.perf_counter() - start, time.process_time() - cpu, peak)


def by_workers(count: int, root: str, url: str) -> float:
    """Return the seconds that `count` Dask workers of one thread take for the same export, without their start."""
    from dask.distributed import Client  # noqa: PLC0415 (its memory must not count for the exports)

    with Client(n_workers=count, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0") as client:
        client.run(import_module, "storage_manager.export.dataframe")
        frame = read_dask(StorageManager(local_base_path=root), components=ALL_COMPONENTS)
        start = time.perf_counter()
        frame.to_parquet(url, compression="zstd", write_index=False)
        return time.perf_counter() - start


def print_scaling(work: Work, root: str) -> None:
    """Print how much faster two workers are than one. The times are medians of five rounds, in turns."""
    rounds = [[by_workers(count, root, f"{root} by {count}") for count in (1, 2)] for _ in range(5)]
    one, two = (statistics.median(times) for times in zip(*rounds, strict=True))
    rate = work.steps / one
    print(f"{work.name:22}  read_dask: {rate:,.0f} steps/s by one worker, {one / two:.2f} times as many by two")


def main() -> None:
    """Print a row for each export of each amount of work."""
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as scratch:
        for work in WORK:
            root = f"{scratch}/{work.name}"
            asyncio.run(StorageManager(local_base_path=root).store_steps(steps(work)))
            for name in EXPORTS:
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    cost = pool.apply(measure, (name, root, f"{scratch}/{work.name} {name}"))
                rate, cpu = work.steps / cost.seconds, cost.cpu / work.steps * 1e6
                print(f"{work.name:22}  {name:18}  {rate:8,.0f} steps/s  {cpu:6,.0f} us of CPU  {cost.peak:5} MB")
            print_scaling(work, root)


if __name__ == "__main__":
    main()
