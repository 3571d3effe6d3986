"""Links that a browser opens without credentials, from each backend and engine."""

from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import url2pathname

import aiohttp
import fsspec
import pytest
from fsspec import AbstractFileSystem
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from fsspec.implementations.memory import MemoryFileSystem

from storage_manager import InvalidDataError, InvalidIdError, StorageManager, StorageManagerError
from tests.support.roots import Make, Request

PNG = b"\x89PNG\r\n\x1a\n"


async def opened(link: str) -> tuple[bytes, str | None]:
    """What a stranger gets, and its content type."""
    if link.startswith("file://"):
        return Path(url2pathname(urlsplit(link).path)).read_bytes(), None
    async with aiohttp.ClientSession(raise_for_status=True) as session, session.get(link) as answer:
        return await answer.read(), answer.headers["Content-Type"]


async def test_a_stranger_opens_what_was_stored(sm: StorageManager) -> None:
    paths = await sm.store_step_data("run-1", "a:=@+,~b", "<p>Ä</p>", PNG, {"type": "click"})
    links = await sm.get_share_links("run-1", "a:=@+,~b")
    assert list(links) == list(paths)
    assert links["metadata_path"] is None
    assert await opened(str(links["html_path"])) in [
        ("<p>Ä</p>".encode(), kind) for kind in (None, "text/html; charset=utf-8")
    ]
    assert await opened(str(links["screenshot_path"])) in [(PNG, kind) for kind in (None, "image/png")]
    assert (await opened(str(links["action_data_path"])))[0] == b'{"type":"click"}\n'


async def test_what_is_not_there_has_no_link(sm: StorageManager) -> None:
    assert set((await sm.get_share_links("nobody", "s")).values()) == {None}


async def test_a_link_is_signed_for_as_long_as_it_is_asked(moto: Make) -> None:
    sm = moto()
    await sm.store_step_data("run-1", "step_000001", metadata={})
    for asked, told in ((7, "7"), (timedelta(days=7), "604800"), (timedelta(seconds=90), "90")):
        link = (await sm.get_share_links("run-1", "step_000001", expires_in=asked))["metadata_path"]
        query = parse_qs(urlsplit(str(link)).query)
        assert query["X-Amz-Expires"] == [told]
        assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]


async def test_a_link_of_who_has_no_credentials_is_not_signed(moto: Make) -> None:
    sm = moto()
    await sm.store_step_data("run-1", "step_000001", metadata={})
    link = (await moto(storage_options={"anon": True}).get_share_links("run-1", "step_000001"))["metadata_path"]
    assert str(link).endswith("/run-1/step_000001/metadata.json")


async def test_links_cost_one_list(moto: Make, moto_requests: list[Request]) -> None:
    sm = moto()
    await sm.store_step_data("run-1", "step_000001", "<p>", PNG, {}, {})
    await sm.get_share_links("run-1", "step_000001")
    moto_requests.clear()
    await sm.get_share_links("run-1", "step_000001")
    assert [request[0] for request in moto_requests] == ["GET"]


@pytest.mark.parametrize("asked", [0, -1, 604801, True, None, "3600", timedelta(0), timedelta(days=8), float("nan")])
async def test_another_time_is_refused(make: Make, asked: Any) -> None:
    with pytest.raises(InvalidDataError, match="seven days") as caught:
        await make().get_share_links("run-1", "step_000001", asked)
    assert caught.value.operation == "share"


async def test_another_id_is_refused(make: Make) -> None:
    with pytest.raises(InvalidIdError, match="'/' at position 2") as caught:
        await make().get_share_links("run-1", "../etc")
    assert caught.value.operation == "share"


async def test_a_backend_without_links_says_so() -> None:
    sm = StorageManager.from_url("memory://share")
    await sm.store_step_data("run-1", "step_000001", metadata={})
    with pytest.raises(StorageManagerError, match=r"cannot share memory://share/run-1.*no links") as caught:
        await sm.get_share_links("run-1", "step_000001")
    assert caught.value.operation == "share"
    await sm.delete_session("run-1")


class Signing(MemoryFileSystem):
    """A backend whose links are made without a request, as Google's are."""

    protocol = "signing"

    def sign(self, path: str, expiration: int = 100, **kwargs: Any) -> str:
        return f"https://links.test{path.partition(':/')[2]}?for={expiration}"


class Asking(AsyncFileSystemWrapper):
    """One that is asynchronous and makes them in a coroutine, as Azure's does."""

    protocol = "asking"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(MemoryFileSystem(), **kwargs)
        self._strip_protocol = str  # the memory keeps paths as they come; not every fsspec's wrapper says so

    async def _url(self, path: str, expires: int = 3600) -> str:
        return f"https://links.test{path.partition(':/')[2]}?for={expires}"


@pytest.mark.parametrize("backend", [Signing, Asking])
async def test_a_backend_with_links_gives_them(backend: type[AbstractFileSystem]) -> None:
    fsspec.register_implementation(str(backend.protocol), backend, clobber=True)
    sm = StorageManager.from_url(f"{backend.protocol}://share")
    await sm.store_step_data("run-1", "step_000001", metadata={})
    link = (await sm.get_share_links("run-1", "step_000001", 60))["metadata_path"]
    assert link == "https://links.test/share/run-1/step_000001/metadata.json?for=60"
    await sm.delete_session("run-1")


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("eu-south-1", "a-bucket.s3.eu-south-1.amazonaws.com"),
        ("us-west-2", "a-bucket.s3.us-west-2.amazonaws.com"),
        ("us-east-1", "a-bucket.s3.us-east-1.amazonaws.com"),
        ("cn-north-1", "a-bucket.s3.cn-north-1.amazonaws.com.cn"),
        ("us-gov-west-1", "a-bucket.s3.us-gov-west-1.amazonaws.com"),
    ],
)
@pytest.mark.parametrize("bucket", ["a-bucket", "a.bucket"])
async def test_a_link_names_the_host_of_its_region(engine: str, region: str, host: str, bucket: str) -> None:
    sm = StorageManager(
        bucket,
        region,
        s3_engine=engine,
        storage_options={"key": "k", "secret": "s"},  # type: ignore[arg-type]
    )
    async with sm, sm.backend() as backend:
        link = urlsplit(await backend.link(sm.url_for("run-1", "step_000001", "html"), 60))
    path = "/run-1/step_000001/observation.html"
    if bucket == "a.bucket":  # no certificate covers it as a host name
        host, path = host.removeprefix("a-bucket."), f"/a.bucket{path}"
    assert (link.scheme, link.netloc, link.path) == ("https", host, path)
    assert f"%2F{region}%2Fs3%2F" in link.query
