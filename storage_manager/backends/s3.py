"""S3 through s3fs, with the requests counted, the retries bounded and every answer checked.

What is set otherwise than in stock s3fs, and why: no instance or listing cache (a stale listing hides other
writers' sessions); `max_concurrency=1` (else every read is HEAD and GET); one layer of retries, ours, with three
attempts (botocore's and s3fs's multiply: a dead endpoint took 25 requests and 40 s; and they end before a body is
read or an answer understood); a content type on every PUT (else `binary/octet-stream`); a bulk delete whose errors
per key are looked at.
"""

import asyncio
import errno
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, suppress
from datetime import datetime, timezone
from functools import partial
from typing import Any, cast

import aiohttp
import s3fs
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, InvalidProxiesConfigError
from botocore.parsers import ResponseParserError

from storage_manager.aio import run_to_end
from storage_manager.backends.base import (
    ATTEMPTS,
    STAGED,
    STAGING_PREFIX,
    Backend,
    File,
    FileInfo,
    retrying,
    sorted_pages,
)
from storage_manager.backends.client import finding_credentials, lifespan, new_session, settle_in
from storage_manager.backends.digests import check_digest
from storage_manager.errors import translating
from storage_manager.layout import is_component, is_id

__all__ = ["PAGE", "REQUEST_FAILURES", "S3Backend"]

PAGE = 1000  # keys in one LIST and in one DeleteObjects: the limit of S3's API
ROUNDS = 20  # of a deletion that meets less than a page: others go on writing there
# What the next page is asked with, by the name that the page before has it.
_FOLLOWING = {
    "list_objects_v2": {"ContinuationToken": "NextContinuationToken"},
    "list_multipart_uploads": {"KeyMarker": "NextKeyMarker", "UploadIdMarker": "NextUploadIdMarker"},
}
REQUEST_FAILURES = (OSError, BotoCoreError, aiohttp.ClientError)  # what a request can end in
# By these an answer is known to come from S3.
_PROOFS = {"put_object": {"ETag"}, "get_object": {"ETag"}, "list_objects_v2": {"Name", "KeyCount"}}


