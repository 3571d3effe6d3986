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
from storage_manager.backends import Backend, File, Root, hidden_name
from storage_manager.errors import (
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
    COMPONENTS,
    MANIFEST_FILENAME,
    Component,
    ComponentSpec,
    Step,
    StepData,
    check_id,
    check_ids,
    formats,
    join,
    only_ids,
)
from storage_manager.redaction import Redactor, as_redactor, redacted

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from storage_manager.config import Config

__all__ = ["Options", "StorageManager", "iter_step_ids"]

logger = logging.getLogger(__name__)

WEEK = 7 * 24 * 3600  # seconds; the longest time that S3 lets a link be valid


class Options(TypedDict, total=False):
    """The keywords of the constructor that `from_url` takes too."""

    s3_region_name: str | None
    s3_endpoint_url: str | None
    s3_engine: Literal["s3fs", "obstore"] | None
    storage_options: Mapping[str, Any] | None
    redact: Redactor | Sequence[str] | None
    fsync: bool
    max_concurrency: int
    max_file_bytes: int


class StorageManager:
    """Stores the HTML, screenshot, action and metadata of each step of a browser session; each is whole or absent.

    It uses S3 if a bucket is configured, else local disk. A setting comes from its argument, else from its `SM_*`
    variable, else from its default. One manager serves any number of event loops, threads and forked children, and
    need not be closed.
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
        """Resolve the configuration. No request is made.

        Parameters:
            s3_bucket_name: SM_S3_BUCKET_NAME; without one, local disk is used.
            s3_region_name: SM_S3_REGION; default "us-west-2".
            local_base_path: SM_LOCAL_BASE_PATH; default "./.storage_data". It is created if local disk is used.
            prefer_s3: SM_PREFER_S3; default True. False: use local disk even if a bucket is configured.
            s3_prefix: SM_S3_PREFIX; default "". Sessions are stored below this prefix of the bucket.
            s3_endpoint_url: SM_S3_ENDPOINT_URL; for services other than Amazon's.
            s3_engine: SM_S3_ENGINE; default "s3fs". "obstore" needs less CPU (extra `obstore`).
            require_s3: SM_REQUIRE_S3; default False. True: raise instead of falling back to local disk.
            storage_options: passed to the filesystem; they override the library's own. Credentials may be given here.
                Without them, botocore looks for credentials as usual.
            redact: a function that removes from each step what must not be stored, or a list of secrets for
                redact_secrets.
            fsync: local disk only: flush each step to the disk before it is published (13 to 70 times slower).
            max_concurrency: the most requests in flight per event loop.
            max_file_bytes: the largest file that is returned as bytes; a larger one is an error that names it.

        Raises:
            S3ConfigError: the configuration is visibly wrong, or S3 is required and no bucket is configured.
            LocalStorageError: the base directory cannot be created.
            InvalidDataError: redact is neither a function nor a list of secrets.
            TypeError: storage_options is no mapping, or a limit is no whole number.
            ValueError: max_concurrency or max_file_bytes is below 1.
        """
        from storage_manager.config import Config  # its model takes a third of the time of importing the package

        _check_options(storage_options, max_concurrency, max_file_bytes)
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
        """Return a manager for the sessions below a URL. It ignores the `SM_*` variables of bucket, prefix, directory.

        Parameters:
            url: `s3://bucket/prefix`, `file:///data`, `/data`, or a URL of any installed fsspec backend.
            options: keywords of the constructor. For S3, the variables of endpoint, region and engine apply too.

        Raises:
            S3ConfigError, LocalStorageError, ValueError: as the constructor.
            TypeError: an option of S3 with a URL that is neither of S3 nor of the local disk; or the URL is no str.
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
            raise TypeError(f"{name} is an option of S3, but the URL is not of S3")
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
        """Close what the running loop has open, after everything under way has finished. Optional, and repeatable.

        Waits for every operation of other tasks with this manager, also for sealing, verifying, copying and exporting.
        It does not wait for an iterator whose reader has not asked for the next item. A later operation opens anew.
        """
        await self._root.close()

    # --- the root ---------------------------------------------------------------------------------

    def get_storage_info(self) -> dict[str, Any]:
        """Return uses_s3, s3_bucket, s3_region, local_base_path, effective_storage_type. None of them is a secret."""
        protocol, s3 = self._root.protocol, self._root.s3
        return {
            "uses_s3": s3 is not None,
            "s3_bucket": self._config.s3_bucket_name if s3 else None,
            "s3_region": s3.region if s3 else None,
            "local_base_path": self._config.local_base_path,
            "effective_storage_type": {"s3": "S3", "file": "Local"}.get(protocol, protocol),
        }

    def url_for(
        self, session_id: str | None = None, step_id: str | None = None, component: Component | None = None
    ) -> str:
        """Return the URL of the root, a session, a step or a component, as store_step_data does.

        Raises:
            InvalidIdError: an id is not allowed, or a step is given without its session.
            InvalidDataError: there is no such component.
        """
        names = [(session_id, "session_id"), (step_id, "step_id"), (component, "component")]
        given = [(name, what) for name, what in names if name is not None]
        if given != names[: len(given)]:
            raise InvalidIdError(f"{given[-1][1]} is given without {names[len(given) - 1][1]}")
        rows = formats([component]) if component is not None else []
        ids = [check_id(name, what) for name, what in given[:2]]
        return join(self._root.url, *ids, *(row.filename for row in rows))

    @property
    def storage_options(self) -> dict[str, Any]:
        """The options that pandas, dask and fsspec.open need beside `url_for(...)`: endpoint and region, no secret."""
        return self._root.public_options

    @property
    def fs(self) -> AbstractFileSystem:
        """fsspec's synchronous filesystem for the same root, usable from any thread.

        On local disk it writes and deletes through no link, and waits for no pipe.
        """
        with translating("open", self._root.url):
            return self._root.open_sync()

    @property
    def async_fs(self) -> AsyncFileSystem:
        """The fsspec filesystem that the manager itself uses on the running loop."""
        with translating("open", self._root.url):
            return self._root.backend()

    def backend(self) -> AbstractAsyncContextManager[Backend]:
        """Give the same filesystem as a typed Backend, for one operation. `aclose` waits until the block ends.

        Raises:
            S3ConfigError, LocalStorageError, StorageManagerError: when the block begins, if it cannot be opened.
        """
        return self._root.use()

    async def check(self) -> None:
        """Prove that the root can be used: list it, then write, read and delete one hidden probe.

        Raises:
            S3OperationError, S3ConfigError, LocalStorageError: says what is wrong, and what to do about it.
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
    ) -> dict[str, str | None]:
        """Store the given components, whole and redacted; leave the others as they are.

        On local disk a new step appears at once, with everything that was given. If this raises or is cancelled,
        nothing is being written any more, and the same call repairs the step.

        Parameters:
            session_id, step_id: letters, digits and `_ . : = @ + , ~ -`, at most 128.
            html_content: text, which is stored as UTF-8, or bytes, which are stored unchanged.
            screenshot_bytes: a PNG image; on S3, JPEG and WebP get their own content type.
            action_data, metadata: mappings of JSON values (RFC 8259: no NaN). datetime, UUID, Path, Enum, dataclass
                and pydantic values are stored as pydantic encodes them.

        Returns:
            html_path, screenshot_path, action_data_path, metadata_path: the URL of each component that was stored
            (`s3://...` or an absolute local path), and None for the others.

        Raises:
            InvalidIdError, InvalidDataError: refused before any I/O.
            S3OperationError, S3ConfigError, LocalStorageError: not stored; says why.
        """
        values = (html_content, screenshot_bytes, action_data, metadata)
        with translating("store", self._root.url):
            url = self._url("store", session_id, step_id)
            given = zip(COMPONENTS, redacted(self.redact, values) if self.redact else values, strict=True)
            files = {row: _file(row, url, value) for row, value in given if value is not None}
        if files:
            with translating("store", url):
                async with self.backend() as backend:
                    await backend.write_files(list(files.values()))
        return {row.path_key: files[row].path if row in files else None for row in COMPONENTS}

    async def retrieve_step_data(
        self,
        session_id: str,
        step_id: str,
        *,
        components: Sequence[Component] = ALL_COMPONENTS,
        strict: bool = False,
    ) -> StepData:
        """Return the components of a step. One that is missing or unreadable is None, and a warning is logged for it.

        Parameters:
            components: the names of the components to read; the others are None.
            strict: True to raise for the first component that exists but cannot be read or decoded.

        Raises:
            InvalidIdError, InvalidDataError: refused before any I/O.
            S3OperationError, S3ConfigError, LocalStorageError: every component failed for another reason than
                being missing (no such bucket, no access, no connection); with strict, the first one that did.
        """
        stored = await self.read_step(session_id, step_id, components=components)
        failed = [answer for answer in stored.values() if isinstance(answer, StorageManagerError)]
        if failed and (strict or len(failed) == len(stored)):
            raise failed[0]
        url = join(self._root.url, session_id, step_id)
        rows = [row for row in COMPONENTS if row.name in stored]
        return StepData(**{row.name: _decoded(row, url, stored[row.name], strict) for row in rows})

    async def read_step(
        self, session_id: str, step_id: str, *, components: Sequence[Component] = ALL_COMPONENTS
    ) -> dict[Component, bytes | StorageManagerError | None]:
        """Return components of a step as they are stored: for each its bytes, None if it is missing, or the error.

        The errors are returned, not raised. Nothing is decoded and nothing is logged. Everything that reads a step
        (retrieving, sealing, exporting, viewing) is built on this method.

        Parameters:
            components: the names of the components to read. The answer has them in the order of `layout.COMPONENTS`.

        Raises:
            InvalidIdError, InvalidDataError: refused before any I/O.
            S3ConfigError, StorageManagerError: the backend cannot be opened.
        """
        with translating("retrieve", self._root.url):
            url = self._url("retrieve", session_id, step_id)
            rows = COMPONENTS if components is ALL_COMPONENTS else formats(components)
            if not rows:
                return {}
            paths = [f"{url}/{row.filename}" for row in rows]
            async with self.backend() as backend:
                answers = await backend.read_files(paths)
        found = zip(rows, paths, answers, strict=True)
        return {row.name: _stored(path, answer) for row, path, answer in found}

    async def get_share_links(
        self, session_id: str, step_id: str, expires_in: int | timedelta = 3600
    ) -> dict[str, str | None]:
        """Return a link to each component of a step, which a browser opens without credentials; None if it is missing.

        On S3, everyone who has the link may read until it expires, or until the credentials that signed it do (those of
        a role last hours). A page that is opened this way runs its scripts, as a page of the S3 service: send links to
        screenshots, or show pages in the viewer. The call costs one LIST.

        Parameters:
            expires_in: seconds, or a timedelta; up to seven days, as S3 allows ("Presigned URLs", Signature Version 4).

        Returns:
            html_path, screenshot_path, action_data_path, metadata_path: presigned URLs on S3, or `file://` URLs,
            which do not expire, on local disk.

        Raises:
            InvalidIdError, InvalidDataError: refused before any I/O.
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
            InvalidIdError: refused before any I/O.
            S3OperationError, S3ConfigError, LocalStorageError: the session cannot be listed.
        """
        return [name async for page in self._pages(self._url("list", session_id)) for name in page]

    async def delete_step(self, session_id: str, step_id: str) -> None:
        """Delete a step with all its files, and its session's seal, and prove it. If there is none, log an INFO record.

        Raises:
            InvalidIdError: refused before any I/O.
            S3OperationError, S3ConfigError, LocalStorageError: names what is left.
        """
        url = self._url("delete", session_id, step_id)
        await self._delete(url, join(self._root.url, session_id, MANIFEST_FILENAME))

    async def delete_session(self, session_id: str) -> None:
        """Delete a session with all its steps, and prove it. If there is none, log an INFO record.

        Raises:
            InvalidIdError: refused before any I/O.
            S3OperationError, S3ConfigError, LocalStorageError: names what is left.
        """
        await self._delete(self._url("delete", session_id))

    async def _delete(self, url: str, *also_delete: str) -> None:
        with translating("delete", url):
            async with self.backend() as backend:
                if not await backend.remove_tree(url, also_delete):
                    logger.info("nothing to delete at %s", url)

    async def iter_sessions(self) -> AsyncGenerator[str, None]:
        """Yield the ids of all sessions in order, page by page.

        On S3, names that continue a shorter one with `+ , - .` (`run-1` continues `run`) wait until the listing has
        passed the shorter one. A local directory is read as a whole, because POSIX gives it unsorted.

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
        concurrency: int = 16,
        strict: bool = False,
    ) -> AsyncGenerator[Step, None]:
        """Yield steps in order (session, then step), read ahead. At most `concurrency` steps are held in memory.

        A session that cannot be listed, for example because its directory may not be read, is left out, and a warning
        is logged for it. So is a step on local disk whose directory may not be read.

        Parameters:
            session_ids: the sessions, in this order; None for all.
            components: as for retrieve_step_data.
            concurrency: how many steps are read at a time.
            strict: True to raise for the first component that exists but cannot be read or decoded, and for the first
                step or session that may not be read.

        Raises:
            As retrieve_step_data; or no session could be listed, or no step be read. TypeError or ValueError if
            concurrency is no whole number, or is below 1.
        """
        check_ids(session_ids, "retrieve")
        with translating("retrieve", self._root.url):
            formats(components)

        def refuse(session_id: str, error: StorageManagerError) -> None:
            if strict:
                raise error
            logger.warning("the steps of %s are left out: %s", session_id, error)

        async def read(ids: tuple[str, str]) -> Step | LocalStorageError:
            return await self._step_or_refusal(*ids, components, strict)

        all_steps = map_ahead(read, iter_step_ids(self, session_ids, refuse), concurrency)
        async with aclosing(all_steps), aclosing(_without_refused(all_steps)) as steps:
            async for step in steps:
                yield step

    async def _step_or_refusal(
        self, session_id: str, step_id: str, components: Sequence[Component], strict: bool
    ) -> Step | LocalStorageError:
        """Read a step. Unless strict, return the error if the disk refuses access to it."""
        try:
            data = await self.retrieve_step_data(session_id, step_id, components=components, strict=strict)
        except LocalStorageError as error:
            if strict or not isinstance(error.__cause__, PermissionError):
                raise
            return error
        return Step(session_id, step_id, data)

    async def store_steps(self, steps: Iterable[Step] | AsyncIterable[Step], *, concurrency: int = 16) -> int:
        """Store many steps; return how many. The next step is taken from the source when there is room for it.

        Parameters:
            steps: the steps of iter_steps, or your own.
            concurrency: how many steps are stored at a time.

        Raises:
            InvalidIdError, InvalidDataError, S3OperationError, S3ConfigError, LocalStorageError: at least one step was
                not stored. The steps that were under way have ended, and no further step was begun.
            TypeError, ValueError: steps is not iterable; or concurrency is no whole number, or is below 1.
        """
        check_several(steps, "steps", of="Step", may_be_async=True)

        async def store(step: Step) -> None:
            if not isinstance(step, Step) or not isinstance(step.data, StepData):
                raise InvalidDataError("store_steps takes Step(session_id, step_id, StepData(...))", operation="store")
            await self.store_step_data(step.session_id, step.step_id, *step.data)

        return len([None async for _ in map_ahead(store, steps, concurrency)])

    async def _pages(self, url: str) -> AsyncGenerator[list[str], None]:
        with translating("list", url):
            async with aclosing(self._root.backend().iter_names(url)) as pages:
                while (page := await self._next(pages)) is not None:
                    yield only_ids(page)

    async def _next(self, pages: AsyncGenerator[list[str], None]) -> list[str] | None:
        """Return the next page; None after the last. Between two pages the reader does not keep `aclose` waiting."""
        async with self.backend():
            return await anext(pages, None)

    def _url(self, operation: str, session_id: str, *step_id: str) -> str:
        """Return the URL of a session or a step, after its ids were checked."""
        try:
            ids = [check_id(session_id, "session_id"), *(check_id(value, "step_id") for value in step_id)]
        except InvalidIdError as error:
            error.operation = operation
            raise
        return join(self._root.url, *ids)


