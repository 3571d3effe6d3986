"""S3 through s3fs, with the requests counted, the retries bounded and every answer checked.

These settings differ from stock s3fs:

- No cache of instances or listings: a stale listing hides the sessions of other writers.
- `max_concurrency=1`: otherwise every read is a HEAD and a GET.
- One layer of retries, ours, with three attempts. Those of botocore and s3fs multiply (a dead endpoint took 25 requests
  and 40 s), and they end before a body is read or an answer understood.
- A content type on every PUT: otherwise it is `binary/octet-stream`.
- A bulk delete whose errors per key are read.
"""

import asyncio
import errno
import random
import re
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from datetime import datetime, timezone
from functools import partial
from hashlib import md5
from typing import Any, TypeVar, cast

import aiohttp
import s3fs
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, InvalidProxiesConfigError
from botocore.parsers import ResponseParserError

from storage_manager.aio import run_to_end
from storage_manager.backends.base import STAGED, STAGING_PREFIX, File, FileInfo, FsspecBackend, md5_in
from storage_manager.backends.client import finding_credentials, http_session_class, lifespan, new_session, prepare
from storage_manager.errors import is_transient, translating
from storage_manager.layout import is_component, is_id
from storage_manager.s3_settings import ATTEMPTS

__all__ = ["PAGE", "S3Backend", "bytes_changed", "check_digest", "may_be_md5_of", "sorted_pages"]

PAGE = 1000  # keys in one LIST and in one DeleteObjects: the limit of S3's API
ROUNDS = 20  # of a deletion that finds less than a page each time, because others keep writing there
Out = TypeVar("Out")
# The parameters that ask for the next page, and the fields of the page before that give them.
_FOLLOWING = {
    "list_objects_v2": {"ContinuationToken": "NextContinuationToken"},
    "list_multipart_uploads": {"KeyMarker": "NextKeyMarker", "UploadIdMarker": "NextUploadIdMarker"},
}
_REQUEST_FAILURES = (OSError, BotoCoreError, aiohttp.ClientError)  # the errors of a request
# An answer with one of these fields comes from S3.
_PROOFS = {"put_object": {"ETag"}, "get_object": {"ETag"}, "list_objects_v2": {"Name", "KeyCount"}}


