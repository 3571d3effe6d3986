"""What verify_session finds wrong with a session, on each backend and engine."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from storage_manager import InvalidIdError, S3OperationError, StorageManager
from storage_manager.backends import File, hidden_name
from storage_manager.integrity import Problem, seal_session, verify_session
from tests.support.answers import XML, Answers, http, listing
from tests.support.roots import Make, s3_client

PNG = b"\x89PNG\r\n\x1a\n"


async def put(sm: StorageManager, path: str, data: bytes) -> str:
    """Write a file of a session past the library's checks; returns its URL."""
    url = f"{sm.url_for('run-1')}/{path}"
    await sm.async_fs.write_files([File(url, data, "text/plain")])
    return url


async def found(sm: StorageManager) -> list[tuple[str, str]]:
    """What is wrong, by path below the session and kind."""
    root = sm.url_for("run-1")
    problems = await verify_session(sm, "run-1")
    assert problems == sorted(problems)
    assert all(problem.detail for problem in problems)
    return [(problem.url.removeprefix(root).lstrip("/"), problem.kind) for problem in problems]


@pytest.fixture
async def stored(sm: StorageManager) -> StorageManager:
    """A place with a session of two steps."""
    await sm.store_step_data("run-1", "step_1", "<p>Ä</p>", PNG, {"type": "click"}, {"url": "http://a.test/"})
    await sm.store_step_data("run-1", "step_2", "<p>B</p>", metadata={})
    return sm


async def test_a_whole_session_has_no_problem_sealed_or_not(stored: StorageManager) -> None:
    assert await verify_session(stored, "run-1") == []
    await seal_session(stored, "run-1")
    assert await verify_session(stored, "run-1") == []


async def test_a_seal_may_be_required(stored: StorageManager) -> None:
    [problem] = await verify_session(stored, "run-1", require_seal=True)
    assert problem[:2] == (stored.url_for("run-1"), "unsealed")
    await seal_session(stored, "run-1")
    assert await verify_session(stored, "run-1", require_seal=True) == []
    assert [found.kind for found in await verify_session(stored, "none", require_seal=True)] == ["missing"]


async def test_a_flipped_byte_is_named(stored: StorageManager) -> None:
    await seal_session(stored, "run-1")
    url = await put(stored, "step_1/screenshot.png", PNG[:-1] + b"\x0b")
    [problem] = await verify_session(stored, "run-1")
    assert problem[:2] == (url, "changed")
    assert problem.detail.count("8 bytes, SHA-256 ") == 2


async def test_what_is_stored_since_shows_until_it_is_sealed_again(stored: StorageManager) -> None:
    await seal_session(stored, "run-1")
    await stored.store_step_data("run-1", "step_2", "<p>C</p>", screenshot_bytes=PNG)
    await stored.store_step_data("run-1", "step_3", metadata={})
    assert await found(stored) == [
        ("step_2/observation.html", "changed"),
        ("step_2/screenshot.png", "unlisted"),
        ("step_3/metadata.json", "unlisted"),
    ]
    await seal_session(stored, "run-1")
    assert await found(stored) == []


async def test_what_is_gone_is_missing(stored: StorageManager) -> None:
    await seal_session(stored, "run-1")
    stored.fs.rm_file(stored.url_for("run-1", "step_1", "action"))
    stored.fs.rm(stored.url_for("run-1", "step_2"), recursive=True)
    assert await found(stored) == [
        ("step_1/action.json", "missing"),
        ("step_2/metadata.json", "missing"),
        ("step_2/observation.html", "missing"),
    ]


@pytest.mark.parametrize("is_sealed", [False, True])
async def test_what_cannot_be_decoded_is_unreadable(stored: StorageManager, is_sealed: bool) -> None:
    await put(stored, "step_1/observation.html", b"\xff")
    await put(stored, "step_1/action.json", b"[]")
    await put(stored, "step_1/metadata.json", b"{")
    if is_sealed:
        await seal_session(stored, "run-1")
    names = ["step_1/action.json", "step_1/metadata.json", "step_1/observation.html"]
    assert await found(stored) == [(name, "unreadable") for name in names]


