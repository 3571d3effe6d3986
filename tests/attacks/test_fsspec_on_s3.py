"""`storage.fs`, `storage.async_fs` and `sm://` on S3: their listings end, and no deletion fails silently.

These methods are s3fs's own. It followed any token without end, needed DeleteObjects, and dropped its errors per key.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import count
from typing import Any

import fsspec
import pytest

from storage_manager import S3OperationError, StorageManager
from storage_manager.cli.text import moment
from storage_manager.inventory import summarize
from tests.attacks.test_services import ENDLESS, SECONDS, listing_page
from tests.backends.conftest import keys, serve
from tests.support.answers import XML, Answers, http
from tests.support.quirky_s3 import Quirk
from tests.support.roots import Make
from tests.support.services import Serve

__all__ = ["keys", "serve"]


@pytest.fixture(params=[*ENDLESS, "no token"])
async def endless(
    request: pytest.FixtureRequest, moto: Make, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[StorageManager]:
    """A manager of a service whose listings do not end."""
    monkeypatch.setattr("storage_manager.backends.s3.IDLE_PAGES", 20)
    page, numbers = {**ENDLESS, "no token": lambda n: ([f"s/{n}/action.json"], "")}[request.param], count()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        n = next(numbers)
        writer.write(listing_page(n, *page(n)))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with moto(s3_endpoint_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as sm:
        yield sm
    server.close()


LISTINGS: dict[str, Callable[[StorageManager], Any]] = {
    "async find": lambda sm: sm.async_fs._find(sm.url_for("s")),
    "async ls": lambda sm: sm.async_fs._ls(sm.url_for("s")),
    "async rm": lambda sm: sm.async_fs._rm(sm.url_for("s"), recursive=True),
    "fs.find": lambda sm: asyncio.to_thread(sm.fs.find, sm.url_for("s")),
    "fs.du": lambda sm: asyncio.to_thread(sm.fs.du, sm.url_for("s")),
    "sm.ls": lambda sm: asyncio.to_thread(fsspec.filesystem("sm", storage=sm).ls, "s"),
    "sm.rm": lambda sm: asyncio.to_thread(fsspec.filesystem("sm", storage=sm).rm, "s", recursive=True),
}


@pytest.mark.thorough
@pytest.mark.parametrize("listing", LISTINGS)
@pytest.mark.parametrize("engine", ["obstore"], indirect=True)  # the engines list with the same code
async def test_a_listing_ends(endless: StorageManager, listing: str) -> None:
    with pytest.raises(OSError, match=r"truncated, without a token|does not end"):
        await asyncio.wait_for(LISTINGS[listing](endless), SECONDS)


DELETIONS: dict[str, Callable[[StorageManager, str], Any]] = {
    "async_fs": lambda sm, url: sm.async_fs._rm(url, recursive=True),
    "fs": lambda sm, url: asyncio.to_thread(sm.fs.rm, url, recursive=True),
    "sm": lambda sm, url: asyncio.to_thread(fsspec.filesystem("sm", storage=sm).rm, "s", recursive=True),
    "manager": lambda sm, url: sm.delete_session("s"),
}
REFUSALS = (
    Quirk.NO_BULK_DELETE,
    Quirk.NO_BULK_DELETE_400,
    Quirk.BULK_DELETE_INVALID,
    Quirk.BULK_DELETE_MALFORMED,
)


@pytest.mark.parametrize("delete", DELETIONS)
@pytest.mark.parametrize("quirk", [pytest.param(quirk, id=quirk.value) for quirk in REFUSALS])
async def test_keys_are_deleted_one_by_one_if_they_cannot_be_together(serve: Serve, quirk: Quirk, delete: str) -> None:
    _, sm = serve(quirk)
    for number in range(3):
        await sm.store_step_data("s", f"t{number}", "<p>", b"x")
    await sm.store_step_data("other", "t", "<p>")
    await DELETIONS[delete](sm, sm.url_for("s"))
    assert await sm.list_sessions() == ["other"]


@pytest.mark.parametrize("delete", [name for name in DELETIONS if name != "manager"])
@pytest.mark.parametrize("quirks", [(), (Quirk.NO_BULK_DELETE,)], ids=["in bulk", "one by one"])
async def test_a_key_that_is_not_deleted_is_an_error(serve: Serve, quirks: tuple[Quirk, ...], delete: str) -> None:
    """s3fs returned as if it had been."""
    server, sm = serve(*quirks)
    await sm.store_step_data("s", "t", "<p>", b"x", {"a": 1})
    server.denied.add("s/t/action.json")
    with pytest.raises(PermissionError):
        await DELETIONS[delete](sm, sm.url_for("s"))
    assert await sm.retrieve_step_data("s", "t", components=["action"]) == (None, None, {"a": 1}, None)
    assert await sm.retrieve_step_data("s", "t", components=["html"]) == (None, None, None, None)


# --- numbers in a listing -------------------------------------------------------------------------

ROW = "<Contents><Key>s/t/action.json</Key><Size>{}</Size><LastModified>{}</LastModified><ETag>x</ETag></Contents>"


def listed(size: str, modified: str) -> bytes:
    """A session with one file."""
    row = ROW.format(size, modified)
    body = f"{XML}<ListBucketResult><Name>b</Name>{row}<IsTruncated>false</IsTruncated></ListBucketResult>"
    return http("200 OK", body, content_type="application/xml")


@pytest.mark.parametrize("size", ["-5", "9" * 400, str(2**63)])
async def test_a_size_that_no_object_has(answered_by: Answers, size: str) -> None:
    """`ls --long` ended with a traceback."""
    sm, _ = await answered_by(listed(size, "2026-01-01T00:00:00.000Z"))
    with pytest.raises(S3OperationError, match="the size of an entry is that of no object"):
        await summarize(sm, "s")


@pytest.mark.parametrize("modified", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00", "1e400", "-1", ""])
async def test_a_time_that_no_calendar_has(answered_by: Answers, modified: str) -> None:
    """`ls --long` ended with a traceback. A session of no known age is not purged."""
    sm, _ = await answered_by(listed("1", modified))
    summary = await summarize(sm, "s")
    assert (summary.steps, moment(summary.modified)) == (1, None)


@pytest.mark.parametrize("info", [{"size": None}, {"size": -1}, {"size": 10**400}, {}, {"size": "1"}])
@pytest.mark.parametrize("mtime", [1e300, float("nan"), "no time", "9999-12-31T23:59:59-12:00", True])
async def test_what_another_filesystem_says(
    monkeypatch: pytest.MonkeyPatch, info: dict[str, Any], mtime: object
) -> None:
    sm = StorageManager.from_url("memory://numbers")

    async def find(path: str, **options: object) -> dict[str, Any]:
        return {"/numbers/s/t/action.json": {"mtime": mtime, **info}}

    async with sm.backend() as backend:
        monkeypatch.setattr(backend, "_find", find)
        summary = await summarize(sm, "s")
    assert (summary.steps, summary.size) == (1, 0)
