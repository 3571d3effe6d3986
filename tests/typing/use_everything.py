"""Uses all that is public, with the types that it promises; `.ci/types` has mypy and pyright look at it. Never run."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from aiohttp import web
from fsspec import AbstractFileSystem
from fsspec.asyn import AsyncFileSystem
from typing_extensions import assert_type

from storage_manager import (
    ACTION_DATA_FILENAME,
    DEFAULT_LOCAL_BASE_PATH,
    DEFAULT_S3_REGION,
    HTML_FILENAME,
    METADATA_FILENAME,
    SCREENSHOT_FILENAME,
    Attachment,
    Component,
    InvalidDataError,
    InvalidIdError,
    LocalStorageError,
    S3ConfigError,
    S3OperationError,
    Step,
    StepData,
    StorageManager,
    StorageManagerError,
    __version__,
)
from storage_manager.catalog import CatalogUpdate, find_sessions, update_catalog
from storage_manager.export import export_dask, export_parquet, export_webdataset, read_dask
from storage_manager.importers import import_agentlab, import_browser_use, import_playwright_trace, import_webvoyager
from storage_manager.integrity import Problem, seal_session, sweep, verify_session
from storage_manager.inventory import Summary, count_steps, list_files, summarize
from storage_manager.protocol import SessionFileSystem
from storage_manager.recorder import Recorder, record
from storage_manager.redaction import Redactor, redact_secrets
from storage_manager.testing import StorageManagerTests
from storage_manager.transfer import CopyResult, PurgedSession, copy_sessions, purge_sessions, purging
from storage_manager.viewer import create_app, render_session, serve

if TYPE_CHECKING:
    from storage_manager.backends import FileInfo

Paths = dict[str, str | None]
NAMES: tuple[str, ...] = (ACTION_DATA_FILENAME, HTML_FILENAME, METADATA_FILENAME, SCREENSHOT_FILENAME)
DEFAULTS: tuple[str, ...] = (DEFAULT_LOCAL_BASE_PATH, DEFAULT_S3_REGION, __version__)
COMPONENTS: tuple[Component, ...] = ("html", "screenshot", "action", "metadata")


class Own(StorageManager):
    """`from_url` and `async with` give what they are called on."""


def construct() -> None:
    StorageManager()
    StorageManager("bucket", "eu-central-1", Path("base"), False)
    manager = StorageManager(
        s3_bucket_name="bucket",
        s3_region_name="eu-central-1",
        local_base_path="base",
        prefer_s3=True,
        s3_prefix="prefix",
        s3_endpoint_url="http://localhost:9000",
        s3_engine="obstore",
        require_s3=True,
        storage_options={"key": "k", "secret": "s"},
        redact=["secret"],
        fsync=True,
        max_concurrency=8,
    )
    assert_type(manager, StorageManager)
    assert_type(Own.from_url("s3://bucket/prefix", s3_engine="s3fs"), Own)


async def steps(storage: StorageManager) -> None:
    async with Own() as own:
        assert_type(own, Own)
    await storage.aclose()
    assert_type(storage.get_storage_info(), dict[str, Any])
    given: dict[str, Any] = {"type": "click"}
    assert_type(await storage.store_step_data("s", "t", "<p>", b"png", given, given), Paths)
    await storage.store_step_data("s", "t", b"<p>", bytearray(), action_data=given, metadata=None)
    await storage.store_step_data("s", "t", screenshot_bytes=memoryview(b""))
    data = await storage.retrieve_step_data("s", "t", components=["html"], strict=True)
    assert_type(data, StepData)
    html, screenshot, action, metadata = data
    assert_type(html, str | None)
    assert_type(screenshot, bytes | None)
    assert_type(action, dict[str, Any] | None)
    assert_type(metadata, dict[str, Any] | None)
    assert_type(await storage.list_sessions(), list[str])
    assert_type(await storage.list_steps_for_session("s"), list[str])
    assert_type(await storage.delete_step("s", "t"), None)
    assert_type(await storage.delete_session("s"), None)
    assert_type(await storage.get_share_links("s", "t", timedelta(hours=1)), Paths)
    assert_type(await storage.get_share_links("s", "t", expires_in=60), Paths)
    assert_type(await storage.check(), None)


async def many(storage: StorageManager, source: AsyncGenerator[Step, None]) -> None:
    assert_type(storage.iter_sessions(), AsyncGenerator[str, None])
    iterator = storage.iter_steps(["s"], components=COMPONENTS, concurrency=4, strict=False)
    assert_type(iterator, AsyncGenerator[Step, None])
    async for step in iterator:
        assert_type(step.session_id, str)
        assert_type(step.step_id, str)
        assert_type(step.data, StepData)
    assert_type(await storage.store_steps([Step("s", "t", StepData(html="<p>"))]), int)
    assert_type(await storage.store_steps(source, concurrency=4), int)


def pipelines(storage: StorageManager) -> None:
    assert_type(storage.url_for(), str)
    assert_type(storage.url_for("s", "t", "html"), str)
    assert_type(storage.storage_options, dict[str, Any])
    filesystem: AbstractFileSystem = storage.fs
    asynchronous: AsyncFileSystem = storage.async_fs
    protocol: AbstractFileSystem = SessionFileSystem(s3_bucket_name="bucket")
    print(filesystem, asynchronous, protocol, SessionFileSystem(storage=storage))


def errors(error: StorageManagerError) -> None:
    assert_type(error.operation, str | None)
    assert_type(error.url, str | None)
    kinds: list[type[StorageManagerError]] = [S3ConfigError, S3OperationError, LocalStorageError]
    values: list[type[ValueError]] = [InvalidIdError, InvalidDataError]
    print(kinds, values)


def redaction() -> None:
    redactor = redact_secrets(["a", "b"], mask="*")
    assert_type(redactor, Callable[[StepData], StepData])

    def own(step: StepData) -> StepData:
        return step._replace(html=None)

    mine: Redactor = own
    StorageManager(redact=mine)


async def integrity(storage: StorageManager) -> None:
    assert_type(await seal_session(storage, "s"), str)
    problems = await verify_session(storage, "s", require_seal=True)
    assert_type(problems, list[Problem])
    assert_type(problems[0].url, str)
    assert_type(problems[0].kind, Literal["missing", "changed", "unlisted", "unreadable", "leftover", "unsealed"])
    assert_type(problems[0].detail, str)
    assert_type(await sweep(storage, older_than=timedelta(minutes=5)), int)
    assert_type(await summarize(storage, "s"), Summary)
    assert_type(await count_steps(storage, ["s"]), int)
    files: AsyncIterator[FileInfo] = list_files(storage, "s")
    async for found in files:
        assert_type(found.name, str)
        assert_type(found.size, int)
        assert_type(found.modified, datetime | None)


def told(done: int, total: int | None) -> None:
    print(done, total)


async def whole_sessions(storage: StorageManager) -> None:
    attachments: dict[str, Attachment] = {"a.json": {"a": [1]}, "b.txt": "x", "c.bin": b"", "d.webm": Path("d.webm")}
    assert_type(await storage.store_attachments("s", attachments, overwrite=False), dict[str, str])
    assert_type(await storage.store_step_data("s", "t", attachments=attachments, overwrite=False), Paths)
    assert_type(await storage.retrieve_attachment("s", "b.txt", "t"), bytes | None)
    assert_type(await storage.list_attachments("s"), list[str])
    assert_type(await storage.delete_attachment("s", "b.txt"), None)
    assert_type(await storage.store_session_metadata("s", {"goal": "x"}), str)
    assert_type(await storage.retrieve_session_metadata("s"), dict[str, Any] | None)
    assert_type(storage.url_for("s", "t", attachment="b.txt"), str)
    assert_type([step.attachments async for step in storage.iter_steps(attachments=["b.txt"])], list[Mapping[str, Any]])
    async with record(storage, "s", metadata={"goal": "x"}, observed="before") as recorder:
        assert_type(await recorder.add(html="x", attachments=attachments), str)
        recorder.finish(outcome="success")


async def transfer(source: StorageManager, target: StorageManager) -> None:
    copied = await copy_sessions(source, target, ["s"], concurrency=4, progress=told, dry_run=True)
    assert_type(copied, CopyResult)
    assert_type(copied.left_behind, tuple[str, ...])
    assert_type(await purge_sessions(source, timedelta(days=90)), list[str])
    assert_type(await purge_sessions(source, datetime.now(timezone.utc), dry_run=False), list[str])
    assert_type([session_id async for session_id in purging(source, timedelta(days=90))], list[PurgedSession])


async def recording(storage: StorageManager, page: Any) -> None:
    async with record(storage, "s", full_page=True) as recorder:
        assert_type(recorder, Recorder)
        assert_type(recorder.session_id, str)
        assert_type(await recorder.step(page, {"type": "click"}, metadata={"reward": 1}), str)
    assert_type(await import_playwright_trace(storage, Path("trace.zip"), session_id="s"), str)
    assert_type(await import_browser_use(storage, Path("history.json"), session_id="s"), str)
    assert_type(await import_webvoyager(storage, "results/task--1"), str)
    assert_type(await import_agentlab(storage, "experiment"), str)


async def exports(storage: StorageManager) -> None:
    options: dict[str, Any] = {}
    rows = await export_parquet(
        storage, "url", ["s"], components=["html"], storage_options=options, row_group_bytes=1, progress=told
    )
    assert_type(rows, int)
    shards = await export_webdataset(
        storage, "url", None, shard_bytes=1, complete_only=False, storage_options=options, progress=told
    )
    assert_type(shards, list[str])
    print(read_dask(storage, ["s"], components=["action"], steps_per_partition=10))
    assert_type(export_dask(storage, "url", ["s"], attachments=["a.json"], steps_per_partition=10, progress=told), int)


async def finding(storage: StorageManager) -> None:
    update = await update_catalog(storage, ["s"], full=False, concurrency=4, progress=told)
    assert_type(update, CatalogUpdate)
    assert_type(update.added, int)
    assert_type(await find_sessions(storage, "steps > 1", order_by="steps", limit=1), list[dict[str, Any]])


async def viewing(storage: StorageManager) -> None:
    assert_type(await render_session(storage, "s", Path("s.html")), str)
    assert_type(create_app(storage), web.Application)
    async with serve(storage, port=0) as url:
        assert_type(url, str)


class TestMine(StorageManagerTests):
    """A user's own suite."""