async def test_a_file_that_is_no_part_of_the_layout_is_unlisted(stored: StorageManager) -> None:
    await put(stored, f"step_1/{hidden_name()}", b"")
    await put(stored, ".DS_Store", b"")
    foreign = ["_labels/x.json", "notes.txt", "step_1/.screenshot.png.part", "step_1/frames/1.png", "step_1/README"]
    for name in foreign:
        await put(stored, name, b"")
    await put(stored, "step_1/notes.txt", b"")
    await put(stored, "_files/video.webm", b"")
    kinds = dict(await found(stored))
    assert [kinds.pop(name) for name in foreign] == ["unlisted"] * len(foreign)
    assert list(kinds.values()) == ["leftover"]
    await seal_session(stored, "run-1")
    assert {kind for _, kind in await found(stored)} == {"unlisted", "leftover"}
    assert len(await found(stored)) == len(foreign) + 1


async def test_an_upload_that_was_not_ended_is_left_over(moto: Make) -> None:
    sm = moto()
    await sm.store_step_data("run-1", "step_1", metadata={})
    for path in ("step_1/screenshot.png", "deeper/step_1/screenshot.png", "step_1/frames/1.png", "step_1/x.bin"):
        bucket, key = f"{sm.url_for('run-1')}/{path}".removeprefix("s3://").split("/", 1)
        s3_client(sm.storage_options["endpoint_url"]).create_multipart_upload(Bucket=bucket, Key=key)
    assert await found(sm) == [("step_1/screenshot.png", "leftover"), ("step_1/x.bin", "leftover")]


async def test_a_session_that_is_not_there_is_missing(sm: StorageManager) -> None:
    assert await verify_session(sm, "run-1") == [Problem(sm.url_for("run-1"), "missing", "there is no such session")]


async def test_a_manifest_of_a_newer_version_is_not_sealed_again(local: StorageManager) -> None:
    await local.store_step_data("s", "t", "<p>")
    path = Path(await seal_session(local, "s"))
    path.write_text(path.read_text().replace('"version": 2', '"version": 3').replace('"version":2', '"version":3'))
    [problem, *_] = await verify_session(local, "s")
    assert problem.kind == "unreadable"
    assert problem.detail.startswith("its version is 3, and this library reads up to 2: a newer version of this")
    assert problem.detail.endswith("update the library")


SEAL = {"size": 1, "sha256": "0"}


@pytest.mark.parametrize(
    "manifest",
    [
        "",
        "[]",
        "{}",
        '{"version": 2, "sealed_at": "", "components": {}}',
        *(
            json.dumps({"version": 1, "sealed_at": "", "components": components})
            for components in (
                {"step_1/observation.html": {}},
                {"step_1/observation.html": {"size": -1, "sha256": ""}},
                {"../../etc/passwd": SEAL},
                {"step_1/../observation.html": SEAL},
                {"observation.html": SEAL},
                {"step_1/notes.txt": SEAL},
            )
        ),
    ],
)
async def test_a_manifest_of_somebody_elses_is_unreadable(manifest: str, tmp_path: Path) -> None:
    sm = StorageManager(local_base_path=tmp_path)
    await sm.store_step_data("run-1", "step_1", "<p>")
    await put(sm, "_manifest.json", manifest.encode())
    assert await found(sm) == [("_manifest.json", "unreadable")]


async def test_a_file_that_may_not_be_read_is_unreadable(tmp_path: Path) -> None:
    sm = StorageManager(local_base_path=tmp_path)
    await sm.store_step_data("run-1", "step_1", "<p>", metadata={})
    os.unlink(tmp_path / "run-1/step_1/observation.html")
    os.mkfifo(tmp_path / "run-1/step_1/observation.html")
    [problem] = await verify_session(sm, "run-1")
    assert problem.kind == "unreadable"
    assert "not a regular file" in problem.detail
    os.unlink(tmp_path / "run-1/step_1/observation.html")
    os.mkfifo(tmp_path / "run-1/_manifest.json")
    [problem] = await verify_session(sm, "run-1")
    assert problem.url.endswith("/run-1/_manifest.json")
    assert "not a regular file" in problem.detail


