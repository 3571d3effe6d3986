"""StorageManager: store, retrieve, list and delete the steps of browser sessions, on S3 or local disk."""

import errno
import logging
import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from fsspec import AbstractFileSystem
from fsspec.asyn import AsyncFileSystem

from storage_manager.aio import map_ahead
from storage_manager.arguments import check_several, check_whole
from storage_manager.backends import Backend, File, Root, Stream, hidden_name, stream_of
from storage_manager.encoding import decode_json, encode_attachment, encode_json
from storage_manager.errors import (
    AlreadyExistsError,
    InvalidDataError,
    InvalidIdError,
    LocalStorageError,
    StorageManagerError,
    is_missing,
    translate,
    translating,
)
from storage_manager.layout import (
    ALL_COMPONENTS,
    ATTACHMENTS_DIRECTORY,
    COMPONENTS,
    MANIFEST_FILENAME,
    SESSION_METADATA_FILENAME,
    Component,
    ComponentSpec,
    Step,
    StepData,
    attachment_type,
    check_attachment_name,
    check_attachment_names,
    check_id,
    check_ids,
    formats,
    is_attachment_name,
    join,
    only_ids,
)
from storage_manager.redaction import Redactor, as_redactor, redacted, redacted_file, redacted_metadata

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from storage_manager.config import Config

__all__ = [
    "Attachment",
    "Options",
    "StorageManager",
    "check_readable",
    "check_storage",
    "iter_listings",
    "iter_step_ids",
    "redacted_content",
]

logger = logging.getLogger(__name__)

# An attachment: bytes are stored unchanged, a str is stored as UTF-8, and a mapping or list as JSON. A PathLike names a
# local file, which is streamed: it is never in memory as a whole.
Attachment = bytes | bytearray | memoryview | str | Mapping[str, Any] | list[Any] | os.PathLike[str]
_Answer = bytes | StorageManagerError | None  # the content of a file, the error of reading it, or None if it is missing

WEEK = 7 * 24 * 3600  # seconds; S3 allows no link that is valid longer


class Options(TypedDict, total=False):
    """The keywords of both the constructor and `from_url`."""

    s3_region_name: str | None
    s3_endpoint_url: str | None
    s3_engine: Literal["s3fs", "obstore"] | None
    storage_options: Mapping[str, Any] | None
    redact: Redactor | Sequence[str] | None
    fsync: bool
    max_concurrency: int
    max_file_bytes: int


