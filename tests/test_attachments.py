"""Attachments and the metadata of a session: names, types, streams and redaction."""

import os
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from storage_manager import InvalidDataError, InvalidIdError, S3OperationError, StepData, StorageManager
from storage_manager.export import export_parquet
from storage_manager.integrity import seal_session, verify_session
from storage_manager.layout import attachment_type, is_attachment_name
from storage_manager.redaction import redact_secrets
from storage_manager.transfer import copy_sessions
from tests.support.roots import Make, needs_real_s3, s3_client

SECRET = "hunter2-9f8e7d"


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        *(
            (name, "text/plain; charset=utf-8")
            for name in ("a.html", "a.XHTML", "a.svg", "a.xml", "a.js", "a.mjs", "a.xsl")
        ),
        ("a.txt", "text/plain; charset=utf-8"),
        ("a.csv", "text/csv; charset=utf-8"),
        ("network.har", "application/json"),
        ("axtree.json", "application/json"),
        ("video.webm", "video/webm"),
        ("shot.webp", "image/webp"),
        ("shot.jpg", "image/jpeg"),
        ("trace.zip", "application/zip"),
        ("a.svg.gz", "application/octet-stream"),
        ("a.unknown", "application/octet-stream"),
    ],
)
async def test_the_type_comes_from_the_name(moto: Make, name: str, content_type: str) -> None:
    """A browser would run the scripts in some: a share link would run them as a page of the service."""
    assert attachment_type(name) == content_type
    sm = moto()
    url = (await sm.store_attachments("s", {name: b"<script>"}))[name]
    bucket, _, key = url.removeprefix("s3://").partition("/")
    head = s3_client(sm.storage_options["endpoint_url"]).head_object(Bucket=bucket, Key=key)
    assert head["ContentType"] == content_type


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("OBSERVATION.html", "the file name of a component"),
        ("Thumbs.DB", "operating systems leave files of this name"),
        ("a", "ends in an extension"),
        ("x" * 126 + ".js", "of 129 characters"),
        (3, "must be a str, not int"),
    ],
)
async def test_the_message_says_which_rule_a_name_breaks(local: StorageManager, name: Any, why: str) -> None:
    with pytest.raises(InvalidDataError, match=why):
        await local.store_attachments("s", {name: b""})


@pytest.mark.parametrize("name", ["a.b", "0.json", "a=b,c@d+e_f-g.tar.gz", "x" * 125 + ".js", "_files.x"[1:]])
async def test_names_that_are_allowed(sm: StorageManager, name: str) -> None:
    assert is_attachment_name(name)
    await sm.store_attachments("s", {name: b"x"}, "t")
    assert await sm.list_attachments("s", "t") == [name]
    assert sm.fs.cat_file(sm.url_for("s", "t", attachment=name)) == b"x"


@pytest.mark.parametrize(
    ("attachments", "match"),
    [
        (
            {"a.txt": 3},
            r"attachments\['a\.txt'\] cannot be stored: it must be bytes, str, a mapping, a list or a Path, not int",
        ),
        ({"a.txt": {"a": 1}}, r"a dict is stored as JSON, and only under a name that ends in \.json"),
        (
            {"a.json": {"a": float("nan")}},
            r"attachments\['a\.json'\]\['a'\] cannot be stored: nan is not a JSON number",
        ),
        ({"a.txt": "\ud800"}, "lone surrogate"),
        ({"a.txt": Path("/no/such/file")}, r"/no/such/file: No such file or directory"),
        ({"a.txt": Path("/dev")}, "not a regular file"),
        ([b"x"], "attachments must be a mapping, not list"),
    ],
)
async def test_what_cannot_be_stored_is_refused_before_any_io(
    local: StorageManager, attachments: Any, match: str
) -> None:
    with pytest.raises(InvalidDataError, match=match):
        await local.store_step_data("s", "t", "kept out", attachments=attachments)
    with pytest.raises(InvalidDataError, match=match):
        await local.store_attachments("s", attachments)
    assert await local.list_sessions() == []


