"""docs/troubleshooting.rst shows messages as they are printed: each is caused here, and compared with the page."""

import asyncio
import logging
import os
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from storage_manager import Step, StepData, StorageManager, StorageManagerError, sync
from storage_manager.catalog import find_sessions
from storage_manager.export import export_parquet
from storage_manager.integrity import seal_session, verify_session
from storage_manager.recorder import record
from storage_manager.transitions import iter_transitions
from tests.support.answers import Answering, http
from tests.support.fake_pages import Still
from tests.support.mounts import mounted
from tests.support.printed import text
from tests.support.roots import MOTO_KEYS

Cause = Callable[[], Awaitable[Any] | Any]
local = partial(StorageManager, local_base_path="sessions")
bucket = partial(StorageManager, "my-sessions")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def shown() -> dict[str, str]:
    """Return the message that the page shows for each heading, in one line."""
    entry = re.compile(r"^(.+)\n-+\n\n\.\. code-block:: text\n\n((?: {4}.*\n|\n)+)", re.MULTILINE)
    found = entry.findall(text("troubleshooting"))
    return {heading.replace("``", ""): " ".join(message.split()) for heading, message in found}


async def message_of(cause: Cause) -> str:
    """Return the last line of a traceback: the name of the error, and its text."""
    with pytest.raises((StorageManagerError, ValueError)) as caught:
        result = cause()
        await result if isinstance(result, Awaitable) else None
    module = "" if caught.type.__module__ == "builtins" else f"{caught.type.__module__}."
    return f"{module}{caught.type.__name__}: {caught.value}"


def as_shown(message: str, directory: Path) -> str:
    """Put the places of the page in the place of those of the test."""
    message = message.replace(str(directory), "/home/me")
    message = re.sub(r"127\.0\.0\.1:\d+", "localhost:9000", message)
    return " ".join(re.sub(r"staging-[0-9a-f]{32}", "staging-...", message).split())


def refusal(status: str, code: str, message: str) -> bytes:
    body = f"<?xml version='1.0'?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return http(status, body, content_type="application/xml")


