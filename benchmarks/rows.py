"""The rows of the report: one for each kind of work, with its preparation and the S3 requests that are allowed."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from benchmarks.steps import ATTACHMENT, names

__all__ = ["Amounts", "Row", "rows"]

PAGE = 1000  # names in a LIST, keys in a DeleteObjects
COMPONENTS = 4
# The contestants of attachments, by the storage
ATTACHING = {
    "local": ("plain Python", "ours", "ours, sync"),
    "s3": ("obstore", "ours on s3fs", "ours on obstore", "ours on obstore, sync"),
}


class Amounts(NamedTuple):
    """How much work each row does. `small` is for counting requests; its times mean nothing."""

    local_steps: int = 500  # in each round
    s3_steps: int = 100  # in each round; five rounds are 500
    local_sessions: int = 100_000
    s3_sessions: int = 10_000
    listed_steps: int = 1_000
    deleted: tuple[int, ...] = (250, 1_000)  # steps of a session; on S3 only the first number
    local_iterated: int = 2_000
    s3_iterated: tuple[int, int] = (250, 2_000)  # by all contestants; by the limit and ours on obstore
    attachments: int = 100  # of 1 MB, in each round
    exported: int = 500  # steps of one Parquet export
    copied: int = 500  # steps of one copy from local disk to S3
    rounds: int = 5

    @classmethod
    def small(cls) -> "Amounts":
        """Return just enough for every request that an operation can need. 250 steps fill exactly one page of keys."""
        return cls(3, 3, 1_200, 1_200, 1_200, (250, 20), 20, (4, 20), 2, 10, 20, 1)


class Row(NamedTuple):
    """One kind of work, which is one row per contestant in the report."""

    name: str
    title: str
    storage: str  # "local", "s3", or "s3-tls", which is S3 over TLS
    method: str
    arguments: tuple[Any, ...]
    returns: int  # the value that the method of every contestant must return
    shared: str = ""  # the root of data that is only read and made once; "" if each contestant has its own root
    setup: tuple[Any, ...] = ()  # the limit's method, and its arguments, that make the data: once, or before each round
    delete_after: str = ""  # the session that the limit deletes after each round
    requests: Mapping[str, int] = {}  # the requests that ours may send to S3
    latency: int = 0  # ms
    only: tuple[str, ...] = ()  # the contestants of this row; () for all
    watched: int = 1  # additional rounds that only measure memory and stalls of the loop; 0 if programs do the work


def rows(amounts: Amounts) -> list[Row]:
    """Return all rows, in the order of the report."""
    both = [*_in_flight("local", amounts.local_steps, amounts), *_in_flight("s3", amounts.s3_steps, amounts)]
    latency = [_store_row("s3", amounts.s3_steps, 8, 20), _retrieve_row("s3", amounts, amounts.s3_steps, 8, 20)]
    tls = [_store_row("s3-tls", amounts.s3_steps, 8), _retrieve_row("s3-tls", amounts, amounts.s3_steps, 8)]
    rest = [
        row
        for storage in ("local", "s3")
        for row in (
            *_lists(storage, amounts),
            *_deletions(storage, amounts),
            *_attachments(storage, amounts.attachments),
        )
    ]
    last = [_export(amounts.exported), _copy(amounts.copied)]
    every = [*both, *latency, *tls, *rest, *_iterations(amounts), *last]
    return sorted(every, key=lambda row: row.storage)


def _in_flight(storage: str, steps: int, amounts: Amounts) -> Iterator[Row]:
    for row_steps, count in ((1, 1), (steps, 1), (steps, 8), (steps, 64)):
        yield _store_row(storage, row_steps, count)
        yield _retrieve_row(storage, amounts, row_steps, count)


def _words(verb: str, storage: str, steps: int, count: int, latency: int) -> tuple[str, str]:
    backend, _, tls = storage.partition("-")
    name = f"{backend}-{verb}-" + ("one" if steps == 1 else f"{count}") + (f"-latency-{latency}" if latency else "")
    title = f"{verb} one step" if steps == 1 else f"{verb} {steps:,} steps, {count} in flight"
    title += (f", {latency} ms latency" if latency else "") + (", over TLS" if tls else "")
    return name + (f"-{tls}" if tls else ""), title


def _store_row(storage: str, steps: int, count: int, latency: int = 0) -> Row:
    fixed: dict[str, Any] = {"delete_after": "stored", "requests": {"PUT": COMPONENTS * steps}, "latency": latency}
    arguments = ("stored", names("t", steps), count)
    watched = 5 if (storage, count) == ("local", 64) else 1
    return Row(
        *_words("store", storage, steps, count, latency), storage, "store", arguments, steps, **fixed, watched=watched
    )


def _retrieve_row(storage: str, amounts: Amounts, steps: int, count: int, latency: int = 0) -> Row:
    fixed: dict[str, Any] = {**_full(storage, amounts), "requests": {"GET": COMPONENTS * steps}, "latency": latency}
    arguments = ("s", names("t", steps), count)
    return Row(*_words("retrieve", storage, steps, count, latency), storage, "retrieve", arguments, steps, **fixed)


def _full(storage: str, amounts: Amounts) -> dict[str, Any]:
    """Return the settings of a row that only reads: one session of whole steps is made once for all of them."""
    steps = max(amounts.local_steps, amounts.s3_steps, amounts.local_iterated, *amounts.s3_iterated)
    steps = amounts.s3_steps if storage == "s3-tls" else steps  # over TLS, no row reads more
    return {"shared": "full", "setup": ("store", "s", names("t", steps), 16)}


def _lists(storage: str, amounts: Amounts) -> Iterator[Row]:
    sessions, steps = amounts.local_sessions if storage == "local" else amounts.s3_sessions, amounts.listed_steps
    for what, count, arguments, setup in (
        ("sessions", sessions, (), ("fill", sessions, 1)),
        ("steps", steps, ("s000000",), ("fill", 1, steps)),
    ):
        data: dict[str, Any] = {"shared": what, "setup": setup, "requests": {"LIST": math.ceil(count / PAGE)}}
        name, title = f"{storage}-list-{what}", f"list {count:,} {what}"
        yield Row(name, title, storage, f"list_{what}", arguments, count, **data)


def _deletions(storage: str, amounts: Amounts) -> Iterator[Row]:
    for count in amounts.deleted if storage == "local" else amounts.deleted[:1]:
        pages = math.ceil(count * COMPONENTS / PAGE)
        expected = {"LIST": pages + 1, "DeleteObjects": pages}
        setup = ("store", "gone", names("t", count), 16)
        title = f"delete a session of {count:,} steps"
        yield Row(f"{storage}-delete-{count}", title, storage, "delete", ("gone",), 0, setup=setup, requests=expected)


def _iterations(amounts: Amounts) -> Iterator[Row]:
    all_, two = amounts.s3_iterated
    for storage, count, only in (
        ("local", amounts.local_iterated, ()),
        ("s3", all_, ()),
        ("s3", two, ("obstore", "ours on obstore")),
    ):
        fixed: dict[str, Any] = {
            "setup": ("store", "s", names("t", count), 16),
            "shared": f"iterated-{count}",
            "only": only,
            "watched": 1 if count == all_ else 5,
        }
        expected = {"GET": COMPONENTS * count, "LIST": math.ceil(count / PAGE)}
        name, title = f"{storage}-iterate-{count}", f"iterate {count:,} steps"
        yield Row(name, title, storage, "iterate", ("s",), count, **fixed, requests=expected)


def _attachments(storage: str, count: int) -> Iterator[Row]:
    files = [f"{name}.bin" for name in names("f", count)]
    what = f"{count:,} attachments of 1 MB"
    only: dict[str, Any] = {"only": ATTACHING[storage]}
    storing: dict[str, Any] = {"delete_after": "attached", "requests": {"PUT": count}}
    yield Row(f"{storage}-attach", f"store {what}", storage, "attach", ("attached", files), count, **storing, **only)
    size = count * len(ATTACHMENT)
    reading: dict[str, Any] = {"shared": "attached", "setup": ("attach", "s", files), "requests": {"GET": count}}
    name = f"{storage}-retrieve-attached"
    yield Row(name, f"retrieve {what}", storage, "retrieve_attached", ("s", files), size, **reading, **only)


def _export(steps: int) -> Row:
    """Return the row of an export. The directory that it is written to is the same in every round."""
    fixed: dict[str, Any] = {"shared": "pages", "setup": ("fill_with_pages", steps), "only": ("plain pyarrow", "ours")}
    return Row("local-parquet", f"export {steps:,} steps to Parquet", "local", "export_parquet", (), steps, **fixed)


def _copy(steps: int) -> Row:
    """Return the row of a copy from local disk to S3, by programs."""
    source = f"source-{steps}"
    fixed: dict[str, Any] = {"setup": ("make_source", source, steps), "delete_after": "s", "watched": 0}
    only = ("rclone", "ours on s3fs", "ours on obstore")
    title = f"copy {steps:,} steps from local disk"
    requests = {"PUT": COMPONENTS * steps, "LIST": 1}
    return Row("s3-copy", title, "s3", "copy", (source,), 0, only=only, requests=requests, **fixed)
