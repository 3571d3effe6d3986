"""S3 through obstore (extra `obstore`). Its client is written in Rust, and needs much less CPU than s3fs.

Only the PUT and the GET of a whole object use obstore. Listing, deleting, signing and sweeping are inherited from
`S3Backend`. Endpoint, credentials, certificates and proxy are those of botocore's client.
"""

import asyncio
import atexit
import errno
import os
import re
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta, timezone
from hashlib import md5
from pathlib import Path
from typing import Any, Literal, TypeVar

from botocore import UNSIGNED
from botocore.exceptions import BotoCoreError, ClientError
from obstore.store import S3Store

from storage_manager.aio import run_to_end
from storage_manager.backends.base import File, md5_in
from storage_manager.backends.client import finding_credentials
from storage_manager.backends.object_store import credentials_of, proxy_options, request_options, resolve
from storage_manager.backends.obstore_errors import FAILURES, UnreadableAnswerError, translated
from storage_manager.backends.s3 import S3Backend, bytes_changed, may_be_md5_of
from storage_manager.backends.streams import too_large
from storage_manager.errors import S3ConfigError, is_content_md5_missing

__all__ = ["ObstoreBackend", "is_forked"]

MIB = 1 << 20
Out = TypeVar("Out")
_used_in: set[int] = set()  # the processes in which obstore has threads

# object_store asks again for credentials that end in five minutes. Those that botocore gives last ten or longer.
_KEPT = timedelta(minutes=10)
_NO_LIMIT = timedelta(days=365)  # for a request as a whole; obstore's default is 30 seconds, whatever its size
# obstore refuses a key with `.`, `..`, an empty name or a control character, and reads `x` if asked for `/x`.
_NO_OBSTORE_KEY = re.compile(r"(^|/)\.{0,2}(/|$)|[\x00-\x1f\x7f]")
# obstore would read these from AWS_* variables that botocore ignores. A PUT is signed with its SHA-256.
_NOT_FROM_ENVIRONMENT = {"unsigned_payload": False, "s3_express": False, "request_payer": False}


def _wait_for_threads() -> None:
    """Wait at the end of the process until no thread of obstore runs Python code.

    A thread that has delivered a result may run Python code for a little longer. Python would end the thread by
    unwinding its stack. Rust does not allow that, and would abort the process.
    """
    known = {thread.ident for thread in threading.enumerate()}
    until = time.monotonic() + 1
    while sys._current_frames().keys() - known and time.monotonic() < until:
        time.sleep(0.001)


def is_forked() -> bool:
    """Return True in a fork of a process that has used obstore. Its threads are missing there, so a call would hang."""
    return bool(_used_in) and os.getpid() not in _used_in


