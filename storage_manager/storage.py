"""StorageManager: store, retrieve, list and delete the steps of browser sessions, on S3 or local disk alike."""

import errno
import logging
import os
import secrets
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from fsspec import AbstractFileSystem
from fsspec.asyn import AsyncFileSystem

from storage_manager.config import Config, arguments_of
from storage_manager.errors import InvalidIdError, StorageManagerError, is_missing, translate, translating
from storage_manager.filesystems import File, Place
from storage_manager.layout import (
    ALL_COMPONENTS,
    COMPONENTS,
    Component,
    Format,
    Step,
    StepData,
    check_id,
    formats,
    is_id,
    join,
)
from storage_manager.tasks import ahead, settled

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["StorageManager"]

logger = logging.getLogger(__name__)


class StorageManager:
    """Stores the HTML, screenshot, action and metadata of each step of a browser session, whole or not at all.

    S3 where a bucket is configured, else the local disk; each setting comes from its argument, else from its
    `SM_*` variable, else from its default. One manager serves any number of event loops, threads and forked
    children, and needs no closing.

    Parameters:
        s3_bucket_name: SM_S3_BUCKET_NAME; None: local disk.
        s3_region_name: SM_S3_REGION, "us-west-2".
        local_base_path: SM_LOCAL_BASE_PATH, "./.storage_data"; created when local disk is used.
        prefer_s3: SM_PREFER_S3, True; False: local disk even where a bucket is configured.
        s3_prefix: SM_S3_PREFIX, ""; the part of the bucket below which sessions lie.
        s3_endpoint_url: SM_S3_ENDPOINT_URL; for services other than Amazon's.
        s3_engine: SM_S3_ENGINE, "s3fs".
        require_s3: SM_REQUIRE_S3, False; True: an error instead of the fallback to local disk.
        storage_options: passed on to the filesystem, over the library's own; credentials go here, if not
            where botocore looks for them.
        fsync: local disk only: have each step on the disk before it is published (13 to 70 times slower).
        max_concurrency: the most requests in flight, for each event loop.

    Raises:
        S3ConfigError: the configuration is wrong on its face, or S3 is required and no bucket configured.
        LocalStorageError: the base directory cannot be created.
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
        fsync: bool = False,
        max_concurrency: int = 32,
    ) -> None:
        config = Config.resolve(
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
        self._config = config
        self._place = Place(config.root, config, storage_options, fsync=fsync, max_concurrency=max_concurrency)

    @classmethod
    def from_url(cls, url: str, **kwargs: Any) -> "Self":
        """A manager for the sessions below a URL; `SM_*` variables do not move it.

        Parameters:
            url: `s3://bucket/prefix`, `file:///data`, `/data`, or a URL of any installed fsspec backend.
            kwargs: as for the constructor, where they apply.

        Raises:
            S3ConfigError, LocalStorageError: as the constructor.
            StorageManagerError: fsspec has no such backend, or its package is not installed.
        """
        arguments = arguments_of(url)
        if arguments is not None:
            return cls(**arguments, **kwargs)
        self = cls.__new__(cls)
        self._config = Config.resolve(prefer_s3=False, require_s3=False)
        self._place = Place(url, self._config, **kwargs)
        return self

    def __repr__(self) -> str:
        return f"<StorageManager {self._place.root}>"

    async def __aenter__(self) -> "Self":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close what the running loop has open; optional, and as often as you like. A later call opens anew."""
        await self._place.close()

    # --- sessions and steps ---------------------------------------------------------------------------

    def get_storage_info(self) -> dict[str, Any]:
        """Where sessions go: uses_s3, s3_bucket, s3_region, local_base_path, effective_storage_type; no secret."""
        protocol = self._place.protocol
        uses_s3 = protocol == "s3"
        return {
            "uses_s3": uses_s3,
            "s3_bucket": self._config.s3_bucket_name if uses_s3 else None,
            "s3_region": self._config.s3_region if uses_s3 else None,
            "local_base_path": self._config.local_base_path,
            "effective_storage_type": {"s3": "S3", "file": "Local"}.get(protocol, protocol),
        }

    async def store_step_data(
        self,
        session_id: str,
        step_id: str,
        html_content: str | bytes | None = None,
        screenshot_bytes: bytes | bytearray | memoryview | None = None,
        action_data: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> dict[str, str | None]:
        """Store the components that are given, whole, and leave the others as they are.

        On local disk a new step appears at once, with all that was given. When this raises, or is cancelled,
        nothing is being written any more, and the same call again repairs the step.

        Parameters:
            session_id, step_id: letters, digits and `_ . : = @ + , ~ -`, at most 128.
            html_content: text, stored as UTF-8; or bytes, stored as they are.
            screenshot_bytes: PNG; JPEG and WebP get their own content type on S3.
            action_data, metadata: mappings of JSON values (RFC 8259: no NaN); datetime, UUID, Path, Enum,
                dataclass and pydantic values as pydantic encodes them.

        Returns:
            html_path, screenshot_path, action_data_path, metadata_path: the URL of each component that was
            stored (`s3://...`, or an absolute local path), None for the others.

        Raises:
            InvalidIdError, InvalidDataError: refused before any I/O.
            S3OperationError, S3ConfigError, LocalStorageError: not stored; says why.
        """
        values = (html_content, screenshot_bytes, action_data, metadata)
        with translating("store", self._place.root):
            url = self._step_url(session_id, step_id)
            given = ((row, value) for row, value in zip(COMPONENTS, values, strict=True) if value is not None)
            files = {row: self._file(row, url, value) for row, value in given}
        if files:
            with translating("store", url):
                await settled(self._place.filesystem()._write_files(list(files.values())))
        return {row.path_key: files[row].path if row in files else None for row in COMPONENTS}

    @staticmethod
    def _file(row: Format, step_url: str, value: object) -> File:
        data = row.encode(value, row.keyword)
        return File(join(step_url, row.filename), data, row.content_type(data))

    async def retrieve_step_data(
        self,
        session_id: str,
        step_id: str,
        *,
        components: Sequence[Component] = ALL_COMPONENTS,
        strict: bool = False,
    ) -> StepData:
        """The components of a step; one that is missing or unreadable is None, and a warning is logged for it.

        Parameters:
            components: which to read; the others are None.
            strict: True to raise for the first component that is there but cannot be read or decoded.

        Raises:
            InvalidIdError, InvalidDataError: refused before any I/O.
            S3OperationError, S3ConfigError, LocalStorageError: every component failed for another reason than
                being missing (no such bucket, no access, no connection), or, if strict, one did.
        """
        with translating("retrieve", self._place.root):
            rows = formats(components)
            paths = [join(self._step_url(session_id, step_id), row.filename) for row in rows]
            answers = await self._place.filesystem()._read_files(paths)
        failed = [
            translate(answer, "retrieve", path)
            for path, answer in zip(paths, answers, strict=True)
            if isinstance(answer, Exception) and not is_missing(answer)
        ]
        if failed and (strict or len(failed) == len(rows)):
            raise failed[0]
        read = zip(rows, paths, answers, strict=True)
        return StepData(**{row.name: _decoded(row, path, answer, strict) for row, path, answer in read})

    async def list_sessions(self) -> list[str]:
        """The ids of all sessions, sorted by code point; names that are no ids are left out.

        Raises:
            S3OperationError, S3ConfigError, LocalStorageError: the place cannot be listed.
        """
        return [name async for name in self.iter_sessions()]

    async def list_steps_for_session(self, session_id: str) -> list[str]:
        """The ids of a session's steps, sorted by code point; [] where there is no such session.

        Raises:
            InvalidIdError: refused before any I/O.
            S3OperationError, S3ConfigError, LocalStorageError: the session cannot be listed.
        """
        with translating("list", self._place.root):
            url = join(self._place.root, check_id(session_id, "session_id"))
        return [name async for name in self._names(url)]

    async def delete_step(self, session_id: str, step_id: str) -> None:
        """Delete a step with all that is in it, and prove it; where nothing is there, an INFO log says so.

        Raises:
            InvalidIdError: refused before any I/O.
            S3OperationError, S3ConfigError, LocalStorageError: names what is left.
        """
        with translating("delete", self._place.root):
            url = self._step_url(session_id, step_id)
        await self._delete(url)

    async def delete_session(self, session_id: str) -> None:
        """Delete a session with all its steps, and prove it; where nothing is there, an INFO log says so.

        Raises:
            InvalidIdError: refused before any I/O.
            S3OperationError, S3ConfigError, LocalStorageError: names what is left.
        """
        with translating("delete", self._place.root):
            url = join(self._place.root, check_id(session_id, "session_id"))
        await self._delete(url)

    async def _delete(self, url: str) -> None:
        with translating("delete", url):
            if not await settled(self._place.filesystem()._remove_tree(url)):
                logger.info("nothing to delete at %s", url)

    # --- data pipelines -------------------------------------------------------------------------------

    def url_for(
        self, session_id: str | None = None, step_id: str | None = None, component: Component | None = None
    ) -> str:
        """The URL of the root, a session, a step or a component, as store_step_data returns it.

        Raises:
            InvalidIdError: an id that is not allowed, or a step without its session.
            InvalidDataError: no such component.
        """
        names = [(session_id, "session_id"), (step_id, "step_id"), (component, "component")]
        given = [(name, what) for name, what in names if name is not None]
        if given != names[: len(given)]:
            raise InvalidIdError(f"{given[-1][1]} is given without {names[len(given) - 1][1]}")
        rows = formats([component]) if component is not None else []
        ids = [check_id(name, what) for name, what in given[:2]]
        return join(self._place.root, *ids, *(row.filename for row in rows))

    @property
    def storage_options(self) -> dict[str, Any]:
        """What pandas, dask and fsspec.open need beside `url_for(...)`: endpoint and region, never a secret."""
        return self._place.public_options

    @property
    def fs(self) -> AbstractFileSystem:
        """fsspec's own synchronous filesystem for the same place, usable from any thread."""
        with translating("open", self._place.root):
            return self._place.open_sync()

    @property
    def async_fs(self) -> AsyncFileSystem:
        """The filesystem that the manager itself uses on the running loop."""
        with translating("open", self._place.root):
            return self._place.filesystem()

    async def iter_sessions(self) -> AsyncIterator[str]:
        """The ids of all sessions in order, page by page.

        On S3, names that go on after a shorter one with `+ , - .` (`run-1`: `run`) wait until the listing has
        passed the shorter; a local directory is read as a whole, as POSIX gives it unsorted.

        Raises:
            S3OperationError, S3ConfigError, LocalStorageError: the place cannot be listed.
        """
        async for name in self._names(self._place.root):
            yield name

    async def iter_steps(
        self,
        session_ids: Iterable[str] | None = None,
        *,
        components: Sequence[Component] = ALL_COMPONENTS,
        concurrency: int = 16,
        strict: bool = False,
    ) -> AsyncIterator[Step]:
        """Steps in order (session, then step), read ahead; no more than `concurrency` are held in memory.

        Parameters:
            session_ids: which sessions, in this order; None: all.
            components, strict: as for retrieve_step_data.
            concurrency: how many steps are read at a time.

        Raises:
            InvalidIdError, InvalidDataError, S3OperationError, S3ConfigError, LocalStorageError: as
            retrieve_step_data.
        """
        if isinstance(session_ids, str):
            raise InvalidIdError("session_ids is one id: give a list of ids", operation="retrieve")
        formats(components)
        _check_concurrency(concurrency)

        async def read(ids: tuple[str, str]) -> Step:
            return Step(*ids, await self.retrieve_step_data(*ids, components=components, strict=strict))

        async for step in ahead(read, self._step_ids(session_ids), concurrency):
            yield step

    async def _step_ids(self, session_ids: Iterable[str] | None) -> AsyncIterator[tuple[str, str]]:
        async def listed(session_id: str) -> list[tuple[str, str]]:
            return [(session_id, step_id) for step_id in await self.list_steps_for_session(session_id)]

        async for steps in ahead(listed, self.iter_sessions() if session_ids is None else session_ids, 4):
            for ids in steps:
                yield ids

    async def store_steps(self, steps: Iterable[Step] | AsyncIterable[Step], *, concurrency: int = 16) -> int:
        """Store many steps; returns how many. The source is asked only as fast as steps are stored.

        Parameters:
            steps: what iter_steps gives, or your own.
            concurrency: how many steps are stored at a time.

        Raises:
            InvalidIdError, InvalidDataError, S3OperationError, S3ConfigError, LocalStorageError: one step was
            not stored; those in flight have settled, and no further one was taken.
        """
        _check_concurrency(concurrency)

        async def store(step: Step) -> None:
            await self.store_step_data(step.session_id, step.step_id, *step.data)

        return len([None async for _ in ahead(store, steps, concurrency)])

    async def check(self) -> None:
        """Prove that the place can be used: list, write, read and delete one hidden probe.

        Raises:
            S3OperationError, S3ConfigError, LocalStorageError: what is wrong, and what to do about it.
        """
        probe = join(self._place.root, f".check-{secrets.token_hex(8)}", "probe")
        data = secrets.token_bytes(32)
        filesystem = self._place.filesystem()
        with translating("check", self._place.root):
            await anext(filesystem._iter_names(self._place.root), None)
        try:
            with translating("check", probe):
                await settled(filesystem._write_files([File(probe, data, "application/octet-stream")]))
                [answer] = await filesystem._read_files([probe])
            if answer != data:
                raise _probe_error(answer, probe)
        finally:
            await self._delete(os.path.dirname(probe))

    # --- beneath --------------------------------------------------------------------------------------

    def _step_url(self, session_id: str, step_id: str) -> str:
        return join(self._place.root, check_id(session_id, "session_id"), check_id(step_id, "step_id"))

    async def _names(self, url: str) -> AsyncIterator[str]:
        with translating("list", url):
            async for page in self._place.filesystem()._iter_names(url):
                for name in page:
                    if is_id(name):
                        yield name


def _decoded(row: Format, url: str, answer: bytes | Exception, strict: bool) -> Any:
    """The value of a component; None, with a warning, where it is missing or unreadable."""
    if isinstance(answer, Exception):
        reason = "it is missing" if is_missing(answer) else str(translate(answer, "retrieve", url))
        logger.warning("no %s at %s: %s", row.name, url, reason)
        return None
    try:
        return row.decode(answer)
    except ValueError as error:
        if strict:
            raise translate(error, "retrieve", url) from error
        logger.warning("no %s at %s: it cannot be decoded: %s", row.name, url, error)
        return None


def _probe_error(answer: object, url: str) -> StorageManagerError:
    error = answer if isinstance(answer, Exception) else OSError(errno.EIO, "other bytes are read than were written")
    return translate(error, "check", url)


def _check_concurrency(concurrency: int) -> None:
    if concurrency < 1:
        raise ValueError(f"concurrency must be at least 1, not {concurrency}")