async def check_at(answer: bytes | None) -> None:
    """Call `check` of a bucket whose service always gives this answer; None: no answer at all."""
    service = Answering()
    service.answers = [answer or b""]
    mute = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await mute.wait()
        writer.close()

    server = await asyncio.start_server(service.serve if answer else wait, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    options = {} if answer else {"config_kwargs": {"read_timeout": 0.1}}
    async with bucket(s3_endpoint_url=f"http://127.0.0.1:{port}", storage_options=options) as storage:
        try:
            await storage.check()
        finally:
            mute.set()
            server.close()


async def check_nowhere() -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    async with bucket(s3_endpoint_url=f"http://127.0.0.1:{port}") as storage:
        await storage.check()


async def store_twice() -> None:
    await local().store_step_data("run-1", "step_000001", "<p>")
    await local().store_step_data("run-1", "step_000001", "<p>", overwrite=False)


async def read_large_attachment() -> None:
    await local().store_attachments("run-1", {"video.webm": b"x" * 20})
    await local(max_file_bytes=10).retrieve_attachment("run-1", "video.webm")


async def record_twice() -> None:
    async with record(local(), "run-1") as first, record(local(), "run-1") as second:
        await first.add(html="<p>1")
        await second.add(html="<p>2")


async def pair_without_observed() -> None:
    await local().store_step_data("run-1", "step_000001", "<p>", action_data={"type": "click"})
    async for _ in iter_transitions(local()):
        pass


def record_asynchronous_page() -> None:
    with sync.record(sync.StorageManager(local_base_path="sessions"), "run-1") as recorder:
        recorder.step(Still())


async def store_where_nothing_is() -> None:
    storage = local()
    os.rmdir("sessions")
    await storage.store_step_data("run-1", "step_000001", "<p>")


def unpack_a_step() -> None:
    for session_id, step_id, _ in [Step("run-1", "step_000001", StepData())]:
        print(session_id, step_id)


def profile_that_is_nowhere() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_PROFILE", "production")
        bucket()


async def check_without_keys() -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name in MOTO_KEYS:
            patch.delenv(name)
        await check_at(http("200 OK", ""))


async def export_without_pyarrow() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pyarrow", None)
        await export_parquet(local(), "exports")


XML_ERRORS = {
    "AccessDenied": ("403 Forbidden", "Access Denied"),
    "AuthorizationHeaderMalformed": (
        "400 Bad Request",
        "The authorization header is malformed; the region 'us-west-2' is wrong; expecting 'eu-central-1'",
    ),
    "ExpiredToken": ("400 Bad Request", "The provided token has expired."),
    "InvalidAccessKeyId": ("403 Forbidden", "The AWS Access Key Id you provided does not exist in our records."),
    "NoSuchBucket": ("404 Not Found", "The specified bucket does not exist"),
    "RequestTimeTooSkewed": (
        "403 Forbidden",
        "The difference between the request time and the current time is too large.",
    ),
    "SlowDown": ("503 Slow Down", "Please reduce your request rate."),
}
WEB_PAGE = http("200 OK", "<html><body>Welcome!</body></html>", content_type="text/html")

CAUSES: dict[str, Cause] = {
    **{code: partial(check_at, refusal(status, code, why)) for code, (status, why) in XML_ERRORS.items()},
    "an attachment cannot be called": lambda: local().store_attachments("run-1", {"README": "..."}),
    "cannot be used": lambda: local().store_step_data("shop/1", "step_000001", "<p>"),
    "Could not connect to the endpoint URL": check_nowhere,
    "does not speak S3": partial(check_at, WEB_PAGE),
    "exists already, and overwrite is False": store_twice,
    "File exists": lambda: (Path("sessions").write_text(""), local()),
    "have other ids": record_twice,
    "has no JSON form": lambda: local().store_step_data("run-1", "s", action_data={"target": SimpleNamespace()}),
    "is an asynchronous page": lambda: asyncio.to_thread(record_asynchronous_page),
    "is given without its secret": lambda: bucket(storage_options={"key": "AKIAIOSFODNN7EXAMPLE"}),
    "is in neither AWS file": profile_that_is_nowhere,
    "is inside the storage root": lambda: export_parquet(local(), "sessions/exports"),
    "is not a JSON number": lambda: local().store_step_data("run-1", "s", metadata={"scores": [float("nan")]}),
    "is not a valid bucket name": lambda: StorageManager("My Sessions"),
    "is not a valid endpoint": lambda: bucket(s3_endpoint_url="localhost:9000"),
    "is not installed": export_without_pyarrow,
    "may be read into memory": read_large_attachment,
    "neither the step nor its session": pair_without_observed,
    "No such file or directory": store_where_nothing_is,
    "Read timeout on endpoint URL": partial(check_at, None),
    "require_s3 is set": lambda: StorageManager(require_s3=True),
    "session_ids is one id": lambda: export_parquet(local(), "exports", "run-1"),
    "there is no catalogue": lambda: find_sessions(local(), "reward > 0"),
    "there is no such session": lambda: seal_session(local(), "run-1"),
    "too many values to unpack": unpack_a_step,
    "Unable to locate credentials": check_without_keys,
}


@pytest.mark.parametrize("heading", CAUSES)
async def test_the_message_is_the_one_that_is_shown(
    heading: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in MOTO_KEYS.items():
        monkeypatch.setenv(name, value)
    message = as_shown(await message_of(CAUSES[heading]), tmp_path)
    assert shown()[heading] == message
    assert heading in message


async def test_a_full_disk(tmp_path: Path) -> None:
    with mounted(tmp_path / "sessions", "-t", "tmpfs", "-o", "size=64k", "tmpfs"):
        message = await message_of(lambda: local().store_step_data("run-1", "step_000001", "x" * 100_000))
    assert shown()["No space left on device"] == as_shown(message, tmp_path)


async def in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Cause the records that the page shows."""
    with caplog.at_level(logging.INFO, "storage_manager"):
        await StorageManager().store_step_data("run-1", "step_000001", "<p>")
        Path(".storage_data/run-1/step_000001/action.json").write_text("{broken")
        await StorageManager().retrieve_step_data("run-1", "step_000001", components=["screenshot", "action"])


async def test_the_records_of_the_log(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    await in_the_log(caplog)
    records = {f"{one.levelname} {one.name}: {as_shown(one.getMessage(), tmp_path)}" for one in caplog.records}
    headings = ("it is missing", "it cannot be decoded", "no s3_bucket_name")
    assert {shown()[heading] for heading in headings} == records


async def test_the_problems_of_a_session(tmp_path: Path) -> None:
    storage = local()
    await storage.store_step_data("run-1", "step_000001", "<p>", action_data={"type": "click"})
    await seal_session(storage, "run-1")
    Path("sessions/run-1/step_000001/action.json").unlink()
    Path("sessions/run-1/step_000001/README").write_text("mine")
    Path("sessions/run-1/step_000001/observation.html").write_text("<b>")
    problems = await verify_session(storage, "run-1")
    named = {problem.kind: as_shown(repr(problem), tmp_path) for problem in problems}
    assert {kind: shown()[kind] for kind in ("changed", "missing", "unlisted")} == named


def test_the_command_line_without_its_packages(tmp_path: Path) -> None:
    code = "import sys; sys.modules['click'] = sys.modules['rich'] = None; from storage_manager.cli import main; main()"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert shown()["the command line needs click and rich"] == as_shown(run.stderr, tmp_path)


def test_every_message_is_caused_here_and_sorted() -> None:
    others = {"No space left on device", "it is missing", "it cannot be decoded", "no s3_bucket_name"}
    others |= {"changed", "missing", "unlisted", "the command line needs click and rich"}
    headings = list(shown())
    assert {*headings} == {*CAUSES, *others}
    assert headings == sorted(headings, key=str.lower)
