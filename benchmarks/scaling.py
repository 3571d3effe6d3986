"""Measure how time and memory grow with the number of sessions and steps: 1,000, 10,000 and 100,000.

The steps have only metadata, because only their number matters here.
"""

import math
from collections.abc import Iterator

from benchmarks.measure import Crew, Result
from benchmarks.rows import PAGE, Row

__all__ = ["measure_scaling", "scaling_rows"]

SIZES = (1_000, 10_000, 100_000)
LIMITS_AND_OURS = ("plain Python", "ours", "obstore", "ours on s3fs", "ours on obstore")
OURS = ("ours", "ours on s3fs", "ours on obstore")
QUICK = ("ours", "ours on obstore")  # a hundred thousand GETs through s3fs take minutes


def scaling_rows(storage: str, sizes: tuple[int, ...] = SIZES) -> Iterator[Row]:
    """Yield the rows to list, iterate and delete, for every size."""
    for size in sizes:
        pages = math.ceil(size / PAGE)
        lists, many, long = {"LIST": pages}, f"many-{size}", f"long-{size}"
        deletion = {"LIST": pages + 1, "DeleteObjects": pages}
        in_all = {"storage": storage, "only": LIMITS_AND_OURS, "watched": 1}
        iterating = {**in_all, "only": OURS if size <= 10_000 else QUICK}
        one = ("s000000",)
        yield _row("list", f"{size:,} sessions", in_all, "list_sessions", (), size, many, ("fill", size, 1), lists)
        yield _row("list", f"{size:,} steps", in_all, "list_steps", one, size, long, ("fill", 1, size), lists)
        reads = {**lists, "GET": size}
        yield _row(
            "iterate", f"{size:,} steps", iterating, "iterate_metadata", one, size, long, ("fill", 1, size), reads
        )
        yield _row("delete", f"{size:,} steps", in_all, "delete", one, 0, "", ("fill", 1, size), deletion)


def _row(
    verb: str, what: str, common: dict[str, object], method: str, arguments: tuple[str, ...], returns: int,
    shared: str, setup: tuple[object, ...], requests: dict[str, int],
) -> Row:  # fmt: skip
    name = f"scaling-{common['storage']}-{verb}-{what.replace(',', '').replace(' ', '-')}"
    fixed = {"method": method, "arguments": arguments, "returns": returns, "shared": shared, "setup": setup}
    return Row(name=name, title=f"{verb} {what}", requests=requests, **fixed, **common)  # type: ignore[arg-type]


def measure_scaling(crew: Crew, rows: list[Row]) -> Iterator[list[Result]]:
    """Measure the rows. The smallest size has three rounds; the others have one, because their times vary little."""
    for row in rows:
        yield crew.measure(row, 3 if f" {SIZES[0]:,} " in row.title else 1)
