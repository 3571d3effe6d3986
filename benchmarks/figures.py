"""Compute the figures of the report: ratios to a limit, round by round, and if they reach their targets."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.measure import Result

__all__ = ["TARGETS", "Figure", "Target", "figures", "median", "ratio", "wrong_requests"]


class Target(NamedTuple):
    """The highest value that a figure may have."""

    title: str
    row: str
    contestant: str
    versus: str  # the contestant to compare with; "" if the quantity is not a ratio
    quantity: str  # "cpu" or "wall": a ratio; "stall": ms; "peak": MB
    at_most: float


class Figure(NamedTuple):
    """A target and the value that was reached."""

    target: Target
    reached: float

    @property
    def is_met(self) -> bool:
        """Return whether the target is met, to the two decimals that are shown."""
        return round(self.reached, 2) <= self.target.at_most


PLAIN, OBSTORE, S3FS = ("ours", "plain Python"), ("ours on obstore", "obstore"), ("ours on s3fs", "s3fs")
TARGETS = (
    Target("local: store, 1 in flight", "local-store-1", *PLAIN, "cpu", 1.8),
    *(Target(f"local: store, {n} in flight", f"local-store-{n}", *PLAIN, "cpu", 1.6) for n in (8, 64)),
    *(Target(f"local: retrieve, {n} in flight", f"local-retrieve-{n}", *PLAIN, "cpu", 2.0) for n in (1, 8, 64)),
    Target("local: list 100,000 sessions", "local-list-sessions", *PLAIN, "wall", 1.3),
    Target("local: delete 1,000 steps", "local-delete-1000", *PLAIN, "wall", 1.25),
    Target("local: stall of the loop, 64 stores in flight", "local-store-64", "ours", "", "stall", 10),
    Target("local: iterate 2,000 steps, memory", "local-iterate-2000", "ours", "", "peak", 60),
    Target("S3, engine obstore: store, 8 in flight", "s3-store-8", *OBSTORE, "cpu", 1.35),
    Target("S3, engine obstore: retrieve, 8 in flight", "s3-retrieve-8", *OBSTORE, "cpu", 1.35),
    Target("S3 over TLS, engine obstore: store, 8 in flight", "s3-store-8-tls", *OBSTORE, "cpu", 1.35),
    Target("S3 over TLS, engine obstore: retrieve, 8 in flight", "s3-retrieve-8-tls", *OBSTORE, "cpu", 1.35),
    Target("S3, engine s3fs: store, 8 in flight", "s3-store-8", *S3FS, "cpu", 0.95),
    Target("S3, engine s3fs: retrieve, 8 in flight", "s3-retrieve-8", *S3FS, "cpu", 0.5),
    Target("S3 at 20 ms: store, 8 in flight", "s3-store-8-latency-20", *OBSTORE, "wall", 1.15),
    Target("S3 at 20 ms: retrieve, 8 in flight", "s3-retrieve-8-latency-20", *OBSTORE, "wall", 1.15),
    # both engines list and delete through s3fs
    Target("S3: list 10,000 sessions", "s3-list-sessions", *S3FS, "cpu", 1.1),
    Target("S3: delete 1,000 objects", "s3-delete-250", *S3FS, "cpu", 0.7),
    Target("S3: iterate 2,000 steps, memory", "s3-iterate-2000", "ours on obstore", "", "peak", 60),
    Target("import storage_manager", "import", "ours", "fsspec, pydantic", "cpu", 1.15),
)


def median(values: Sequence[float | None]) -> float | None:
    """Return the median of the values that are known, or None if there are none."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def ratio(result: Result, limit: Result, quantity: str) -> float:
    """Return the median of the ratios of each round. If something slows both for a while, it does not count."""
    pairs = zip(result.readings, limit.readings, strict=True)
    return float(statistics.median(getattr(one, quantity) / getattr(other, quantity) for one, other in pairs))


def figures(results: Sequence[Result]) -> list[Figure]:
    """Return the figures of all targets whose rows were measured."""
    found = {(result.row.name, result.contestant): result for result in results}
    reached = ((target, _reached(target, found)) for target in TARGETS)
    return [Figure(target, value) for target, value in reached if value is not None]


def _reached(target: Target, found: dict[tuple[str, str], Result]) -> float | None:
    result, limit = found.get((target.row, target.contestant)), found.get((target.row, target.versus))
    if result is None or (target.versus and limit is None):
        return None
    if limit is not None:
        return ratio(result, limit, target.quantity)
    value = median([getattr(reading, target.quantity) for reading in result.watched])
    return value * 1000 if value is not None and target.quantity == "stall" else value


def wrong_requests(results: Sequence[Result]) -> list[str]:
    """Describe each case in which ours sent other requests than it promises.

    Only these fail a run, because requests do not depend on the machine.
    """
    ours = [result for result in results if result.contestant.startswith("ours") and result.requests is not None]
    return [
        f"{result.contestant}: {result.row.title}: {dict(result.requests or {})} instead of {dict(result.row.requests)}"
        for result in ours
        if result.requests != result.row.requests
    ]
