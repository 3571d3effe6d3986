"""From the root URL to one filesystem: the only place that knows backends, chosen by URL prefix, then engine.

A backend's library is imported when its filesystem is opened, not before: s3fs alone costs half a second.
"""

import os
from asyncio import AbstractEventLoop, get_running_loop
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Any

import fsspec

from storage_manager.backends.base import ATTEMPTS, Backend, File, FileInfo, hidden_name
from storage_manager.config import Config, check_endpoint
from storage_manager.credentials import check_credentials
from storage_manager.errors import S3ConfigError, how_to_install, translating

__all__ = ["Backend", "File", "FileInfo", "Place", "hidden_name"]

# Seconds without progress, for each of three attempts: a dead address is reported in 15, a mute server in 48.
CONNECT_TIMEOUT, READ_TIMEOUT = 4, 15
_PUBLIC = ("anon", "profile", "requester_pays", "use_ssl")  # options that hold no secret


class Place:
    """Where sessions lie, and one filesystem for it in each event loop of each process that asks for one.

    A filesystem belongs to one loop and one process: the loop's end closes it, and a forked child leaves
    those of its parent alone.

    Parameters:
        root: `s3://bucket[/prefix]`, an absolute directory, or a URL of another fsspec backend.
        config: region and endpoint of S3.
        storage_options: the user's own for the filesystem, over the library's.
        fsync, max_concurrency: as of StorageManager.

    Raises:
        S3ConfigError: credentials that are wrong on their face.
        LocalStorageError: the directory cannot be created.
        StorageManagerError: fsspec has no such backend, or its package is not installed.
    """

    def __init__(
        self,
        root: str,
        config: Config,
        storage_options: Mapping[str, Any] | None = None,
        *,
        fsync: bool = False,
        max_concurrency: int = 32,
    ) -> None:
        if max_concurrency < 1:
            raise ValueError(f"max_concurrency must be at least 1, not {max_concurrency}")
        protocol, separator, path = root.rpartition("://")
        self.protocol = protocol or "file"
        self.root = f"{protocol}{separator}{path.rstrip('/')}" or "/"
        self._config = config
        self._options = dict(storage_options or {})
        self._fsync = fsync
        self._max_concurrency = max_concurrency
        self._opened: dict[AbstractEventLoop, Backend] = {}
        self._prepare()

    def _prepare(self) -> None:
        with translating("configure" if self.protocol == "s3" else "open", self.root):
            if self.protocol == "s3":
                self._check_engine()
                check_credentials(self._options)
                self._check_endpoint()
            elif self.protocol == "file":
                os.makedirs(self.root, exist_ok=True)
            else:
                fsspec.get_filesystem_class(self.protocol)

    def _check_engine(self) -> None:
        if find_spec(self._config.s3_engine) is None:
            engine = self._config.s3_engine
            why = f"s3_engine (SM_S3_ENGINE) is {engine}, which is not installed: {how_to_install(engine)}"
            raise S3ConfigError(why, operation="configure")

    def filesystem(self) -> Backend:
        """The filesystem of the running loop; opened on first use."""
        loop = get_running_loop()
        if loop not in self._opened:
            for known in list(self._opened):  # at once, as other threads may open theirs
                if known.is_closed():
                    self._opened.pop(known, None)
            filesystem = self._open()
            filesystem.max_in_flight = self._max_concurrency
            self._opened[loop] = filesystem
        return self._opened[loop]

    @asynccontextmanager
    async def using(self) -> AsyncIterator[Backend]:
        """The filesystem of the running loop for one operation: it is not closed before that has ended."""
        filesystem = self.filesystem()
        filesystem.active += 1
        try:
            yield filesystem
        finally:
            filesystem.active -= 1
            if filesystem.closing and not filesystem.active:
                await filesystem.close()

    async def close(self) -> None:
        """Close the filesystem of the running loop, if it has one; the last operation does it, if any is under way."""
        filesystem = self._opened.pop(get_running_loop(), None)
        if filesystem is not None:
            filesystem.closing = True
            if not filesystem.active:
                await filesystem.close()

    def _open(self) -> Backend:
        if self.protocol == "s3":
            return self._open_s3(self._s3_options(attempts=1))  # it tries again itself
        if self.protocol == "file":
            from storage_manager.backends.local import LocalBackend

            return LocalBackend(self.root, fsync=self._fsync, asynchronous=True, **self._options)
        from storage_manager.backends.other import OtherBackend

        return OtherBackend(self.protocol, self._options, asynchronous=True)

    def _open_s3(self, options: dict[str, Any]) -> Backend:
        if self._config.s3_engine == "obstore":
            from storage_manager.backends.obstore import ObstoreBackend, is_forked

            if not is_forked():
                return ObstoreBackend(options, asynchronous=True)
        from storage_manager.backends.s3 import S3Backend

        return S3Backend(asynchronous=True, **options)

    def open_sync(self) -> fsspec.AbstractFileSystem:
        """fsspec's own synchronous filesystem for the same place, usable from any thread."""
        ours = {"auto_mkdir": True} if self.protocol == "file" else {}
        options = self._s3_options() if self.protocol == "s3" else {**ours, **self._options}
        return fsspec.filesystem(self.protocol, **options)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": {}}

    def _s3_options(self, attempts: int = ATTEMPTS) -> dict[str, Any]:
        """The keywords for s3fs: ours, and the user's over them."""
        ours = {
            "endpoint_url": self._config.s3_endpoint_url,
            "client_kwargs": {"region_name": self._config.s3_region},
            "config_kwargs": {
                "max_pool_connections": self._max_concurrency,
                # botocore's "max_attempts" would count the retries alone
                "retries": {"mode": "standard", "total_max_attempts": attempts},
                "connect_timeout": CONNECT_TIMEOUT,
                "read_timeout": READ_TIMEOUT,
                "user_agent": "storage-manager",  # botocore puts its own together for every request, for 90 us
                "signature_version": "s3v4",  # for links too, which botocore would sign as of 2006
                # a PUT signs the SHA-256 of its body, and its ETag is compared: a CRC is not needed, and services
                # other than Amazon's may not know it
                "request_checksum_calculation": "when_required",
            },
            "max_concurrency": 1,
            "use_listings_cache": False,
        }
        return _merged(ours, self._options)

    @property
    def region(self) -> str:
        """The region of S3 that requests go to."""
        return str(self._s3_options()["client_kwargs"]["region_name"])

    @property
    def endpoint_url(self) -> str | None:
        """The endpoint of S3 that requests go to; None for Amazon's own."""
        options = self._s3_options()
        url = options["endpoint_url"] or options["client_kwargs"].get("endpoint_url")
        return None if url is None else str(url)

    def _check_endpoint(self) -> None:
        environment = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        check_endpoint(self.endpoint_url or environment, self.root)

    @property
    def public_options(self) -> dict[str, Any]:
        """What another tool needs to open the same URLs; only what is known to hold no secret."""
        if self.protocol != "s3":
            return {}
        given = {name: self._options[name] for name in _PUBLIC if name in self._options}
        endpoint = {"endpoint_url": self.endpoint_url} if self.endpoint_url else {}
        return {"client_kwargs": {"region_name": self.region}, **given, **endpoint}


def _merged(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Theirs over ours, also inside of options that are mappings themselves."""
    both = {name: _merged(ours[name], value) for name, value in theirs.items() if _nested(ours.get(name), value)}
    return {**ours, **theirs, **both}


def _nested(*values: object) -> bool:
    return all(isinstance(value, Mapping) for value in values)
