"""Answers of a service that were made to harm: bodies without end, listings without end, sizes that are not true."""

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from itertools import count

import pytest

from storage_manager import S3OperationError, StorageManager
from storage_manager.integrity import sweep, verify_session
from tests.support.answers import XML, Answers, http
from tests.support.roots import MOTO_KEYS, Make

pytestmark = pytest.mark.thorough

SECONDS = 20  # a bound on each attack; they take about one second

# The server runs in the parent, so that a child that dies is seen.
READER = """
import asyncio, sys
from storage_manager import StorageManager, StorageManagerError
storage = StorageManager("bucket", s3_endpoint_url=sys.argv[1], s3_engine=sys.argv[2])
async def main():
    try:
        await storage.retrieve_step_data("s", "t", components=["html"], strict=True)
    except StorageManagerError as error:
        print(error)
asyncio.run(main())
"""


async def read_in_a_child(url: str, engine: str) -> tuple[int, str]:
    """The exit code of a process that reads one component, and what it prints."""
    command = [sys.executable, "-c", READER, url, engine]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=SECONDS * 2)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("length", [10**13, 2**64])
async def test_a_length_is_not_believed(
    answered_by: Answers, engine: str, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in MOTO_KEYS.items():
        monkeypatch.setenv(name, value)
    head = "HTTP/1.1 200 OK\r\netag: x\r\nlast-modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
    sm, _ = await answered_by(f"{head}content-length: {length}\r\n\r\nx".encode())
    code, said = await read_in_a_child(sm.storage_options["endpoint_url"], engine)
    assert code == 0, said
    assert "cannot retrieve s3://bucket/s/t/observation.html" in said
    if length < 2**63:
        assert re.search(r"EFBIG.*max_file_bytes", said)


async def test_a_body_without_a_length_is_cut_at_the_limit(moto: Make) -> None:
    """It never ends; the connection is closed at the limit."""
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\netag: x\r\ntransfer-encoding: chunked\r\n\r\n")
        piece = b"x" * 65536
        try:
            while not writer.transport.is_closing():
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                sent += len(piece)
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with moto(s3_endpoint_url=url, max_file_bytes=1_000_000) as sm:
        with pytest.raises(S3OperationError, match="EFBIG"):
            await asyncio.wait_for(sm.retrieve_step_data("s", "t", components=["html"], strict=True), SECONDS)
    server.close()
    assert sent < 100_000_000


# --- listings that do not end ---------------------------------------------------------------------

Page = Callable[[int], tuple[list[str], str]]
ENDLESS: dict[str, Page] = {
    # the number of a page -> the names on it, and its token
    "one token": lambda n: ([f"s/{n:06}/action.json"], "t"),
    "two tokens in turn": lambda n: ([f"s/{n:06}/action.json"], f"t{n % 2}"),
    "empty pages": lambda n: ([], f"t{n}"),
    "the same page": lambda n: (["s/t/action.json"], f"t{n}"),
    "two pages in turn": lambda n: ([f"s/t{n % 2}/action.json"], f"t{n}"),
}


def listing_page(n: int, names: list[str], token: str) -> bytes:
    contents = "".join(f"<Contents><Key>{name}</Key><Size>1</Size></Contents>" for name in names)
    prefixes = "".join(
        f"<CommonPrefixes><Prefix>{name.rpartition('/')[0]}/</Prefix></CommonPrefixes>" for name in names
    )
    uploads = "".join(f"<Upload><Key>{name}</Key><UploadId>u</UploadId></Upload>" for name in names)
    markers = f"<NextKeyMarker>{token}</NextKeyMarker><NextUploadIdMarker>{token}</NextUploadIdMarker>"
    tail = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>{markers}"
    root = "ListBucketResult"
    return http(
        "200 OK",
        f"{XML}<{root}><Name>b</Name>{contents}{prefixes}{uploads}{tail}</{root}>",
        content_type="application/xml",
    )


@pytest.fixture(params=ENDLESS)
async def endless(
    request: pytest.FixtureRequest, moto: Make, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[StorageManager]:
    """A manager of a service whose listings do not end."""
    monkeypatch.setattr("storage_manager.backends.s3.IDLE_PAGES", 20)
    page, numbers = ENDLESS[request.param], count()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        n = next(numbers)
        writer.write(listing_page(n, *page(n)))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with moto(s3_endpoint_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as sm:
        yield sm
    server.close()


async def unfinished(sm: StorageManager) -> list[str]:
    async with sm.backend() as backend:
        return await backend.list_unfinished(sm.url_for("s"))


@pytest.mark.parametrize(
    "operation",
    [
        lambda sm: sm.list_sessions(),
        lambda sm: sm.list_steps_for_session("s"),
        lambda sm: verify_session(sm, "s"),
        sweep,
        unfinished,
        lambda sm: sm.get_share_links("s", "t"),
    ],
    ids=["list_sessions", "list_steps", "verify", "sweep", "uploads", "share"],
)
@pytest.mark.parametrize("engine", ["obstore"], indirect=True)  # the engines list with the same code
async def test_a_listing_ends(endless: StorageManager, operation: Callable[[StorageManager], object]) -> None:
    with pytest.raises((S3OperationError, OSError), match=r"truncated, without a token|does not end|below the dir"):
        await asyncio.wait_for(operation(endless), SECONDS)  # type: ignore[arg-type]
