"""Every fault at every request ends in success, or in an error of ours that tells the truth.

Of storing, retrieving, listing, deleting and checking. A fault that passes is recovered from; one that stays is
reported in 15 seconds at the most, a stall within three times the configured timeout and the waits between attempts.
What an operation returned for is so: looked at behind the proxy, past the code under test. SM_TEST_FAULT_TABLE=FILE
writes a line for each: fault, how often, operation, request, outcome, seconds.
"""

import asyncio
import os
import time
import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

import pytest

from storage_manager import S3ConfigError, S3OperationError, StepData, StorageManager, StorageManagerError
from storage_manager.layout import COMPONENTS, ComponentSpec
from tests.support.proxy import FAULTS, Proxy

pytestmark = pytest.mark.thorough

Make = Callable[..., StorageManager]

TABLE = os.environ.get("SM_TEST_FAULT_TABLE")
OLD = StepData("<p>old</p>" * 2000, b"\x89PNG old" * 2000, {"old": 1}, {"old": 2})
NEW = StepData("<p>new</p>" * 3000, b"\x89PNG new" * 3000, {"new": 1}, {"new": 2})
REFUSALS = {"403", "ExpiredToken", "NoSuchBucket", "301 wrong region"}  # answers, which no attempt would change
STALLS = {"stall", "stalled body"}
READ_TIMEOUT, BACKOFF, SLACK = 2, 3, 8  # seconds; a busy machine needs some
KEYS = {"key": "PLANTEDKEYID", "secret": "planted-secret-key", "token": "planted-session-token"}


@dataclass
class Operation:
    """What is called for a session, how many requests it makes, one after another, and which the engine makes.

    The engines differ only in the PUT and the GET of an object. Their other requests are those of s3fs.
    """

    name: str
    call: Callable[[StorageManager, str], Any]
    requests: int
    deletes: bool = False
    of_engine: tuple[int, ...] = ()


OPERATIONS = [
    Operation("store", lambda sm, session: sm.store_step_data(session, "t", *NEW), 1, of_engine=(0,)),
    Operation("retrieve", lambda sm, session: sm.retrieve_step_data(session, "t", strict=True), 1, of_engine=(0,)),
    Operation("list", lambda sm, session: sm.list_steps_for_session(session), 1),
    Operation("delete", lambda sm, session: sm.delete_session(session), 3, deletes=True),  # LIST, DeleteObjects, LIST
    # LIST, PUT, GET, LIST, DeleteObjects, LIST
    Operation("check", lambda sm, session: sm.check(), 6, deletes=True, of_engine=(1, 2)),
]


def files(sm: StorageManager, session: str, data: StepData) -> dict[str, bytes]:
    """The paths and bytes of a step, as fsspec gives them."""
    rows = zip(COMPONENTS, data, strict=True)
    return {sm.url_for(session, "t", row.name).removeprefix("s3://"): row.encode(value, "") for row, value in rows}


def is_so(operation: str, result: object, behind: StorageManager, session: str) -> bool:
    """True where what the operation returned for is found behind the proxy."""
    old, new = files(behind, session, OLD), files(behind, session, NEW)
    found = {path: behind.fs.cat_file(path) for path in behind.fs.find(behind.url_for(session))}
    return {
        "store": found == new,
        "retrieve": found == old and result == OLD,
        "list": found == old and result == ["t"],
        "delete": found == {},
        "check": found == old,
    }[operation]


class Cell:
    """One operation under one fault, on a session of its own."""

    def __init__(self, behind: StorageManager, fault: str, operation: Operation, first: int, times: float) -> None:
        self.behind, self.operation, self.fault, self.times, self.first = behind, operation, fault, times, first
        self.session = uuid.uuid4().hex

    async def run(self, make: Make, moto_url: str) -> None:
        await self.behind.store_step_data(self.session, "t", *OLD)
        proxy = Proxy(moto_url, self.fault, self.first, self.times)
        options = {"config_kwargs": {"read_timeout": READ_TIMEOUT}} if self.fault in STALLS else {}
        async with proxy, make(s3_endpoint_url=proxy.url, storage_options={**KEYS, **options}) as sm:
            # which loads botocore's models
            await getattr(sm.async_fs, "s3fs", sm.async_fs).set_session()
            start = time.monotonic()
            try:
                outcome: Any = await self.operation.call(sm, self.session)
            except StorageManagerError as error:
                outcome = error
            seconds = time.monotonic() - start
        assert proxy.done, "the fault was not met"
        self.report(outcome, seconds)
        self.judge(outcome, seconds)

    def judge(self, outcome: Any, seconds: float) -> None:
        if isinstance(outcome, StorageManagerError):
            assert self.times > 1 or self.fault in REFUSALS, f"did not recover: {outcome}"
            assert isinstance(outcome, (S3OperationError, S3ConfigError))
            assert outcome.operation == self.operation.name
            assert outcome.url is not None
            assert outcome.url.startswith(self.behind.url_for())
            assert outcome.__cause__ is not None
            assert "planted" not in "".join(traceback.format_exception(outcome)).lower()
        else:
            assert self.times == 1, "a fault that stays is no success"
            assert is_so(self.operation.name, outcome, self.behind, self.session)
        assert seconds < (3 * READ_TIMEOUT + BACKOFF + SLACK if self.fault in STALLS else 15)

    def report(self, outcome: Any, seconds: float) -> None:
        if TABLE:
            often = "always" if self.times > 1 else "once"
            said = type(outcome).__name__ if isinstance(outcome, StorageManagerError) else "success"
            cells = (self.fault, often, self.operation.name, str(self.first), said, f"{seconds:.1f}")
            with open(TABLE, "a") as table:
                table.write("\t".join(cells) + "\n")


def cells(behind: StorageManager, engine: str, fault: str, times: float) -> list[Cell]:
    """The operations that meet a fault; if it happens once, at each of their requests."""
    deletion = fault.startswith("partial")
    return [
        Cell(behind, fault, operation, first, times)
        for operation in OPERATIONS
        if operation.deletes or not deletion
        for first in range(1 if deletion or times > 1 else operation.requests)
        if engine == "s3fs" or deletion or first in operation.of_engine
    ]


@pytest.mark.parametrize("times", [1, inf], ids=["once", "always"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_is_survived_or_reported(
    moto: Make, moto_url: str, engine: str, fault: str, times: float
) -> None:
    async with moto() as behind:
        await asyncio.gather(*(cell.run(moto, moto_url) for cell in cells(behind, engine, fault, times)))


@pytest.mark.parametrize("row", COMPONENTS, ids=lambda row: row.name)
async def test_no_component_fails_unheard(moto: Make, moto_url: str, row: ComponentSpec) -> None:
    """Whichever of the four is refused, the store says so, and which; a strict retrieval likewise."""
    async with Proxy(moto_url, "403", times=inf, only=row.filename) as proxy, moto(s3_endpoint_url=proxy.url) as sm:
        for call in (sm.store_step_data("s", "t", *NEW), sm.retrieve_step_data("s", "t", strict=True)):
            with pytest.raises(S3OperationError, match="AccessDenied") as caught:
                await call
            assert caught.value.url == sm.url_for("s", "t", row.name)
        assert await sm.retrieve_step_data("s", "t") == NEW._replace(**{row.name: None})
