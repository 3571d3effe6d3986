"""The same library without `async`, for scripts, notebooks, Playwright's sync pages and Selenium.

    storage = StorageManager(local_base_path="sessions")
    storage.store_step_data("run-1", "step_000001", html_content="<p>", action_data={"type": "goto"})
    for step in storage.iter_steps(["run-1"]):
        print(step.step_id, step.data.action)

Every class and function has the signature and the docstring of its asynchronous twin, without `async`. Asynchronous
iterators become plain generators. The asynchronous twin does the work, on one event loop per process, in a background
thread.

The types are in `__init__.pyi`, which `scripts/make_sync_stub.py` writes.
"""
# Written by scripts/make_sync_stub.py from the source of the asynchronous code: do not edit.
# ruff: noqa: UP043 - the full form is that of every version of Python

import os
from collections.abc import AsyncIterable, Generator, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Literal

from fsspec import AbstractFileSystem
from typing_extensions import Self, Unpack

from storage_manager import recorder, storage
from storage_manager.aio import Progress
from storage_manager.catalog.update import CatalogUpdate
from storage_manager.errors import StorageManagerError
from storage_manager.integrity import Problem
from storage_manager.layout import Component, Step, StepData
from storage_manager.redaction import Redactor
from storage_manager.storage import Attachment, Options
from storage_manager.transfer.copying import CopyResult
from storage_manager.transitions import Transition

