"""Compute time and cost of a hundred million steps on S3, from the counted requests and the measured times.

The prices are list prices of S3 Standard in us-east-1 and us-west-2, https://aws.amazon.com/s3/pricing/, as of 2026-11.
They are without volume discounts, taxes and traffic out of the region. Check them before you rely on them.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from benchmarks.figures import median
from benchmarks.measure import Result
from benchmarks.steps import STEP_BYTES

__all__ = ["PRICES", "Cost", "costs", "storage_cost"]

STEPS = 100_000_000
PER_SESSION = 250  # steps
# Dollars for a request. DELETE is free. We assume that DeleteObjects, which is a POST, is billed like DELETE.
PRICES: Mapping[str, float] = {"PUT": 5e-6, "LIST": 5e-6, "GET": 0.4e-6, "HEAD": 0.4e-6, "DeleteObjects": 0.0}
MONTH = 0.023  # dollars to keep a GB (10^9 bytes) for a month; the price of the first 50 TB
LATENCY = 0.02  # seconds for a request


class Cost(NamedTuple):
    """One operation on all of the steps, by one process."""

    title: str
    contestant: str
    requests: Mapping[str, float]
    dollars: float
    hours: float  # measured with latency, or else the time without it plus the latency of each request
    cpu_hours: float


_ROWS = {
    "s3-store-8-latency-20": "store all, 8 steps in flight",
    "s3-retrieve-8-latency-20": "retrieve all, 8 steps in flight",
    "s3-list-steps": "list the steps of every session, one after the other",
    "s3-delete-250": "delete every session, one after the other",
}


def costs(results: Sequence[Result]) -> list[Cost]:
    """Return the cost for each contestant and each operation whose requests were counted."""
    known = [result for result in results if result.row.name in _ROWS and result.requests is not None]
    return [_cost(result) for name in _ROWS for result in known if result.row.name == name]


def _cost(result: Result) -> Cost:
    times = STEPS / _steps(result)
    requests = {kind: times * count for kind, count in (result.requests or {}).items()}
    wall, cpu = (median([getattr(reading, quantity) for reading in result.readings]) for quantity in ("wall", "cpu"))
    assert wall is not None
    assert cpu is not None
    if not result.row.latency:
        wall += LATENCY * sum((result.requests or {}).values())
    dollars = sum(PRICES.get(kind, 0.0) * count for kind, count in requests.items())
    return Cost(_ROWS[result.row.name], result.contestant, requests, dollars, times * wall / 3600, times * cpu / 3600)


def _steps(result: Result) -> int:
    """Return the number of steps that one call handles.

    Listing is measured with a thousand steps in one LIST, so its time is an upper bound.
    """
    return PER_SESSION if result.row.method in ("list_steps", "delete") else result.row.returns


def storage_cost() -> float:
    """Return the dollars per month to keep all steps."""
    return STEPS * STEP_BYTES / 1e9 * MONTH