class ObstoreBackend(S3Backend):
    """An `S3Backend` that stores and reads whole objects through obstore. It takes the same keywords."""

    # False over TLS, which protects the bytes (RFC 8446, 5.2), and if ETags are no MD5, as those of encrypted objects
    _compares_e_tags = True
    _can_read = True  # False if the service sends headers that obstore cannot read

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stores: dict[tuple[str, int], _Store] = {}
        self._opening = asyncio.Lock()
        storage_class = self.s3_additional_kwargs.get("StorageClass")
        self._attributes = {"Storage-Class": storage_class} if storage_class else {}
        if os.getpid() not in _used_in:
            _used_in.add(os.getpid())
            atexit.register(_wait_for_threads)

    async def _put_whole(self, file: File, data: bytes, *, is_new: bool = False) -> None:
        bucket, key, _ = self.split_path(file.path)
        if self.service.wants_content_md5 or _NO_OBSTORE_KEY.search(key):
            return await super()._put_whole(file, data, is_new=is_new)
        try:
            e_tag = await self._put_through_obstore(bucket, key, data, file.content_type, is_new=is_new)
        except (OSError, ClientError) as error:
            if not is_content_md5_missing(error):
                raise
            self.service.wants_content_md5 = True
            return await super()._put_whole(file, data, is_new=is_new)
        # The service compares the body with its signed SHA-256. But the answer may be a redirect, whose ETag is no MD5.
        is_proved = may_be_md5_of(e_tag, data) if self.anon else md5_in(e_tag)
        if self._compares_e_tags and self.service.compares_e_tags and not is_proved:
            await self._compare_stored(bucket, key, data, e_tag)
            self._compares_e_tags = False

    async def _put_through_obstore(self, bucket: str, key: str, data: bytes, content_type: str, *, is_new: bool) -> str:
        """Send one PUT. Return the ETag of the answer, or an empty string."""
        attributes = {"Content-Type": content_type, **self._attributes}
        # one read timeout for each MiB, because obstore's timeout includes the time to send
        store = await self._store(bucket, 1 << (len(data) // MIB).bit_length())
        mode: Literal["create", "overwrite"] = "create" if is_new else "overwrite"
        put = store.client.put_async(key, data, attributes=attributes, use_multipart=False, mode=mode)
        return (await run_to_end(store.answer("PutObject", put)))["e_tag"] or ""

    async def _get_whole(self, **request: Any) -> bytes:
        bucket, key = request["Bucket"], request["Key"]
        if len(request) > 2 or not self._can_read or _NO_OBSTORE_KEY.search(key):  # more than two: a range or a version
            return await super()._get_whole(**request)
        try:
            data, e_tag = await self._get_through_obstore(bucket, key)
        except UnreadableAnswerError:
            data = await super()._get_whole(**request)
            self._can_read = False
            return data
        if self._compares_e_tags and self.service.compares_e_tags and not self._is_md5(e_tag, data):
            if await self._read_again(request, data) != data:
                raise bytes_changed()
            self._compares_e_tags = False  # for example, the objects are encrypted with a key of KMS
        return data

    async def _get_through_obstore(self, bucket: str, key: str) -> tuple[bytes, str]:
        """Send one GET. Return the body and the ETag."""
        store = await self._store(bucket)
        answer = await store.answer("GetObject", store.client.get_async(key))
        if answer.meta["size"] > self.max_file_bytes:  # without so much memory, obstore would end the process
            raise too_large(answer.meta["size"], self.max_file_bytes)
        data = (await store.answer("GetObject", answer.bytes_async())).to_bytes()
        if answer.meta["e_tag"] is None:
            raise OSError(errno.EPROTO, "the answer to GetObject is not from S3: it has no ETag")
        return data, answer.meta["e_tag"]

    def _is_md5(self, e_tag: str, data: bytes) -> bool:
        return self._matches_e_tag("", {"ETag": e_tag}, md5(data, usedforsecurity=False).hexdigest())

    async def _store(self, bucket: str, timeout_factor: int = 1) -> "_Store":
        key = (bucket, timeout_factor)
        if key not in self._stores:
            async with self._opening:  # several first requests open one store
                self._stores[key] = self._stores.get(key) or await self._open_store(*key)
        return self._stores[key]

    async def _open_store(self, bucket: str, timeout_factor: int) -> "_Store":
        """Return a store for a bucket, with the configuration of botocore's client.

        Parameters:
            timeout_factor: a factor for the read timeout.

        Raises:
            S3ConfigError: obstore does not support a setting.
        """
        with finding_credentials():
            client = await self.set_session()
        config = client.meta.config
        _refuse_unsupported(config)
        url, signer = await resolve(client, bucket, "directory buckets need s3_engine='s3fs'")
        self._compares_e_tags &= client.meta.endpoint_url.startswith("http:")
        assert self._found  # since there is a client
        credentials = _Credentials(signer, client.meta.region_name, self._found.listener())
        options: dict[str, Any] = {
            "endpoint": url,
            "aws_endpoint_url_s3": url,  # otherwise the variable of this name has priority
            "virtual_hosted_style_request": True,  # the URL names the bucket, in the host or in the path
            "region": client.meta.region_name,
            "skip_signature": config.signature_version is UNSIGNED,
            "credential_provider": None if config.signature_version is UNSIGNED else credentials,
            "client_options": self._client_options(client.meta, url, timeout_factor),
            "retry_config": {"max_retries": 0},  # the backend itself tries again
            **_NOT_FROM_ENVIRONMENT,
            **self._request_options(),
        }
        return _Store(_new_client(bucket, options), credentials, client.meta.endpoint_url)

    def _request_options(self) -> dict[str, Any]:
        refusal = "the obstore engine does not support {}: use s3_engine='s3fs'"
        return request_options({**self.s3_additional_kwargs, **self.req_kw}, refusal)

    def _client_options(self, client_meta: Any, url: str, timeout_factor: int) -> dict[str, Any]:
        """Return the timeouts, connections, certificates and proxy of botocore's client."""
        config = client_meta.config
        return {
            "allow_http": url.startswith("http://"),
            "connect_timeout": _limit(config.connect_timeout),
            "read_timeout": _limit(config.read_timeout, timeout_factor),
            "timeout": _NO_LIMIT,
            "pool_max_idle_per_host": str(config.max_pool_connections),
            **_certificates(self._verify),
            **proxy_options(client_meta, url),
        }


class _Store:
    """A client of obstore for one bucket, its credentials, and its endpoint for error messages."""

    def __init__(self, client: S3Store, credentials: "_Credentials", endpoint: str) -> None:
        self.client, self._credentials, self._endpoint = client, credentials, endpoint

    async def answer(self, operation: str, request: Awaitable[Out]) -> Out:
        """Await a request. Raise its failure as the error that s3fs would raise."""
        try:
            return await request
        except FAILURES as error:
            why = self._credentials.error or translated(error, operation, self._endpoint)
        raise why


def _new_client(bucket: str, options: Mapping[str, Any]) -> S3Store:
    try:
        return S3Store(bucket, **options)
    except FAILURES as error:
        # not quoted and not chained: it may name a proxy with its password
        why = f"obstore refuses these storage_options ({type(error).__name__}): check the proxy and certificates"
        raise S3ConfigError(why, operation="open") from None


class _Credentials:
    """The credentials that botocore finds and renews, in the form that obstore needs.

    Attributes:
        error: the error if botocore could not find them the last time, or None.

    Parameters:
        use: called with key, secret and token.
    """

    error: Exception | None = None

    def __init__(self, signer: Any, region: str, use: Callable[[list[str | None]], None]) -> None:
        self._signer, self._region, self._use = signer, region, use

    async def __call__(self) -> dict[str, Any]:
        self.error = None
        try:
            keys = await credentials_of(self._signer, self._region)
        except (BotoCoreError, ClientError, OSError) as error:
            self.error = error  # obstore would keep only its text
            raise
        self._use([keys.access_key, keys.secret_key, keys.token])
        return {
            "access_key_id": keys.access_key,
            "secret_access_key": keys.secret_key,
            "token": keys.token,
            "expires_at": datetime.now(timezone.utc) + _KEPT,
        }


def _refuse_unsupported(config: Any) -> None:
    given = [name for name in ("client_cert", "proxies_config") if getattr(config, name)]
    if config.signature_version not in (UNSIGNED, "s3v4"):
        given.append("signature_version")
    if given:
        option = f"storage_options['config_kwargs'][{given[0]!r}]"
        raise S3ConfigError(f"the obstore engine does not support {option}: use s3_engine='s3fs'", operation="open")


def _limit(seconds: float | None, times: int = 1) -> timedelta:
    return timedelta(seconds=seconds * times) if seconds is not None else _NO_LIMIT


def _certificates(verify: bool | str | None) -> dict[str, Any]:
    """Return the option for botocore's `verify`: False for no check, or a file with trusted authorities."""
    if verify is False:
        return {"allow_invalid_certificates": True}
    if not isinstance(verify, str):
        return {}
    try:
        return {"root_certificate": Path(verify).read_bytes()}
    except OSError as error:  # otherwise a missing file would look like a missing component
        why = f"the certificates of AWS_CA_BUNDLE or client_kwargs['verify'] cannot be read: {error.strerror}"
        raise S3ConfigError(why, operation="open") from error
