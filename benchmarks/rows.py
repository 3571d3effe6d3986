"""What is measured: one row for each kind of work, with what it is done on and what it may ask of S3."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from benchmarks.steps import names

__all__ = ["Amounts", "Row", "rows"]

PAGE = 1000  # names in a LIST, keys in a DeleteObjects
COMPONENTS = 4
OURS = ("ours on s3fs", "ours on obstore")


class Amounts(NamedTuple):
    """How much of everything; `small` is for counting requests, where times mean nothing."""

    local_steps: int = 500  # in each round
    s3_steps: int = 100  # in each round: five rounds are 500
    local_sessions: int = 100_000
    s3_sessions: int = 10_000
    listed_steps: int = 1_000
    deleted: tuple[int, ...] = (250, 1_000)  # steps of a session; on S3 the first only
    local_iterated: int = 2_000
    s3_iterated: tuple[int, int] = (250, 2_000)  # by all; by the limit and ours on obstore
    rounds: int = 5

    @classmethod
    def small(cls) -> "Amounts":
        """Just enough for every request that an operation can need; 250 steps fill a page to its last key."""
        return cls(3, 3, 1_200, 1_200, 1_200, (250, 20), 20, (4, 20), 1)


class Row(NamedTuple):
    """One kind of work."""

    name: str
    title: str
    place: str  # "local", "s3", or "s3-tls": the same over TLS
    method: str
    arguments: tuple[Any, ...]
    returns: int  # what every contestant's method must return
    shared: str = ""  # the root of what is only read, made once; "" for a root of each contestant's own
    made: tuple[Any, ...] = ()  # the limit's method and arguments that make it, once or before every round
    dropped: str = ""  # the session that the limit deletes after every round
    requests: Mapping[str, int] = {}  # what ours may ask of S3
    latency: int = 0  # ms
    only: tuple[str, ...] = ()  # contestants; () for all
    watched: int = 1  # rounds that are for memory and the loop's stalls alone


def rows(amounts: Amounts) -> list[Row]:
    """All rows, in the order in which they are shown."""
    both = [*_in_flight("local", amounts.local_steps, amounts), *_in_flight("s3", amounts.s3_steps, amounts)]
    latency = [_stored("s3", amounts.s3_steps, 8, 20), _retrieved("s3", amounts, amounts.s3_steps, 8, 20)]
    tls = [_stored("s3-tls", amounts.s3_steps, 8), _retrieved("s3-tls", amounts, amounts.s3_steps, 8)]
    rest = [row for place in ("local", "s3") for row in (*_lists(place, amounts), *_deletions(place, amounts))]
    every = both + latency + tls + rest + list(_iterations(amounts))
    return sorted(every, key=lambda row: row.place)


def _in_flight(place: str, steps: int, amounts: Amounts) -> Iterator[Row]:
    for row_steps, count in ((1, 1), (steps, 1), (steps, 8), (steps, 64)):
        yield _stored(place, row_steps, count)
        yield _retrieved(place, amounts, row_steps, count)


def _words(verb: str, place: str, steps: int, count: int, latency: int) -> tuple[str, str]:
    where, _, tls = place.partition("-")
    name = f"{where}-{verb}-" + ("one" if steps == 1 else f"{count}") + (f"-latency-{latency}" if latency else "")
    title = f"{verb} one step" if steps == 1 else f"{verb} {steps:,} steps, {count} in flight"
    title += (f", {latency} ms latency" if latency else "") + (", over TLS" if tls else "")
    return name + (f"-{tls}" if tls else ""), title


def _stored(place: str, steps: int, count: int, latency: int = 0) -> Row:
    made: dict[str, Any] = {"dropped": "stored", "requests": {"PUT": COMPONENTS * steps}, "latency": latency}
    arguments = ("stored", names("t", steps), count)
    watched = 5 if (place, count) == ("local", 64) else 1
    return Row(
        *_words("store", place, steps, count, latency), place, "store", arguments, steps, **made, watched=watched
    )


def _retrieved(place: str, amounts: Amounts, steps: int, count: int, latency: int = 0) -> Row:
    made: dict[str, Any] = {**_full(place, amounts), "requests": {"GET": COMPONENTS * steps}, "latency": latency}
    arguments = ("s", names("t", steps), count)
    return Row(*_words("retrieve", place, steps, count, latency), place, "retrieve", arguments, steps, **made)


def _full(place: str, amounts: Amounts) -> dict[str, Any]:
    """One session of whole steps, for all that only read."""
    steps = max(amounts.local_steps, amounts.s3_steps, amounts.local_iterated, *amounts.s3_iterated)
    steps = amounts.s3_steps if place == "s3-tls" else steps  # where little is measured
    return {"shared": "full", "made": ("store", "s", names("t", steps), 16)}


def _lists(place: str, amounts: Amounts) -> Iterator[Row]:
    count = amounts.local_sessions if place == "local" else amounts.s3_sessions
    made = ("fill", count, 1)
    asked = {"LIST": math.ceil(count / PAGE)}
    title = f"list {count:,} sessions"
    yield Row(f"{place}-list-sessions", title, place, "list_sessions", (), count, "sessions", made, "", asked)
    count = amounts.listed_steps
    made = ("fill", 1, count)
    asked = {"LIST": math.ceil(count / PAGE)}
    yield Row(
        f"{place}-list-steps",
        f"list {count:,} steps",
        place,
        "list_steps",
        ("s000000",),
        count,
        "steps",
        made,
        "",
        asked,
    )


def _deletions(place: str, amounts: Amounts) -> Iterator[Row]:
    for count in amounts.deleted if place == "local" else amounts.deleted[:1]:
        pages = math.ceil(count * COMPONENTS / PAGE)
        asked = {"LIST": pages + 1, "DeleteObjects": pages}
        made = ("store", "gone", names("t", count), 16)
        title = f"delete a session of {count:,} steps"
        yield Row(f"{place}-delete-{count}", title, place, "delete", ("gone",), 0, made=made, requests=asked)


def _iterations(amounts: Amounts) -> Iterator[Row]:
    all_, two = amounts.s3_iterated
    for place, count, only in (
        ("local", amounts.local_iterated, ()),
        ("s3", all_, ()),
        ("s3", two, ("obstore", "ours on obstore")),
    ):
        made: dict[str, Any] = {
            "made": ("store", "s", names("t", count), 16),
            "shared": f"iterated-{count}",
            "only": only,
            "watched": 1 if count == all_ else 5,
        }
        asked = {"GET": COMPONENTS * count, "LIST": math.ceil(count / PAGE)}
        name, title = f"{place}-iterate-{count}", f"iterate {count:,} steps"
        yield Row(name, title, place, "iterate", ("s",), count, **made, requests=asked)
