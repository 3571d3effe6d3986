"""Sessions are copied between any two places, once, and purged when they are old."""

import asyncio
import os
import time
import tracemalloc
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from storage_manager import (
    InvalidDataError,
    InvalidIdError,
    LocalStorageError,
    S3OperationError,
    StepData,
    StorageManager,
)
from storage_manager.backends import File
from storage_manager.integrity import seal_session, verify_session
from storage_manager.inventory import list_files
from storage_manager.transfer import copy_sessions, copying, purge_sessions, purging
from tests.support.roots import ENGINES, MOTO_KEYS, Make, Request, managers_at, s3_client

PNG = b"\x89PNG\r\n\x1a\n"
PLACES = ["local", "memory", *ENGINES]


@pytest.fixture
def place(moto_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A manager of an empty place of the kind that is asked for; twice at moto, at the most."""
    buckets = [managers_at(moto_url, monkeypatch, **MOTO_KEYS) for _ in range(2)]

    def make(kind: str, **kwargs: Any) -> StorageManager:
        if kind in ENGINES:
            return buckets.pop()(s3_engine=kind, **kwargs)
        name = f"{os.urandom(8).hex()}"
        return StorageManager.from_url(f"memory://{name}" if kind == "memory" else f"{tmp_path}/{name}", **kwargs)

    return make


async def fill(sm: StorageManager) -> None:
    """Two sessions: three steps, of which one is by another writer and one cannot be decoded, and one step."""
    await sm.store_step_data("run-1", "step_1", "<p>Ä</p>", PNG, {"type": "click"}, {"url": "http://a.test/"})
    await sm.store_step_data("run-1", "step_2", metadata={})
    others = [("action.json", b'{ "a": 1.0 }'), ("observation.html", b"\xff")]
    files = [File(f"{sm.url_for('run-1', 'step_3')}/{name}", data, "text/plain") for name, data in others]
    await sm.async_fs.write_files(files)
    await sm.store_step_data("run-2", "step_1", "<p>B</p>")


async def contents(sm: StorageManager) -> Mapping[str, bytes]:
    """Every file of every session."""
    files = {}
    async for session_id in sm.iter_sessions():
        async for found in list_files(sm, session_id):
            url = f"{sm.url_for(session_id)}/{found.name}"
            [files[f"{session_id}/{found.name}"]] = await sm.async_fs.read_files([url])
    return files


@pytest.mark.parametrize(("source", "target"), [("local", "memory"), ("memory", "local"), ("local", "obstore")])
async def test_a_dry_run_counts_and_writes_nothing(source: str, target: str, place: Any) -> None:
    here, there = place(source), place(target)
    await fill(here)
    assert await copy_sessions(here, there, dry_run=True) == 4
    assert await contents(there) == {}
    await copy_sessions(here, there)
    assert await copy_sessions(here, there, dry_run=True) == 0
    before = await contents(there)
    await here.store_step_data("run-1", "step_1", "<p>\u00d6</p>")  # other bytes, as many as before
    await here.store_step_data("run-2", "step_2", "<p>")
    assert await copy_sessions(here, there, dry_run=True) == 2
    assert await contents(there) == before


@pytest.mark.parametrize("source_kind", PLACES)
@pytest.mark.parametrize("target_kind", PLACES)
async def test_every_byte_is_copied_once(place: Any, source_kind: str, target_kind: str) -> None:
    source, target = place(source_kind), place(target_kind)
    await fill(source)
    await seal_session(source, "run-1")
    before = await contents(source)
    assert await copy_sessions(source, target) == 4
    assert await contents(target) == await contents(source) == before
    assert await copy_sessions(source, target) == 0
    assert [problem.kind for problem in await verify_session(target, "run-1")] == ["unreadable"]


async def test_a_second_run_to_s3_reads_nothing_there_and_sends_nothing(
    place: Any, moto_requests: list[Request]
) -> None:
    source, target = place("local"), place("s3fs")
    await fill(source)
    await copy_sessions(source, target)
    moto_requests.clear()
    assert await copy_sessions(source, target) == 0
    assert [(method, "list-type" in query) for method, _, query, *_ in moto_requests] == [("GET", True)] * 2


async def test_between_two_buckets_a_second_run_costs_lists_alone(place: Any, moto_requests: list[Request]) -> None:
    source, target = place("obstore"), place("s3fs")
    await fill(source)
    await copy_sessions(source, target, ["run-1", "run-2"])
    moto_requests.clear()
    assert await copy_sessions(source, target, ["run-1", "run-2"]) == 0
    assert [(method, "list-type" in query) for method, _, query, *_ in moto_requests] == [("GET", True)] * 4


async def test_what_changed_is_sent_again_alone(place: Any, moto_requests: list[Request]) -> None:
    source, target = place("local"), place("s3fs")
    await fill(source)
    await copy_sessions(source, target)
    await source.store_step_data("run-1", "step_1", "<p>ä</p>", screenshot_bytes=PNG + b"1")
    await source.store_step_data("run-1", "step_4", metadata={})
    await target.store_step_data("run-1", "step_9", metadata={"only": "here"})
    moto_requests.clear()
    assert await copy_sessions(source, target) == 2
    sent = sorted(path.split("/run-1/")[1] for method, path, *_ in moto_requests if method == "PUT")
    assert sent == ["step_1/observation.html", "step_1/screenshot.png", "step_4/metadata.json"]
    there = await contents(target)
    assert there == {**await contents(source), "run-1/step_9/metadata.json": b'{"only":"here"}\n'}


async def test_between_two_buckets_what_changed_is_sent_again(place: Any) -> None:
    source, target = place("s3fs"), place("obstore")
    await source.store_step_data("run-1", "step_1", "<p>1</p>", PNG, {})
    await copy_sessions(source, target)
    await source.store_step_data("run-1", "step_1", "<p>2</p>", action_data={"longer": 1})
    assert await copy_sessions(source, target) == 1
    assert await contents(target) == await contents(source)


async def test_the_content_type_goes_along(place: Any) -> None:
    source, target = place("local"), place("s3fs")
    await source.store_step_data("run-1", "step_1", "<p>", b"\xff\xd8\xff", {}, {})
    await seal_session(source, "run-1")
    await copy_sessions(source, target)
    infos = target.fs.find(target.url_for("run-1"), detail=True)
    types = {name.rpartition("/")[2]: target.fs.info(name)["ContentType"] for name in infos}
    assert types == {
        "_manifest.json": "application/json",
        "action.json": "application/json",
        "metadata.json": "application/json",
        "observation.html": "text/html; charset=utf-8",
        "screenshot.png": "image/jpeg",
    }


async def test_the_manifest_goes_last_and_not_where_a_step_failed(place: Any, tmp_path: Path) -> None:
    source, target = StorageManager.from_url(f"{tmp_path}/a"), place("local")
    for step_id in ("step_1", "step_2", "step_3"):
        await source.store_step_data("run-1", step_id, "<p>")
    await source.store_step_data("run-2", "step_1", "<p>")
    await seal_session(source, "run-1")
    await seal_session(source, "run-2")
    broken = tmp_path / "a/run-1/step_2/observation.html"
    broken.unlink()
    os.mkfifo(broken)  # which is no file to read
    with pytest.raises(LocalStorageError, match=r"not copied: 1 of 4 steps \(.*step_2.*\)\. Repeat the copy") as caught:
        await copy_sessions(source, target)
    assert caught.value.operation == "copy"
    assert str(caught.value.url).endswith("run-1/step_2/observation.html")
    assert sorted(await contents(target)) == [
        "run-1/step_1/observation.html",
        "run-1/step_3/observation.html",
        "run-2/_manifest.json",
        "run-2/step_1/observation.html",
    ]
    broken.unlink()
    broken.write_text("<p>")
    assert await copy_sessions(source, target) == 1
    assert await verify_session(target, "run-1") == []
    assert "run-1/_manifest.json" in await contents(target)


async def test_a_place_that_cannot_be_written_ends_it_soon(place: Any, tmp_path: Path) -> None:
    """Five of what failed are named."""
    source = place("local")
    for number in range(50):
        await source.store_step_data("run-1", f"step_{number:02}", metadata={})
    target = StorageManager.from_url(f"{tmp_path}/target")
    (tmp_path / "target/run-1").write_text("a file in the way")
    with pytest.raises(LocalStorageError, match=r"not copied: 16 of 16 steps .*step_04, \.\.\.\)") as caught:
        await copy_sessions(source, target, concurrency=4)
    assert isinstance(caught.value.__cause__, LocalStorageError)


async def test_a_target_that_fails_is_named_and_not_the_source(place: Any, tmp_path: Path) -> None:
    source = place("s3fs")
    await source.store_step_data("run-1", "step_00", metadata={})
    target = StorageManager.from_url(f"{tmp_path}/target")
    (tmp_path / "target/run-1").write_text("a file in the way")
    with pytest.raises(LocalStorageError, match="a file is in the way of a directory") as caught:
        await copy_sessions(source, target)
    assert str(tmp_path) in str(caught.value)


async def test_a_session_that_is_named_and_not_there_is_reported_after_the_others(place: Any) -> None:
    source, target = place("local"), place("local")
    await fill(source)
    with pytest.raises(InvalidDataError, match=r"there is no session .*/nobody; all others are copied") as caught:
        await copy_sessions(source, target, ["nobody", "run-2"])
    assert str(caught.value.url).endswith("/nobody")
    assert await target.list_sessions() == ["run-2"]


async def test_progress_is_told_with_the_number_of_steps(place: Any) -> None:
    source, target = place("local"), place("local")
    await fill(source)
    told: list[tuple[int, int | None]] = []
    await copy_sessions(source, target, progress=lambda *what: told.append(what))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    told.clear()
    await copy_sessions(source, target, ["run-2"], progress=lambda *what: told.append(what))
    assert told == [(1, 1)]


async def test_what_the_target_redacts_is_redacted_and_compared_so(place: Any, moto_requests: list[Request]) -> None:
    source, target = place("local"), place("s3fs", redact=["hunter2"])
    await source.store_step_data("run-1", "step_1", "<p>hunter2", PNG, {"text": "hunter2"}, {"url": "http://a.test/"})
    await seal_session(source, "run-1")
    assert await copy_sessions(source, target) == 1
    there = await contents(target)
    assert there["run-1/step_1/observation.html"] == b"<p>[redacted]"
    assert b"hunter2" not in b"".join(there.values())
    assert "run-1/_manifest.json" not in there
    moto_requests.clear()
    assert await copy_sessions(source, target) == 0
    assert {method for method, *_ in moto_requests} == {"GET"}


async def test_what_cannot_be_redacted_is_not_copied_and_stops_nothing(place: Any) -> None:
    source, target = place("local"), place("local", redact=["hunter2"])
    await fill(source)
    for number in range(20):
        await source.store_step_data("run-0", f"step_{number:02}", html_content=b"\xff")
    with pytest.raises(InvalidDataError, match=r"not copied: 21 of 24 steps .*run-0/step_00.*cannot be redacted"):
        await copy_sessions(source, target)
    assert sorted(await target.list_sessions()) == ["run-1", "run-2"]
    assert "run-1/step_3/observation.html" not in await contents(target)


async def test_bytes_of_the_same_size_whose_etag_is_no_md5_are_read(place: Any, moto_requests: list[Request]) -> None:
    """As with a key of KMS, or after an upload in parts."""
    source, target = place("local"), place("s3fs")
    await source.store_step_data("run-1", "step_1", screenshot_bytes=bytes(100))
    bucket, key = target.url_for("run-1", "step_1", "screenshot").removeprefix("s3://").split("/", 1)
    client = s3_client(target.storage_options["endpoint_url"])
    upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    which = {"Bucket": bucket, "Key": key, "UploadId": upload}
    part = client.upload_part(PartNumber=1, Body=bytes(100), **which)
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    client.complete_multipart_upload(MultipartUpload=parts, **which)
    moto_requests.clear()
    assert await copy_sessions(source, target) == 0
    assert [method for method, *_ in moto_requests] == ["GET", "GET"]


async def test_cancelled_it_leaves_whole_components_and_goes_on_later(place: Any) -> None:
    source, target = place("local"), place("s3fs")
    for number in range(40):
        await source.store_step_data("run-1", f"step_{number:02}", screenshot_bytes=bytes(1000))
    reached = asyncio.Event()
    progress = lambda done, total: reached.set() if done == 5 else None  # noqa: E731
    copying = asyncio.ensure_future(copy_sessions(source, target, concurrency=4, progress=progress))
    await reached.wait()
    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copying
    there = await contents(target)
    assert 5 <= len(there) < 40
    assert set(there.values()) == {bytes(1000)}
    assert await copy_sessions(source, target) == 40 - len(there)


async def test_the_same_place_and_other_ids_are_refused(make: Make, tmp_path: Path) -> None:
    sm, other = make(), StorageManager.from_url(f"{tmp_path}/other")
    with pytest.raises(InvalidDataError, match="the same root as the source"):
        await copy_sessions(sm, sm)
    with pytest.raises(InvalidIdError, match="give a list"):
        await copy_sessions(sm, other, "run-1")
    with pytest.raises(InvalidIdError) as caught:
        await copy_sessions(sm, other, ["../etc"])
    assert caught.value.operation == "copy"
    with pytest.raises(ValueError, match="at least 1"):
        await copy_sessions(sm, other, concurrency=0)


async def test_a_link_to_the_same_directory_is_the_same_place(tmp_path: Path) -> None:
    """Or a target that redacts would rewrite the source."""
    sm = StorageManager.from_url(f"{tmp_path}/a")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(InvalidDataError, match="the same root as the source"):
        await copy_sessions(sm, StorageManager.from_url(f"{tmp_path}/b", redact=["x"]))


async def test_what_is_no_id_is_refused(place: Any) -> None:
    with pytest.raises(InvalidIdError, match="must be a str, a UUID or an integer, not list"):
        await copy_sessions(place("local"), place("local"), [["run-1"]])


async def test_a_session_that_is_named_twice_is_copied_once(place: Any) -> None:
    source, target = place("local"), place("local")
    await fill(source)
    assert await copy_sessions(source, target, ["run-1", "run-1"]) == 3


async def test_a_manifest_without_steps_makes_no_session(place: Any) -> None:
    source, target = place("memory"), place("local")
    await source.async_fs.write_files([File(f"{source.url_for('run-1')}/_manifest.json", b"{}", "text/plain")])
    assert await copy_sessions(source, target) == 0
    assert await target.list_sessions() == []


async def test_a_bucket_that_is_not_there_is_the_error(place: Any) -> None:
    source = place("local")
    await fill(source)
    with pytest.raises(S3OperationError, match="NoSuchBucket"):
        await copy_sessions(source, place("s3fs", s3_bucket_name="nobodys-bucket"))


async def test_old_sessions_are_named_and_then_deleted(tmp_path: Path) -> None:
    sm = StorageManager(local_base_path=tmp_path)
    for name in ("a", "b", "c"):
        await sm.store_step_data(name, "step_1", "<p>", metadata={})
    week = time.time() - 7 * 24 * 3600
    for name in (
        "a/step_1/metadata.json",
        "a/step_1/observation.html",
        "b/step_1/metadata.json",
        "c/step_1/metadata.json",
    ):
        os.utime(tmp_path / name, (week, week))
    assert await purge_sessions(sm, timedelta(days=6)) == ["a"]
    assert await purge_sessions(sm, timedelta(days=8), dry_run=False) == []
    assert await sm.list_sessions() == ["a", "b", "c"]
    assert await purge_sessions(sm, datetime.now(timezone.utc) - timedelta(days=6), dry_run=False) == ["a"]
    assert await sm.list_sessions() == ["b", "c"]


async def test_every_backend_tells_how_old_a_session_is(sm: StorageManager) -> None:
    await sm.store_step_data("run-1", "step_1", metadata={})
    assert await purge_sessions(sm, timedelta(hours=1), dry_run=False) == []
    assert await purge_sessions(sm, datetime.now(timezone.utc) + timedelta(minutes=1), dry_run=False) == ["run-1"]
    assert await sm.list_sessions() == []


async def test_a_directory_that_is_no_session_stays(tmp_path: Path) -> None:
    sm = StorageManager(local_base_path=tmp_path)
    (tmp_path / "backups/2019").mkdir(parents=True)
    (tmp_path / "backups/2019/db.tar").touch()
    assert await purge_sessions(sm, datetime.now(timezone.utc) + timedelta(days=1), dry_run=False) == []
    assert (tmp_path / "backups/2019/db.tar").exists()


async def test_what_is_written_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sm = StorageManager(local_base_path=tmp_path)
    for name in ("a", "b"):
        await sm.store_step_data(name, "step_1", metadata={})
        os.utime(tmp_path / name / "step_1/metadata.json", (0, 0))
    delete = sm.delete_session

    async def slow(session_id: str) -> None:
        await sm.store_step_data("b", "step_2", metadata={})
        await delete(session_id)

    monkeypatch.setattr(sm, "delete_session", slow)
    assert await purge_sessions(sm, timedelta(days=1), dry_run=False) == ["a"]
    assert await sm.list_sessions() == ["b"]


@pytest.mark.parametrize("age", [timedelta(-1), datetime(2026, 1, 1), 30, None])
async def test_another_age_is_refused(make: Make, age: Any) -> None:
    with pytest.raises(InvalidDataError, match="give an age") as caught:
        await purge_sessions(make(), age)
    assert caught.value.operation == "purge"


def test_a_step_is_redacted_as_a_whole(tmp_path: Path) -> None:
    """As when it is stored: what a component becomes may depend on the others."""

    async def run() -> Mapping[str, bytes]:
        source = StorageManager.from_url(f"{tmp_path}/a")
        redact = lambda step: StepData(action={"html": len(step.html or "")})  # noqa: E731
        target = StorageManager.from_url(f"{tmp_path}/b", redact=redact)
        await source.store_step_data("run-1", "step_1", "<p>", metadata={})
        assert await copy_sessions(source, target) == 1
        assert await copy_sessions(source, target) == 0
        return await contents(target)

    assert asyncio.run(run()) == {"run-1/step_1/action.json": b'{"html":3}\n'}


async def test_a_purge_tells_how_many_it_has_looked_at(tmp_path: Path) -> None:
    sm = StorageManager(local_base_path=tmp_path)
    for name in ("a", "b", "c"):
        await sm.store_step_data(name, "step_1", metadata={})
    os.utime(tmp_path / "b/step_1/metadata.json", (0, 0))
    told: list[tuple[int, int | None]] = []
    progress = lambda *what: told.append(what)  # noqa: E731
    assert [name async for name in purging(sm, timedelta(days=1), dry_run=False, progress=progress)] == ["b"]
    assert told == [(1, None), (2, None), (3, None)]
    assert await sm.list_sessions() == ["a", "c"]


async def test_a_purge_that_is_cancelled_tells_of_what_it_deleted(tmp_path: Path) -> None:
    sm = StorageManager(local_base_path=tmp_path)
    for name in ("a", "b"):
        await sm.store_step_data(name, "step_1", metadata={})
        os.utime(tmp_path / name / "step_1/metadata.json", (0, 0))
    told: list[str] = []

    async def purge() -> None:
        async for session_id in purging(sm, timedelta(days=1), dry_run=False):
            told.append(session_id)

    task = asyncio.ensure_future(purge())
    while (tmp_path / "a").exists():  # noqa: ASYNC110 (a deletion rings no bell)
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted({"a", "b"} - set(await sm.list_sessions())) == told


async def test_a_purge_that_is_cancelled_and_fails_tells_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sm = StorageManager(local_base_path=tmp_path)
    await sm.store_step_data("a", "step_1", metadata={})
    os.utime(tmp_path / "a/step_1/metadata.json", (0, 0))
    begun = asyncio.Event()

    async def refused(session_id: str) -> None:
        begun.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        raise LocalStorageError("refused")

    monkeypatch.setattr(sm, "delete_session", refused)
    told: list[str] = []

    async def purge() -> None:
        async for session_id in purging(sm, timedelta(days=1), dry_run=False):
            told.append(session_id)

    task = asyncio.ensure_future(purge())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told == []


async def test_a_target_among_the_sessions_of_the_source_is_refused(make: Make, tmp_path: Path) -> None:
    sm = make()
    inside = StorageManager.from_url(f"{sm.url_for()}/run-1", s3_endpoint_url=sm.storage_options.get("endpoint_url"))
    with pytest.raises(InvalidDataError, match="lies among the sessions of"):
        await copy_sessions(sm, inside)


async def test_a_component_that_is_deleted_after_it_was_listed_is_reported(
    place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = StorageManager.from_url(f"{tmp_path}/a")
    await source.store_step_data("run-1", "step_1", "<p>", metadata={})
    read_step = source.read_step

    async def late(*args: Any, **kwargs: Any) -> Any:
        os.unlink(tmp_path / "a/run-1/step_1/observation.html")
        return await read_step(*args, **kwargs)

    monkeypatch.setattr(source, "read_step", late)
    with pytest.raises(LocalStorageError, match=r"observation\.html.* deleted after it was listed") as caught:
        await copy_sessions(source, place("local"))
    assert caught.value.operation == "copy"


async def test_many_attachments_are_not_in_memory_together(
    place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them is large, but a step may have any number. All are copied, and the second time none is sent."""
    monkeypatch.setattr(copying, "_IN_MEMORY", 2**21)
    source, target = place("local"), place("local")
    (tmp_path / "frame.bin").write_bytes(os.urandom(2**20))
    frames = {f"frame-{number}.bin": tmp_path / "frame.bin" for number in range(30)}
    await source.store_step_data("s", "t", attachments=frames)
    tracemalloc.start()
    try:
        assert await copy_sessions(source, target) == 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 15 * 2**20
    assert await contents(target) == await contents(source)
    assert await copy_sessions(source, target) == 0