async def test_a_pipe_is_refused(local: StorageManager, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(InvalidDataError, match="not a regular file"):
        await local.store_attachments("s", {"pipe.txt": tmp_path / "pipe.txt"})


async def test_json_of_any_extension_in_upper_case(local: StorageManager) -> None:
    await local.store_attachments("s", {"A.JSON": [1, {"a": None}]})
    assert await local.retrieve_attachment("s", "A.JSON") == b'[1,{"a":null}]\n'


async def test_urls(local: StorageManager) -> None:
    root = local.url_for()
    assert local.url_for("s", attachment="v.webm") == f"{root}/s/_files/v.webm"
    assert local.url_for("s", "t", attachment="v.webm") == f"{root}/s/t/v.webm"
    with pytest.raises(InvalidDataError, match="two files"):
        local.url_for("s", "t", "html", attachment="v.webm")
    with pytest.raises(InvalidIdError, match="attachment is given without session_id"):
        local.url_for(attachment="v.webm")


async def test_a_large_attachment_is_an_error_that_says_what_to_do(make: Make) -> None:
    sm = make(max_file_bytes=1000)
    await sm.store_attachments("s", {"a.bin": b"x" * 1001, "b.bin": b"x" * 1000})
    assert await sm.retrieve_attachment("s", "b.bin") == b"x" * 1000
    with pytest.raises(Exception, match=r"storage\.fs\.open\(storage\.url_for\(\.\.\.\)\)") as caught:
        await sm.retrieve_attachment("s", "a.bin")
    assert caught.value.url == sm.url_for("s", attachment="a.bin")  # type: ignore[attr-defined]
    await seal_session(sm, "s")
    assert await verify_session(sm, "s") == []


async def test_metadata_that_is_no_object(sm: StorageManager) -> None:
    await sm.store_session_metadata("s", {})
    url = f"{sm.url_for('s')}/_session.json"
    sm.fs.pipe_file(url, b"[1]")
    with pytest.raises(InvalidDataError, match="it is not a JSON object") as caught:
        await sm.retrieve_session_metadata("s")
    assert caught.value.url == url
    [problem] = await verify_session(sm, "s")
    assert (problem.url, problem.kind) == (url, "unreadable")


async def test_missing_and_unreadable_are_told_apart(moto: Make) -> None:
    sm = moto()
    await sm.store_step_data("s", "t", "x")
    assert await sm.retrieve_attachment("s", "a.txt", "t") is None
    sm.fs.rm(sm.url_for(), recursive=True)
    with pytest.raises(S3OperationError, match="NoSuchBucket"):
        await sm.retrieve_attachment("s", "a.txt", "t")


# --- seal, verify, copy ---------------------------------------------------------------------------------


@pytest.fixture
async def whole(sm: StorageManager, tmp_path: Path) -> StorageManager:
    """A session with a file of each kind."""
    (tmp_path / "video").write_bytes(os.urandom(9 * 2**20))
    attachments = {"axtree.json": {"role": "é"}, "network.har": '{"log": {"entries": []}}', "page.html": "<p>"}
    await sm.store_step_data("s", "t", "<p>", b"\x89PNG", {"a": 1}, {}, attachments=attachments)
    await sm.store_attachments("s", {"video.webm": tmp_path / "video"})
    await sm.store_session_metadata("s", {"goal": "buy"})
    return sm


def files(sm: StorageManager) -> dict[str, bytes]:
    """All files of the session by path."""
    root = sm.url_for("s").removeprefix("s3://")
    return {path.removeprefix(root): sm.fs.cat_file(path) for path in sm.fs.find(root)}


async def test_every_file_survives_sealing_and_copying(whole: StorageManager, tmp_path: Path) -> None:
    await seal_session(whole, "s")
    before = files(whole)
    copy = StorageManager(local_base_path=tmp_path / "copy")
    copied = await copy_sessions(whole, copy)
    assert (copied, copied.left_behind) == (1, ())
    assert files(copy) == before
    assert await verify_session(copy, "s") == []
    await whole.delete_session("s")
    assert await copy_sessions(copy, whole) == 1
    assert files(whole) == before
    assert await copy_sessions(copy, whole) == 0


@needs_real_s3
@pytest.mark.thorough
async def test_a_video_survives_on_a_real_server(local: StorageManager, real_s3: Make, tmp_path: Path) -> None:
    (tmp_path / "video").write_bytes(os.urandom(20 * 10**6))
    await local.store_step_data("s", "t", "<p>", attachments={"axtree.json": {"role": "é"}, "network.har": "{}"})
    await local.store_attachments("s", {"video.webm": tmp_path / "video"})
    await seal_session(local, "s")
    before, server, back = files(local), real_s3(), StorageManager(local_base_path=tmp_path / "back")
    assert await copy_sessions(local, server) == 1
    assert await verify_session(server, "s") == []
    assert await copy_sessions(local, server) == 0
    assert await copy_sessions(server, back) == 1
    assert files(back) == before
    assert await verify_session(back, "s") == []
    await export_parquet(server, str(tmp_path / "out"), attachments=["axtree.json", "network.har"])
    table = pyarrow.parquet.read_table(tmp_path / "out/data/steps-00000.parquet")
    assert [table["axtree.json"].to_pylist(), table["network.har"].to_pylist()] == [
        ['{"role":"é"}\n'.encode()],
        [b"{}"],
    ]


@pytest.mark.parametrize("path", ["t/axtree.json", "_files/video.webm", "_session.json"])
async def test_a_changed_and_a_missing_file_are_found(whole: StorageManager, path: str) -> None:
    await seal_session(whole, "s")
    url = f"{whole.url_for('s')}/{path}"
    data = whole.fs.cat_file(url)
    whole.fs.pipe_file(url, data[:-2] + b" }")
    assert (await verify_session(whole, "s"))[0][:2] == (url, "changed")
    whole.fs.rm(url)
    assert [problem[:2] for problem in await verify_session(whole, "s")] == [(url, "missing")]


async def test_deleting_an_attachment_breaks_the_seal(whole: StorageManager) -> None:
    await seal_session(whole, "s")
    await whole.delete_attachment("s", "axtree.json", "t")
    assert "/_manifest.json" not in files(whole)
    assert await verify_session(whole, "s") == []


async def test_what_is_no_part_of_the_layout_is_left_behind_and_said(local: StorageManager, tmp_path: Path) -> None:
    session = Path(local.url_for("s"))
    await local.store_step_data("s", "t", "x")
    foreign = ["README", "_own/a.txt", "t/.hidden", "t/frames/1.png", "t/notes"]
    for path in (*foreign, "video.webm", ".DS_Store", "t/Thumbs.db"):
        (session / path).parent.mkdir(exist_ok=True)
        (session / path).write_text(path)
    copy = StorageManager(local_base_path=tmp_path / "copy")
    copied = await copy_sessions(local, copy)
    assert list(copied.left_behind) == [f"{session}/{path}" for path in foreign]
    assert await copy.retrieve_attachment("s", "video.webm") == b"video.webm"
    assert [problem[:2] for problem in await verify_session(local, "s")] == [
        (f"{session}/{path}", "unlisted") for path in sorted([*foreign, "video.webm"])
    ]


async def test_a_loose_file_of_a_sealed_session_is_left_behind(local: StorageManager, tmp_path: Path) -> None:
    await local.store_step_data("s", "t", "x")
    await seal_session(local, "s")
    loose = Path(local.url_for("s"), "video.webm")
    loose.write_text("new")
    copy = StorageManager(local_base_path=tmp_path / "copy")
    assert (await copy_sessions(local, copy)).left_behind == (str(loose),)
    assert await verify_session(copy, "s") == []


@pytest.mark.parametrize(("stored", "left"), [("same", 0), ("else", 1), ("longer", 1)])
async def test_a_loose_file_does_not_replace_an_attachment(
    local: StorageManager, tmp_path: Path, stored: str, left: int
) -> None:
    await local.store_attachments("s", {"a.txt": stored})
    Path(local.url_for("s"), "a.txt").write_text("same")
    copy = StorageManager(local_base_path=tmp_path / "copy")
    assert len((await copy_sessions(local, copy)).left_behind) == left
    assert await copy.retrieve_attachment("s", "a.txt") == stored.encode()


async def test_a_session_without_steps_is_copied(local: StorageManager, tmp_path: Path) -> None:
    await local.store_session_metadata("only-metadata", {"goal": "x"})
    await local.store_attachments("only-files", {"a.txt": "1"})
    copy = StorageManager(local_base_path=tmp_path / "copy")
    assert await copy_sessions(local, copy, ["only-metadata", "only-files"]) == 0
    assert await copy.list_sessions() == ["only-files", "only-metadata"]


# --- redaction ------------------------------------------------------------------------------------------


async def test_no_stored_file_has_the_secret(tmp_path: Path) -> None:
    sm = StorageManager(local_base_path=tmp_path / "root", redact=[SECRET])
    (tmp_path / "log").write_text(f"token {SECRET}\n" * 1000)
    (tmp_path / "video").write_bytes(b"\0" + SECRET.encode())
    har = {"log": {"cookies": [{"value": SECRET}], SECRET: 1}}
    await sm.store_step_data("s", "t", attachments={"a.json": har, "b.txt": SECRET, "log.txt": tmp_path / "log"})
    await sm.store_attachments("s", {"v.webm": tmp_path / "video"})
    await sm.store_session_metadata("s", {"goal": f"use {SECRET}", "outcome": "success"})
    stored = {path.name: path.read_bytes() for path in (tmp_path / "root").rglob("*") if path.is_file()}
    assert SECRET.encode() in stored.pop("v.webm")  # no text: it stays as it is
    assert all(SECRET.encode() not in data for data in stored.values())
    assert stored["a.json"] == b'{"log":{"cookies":[{"value":"[redacted]"}],"[redacted]":1}}\n'
    assert await sm.retrieve_session_metadata("s") == {"goal": "use [redacted]", "outcome": "success"}


async def test_copying_into_a_manager_that_redacts(local: StorageManager, tmp_path: Path) -> None:
    await local.store_step_data("s", "t", SECRET, attachments={"a.txt": SECRET, "b.bin": b"\xff" + SECRET.encode()})
    await local.store_session_metadata("s", {"goal": SECRET})
    target = StorageManager(local_base_path=tmp_path / "copy", redact=[SECRET])
    assert await copy_sessions(local, target) == 1
    assert await copy_sessions(local, target) == 0
    assert await target.retrieve_attachment("s", "a.txt", "t") == b"[redacted]"
    assert await target.retrieve_session_metadata("s") == {"goal": "[redacted]"}
    assert (await target.retrieve_step_data("s", "t")).html == "[redacted]"


async def test_a_text_that_is_too_large_to_be_redacted_is_refused(tmp_path: Path) -> None:
    sm = StorageManager(local_base_path=tmp_path / "root", redact=[SECRET], max_file_bytes=1000)
    (tmp_path / "log").write_text("x" * 1001)
    with pytest.raises(
        InvalidDataError, match=r"text of 1,001 bytes, and 1,000 can be redacted at most \(max_file_bytes\)"
    ):
        await sm.store_attachments("s", {"log.txt": tmp_path / "log"})
    assert await sm.list_sessions() == []


async def test_json_stays_json() -> None:
    """A number that is masked in its place would be no JSON."""
    redact = redact_secrets(["123456"])
    assert redact.redact_attachment("a.json", b'{"pin": 123456, "ok": 1}') == b'{"pin":"[redacted]","ok":1}'  # type: ignore[attr-defined]
    assert redact.redact_attachment("a.json", b'{"pin": 1, "ok": 1}') == b'{"pin": 1, "ok": 1}'  # type: ignore[attr-defined]
    assert redact.redact_attachment("a.json", b"{123456") == b"{[redacted]"  # type: ignore[attr-defined]


class Upper:
    """A redactor with the method for files."""

    def __call__(self, step: StepData) -> StepData:
        return step

    def redact_attachment(self, name: str, data: bytes) -> bytes:
        return b"{}" if name == "_session.json" else name.encode() + data.upper()


async def test_a_redactor_of_ones_own(tmp_path: Path) -> None:
    sm = StorageManager(local_base_path=tmp_path, redact=Upper())
    await sm.store_attachments("s", {"a.txt": "x"})
    await sm.store_session_metadata("s", {"goal": "x"})
    assert await sm.retrieve_attachment("s", "a.txt") == b"a.txtX"
    assert await sm.retrieve_session_metadata("s") == {}
    plain = StorageManager(local_base_path=tmp_path, redact=lambda step: step)
    with pytest.raises(InvalidDataError, match=r"the attachment a\.txt cannot be stored: the redactor knows"):
        await plain.store_attachments("s", {"a.txt": "x"})
    with pytest.raises(InvalidDataError, match="the metadata of the session cannot be stored"):
        await plain.store_session_metadata("s", {"goal": "x"})
    await plain.store_session_metadata("s", {"outcome": "success", "started_at": "2026-01-01T00:00:00+00:00"})


async def test_a_step_is_gone_with_its_last_attachment(sm: StorageManager) -> None:
    """What systems and consoles left in it keeps no step listed."""
    await sm.store_step_data("s", "t", "<p>")
    await sm.store_step_data("s", "u", attachments={"a.txt": "1"})
    await sm.async_fs._pipe_file(f"{sm.url_for('s', 'u')}/.DS_Store", b"")
    await sm.delete_attachment("s", "a.txt", "u")
    assert await sm.list_steps_for_session("s") == ["t"]