async def test_a_component_deleted_meanwhile_is_no_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sm = StorageManager(local_base_path=tmp_path)
    await sm.store_step_data("run-1", "step_1", "<p>", metadata={})
    fs = sm.async_fs
    read = fs.read_files

    async def late(paths: list[str]) -> Any:
        (tmp_path / "run-1/step_1/observation.html").unlink(missing_ok=True)
        return await read(paths)

    monkeypatch.setattr(fs, "read_files", late)
    assert await verify_session(sm, "run-1") == []


async def test_a_service_that_fails_says_nothing_of_the_session(answered_by: Answers) -> None:
    rows = "<Contents><Key>run-1/s/metadata.json</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
    rows += "<ETag>x</ETag><Size>1</Size></Contents><Name>b</Name><IsTruncated>false</IsTruncated>"
    listed = http("200 OK", f"{XML}<ListBucketResult>{rows}</ListBucketResult>", content_type="application/xml")
    uploads = http("200 OK", f"{XML}<ListMultipartUploadsResult/>", content_type="application/xml")
    sm, _ = await answered_by(listed, uploads, http("503 Slow Down", ""))
    with pytest.raises(S3OperationError, match=r"cannot verify .*metadata.json"):
        await verify_session(sm, "run-1")


def uploads_answer(*keys: str, following: str = "") -> bytes:
    """A page of ListMultipartUploads."""
    rows = "".join(f"<Upload><Key>{key}</Key><UploadId>1</UploadId></Upload>" for key in keys)
    marks = f"<NextKeyMarker>{following}</NextKeyMarker><NextUploadIdMarker>1</NextUploadIdMarker>" if following else ""
    tail = f"<IsTruncated>{'true' if following else 'false'}</IsTruncated>{marks}"
    xml = f"{XML}<ListMultipartUploadsResult>{rows}{tail}</ListMultipartUploadsResult>"
    return http("200 OK", xml, content_type="application/xml")


async def test_unfinished_uploads_are_listed_to_the_last_page(answered_by: Answers) -> None:
    pages = [
        uploads_answer("run-1/a/action.json", following="run-1/a/action.json"),
        uploads_answer("run-1/b/action.json"),
    ]
    sm, server = await answered_by(listing(), *pages)
    assert await found(sm) == [("", "missing"), ("a/action.json", "leftover"), ("b/action.json", "leftover")]
    assert b"key-marker=run-1%2Fa%2Faction.json" in server.asked[2]


@pytest.mark.parametrize("repeated", [True, False], ids=["the same token again", "no token"])
async def test_uploads_that_are_truncated_without_a_new_token(answered_by: Answers, repeated: bool) -> None:
    page = uploads_answer("run-1/a/action.json", following="run-1/a/action.json")
    if not repeated:
        page = page.replace(b"NextKeyMarker", b"LastKeyMarker")
    sm, _ = await answered_by(listing(), page)
    with pytest.raises(S3OperationError, match="truncated, without a token"):
        await asyncio.wait_for(verify_session(sm, "run-1"), 30)


async def test_who_may_not_list_uploads_may_verify(answered_by: Answers, caplog: pytest.LogCaptureFixture) -> None:
    denied = f"{XML}<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
    sm, _ = await answered_by(listing(), http("403 Forbidden", denied, content_type="application/xml"))
    assert await found(sm) == [("", "missing")]
    assert "are not checked (it needs the right s3:ListBucketMultipartUploads)" in caplog.text


async def test_another_id_is_refused_before_any_io(make: Make) -> None:
    with pytest.raises(InvalidIdError) as caught:
        await verify_session(make(), "../etc")
    assert caught.value.operation == "verify"
