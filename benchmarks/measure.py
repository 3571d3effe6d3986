"""The driver: one worker process for each contestant, one of them at work at a time, in turns."""

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

from benchmarks.contestants import Contestant, Place
from benchmarks.rows import Row
from benchmarks.steps import STEP
from benchmarks.worker import Failure, Reading, work

__all__ = ["MALLOC", "BenchmarkError", "Crew", "Endpoint", "Result", "Worker", "endpoint"]

# Reads of 250 kB vary tenfold with the state of the allocator, which these two hold still.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "268435456"}
DEADLINE = 600  # seconds, for one call


class BenchmarkError(Exception):
    """A contestant failed, or did other work than the others."""


class Worker:
    """A contestant in its process; it ends when its connection is closed."""

    def __init__(self, classes: tuple[type[Contestant], ...], name: str, place: Place, cpu: int | None) -> None:
        context = get_context("spawn")  # a process that has nothing of ours but its environment
        self.name = name
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, classes, name, place, cpu), daemon=True)
        self.process.start()
        theirs.close()

    def call(self, root: str, method: str, *arguments: Any, watched: str = "") -> Reading:
        """One call, measured.

        Raises:
            BenchmarkError: it raised, and its traceback is here; or it did not end within ten minutes.
        """
        self.connection.send((watched, root, method, arguments))
        try:
            answer = self.connection.recv() if self.connection.poll(DEADLINE) else Failure("it does not end")
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
    """An S3 endpoint: ours, which counts and waits as it is told, or another, which does neither."""

    def __init__(self, url: str | None, controlled: bool, tls: str | None = None, authority: str | None = None) -> None:
        self.url = url
        self.controlled = controlled
        self.tls = tls  # the URL of the same over TLS
        self.authority = authority  # the file that certifies it

    def control(self, path: str) -> Counter[str]:
        """Tell ours something; the requests that it answered so far, by kind."""
        if not self.controlled:
            return Counter()
        with urllib.request.urlopen(f"{self.url}/-/{path}", timeout=DEADLINE) as answer:
            return Counter(json.load(answer))


@contextmanager
def endpoint(url: str | None) -> Iterator[Endpoint]:
    """The endpoint at a URL; None: ours, in a process that ends with the context."""
    if url is not None:
        yield Endpoint(url, controlled=False)
        return
    command = [sys.executable, "-m", "benchmarks.endpoint"]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes, start_new_session=True) as process:  # where no Ctrl-C reaches it
        assert process.stdout is not None
        url, tls, authority = (process.stdout.readline().strip() for _ in range(3))
        yield Endpoint(url, controlled=True, tls=tls, authority=authority)
        process.stdin.close()  # type: ignore[union-attr]


class Result(NamedTuple):
    """What one contestant needed for one row, round by round."""

    row: Row
    contestant: str
    readings: Sequence[Reading]
    watched: Sequence[Reading]  # of rounds for memory and stalls alone, as watching them costs time
    requests: Mapping[str, int] | None  # of one round; None where nobody counted


class Crew:
    """The contestants of one place; the first of them is the limit, which also makes and removes what is needed."""

    def __init__(
        self, classes: tuple[type[Contestant], ...], place: Place, server: Endpoint, leave_out: Sequence[str] = ()
    ) -> None:
        self.server, self.place, self.classes = server, place, classes
        self.base = place.directory if place.endpoint is None else "run-" + os.path.basename(place.directory)
        # one CPU: between two of them the hop to a thread alone can be slower than the work
        cpu = max(os.sched_getaffinity(0)) if place.endpoint is None and hasattr(os, "sched_getaffinity") else None
        self.made: set[str] = set()
        with ExitStack() as opened:
            chosen = [one.name for one in classes if one.name not in leave_out]
            self.workers = {name: Worker(classes, name, place, cpu) for name in chosen}
            for worker in self.workers.values():
                opened.callback(worker.close)
            self.verify()
            self._opened = opened.pop_all()
        self.turn = 0

    @property
    def limit(self) -> Worker:
        """The contestant that nothing can beat."""
        return next(iter(self.workers.values()))

    def verify(self) -> None:
        """Each stores what the limit can read, and reads what the limit stored.

        Raises:
            BenchmarkError: one does not, or does not start.
        """
        root = f"{self.base}/verified"
        self.limit.call(root, "store", "limit", ["t"], 1)
        for number, worker in enumerate(self.workers.values()):
            worker.call(root, "store", f"s{number}", ["t"], 1)
            for reader, session in ((self.limit, f"s{number}"), (worker, "limit")):
                if tuple(reader.call(root, "fetch", session, "t").value) != tuple(STEP):
                    raise BenchmarkError(f"{worker.name}: {reader.name} reads another step than was stored")

    def measure(self, row: Row, rounds: int) -> list[Result]:
        """The readings of every contestant, one after the other in every round, each time another one first."""
        names = [name for name in self.workers if name in (row.only or self.workers)]
        self.server.control(f"latency?ms={row.latency}")
        self._make_once(row)
        watched: dict[str, list[Reading]] = {name: [] for name in names}
        readings: dict[str, list[Reading]] = {name: [] for name in names}
        requests: dict[str, Mapping[str, int] | None] = {}
        for _ in range(row.watched):  # which also open connections and fill caches
            for name in self._turns(names):
                # apart, as pages that the allocator has to ask for again would stall the loop, too
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

    def _make_once(self, row: Row) -> None:
        if row.shared and row.shared not in self.made:
            self._make(f"{self.base}/{row.shared}", *row.made)
            self.made.add(row.shared)

    def _make(self, root: str, method: str, *arguments: Any) -> None:
        if method == "fill" and self.place.endpoint and self.server.controlled:
            sessions, steps = arguments  # a hundred thousand of them would take minutes by requests
            query = f"bucket={self.place.bucket}&prefix={root}&sessions={sessions}&steps={steps}"
            self.server.control(f"fill?{query}")
        else:
            self.limit.call(root, method, *arguments)

    def _round(self, row: Row, name: str, watched: str) -> tuple[Reading, Mapping[str, int] | None]:
        root = f"{self.base}/{row.shared or name.replace(' ', '-')}"
        if row.made and not row.shared:
            self._make(root, *row.made)
        before = self.server.control("requests")
        reading = self.workers[name].call(root, row.method, *row.arguments, watched=watched)
        requests = self.server.control("requests") - before
        if reading.value != row.returns:
            raise BenchmarkError(f"{name}: {row.title}: {reading.value} instead of {row.returns}")
        if row.method == "delete":
            self._prove_deleted(root, name, *row.arguments)
        if row.dropped:
            self.limit.call(root, "delete", row.dropped)
        return reading, requests if self.server.controlled and row.place != "local" else None

    def _prove_deleted(self, root: str, name: str, session: str) -> None:
        if left := self.limit.call(root, "count", session).value:
            raise BenchmarkError(f"{name}: {left} steps are left after deletion")

    def close(self) -> None:
        """End all processes, and leave nothing at an endpoint that is not ours: it may be paid for."""
        self._opened.close()
        if self.place.endpoint and not self.server.controlled:
            with closing(Worker(self.classes, self.classes[0].name, self.place, None)) as cleaner:
                cleaner.call(self.base, "delete", "")


@contextmanager
def working_directory(parent: str | None) -> Iterator[str]:
    """A new directory that is removed again; on /dev/shm if there is one, as a disk adds its own noise."""
    where = parent or ("/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    with tempfile.TemporaryDirectory(prefix="benchmarks-", dir=where) as directory:
        yield directory
