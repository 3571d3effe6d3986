"""S3 through s3fs, with few requests, bounded retries and checked answers.

It differs from s3fs in these points:

- Instances and listings are not cached: an old listing would hide the sessions of other writers.
- `max_concurrency` is 1: otherwise every read would be a HEAD and a GET.
- There is one layer of retries, with three attempts. An attempt ends when the answer has been read and checked. The
  retries of botocore and s3fs multiply (a dead endpoint took 25 requests and 40 s), and end before the body is read.
- Every PUT has a content type: the default would be `binary/octet-stream`.
- If a bulk deletion fails for single keys, their errors are raised.
"""

import asyncio
import errno
import logging
import random
import re
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from datetime import datetime, timezone
from functools import partial
from hashlib import md5, sha256
from itertools import pairwise
from typing import Any, TypeVar, cast

import aiohttp
import s3fs
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, InvalidProxiesConfigError
from botocore.parsers import ResponseParserError
from s3fs.errors import translate_boto_error

from storage_manager.aio import map_ahead, run_to_end
from storage_manager.backends.base import (
    MAX_SIZE,
    STAGED,
    STAGING_PREFIX,
    File,
    FileInfo,
    FsspecBackend,
    hidden_name,
    md5_in,
)
from storage_manager.backends.client import (
    adapt_requests,
    finding_credentials,
    http_session_class,
    lifespan,
    new_session,
    prepare,
    report_credentials,
    using_options,
)
from storage_manager.backends.streams import Stream, hash_blocks, too_large
from storage_manager.credentials import Found
from storage_manager.errors import (
    AlreadyExistsError,
    S3OperationError,
    StorageManagerError,
    already_exists,
    is_bulk_refused,
    is_missing,
    is_precondition_failed,
    is_range_refused,
    is_refused,
    is_transient,
    is_unsupported,
    translate,
    translating,
)
from storage_manager.layout import CATALOG_DIRECTORY, is_data, is_id, is_system_file
from storage_manager.s3_settings import ATTEMPTS, Service

__all__ = [
    "PAGE",
    "S3Backend",
    "SyncS3FileSystem",
    "bytes_changed",
    "has_foreign_e_tag",
    "may_be_md5_of",
    "ordered_pages",
    "sorted_pages",
]

logger = logging.getLogger(__name__)

PAGE = 1000  # keys in one LIST and in one DeleteObjects: the limit of S3's API
MAX_PAGES = 100_000  # of a listing: a hundred million names
IDLE_PAGES = 1000  # one after another that are empty, or the same as an earlier page
_PIECE = 1 << 20  # bytes of a body whose length is not known
PART = 8 << 20  # bytes of a part of an upload, and of a range of a large object; S3 needs 5 MiB or more
MAX_PARTS = 10_000  # of an upload (Amazon S3 User Guide, "Amazon S3 multipart upload limits")
PARTS_AHEAD = 3  # parts or ranges in memory
SINGLE_DELETES = 32  # requests at a time, if the service does not delete keys together
ROUNDS = 20  # of a deletion that lists the whole directory each time, while others keep writing to it
Out = TypeVar("Out")
# The request parameters for the next page of a listing, and the fields of the answer that have their values.
_NEXT_PAGE = {
    "list_objects_v2": {"ContinuationToken": "NextContinuationToken"},
    "list_object_versions": {"KeyMarker": "NextKeyMarker", "VersionIdMarker": "NextVersionIdMarker"},
    "list_multipart_uploads": {"KeyMarker": "NextKeyMarker", "UploadIdMarker": "NextUploadIdMarker"},
}
_REQUEST_FAILURES = (OSError, BotoCoreError, aiohttp.ClientError)  # the errors that a request raises
# An answer with one of these fields comes from S3.
_PROOFS = {"put_object": {"ETag"}, "get_object": {"ETag"}, "list_objects_v2": {"Name", "KeyCount"}}
# The entries of a listing, and their names.
_NAMES = {"Contents": "Key", "CommonPrefixes": "Prefix", "Uploads": "Key", "Versions": "Key", "DeleteMarkers": "Key"}
# The names of directory buckets and of their access points (Amazon S3 User Guide, "Directory bucket naming rules").
_DIRECTORY_BUCKET = re.compile(r".*--xa?-s3")


class _S3FileSystem(s3fs.S3FileSystem):
    """s3fs's own methods, but every listing ends, whatever the service sends, and errors of deletions are raised."""

    async def _list_pages(self, method: str, **request: Any) -> AsyncGenerator[Any, None]:
        """Yield the answers to a listing. s3fs calls this method in `ls`, `find` and all other methods that list."""
        progress = _Progress(method)
        following: dict[str, str] | None = {}
        while following is not None:
            answer = await self._call_s3(method, **{**request, **following})
            yield answer
            following = progress.following(answer)

    async def _bulk_delete(self, pathlist: Sequence[str], **kwargs: Any) -> list[str]:
        """Delete up to a thousand keys of one bucket. If the service refuses a bulk deletion, delete them one by one.

        Raises:
            OSError: a key was not deleted. s3fs itself ignores these errors.
        """
        keys = [{"Key": self.split_path(path)[1]} for path in pathlist]
        for path in pathlist:
            self.invalidate_cache(self._parent(path))
        request = {"Bucket": self.split_path(pathlist[0])[0], "Delete": {"Objects": keys, "Quiet": True}}
        try:
            answer = await self._call_s3("delete_objects", kwargs, **request)
        except _REQUEST_FAILURES as error:
            if not is_bulk_refused(error):
                raise
            answer = {"Errors": await self._delete_singly(pathlist)}
        for left in answer.get("Errors", ()):
            if left.get("Code") != "NoSuchKey":
                raise translate_boto_error(_deletion_error(left))
        return list(pathlist)

    async def _delete_singly(self, paths: Sequence[str]) -> list[dict[str, str]]:
        """Delete keys one by one. After all attempts, raise the first error."""
        failed = list[OSError]()
        for start in range(0, len(paths), SINGLE_DELETES):
            batch = map(self._rm_file, paths[start : start + SINGLE_DELETES])
            answers = await asyncio.gather(*batch, return_exceptions=True)
            failed += [error for error in answers if isinstance(error, OSError) and not is_missing(error)]
        if failed:
            raise failed[0]
        return []


