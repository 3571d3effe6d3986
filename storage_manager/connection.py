"""Which place a StorageManager serves: its configuration, its URLs, and its filesystems."""

import errno
import logging
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from fsspec import AbstractFileSystem
from fsspec.asyn import AsyncFileSystem

from storage_manager.backends import Backend, File, Place, hidden_name
from storage_manager.config import Config, arguments_of
from storage_manager.errors import InvalidDataError, InvalidIdError, StorageManagerError, translate, translating
from storage_manager.layout import COMPONENTS, MANIFEST_FILENAME, Component, check_id, formats, join
from storage_manager.redaction import Redactor, as_redactor

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Connection"]

logger = logging.getLogger(__name__)

WEEK = 7 * 24 * 3600  # the longest that S3 lets a link be valid


class Connection:
    """A place where sessions lie; StorageManager adds what is done there."""

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
    ) -> None:
        """Resolve the configuration, without any request.

        Parameters:
            s3_bucket_name: SM_S3_BUCKET_NAME; None: local disk.
            s3_region_name: SM_S3_REGION, "us-west-2".
            local_base_path: SM_LOCAL_BASE_PATH, "./.storage_data"; created when local disk is used.
            prefer_s3: SM_PREFER_S3, True; False: local disk even where a bucket is configured.
            s3_prefix: SM_S3_PREFIX, ""; the part of the bucket below which sessions lie.
            s3_endpoint_url: SM_S3_ENDPOINT_URL; for services other than Amazon's.
            s3_engine: SM_S3_ENGINE, "s3fs"; or "obstore", for less CPU (extra `obstore`).
            require_s3: SM_REQUIRE_S3, False; True: an error instead of the fallback to local disk.
            storage_options: passed on to the filesystem, over the library's own; credentials go here, if not
                where botocore looks for them.
            redact: what takes out of each step what must not be stored; or a list of secrets, for redact_secrets.
            fsync: local disk only: have each step on the disk before it is published (13 to 70 times slower).
            max_concurrency: the most requests in flight, for each event loop.

        Raises:
            S3ConfigError: the configuration is wrong on its face, or S3 is required and no bucket configured.
            LocalStorageError: the base directory cannot be created.
            InvalidDataError: redact is neither.
            ValueError: max_concurrency is below 1.
        """
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
        options = {"storage_options": storage_options, "fsync": fsync, "max_concurrency": max_concurrency}
        self._serve(config.root, config, redact=redact, **options)

    def _serve(self, url: str, config: Config, redact: Redactor | Sequence[str] | None = None, **options: Any) -> None:
        self.redact = as_redactor(redact)
        self._config = config
        self._place = Place(url, config, **options)

    @classmethod
    def from_url(cls, url: str, **kwargs: Any) -> "Self":
        """A manager for the sessions below a URL, whichever bucket, prefix or directory the `SM_*` variables name.

        Parameters:
            url: `s3://bucket/prefix`, `file:///data`, `/data`, or a URL of any installed fsspec backend.
            kwargs: as for the constructor, where they apply; else the variables of S3's endpoint, region and engine do.

        Raises:
            S3ConfigError, LocalStorageError, ValueError: as the constructor.
            TypeError: an option of S3 for what is neither S3 nor local disk.
            StorageManagerError: fsspec has no such backend, or its package is not installed.
        """
        given = {name: value for name, value in kwargs.items() if value is not None}
        arguments = arguments_of(url)
        if arguments is not None:
            return cls(**arguments, **given)
        for name in sorted(name for name in given if name.startswith("s3_")):
            raise TypeError(f"{name} is an option of S3, which the URL is not")
        self = cls.__new__(cls)
        self._serve(url, Config.resolve(prefer_s3=False, require_s3=False), **given)
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
        """Close what the running loop has open, after what this manager has under way; optional, and repeatable.

        A later call opens anew. What is sealed, verified, copied or exported just now may fail, or open anew itself.
        """
        await self._place.close()

    def get_storage_info(self) -> dict[str, Any]:
        """Where sessions go: uses_s3, s3_bucket, s3_region, local_base_path, effective_storage_type; no secret."""
        protocol = self._place.protocol
        uses_s3 = protocol == "s3"
        return {
            "uses_s3": uses_s3,
            "s3_bucket": self._config.s3_bucket_name if uses_s3 else None,
            "s3_region": self._place.region if uses_s3 else None,
            "local_base_path": self._config.local_base_path,
            "effective_storage_type": {"s3": "S3", "file": "Local"}.get(protocol, protocol),
        }

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

    def backend(self) -> AbstractAsyncContextManager[Backend]:
        """The same filesystem as a typed Backend, for one operation: `aclose` waits until the block ends.

        Raises:
            S3ConfigError, LocalStorageError, StorageManagerError: when the block begins, if it cannot be opened.
        """
        return self._place.using()

    async def get_share_links(
        self, session_id: str, step_id: str, expires_in: int | timedelta = 3600
    ) -> dict[str, str | None]:
        """A link to each component of a step, which a browser opens without credentials; None where there is none.

        On S3 whoever has the link may read, until it expires, or until the credentials do that signed it (those of a
        role last hours). A page that is opened so runs its scripts, as the page of the S3 service: send links to
        screenshots, or show pages in the viewer. It costs one LIST.

        Parameters:
            expires_in: seconds, or a timedelta; up to seven days, as S3 allows ("Presigned URLs", Signature Version 4).

        Returns:
            html_path, screenshot_path, action_data_path, metadata_path: presigned on S3; on disk `file://`, for ever.

        Raises:
            InvalidIdError, InvalidDataError: refused before any I/O.
            S3OperationError, S3ConfigError, LocalStorageError, StorageManagerError: the step cannot be listed, or
                the backend has no such links.
        """
        seconds = _seconds(expires_in)
        url = self._url("share", session_id, step_id)
        with translating("share", url):
            async with self._place.using() as filesystem:
                there = {found.name async for page in filesystem.iter_files(url) for found in page}
                links = {row.path_key: join(url, row.filename) for row in COMPONENTS if row.filename in there}
                links = {key: await filesystem.link(path, seconds) for key, path in links.items()}
        return {row.path_key: links.get(row.path_key) for row in COMPONENTS}

    def _url(self, operation: str, session_id: str, *step_id: str) -> str:
        """The URL of a session or a step, whose ids are checked for an operation."""
        ids = zip((session_id, *step_id), ("session_id", "step_id"), strict=False)
        with translating(operation, self._place.root):
            return join(self._place.root, *(check_id(value, what) for value, what in ids))

    def _manifest_url(self, session_id: str) -> str:
        return join(self._place.root, session_id, MANIFEST_FILENAME)

    async def check(self) -> None:
        """Prove that the place can be used: list, write, read and delete one hidden probe.

        Raises:
            S3OperationError, S3ConfigError, LocalStorageError: what is wrong, and what to do about it.
        """
        probe = join(self._place.root, hidden_name(), "probe")
        data = secrets.token_bytes(32)
        async with self._place.using() as filesystem:
            with translating("check", self._place.root):
                await anext(filesystem.iter_names(self._place.root), None)
            try:
                with translating("check", probe):
                    await filesystem.write_files([File(probe, data, "application/octet-stream")])
                    [answer] = await filesystem.read_files([probe])
                if answer != data:
                    raise _probe_error(answer, probe)
            finally:
                with translating("check", probe):
                    await filesystem.remove_tree(os.path.dirname(probe))


def _seconds(expires_in: int | timedelta) -> int:
    seconds = expires_in.total_seconds() if isinstance(expires_in, timedelta) else expires_in
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or not 1 <= seconds <= WEEK:
        why = f"expires_in is {expires_in!r}: give 1 to {WEEK} seconds, or a timedelta; S3 allows seven days"
        raise InvalidDataError(why, operation="share")
    return int(seconds)


def _probe_error(answer: object, url: str) -> StorageManagerError:
    error = answer if isinstance(answer, Exception) else OSError(errno.EIO, "other bytes are read than were written")
    return translate(error, "check", url)
