"""The driver: each contestant has a worker process, and the workers work one at a time, in turns."""

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from multiprocessing import get_context
from typing import Any, NamedTuple

from benchmarks.contestants import Contestant, Location
from benchmarks.rows import Row
from benchmarks.steps import STEP
from benchmarks.worker import Failure, Reading, serve

__all__ = ["MALLOC", "BenchmarkError", "Crew", "Endpoint", "Result", "Worker", "endpoint"]

# The time of a read of 250 kB varies tenfold with the state of the allocator. These settings keep that state constant.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "268435456"}
DEADLINE = 600  # seconds for one call


class BenchmarkError(Exception):
    """A contestant failed, or its work differed from that of the others."""


class Worker:
    """A contestant in its own process, which ends when the connection is closed."""

    def __init__(self, classes: tuple[type[Contestant], ...], name: str, location: Location, cpu: int | None) -> None:
        context = get_context("spawn")  # the process inherits only the environment
        self.name = name
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, classes, name, location, cpu), daemon=True)
        self.process.start()
        theirs.close()

    def call(self, root: str, method: str, *arguments: Any, watched: str = "") -> Reading:
        """Call a method of the contestant, and return the measurement.

        Raises:
            BenchmarkError: the method raised, and the message has its traceback; or it did not end within ten minutes.
        """
        self.connection.send((watched, root, method, arguments))
        try:
            is_ready = self.connection.poll(DEADLINE)
            answer = self.connection.recv() if is_ready else Failure(f"the call did not end within {DEADLINE} s")
        except EOFError:
            answer = Failure("its process ended")
        if isinstance(answer, Failure):
            raise BenchmarkError(f"{self.name}: {method}: {answer.text}")
        assert isinstance(answer, Reading)
        return answer

    def close(self) -> None:
        """End the process."""
        self.connection.close()
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


class Endpoint:
    """An S3 endpoint. Our own counts requests and can delay its answers; another one can do neither."""

    def __init__(self, url: str | None, controlled: bool, tls: str | None = None, authority: str | None = None) -> None:
        self.url = url
        self.controlled = controlled
        self.tls = tls  # the URL of the same endpoint over TLS
        self.authority = authority  # the CA file of its certificate

    def control(self, path: str) -> Counter[str]:
        """Send a command to our own endpoint. Return the requests that it has answered so far, by kind."""
        if not self.controlled:
            return Counter()
        with urllib.request.urlopen(f"{self.url}/-/{path}", timeout=DEADLINE) as answer:
            return Counter(json.load(answer))


@contextmanager
def endpoint(url: str | None) -> Iterator[Endpoint]:
    """Yield the endpoint at a URL. None starts our own, in a process that ends with the context."""
    if url is not None:
        yield Endpoint(url, controlled=False)
        return
    command = [sys.executable, "-m", "benchmarks.endpoint"]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes, start_new_session=True) as process:  # Ctrl+C must not reach it
        assert process.stdout is not None
        url, tls, authority = (process.stdout.readline().strip() for _ in range(3))
        yield Endpoint(url, controlled=True, tls=tls, authority=authority)
        process.stdin.close()  # type: ignore[union-attr]


class Result(NamedTuple):
    """The measurements of one contestant for one row, round by round."""

    row: Row
    contestant: str
    readings: Sequence[Reading]
    watched: Sequence[Reading]  # from rounds that only measure memory and stalls, because that costs time
    requests: Mapping[str, int] | None  # of one round; None if nobody counted


