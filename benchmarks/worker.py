"""One contestant in a process of its own, which measures what it does: so its CPU and memory are nobody else's."""

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

from benchmarks.contestants import Asynchronous, Contestant, Place

__all__ = ["Failure", "Reading", "work"]

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Reading(NamedTuple):
    """What one call cost; None where this system does not tell."""

    wall: float  # seconds
    cpu: float  # seconds of the whole process, user and system (getrusage)
    peak: float | None  # MB of resident memory above that before the call; only where it was watched
    stall: float | None  # seconds for which the loop did not come round, above an idle one; the same
    value: Any  # what the call returned


class Failure(NamedTuple):
    """The traceback of a call that raised."""

    text: str


def work(
    connection: Connection, classes: tuple[type[Contestant], ...], name: str, place: Place, cpu: int | None
) -> None:
    """Answer (watched, root, method, arguments) with a Reading or a Failure, until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's, which then closes the connection
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    contestant = next(one for one in classes if one.name == name)
    opened: dict[str, Contestant] = {}
    while True:
        try:
            watching, root, method, arguments = connection.recv()
        except (EOFError, ConnectionError):
            os._exit(0)  # what a library does at exit, or prints then, is not measured
        try:
            if root not in opened:
                opened[root] = contestant(place, root)
                opened[root].open()
            answer: Reading | Failure = _measured(opened[root], watching, method, arguments)
        except Exception:  # noqa: BLE001 - whatever it is, the driver reports it and ends
            answer = Failure(traceback.format_exc())
        with suppress(ConnectionError):  # then the next recv says that nobody is there
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
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _reset_peak() -> float | None:
    """The kB that are resident now, from which the kernel counts the peak anew; None without Linux's /proc."""
    if not _CLEAR.exists():
        return None
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)  # else what the allocator kept from earlier calls would hide what this one needs
    _CLEAR.write_text("5")
    return _memory("VmRSS")


def _memory(field: str) -> float:
    found = re.search(rf"^{field}:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
    return float(found[1]) * 1.024 if found else 0.0