class StorageManager:
    """Stores the HTML, screenshot, action and metadata of each step of a browser session, without `async`.

    It has the methods of storage_manager.StorageManager. They wait for the result, and iterators are plain generators.
    Any number of threads and forked child processes can use it. It also works while an event loop is running in the
    calling thread, as in Jupyter; this loop is blocked meanwhile. You do not have to close it.

    Attributes:
        asynchronous: the manager underneath. Await its methods in coroutines, on any event loop.
    """

    asynchronous: storage.StorageManager

    def __init__(
        self,
        s3_bucket_name: str | None = None,
        s3_region_name: str | None = None,
        local_base_path: str | os.PathLike[str] | None = None,
        prefer_s3: bool | None = None,
        *,
        s3_prefix: str | None = None,
        s3_endpoint_url: str | None = None,
        s3_engine: Literal["s3fs", "obstore"] | None = None,
        require_s3: bool | None = None,
        storage_options: Mapping[str, Any] | None = None,
        redact: Redactor | Sequence[str] | None = None,
        fsync: bool = False,
        max_concurrency: int = 32,
        max_file_bytes: int = ...,
    ) -> None:
        """Resolve the configuration. No request is sent.

        Parameters:
            s3_bucket_name: SM_S3_BUCKET_NAME; if there is none, local disk is used.
            s3_region_name: SM_S3_REGION; default "us-west-2".
            local_base_path: SM_LOCAL_BASE_PATH; default "./.storage_data". It is created if local disk is used.
            prefer_s3: SM_PREFER_S3; default True. False: use local disk even if a bucket is configured.
            s3_prefix: SM_S3_PREFIX; default "". Sessions are stored below this prefix of the bucket.
            s3_endpoint_url: SM_S3_ENDPOINT_URL; for services other than Amazon's.
            s3_engine: SM_S3_ENGINE; default "s3fs". "obstore" needs less CPU (extra `obstore`).
            require_s3: SM_REQUIRE_S3; default False. True: raise instead of falling back to local disk.
            storage_options: keywords for the filesystem, which checks them when it is opened. They override the
                library's own keywords. They may contain credentials; otherwise botocore finds credentials as usual.
            redact: a function that removes secrets from each step before it is stored, or a list of secrets for
                redact_secrets.
            fsync: True to flush each step to the local disk before it is published (13 to 70 times slower).
            max_concurrency: the maximum number of requests in flight per event loop.
            max_file_bytes: the size of the largest file that is returned as bytes. A larger file is an error that names
                the file.

        Raises:
            S3ConfigError: the configuration is visibly wrong, or S3 is required but no bucket is configured.
            LocalStorageError: the base directory cannot be created.
            InvalidDataError: redact is neither a function nor a list of secrets.
            TypeError: storage_options is not a mapping, a limit is not a whole number, or fsync is not a bool.
            ValueError: max_concurrency or max_file_bytes is below 1.
        """
        ...

    @classmethod
    def from_url(cls, url: str | os.PathLike[str], **options: Unpack[Options]) -> Self:
        """Return a manager for the sessions below a URL. The variables for bucket, prefix and directory are ignored.

        Parameters:
            url: `s3://bucket/prefix`, `file:///data`, `/data`, or a URL of any installed fsspec backend.
            options: keywords of the constructor. For S3, the variables for endpoint, region and engine apply too.

        Raises:
            S3ConfigError, LocalStorageError, InvalidDataError, ValueError: as the constructor.
            TypeError: as the constructor; the URL is neither a str nor a Path; or an S3 option is given, but the URL is
                neither on S3 nor on local disk.
            StorageManagerError: fsspec has no such backend, or its package is not installed.
        """
        ...

    def get_storage_info(self) -> dict[str, Any]:
        """Return uses_s3, s3_bucket, s3_region, local_base_path and effective_storage_type. None of these is secret."""
        ...

    def url_for(
        self,
        session_id: str | None = None,
        step_id: str | None = None,
        component: Component | None = None,
        *,
        attachment: str | None = None,
    ) -> str:
        """Return the URL of the root, a session, a step, a component or an attachment, as store_step_data does.

        Parameters:
            attachment: the name of an attachment of the step, or of the session if no step is given.

        Raises:
            InvalidIdError: an id is not allowed, or `session_id` or `step_id` is needed and not given.
            InvalidDataError: there is no such component, an attachment cannot have this name, or both are given.
        """
        ...

    @property
    def storage_options(self) -> dict[str, Any]:
        """The options that pandas, dask and fsspec.open need to open `url_for(...)`: endpoint and region, no secret."""
        ...

    @property
    def fs(self) -> AbstractFileSystem:
        """fsspec's synchronous filesystem for the same root, usable from any thread.

        On local disk, it refuses to write or delete through a link, and to open a pipe.
        """
        ...

    @property
    def max_file_bytes(self) -> int:
        """The size of the largest file that is returned as bytes."""
        ...

    def check(self) -> None:
        """Check that the root can be used: list it, then write, read and delete a hidden test file.

        Raises:
            S3OperationError, S3ConfigError, LocalStorageError: the root cannot be used. The message says why, and
                what to do.
        """
        ...

    def store_step_data(
        self,
        session_id: str,
        step_id: str,
        html_content: str | bytes | None = None,
        screenshot_bytes: bytes | bytearray | memoryview | None = None,
        action_data: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        attachments: Mapping[str, Attachment] | None = None,
        overwrite: bool = True,
    ) -> dict[str, str | None]:
        """Store the given components and attachments, whole and redacted. Other files of the step do not change.

        On local disk, a new step appears at once, with all files of the call. If the call raises an error or is
        cancelled, nothing is being written any more. The same call then repairs the step.

        With overwrite=False, no file is replaced. If several writers store the same file, exactly one of them succeeds.
        On local disk, a new step is then stored whole or not at all. In an existing step, and on S3, the call may have
        stored some of its files when it raises an error. If the call is repeated, these files may cause
        AlreadyExistsError. On S3, the call raises an error if the service ignores If-None-Match. Before the first such
        write to a root, this is tested with a hidden file.

        Parameters:
            session_id, step_id: 1 to 128 letters, digits and `_ . : = @ + , ~ -`; or a UUID or an integer from 0 on,
                which is converted to text. Ids are sorted as text: "10" comes before "9".
            html_content: text, which is stored as UTF-8, or bytes, which are stored unchanged.
            screenshot_bytes: a PNG image; on S3, JPEG and WebP get their own content type. The Path of an image, or an
                image of Pillow (which is stored as PNG), is accepted, too.
            action_data, metadata: mappings of JSON values (RFC 8259: no NaN). datetime, UUID, Path, Enum, dataclass
                and pydantic values are stored as pydantic encodes them, and values of numpy as numbers and lists.
            attachments: other files of the step, by name: bytes, text, a mapping or list (as JSON, under a name that
                ends in `.json`), or the Path of a local file, which is never read into memory as a whole. A name ends
                in an extension; see docs/layout.rst.
            overwrite: False to raise an error if one of the files exists, even with the same bytes.

        Returns:
            html_path, screenshot_path, action_data_path, metadata_path: the URL of each component that was stored
            (`s3://...` or an absolute local path), and None for the others. Also the URL of each attachment, by name.

        Raises:
            InvalidIdError, InvalidDataError: an argument is not allowed. Raised before any I/O.
            AlreadyExistsError: with overwrite=False, one of the files exists. It is unchanged.
            S3OperationError, S3ConfigError, LocalStorageError: a file could not be stored. The message says why.
            StorageManagerError: with overwrite=False, the backend is neither S3 nor local disk.
        """
        ...

    def store_new_step(
        self,
        session_id: str,
        step_id: str,
        data: StepData,
        attachments: Mapping[str, Attachment] | None = None,
        *,
        may_be_stored: bool = False,
    ) -> None:
        """Store a new step, as a recorder does. Its metadata is written first, and claims the step.

        On a backend without conditional writes, an existing step is overwritten.

        Parameters:
            data: the components, with metadata.
            may_be_stored: True if an earlier call for this step failed, and may have stored it. If a step with the same
                metadata exists, it is then taken for this step, and its files are written again.

        Raises:
            AlreadyExistsError: the step has metadata already. Nothing is written.
            As store_step_data.
        """
        ...

    def retrieve_step_data(
        self, session_id: str, step_id: str, *, components: Sequence[Component] = ..., strict: bool = False
    ) -> StepData:
        """Return the components of a step. A missing or unreadable component is None, and a warning is logged.

        Parameters:
            components: the names of the components to read; the others are None.
            strict: True to raise an error for the first component that exists but cannot be read or decoded.

        Raises:
            InvalidIdError, InvalidDataError: an argument is not allowed. Raised before any I/O.
            S3OperationError, S3ConfigError, LocalStorageError: reading failed for every component (no such bucket, no
                access, no connection); with strict, for one of them. A missing component is not a failure.
        """
        ...

    def read_step(
        self, session_id: str, step_id: str, *, components: Sequence[Component] = ...
    ) -> dict[Component, bytes | StorageManagerError | None]:
        """Return components of a step as they are stored: for each its bytes, None if it is missing, or the error.

        The errors are returned, not raised. Nothing is decoded, and nothing is logged. Retrieving, sealing, exporting
        and viewing use this method to read steps.

        Parameters:
            components: the names of the components to read. The result has them in the order of `layout.COMPONENTS`.

        Raises:
            InvalidIdError, InvalidDataError: an argument is not allowed. Raised before any I/O.
            S3ConfigError, StorageManagerError: the backend cannot be opened.
        """
        ...

    def read_files_of_step(
        self, session_id: str, step_id: str, components: Sequence[Component], names: Sequence[str] = ()
    ) -> tuple[dict[Component, bytes | StorageManagerError | None], dict[str, bytes | StorageManagerError | None]]:
        """Return components and named attachments of a step, as read_step does. All files are read in one batch.

        Raises:
            As read_step.
        """
        ...

    def get_share_links(
        self, session_id: str, step_id: str, expires_in: int | timedelta = 3600
    ) -> dict[str, str | None]:
        """Return a link to each component of a step. A browser can open it without credentials.

        On S3, everyone who has a link can read the file until the link expires, or until the credentials that signed it
        expire (those of a role last some hours). A page that is opened with a link runs its scripts, as a page of the
        S3 service. So send links to screenshots, or show pages in the viewer. The call costs one LIST.

        Parameters:
            expires_in: seconds, or a timedelta; up to seven days, as S3 allows ("Presigned URLs", Signature Version 4).

        Returns:
            html_path, screenshot_path, action_data_path, metadata_path: presigned URLs on S3; on local disk, `file://`
            URLs, which do not expire. A missing component has None.

        Raises:
            InvalidIdError, InvalidDataError: an argument is not allowed. Raised before any I/O.
            S3OperationError, S3ConfigError, LocalStorageError, StorageManagerError: the step cannot be listed, or
                the backend has no such links.
        """
        ...

    def store_session_metadata(self, session_id: str, metadata: Mapping[str, Any], *, overwrite: bool = True) -> str:
        """Replace the metadata of a session, `_session.json`. Return its URL.

        If the session is sealed, verify_session reports the file as `changed` or `unlisted` until the session is sealed
        again. The metadata may be any JSON mapping. The library itself reads these fields: goal (str), outcome
        ("success", "failure", "error", "cancelled"), reward (number), agent, model (str), tags (list of str), owner,
        start_url (str), started_at, ended_at (ISO 8601), observed ("before", "after") and usage
        ({"input_tokens": int, "output_tokens": int, "cost_usd": number}).

        Parameters:
            overwrite: as for store_step_data.

        Raises:
            As store_step_data.
        """
        ...

    def update_session_metadata(
        self, session_id: str, metadata: Mapping[str, Any], *, remove: Sequence[str] = ()
    ) -> str:
        """Read the metadata of a session, replace the fields that are given, and store it. Return its URL.

        If two such calls run at the same time, the fields of one of them may be lost.

        Parameters:
            metadata: the fields to replace. A field is replaced as a whole.
            remove: the names of fields to remove first.

        Raises:
            As store_step_data.
            InvalidDataError: the stored metadata is not a JSON object.
        """
        ...

    def retrieve_session_metadata(self, session_id: str) -> dict[str, Any] | None:
        """Return the metadata of a session; None if there is none.

        Raises:
            InvalidIdError: the id is not allowed. Raised before any I/O.
            InvalidDataError: the stored metadata is not a JSON object.
            S3OperationError, S3ConfigError, LocalStorageError: it cannot be read.
        """
        ...

    def store_attachments(
        self,
        session_id: str,
        attachments: Mapping[str, Attachment],
        step_id: str | None = None,
        *,
        overwrite: bool = True,
    ) -> dict[str, str]:
        """Store attachments of a step or of a session. Return the URL of each by its name.

        Parameters:
            attachments: as for store_step_data.
            step_id: the step; None for the session itself.
            overwrite: as for store_step_data.

        Raises:
            As store_step_data.
        """
        ...

    def retrieve_attachment(self, session_id: str, name: str, step_id: str | None = None) -> bytes | None:
        """Return the bytes of an attachment; None if there is none.

        Raises:
            InvalidIdError, InvalidDataError: an argument is not allowed. Raised before any I/O.
            S3OperationError, S3ConfigError, LocalStorageError: it cannot be read, or it has more than `max_file_bytes`
                bytes. Open a larger file with `storage.fs.open(storage.url_for(...))`.
        """
        ...

    def list_attachments(self, session_id: str, step_id: str | None = None) -> list[str]:
        """Return the names of the attachments of a step, or of the session itself, sorted by code point.

        Raises:
            InvalidIdError: an id is not allowed. Raised before any I/O.
            S3OperationError, S3ConfigError, LocalStorageError: they cannot be listed.
        """
        ...

    def delete_attachment(self, session_id: str, name: str, step_id: str | None = None) -> None:
        """Delete an attachment and the seal of its session, and check the deletion.

        If there is no such attachment, an INFO record is logged.

        Raises:
            InvalidIdError, InvalidDataError: an argument is not allowed. Raised before any I/O.
            S3OperationError, S3ConfigError, LocalStorageError: it cannot be deleted.
        """
        ...

    def list_sessions(self) -> list[str]:
        """Return the ids of all sessions, sorted by code point. Names that are not valid ids are left out.

        Raises:
            S3OperationError, S3ConfigError, LocalStorageError: the root cannot be listed.
        """
        ...

    def list_steps_for_session(self, session_id: str) -> list[str]:
        """Return the ids of a session's steps, sorted by code point; [] if there is no such session.

        Raises:
            InvalidIdError: the id is not allowed. Raised before any I/O.
            S3OperationError, S3ConfigError, LocalStorageError: the session cannot be listed.
        """
        ...

    def delete_step(self, session_id: str, step_id: str) -> None:
        """Delete a step with all its files, and the seal of its session, and check the deletion.

        If there is no such step, an INFO record is logged.

        Raises:
            InvalidIdError: an id is not allowed. Raised before any I/O.
            S3OperationError, S3ConfigError, LocalStorageError: a file could not be deleted. The message names it.
        """
        ...

    def delete_session(self, session_id: str) -> None:
        """Delete a session with all its steps, and check the deletion.

        If there is no such session, an INFO record is logged.

        Raises:
            InvalidIdError: the id is not allowed. Raised before any I/O.
            S3OperationError, S3ConfigError, LocalStorageError: a file could not be deleted. The message names it.
        """
        ...

    def iter_sessions(self) -> Generator[str, None, None]:
        """Yield the ids of all sessions in order, page by page.

        S3 lists `run-1` before `run`, because the keys of `run` continue with a slash, and `-` sorts before a slash. So
        `run-1` is held back until the listing has passed `run`. The same is true for `+`, `,` and `.` in place of `-`.
        A local directory is read as a whole, because POSIX does not sort its entries.

        Raises:
            S3OperationError, S3ConfigError, LocalStorageError: the root cannot be listed.
        """
        ...

    def iter_steps(
        self,
        session_ids: Iterable[str] | None = None,
        *,
        components: Sequence[Component] = ...,
        attachments: Sequence[str] = (),
        concurrency: int = 16,
        strict: bool = False,
    ) -> Generator[Step, None, None]:
        """Yield steps, ordered by session and step. They are read ahead; at most `concurrency` of them are in memory.

        A session that cannot be listed, for example because access to its directory is refused, is left out, and a
        warning is logged. A step on local disk is left out in the same way if access to its directory is refused. If a
        component is missing, a DEBUG record is logged.

        Parameters:
            session_ids: the sessions, in this order; None for all.
            components: as for retrieve_step_data.
            attachments: the names of attachments to read as well. `Step.attachments` has those that the step has.
            concurrency: how many steps are read at a time.
            strict: True to raise an error for the first file that exists but cannot be read or decoded, for the first
                session that cannot be listed, and for the first step to which access is refused.

        Raises:
            As retrieve_step_data.
            StorageManagerError: no session could be listed, or no step could be read.
            TypeError, ValueError: concurrency is not a whole number, or is below 1.
        """
        ...

    def read_steps(
        self,
        ids: Iterable[tuple[str, str]] | AsyncIterable[tuple[str, str]],
        *,
        components: Sequence[Component] = ...,
        attachments: Sequence[str] = (),
        concurrency: int = 16,
        strict: bool = False,
    ) -> Generator[Step, None, None]:
        """Yield the steps with these ids, in this order. They are read ahead; at most `concurrency` are in memory.

        A step on local disk is left out if access to its directory is refused. A warning is then logged.

        Parameters:
            ids: pairs of a session id and a step id.
            components, attachments, concurrency, strict: as for iter_steps.

        Raises:
            As iter_steps.
        """
        ...

    def store_steps(self, steps: Iterable[Step] | AsyncIterable[Step], *, concurrency: int = 16) -> int:
        """Store many steps, and return how many. The source is read only as fast as the steps are stored.

        Parameters:
            steps: an iterable of steps, or an asynchronous iterable such as iter_steps.
            concurrency: how many steps are stored at a time.

        Raises:
            InvalidIdError, InvalidDataError, S3OperationError, S3ConfigError, LocalStorageError: a step was not stored.
                No further step is begun, and no store is running any more.
            TypeError, ValueError: steps is not iterable; or concurrency is not a whole number, or is below 1.
        """
        ...

    def __repr__(self) -> str: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
    def close(self) -> None:
        """Close the connections of the running event loop, after all operations have ended. This is optional.

        It waits for all operations that other tasks perform with this manager, including sealing, verifying, copying
        and exporting. It does not wait for an iterator that is between two items. It may be called several times. A
        later operation opens new connections.
        """
        ...

