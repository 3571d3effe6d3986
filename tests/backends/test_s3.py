"""S3: what is asked of the server, and what is said when it refuses."""

import asyncio
import json
import pickle
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import certifi
import fsspec
import pytest
import s3fs
import trustme
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import AioSession

import storage_manager.backends.s3
from storage_manager import S3ConfigError, S3OperationError, StepData, StorageManager
from storage_manager.backends.client import HttpSession
from storage_manager.backends.s3 import has_foreign_e_tag, ordered_pages, sorted_pages
from storage_manager.inventory import hash_file
from storage_manager.s3_settings import Service
from tests.support.answers import DELETED, XML, Answers, http, listing
from tests.support.roots import MOTO_KEYS, Request

Make = Callable[..., StorageManager]
MD5 = "9dd4e461268c8034f5c8564e155c67a6"  # of b"x"
DATA = StepData("<p>", b"\x89PNG", {"a": 1}, {"m": 1})


def counted(requests: list[Request]) -> Counter[str]:
    """How many of each: PUT, GET, HEAD, LIST, DELETE (DeleteObjects)."""
    kinds = {"list-type": "LIST", "delete": "DELETE"}
    return Counter(next((kind for mark, kind in kinds.items() if mark in r.query), r.method) for r in requests)


@pytest.fixture
def requests(moto: Make, moto_requests: list[Request]) -> list[Request]:
    """What is asked after the bucket was made."""
    moto_requests.clear()
    return moto_requests


async def test_storing_is_one_put_a_component_with_its_content_type(moto: Make, requests: list[Request]) -> None:
    await moto().store_step_data("s", "t", *DATA)
    assert counted(requests) == {"PUT": 4}
    assert {request.path.rpartition("/")[2]: request.content_type for request in requests} == {
        "observation.html": "text/html; charset=utf-8",
        "screenshot.png": "image/png",
        "action.json": "application/json",
        "metadata.json": "application/json",
    }


async def test_jpeg_and_webp_have_their_own_content_type(moto: Make, requests: list[Request]) -> None:
    await moto().store_step_data("s", "t", screenshot_bytes=b"\xff\xd8\xff\xe0")
    await moto().store_step_data("s", "t", screenshot_bytes=b"RIFF\0\0\0\0WEBP")
    assert [request.content_type for request in requests] == ["image/jpeg", "image/webp"]


async def test_retrieving_is_one_get_a_component(moto: Make, requests: list[Request]) -> None:
    sm = moto()
    await sm.store_step_data("s", "t", *DATA)
    requests.clear()
    await sm.retrieve_step_data("s", "t")
    await sm.retrieve_step_data("s", "t", components=["metadata"])
    await sm.retrieve_step_data("s", "missing")
    assert counted(requests) == {"GET": 4 + 1 + 4}