async def iter_step_ids(
    storage: StorageManager,
    session_ids: Iterable[str] | None,
    refuse: Callable[[str, StorageManagerError], None],
) -> AsyncGenerator[tuple[str, str], None]:
    """Yield the session id and step id of each step in order. Sessions are listed ahead.

    Parameters:
        session_ids: the sessions, in this order; None for all.
        refuse: called for a session that cannot be listed, with its error, in the order of the sessions. The other
            sessions follow, unless it raises.

    Raises:
        InvalidIdError: an id is not allowed.
        S3OperationError, S3ConfigError, LocalStorageError: the root cannot be listed, or no session can be: then the
            storage fails, not the session.
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
                continue
            for step_id in steps:
                yield session_id, step_id
    if failed and len(failed) == count:
        raise failed[0]


async def _without_refused(steps: AsyncGenerator[Step | LocalStorageError, None]) -> AsyncGenerator[Step, None]:
    """Leave out the steps to which access is refused, with a warning. If it is refused to all, the storage fails."""
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


def _check_options(
    storage_options: object = None, max_concurrency: int = 1, max_file_bytes: int = 1, **others: object
) -> None:
    if storage_options is not None and not isinstance(storage_options, Mapping):
        kind = type(storage_options).__name__  # the value may hold a secret
        raise TypeError(f"storage_options must be a mapping, such as a dict, or None, not {kind}")
    check_whole(max_concurrency, "max_concurrency")
    check_whole(max_file_bytes, "max_file_bytes")


def _file(row: ComponentSpec, step_url: str, value: object) -> File:
    data = row.encode(value, row.keyword)
    return File(join(step_url, row.filename), data, row.content_type(data))


def _stored(url: str, answer: bytes | Exception) -> bytes | StorageManagerError | None:
    if isinstance(answer, bytes):
        return answer
    return None if is_missing(answer) else translate(answer, "retrieve", url)


def _decoded(row: ComponentSpec, step_url: str, answer: bytes | StorageManagerError | None, strict: bool) -> Any:
    """Return the value of a component; None, with a warning, if it is missing or unreadable."""
    why: object = answer or "it is missing"
    if isinstance(answer, bytes):
        try:
            return row.decode(answer)
        except ValueError as error:
            if strict:
                raise translate(error, "retrieve", join(step_url, row.filename)) from error
            why = f"it cannot be decoded: {error}"
    logger.warning("no %s at %s: %s", row.name, join(step_url, row.filename), why)
    return None


def _seconds(expires_in: int | timedelta) -> int:
    seconds = expires_in.total_seconds() if isinstance(expires_in, timedelta) else expires_in
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or not 1 <= seconds <= WEEK:
        why = f"expires_in is {expires_in!r}: give 1 to {WEEK} seconds, or a timedelta; S3 allows seven days"
        raise InvalidDataError(why, operation="share")
    return int(seconds)


def _probe_error(answer: object, url: str) -> StorageManagerError:
    error = answer if isinstance(answer, Exception) else OSError(errno.EIO, "the bytes read are not those written")
    return translate(error, "check", url)
