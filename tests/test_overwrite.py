"""overwrite=False: nothing is ever replaced, on local disk and on S3 with each engine."""

import asyncio
import errno
import os
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest

from storage_manager import AlreadyExistsError, LocalStorageError, S3OperationError, StorageManager, StorageManagerError
from storage_manager.backends import disk
from storage_manager.backends import s3 as s3_module
from storage_manager.recorder import record
from tests.support.answers import XML, Answers, http
from tests.support.proxy import Proxy
from tests.support.quirky_s3 import Quirk, QuirkyS3
from tests.support.roots import Make
from tests.support.services import BUCKET, manager

Serve = Callable[..., tuple[QuirkyS3, StorageManager]]


@pytest.fixture
def serve(engine: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Start a server, and return it with a manager of an empty bucket there."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    servers: list[QuirkyS3] = []

    def start(*quirks: Quirk, **options: Any) -> tuple[QuirkyS3, StorageManager]:
        servers.append(QuirkyS3(quirks).__enter__())
        return servers[-1], manager(servers[-1], **options)

    yield start
    for server in servers:
        server.__exit__()


def objects(server: QuirkyS3) -> dict[str, bytes]:
    return {key: stored.data for key, stored in server.buckets[BUCKET].items()}


@pytest.fixture
def video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is sent in parts, because parts are small here."""
    monkeypatch.setattr(s3_module, "PART", 2**16)
    path = tmp_path / "video.webm"
    path.write_bytes(os.urandom(2**16 * 5 + 1))
    return path


async def test_a_new_step_is_stored_whole_or_not_at_all(local: StorageManager) -> None:
    await local.store_step_data("s", "t", "old", overwrite=False)
    with pytest.raises(AlreadyExistsError) as caught:
        await local.store_step_data("s", "t", "new", metadata={}, overwrite=False)
    assert caught.value.url == local.url_for("s", "t", "html")
    assert caught.value.errno == errno.EEXIST
    assert (await local.retrieve_step_data("s", "t", components=["html"])).html == "old"
    assert sorted(path.name for path in Path(local.url_for()).iterdir()) == ["s"]  # nothing staged is left


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP])
async def test_a_disk_without_hard_links(local: StorageManager, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def link(*args: object, **kwargs: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", link)
    await local.store_step_data("s", "t", "old")
    await local.store_step_data("s", "t", metadata={}, overwrite=False)
    with pytest.raises(AlreadyExistsError):
        await local.store_step_data("s", "t", "new", overwrite=False)
    assert (await local.retrieve_step_data("s", "t")).html == "old"
    source = Path(local.url_for()) / "file"
    source.write_text("x")
    await local.store_attachments("s", {"a.txt": source}, "t", overwrite=False)
    assert await local.retrieve_attachment("s", "a.txt", "t") == b"x"


async def test_a_disk_with_neither_links_nor_such_a_rename(
    local: StorageManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.ENOTSUP, "no rename that never replaces")

    await local.store_step_data("s", "t", "old")
    monkeypatch.setattr(disk, "_move_new", refuse)
    with pytest.raises(LocalStorageError, match="no rename that never replaces"):
        await local.store_step_data("s", "t", metadata={}, overwrite=False)
    assert [path.name for path in (Path(local.url_for()) / "s/t").iterdir()] == ["observation.html"]


async def test_another_backend_refuses_before_any_io() -> None:
    sm = StorageManager.from_url("memory://overwrite")
    with pytest.raises(StorageManagerError, match=r"never replaces a file \(leave out overwrite=False\)") as caught:
        await sm.store_step_data("s", "t", "x", overwrite=False)
    assert type(caught.value) is StorageManagerError
    assert await sm.list_sessions() == []


async def test_one_probe_per_root(serve: Serve, video: Path) -> None:
    """A PUT that is refused; and before the first file in parts, an upload that is refused. Nothing of them is left."""
    server, sm = serve()
    await sm.store_step_data("s", "t", "x", overwrite=False)
    assert server.counted() == Counter(PutObject=3, DeleteObject=1)
    await sm.store_step_data("s", "u", "x", metadata={}, overwrite=False)
    assert server.counted() == Counter(PutObject=2)
    await sm.store_attachments("s", {"v.webm": video}, overwrite=False)
    refused = Counter(CreateMultipartUpload=1, UploadPart=1, CompleteMultipartUpload=1, AbortMultipartUpload=1)
    stored = Counter(CreateMultipartUpload=1, UploadPart=6, CompleteMultipartUpload=1)
    assert server.counted() == Counter(PutObject=1, DeleteObject=1) + refused + stored
    found = objects(server)
    assert found.pop("s/_files/v.webm") == video.read_bytes()
    assert sorted(found) == ["s/t/observation.html", "s/u/metadata.json", "s/u/observation.html"]
    assert not server.uploads


@pytest.mark.parametrize("quirk", [Quirk.FOREIGN_ETAGS, Quirk.EMPTY_ETAGS])
async def test_a_service_whose_e_tags_are_no_md5(serve: Serve, quirk: Quirk) -> None:
    """The first write of all is the probe, which then finds out both."""
    server, sm = serve(quirk)
    await asyncio.wait_for(sm.store_step_data("s", "t", "old", overwrite=False), 30)
    with pytest.raises(AlreadyExistsError):
        await sm.store_step_data("s", "t", "new", overwrite=False)
    assert objects(server) == {"s/t/observation.html": b"old"}


async def test_a_large_file_is_not_replaced(serve: Serve, video: Path) -> None:
    server, sm = serve()
    await sm.store_attachments("s", {"v.webm": "old"})
    with pytest.raises(AlreadyExistsError) as caught:
        await sm.store_attachments("s", {"v.webm": video}, overwrite=False)
    assert caught.value.url == sm.url_for("s", attachment="v.webm")
    assert objects(server) == {"s/_files/v.webm": b"old"}
    assert not server.uploads


async def test_a_service_that_ignores_the_header_is_refused(serve: Serve) -> None:
    server, sm = serve(Quirk.NO_IF_NONE_MATCH)
    await sm.store_step_data("s", "t", "old")
    for _ in range(2):
        with pytest.raises(S3OperationError, match=r"the service ignores If-None-Match.* nothing was written"):
            await sm.store_step_data("s", "t", "new", metadata={}, overwrite=False)
    assert objects(server) == {"s/t/observation.html": b"old"}


async def test_a_service_that_ignores_it_in_uploads_is_refused(serve: Serve, video: Path) -> None:
    server, sm = serve(Quirk.NO_IF_NONE_MATCH_IN_UPLOADS)
    await sm.store_attachments("s", {"v.webm": "old"}, overwrite=False)
    with pytest.raises(S3OperationError, match=r"files of more than 65,536 bytes, which are sent in parts"):
        await sm.store_step_data("s", "t", "new", attachments={"w.webm": video}, overwrite=False)
    assert objects(server) == {"s/_files/v.webm": b"old"}
    assert not server.uploads


def behind(proxy: Proxy, sm: StorageManager) -> StorageManager:
    """The same root behind the proxy, whose service is known to honour the header."""
    other = StorageManager.from_url(sm.url_for(), s3_endpoint_url=proxy.url)
    assert other._root.s3
    other._root.s3.service.refuses_to_replace = other._root.s3.service.refuses_to_complete = True
    return other


async def test_a_lost_answer_to_a_put_counts_as_ones_own(moto_url: str, moto: Make) -> None:
    """Otherwise the second attempt would meet the file of the first, and say that it is another's."""
    sm = moto()
    async with Proxy(moto_url, "applied, then reset", only="PUT /") as proxy, behind(proxy, sm) as other:
        await other.store_step_data("s", "t", "new", overwrite=False)
        assert proxy.done == 1
    assert (await sm.retrieve_step_data("s", "t", components=["html"])).html == "new"


async def test_a_lost_answer_to_an_upload_counts_as_ones_own(moto_url: str, moto: Make, tmp_path: Path) -> None:
    sm = moto()
    (tmp_path / "v.webm").write_bytes(os.urandom(9 * 2**20))
    proxy = Proxy(moto_url, "applied, then reset", only="POST /", first=1)  # the first one begins the upload
    async with proxy, behind(proxy, sm) as other:
        await other.store_attachments("s", {"v.webm": tmp_path / "v.webm"}, overwrite=False)
        assert proxy.done == 1
    assert await sm.retrieve_attachment("s", "v.webm") == (tmp_path / "v.webm").read_bytes()


async def test_after_a_lost_request_other_bytes_are_anothers(moto_url: str, moto: Make) -> None:
    sm = moto()
    await sm.store_step_data("s", "t", "old")
    async with Proxy(moto_url, "reset", only="PUT /") as proxy, behind(proxy, sm) as other:
        with pytest.raises(AlreadyExistsError):
            await other.store_step_data("s", "t", "new", overwrite=False)
        assert proxy.done == 1
    assert (await sm.retrieve_step_data("s", "t", components=["html"])).html == "old"


@pytest.mark.parametrize(("status", "code"), [("409 Conflict", "ConditionalRequestConflict"), ("503 _", "SlowDown")])
async def test_a_request_that_was_refused_is_not_ones_own(answered_by: Answers, status: str, code: str) -> None:
    """Of two writers of the same bytes, such as a lock, Amazon answers one with 409 if they race."""
    refused, exists = (
        http(answer, f"{XML}<Error><Code>{name}</Code></Error>", content_type="application/xml")
        for answer, name in ((status, code), ("412 Precondition Failed", "PreconditionFailed"))
    )
    e_tag = f'"{md5(b"lock", usedforsecurity=False).hexdigest()}"'
    sm, answering = await answered_by(refused, exists, http("200 OK", "lock", ETag=e_tag))
    assert sm._root.s3
    sm._root.s3.service.refuses_to_replace = True
    with pytest.raises(AlreadyExistsError):
        await sm.store_step_data("s", "t", "lock", overwrite=False)
    assert len(answering.asked) == 2


async def test_an_upload_that_fails_is_aborted(serve: Serve, video: Path) -> None:
    server, sm = serve()
    storing = asyncio.ensure_future(sm.store_attachments("s", {"v.webm": video}))
    await asyncio.sleep(0)
    video.write_bytes(b"changed")
    with pytest.raises(LocalStorageError, match="changed while it was read"):
        await storing
    assert not server.uploads
    assert not objects(server)


async def test_an_upload_that_is_cancelled_is_aborted(serve: Serve, video: Path) -> None:
    server, sm = serve()
    for turns in range(0, 200, 20):
        storing = asyncio.ensure_future(sm.store_attachments("s", {"v.webm": video}))
        for _ in range(turns):
            await asyncio.sleep(0)
        storing.cancel()
        await asyncio.wait([storing])
        assert not server.uploads


async def test_a_recorder_records_where_the_header_is_ignored(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """It looks before it writes, and one warning says that another recorder may come between."""
    server, sm = serve(Quirk.NO_IF_NONE_MATCH)
    with pytest.raises(AlreadyExistsError, match="step_000001 is stored as step_000002"):
        async with record(sm, "s") as recorder:
            await sm.store_step_data("s", "step_000001", metadata={"by": "another"})
            await recorder.add(html="mine")
            await recorder.add(html="mine, too")
    assert objects(server)["s/step_000001/metadata.json"] == b'{"by":"another"}\n'
    assert objects(server)["s/step_000003/observation.html"] == b"mine, too"
    assert [record.getMessage() for record in caplog.records if "may be replaced" in record.getMessage()] == [
        f"steps below s3://{BUCKET} may be replaced, because the service ignores If-None-Match: another recorder of a "
        "session may replace its steps"
    ]