class Recorder:
    """Capture steps of one session in the calling thread, and store them in the background. `record` creates it.

    Attributes:
        asynchronous: the recorder underneath, which stores the steps.
    """

    session_id: str
    asynchronous: recorder.Recorder

    def step(
        self,
        page: Any,
        action: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        attachments: Mapping[str, Attachment] | None = None,
    ) -> str:
        """Store what the page shows now, with the action. Return the step id before the step is stored.

        The ids are step_000001 and so on. If the session has steps, the ids continue after the last step, with as many
        digits. HTML, screenshot, URL, title and viewport belong to one moment. If the page kept changing,
        `changed_during_capture` is true in the metadata. A part that cannot be captured, because the page is closed,
        has crashed or hangs, is left out, and `not_captured` in the metadata has the reason.

        Parameters:
            page: a page of playwright.sync_api, a driver of Selenium, or an object with the methods of one.
            action: the action of the agent. It is copied at once.
            metadata: additional metadata of the step. Its fields override those that the recorder adds itself.
            attachments: other files of the step, as for store_step_data. If a Path is given, its file must exist until
                the step is stored.

        Raises:
            InvalidDataError: `page` is not a page, a value cannot be stored, or the block has ended. No number is used.
            StorageManagerError: nothing can be captured, and there is no action.
            AlreadyExistsError: another writer used the number of an earlier step. This step and later steps are stored
                under other ids, which the message names. The present step was not captured: call again to record it.
            S3OperationError, S3ConfigError, LocalStorageError: earlier steps were not stored. The message names them,
                and each is reported once. The present step was not captured: call again to record it.
        """
        ...

    def add(
        self,
        *,
        html: str | bytes | None = None,
        screenshot: bytes | None = None,
        action: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        attachments: Mapping[str, Attachment] | None = None,
    ) -> str:
        """Store a step that the caller has captured itself. Return the step id before the step is stored.

        Use it for desktop agents, the Chrome DevTools Protocol, or MCP. `timestamp` and `observed` are added to the
        metadata if they are missing.

        Parameters:
            html, screenshot, action, metadata, attachments: as for store_step_data. Mappings are copied at once.

        Raises:
            As step.
            InvalidDataError: there is nothing to store.
        """
        ...

    def finish(self, **metadata: Any) -> None:
        """Add fields to the metadata of the session, which is stored when the block ends.

        Example: `recorder.finish(outcome="success", reward=1.0)`. A later call replaces fields of an earlier call.

        Raises:
            InvalidDataError: a value has no JSON form, the redactor can redact only steps, or the block has ended.
        """
        ...

    def __enter__(self) -> Recorder: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