class S3Backend(FsspecBackend, s3fs.S3FileSystem):
    """`s3fs.S3FileSystem` with literal paths, for one event loop. It need not be closed."""

    retries = 1  # in the layer of s3fs
    session: Any
    config_kwargs: dict[str, Any]
    _s3: Any
    _lifespan: AsyncGenerator[None, None] | None = None
    _connecting: asyncio.Lock | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.config_kwargs = {**self.config_kwargs, "http_session_cls": http_session_class(self.config_kwargs)}

    async def set_session(self, refresh: bool = False, kwargs: Any = None) -> Any:
        """Return the client. It is created on first use, and the shutdown of the running loop closes it."""
        self._connecting = self._connecting or asyncio.Lock()
        async with self._connecting:  # s3fs before 2026.6 creates a client for each of several first requests
            self.session = self.session or new_session(**self.kwargs)
            client = await super().set_session(refresh=refresh)
            if self.asynchronous and self._lifespan is None:
                prepare(client)
                self._lifespan = lifespan(self._s3creator)
                await anext(self._lifespan)
            return client

    async def close(self) -> None:
        ended, self._lifespan, self._s3 = self._lifespan, None, None  # a later request creates a new client
        if ended is not None:
            await ended.aclose()

    async def _call_s3(self, method: str, *kwargs_list: Any, **kwargs: Any) -> Any:
        """Send a request, in up to three attempts. The methods of s3fs itself send theirs through this one too."""
        return await self._retry(partial(self._request, method, *kwargs_list, **kwargs))

    async def _retry(self, attempt: Callable[[], Awaitable[Out]]) -> Out:
        """Return the result of the first attempt that succeeds, of three; try again only after a transient error.

        Before the second attempt, wait up to `backoff_seconds`, before the third twice as long, at random ("full
        jitter", as in botocore's `standard` mode).
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
        """Send a request once, and check that S3 answered: a proxy may answer with a page and status 200."""
        try:
            with finding_credentials():
                answer = await super()._call_s3(method, *kwargs_list, **kwargs)
        # Neither error is chained: it quotes the answer, which may quote the request with its token, or a password.
        except ResponseParserError:
            raise OSError(errno.EPROTO, f"the answer to {method} is not from S3: it is not XML") from None
        except HTTPClientError as error:
            if InvalidProxiesConfigError.fmt in str(error):
                raise InvalidProxiesConfigError from None
            raise
        if method in _PROOFS and not _PROOFS[method] & answer.keys():
            if "Body" in answer:
                answer["Body"].close()
            raise OSError(errno.EPROTO, f"the answer to {method} is not from S3: it has no {min(_PROOFS[method])}")
        return answer

    async def _write_file(self, file: File) -> None:
        with translating("store", file.path):
            await self._retry(partial(self._put_whole, file))

    async def _put_whole(self, file: File) -> None:
        """Send one PUT. Check that the service stored these bytes."""
        bucket, key, _ = self.split_path(file.path)
        body = {"Body": file.data, "ContentType": file.content_type}
        check_digest(bucket, await run_to_end(self._request("put_object", Bucket=bucket, Key=key, **body)), file.data)

    async def _cat_file(
        self, path: str, version_id: str | None = None, start: int | None = None, end: int | None = None, **kwargs: Any
    ) -> bytes:
        """Send one GET. An attempt ends with the last byte of the body, not with the headers."""
        bucket, key, version = self.split_path(path)
        request = {"Bucket": bucket, "Key": key, **s3fs.core.version_id_kw(version_id or version)}
        if start is not None or end is not None:
            request["Range"] = await self._process_limits(path, start, end)
        return await self._retry(partial(self._get_whole, **request))

    async def _get_whole(self, **request: Any) -> bytes:
        """Send one GET and read its body. Check the bytes, unless only a range of them was asked for."""
        answer = await self._request("get_object", **request)
        try:
            data = bytes(await answer["Body"].read())
        finally:
            answer["Body"].close()
        if "Range" in request:
            return data
        if "ContentRange" in answer:
            raise OSError(errno.EPROTO, "the answer to get_object is not from S3: it is a range of a whole object")
        check_digest(request["Bucket"], answer, data)
        return data

    def _below(self, path: str) -> tuple[str, str]:
        """Return the bucket of a directory, and the prefix of the keys below it."""
        bucket, key, _ = self.split_path(path)
        return bucket, key.rstrip("/") + "/" if key else ""

    async def _pages(self, method: str, path: str, start: str = "", **request: Any) -> AsyncGenerator[Any, None]:
        """Yield the answers to a listing below a directory, one page at a time.

        Parameters:
            start: list only names that begin so, relative to the directory.
        """
        bucket, prefix = self._below(path)
        request |= {"Bucket": bucket, "Prefix": prefix + start}
        while True:
            async with self._slots:
                answer = await self._call_s3(method, **request)
            if not all(name.startswith(prefix) for name in _names(answer)):
                raise OSError(errno.EPROTO, "the answer to the LIST has keys that are not below the directory")
            yield answer
            if not answer.get("IsTruncated"):
                return
            following = {key: answer.get(field) for key, field in _FOLLOWING[method].items()}
            if None in following.values() or following.items() <= request.items():
                raise OSError(errno.EPROTO, "the answer to the LIST is truncated, without a token for the next page")
            request |= following

    async def _rows(self, path: str, start: str = "") -> AsyncGenerator[list[dict[str, Any]], None]:
        """Yield the objects below a directory, in pages. A page may be empty without being the last."""
        async with aclosing(self._pages("list_objects_v2", path, start, MaxKeys=PAGE)) as pages:
            async for answer in pages:
                yield answer.get("Contents", [])

    def iter_names(self, path: str) -> AsyncGenerator[list[str], None]:
        pages = self._pages("list_objects_v2", path, MaxKeys=PAGE, Delimiter="/")
        rows = (answer.get("CommonPrefixes", ()) async for answer in pages)
        return sorted_pages([row["Prefix"][:-1].rpartition("/")[2] for row in page] async for page in rows)

    async def iter_files(self, path: str) -> AsyncGenerator[list[FileInfo], None]:
        start = len(self._below(path)[1])
        async with aclosing(self._rows(path)) as pages:
            async for rows in pages:
                yield [FileInfo(row["Key"][start:], row["Size"], row["LastModified"], row.get("ETag")) for row in rows]

    async def link(self, path: str, seconds: int) -> str:
        return str(await self._url(path, expires=seconds))

    async def remove_tree(self, path: str, also_delete: Sequence[str] = ()) -> bool:
        """Delete the first thousand keys until a LIST names none: this last LIST is the proof."""
        before, stuck, unfilled = list[str](), 0, 0
        while keys := await self._first_keys(path):
            stuck = stuck + 1 if keys == before else 0
            unfilled += len(keys) < PAGE
            await asyncio.sleep(0.1 * stuck)
            batch = [*(self.split_path(file)[1] for file in also_delete), *keys][:PAGE]  # the rest is listed again
            errors = await self._delete_keys(self.split_path(path)[0], batch)
            if stuck == ATTEMPTS - 1 or unfilled == ROUNDS:
                left = OSError(errno.ENOTEMPTY, "still listed after its deletions", keys[0])
                raise _deletion_error(errors[0]) if errors else left
            before = keys
        return bool(before)

    async def _first_keys(self, path: str) -> list[str]:
        """Return the first keys below a directory, at most a thousand."""
        async with aclosing(self._rows(path)) as pages:
            async for rows in pages:
                if rows:
                    return [row["Key"] for row in rows]
        return []

    async def _delete_keys(self, bucket: str, keys: Sequence[str]) -> list[dict[str, str]]:
        """Send one DeleteObjects; return its errors per key, which s3fs drops. A cancellation waits for the attempt."""
        request = {"Objects": [{"Key": key} for key in keys], "Quiet": True}

        async def attempt() -> Any:
            return await run_to_end(self._request("delete_objects", Bucket=bucket, Delete=request))

        async with self._slots:
            return list((await self._retry(attempt)).get("Errors", []))

    async def sweep(self, path: str, older_than: float) -> int:
        """Delete probes, and abort uploads of components (s3fs uploads large files in parts)."""
        bucket, prefix = self._below(path)
        rows = [row async for page in self._rows(path, STAGING_PREFIX) for row in page]
        staged = [row for row in rows if STAGED.fullmatch(row["Key"].removeprefix(prefix).partition("/")[0])]
        probes = [row["Key"] for row in staged if _age(row["LastModified"]) > older_than]
        for start in range(0, len(probes), PAGE):
            for error in await self._delete_keys(bucket, probes[start : start + PAGE]):
                raise _deletion_error(error)
        begun = await self._uploads(path)
        uploads = [row for name, row in begun if _is_ours(name) and _age(row["Initiated"]) > older_than]
        for row in uploads:
            with suppress(FileNotFoundError):  # it ended meanwhile
                await self._call_s3("abort_multipart_upload", Bucket=bucket, Key=row["Key"], UploadId=row["UploadId"])
        return len(probes) + len(uploads)

    async def list_unfinished(self, path: str) -> list[str]:
        return [f"{path}/{name}" for name, _ in await self._uploads(path) if is_component(name)]

    async def _uploads(self, path: str) -> list[tuple[str, dict[str, Any]]]:
        """Return the uploads below a directory that have begun and not ended, each with its path relative to it."""
        start = len(self._below(path)[1])
        pages = self._pages("list_multipart_uploads", path)
        return [(row["Key"][start:], row) async for answer in pages for row in answer.get("Uploads", ())]


def _names(answer: Mapping[str, Any]) -> list[str]:
    """Return the keys and the common prefixes in the answer to a listing."""
    rows = [*answer.get("Contents", ()), *answer.get("Uploads", ())]
    return [row["Key"] for row in rows] + [row["Prefix"] for row in answer.get("CommonPrefixes", ())]


def _is_ours(path: str) -> bool:
    session_id, _, component = path.partition("/")
    return is_id(session_id) and is_component(component)


def _age(written: datetime) -> float:
    return (datetime.now(timezone.utc) - written).total_seconds()


def _deletion_error(left: Mapping[str, str]) -> Exception:
    """Return the error that a bulk deletion reported for one key."""
    reason = {"Code": left.get("Code"), "Message": f"{left.get('Message')}, for {left.get('Key')}"}
    return cast("Exception", ClientError({"Error": reason}, "DeleteObjects"))


def check_digest(bucket: str, answer: Mapping[str, Any], data: bytes) -> None:
    """Raise if the bytes are not those of the ETag, which is their MD5.

    It is no MD5 if the object is encrypted with a key of KMS or of the customer, or in a directory bucket (Amazon S3
    API reference, "Object"). rclone relies on the same for every S3 service that it knows.
    """
    encrypted = "SSECustomerAlgorithm" in answer or answer.get("ServerSideEncryption", "AES256") != "AES256"
    if not encrypted and not bucket.endswith("--x-s3") and not may_be_md5_of(answer["ETag"], data):
        raise bytes_changed()


def bytes_changed() -> OSError:
    """Return the error for bytes that are not those of their ETag. Another attempt may succeed."""
    return OSError(errno.EBADMSG, "the bytes changed on their way: their MD5 is not the object's ETag")


def may_be_md5_of(e_tag: str, data: bytes) -> bool:
    """Return False if the ETag looks like an MD5 and is not that of the bytes."""
    digest = md5_in(e_tag)
    return digest is None or digest == md5(data, usedforsecurity=False).hexdigest()


_BELOW_SLASH = re.compile(r"[\x00-.]")


async def sorted_pages(pages: AsyncIterable[Sequence[str]]) -> AsyncGenerator[list[str], None]:
    """Sort the pages of an S3 listing by name, and hold back as few names as possible.

    S3 sorts `a-b/` before `a/`, because `-` sorts before `/`; by name, `a` comes first. So names that begin like a
    shorter one that may still come (`run-1` and `run-2` for `run`) wait until the listing has passed the shorter one.
    Memory is bounded by their number, and by one page for all other names.
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