class StorageManager:
    """Stores the HTML, screenshot, action and metadata of the steps of browser sessions, each file whole or not at all.

    It uses S3 if a bucket is configured, and local disk otherwise. Each setting comes from its argument, else from its
    `SM_*` variable, else from its default. The variable SM_ROOT is a URL, as for `from_url`. It is used if no argument
    names a root, and it overrides the variables for bucket, prefix and directory. Any number of event loops, threads
    and forked child processes can share one manager. You do not have to close it.
    """

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
        max_file_bytes: int = 2**30,
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
        from storage_manager.config import Config  # only the first manager needs it

        _check_options(storage_options, max_concurrency, max_file_bytes, fsync)
        config = Config.resolve(
            storage_options,
            s3_bucket_name=s3_bucket_name,
            s3_region_name=s3_region_name,
            local_base_path=local_base_path,
            prefer_s3=prefer_s3,
            s3_prefix=s3_prefix,
            s3_endpoint_url=s3_endpoint_url,
            s3_engine=s3_engine,
            require_s3=require_s3,
        )
        if config.prefer_s3 and not config.uses_s3:
            logger.info("no s3_bucket_name (SM_S3_BUCKET_NAME): sessions are stored in %s", config.root)
        limits = {"max_concurrency": max_concurrency, "max_file_bytes": max_file_bytes}
        self._open_root(config.root, config, redact=redact, storage_options=storage_options, fsync=fsync, **limits)

    def _open_root(
        self, url: str, config: "Config", redact: Redactor | Sequence[str] | None = None, **options: Any
    ) -> None:
        self.redact = as_redactor(redact)
        self._config = config
        self._root = Root(url, config, **options)

    @classmethod
    def from_url(cls, url: str | os.PathLike[str], **options: "Unpack[Options]") -> "Self":
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
        from storage_manager.config import Config, arguments_of  # as in the constructor

        if not isinstance(url, (str, os.PathLike)):
            raise TypeError(f"url must be a str or a Path, not {type(url).__name__}")
        given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
        arguments = arguments_of(url)
        if arguments is not None:
            return cls(**arguments, **given)
        for name in sorted(name for name in given if name.startswith("s3_")):
            raise TypeError(f"{name} is an option of S3, but the URL is not on S3")
        _check_options(**given)
        self = cls.__new__(cls)
        self._open_root(os.fspath(url), Config.resolve(prefer_s3=False, require_s3=False), **given)
        return self

    def __repr__(self) -> str:
        return f"<StorageManager {self._root.url}>"

    async def __aenter__(self) -> "Self":
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections of the running event loop, after all operations have ended. This is optional.

        It waits for all operations that other tasks perform with this manager, including sealing, verifying, copying
        and exporting. It does not wait for an iterator that is between two items. It may be called several times. A
        later operation opens new connections.
        """
        await self._root.close()

    # --- the root ---------------------------------------------------------------------------------

    def get_storage_info(self) -> dict[str, Any]:
        """Return uses_s3, s3_bucket, s3_region, local_base_path and effective_storage_type. None of these is secret."""
        protocol, s3 = self._root.protocol, self._root.s3
        return {
            "uses_s3": s3 is not None,
            "s3_bucket": self._config.s3_bucket_name if s3 else None,
            "s3_region": s3.region if s3 else None,
            "local_base_path": self._config.local_base_path,
            "effective_storage_type": {"s3": "S3", "file": "Local"}.get(protocol, protocol),
        }

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
        if component is not None and attachment is not None:
            raise InvalidDataError("component and attachment are two files: give one of them")
        _require("session_id", session_id, step_id=step_id, component=component, attachment=attachment)
        _require("step_id", step_id, component=component)
        names = [] if session_id is None else [check_id(session_id, "session_id")]
        names += [] if step_id is None else [check_id(step_id, "step_id")]
        if component is not None:
            names += [formats([component])[0].filename]
        if attachment is not None:
            names += [ATTACHMENTS_DIRECTORY] * (step_id is None) + [check_attachment_name(attachment)]
        return join(self._root.url, *names)

    @property
    def storage_options(self) -> dict[str, Any]:
        """The options that pandas, dask and fsspec.open need to open `url_for(...)`: endpoint and region, no secret."""
        return self._root.public_options

    @property
    def fs(self) -> AbstractFileSystem:
        """fsspec's synchronous filesystem for the same root, usable from any thread.

        On local disk, it refuses to write or delete through a link, and to open a pipe.
        """
        with translating("open", self._root.url):
            return self._root.open_sync()

    @property
    def async_fs(self) -> AsyncFileSystem:
        """The fsspec filesystem that the manager itself uses on the running event loop."""
        with translating("open", self._root.url):
            return self._root.backend()

    @property
    def max_file_bytes(self) -> int:
        """The size of the largest file that is returned as bytes."""
        return self._root.max_file_bytes

    def backend(self) -> AbstractAsyncContextManager[Backend]:
        """Return a context manager with the typed Backend of this manager, for one operation.

        `aclose` waits until the block ends.

        Raises:
            S3ConfigError, LocalStorageError, StorageManagerError: the backend cannot be opened. Raised when the block
                begins.
        """
        return self._root.use()

    async def check(self) -> None:
        """Check that the root can be used: list it, then write, read and delete a hidden test file.

        Raises:
            S3OperationError, S3ConfigError, LocalStorageError: the root cannot be used. The message says why, and
                what to do.
        """
        probe = join(self._root.url, hidden_name(), "probe")
        data = secrets.token_bytes(32)
        async with self.backend() as backend:
            with translating("check", self._root.url):
                await anext(backend.iter_names(self._root.url), None)
            try:
                with translating("check", probe):
                    await backend.write_files([File(probe, data, "application/octet-stream")])
                    [answer] = await backend.read_files([probe])
                if answer != data:
                    raise _probe_error(answer, probe)
            finally:
                with translating("check", probe):
                    await backend.remove_tree(os.path.dirname(probe))

    # --- one step ---------------------------------------------------------------------------------

    async def store_step_data(
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
        values = (html_content, screenshot_bytes, action_data, metadata)
        url, components, others = await self._files_of_step(session_id, step_id, values, attachments)
        await self._write(url, [*components, *others], overwrite)
        stored = _urls(components)
        paths = {row.path_key: stored.get(row.filename) for row in COMPONENTS}
        return {**paths, **_urls(others)}

    async def store_new_step(
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
        url, components, others = await self._files_of_step(session_id, step_id, data, attachments)
        files = [*reversed(components), *others]
        with translating("store", url):
            async with self.backend() as backend:
                try:
                    await backend.write_new_step(files)
                except AlreadyExistsError:
                    if not may_be_stored or await backend.read_files([files[0].path]) != [files[0].data]:
                        raise
                    await backend.write_files(files)

    async def _files_of_step(
        self, session_id: str, step_id: str, values: Sequence[object], attachments: Mapping[str, Attachment] | None
    ) -> tuple[str, list[File], list[File]]:
        """Return the URL of a step, and its components and attachments as redacted files. Nothing is written.

        Raises:
            InvalidIdError, InvalidDataError: an id, a name or a value is not allowed, or the redactor refuses it.
        """
        with translating("store", self._root.url):
            url = self._url("store", session_id, step_id)
            rows = zip(COMPONENTS, redacted(self.redact, values) if self.redact else values, strict=True)
            components = [_file(row, url, value) for row, value in rows if value is not None]
            return url, components, await self._attachment_files(url, attachments) if attachments else []

    async def _write(self, url: str, files: Sequence[File], overwrite: bool) -> None:
        if files:
            with translating("store", url):
                async with self.backend() as backend:
                    await backend.write_files(files, overwrite=overwrite)

    async def _attachment_files(self, url: str, attachments: Mapping[str, Attachment]) -> list[File]:
        """Return attachments as redacted files of a directory. Nothing is written.

        Raises:
            InvalidDataError: a name or a value is not allowed, or the redactor refuses it.
        """
        if not isinstance(attachments, Mapping):
            raise InvalidDataError(f"attachments must be a mapping, not {type(attachments).__name__}")
        names = [check_attachment_name(name) for name in attachments]
        contents = [_content(name, attachments[name]) for name in names]
        if self.redact:
            pairs = zip(names, contents, strict=True)
            contents = [await redacted_content(self.redact, *pair, self.max_file_bytes) for pair in pairs]
        items = zip(names, contents, strict=True)
        return [File(join(url, name), content, attachment_type(name)) for name, content in items]

    async def retrieve_step_data(
        self,
        session_id: str,
        step_id: str,
        *,
        components: Sequence[Component] = ALL_COMPONENTS,
        strict: bool = False,
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
        stored = await self.read_step(session_id, step_id, components=components)
        return self._decoded_step(session_id, step_id, stored, strict)

    def _decoded_step(
        self,
        session_id: str,
        step_id: str,
        stored: Mapping[Component, _Answer],
        strict: bool,
        *,
        missing: int = logging.WARNING,
    ) -> StepData:
        failed = [answer for answer in stored.values() if isinstance(answer, StorageManagerError)]
        if failed and (strict or len(failed) == len(stored)):
            raise failed[0]
        url = self._url("retrieve", session_id, step_id)
        rows = [row for row in COMPONENTS if row.name in stored]
        return StepData(**{row.name: _decoded(row, url, stored[row.name], strict, missing) for row in rows})

    async def read_step(
        self, session_id: str, step_id: str, *, components: Sequence[Component] = ALL_COMPONENTS
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
        stored, _ = await self.read_files_of_step(session_id, step_id, components)
        return stored

    async def read_files_of_step(
        self, session_id: str, step_id: str, components: Sequence[Component], names: Sequence[str] = ()
    ) -> tuple[dict[Component, _Answer], dict[str, _Answer]]:
        """Return components and named attachments of a step, as read_step does. All files are read in one batch.

        Raises:
            As read_step.
        """
        with translating("retrieve", self._root.url):
            url = self._url("retrieve", session_id, step_id)
            rows = COMPONENTS if components is ALL_COMPONENTS else formats(components)
            paths = [f"{url}/{name}" for name in (*(row.filename for row in rows), *names)]
            if not paths:
                return {}, {}
            async with self.backend() as backend:
                answers = await backend.read_files(paths)
        stored = list(map(_stored, paths, answers))
        return {row.name: stored[at] for at, row in enumerate(rows)}, dict(zip(names, stored[len(rows) :], strict=True))

    async def get_share_links(
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
        seconds = _seconds(expires_in)
        url = self._url("share", session_id, step_id)
        with translating("share", url):
            async with self.backend() as backend:
                there = {found.name async for page in backend.iter_files(url) for found in page}
                links = {row.path_key: join(url, row.filename) for row in COMPONENTS if row.filename in there}
                links = {key: await backend.link(path, seconds) for key, path in links.items()}
        return {row.path_key: links.get(row.path_key) for row in COMPONENTS}

    # --- metadata of a session --------------------------------------------------------------------

    async def store_session_metadata(
        self, session_id: str, metadata: Mapping[str, Any], *, overwrite: bool = True
    ) -> str:
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
        return await self._store_session_metadata(session_id, self._encoded_metadata(session_id, metadata), overwrite)

    async def update_session_metadata(
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
        given = decode_json(self._encoded_metadata(session_id, metadata))
        before = await self.retrieve_session_metadata(session_id) or {}
        kept = {name: value for name, value in before.items() if name not in remove}
        return await self._store_session_metadata(session_id, encode_json({**kept, **given}, "metadata"), True)

    def _encoded_metadata(self, session_id: str, metadata: Mapping[str, Any]) -> bytes:
        with translating("store", self._root.url):
            self._url("store", session_id)
            data = encode_json(metadata, "metadata")
            return redacted_metadata(self.redact, data) if self.redact else data

    async def _store_session_metadata(self, session_id: str, data: bytes, overwrite: bool) -> str:
        url = self._url("store", session_id)
        file = File(join(url, SESSION_METADATA_FILENAME), data, "application/json")
        await self._write(url, [file], overwrite)
        return file.path

    async def retrieve_session_metadata(self, session_id: str) -> dict[str, Any] | None:
        """Return the metadata of a session; None if there is none.

        Raises:
            InvalidIdError: the id is not allowed. Raised before any I/O.
            InvalidDataError: the stored metadata is not a JSON object.
            S3OperationError, S3ConfigError, LocalStorageError: it cannot be read.
        """
        path = join(self._url("retrieve", session_id), SESSION_METADATA_FILENAME)
        data = await self._read_file(path)
        try:
            return None if data is None else decode_json(data)
        except ValueError as error:
            why = f"cannot retrieve {path}: it is not a JSON object: {error}"
            raise InvalidDataError(why, operation="retrieve", url=path) from error

    # --- attachments ------------------------------------------------------------------------------

    async def store_attachments(
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
        with translating("store", self._root.url):
            url = self._directory("store", session_id, step_id)
            files = await self._attachment_files(url, attachments)
        await self._write(url, files, overwrite)
        return _urls(files)

    async def retrieve_attachment(self, session_id: str, name: str, step_id: str | None = None) -> bytes | None:
        """Return the bytes of an attachment; None if there is none.

        Raises:
            InvalidIdError, InvalidDataError: an argument is not allowed. Raised before any I/O.
            S3OperationError, S3ConfigError, LocalStorageError: it cannot be read, or it has more than `max_file_bytes`
                bytes. Open a larger file with `storage.fs.open(storage.url_for(...))`.
        """
        return await self._read_file(self._attachment_path("retrieve", session_id, name, step_id))

    async def list_attachments(self, session_id: str, step_id: str | None = None) -> list[str]:
        """Return the names of the attachments of a step, or of the session itself, sorted by code point.

        Raises:
            InvalidIdError: an id is not allowed. Raised before any I/O.
            S3OperationError, S3ConfigError, LocalStorageError: they cannot be listed.
        """
        url = self._directory("list", session_id, step_id)
        with translating("list", url):
            async with self.backend() as backend, aclosing(backend.iter_files(url)) as pages:
                return sorted({found.name async for page in pages for found in page if is_attachment_name(found.name)})

    async def delete_attachment(self, session_id: str, name: str, step_id: str | None = None) -> None:
        """Delete an attachment and the seal of its session, and check the deletion.

        If there is no such attachment, an INFO record is logged.

        Raises:
            InvalidIdError, InvalidDataError: an argument is not allowed. Raised before any I/O.
            S3OperationError, S3ConfigError, LocalStorageError: it cannot be deleted.
        """
        path = self._attachment_path("delete", session_id, name, step_id)
        with translating("delete", path):
            async with self.backend() as backend:
                if not await backend.remove_file(path, [join(self._url("delete", session_id), MANIFEST_FILENAME)]):
                    logger.info("nothing to delete at %s", path)

    def _directory(self, operation: str, session_id: str, step_id: str | None) -> str:
        """Return the URL of the directory that holds the attachments of a step, or of a session."""
        if step_id is None:
            return join(self._url(operation, session_id), ATTACHMENTS_DIRECTORY)
        return self._url(operation, session_id, step_id)

    def _attachment_path(self, operation: str, session_id: str, name: str, step_id: str | None) -> str:
        with translating(operation, self._root.url):
            return join(self._directory(operation, session_id, step_id), check_attachment_name(name))

    async def _read_file(self, path: str) -> bytes | None:
        with translating("retrieve", path):
            async with self.backend() as backend:
                [answer] = await backend.read_files([path])
        found = _stored(path, answer)
        if isinstance(found, StorageManagerError):
            raise found
        return found

    # --- listing and deleting ---------------------------------------------------------------------

    async def list_sessions(self) -> list[str]:
        """Return the ids of all sessions, sorted by code point. Names that are not valid ids are left out.

        Raises:
            S3OperationError, S3ConfigError, LocalStorageError: the root cannot be listed.
        """
        return [name async for page in self._pages(self._root.url) for name in page]

    async def list_steps_for_session(self, session_id: str) -> list[str]:
        """Return the ids of a session's steps, sorted by code point; [] if there is no such session.

        Raises:
            InvalidIdError: the id is not allowed. Raised before any I/O.
            S3OperationError, S3ConfigError, LocalStorageError: the session cannot be listed.
        """
        return [name async for page in self._pages(self._url("list", session_id)) for name in page]

    async def delete_step(self, session_id: str, step_id: str) -> None:
        """Delete a step with all its files, and the seal of its session, and check the deletion.

        If there is no such step, an INFO record is logged.

        Raises:
            InvalidIdError: an id is not allowed. Raised before any I/O.
            S3OperationError, S3ConfigError, LocalStorageError: a file could not be deleted. The message names it.
        """
        url = self._url("delete", session_id, step_id)
        await self._delete(url, join(self._url("delete", session_id), MANIFEST_FILENAME))

    async def delete_session(self, session_id: str) -> None:
        """Delete a session with all its steps, and check the deletion.

        If there is no such session, an INFO record is logged.

        Raises:
            InvalidIdError: the id is not allowed. Raised before any I/O.
            S3OperationError, S3ConfigError, LocalStorageError: a file could not be deleted. The message names it.
        """
        await self._delete(self._url("delete", session_id))

    async def _delete(self, url: str, *also_delete: str) -> None:
        with translating("delete", url):
            async with self.backend() as backend:
                if not await backend.remove_tree(url, also_delete):
                    logger.info("nothing to delete at %s", url)

    async def iter_sessions(self) -> AsyncGenerator[str, None]:
        """Yield the ids of all sessions in order, page by page.

        S3 lists `run-1` before `run`, because the keys of `run` continue with a slash, and `-` sorts before a slash. So
        `run-1` is held back until the listing has passed `run`. The same is true for `+`, `,` and `.` in place of `-`.
        A local directory is read as a whole, because POSIX does not sort its entries.

        Raises:
            S3OperationError, S3ConfigError, LocalStorageError: the root cannot be listed.
        """
        async with aclosing(self._pages(self._root.url)) as pages:
            async for page in pages:
                for name in page:
                    yield name

    # --- many steps -------------------------------------------------------------------------------

    async def iter_steps(
        self,
        session_ids: Iterable[str] | None = None,
        *,
        components: Sequence[Component] = ALL_COMPONENTS,
        attachments: Sequence[str] = (),
        concurrency: int = 16,
        strict: bool = False,
    ) -> AsyncGenerator[Step, None]:
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
        given = check_ids(session_ids, "retrieve")
        with translating("retrieve", self._root.url):
            formats(components)
            names = check_attachment_names(attachments)

        def refuse(session_id: str, error: StorageManagerError) -> None:
            if strict:
                raise error
            logger.warning("the steps of %s are left out: %s", session_id, error)

        ids = iter_step_ids(self, given, refuse)
        steps = self.read_steps(ids, components=components, attachments=names, concurrency=concurrency, strict=strict)
        async with aclosing(steps):
            async for step in steps:
                yield step

    async def read_steps(
        self,
        ids: Iterable[tuple[str, str]] | AsyncIterable[tuple[str, str]],
        *,
        components: Sequence[Component] = ALL_COMPONENTS,
        attachments: Sequence[str] = (),
        concurrency: int = 16,
        strict: bool = False,
    ) -> AsyncGenerator[Step, None]:
        """Yield the steps with these ids, in this order. They are read ahead; at most `concurrency` are in memory.

        A step on local disk is left out if access to its directory is refused. A warning is then logged.

        Parameters:
            ids: pairs of a session id and a step id.
            components, attachments, concurrency, strict: as for iter_steps.

        Raises:
            As iter_steps.
        """
        names = check_attachment_names(attachments)

        async def read(pair: tuple[str, str]) -> Step | LocalStorageError:
            return await self._step_or_refusal(*pair, components, names, strict)

        async with aclosing(map_ahead(read, ids, concurrency)) as steps, aclosing(_without_refused(steps)) as found:
            async for step in found:
                yield step

    async def _step_or_refusal(
        self, session_id: str, step_id: str, components: Sequence[Component], names: Sequence[str], strict: bool
    ) -> Step | LocalStorageError:
        """Read a step. Unless strict, return the error if the disk refuses access to it."""
        try:
            stored, others = await self.read_files_of_step(session_id, step_id, components, names)
            data = self._decoded_step(session_id, step_id, stored, strict, missing=logging.DEBUG)
        except LocalStorageError as error:
            if strict or not isinstance(error.__cause__, PermissionError):
                raise
            return error
        return Step(session_id, step_id, data, _found_attachments(others, strict))

    async def store_steps(self, steps: Iterable[Step] | AsyncIterable[Step], *, concurrency: int = 16) -> int:
        """Store many steps, and return how many. The source is read only as fast as the steps are stored.

        Parameters:
            steps: an iterable of steps, or an asynchronous iterable such as iter_steps.
            concurrency: how many steps are stored at a time.

        Raises:
            InvalidIdError, InvalidDataError, S3OperationError, S3ConfigError, LocalStorageError: a step was not stored.
                No further step is begun, and no store is running any more.
            TypeError, ValueError: steps is not iterable; or concurrency is not a whole number, or is below 1.
        """
        check_several(steps, "steps", of="Step", may_be_async=True)

        async def store(step: Step) -> None:
            if not isinstance(step, Step) or not isinstance(step.data, StepData):
                raise InvalidDataError("store_steps takes Step(session_id, step_id, StepData(...))", operation="store")
            await self.store_step_data(step.session_id, step.step_id, *step.data, attachments=step.attachments)

        return len([None async for _ in map_ahead(store, steps, concurrency)])

    async def _pages(self, url: str) -> AsyncGenerator[list[str], None]:
        with translating("list", url):
            async with aclosing(self._root.backend().iter_names(url)) as pages:
                while (page := await self._next(pages)) is not None:
                    yield only_ids(page)

    async def _next(self, pages: AsyncGenerator[list[str], None]) -> list[str] | None:
        """Return the next page; None after the last one. `aclose` waits for this call, but not between two pages."""
        async with self.backend():
            return await anext(pages, None)

    def _url(self, operation: str, session_id: str, *step_id: str) -> str:
        """Check the ids, and return the URL of the session or step."""
        try:
            ids = [check_id(session_id, "session_id"), *(check_id(value, "step_id") for value in step_id)]
        except InvalidIdError as error:
            error.operation = operation
            raise
        return join(self._root.url, *ids)


async def iter_listings(
    storage: StorageManager,
    session_ids: Iterable[str] | None,
    refuse: Callable[[str, StorageManagerError], None],
) -> AsyncGenerator[tuple[str, list[str]], None]:
    """Yield each session id with the ids of the session's steps. Sessions are listed ahead.

    Parameters:
        session_ids: the sessions, in this order; None for all.
        refuse: called with the id and the error of each session that cannot be listed, in the order of the sessions.
            If it raises an error, the iteration ends.

    Raises:
        InvalidIdError: an id is not allowed.
        S3OperationError, S3ConfigError, LocalStorageError: the root or every session cannot be listed.
    """

    async def listed(session_id: str) -> tuple[str, list[str] | StorageManagerError]:
        try:
            return session_id, await storage.list_steps_for_session(session_id)
        except InvalidIdError:
            raise
        except StorageManagerError as error:
            return session_id, error

    failed, count = list[StorageManagerError](), 0
    sessions = storage.iter_sessions() if session_ids is None else session_ids
    async with aclosing(map_ahead(listed, sessions, 4)) as listings:
        async for session_id, steps in listings:
            count += 1
            if isinstance(steps, StorageManagerError):
                failed.append(steps)
                refuse(session_id, steps)
            else:
                yield session_id, steps
    if failed and len(failed) == count:
        raise failed[0]


async def iter_step_ids(
    storage: StorageManager,
    session_ids: Iterable[str] | None,
    refuse: Callable[[str, StorageManagerError], None],
) -> AsyncGenerator[tuple[str, str], None]:
    """Yield the session id and step id of each step, in order. Parameters and errors are those of iter_listings."""
    async with aclosing(iter_listings(storage, session_ids, refuse)) as listings:
        async for session_id, step_ids in listings:
            for step_id in step_ids:
                yield session_id, step_id


async def _without_refused(steps: AsyncGenerator[Step | LocalStorageError, None]) -> AsyncGenerator[Step, None]:
    """Yield the steps. Log a warning for each step to which access is refused. Raise an error if all are refused."""
    refused, count = list[LocalStorageError](), 0
    async for step in steps:
        if isinstance(step, Step):
            count += 1
            yield step
        else:
            refused.append(step)
            logger.warning("a step is left out: %s", step)
    if refused and not count:
        raise refused[0]


def check_storage(storage: object, name: str = "storage") -> None:
    """Check, before any I/O, that an argument is a StorageManager.

    Raises:
        TypeError: it has another type, such as a path.
    """
    if not isinstance(storage, StorageManager):
        what = f"{type(storage).__module__}.{type(storage).__name__}".removeprefix("builtins.")
        advice = "StorageManager.from_url(url) returns one"
        if what.startswith("storage_manager.sync."):
            advice = "storage_manager.sync has functions that take one"
        raise TypeError(f"{name} must be a storage_manager.StorageManager, not {what} ({advice})")


def _require(name: str, value: str | None, **others: str | None) -> None:
    """Refuse the other arguments if this argument is not given."""
    for other, given in others.items():
        if value is None and given is not None:
            raise InvalidIdError(f"{other} is given without {name}")


def _check_options(
    storage_options: object = None,
    max_concurrency: int = 1,
    max_file_bytes: int = 1,
    fsync: object = False,
    **others: object,
) -> None:
    if storage_options is not None and not isinstance(storage_options, Mapping):
        kind = type(storage_options).__name__  # the value may hold a secret
        raise TypeError(f"storage_options must be a mapping, such as a dict, or None, not {kind}")
    if not isinstance(fsync, bool):
        raise TypeError(f"fsync must be True or False, not {type(fsync).__name__}")
    check_whole(max_concurrency, "max_concurrency")
    check_whole(max_file_bytes, "max_file_bytes")


async def redacted_content(redact: Redactor, name: str, content: bytes | Stream, limit: int) -> bytes | Stream:
    """Return an attachment as the redactor returns it. A stream that is not text is returned unchanged.

    Parameters:
        limit: the maximum size of a text, in bytes, because it is read into memory.

    Raises:
        InvalidDataError: the redactor can redact only steps, it failed, or a text is too large.
    """
    if isinstance(content, Stream):
        if not await content.is_text():
            return content
        if content.size > limit:
            why = f"it is text of {content.size:,} bytes, and {limit:,} can be redacted at most (max_file_bytes)"
            raise InvalidDataError(f"attachments[{name!r}] cannot be stored: {why}")
        content = await content.read()
    return redacted_file(redact, name, content)


def _content(name: str, value: object) -> bytes | Stream:
    return check_readable(name, value) if isinstance(value, os.PathLike) else encode_attachment(name, value)


def check_readable(name: str, path: os.PathLike[str]) -> Stream:
    """Return a local file as a stream, for an attachment. The file is opened once, to check that it can be read.

    Raises:
        InvalidDataError: the file is missing, is not a regular file, or cannot be read.
    """
    try:
        return stream_of(path)
    except OSError as error:
        why = f"{os.fspath(path)}: {error.strerror}"
        raise InvalidDataError(f"attachments[{name!r}] cannot be stored: {why}", operation="store") from error


def _file(row: ComponentSpec, step_url: str, value: object) -> File:
    data = row.encode(value, row.keyword)
    return File(join(step_url, row.filename), data, row.content_type(data))


def _urls(files: Iterable[File]) -> dict[str, str]:
    """Return the URLs of files, by the names of the files."""
    return {file.path.rpartition("/")[2]: file.path for file in files}


def _stored(url: str, answer: bytes | Exception) -> _Answer:
    if isinstance(answer, bytes):
        return answer
    return None if is_missing(answer) else translate(answer, "retrieve", url)


def _decoded(row: ComponentSpec, step_url: str, answer: _Answer, strict: bool, missing: int) -> Any:
    """Return the value of a component. If it is missing or unreadable, log a record, and return None.

    Parameters:
        missing: the level of the log record for a missing component.
    """
    why: object = answer or "it is missing"
    if isinstance(answer, bytes):
        try:
            return row.decode(answer)
        except ValueError as error:
            if strict:
                raise translate(error, "retrieve", join(step_url, row.filename)) from error
            why = f"it cannot be decoded: {error}"
    level, what = (missing, "no") if answer is None else (logging.WARNING, "cannot read the")
    logger.log(level, "%s %s at %s: %s", what, row.name, join(step_url, row.filename), why)
    return None


def _found_attachments(stored: Mapping[str, _Answer], strict: bool) -> dict[str, bytes]:
    """Return the attachments that were read. If one cannot be read, log a warning or, if strict, raise the error."""
    for error in stored.values():
        if isinstance(error, StorageManagerError):
            if strict:
                raise error
            logger.warning("an attachment is left out: %s", error)
    return {name: answer for name, answer in stored.items() if isinstance(answer, bytes)}


def _seconds(expires_in: int | timedelta) -> int:
    seconds = expires_in.total_seconds() if isinstance(expires_in, timedelta) else expires_in
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or not 1 <= seconds <= WEEK:
        given = str(expires_in).removesuffix(", 0:00:00") if isinstance(expires_in, timedelta) else repr(expires_in)
        why = f"expires_in is {given}: give 1 to {WEEK} seconds, or a timedelta of at most seven days"
        raise InvalidDataError(why, operation="share")
    return int(seconds)


def _probe_error(answer: object, url: str) -> StorageManagerError:
    error = answer if isinstance(answer, Exception) else OSError(errno.EIO, "the bytes read are not those written")
    return translate(error, "check", url)