def record(
    storage: StorageManager,
    session_id: str,
    *,
    full_page: bool = False,
    metadata: Mapping[str, Any] | None = None,
    observed: Literal["after", "before"] = "after",
    image: Literal["png", "jpeg", "webp"] = "png",
    quality: int | None = None,
    mask: Sequence[str] = (),
) -> Recorder:
    """Record a session in an `with` block. At its end every step is stored, and the session is sealed.

    If the session exists already, it is continued: numbering starts after its last step, and its seal is removed. If
    the block ends with an exception, or if a step could not be stored, the other steps are stored, but the session is
    not sealed.

    No step is ever overwritten. If two recorders write the same session at the same time, the second recorder to use a
    number stores its step under the next free number. Its next call raises AlreadyExistsError once. Only S3 and local
    disk can guarantee this: other backends have no conditional writes.

    When the block begins, the metadata of the session gets `started_at`, `observed` and the given fields. When it ends,
    `ended_at` and the fields of `finish` are added. If `outcome` is not given, it becomes "error" if the block raised
    an error, and "cancelled" if it was cancelled. A continued session keeps its first `started_at`, and the fields of
    an earlier run that are not given again. Its `ended_at` and `outcome` are removed.

    Parameters:
        full_page: True for screenshots of the whole page; False for the viewport only.
        metadata: the metadata of the session, for example its goal, agent and model.
        observed: "after" if step() is called after the action, "before" if it is called before the action. It is stored
            in the metadata of each step.
        image: the format of the screenshots. If the page can make only PNG images, Pillow converts them.
        quality: 1 to 100, for "jpeg" and "webp".
        mask: CSS selectors. Elements of the page that match one are covered in the screenshot. For an element in a
            frame, give a selector of the frame.

    Raises:
        InvalidIdError, InvalidDataError: an argument is not allowed. Raised here, before any I/O.
        TypeError: `storage` is not a StorageManager.
        S3OperationError, S3ConfigError, LocalStorageError: when the block begins, the session cannot be listed, or its
            metadata cannot be stored; when it ends, steps were not stored (the message names them), or the session
            cannot be sealed.
        AlreadyExistsError: as for Recorder.step; raised when the block ends. Everything is stored, but the session is
            not sealed.

    Pages are read in the calling thread: those of playwright.sync_api, drivers of Selenium, and objects with the same
    methods. Steps are stored in the background. `image` and `quality` (1 to 100) are the format of screenshots, and
    elements that match a CSS selector in `mask` are covered in them.
    """
    ...