class S3Backend(Backend, s3fs.S3FileSystem):
    """`s3fs.S3FileSystem` that answers literally, for one event loop, and needs no closing."""

    retries = 1  # in the layer of s3fs
    session: Any
    _s3: Any
    _lifespan: AsyncGenerator[None, None] | None = None
    _settling: asyncio.Lock | None = None

    async def set_session(self, refresh: bool = False, kwargs: Any = None) -> Any:
        """The client; on first use it is tied to the running loop, whose shutdown closes it."""
        self._settling = self._settling or asyncio.Lock()
        async with self._settling:  # with s3fs before 2026.6 each of several first requests would make one
            self.session = self.session or new_session(**self.kwargs)
            client = await super().set_session(refresh=refresh)
            if self.asynchronous and self._lifespan is None:
                settle_in(self, client)
                self._lifespan = lifespan(self._s3creator)
                await anext(self._lifespan)
            return client

    async def close(self) -> None:
        ended, self._lifespan, self._s3 = self._lifespan, None, None  # whoever goes on has a client made anew
        if ended is not None:
            await ended.aclose()

    async def _call_s3(self, method: str, *kwargs_list: Any, **kwargs: Any) -> Any:
        """One request, three attempts: the methods of s3fs itself come here too."""
        return await retrying(partial(self._request, method, *kwargs_list, **kwargs), REQUEST_FAILURES)

    async def _request(self, method: str, *kwargs_list: Any, **kwargs: Any) -> Any:
        """One attempt of one request, answered by S3: a proxy's page with status 200 is no answer."""
        try:
            with finding_credentials():
                answer = await super()._call_s3(method, *kwargs_list, **kwargs)
        # neither is chained: they quote what answered, which may quote the request with its token, and a password
        except ResponseParserError:
            raise OSError(errno.EPROTO, f"what answered {method} is not S3: it is no XML of its") from None
        except HTTPClientError as error:
            if InvalidProxiesConfigError.fmt in str(error):
                raise InvalidProxiesConfigError from None
            raise
        if method in _PROOFS and not _PROOFS[method] & answer.keys():
            if "Body" in answer:
                answer["Body"].close()
            raise OSError(errno.EPROTO, f"what answered {method} is not S3: it names no {min(_PROOFS[method])}")
        return answer

    async def _write_file(self, file: File) -> None:
        with translating("store", file.path):
            await retrying(partial(self._put_whole, file), REQUEST_FAILURES)

    async def _put_whole(self, file: File) -> None:
        bucket, key, _ = self.split_path(file.path)
        body = {"Body": file.data, "ContentType": file.content_type}
        check_digest(bucket, await run_to_end(self._request("put_object", Bucket=bucket, Key=key, **body)), file.data)

    async def _cat_file(
        self, path: str, version_id: str | None = None, start: int | None = None, end: int | None = None, **kwargs: Any
    ) -> bytes:
        """One GET; an attempt ends with the last byte, not with the headers."""
        bucket, key, version = self.split_path(path)
        request = {"Bucket": bucket, "Key": key, **s3fs.core.version_id_kw(version_id or version)}
        if start is not None or end is not None:
            request["Range"] = await self._process_limits(path, start, end)
        return await retrying(partial(self._get_whole, **request), REQUEST_FAILURES)

    async def _get_whole(self, **request: Any) -> bytes:
        answer = await self._request("get_object", **request)
        try:
            data = bytes(await answer["Body"].read())
        finally:
            answer["Body"].close()
        if "Range" in request:
            return data
        if "ContentRange" in answer:
            raise OSError(errno.EPROTO, "what answered get_object is not S3: part of the object was not asked for")
        check_digest(request["Bucket"], answer, data)
        return data

    def _below(self, path: str) -> tuple[str, str]:
        """Bucket, and what the keys of all that is in a directory begin with."""
        bucket, key, _ = self.split_path(path)
        return bucket, key.rstrip("/") + "/" if key else ""

    async def _pages(self, path: str, **request: Any) -> AsyncGenerator[tuple[list[Any], list[str]], None]:
        """The objects and the common prefixes below a directory, a LIST at a time."""
        bucket, prefix = self._below(path)
        request |= {"Bucket": bucket, "Prefix": prefix, "MaxKeys": PAGE}
        while True:
            async with self._slots:
                answer = await self._call_s3("list_objects_v2", **request)
            found = answer.get("Contents", [])
            below = [row["Prefix"] for row in answer.get("CommonPrefixes", ())]
            if not all(name.startswith(prefix) for name in [row["Key"] for row in found] + below):
                raise OSError(errno.EPROTO, "what answered the LIST names keys that are not below the directory")
            yield found, below
            if not answer.get("IsTruncated"):
                return
            token = answer.get("NextContinuationToken")
            if token in (None, request.get("ContinuationToken")):
                raise OSError(errno.EPROTO, "what answered the LIST has more to name, and does not say how to go on")
            request["ContinuationToken"] = token

    def iter_names(self, path: str) -> AsyncIterator[list[str]]:
        pages = self._pages(path, Delimiter="/")
        return sorted_pages([prefix[:-1].rpartition("/")[2] for prefix in prefixes] async for _, prefixes in pages)

    async def iter_files(self, path: str) -> AsyncIterator[list[FileInfo]]:
        start = len(self._below(path)[1])
        async for rows, _ in self._pages(path):
            yield [FileInfo(row["Key"][start:], row["Size"], row["LastModified"], row.get("ETag")) for row in rows]

    async def link(self, path: str, seconds: int) -> str:
        return str(await self._url(path, expires=seconds))

    async def _first_keys(self, path: str) -> list[str]:
        """The first keys below a directory, a thousand at the most; a page may be empty and not be the last."""
        async with aclosing(self._pages(path)) as pages:
            async for found, _ in pages:
                if found:
                    return [row["Key"] for row in found]
        return []

    async def remove_tree(self, path: str, also_delete: Sequence[str] = ()) -> bool:
        """List and delete the first thousand keys until none is listed: the last LIST is the proof."""
        before, stuck, unfilled = list[str](), 0, 0
        while keys := await self._first_keys(path):
            stuck = stuck + 1 if keys == before else 0
            unfilled += len(keys) < PAGE
            await asyncio.sleep(0.1 * stuck)
            batch = [*(self.split_path(file)[1] for file in also_delete), *keys][:PAGE]  # what is left is listed again
            errors = await self._delete_keys(self.split_path(path)[0], batch)
            if stuck == ATTEMPTS - 1 or unfilled == ROUNDS:
                left = OSError(errno.ENOTEMPTY, "still listed after its deletions", keys[0])
                raise _refused(errors[0]) if errors else left
            before = keys
        return bool(before)

    async def _delete_keys(self, bucket: str, keys: Sequence[str]) -> list[dict[str, str]]:
        """One DeleteObjects; its errors per key, which s3fs drops. Cancelled, it ends with the attempt under way."""
        request = {"Objects": [{"Key": key} for key in keys], "Quiet": True}

        async def attempt() -> Any:
            return await run_to_end(self._request("delete_objects", Bucket=bucket, Delete=request))

        async with self._slots:
            return list((await retrying(attempt, REQUEST_FAILURES)).get("Errors", []))

    async def sweep(self, path: str, older_than: float) -> int:
        """Probes, and uploads of components that were begun and not ended (s3fs makes those of large files)."""
        bucket, prefix = self._below(path)
        rows = self._rows("list_objects_v2", "Contents", Bucket=bucket, Prefix=prefix + STAGING_PREFIX)
        mine = [row async for row in rows if STAGED.fullmatch(row["Key"].removeprefix(prefix).partition("/")[0])]
        probes = [row["Key"] for row in mine if _age(row["LastModified"]) > older_than]
        for start in range(0, len(probes), PAGE):
            for error in await self._delete_keys(bucket, probes[start : start + PAGE]):
                raise _refused(error)
        begun = await self._uploads(path)
        uploads = [row for name, row in begun if _is_ours(name) and _age(row["Initiated"]) > older_than]
        for row in uploads:
            with suppress(FileNotFoundError):  # it ended meanwhile
                await self._call_s3("abort_multipart_upload", Bucket=bucket, Key=row["Key"], UploadId=row["UploadId"])
        return len(probes) + len(uploads)

    async def _uploads(self, path: str) -> list[tuple[str, dict[str, Any]]]:
        """Those that were begun below a directory, by their path there."""
        bucket, prefix = self._below(path)
        rows = [row async for row in self._rows("list_multipart_uploads", "Uploads", Bucket=bucket, Prefix=prefix)]
        return [(row["Key"].removeprefix(prefix), row) for row in rows]

    async def list_unfinished(self, path: str) -> list[str]:
        return [f"{path}/{name}" for name, _ in await self._uploads(path) if is_component(name)]

    async def _rows(self, method: str, name: str, **request: Any) -> AsyncIterator[dict[str, Any]]:
        """What a listing names, over all its pages."""
        while True:
            answer = await self._call_s3(method, **request)
            for row in answer.get(name, ()):
                yield row
            if not answer.get("IsTruncated"):
                return
            request |= {key: answer[following] for key, following in _FOLLOWING[method].items()}


def _is_ours(path: str) -> bool:
    session_id, _, component = path.partition("/")
    return is_id(session_id) and is_component(component)


def _age(written: datetime) -> float:
    return (datetime.now(timezone.utc) - written).total_seconds()


def _refused(left: Mapping[str, str]) -> Exception:
    """The error that a bulk deletion answered for one key."""
    reason = {"Code": left.get("Code"), "Message": f"{left.get('Message')}, for {left.get('Key')}"}
    return cast("Exception", ClientError({"Error": reason}, "DeleteObjects"))