class SyncS3FileSystem(_S3FileSystem):
    """s3fs's own filesystem, with requests that other services understand too."""

    async def set_session(self, refresh: bool = False, kwargs: Any = None) -> Any:
        """Return the client. A new client is adapted."""
        known = self._s3
        with using_options():
            client = await super().set_session(refresh=refresh)
        if client is not known:
            adapt_requests(client)
        return client


class S3Backend(FsspecBackend, _S3FileSystem):
    """An `s3fs.S3FileSystem` with literal paths, for one event loop. It does not have to be closed."""

    retries = 1  # attempts of s3fs itself
    root = ""  # the URL that sessions are below
    _compares_e_tags = True  # for obstore; False if ETags are no MD5, so that they do not prove a PUT
    session: Any
    config_kwargs: dict[str, Any]
    _s3: Any
    _found: Found | None = None
    _lifespan: AsyncGenerator[None, None] | None = None
    _connecting: asyncio.Lock | None = None
    has_conditional_writes = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with using_options():
            super().__init__(*args, **kwargs)
        self.config_kwargs = {**self.config_kwargs, "http_session_cls": http_session_class(self.config_kwargs)}
        self.service = Service()
        # one task at a time finds out how the service differs from Amazon S3
        self._e_tag_lock, self._probe_lock = asyncio.Lock(), asyncio.Lock()

    async def set_session(self, refresh: bool = False, kwargs: Any = None) -> Any:
        """Return the client. It is created on first use, and closed when the running loop shuts down."""
        self._connecting = self._connecting or asyncio.Lock()
        async with self._connecting:  # s3fs before 2026.6 creates a client for each of several first requests
            with using_options():
                self._found = self._found or Found(self.root)
                self.session = self.session or _reporting_session(self._found, self.kwargs)
                client = await super().set_session(refresh=refresh)
            if self.asynchronous and self._lifespan is None:
                prepare(client)
                report_credentials(client.meta.events, self._found.listener())
                self._lifespan = lifespan(self._s3creator)
                await anext(self._lifespan)
            return client

    async def close(self) -> None:
        ended, self._lifespan, self._s3 = self._lifespan, None, None  # a later request creates a new client
        if ended is not None:
            await ended.aclose()

    async def _call_s3(self, method: str, *kwargs_list: Any, **kwargs: Any) -> Any:
        """Send a request, in up to three attempts. The methods of s3fs itself call this method too."""
        return await self._retry(partial(self._request, method, *kwargs_list, **kwargs))

    async def _retry(self, attempt: Callable[[], Awaitable[Out]]) -> Out:
        """Make up to three attempts, and return the result of the first success. Try again only after transient errors.

        The pause before the second attempt is a random time of at most `backoff_seconds`. The pause before the third is
        at most twice as long ("full jitter", as in botocore's `standard` mode).
        """
        for number in range(ATTEMPTS - 1):
            try:
                return await attempt()
            except _REQUEST_FAILURES as error:
                if not is_transient(error):
                    raise
            await asyncio.sleep(random.uniform(0, self.backoff_seconds * 2**number))
        return await attempt()

    async def _request(self, method: str, *kwargs_list: Any, **kwargs: Any) -> Any:
        """Send a request once, and check that S3 answered it: a proxy may answer with a web page and status 200."""
        with finding_credentials():
            await self.set_session()
        try:
            with finding_credentials():
                answer = await super()._call_s3(method, *kwargs_list, **kwargs)
        # These errors are not chained: they quote the answer, which may contain a password or the token of the request.
        except ResponseParserError:
            raise OSError(errno.EPROTO, f"the answer to {method} is not from S3: it is not XML") from None
        except ValueError:
            raise OSError(errno.EPROTO, f"the answer to {method} is not from S3: a number is malformed") from None
        except HTTPClientError as error:
            if InvalidProxiesConfigError.fmt in str(error):
                raise InvalidProxiesConfigError from None
            raise
        _check_proof(method, answer)
        return answer

    async def write_files(self, files: Sequence[File], *, overwrite: bool = True) -> None:
        if not overwrite:
            with translating("store", files[0].path):
                if not await self._honours_conditions(files):
                    raise self._would_replace_error(files[0].path)
        await self._write_all(partial(self._write_file, is_new=not overwrite), files)

    async def _write_file(self, file: File, *, is_new: bool = False) -> None:
        with translating("store", file.path):
            if isinstance(file.data, Stream) and file.data.size > PART:
                return await self._upload(file, file.data, is_new=is_new)
            data = await file.data.read() if isinstance(file.data, Stream) else file.data
            if is_new:
                await self._put_new(file, data)
            else:
                await self._retry(partial(self._put_whole, file, data))

    async def _put_whole(self, file: File, data: bytes, *, is_new: bool = False) -> None:
        """Send one PUT, with the MD5 of the bytes. Check that the service stored these bytes."""
        bucket, key, _ = self.split_path(file.path)
        digest = md5(data, usedforsecurity=False)
        body: dict[str, Any] = {"Body": data, "ContentType": file.content_type}
        if not _DIRECTORY_BUCKET.fullmatch(bucket):  # these have no Content-MD5 (Amazon S3 API reference, "PutObject")
            body["ContentMD5"] = b64encode(digest.digest()).decode()
        if is_new:
            body["IfNoneMatch"] = "*"
        answer = await run_to_end(self._request("put_object", Bucket=bucket, Key=key, **body))
        if not self._matches_e_tag(bucket, answer, digest.hexdigest()):
            await self._compare_stored(bucket, key, data, answer["ETag"])

    # Conditional writes, which replace nothing: if the object exists, the service refuses them with 412.

    async def _put_new(self, file: File, data: bytes) -> None:
        await self._write_once(file, data, partial(self._put_whole, file, data, is_new=True))

    async def _write_once(self, file: File, data: bytes | Stream, attempt: Callable[[], Awaitable[Any]]) -> None:
        """Send a request that the service refuses if the object exists, in up to three attempts.

        The answer to an attempt may be lost. Then an object with exactly these bytes counts as stored by this attempt.

        Raises:
            AlreadyExistsError: the object exists.
        """
        may_be_stored = False

        async def send() -> None:
            nonlocal may_be_stored
            try:
                await attempt()
            except _REQUEST_FAILURES as error:
                exists = is_precondition_failed(error)
                if not exists and not isinstance(error, FileNotFoundError):  # an upload that has ended is not found
                    may_be_stored |= is_transient(error) and not is_refused(error)
                    raise
                if may_be_stored and await self._is_stored(file.path, data):
                    return
                raise already_exists(file.path) if exists else error from error

        await self._retry(send)

    async def _is_stored(self, path: str, data: bytes | Stream) -> bool:
        """Return True if an object has exactly these bytes."""
        stored, own = sha256(), sha256() if isinstance(data, Stream) else sha256(data)
        try:
            await hash_blocks(self.read_blocks(path), stored)
        except FileNotFoundError:
            return False
        if isinstance(data, Stream):
            await hash_blocks(data.blocks(), own)
        return stored.digest() == own.digest()

    async def write_new_step(self, files: Sequence[File]) -> None:
        """Write the files of a new step.

        If the service ignores If-None-Match, check if the first file exists before writing it, and log a warning once.
        """
        with translating("store", files[0].path):
            if await self._honours_conditions(files[:1]):
                return await super().write_new_step(files)
            if not self.service.may_replace_steps:
                self.service.may_replace_steps = True
                why = "the service ignores If-None-Match: another recorder of a session may replace its steps"
                logger.warning("steps below %s may be replaced, because %s", self.root, why)
            [found] = await self.read_files([files[0].path])
            if isinstance(found, bytes):
                raise already_exists(files[0].path)
        await self.write_files(files)

    async def _honours_conditions(self, files: Sequence[File]) -> bool:
        """Return True if the service honours If-None-Match for such files.

        This is tested once per root: a hidden file is written twice.
        """
        service = self.service
        async with self._probe_lock:
            if service.refuses_to_replace is None:
                service.refuses_to_replace = await self._refuses_to_replace(self._put_new)
            has_upload = any(isinstance(file.data, Stream) and file.data.size > PART for file in files)
            if has_upload and service.refuses_to_replace and service.refuses_to_complete is None:
                service.refuses_to_complete = await self._refuses_to_replace(self._upload_new)
        return bool(service.refuses_to_replace and (service.refuses_to_complete or not has_upload))

    async def table_options(self, path: str, *, to_write: bool) -> dict[str, str]:
        from storage_manager.backends.tables import table_options

        if to_write and not await self._honours_conditions([]):
            why = "the service ignores If-None-Match, so two writers of the catalogue could damage it"
            raise S3OperationError(f"cannot write {path}: {why}; nothing was written", operation="store", url=path)
        with finding_credentials():
            client = await self.set_session()
        assert self._found  # since there is a client
        request = {**self.s3_additional_kwargs, **self.req_kw}
        return await table_options(client, self.split_path(path)[0], request, self._verify, self._found.listener())

    @property
    def _verify(self) -> Any:
        """How certificates are checked, as in botocore's `verify`. The client must exist."""
        verify = self.client_kwargs.get("verify")
        return self.session.get_config_variable("ca_bundle") if verify is None else verify

    def _would_replace_error(self, path: str) -> S3OperationError:
        """Return the error for a write with overwrite=False, if the service would replace the file."""
        are_only_large = self.service.refuses_to_replace
        large = f" of more than {PART:,} bytes, which are sent in parts," if are_only_large else ""
        why = f"the service ignores If-None-Match, so files{large} would be replaced"
        message = f"cannot store {path}: {why}; nothing was written (leave out overwrite=False)"
        return S3OperationError(message, operation="store", url=path)

    async def _refuses_to_replace(self, write_new: Callable[[File, bytes], Awaitable[None]]) -> bool:
        """Write a hidden file twice, the second time as a new file. Return True if the second write is refused."""
        data = b"probe"
        probe = File(f"{self.root}/{hidden_name()}/probe", data, "application/octet-stream")
        await self._retry(partial(self._put_whole, probe, data))
        try:
            await write_new(probe, data)
        except AlreadyExistsError:
            return True
        except _REQUEST_FAILURES as error:
            if not is_unsupported(error):
                raise
        finally:
            await run_to_end(self._remove_probe(probe.path))
        return False

    async def _remove_probe(self, path: str) -> None:
        bucket, key, _ = self.split_path(path)
        try:
            await self._delete_key(bucket, key)
        except StorageManagerError as error:  # it is not raised, because the user may be allowed to write only
            logger.warning("a hidden file is left: %s", error)

    # Uploads in parts, of files that are not held in memory

    async def _upload_new(self, file: File, data: bytes) -> None:
        async def blocks() -> AsyncGenerator[bytes, None]:
            yield data

        await self._upload(file, Stream(blocks, len(data)), is_new=True)

    async def _upload(self, file: File, stream: Stream, *, is_new: bool) -> None:
        """Send a stream in parts. Abort the upload if it fails."""
        bucket, key, _ = self.split_path(file.path)
        request = {"Bucket": bucket, "Key": key}
        create = self._call_s3("create_multipart_upload", ContentType=file.content_type, **request)
        begun, is_complete = asyncio.ensure_future(create), False
        try:
            upload = {**request, "UploadId": (await run_to_end(begun))["UploadId"]}
            parts = await self._send_parts(upload, stream)
            complete = {**upload, "MultipartUpload": {"Parts": parts}, **({"IfNoneMatch": "*"} if is_new else {})}
            await self._write_once(
                file, stream, lambda: run_to_end(self._request("complete_multipart_upload", **complete))
            )
            is_complete = True
        finally:
            if not is_complete and begun.done() and not begun.cancelled() and not begun.exception():
                await run_to_end(self._abort({**request, "UploadId": begun.result()["UploadId"]}))

    async def _send_parts(self, upload: Mapping[str, Any], stream: Stream) -> list[dict[str, Any]]:
        parts = _numbered(stream.parts(max(PART, -(-stream.size // MAX_PARTS))))
        async with aclosing(map_ahead(partial(self._send_part, upload), parts, PARTS_AHEAD)) as sent:
            return [part async for part in sent]

    async def _send_part(self, upload: Mapping[str, Any], part: tuple[int, bytes]) -> dict[str, Any]:
        """Send one part, with its MD5. Return its number and ETag, which are needed to complete the upload."""
        number, data = part
        digest = await asyncio.to_thread(md5, data, usedforsecurity=False)
        body = {"PartNumber": number, "Body": data, "ContentMD5": b64encode(digest.digest()).decode()}

        async def send() -> dict[str, Any]:
            async with self._slots:
                answer = await run_to_end(self._request("upload_part", **upload, **body))
            if self.service.has_md5_e_tags and md5_in(answer["ETag"]) not in (None, digest.hexdigest()):
                raise bytes_changed()
            return {"PartNumber": number, "ETag": answer["ETag"]}

        return await self._retry(send)

    async def _abort(self, upload: Mapping[str, Any]) -> None:
        with suppress(*_REQUEST_FAILURES):  # `sweep` finds the upload later; the error of the upload itself is raised
            await self._call_s3("abort_multipart_upload", **upload)

    async def _compare_stored(self, bucket: str, key: str, data: bytes, e_tag: str) -> None:
        """Read an object back, because the ETag of its PUT is not the MD5 of the bytes. If it differs, raise an error.

        It may have its old bytes, or the bytes of another writer. In both cases, the PUT is sent again.
        """
        request = {"Bucket": bucket, "Key": key}
        async with self._e_tag_lock:
            for _ in range(ATTEMPTS):  # another writer may replace the object meanwhile
                stored, answer = await self._fetch(**request)
                self._compares_e_tags &= md5_in(answer["ETag"]) is not None
                has_our_e_tag = answer["ETag"].strip('"') == e_tag.strip('"')
                if self._matches_e_tag(bucket, answer, _md5(stored)) or (has_our_e_tag and stored != data):
                    break
                if await self._can_stop_comparing(request, stored):
                    break
            if stored != data:
                raise bytes_changed()

    async def _cat_file(
        self, path: str, version_id: str | None = None, start: int | None = None, end: int | None = None, **kwargs: Any
    ) -> bytes:
        """Return an object, or a range of it. An attempt ends after the last byte of the body, not after the header."""
        bucket, key, version = self.split_path(path)
        request = {"Bucket": bucket, "Key": key, **s3fs.core.version_id_kw(version_id or version)}
        if start is not None or end is not None:
            request["Range"] = await self._process_limits(path, start, end)
        return await self._retry(partial(self._get_whole, **request))

    async def _get_whole(self, **request: Any) -> bytes:
        """Send one GET and read its body. Compare the bytes with the ETag, unless they are only a range.

        If the ETag is not their MD5, read again: the bytes changed on the way, or this service's ETags are no MD5s.
        """
        data, answer = await self._fetch(**request)
        if "Range" in request or self._matches_e_tag(request["Bucket"], answer, _md5(data)):
            return data
        return await self._read_again(request, data)

    async def _read_again(self, request: Mapping[str, Any], data: bytes) -> bytes:
        """Read an object a second time. Return its bytes if the ETag is their MD5, or if both reads are the same."""
        async with self._e_tag_lock:  # one reader of many is enough to find out that ETags are no MD5
            if not self.service.compares_e_tags:
                return data
            again, answer = await self._fetch(**request)
            if self._matches_e_tag(request["Bucket"], answer, _md5(again)):
                return again
            if again != data or not await self._can_stop_comparing(request, data):
                raise bytes_changed()
            return data

    async def read_blocks(self, path: str) -> AsyncGenerator[bytes, None]:
        """Yield an object in ranges of 8 MiB. Up to three ranges are read ahead. The MD5 is compared at the end."""
        bucket, key, _ = self.split_path(path)
        request = {"Bucket": bucket, "Key": key}
        first, answer = await self._retry(partial(self._fetch_first, request))
        size = _whole_size(answer, len(first))
        if size <= len(first):
            if not self._matches_e_tag(bucket, answer, _md5(first)):
                first = await self._read_again(request, first)
            if first:
                yield first
            return
        digest = md5(usedforsecurity=False)
        async with aclosing(self._ranges(request, first, size, answer["ETag"])) as blocks:
            async for block in blocks:
                await asyncio.to_thread(digest.update, block)
                yield block
        if not self._matches_e_tag(bucket, answer, digest.hexdigest()):
            await self._compare_again(request, size, answer["ETag"], digest.hexdigest())

    async def _fetch_first(self, request: Mapping[str, Any]) -> tuple[bytes, Mapping[str, Any]]:
        async with self._slots:
            try:
                return await self._fetch(**request, Range=f"bytes=0-{PART - 1}")
            except OSError as error:
                if not is_range_refused(error):
                    raise
            return await self._fetch(**request)  # it is empty

    async def _ranges(
        self, request: Mapping[str, Any], first: bytes, size: int, e_tag: str
    ) -> AsyncGenerator[bytes, None]:
        """Yield the first range of an object, and then the others, which are fetched ahead of the reader."""

        async def fetch(start: int) -> bytes:
            async with self._slots:
                data, answer = await self._retry(partial(self._fetch, **request, Range=_range(start, size)))
            if answer["ETag"] != e_tag or len(data) != min(PART, size - start):
                raise OSError(errno.ESTALE, "the object was replaced while it was read")
            return data

        yield first
        async with aclosing(map_ahead(fetch, range(len(first), size, PART), PARTS_AHEAD)) as blocks:
            async for block in blocks:
                yield block

    async def _compare_again(self, request: Mapping[str, Any], size: int, e_tag: str, digest: str) -> None:
        """Read a large object again, because its ETag is not its MD5. Stop comparing if the bytes are the same."""
        async with self._e_tag_lock:
            if not self.service.compares_e_tags:
                return
            first, _ = await self._fetch_first(request)
            again = md5(usedforsecurity=False)
            await hash_blocks(self._ranges(request, first, size, e_tag), again)
            if again.hexdigest() != digest or self.service.has_md5_e_tags:
                raise bytes_changed()
            self._stop_comparing(request)

    async def _fetch(self, **request: Any) -> tuple[bytes, Mapping[str, Any]]:
        """Send one GET. Return the body, which is not compared with the ETag, and the other fields of the answer."""
        answer = await self._request("get_object", **request)
        limit = max(self.max_file_bytes, PART) if "Range" in request else self.max_file_bytes
        try:
            data = await self._read_body(answer, limit)
        finally:
            answer["Body"].close()
        if "Range" in request and "ContentRange" not in answer:  # the service has no ranges
            start, _, last = request["Range"].removeprefix("bytes=").partition("-")
            part = data[int(start) : int(last) + 1 if last else None]
            return part, {**answer, "ContentRange": f"bytes {start}-{last}/{len(data)}"}
        if "ContentRange" in answer and "Range" not in request:
            raise OSError(errno.EPROTO, "the answer to get_object is not from S3: it is a range of a whole object")
        return data, answer

    async def _read_body(self, answer: Mapping[str, Any], limit: int) -> bytes:
        size = answer.get("ContentLength")
        if size is not None and size <= limit:
            return bytes(await answer["Body"].read())
        pieces, rest = list[bytes](), limit + 1 if size is None else 0
        while rest > 0 and (piece := await answer["Body"].read(min(rest, _PIECE))):
            pieces.append(piece)
            rest -= len(piece)
        if rest <= 0:
            raise too_large(size, limit)
        return b"".join(pieces)

    def _matches_e_tag(self, bucket: str, answer: Mapping[str, Any], digest: str) -> bool:
        """Return False if the ETag looks like an MD5, but is not the MD5 of the bytes.

        Parameters:
            answer: the answer to a PUT or a GET.
            digest: the MD5 of the bytes, in hexadecimal.
        """
        e_tag = md5_in(answer["ETag"])
        self.service.has_md5_e_tags |= e_tag == digest
        return e_tag in (None, digest) or not self.service.compares_e_tags or has_foreign_e_tag(bucket, answer)

    async def _can_stop_comparing(self, request: Mapping[str, Any], data: bytes) -> bool:
        """Stop comparing ETags at this root. The same bytes were read twice, and the ETag is not their MD5.

        Some services have ETags of 32 hexadecimal digits that are no MD5s. One warning per root is logged.

        Returns:
            False if an earlier ETag at this root was an MD5, because the stored object is then damaged. Also False if
            reading only the second half returns other bytes, because something on the way then changes the bytes.
        """
        middle = len(data) // 2
        if self.service.has_md5_e_tags:
            return False
        if data and (await self._fetch(**request, Range=f"bytes={middle}-"))[0] != data[middle:]:
            return False
        self._stop_comparing(request)
        return True

    def _stop_comparing(self, request: Mapping[str, Any]) -> None:
        self.service.compares_e_tags = False
        why = "ETags are no MD5 at this service, and are not compared at this root any more"
        url = f"s3://{request['Bucket']}/{request['Key']}"
        logger.warning("the ETag of %s is not the MD5 of its bytes, which were read twice alike: %s", url, why)

    def _below(self, path: str) -> tuple[str, str]:
        """Return the bucket of a directory, and the prefix of the keys below it."""
        bucket, key, _ = self.split_path(path)
        return bucket, key.rstrip("/") + "/" if key else ""

    async def _pages(self, method: str, path: str, start: str = "", **request: Any) -> AsyncGenerator[Any, None]:
        """Yield the answers to a listing below a directory, one page at a time.

        Parameters:
            start: only names that begin with this text are listed. Names are relative to the directory.
        """
        bucket, prefix = self._below(path)
        request |= {"Bucket": bucket, "Prefix": prefix + start}
        progress = _Progress(method)
        following: dict[str, str] | None = {}
        while following is not None:
            async with self._slots:
                answer = await self._call_s3(method, **{**request, **following})
            # uploads may have other prefixes, because some services ignore the prefix in a list of uploads
            if "Uploads" not in answer and not all(name.startswith(prefix) for name in _names(answer)):
                raise OSError(errno.EPROTO, "the answer to the LIST has keys that are not below the directory")
            yield answer
            following = progress.following(answer)

    async def _rows(self, path: str, start: str = "") -> AsyncGenerator[list[dict[str, Any]], None]:
        """Yield the objects below a directory, in pages. A page that is not the last may be empty, too."""
        before: set[str] = set()  # some services repeat keys of the page before
        async with aclosing(self._pages("list_objects_v2", path, start, MaxKeys=PAGE)) as pages:
            async for answer in pages:
                rows = [row for row in answer.get("Contents", []) if row["Key"] not in before]
                before = {row["Key"] for row in rows} or before
                yield rows

    def iter_names(self, path: str) -> AsyncGenerator[list[str], None]:
        answers = self._pages("list_objects_v2", path, MaxKeys=PAGE, Delimiter="/")
        start = len(self._below(path)[1])
        pages = (_directories(answer, start) async for answer in answers)
        return sorted_pages(ordered_pages(pages, self.service))

    async def iter_files(self, path: str) -> AsyncGenerator[list[FileInfo], None]:
        start = len(self._below(path)[1])
        async with aclosing(self._rows(path)) as pages:
            async for rows in pages:
                with _complete_entries():
                    found = [_file_info(row, start) for row in rows if not _is_marker(row)]
                yield found

    async def link(self, path: str, seconds: int) -> str:
        return str(await self._url(path, expires=seconds))

    async def remove_tree(self, path: str, also_delete: Sequence[str] = ()) -> bool:
        """Delete up to a thousand keys at a time, until a LIST is empty. This last LIST proves the deletion."""
        was_there = await self._remove_all(path, also_delete)
        parent = path.rpartition("/")[0]
        if parent != self.root:
            await self._remove_if_empty(parent)
        return was_there

    async def remove_file(self, path: str, also_delete: Sequence[str] = ()) -> bool:
        bucket, key, _ = self.split_path(path)
        directory, _, name = path.rpartition("/")
        if not await self._has_file(directory, name):
            return False
        keys = [*(self.split_path(file)[1] for file in also_delete), key]
        for error in await self._delete_keys(bucket, keys):
            raise _deletion_error(error)
        if await self._has_file(directory, name):
            raise OSError(errno.ENOTEMPTY, "still listed after its deletion", path)
        parent = directory.rpartition("/")[0]
        for emptied in [directory] if parent == self.root else [directory, parent]:
            await self._remove_if_empty(emptied)
        return True

    async def _has_file(self, directory: str, name: str) -> bool:
        try:
            async with aclosing(self._objects(directory, name)) as rows:
                return any([row["Key"].endswith(f"/{name}") async for row in rows])
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        return await super()._has_file(directory, name)  # a directory bucket, as in `_staged`

    async def _remove_all(self, path: str, also_delete: Sequence[str]) -> bool:
        before, stuck, complete, rounds = list[str](), 0, 0, 0
        while True:
            keys, are_all = await self._first_keys(path)
            if not keys:
                return bool(before)
            rounds += 1
            stuck = stuck + 1 if keys == before else 0
            complete += are_all
            await asyncio.sleep(0.1 * stuck)
            batch = [*(self.split_path(file)[1] for file in also_delete), *keys][:PAGE]  # the rest is listed again
            errors = await self._delete_keys(self.split_path(path)[0], batch)
            if stuck == ATTEMPTS - 1 or complete == ROUNDS or rounds == MAX_PAGES:
                left = OSError(errno.ENOTEMPTY, "still listed after its deletions", keys[0])
                raise _deletion_error(errors[0]) if errors else left
            before = keys

    async def _remove_if_empty(self, session: str) -> None:
        """Delete files of systems and consoles from a session without other files, so that it is not listed."""
        left, start = list[str](), len(self._below(session)[1])
        async with aclosing(self._objects(session)) as rows:
            async for row in rows:
                left.append(row["Key"])
                if len(left) > PAGE or not (_is_marker(row) or is_system_file(row["Key"][start:])):
                    return
        try:
            errors = await self._delete_keys(self.split_path(session)[0], left) if left else []
            failure = _deletion_error(errors[0]) if errors else None
        except (StorageManagerError, *_REQUEST_FAILURES) as error:
            failure = error
        if failure:  # it is not raised, because the step itself is deleted
            why = translate(failure, "delete", session)  # the service's own text may quote credentials
            logger.warning("%s is still listed, because of a file of the system there: %s", session, why)

    async def _first_keys(self, path: str) -> tuple[list[str], bool]:
        """Return the first keys below a directory, at most a thousand, and True if these are all keys."""
        async with aclosing(self._pages("list_objects_v2", path, MaxKeys=PAGE)) as answers:
            async for answer in answers:
                if answer.get("Contents"):
                    return [row["Key"] for row in answer["Contents"]], not answer.get("IsTruncated")
        return [], True

    async def _delete_keys(self, bucket: str, keys: Sequence[str]) -> list[dict[str, str]]:
        """Delete up to a thousand keys. Return the errors of single keys. A cancellation waits until the attempt ends.

        Send one DeleteObjects, or one DELETE per key if the service has no DeleteObjects.
        """
        if self.service.deletes_in_bulk:
            try:
                async with self._slots:
                    return await self._retry(partial(self._delete_in_bulk, bucket, keys))
            except _REQUEST_FAILURES as error:
                if not is_bulk_refused(error):
                    raise
                self.service.deletes_in_bulk = not is_unsupported(error)  # otherwise the reason may be these keys
        answers = await self._map(partial(self._delete_key, bucket), keys)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return []

    async def _delete_in_bulk(self, bucket: str, keys: Sequence[str]) -> list[dict[str, str]]:
        request = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
        answer = await run_to_end(self._request("delete_objects", Bucket=bucket, Delete=request))
        return [error for error in answer.get("Errors", ()) if error.get("Code") != "NoSuchKey"]

    async def _delete_key(self, bucket: str, key: str) -> None:
        # Amazon answers with success for a missing key, other services do not
        with translating("delete", f"s3://{bucket}/{key}"), suppress(FileNotFoundError):
            await self._retry(lambda: run_to_end(self._request("delete_object", Bucket=bucket, Key=key)))

    async def sweep(self, path: str, older_than: float) -> int:
        """Delete hidden test files, and abort unfinished uploads of session files. (s3fs also sends files in parts.)"""
        bucket = self._below(path)[0]
        staged = [row async for row in self._staged(path)]
        probes = [row["Key"] for row in staged if _is_older(row.get("LastModified"), older_than)]
        for start in range(0, len(probes), PAGE):
            for error in await self._delete_keys(bucket, probes[start : start + PAGE]):
                raise _deletion_error(error)
        begun = await self._uploads(path)
        uploads = [row for name, row in begun if _is_ours(name) and _is_older(row.get("Initiated"), older_than)]
        for row in uploads:
            with suppress(FileNotFoundError):  # it ended meanwhile
                await self._call_s3("abort_multipart_upload", Bucket=bucket, Key=row["Key"], UploadId=row["UploadId"])
        return len(probes) + len(uploads)

    async def _staged(self, path: str) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the objects of hidden test files, which are directly below a root.

        Directory buckets list only prefixes that end in a slash (Amazon S3 API reference, "ListObjectsV2"). There the
        names of all sessions are read.
        """
        start = len(self._below(path)[1])
        try:
            async for row in self._objects(path, STAGING_PREFIX):
                if STAGED.fullmatch(row["Key"][start:].partition("/")[0]):
                    yield row
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            names = [name async for page in self.iter_names(path) for name in page if STAGED.fullmatch(name)]
            for name in names:
                async for row in self._objects(f"{path}/{name}"):
                    yield row

    async def _objects(self, path: str, start: str = "") -> AsyncGenerator[dict[str, Any], None]:
        async with aclosing(self._rows(path, start)) as pages:
            async for rows in pages:
                for row in rows:
                    yield row

    async def list_unfinished(self, path: str) -> list[str]:
        return [f"{path}/{name}" for name, _ in await self._uploads(path) if is_data(name)]

    async def _uploads(self, path: str) -> list[tuple[str, dict[str, Any]]]:
        """Return the unfinished uploads below a directory, each with its path relative to the directory.

        A service without ListMultipartUploads removes them itself, or has none.
        """
        prefix = self._below(path)[1]
        pages = self._pages("list_multipart_uploads", path)
        try:
            rows = [row async for answer in pages for row in answer.get("Uploads", ())]
            return [(row["Key"].removeprefix(prefix), row) for row in rows if row["Key"].startswith(prefix)]
        except _REQUEST_FAILURES as error:
            if not is_unsupported(error):
                raise
            logger.warning("unfinished uploads below %s are not checked: the service cannot list them", path)
            return []


def _reporting_session(found: Found, options: Mapping[str, Any]) -> Any:
    """Return a session whose clients report the credentials that they use. So do clients that only get credentials."""
    session = new_session(**options)
    report_credentials(session.get_component("event_emitter"), found.listener())
    return session


def _check_proof(method: str, answer: Mapping[str, Any]) -> None:
    """Raise an error if an answer has none of the fields that every S3 service sends."""
    if method in _PROOFS and not _PROOFS[method] & answer.keys():
        if "Body" in answer:
            answer["Body"].close()
        raise OSError(errno.EPROTO, f"the answer to {method} is not from S3: it has no {min(_PROOFS[method])}")


class _Progress:
    """The progress of a listing. The listing ends, whatever tokens and pages the service sends.

    Parameters:
        method: the operation that lists, with botocore's name.
    """

    def __init__(self, method: str) -> None:
        self._fields = _NEXT_PAGE[method]
        self._tokens: set[tuple[str | None, ...]] = set()
        self._pages: set[int] = set()  # the hashes of their names
        self._idle = 0

    def following(self, answer: Mapping[str, Any]) -> dict[str, str] | None:
        """Return the request parameters for the page after this answer; None if it is the last page.

        Raises:
            OSError: the answer has no token for the next page, or a token that came before; or there are too many
                pages.
        """
        tokens = {parameter: answer.get(field) for parameter, field in self._fields.items()}
        if not answer.get("IsTruncated", any(tokens.values())):
            return None
        self._count(tuple(tokens.values()), _names(answer))
        return {parameter: token for parameter, token in tokens.items() if token is not None}

    def _count(self, token: tuple[str | None, ...], names: Sequence[str]) -> None:
        if token[0] is None or token in self._tokens:  # directory buckets have no second part
            raise OSError(errno.EPROTO, "the answer to the LIST is truncated, without a token for the next page")
        page = hash(tuple(names))
        self._idle = self._idle + 1 if not names or page in self._pages else 0
        if self._idle > IDLE_PAGES or len(self._tokens) >= MAX_PAGES:
            raise OSError(errno.EPROTO, "the LIST does not end: its pages repeat, or there are too many")
        self._tokens.add(token)
        self._pages.add(page)


@contextmanager
def _complete_entries() -> Iterator[None]:
    """Raise EPROTO if an entry of a listing lacks a field that every S3 service sends.

    Times and ETags may be missing: some services do not send them.
    """
    try:
        yield
    except KeyError as error:
        why = f"the answer to the LIST is not from S3: an entry has no {error.args[0]}"
        raise OSError(errno.EPROTO, why) from None


def _names(answer: Mapping[str, Any]) -> list[str]:
    """Return the keys and the common prefixes in the answer to a listing."""
    with _complete_entries():
        return [row[field] for entries, field in _NAMES.items() for row in answer.get(entries, ())]


def _is_ours(path: str) -> bool:
    session_id, _, file = path.partition("/")
    is_own = STAGED.fullmatch(session_id) is not None or session_id == CATALOG_DIRECTORY
    return is_own or (is_id(session_id) and is_data(file))


def _directories(answer: Mapping[str, Any], start: int) -> list[str]:
    """Return the names of the directories on a page, from its common prefixes and its keys."""
    paths = [row["Prefix"] for row in answer.get("CommonPrefixes", ())]
    paths += [row["Key"] for row in answer.get("Contents", ()) if "/" in row["Key"][start:]]
    return [path[start:].partition("/")[0] for path in paths]


def _file_info(row: Mapping[str, Any], start: int) -> FileInfo:
    if not 0 <= row["Size"] < MAX_SIZE:
        raise OSError(errno.EPROTO, "the answer to the LIST is not from S3: the size of an entry is that of no object")
    return FileInfo(row["Key"][start:], row["Size"], row.get("LastModified"), row.get("ETag"))


def _is_marker(row: Mapping[str, Any]) -> bool:
    """Return True for an empty object whose key ends in a slash: consoles create one for each directory."""
    return row["Key"].endswith("/") and row.get("Size") == 0


def _is_older(written: datetime | None, seconds: float) -> bool:
    """Return True if the time is more than this many seconds ago; False if it is not known."""
    return written is not None and (datetime.now(timezone.utc) - written).total_seconds() > seconds


def _deletion_error(left: Mapping[str, str]) -> Exception:
    """Return the error that a bulk deletion reported for one key."""
    reason = {"Code": left.get("Code"), "Message": f"{left.get('Message')}, for {left.get('Key')}"}
    return cast("Exception", ClientError({"Error": reason}, "DeleteObjects"))


def has_foreign_e_tag(bucket: str, answer: Mapping[str, Any]) -> bool:
    """Return True if the ETag is not an MD5 according to Amazon's documentation.

    The object is then encrypted with a key of KMS or of the customer, or it is in a directory bucket (Amazon S3 API
    reference, "Object"). rclone relies on the same rule for every S3 service that it knows.
    """
    encrypted = "SSECustomerAlgorithm" in answer or answer.get("ServerSideEncryption", "AES256") != "AES256"
    return encrypted or _DIRECTORY_BUCKET.fullmatch(bucket) is not None


def bytes_changed() -> OSError:
    """Return the error for bytes whose MD5 differs from the ETag. Another attempt may succeed."""
    return OSError(errno.EBADMSG, "the bytes changed on their way: their MD5 is not the object's ETag")


def may_be_md5_of(e_tag: str, data: bytes) -> bool:
    """Return False if the ETag looks like an MD5, but is not the MD5 of the bytes."""
    return md5_in(e_tag) in (None, _md5(data))


async def _numbered(parts: AsyncGenerator[bytes, None]) -> AsyncGenerator[tuple[int, bytes], None]:
    number = 0
    async with aclosing(parts):
        async for part in parts:
            number += 1
            yield number, part


def _range(start: int, size: int) -> str:
    return f"bytes={start}-{min(start + PART, size) - 1}"


def _whole_size(answer: Mapping[str, Any], length: int) -> int:
    """Return the size of an object from the answer to the GET of its first range.

    Parameters:
        length: the number of bytes that were received.

    Raises:
        OSError: the answer is a range without the whole size (RFC 9110, 14.4, allows this).
    """
    if "ContentRange" not in answer:
        return length
    size = answer["ContentRange"].rpartition("/")[2]
    if not size.isdigit():
        raise OSError(errno.EPROTO, "the answer to get_object is not from S3: its range does not say the whole size")
    return int(size)


def _md5(data: bytes) -> str:
    return md5(data, usedforsecurity=False).hexdigest()


async def ordered_pages(pages: AsyncIterable[Sequence[str]], service: Service) -> AsyncGenerator[Sequence[str], None]:
    """Yield the names of an S3 listing in S3's order, each once.

    Some services repeat names of the previous page. Others list in no order (directory buckets, Storj). If the first
    thousand names are not in order, all names are read into memory and sorted.

    Raises:
        OSError: a name after the first thousand is out of order. The next listing of this root is sorted.
    """
    first = list[str]()
    iterator = aiter(pages)
    async for page in iterator:
        first = [*first, *page]
        service.lists_in_order &= _are_in_order(first)
        if service.lists_in_order and len(first) >= PAGE:
            break
    first = sorted(set(first), key=lambda name: f"{name}/")
    yield first
    last: Sequence[str] = first[-1:]
    async for page in iterator:
        service.lists_in_order &= _are_in_order([*last, *page])
        if not service.lists_in_order:
            raise OSError(errno.EPROTO, "the LIST was in order for a thousand names, and then not: list again")
        yield [name for name in dict.fromkeys(page) if name not in last]
        last = page[-1:] or last


def _are_in_order(names: Sequence[str]) -> bool:
    """Return True if the names are sorted, with or without the slash at the end of each name: services differ."""
    return all(one <= other or f"{one}/" <= f"{other}/" for one, other in pairwise(names))


_BELOW_SLASH = re.compile(r"[\x00-.]")


async def sorted_pages(pages: AsyncIterable[Sequence[str]]) -> AsyncGenerator[list[str], None]:
    """Sort the pages of an S3 listing by name, and hold back as few names as possible.

    S3 sorts `a-b/` before `a/`, because `-` sorts before `/`. Sorted by name, `a` comes first. So `run-1` and `run-2`
    are held back until the listing has passed `run/`, because `run` may still come. Only such names, and one page of
    other names, are in memory.
    """
    held: list[str] = []
    bound = ""
    async for page in pages:
        ready: list[str] = []
        for name in page:
            if name + "/" > bound:
                ready += sorted(held)
                below = _BELOW_SLASH.search(name)
                held, bound = [], name[: below.start() if below else None] + "/"
            held.append(name)
        if ready:
            yield ready
    if held:
        yield sorted(held)