def copy_sessions(
    source: StorageManager,
    target: StorageManager,
    session_ids: Iterable[str] | None = None,
    *,
    concurrency: int = 16,
    progress: Progress | None = None,
    dry_run: bool = False,
) -> CopyResult:
    """Copy sessions with all their files between any two roots, byte for byte. A second run sends nothing twice.

    A file is skipped if the target has the same bytes already. If both roots report its size and ETag, these are
    compared; otherwise both files are read. Files that only the target has stay there. The source does not change.

    Components, attachments, the metadata of a session and its manifest are copied. A file directly in the directory of
    a session becomes an attachment of the session if its name is allowed, the session is not sealed, and the session
    has no attachment of this name with other bytes. Every other file is left behind, and is named in the result.

    If a step cannot be copied, or a session cannot be listed, the others are still copied. The failure is reported at
    the end. But if the first 16 all fail, and not because of their content, the copy stops. The manifest of a sealed
    session is copied last, and only if all its other files were copied. If the target redacts, the redacted files are
    compared and written, and the manifest is not copied: seal the session at the target.

    Parameters:
        session_ids: the sessions to copy, in this order; None for all.
        concurrency: how many steps are read, compared and written at a time.
        progress: called in your thread with the number of steps done and the number of all steps. If it is given,
            the steps are counted beforehand.
        dry_run: True to write nothing, and return how many steps would be copied. A file is then read only if the
            target has a file of the same size.

    Returns:
        The number of steps with at least one file that was written, as an int with the attribute `left_behind`.

    Raises:
        InvalidIdError, InvalidDataError: an id is not allowed, or the target is the source or lies within it. Raised
            before any I/O. Also raised at the end of the copy if a named session does not exist.
        StorageManagerError: steps or sessions were not copied. The message says how many, which, and why. The error
            has the class of the first failure.
        TypeError, ValueError: `source` or `target` is not a StorageManager; concurrency is not a whole number, or is
            below 1; or progress is not a function.
    """
    ...

def export_parquet(
    storage: StorageManager,
    url: str | os.PathLike[str],
    session_ids: Iterable[str] | None = None,
    *,
    components: Sequence[Component] = ...,
    attachments: Sequence[str] = (),
    storage_options: Mapping[str, Any] | None = None,
    row_group_bytes: int = ...,
    progress: Progress | None = None,
) -> int:
    """Write the steps, an index, the sessions and a dataset card. The files appear when all are complete.

    `data/steps-*.parquet` has one row per step. `index/index.parquet` has the same rows without the large columns.
    `sessions/sessions.parquet` has one row per session. README.md is the dataset card: with it,
    `datasets.load_dataset(url)` loads the steps, with screenshots as images. docs/export.rst describes the columns.

    An earlier export at the same URL is replaced when all new files are complete. After a failure or a cancellation, it
    is unchanged. A component that exists but cannot be read is null, is named in the column `unreadable`, and is
    counted in a warning. A session that cannot be listed is left out, and is named in a warning. The memory that is
    needed depends on `row_group_bytes`, and not on the number of steps.

    Parameters:
        url: a directory only for this export, at any fsspec URL, outside the storage root.
        session_ids: the sessions to export, in this order; None for all.
        components: the components that get columns.
        attachments: the names of step attachments. Each gets a binary column with the name of the attachment.
        storage_options: options for the filesystem of `url`.
        row_group_bytes: the size at which a row group ends, before compression; 1 to 2**30.
        progress: called in your thread with the number of steps written and None; at the end with that number twice.

    Returns:
        The number of rows.

    Raises:
        InvalidIdError, InvalidDataError: an argument is not allowed (raised before any I/O), or a named session has no
            steps. Nothing is replaced.
        TypeError: `storage` is not a StorageManager. Raised before any I/O.
        S3OperationError, S3ConfigError, LocalStorageError, StorageManagerError: steps cannot be read, the target
            cannot be written, or pyarrow is not installed.
    """
    ...

