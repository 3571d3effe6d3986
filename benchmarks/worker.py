"""Run one contestant in a process of its own, and measure it there, so CPU and memory are of this contestant alone."""

import ctypes
import gc
import os
import re
import resource
import signal
import time
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.contestants import Asynchronous, Contestant, Location

__all__ = ["Failure", "Reading", "serve"]

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Reading(NamedTuple):
    """The cost of one call. A value is None if this system does not report it, or if it was not watched."""

    wall: float  # seconds
    cpu: float  # seconds of the whole process and of the programs that it ran, user and system (getrusage)
    peak: float | None  # MB of resident memory, more than before the call
    stall: float | None  # seconds that the event loop was blocked, more than an idle loop
    value: Any  # the return value of the call


class Failure(NamedTuple):
    """The traceback of a call that raised."""

    text: str


def serve(
    connection: Connection, classes: tuple[type[Contestant], ...], name: str, location: Location, cpu: int | None
) -> None:
    """Answer each (watched, root, method, arguments) with a Reading or a Failure, until the connection is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver handles Ctrl+C, and closes the connection
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    contestant = next(one for one in classes if one.name == name)
    opened: dict[str, Contestant] = {}
    while True:
        try:
            watching, root, method, arguments = connection.recv()
        except (EOFError, ConnectionError):
            os._exit(0)  # skips what libraries do or print at exit, because it is not measured
        try:
            if root not in opened:
                opened[root] = contestant(location, root)
                opened[root].open()
            answer: Reading | Failure = _measured(opened[root], watching, method, arguments)
        except Exception:  # noqa: BLE001 - the driver reports any exception and ends
            answer = Failure(traceback.format_exc())
        with suppress(ConnectionError):  # if the driver is gone, the next recv says so
            connection.send(answer)


def _measured(contestant: Contestant, watching: str, method: str, arguments: tuple[Any, ...]) -> Reading:
    stalls = watching == "stall" and isinstance(contestant, Asynchronous)
    if isinstance(contestant, Asynchronous):
        contestant.watching = stalls
    gc.collect()
    before = _reset_peak() if watching == "peak" else None
    cpu, wall = _cpu(), time.perf_counter()
    value = getattr(contestant, method)(*arguments)
    wall, cpu = time.perf_counter() - wall, _cpu() - cpu
    peak = None if before is None else (_memory("VmHWM") - before) / 1000
    return Reading(wall, cpu, peak, contestant.stall if stalls else None, value)


def _cpu() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _reset_peak() -> float | None:
    """Reset the kernel's peak of resident memory. Return the current memory in kB, or None without Linux's /proc."""
    if not _CLEAR.exists():
        return None
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)  # otherwise memory that the allocator kept from earlier calls would hide the need of this call
    _CLEAR.write_text("5")
    return _memory("VmRSS")


def _memory(field: str) -> float:
    found = re.search(rf"^{field}:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
    return float(found[1]) * 1.024 if found else 0.0