class Crew:
    """The workers of all contestants on one storage. The first is the limit, which also makes and removes the data."""

    def __init__(
        self, classes: tuple[type[Contestant], ...], location: Location, server: Endpoint, leave_out: Sequence[str] = ()
    ) -> None:
        self.server, self.location, self.classes = server, location, classes
        self.base = location.directory if location.endpoint is None else "run-" + os.path.basename(location.directory)
        # Local contestants share one CPU, because a hop to a thread on another CPU can take longer than the work.
        cpu = max(os.sched_getaffinity(0)) if location.endpoint is None and hasattr(os, "sched_getaffinity") else None
        self.in_all_rows = [one.name for one in classes if one.has_all_rows]
        self.prepared: set[str] = set()
        with ExitStack() as opened:
            chosen = [one.name for one in classes if one.name not in leave_out]
            self.workers = {name: Worker(classes, name, location, cpu) for name in chosen}
            for worker in self.workers.values():
                opened.callback(worker.close)
            self.verify()
            self._opened = opened.pop_all()
        self.turn = 0

    @property
    def limit(self) -> Worker:
        """The contestant to which the others are compared, because nothing should be faster."""
        return next(iter(self.workers.values()))

    def verify(self) -> None:
        """Check that the limit can read what each contestant stores, and the reverse.

        Raises:
            BenchmarkError: a contestant fails this check, or does not start.
        """
        root = f"{self.base}/verified"
        self.limit.call(root, "store", "limit", ["t"], 1)
        for number, worker in enumerate(self.workers.values()):
            worker.call(root, "store", f"s{number}", ["t"], 1)
            for reader, session in ((self.limit, f"s{number}"), (worker, "limit")):
                if tuple(reader.call(root, "fetch", session, "t").value) != tuple(STEP):
                    raise BenchmarkError(f"{worker.name}: {reader.name} reads a step that differs from the stored one")

    def measure(self, row: Row, rounds: int) -> list[Result]:
        """Measure every contestant. They work one after the other, and each round begins with a different one."""
        names = [name for name in self.workers if name in (row.only or self.in_all_rows)]
        self.server.control(f"latency?ms={row.latency}")
        self._prepare_once(row)
        watched: dict[str, list[Reading]] = {name: [] for name in names}
        readings: dict[str, list[Reading]] = {name: [] for name in names}
        requests: dict[str, Mapping[str, int] | None] = {}
        for _ in range(row.watched):  # these rounds also open connections and fill caches
            for name in self._turns(names):
                # Memory and stalls need separate calls, because allocating the memory anew stalls the loop too.
                peak, stall = (self._round(row, name, what)[0] for what in ("peak", "stall"))
                watched[name].append(peak._replace(stall=stall.stall))
        for _ in range(rounds):
            for name in self._turns(names):
                reading, requests[name] = self._round(row, name, "")
                readings[name].append(reading)
        self.server.control("latency?ms=0")
        return [Result(row, name, readings[name], watched[name], requests[name]) for name in names]

    def _turns(self, names: list[str]) -> list[str]:
        self.turn += 1
        start = self.turn % len(names)
        return names[start:] + names[:start]

    def _prepare_once(self, row: Row) -> None:
        if row.shared and row.shared not in self.prepared:
            self._prepare(f"{self.base}/{row.shared}", *row.setup)
            self.prepared.add(row.shared)

    def _prepare(self, root: str, method: str, *arguments: Any) -> None:
        if method == "fill" and self.location.endpoint and self.server.controlled:
            sessions, steps = arguments  # a hundred thousand requests would take minutes
            query = f"bucket={self.location.bucket}&prefix={root}&sessions={sessions}&steps={steps}"
            self.server.control(f"fill?{query}")
        else:
            self.limit.call(root, method, *arguments)

    def _round(self, row: Row, name: str, watched: str) -> tuple[Reading, Mapping[str, int] | None]:
        root = f"{self.base}/{row.shared or name.replace(' ', '-')}"
        if row.setup and not row.shared:
            self._prepare(root, *row.setup)
        before = self.server.control("requests")
        reading = self.workers[name].call(root, row.method, *row.arguments, watched=watched)
        requests = self.server.control("requests") - before
        if reading.value != row.returns:
            raise BenchmarkError(f"{name}: {row.title}: the result is {reading.value} instead of {row.returns}")
        if row.method == "delete":
            self._prove_steps(root, name, row.arguments[0], 0)
        if row.method == "copy":
            self._prove_steps(root, name, row.delete_after, row.setup[-1])
        if row.delete_after:
            self.limit.call(root, "delete", row.delete_after)
        return reading, requests if self.server.controlled and row.storage != "local" else None

    def _prove_steps(self, root: str, name: str, session: str, steps: int) -> None:
        if (found := self.limit.call(root, "count", session).value) != steps:
            raise BenchmarkError(f"{name}: the session has {found} steps afterwards, not {steps}")

    def close(self) -> None:
        """End all processes, and delete all data from an endpoint that is not ours, because it may cost money."""
        self._opened.close()
        if self.location.endpoint and not self.server.controlled:
            with closing(Worker(self.classes, self.classes[0].name, self.location, None)) as cleaner:
                cleaner.call(self.base, "delete", "")


@contextmanager
def working_directory(parent: str | None) -> Iterator[str]:
    """Yield a temporary directory. It is on /dev/shm if possible, because times on a disk vary more."""
    parent = parent or ("/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    with tempfile.TemporaryDirectory(prefix="benchmarks-", dir=parent) as directory:
        yield directory