def export_webdataset(
    storage: StorageManager,
    url: str | os.PathLike[str],
    session_ids: Iterable[str] | None = None,
    *,
    shard_bytes: int = ...,
    complete_only: bool = True,
    storage_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> list[str]:
    """Write the steps to `shard-*.tar`, and return the URLs of the shards in order.

    The shards appear when all are complete. An earlier export at the same URL is then replaced. After a failure or a
    cancellation, it is unchanged. The key of a sample is `session/step`, with `%2E` for each dot in the ids
    (`urllib.parse.unquote` restores the ids). The files of a sample have exactly the bytes that this library stores.
    The same steps produce the same shards. A session that cannot be listed is left out, and is named in a warning.

    Parameters:
        url: a directory only for this export, at any fsspec URL, outside the storage root.
        session_ids: the sessions to export, in this order; None for all.
        shard_bytes: the size at which a shard ends; at least 1. The step that reaches it is the last of the shard.
        complete_only: True to leave out steps that lack a component, because `datasets` cannot load them together with
            complete steps. A warning has their number. False to export all steps with the components that they have.
        storage_options: options for the filesystem of `url`.
        progress: called in your thread with the number of steps done and None; at the end with that number twice.

    Raises:
        InvalidIdError, InvalidDataError: an argument is not allowed (raised before any I/O), a named session has no
            steps, or no step has all components. Nothing is replaced.
        TypeError: `storage` is not a StorageManager. Raised before any I/O.
        S3OperationError, S3ConfigError, LocalStorageError, StorageManagerError: steps cannot be read, or the target
            cannot be written.
    """
    ...

def find_sessions(
    storage: StorageManager, where: str = "", *, order_by: str = "started_at DESC", limit: int | None = None
) -> list[dict[str, Any]]:
    """Return the rows of the catalogue for which a condition in DuckDB's SQL is true.

    The columns are session_id, steps, bytes, started_at, ended_at, goal, outcome, reward, agent, model, owner, tags (a
    list), start_url, hosts (a list of the hosts in the URLs of all steps, without ports), input_tokens, output_tokens,
    cost_usd, sealed, last_modified, metadata (JSON). Times are UTC datetimes. A field of the wrong type is None. The
    catalogue has the sessions as they were at its last update: see update_catalog.

    The condition can read only the catalogue, and cannot change anything. It may run for at most 30 seconds.

    Parameters:
        where: a condition, such as `outcome = 'failure' and cost_usd > 1`; "" for all sessions.
        order_by: columns or expressions, as after ORDER BY. Rows without a value come last.
        limit: the maximum number of rows to return; None for all.

    Raises:
        InvalidDataError: the condition or the order cannot be used. The message says why, and lists the columns.
        TypeError, ValueError: `storage` is not a StorageManager; or limit is not a whole number, or is negative.
        S3OperationError, S3ConfigError, LocalStorageError: the catalogue cannot be read.
        StorageManagerError: there is no catalogue, or deltalake or duckdb is not installed.
    """
    ...

def follow_session(storage: StorageManager, session_id: str, *, interval: float = 1.0) -> Generator[Step, None, None]:
    """Yield the steps of a session as they are stored, from the first step on, until the session is sealed.

    Each step is yielded once. The steps that one listing finds are in the order of their ids. If the session does not
    exist yet, the iteration waits for it. On S3, a step appears file by file. So the newest step is held back until a
    listing finds it unchanged, until another step follows, or until the session is sealed. On local disk, a new step
    appears with all of its files at once.

    Parameters:
        interval: seconds from one listing of the session to the next; more than 0. A listing is one LIST for each
            thousand files. If it takes more than half of the interval, the interval becomes twice that time.

    Raises:
        InvalidIdError, InvalidDataError: an argument is not allowed. Raised before any I/O.
        TypeError: `storage` is not a StorageManager.
        S3OperationError, S3ConfigError, LocalStorageError: the session cannot be listed, or as iter_steps.
    """
    ...

def import_agentlab(
    storage: StorageManager,
    path: str | os.PathLike[str],
    session_id: str | None = None,
    *,
    progress: Progress | None = None,
) -> str:
    """Import an experiment of AgentLab or BrowserGym as a session with one step per observation. Return the session id.

    The steps are step_000001 and so on. The first of them is `step_0` of the experiment. Each step has what the page
    showed when the agent chose the action. No code in the pickles is run; a pickle that needs code is refused.
    Everything is read and checked in a separate thread before anything is stored.

    Parameters:
        storage: the storage that receives the session.
        path: the directory of one experiment. It contains step_0.pkl.gz.
        session_id: the id of the new session. None to make it from the name of the directory.
        progress: called in your thread with the number of steps stored so far, and the number of all steps.

    Raises:
        InvalidIdError: the id is not allowed, or none can be made from the directory's name. Raised before any I/O.
        InvalidDataError: the directory is not such an experiment, it is damaged or hostile, or the session exists
            already. Nothing is stored.
        LocalStorageError: a file cannot be read.
        TypeError: `storage` is not a StorageManager, path is not a path, or progress is not a function.
        S3OperationError, S3ConfigError, LocalStorageError: storing failed. What was stored is deleted again.
    """
    ...

def import_browser_use(
    storage: StorageManager,
    path: str | os.PathLike[str],
    session_id: str | None = None,
    *,
    progress: Progress | None = None,
) -> str:
    """Import a history of browser-use as a session with one step per item. Return the session id.

    The steps are step_000001 and so on. Each has what the page showed when the model chose the action. Everything is
    read and checked in a separate thread before anything is stored.

    Parameters:
        storage: the storage that receives the session.
        path: the JSON file that `agent.history.save_to_file(path)` wrote. Screenshots are read only from its directory.
        session_id: the id of the new session. None to make it from the name of the file.
        progress: called in your thread with the number of steps stored so far, and the number of all steps.

    Raises:
        InvalidIdError: the id is not allowed, or none can be made from the name of the file. Raised before any I/O.
        InvalidDataError: the file is not such a history, it is damaged or hostile, a screenshot is in another
            directory, or the session exists already. Nothing is stored.
        LocalStorageError: a file cannot be read.
        TypeError: `storage` is not a StorageManager, path is not a path, or progress is not a function.
        S3OperationError, S3ConfigError, LocalStorageError: storing failed. What was stored is deleted again.
    """
    ...

def import_playwright_trace(
    storage: StorageManager,
    path: str | os.PathLike[str],
    session_id: str | None = None,
    *,
    all_calls: bool = False,
    progress: Progress | None = None,
) -> str:
    """Import a Playwright trace as a session with one step per action. Return the session id.

    The steps are step_000001 and so on, in the order in which the actions began. The whole file is read, and every
    step is built, before the first step is stored. The trace is read in a separate thread.

    Parameters:
        storage: the storage that receives the session.
        path: a trace.zip, a directory with the same files, as Playwright MCP writes it, or a .trace file in such a
            directory. Versions 3 to 10 of the format can be read: Playwright 1.31 to 1.65.
        session_id: the id of the new session. None to make it from the name of the file or directory.
        all_calls: False to leave out calls that neither act on a page nor check it: calls that read (`title`,
            `screenshot`), wait, or set up the browser (`addCookies`).
        progress: called in your thread with the number of steps stored so far, and the number of all steps.

    Raises:
        InvalidIdError: the id is not allowed, or none can be made from the name. Raised before anything is read.
        InvalidDataError: the file is not a trace, it is damaged or hostile, or the session exists already.
            Nothing is stored.
        LocalStorageError: the file cannot be read.
        TypeError: `storage` is not a StorageManager, path is not a path, or progress is not a function.
        S3OperationError, S3ConfigError, LocalStorageError: storing failed. The steps that were stored are deleted
            again.
    """
    ...

def import_webvoyager(
    storage: StorageManager,
    path: str | os.PathLike[str],
    session_id: str | None = None,
    *,
    progress: Progress | None = None,
) -> str:
    """Import the results of a task of WebVoyager as a session with one step per answer of the model.

    Return the session id. The steps are step_000001 and so on. Each has the screenshot that the model saw when it chose
    the action, with numbered labels. Everything is read and checked in a separate thread before anything is stored.

    Parameters:
        storage: the storage that receives the session.
        path: the directory of one task, with interact_messages.json and screenshot1.png; or interact_messages.json.
        session_id: the id of the new session. None to make it from the name of the directory.
        progress: called in your thread with the number of steps stored so far, and the number of all steps.

    Raises:
        InvalidIdError: the id is not allowed, or none can be made from the directory's name. Raised before any I/O.
        InvalidDataError: the directory has no such results, they are damaged or hostile, or the session exists already.
            Nothing is stored.
        LocalStorageError: a file cannot be read.
        TypeError: `storage` is not a StorageManager, path is not a path, or progress is not a function.
        S3OperationError, S3ConfigError, LocalStorageError: storing failed. What was stored is deleted again.
    """
    ...

def iter_transitions(
    storage: StorageManager,
    session_ids: Iterable[str] | None = None,
    *,
    observed: Literal["before", "after"] | None = None,
    concurrency: int = 16,
) -> Generator[Transition, None, None]:
    """Yield the page before, the action and the page after, for every action of these sessions.

    Each step has one page. If the page was observed before the action of its step, the page of the next step is the
    page after the action. If it was observed after the action, the page of the previous step is the page before the
    action. The page of such a neighbour is used only if the neighbour was observed in the same way or has no action,
    and if the `page_id` in the metadata of both steps is the same (if both have one). Otherwise this page is None.

    Two steps are neighbours if their ids have the same prefix and end in consecutive numbers, such as `step_9` and
    `step_10`. If no id of a session ends in a number, steps that follow each other in the list are neighbours.

    Transitions come in the order of these numbers. At most `concurrency` + 2 steps are in memory. Sessions and steps
    that cannot be read are left out with a warning, as by iter_steps.

    Parameters:
        session_ids: the sessions, in this order; None for all.
        observed: when the pages of all steps were observed. None to use `observed` in the metadata of each step, or
            else in the metadata of its session.
        concurrency: how many steps are read at a time.

    Raises:
        InvalidDataError: observed is another value; or it is None, and neither the metadata of a step with an action
            nor that of its session has it. A guess could pair each action with the wrong page.
        TypeError: `storage` is not a StorageManager.
        As iter_steps.
    """
    ...

def purge_sessions(storage: StorageManager, older_than: datetime | timedelta, *, dry_run: bool = True) -> list[str]:
    """Delete the sessions whose files are all older than a limit. With `dry_run`, the default, only return their ids.

    Each session is checked again just before it is deleted. It is kept if someone has written to it meanwhile. A
    directory is kept if it has no component, no session metadata and no attachment of the session itself: other files
    (`backups/2019/db.tar`) may belong to somebody else. A session is also kept if the backend does not report when each
    of its files was last written. Files that operating systems create are ignored.

    If a session cannot be listed or deleted, the others are still deleted. The failure is reported at the end.

    Parameters:
        older_than: a datetime with a time zone, or an age (a timedelta).
        dry_run: False to delete.

    Returns:
        The ids of the sessions that were deleted or, with dry_run, would be deleted. Each id is a PurgedSession.

    Raises:
        InvalidDataError: the datetime has no time zone, or the age is negative. Raised before any I/O.
        TypeError: `storage` is not a StorageManager. Raised before any I/O.
        S3OperationError, S3ConfigError, LocalStorageError: the root cannot be listed; or sessions could not be listed
            or deleted. The message then says how many, which, and why, and the error has the class of the first
            failure. The other sessions are deleted.
    """
    ...

def render_session(
    storage: StorageManager, session_id: str, path: str | os.PathLike[str], *, progress: Progress | None = None
) -> str:
    """Write one HTML file that replays a session from disk, offline. Return its absolute path.

    The file appears when it is complete, and then replaces a file of the same name; a failure or a cancellation leaves
    that file unchanged. Stored pages are shown in a sandbox, in which no script runs and nothing is loaded. If a
    component cannot be read, the file shows the error instead. Memory is bounded by a few steps. The file contains all
    components, and the metadata of the session; a screenshot takes 4/3 of its size. It does not contain attachments,
    and says how many there are.

    Parameters:
        path: the file to write. Its directory must exist.
        progress: called in your thread with the number of steps that are in the file, and of all steps.

    Raises:
        InvalidIdError, InvalidDataError: refused before anything is written: the id or the path cannot be used, or
            there is no such session.
        S3OperationError, S3ConfigError, LocalStorageError, StorageManagerError: the session cannot be listed, no
            component of a step can be read, the file cannot be written, or jinja2 is not installed.
        TypeError: `storage` is not a StorageManager, or progress is not a function.
    """
    ...

def seal_session(storage: StorageManager, session_id: str) -> str:
    """Read every file of a session, then write `<session>/_manifest.json`. Return the manifest's URL.

    The manifest is one line of JSON that ends in a newline: `{"version": 2, "sealed_at":
    "2026-01-31T12:00:00.000+00:00", "components": {"step_000001/observation.html": {"size": 12, "sha256": "..."}, ...},
    "files": {"_session.json": {...}, "step_000001/axtree.json": {...}, ...}}`, sorted by path. Size and SHA-256 (FIPS
    180-4, in hexadecimal) are those of the stored bytes. `files` has the attachments and the metadata of the session.
    The manifest does not name files that are not part of the layout. No listing shows the manifest. Sealing again
    replaces it, with a warning if a file is missing or has changed since the last seal. Deleting a step or an
    attachment also deletes the manifest. The session is then no longer sealed.

    Raises:
        InvalidIdError: the session id is not allowed. Raised before any I/O.
        TypeError: `storage` is not a StorageManager. Raised before any I/O.
        InvalidDataError: there is no such session, or it is empty.
        S3OperationError, S3ConfigError, LocalStorageError: a file cannot be read, or the manifest cannot be written.
    """
    ...

def sweep(storage: StorageManager, older_than: timedelta = ...) -> int:
    """Remove what killed writers left: staged files, test files of `check`, unfinished uploads. Return how many.

    Sessions, steps and their files do not change. On local disk, the first store in each event loop already removes
    leftovers that are older than an hour. Call this function for S3, or to remove leftovers sooner. On S3, it needs the
    rights s3:ListBucketMultipartUploads and s3:AbortMultipartUpload. Other fsspec backends have no leftovers.

    Parameters:
        older_than: the minimum age of a leftover, counted from its last write. It must be longer than the longest
            write. If the files of a running writer are removed, the writer starts again on local disk, and fails on S3.
            Use zero only if nobody is writing.

    Raises:
        InvalidDataError: the age is negative, or not a timedelta. Raised before any I/O.
        TypeError: `storage` is not a StorageManager. Raised before any I/O.
        S3OperationError, S3ConfigError, LocalStorageError: the root cannot be listed, or a leftover cannot be removed.
    """
    ...

def update_catalog(
    storage: StorageManager,
    session_ids: Iterable[str] | None = None,
    *,
    full: bool = False,
    concurrency: int = 32,
    progress: Progress | None = None,
) -> CatalogUpdate:
    """Bring `<root>/_catalog`, a Delta Lake table with one row per session, up to date.

    New sessions are read. A session in the table that is not sealed costs one listing, and is read again if a file was
    added or deleted, or has another size, time or ETag. A session in the table that is sealed is not checked: changes
    are found only with `session_ids` or `full`. Deleted sessions are removed from the table. If a session cannot be
    read, its row does not change, and a warning names the session. A warning also names each session in `session_ids`
    that neither exists nor is in the table.

    Several updates may run at the same time: a commit that conflicts is repeated. If an update is killed, the table
    remains valid, and the next update continues.

    If this process has a client of a Dask cluster (`distributed.Client`), the workers read the sessions. They find
    credentials as botocore does.

    Parameters:
        session_ids: the sessions to read again, in any case. Other sessions are not checked. None to check all
            sessions.
        full: True to read all sessions again.
        concurrency: how many sessions are read at a time.
        progress: called in your thread with the number of sessions checked so far and None; at the end with that
            number twice. Sealed sessions in the table are not checked.

    Raises:
        InvalidIdError, InvalidDataError: an argument is not allowed. Raised before any I/O.
        TypeError, ValueError: `storage` is not a StorageManager; concurrency is not a whole number, or is below 1; or
            progress is not a function.
        S3OperationError, S3ConfigError, LocalStorageError: the root cannot be listed, no session can be read, or the
            table cannot be written.
        StorageManagerError: the backend is neither S3 nor local disk, the table is damaged, or deltalake is not
            installed.
    """
    ...

def verify_session(storage: StorageManager, session_id: str, *, require_seal: bool = False) -> list[Problem]:
    """Return the problems of a session, sorted by URL; [] if it is whole. Nothing is changed.

    A sealed session is compared with its manifest. A component, an attachment or the metadata of the session is
    `missing`, `changed` (its bytes differ from the sealed ones), or `unlisted` (it was stored after the session was
    sealed).

    In every session, a component or the metadata of the session is `unreadable` if access to it is refused, if a
    directory has its name, or if it is not UTF-8 or not a JSON object. The session itself is `unreadable` if it or a
    directory in it cannot be listed, for example because access is refused. The other files are still verified.
    A staged file of this library is a `leftover`, and so is an S3 upload that was not completed. Any other file that is
    not part of the layout is `unlisted`. A session that does not exist is `missing`. Files that operating systems
    create are ignored. The attachments of a session without a seal are not read.

    Parameters:
        require_seal: True to report a session without a seal as `unsealed`.

    Raises:
        InvalidIdError: the session id is not allowed. Raised before any I/O.
        TypeError: `storage` is not a StorageManager. Raised before any I/O.
        S3OperationError, S3ConfigError, LocalStorageError: it is unknown if the session is whole, because the root is
            missing, the root cannot be used as it is configured, or the service fails.
    """
    ...