@pytest.mark.skipif(not hasattr(AIOHTTPSession, "_build_ssl_contexts"), reason="aiobotocore before 3.10")
@pytest.mark.parametrize("engine", ["s3fs"], indirect=True)
def test_certificates_are_read_once(moto: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not for each loop; what is trusted otherwise is read by itself."""
    read, load = [], ssl.SSLContext.load_verify_locations

    def reading(context: ssl.SSLContext, *files: Any) -> None:
        read.append(files[0])
        load(context, *files)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", reading)
    monkeypatch.setattr(HttpSession, "shared_certificates", None)
    trustme.CA().cert_pem.write_to_path(own := tmp_path / "own.pem")
    theirs = {"config_kwargs": {"http_session_cls": type("Theirs", (AIOHTTPSession,), {})}}
    for options in ({}, {}, named := {"client_kwargs": {"verify": str(own)}}, named, theirs, theirs):
        asyncio.run(moto(storage_options=options).list_sessions())
    assert read == [certifi.where(), str(own), str(own), certifi.where(), certifi.where()]


@pytest.fixture
def pages_of_a_hundred(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of a thousand, which take a fake server a while."""
    for module in (storage_manager.backends.s3,):
        assert module.PAGE == 1000
        monkeypatch.setattr(module, "PAGE", 100)


@pytest.mark.usefixtures("pages_of_a_hundred")
async def test_listing_is_one_list_a_page(moto: Make, engine: str, requests: list[Request]) -> None:
    sm = moto()
    ids = [f"session-{number:05}" for number in range(250)]
    await asyncio.gather(*(sm.store_step_data(name, "t", metadata={}) for name in ids))
    requests.clear()
    assert await sm.list_sessions() == ids
    assert counted(requests) == {"LIST": 3}
    requests.clear()
    await anext(names := sm.iter_sessions())
    await names.aclose()
    assert counted(requests)["LIST"] <= 3


@pytest.mark.usefixtures("pages_of_a_hundred")
async def test_deleting_is_its_lists_and_one_delete_a_page(moto: Make, engine: str, requests: list[Request]) -> None:
    sm = moto()
    for steps, pages in ((20, 1), (30, 2)):
        await asyncio.gather(*(sm.store_step_data("s", f"t{n}", "", b"", {}, {}) for n in range(steps)))
        requests.clear()
        await sm.delete_session("s")
        assert counted(requests) == {"LIST": pages + 1, "DELETE": pages}


async def test_requests_in_flight_are_bounded(moto: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    sm = moto(max_concurrency=3)
    flying, most = 0, 0
    call = sm.async_fs._put_whole

    async def counting(*args: Any, **kwargs: Any) -> Any:
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        try:
            return await call(*args, **kwargs)
        finally:
            flying -= 1

    monkeypatch.setattr(sm.async_fs, "_put_whole", counting)
    await asyncio.gather(*(sm.store_step_data("s", f"t{n}", *DATA) for n in range(8)))
    assert most == 3


async def test_no_such_bucket_is_no_missing_step(moto: Make) -> None:
    sm = moto(s3_bucket_name="no-such-bucket")
    for operation, call in {
        "retrieve": sm.retrieve_step_data("s", "t"),
        "store": sm.store_step_data("s", "t", "x"),
        "list": sm.list_sessions(),
        "delete": sm.delete_session("s"),
        "check": sm.check(),
    }.items():
        with pytest.raises(S3OperationError, match=r"NoSuchBucket.*create the bucket") as caught:
            await call
        assert caught.value.operation == operation
        assert caught.value.url
        assert caught.value.url.startswith("s3://no-such-bucket")
        assert caught.value.__cause__ is not None


async def test_nobody_listening(moto: Make) -> None:
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        sm = moto(s3_endpoint_url=f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(S3OperationError, match="s3_endpoint_url"):
            await sm.retrieve_step_data("s", "t")


async def test_no_credentials_is_a_configuration_error(moto: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(S3ConfigError, match="credentials"):
        await moto().list_sessions()


async def test_prefixes_keep_apart(moto: Make) -> None:
    one, two, bare = moto(s3_prefix="/one/"), moto(s3_prefix="two/deep"), moto()
    await one.store_step_data("s", "t", *DATA)
    assert one.url_for("s").endswith("/one/s")
    assert await two.list_sessions() == []
    assert await bare.list_sessions() == ["one"]
    same = StorageManager.from_url(one.url_for(), s3_endpoint_url=one.storage_options["endpoint_url"])
    assert await same.retrieve_step_data("s", "t") == DATA


async def test_options_go_over_ours_without_replacing_them(moto: Make, requests: list[Request]) -> None:
    sm = moto(
        storage_options={"config_kwargs": {"read_timeout": 7}, "s3_additional_kwargs": {"StorageClass": "GLACIER"}}
    )
    await sm.store_step_data("s", "t", "x")
    assert counted(requests) == {"PUT": 1}
    filesystem = getattr(sm.async_fs, "s3fs", sm.async_fs)
    assert filesystem.config_kwargs["read_timeout"] == 7
    assert filesystem.config_kwargs["retries"] == {"mode": "standard", "total_max_attempts": 1}
    assert (sm.fs.info(sm.url_for("s", "t", "html")))["StorageClass"] == "GLACIER"


async def test_storage_options_hold_no_secret(moto: Make) -> None:
    secret = {"key": "planted-key", "secret": "planted-secret", "token": "planted-token"}
    sm = moto(storage_options={**secret, "anon": False})
    assert sm.storage_options["anon"] is False
    for text in (repr(sm), repr(sm.storage_options), repr(sm.get_storage_info())):
        assert "planted" not in text


async def test_any_protocol_of_fsspec(moto: Make, moto_url: str) -> None:
    """What is not ours runs as any asynchronous backend of fsspec does."""

    class PlainS3(s3fs.S3FileSystem):  # type: ignore[misc]
        protocol = "plain-s3"

    fsspec.register_implementation("plain-s3", PlainS3, clobber=True)
    bucket = moto().get_storage_info()["s3_bucket"]
    options = {"endpoint_url": moto_url, "client_kwargs": {"region_name": "us-east-1"}, "use_listings_cache": False}
    sm = StorageManager.from_url(f"plain-s3://{bucket}/x", storage_options=options)
    await sm.store_step_data("s", "t", *DATA)
    assert await sm.retrieve_step_data("s", "t") == DATA
    assert await sm.list_sessions() == ["s"]
    await sm.delete_session("s")
    assert await sm.list_sessions() == []

    async def target() -> Any:
        return sm.async_fs.target

    assert await asyncio.to_thread(asyncio.run, target()) is not await target()  # fsspec would give the same to both
    await (await sm.async_fs.target.set_session()).close()  # as stock s3fs wants it


NO_S3 = [
    http("200 OK", "<html><body>Please log in</body></html>", content_type="text/html"),
    http("200 OK", XML + "<ListBucketResult><broken", content_type="application/xml"),
    http("200 OK", XML + "<Else/>", content_type="application/xml"),
    http("404 Not Found", "default backend - 404", content_type="text/plain"),
    http("404 Not Found", '{"message":"no Route matched"}', content_type="application/json"),
    http("404 Not Found", ""),
]


@pytest.mark.parametrize("answer", NO_S3)
async def test_what_is_no_s3_is_no_success(answered_by: Answers, answer: bytes) -> None:
    """A proxy's page is neither an empty listing, a stored component nor a missing one; it is said what it is."""
    sm, _ = await answered_by(answer)
    retrieve, store = sm.retrieve_step_data("s", "t"), sm.store_step_data("s", "t", "x")
    calls = retrieve, store, sm.list_sessions(), sm.delete_session("s")
    for error in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(error, S3OperationError)
        assert "does not speak S3" in str(error) or ": 500:" in str(error)  # botocore makes a 500 of much


@pytest.mark.parametrize("engine", ["s3fs"], indirect=True)
async def test_a_part_is_not_the_whole(answered_by: Answers) -> None:
    """Though it be told as what was asked for; obstore sees that by the ETag alone."""
    etag = '"99914b932bd37a50b983c5e7c90ae93b"'
    sm, _ = await answered_by(http("206 Partial Content", "{}", etag=etag, content_range="bytes 0-1/9"))
    with pytest.raises(S3OperationError, match="it is a range of a whole object"):
        await sm.retrieve_step_data("s", "t")


REDIRECTS = [301, 302, 303, 307, 308]


@pytest.mark.parametrize("engine", ["s3fs"], indirect=True)
async def test_a_first_range_of_unknown_size_is_not_the_whole(answered_by: Answers) -> None:
    part = http("206 Partial Content", "x", content_range="bytes 0-0/*", etag=f'"{"0" * 32}-2"')
    sm, _ = await answered_by(part)
    with pytest.raises(S3OperationError, match="its range does not say the whole size"):
        await hash_file(sm, sm.url_for("s", attachment="a.bin"))


@pytest.mark.parametrize("status", REDIRECTS)
@pytest.mark.parametrize(
    ("engine", "located"), [("s3fs", True), ("s3fs", False), ("obstore", False)], indirect=["engine"]
)
async def test_no_redirect_is_followed(answered_by: Answers, status: int, located: bool) -> None:
    """To another host it would take the data and the session token along."""
    trapped, trap = await answered_by(http("200 OK", "", etag='"x"'))
    other = trapped.storage_options["endpoint_url"]
    sm, server = await answered_by(http(f"{status} Moved", "", **({"location": f"{other}/b/k"} if located else {})))
    calls = sm.store_step_data("s", "t", "x"), sm.retrieve_step_data("s", "t"), sm.list_sessions()
    for error in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(error, S3OperationError)
        assert "s3_endpoint_url" in str(error) or "s3_region_name" in str(error)
    assert trap.asked == []
    assert len(server.asked) == 1 + 4 + 1


@pytest.mark.parametrize("engine", ["obstore"], indirect=True)
@pytest.mark.parametrize("status", REDIRECTS)
async def test_a_redirect_of_obstore_is_no_success(answered_by: Answers, status: int) -> None:
    """It follows a read wherever it is sent, and 303 makes a read of a PUT: a page is not what was stored."""
    other, _ = await answered_by(http("200 OK", "Please log in", etag='"5f3c-1"'))
    location = f"{other.storage_options['endpoint_url']}/b/s/t/observation.html"
    sm, _ = await answered_by(http(f"{status} Moved", "", location=location))
    with pytest.raises(S3OperationError):
        await sm.store_step_data("s", "t", "new")


async def test_keys_of_elsewhere_are_not_deleted(answered_by: Answers) -> None:
    sm, _ = await answered_by(listing("other/key"))
    with pytest.raises(S3OperationError, match="does not speak S3"):
        await sm.delete_session("s")


async def test_an_empty_page_is_not_the_last(answered_by: Answers) -> None:
    empty = listing(token="T", truncated=True)
    sm, server = await answered_by(empty, listing("s/t/observation.html"), DELETED, listing())
    await sm.delete_session("s")
    assert [head.split()[0] for head in server.asked] == [b"GET", b"GET", b"POST", b"GET"]
    assert b"continuation-token=T" in server.asked[1]


@pytest.mark.parametrize("token", [None, "T"])
async def test_a_listing_that_goes_nowhere(answered_by: Answers, token: str | None) -> None:
    """Its names are not taken for all that there are."""
    sm, _ = await answered_by(listing(token=token, truncated=True))
    for call in (sm.list_sessions, partial(sm.delete_session, "s")):
        with pytest.raises(S3OperationError, match="truncated, without a token"):
            await call()


async def test_a_deletion_that_others_undo_ends(answered_by: Answers, engine: str) -> None:
    """Others go on writing: after twenty rounds it says what is left."""
    pages = [page for number in range(30) for page in (listing(f"s/t/{number}"), DELETED)]
    sm, server = await answered_by(*pages)
    with pytest.raises(S3OperationError, match="still listed after its deletions"):
        await sm.delete_session("s")
    assert len(server.asked) == 40


async def test_a_deletion_can_be_cancelled_between_its_requests(answered_by: Answers) -> None:
    sm, server = await answered_by(*[page for n in range(90) for page in (listing(f"s/t/{n}"), DELETED)])
    deletion = asyncio.ensure_future(sm.delete_session("s"))
    while len(server.asked) < 5:  # noqa: ASYNC110 - it is the server's turn that is waited for
        await asyncio.sleep(0)
    deletion.cancel()
    with pytest.raises(asyncio.CancelledError):
        await deletion
    assert len(server.asked) < 10


@pytest.mark.parametrize("status", ["507 Full", "520 Unknown", "529 Overloaded", "408 Timeout", "400 BadDigest"])
async def test_more_that_may_pass(answered_by: Answers, status: str) -> None:
    code = status.split()[1]
    refusal = http(status, f"{XML}<Error><Code>{code}</Code><Message>no</Message></Error>")
    sm, server = await answered_by(refusal, refusal, http("200 OK", "", etag=f'"{MD5}"'))
    await sm.store_step_data("s", "t", "x")
    assert len(server.asked) == 3


@pytest.mark.parametrize("etag", [f'"{MD5}"', MD5.upper(), "no-md5", f'"{MD5}-2"'])
async def test_a_body_is_compared_with_its_etag(answered_by: Answers, engine: str, etag: str) -> None:
    sm, server = await answered_by(http("200 OK", "y", etag=etag), http("200 OK", "x", etag=etag))
    html = (await sm.retrieve_step_data("s", "t", components=["html"])).html
    is_md5 = MD5 in etag.lower() and "-2" not in etag
    again = {"s3fs": 2, "obstore": 3}[engine]  # obstore looks whether it is read alike a second time
    assert (html, len(server.asked)) == (("x", again) if is_md5 else ("y", 1))


@pytest.mark.parametrize(
    ("answer", "bucket"),
    [
        ({"ServerSideEncryption": "aws:kms"}, "b"),
        ({"ServerSideEncryption": "aws:kms:dsse"}, "b"),
        ({"SSECustomerAlgorithm": "AES256"}, "b"),
        ({}, "b--usw2-az1--x-s3"),
        ({}, "b--usw2-az1--xa-s3"),
    ],
)
def test_an_etag_is_no_md5_if_amazon_says_so(answer: dict[str, str], bucket: str) -> None:
    assert has_foreign_e_tag(bucket, answer)
    assert not has_foreign_e_tag("b", {"ServerSideEncryption": "AES256"})


async def test_one_task_may_close_while_others_read(moto: Make) -> None:
    """The last operation that is under way closes."""
    sm = moto()
    await sm.store_step_data("s", "t", *DATA)

    async def read(number: int) -> StepData:
        await asyncio.sleep(number * 0.003)
        async with sm:
            return await sm.retrieve_step_data("s", "t")

    assert await asyncio.gather(*map(read, range(40))) == [DATA] * 40


async def test_names_of_s3_come_in_their_own_order() -> None:
    """S3 sorts the slash with the name: a- before a/; names sort a before a-."""
    names = ["a", "a+", "a-", "a-b", "a-b-c", "a.", "a0", "b-1", "b-2", "b", "c", "c-"]
    listed = sorted(names, key=lambda name: name + "/")

    async def pages(size: int) -> Any:
        for start in range(0, len(listed), size):
            yield listed[start : start + size]

    for size in range(1, 13):
        assert [name async for page in sorted_pages(pages(size)) for name in page] == sorted(names)
    released = sorted_pages(pages(8))
    assert await anext(released) == ["a", "a+", "a-", "a-b", "a-b-c", "a.", "a0"]
    await released.aclose()


async def in_pages(names: list[str], size: int) -> Any:
    for start in range(0, len(names), size):
        yield names[start : start + size]


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
async def test_names_that_come_unsorted_or_twice_are_sorted_each_once(size: int) -> None:
    names = ["c", "a", "a", "b-1", "b", "b", "a"]
    service = Service()
    assert [name async for page in ordered_pages(in_pages(names, size), service) for name in page] == [
        *("a", "b-1", "b", "c")  # as S3 sorts them: with the slash
    ]
    assert not service.lists_in_order


async def test_a_name_that_is_repeated_on_the_next_page_comes_once() -> None:
    names = [f"{number:04}" for number in range(2500)]
    pages = in_pages(sorted([*names, "0999", "1998"]), 1000)
    assert [name async for page in ordered_pages(pages, Service()) for name in page] == names


async def test_a_listing_that_is_out_of_order_late_is_refused_and_then_sorted() -> None:
    """The names before are with the reader already. Of all names in no order, a thousand do not come in order."""
    names, service = [f"{number:04}" for number in range(2000)], Service()
    late = [*names, "0000x"]
    with pytest.raises(OSError, match="list again"):
        [name async for page in ordered_pages(in_pages(late, 1000), service) for name in page]
    assert [name async for page in ordered_pages(in_pages(late, 1000), service) for name in page] == sorted(late)


async def test_part_of_a_component_can_be_read(moto: Make) -> None:
    sm = moto()
    await sm.store_step_data("s", "t", "0123456789")
    assert sm.fs.cat_file(sm.url_for("s", "t", "html"), start=2, end=5) == b"234"


@pytest.mark.parametrize("cuts", [1, 2, 3])
async def test_a_body_that_breaks_off_is_asked_for_again(moto: Make, cuts: int) -> None:
    """Three attempts in all; botocore's own retries end with the headers."""
    asked = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        while (await reader.readline()).strip():
            pass
        asked += 1
        body = b"0123" if asked <= cuts else b"0123456789"
        writer.write(b"HTTP/1.1 200 OK\r\netag: x\r\nconnection: close\r\ncontent-length: 10\r\n\r\n" + body)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    sm = moto(s3_endpoint_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    if cuts < 3:
        assert (await sm.retrieve_step_data("s", "t", components=["html"])).html == "0123456789"
    else:
        with pytest.raises(S3OperationError):
            await sm.retrieve_step_data("s", "t", components=["html"])
    assert asked == min(cuts + 1, 3)
    await sm.aclose()
    server.close()
    await server.wait_closed()


REFUSED = "<Error><Key>s/t/observation.html</Key><Code>AccessDenied</Code><Message>no</Message></Error>"


@pytest.mark.parametrize(
    ("refusal", "message"),
    [(REFUSED, r"AccessDenied.*s/t/observation\.html.*grant"), ("", r"still listed.*s/t/observation\.html")],
)
async def test_a_deletion_that_fails_names_what_is_left(answered_by: Answers, refusal: str, message: str) -> None:
    """A bulk delete answers 200 also where it refused every key, and a listing is the only proof."""
    answer = http("200 OK", f"{XML}<DeleteResult>{refusal}</DeleteResult>", content_type="application/xml")
    sm, _ = await answered_by(*[page for _ in range(9) for page in (listing("s/t/observation.html"), answer)])
    with pytest.raises(S3OperationError, match=message):
        await sm.delete_session("s")


async def test_what_was_never_used_closes(moto: Make) -> None:
    sm = moto()
    assert sm.async_fs is sm.async_fs
    await sm.aclose()


async def test_a_server_that_is_mute(moto: Make) -> None:
    """It accepts connections and never answers: every attempt times out, also a PUT, and a cancellation comes out."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        options = {"config_kwargs": {"read_timeout": 0.2}}
        sm = moto(s3_endpoint_url=f"http://127.0.0.1:{mute.getsockname()[1]}", storage_options=options)
        calls = sm.store_step_data("s", "t", "x"), sm.retrieve_step_data("s", "t"), sm.delete_session("s")
        for call in calls:
            with pytest.raises(S3OperationError, match="s3_endpoint_url"):
                await asyncio.wait_for(call, 30)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(sm.store_step_data("s", "t", "x"), 0.1)
        await sm.aclose()


@pytest.mark.thorough
async def test_a_server_that_takes_no_more(moto: Make) -> None:
    """It accepts a connection and reads nothing: a body larger than the buffers between is given up as well."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        options = {"config_kwargs": {"read_timeout": 0.1}}
        sm = moto(s3_endpoint_url=f"http://127.0.0.1:{mute.getsockname()[1]}", storage_options=options)
        with pytest.raises(S3OperationError, match="s3_endpoint_url"):
            await asyncio.wait_for(sm.store_step_data("s", "t", screenshot_bytes=bytes(20_000_000)), 30)
        await sm.aclose()


async def test_a_cancellation_waits_for_no_further_attempt(answered_by: Answers) -> None:
    """A store and a deletion that are cancelled end with the attempt under way, not with the third."""
    busy = http("503 Slow Down", f"{XML}<Error><Code>SlowDown</Code><Message>no</Message></Error>")
    for answers, call in (
        ([busy], lambda sm: sm.store_step_data("s", "t", "x")),
        ([listing("s/t/observation.html"), busy], lambda sm: sm.delete_session("s")),
    ):
        sm, server = await answered_by(*answers)
        task = asyncio.ensure_future(call(sm))
        while len(server.asked) < len(answers):  # noqa: ASYNC110 - it is the server's turn that is waited for
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(server.asked) == len(answers)


async def test_what_storage_options_say_is_what_is_shown(moto: Make) -> None:
    client = {"endpoint_url": "http://other:1", "region_name": "eu-central-1"}
    sm = StorageManager("a-bucket", storage_options={"client_kwargs": client, "key": "k", "secret": "planted"})
    assert sm.get_storage_info()["s3_region"] == "eu-central-1"
    assert sm.storage_options == {"client_kwargs": {"region_name": "eu-central-1"}, "endpoint_url": "http://other:1"}
    with pytest.raises(S3ConfigError, match="endpoint_url") as caught:
        StorageManager("a-bucket", storage_options={"endpoint_url": "http://u:planted@h"})
    assert "planted" not in str(caught.value)


async def test_managers_travel_between_processes(make: Make) -> None:
    sm = make()
    await sm.store_step_data("s", "t", *DATA)
    assert await pickle.loads(pickle.dumps(sm)).retrieve_step_data("s", "t") == DATA


async def test_a_missing_file_of_a_token_is_no_missing_component(
    moto: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a cluster hands out tokens; nothing is asked of S3 then."""
    sm = moto()
    for name in MOTO_KEYS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/reader")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    for strict in (True, False):
        with pytest.raises(S3ConfigError, match=r"from a file in the AWS settings: .*/token' \(correct the cred"):
            await sm.retrieve_step_data("s", "t", strict=strict)


async def test_first_requests_at_once_make_one_client(
    moto: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several the last would stay, and not be the one that was settled in. Credentials that take a while.

    s3fs sees to it itself since 2026.6.
    """
    keys = {"Version": 1, "AccessKeyId": "testkey", "SecretAccessKey": "testsecret"}
    (tmp_path / "keys.json").write_text(json.dumps(keys))
    config = tmp_path / "config"
    config.write_text(f"[profile mine]\ncredential_process = cat {tmp_path / 'keys.json'}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    made, create = [], AioSession.create_client

    def counted(*args: Any, **kwargs: Any) -> Any:
        made.append(args)
        return create(*args, **kwargs)

    monkeypatch.setattr(AioSession, "create_client", counted)
    sm = moto(storage_options={"profile": "mine"})
    assert await asyncio.gather(*(sm.list_steps_for_session(f"s{number}") for number in range(4))) == [[]] * 4
    assert len(made) == 1


async def test_a_client_that_is_made_after_the_closing_follows_nobody_either(moto: Make) -> None:
    """Whoever holds the filesystem goes on with it."""
    sm = moto(s3_engine="s3fs")
    assert await sm.list_sessions() == []
    filesystem: Any = sm.async_fs
    await sm.aclose()
    assert [page async for page in filesystem.iter_names(sm.url_for())] == []
    await filesystem.close()
