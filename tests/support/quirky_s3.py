"""A small S3 server in memory that can differ from Amazon's as other services do. Each difference is a `Quirk`.

Without quirks it answers like Amazon S3 to the requests of the library: objects, ranges, listings, bulk deletions and
multipart uploads, with paths of the style `/bucket/key`. It accepts every signature, but compares a body with its
SHA-256, MD5 and CRC32. It runs in its own thread, on a free port of 127.0.0.1, until its block ends.

    with QuirkyS3({Quirk.NO_BULK_DELETE}) as server:
        server.buckets["b"] = {}
        StorageManager("b", s3_endpoint_url=server.url)
"""

import asyncio
import base64
import contextlib
import re
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from enum import Enum
from hashlib import md5, sha256
from itertools import count
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

__all__ = ["Quirk", "QuirkyS3", "Request", "Stored"]


class Quirk(Enum):
    """A difference of a service from Amazon S3, with a public report of such a service."""

    # PUT, GET and LIST give an ETag of 32 hexadecimal digits that is not an MD5. S3 Express (Amazon S3 API reference,
    # PutObject, "ETag"), https://github.com/chimera-nas/chimera/issues/469,
    # https://github.com/leo-project/leofs/issues/216
    FOREIGN_ETAGS = "foreign-etags"
    # The ETag is two quotation marks: https://github.com/storj/storj/issues/3761
    EMPTY_ETAGS = "empty-etags"
    # DeleteObjects needs Content-MD5, whatever other checksum it has:
    # https://github.com/ovh/public-cloud-roadmap/issues/763, https://github.com/cubefs/cubefs/issues/3813,
    # https://github.com/s3fs-fuse/s3fs-fuse/issues/2639 (MinIO)
    MD5_FOR_BULK_DELETE = "md5-for-bulk-delete"
    # Every header of the newer checksums is refused: https://github.com/diced/zipline/issues/746 (Backblaze B2)
    NO_CRC = "no-crc"
    # There is no DeleteObjects: https://github.com/supabase/storage/issues/898 (Google Cloud Storage)
    NO_BULK_DELETE = "no-bulk-delete"
    # The same, with the status 400: https://github.com/wal-e/wal-e/issues/192 (Google Cloud Storage)
    NO_BULK_DELETE_400 = "no-bulk-delete-400"
    # The same, with the code of an argument: https://github.com/livebook-dev/livebook/pull/956 (Google Cloud Storage)
    BULK_DELETE_INVALID = "bulk-delete-invalid-argument"
    # A bulk delete is called malformed, for example one of fewer than 1000 keys, if the service is configured so:
    # https://github.com/ceph/ceph/pull/23544 (Ceph)
    BULK_DELETE_MALFORMED = "bulk-delete-malformed-xml"
    # A bucket has Object Lock and a default retention: https://github.com/apache/arrow-rs-object-store/issues/190
    # (Amazon), https://github.com/zmanda/amanda/issues/275 (Backblaze),
    # https://github.com/s3tools/s3cmd/issues/1436 (parts)
    OBJECT_LOCK = "object-lock"
    # The last key or common prefix of a page is the first of the next: https://github.com/minio/minio/issues/16108,
    # https://github.com/localstack/localstack/issues/9605
    REPEATED_PREFIXES = "repeated-prefixes"
    # A listing is not sorted: S3 Express (Amazon S3 API reference, ListObjectsV2),
    # https://github.com/storj/roadmap/issues/62
    UNORDERED = "unordered"
    # A truncated page names no next one: https://github.com/findify/s3mock/issues/144
    NO_TOKEN = "no-token"
    # Only prefixes that end in a slash are listed: S3 Express (Amazon S3 API reference, ListObjectsV2, "Prefix"),
    # https://github.com/awslabs/aws-s3-transfer-manager-rs/pull/112
    SLASH_PREFIXES = "slash-prefixes"
    # No time of the last change: https://github.com/fsspec/s3fs/issues/162
    NO_LAST_MODIFIED = "no-last-modified"
    # A time of the last change that cannot be read: https://github.com/findify/s3mock/pull/122
    ODD_LAST_MODIFIED = "odd-last-modified"
    # The last change is always of 1970: https://github.com/findify/s3mock/issues/65,
    # https://github.com/s3gw-tech/s3gw/issues/289
    EPOCH_LAST_MODIFIED = "epoch-last-modified"
    # Neither KeyCount, MaxKeys, EncodingType, Owner, StorageClass nor ETag in a LIST, no x-amz-request-id, and no
    # time in a list of uploads: https://github.com/fsspec/s3fs/pull/405 (Swift)
    BARE_ANSWERS = "bare-answers"
    # There is no ListMultipartUploads: https://docs.lakefs.io/reference/s3.html
    NO_UPLOAD_LIST = "no-upload-list"
    # A list of uploads has only those whose key is the prefix: https://github.com/minio/minio/issues/13246
    EXACT_UPLOAD_LIST = "exact-upload-list"
    # A list of uploads is truncated without NextUploadIdMarker: S3 Express (Amazon S3 API reference,
    # ListMultipartUploads)
    NO_UPLOAD_ID_MARKER = "no-upload-id-marker"
    # A page has at most three entries, whatever MaxKeys says. Amazon's may have fewer than MaxKeys, too.
    SMALL_PAGES = "small-pages"
    # Each page with entries comes after an empty one, which is truncated: https://github.com/s3ql/s3ql/pull/170
    EMPTY_PAGES = "empty-pages"
    # GET answers without Content-Length: https://github.com/minio/minio-dotnet/issues/81
    CHUNKED = "chunked"
    # DELETE of a missing key fails: https://github.com/apache/opendal/pull/2941 (Google Cloud Storage),
    # https://github.com/chimera-nas/chimera/issues/1104, https://github.com/localstack/localstack/issues/1893 (in bulk)
    MISSING_IS_404 = "404-for-missing-delete"
    # If-None-Match is ignored in a PUT, and so are both in the next: https://github.com/storj/edge/issues/564,
    # https://github.com/Robothy/local-s3/pull/294
    NO_IF_NONE_MATCH = "no-if-none-match"
    # It is ignored only at the end of an upload in parts: Ceph 16, https://github.com/ceph/s3-tests/issues/583
    NO_IF_NONE_MATCH_IN_UPLOADS = "no-if-none-match-in-uploads"


class Request(NamedTuple):
    """One request as the server saw it. Names of headers are in lower case."""

    method: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def operation(self) -> str:
        """The name of the operation in Amazon's API reference."""
        rows = _OPERATIONS.get(self.method, ())
        found = [name for name, of_key, mark in rows if of_key == bool(self.key) and self._has(mark)]
        return found[0] if found else "NotImplemented"

    def _has(self, mark: str) -> bool:
        return not mark or mark in self.query or mark in self.headers


# The name of an operation, if it is one of a key, and what marks it: a parameter or a header.
_OPERATIONS: dict[str, tuple[tuple[str, bool, str], ...]] = {
    "PUT": (
        ("UploadPart", True, "partNumber"),
        ("CopyObject", True, "x-amz-copy-source"),
        ("PutObject", True, ""),
        ("CreateBucket", False, ""),
    ),
    "GET": (
        ("GetObject", True, ""),
        ("ListObjectsV2", False, "list-type"),
        ("ListMultipartUploads", False, "uploads"),
        ("GetBucketLocation", False, "location"),
        ("CreateSession", False, "session"),
    ),
    "HEAD": (("HeadObject", True, ""), ("HeadBucket", False, "")),
    "DELETE": (("AbortMultipartUpload", True, "uploadId"), ("DeleteObject", True, "")),
    "POST": (
        ("CreateMultipartUpload", True, "uploads"),
        ("CompleteMultipartUpload", True, "uploadId"),
        ("DeleteObjects", False, "delete"),
    ),
}


class Stored(NamedTuple):
    """One object."""

    data: bytes
    content_type: str
    e_tag: str
    modified: datetime


class Upload(NamedTuple):
    """A multipart upload that was begun."""

    bucket: str
    key: str
    content_type: str
    begun: datetime
    parts: dict[int, bytes]


class Answer(NamedTuple):
    """An answer of the server."""

    status: str
    body: bytes = b""
    headers: Mapping[str, str] = {}


class _RefusedError(Exception):
    """The error answer to a request: HTTP status, code and message."""

    def __init__(self, status: str, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


_EPOCH = datetime.fromtimestamp(0, timezone.utc)
_NO_KEY = ("404 Not Found", "NoSuchKey", "The specified key does not exist.")
_NO_BUCKET = ("404 Not Found", "NoSuchBucket", "The specified bucket does not exist")
_NO_UPLOAD = ("404 Not Found", "NoSuchUpload", "The specified multipart upload does not exist.")
_NO_FUNCTION = (
    "501 Not Implemented",
    "NotImplemented",
    "A header or query you provided requested a function that is not implemented.",
)
_DENIED = ("403 Forbidden", "AccessDenied", "Access Denied")


class QuirkyS3:
    """The server: `url`, the objects in `buckets`, and the `requests` that it was sent.

    `kept` has keys whose deletion is answered as a success, and does nothing; `denied` those whose deletion is refused.
    If `lost_e_tag` is set, PutObject is answered with it, and nothing is stored, as by a proxy that answers itself.
    `flip` damages the next bodies; the server finds that by their digests unless `checks_digests` is False. `most` is
    the number of requests that were in progress at one time; `latency`, in seconds, makes it visible.
    """

    def __init__(self, quirks: Iterable[Quirk] = ()) -> None:
        self.quirks = frozenset(quirks)
        self.buckets: dict[str, dict[str, Stored]] = {}
        self.uploads: dict[str, Upload] = {}
        self.requests: list[Request] = []
        self.kept: set[str] = set()
        self.denied: set[str] = set()
        self.lost_e_tag = ""
        self.checks_digests = True
        self.latency = 0.0
        self.most = 0
        self._busy = 0
        self._flips: Counter[str] = Counter()
        self._ids = count(1)
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="quirky-s3")

    # --- for tests --------------------------------------------------------------------------------

    def put(self, bucket: str, key: str, data: bytes = b"", modified: datetime | None = None) -> None:
        """Store an object without a request, such as the empty `run/` with which consoles mark a directory."""
        self.buckets[bucket][key] = self._stored(data, "application/octet-stream", modified)

    def begin(self, bucket: str, key: str, begun: datetime | None = None) -> None:
        """Begin a multipart upload without a request."""
        upload_id = f"upload-{next(self._ids)}"
        self.uploads[upload_id] = Upload(bucket, key, "text/plain", begun or datetime.now(timezone.utc), {})

    def flip(self, operation: str, times: int = 1) -> None:
        """Damage a byte of the next bodies: of PutObject on their way here, of GetObject on their way back."""
        self._flips[operation] += times

    def counted(self) -> Counter[str]:
        """Return how many requests there were of each operation, and forget them."""
        operations = Counter(request.operation for request in self.requests)
        self.requests.clear()
        return operations

    # --- the thread and its connections -----------------------------------------------------------

    def __enter__(self) -> "QuirkyS3":
        self._thread.start()
        starting = asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result()
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *error: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request after another until the client or the server ends."""
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            with contextlib.suppress(asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
                while True:
                    request = await _receive(reader, writer)
                    self.requests.append(request)
                    await self._wait()
                    writer.write(_encoded(request, self._answer(request), Quirk.CHUNKED in self.quirks))
                    await writer.drain()
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _wait(self) -> None:
        """Let other requests come in before this one is answered."""
        self._busy += 1
        self.most = max(self.most, self._busy)
        if self.latency:
            await asyncio.sleep(self.latency)
        self._busy -= 1

    def _answer(self, request: Request) -> Answer:
        """Answer as the service would."""
        try:
            answer = self._answered(request)
        except _RefusedError as error:
            text = _xml("Code", error.code) + _xml("Message", error.message) + _xml("Resource", f"/{request.bucket}")
            answer = _document(f"<Error>{text}</Error>", error.status)
        if Quirk.BARE_ANSWERS in self.quirks:
            return answer
        return answer._replace(headers={"x-amz-request-id": f"{next(self._ids):016X}", **answer.headers})

    def _answered(self, request: Request) -> Answer:
        for quirk, operations, is_refused, refusal in _REFUSALS:
            if (quirk is None or quirk in self.quirks) and request.operation in operations and is_refused(request):
                raise _RefusedError(*refusal)
        if Quirk.NO_CRC in self.quirks:
            for name in filter(_is_checksum, request.headers):
                message = f"Unsupported header '{name}' received for this API call."
                raise _RefusedError("400 Bad Request", "InvalidArgument", message)
        if request.operation != "CreateBucket" and request.bucket not in self.buckets:
            raise _RefusedError(*_NO_BUCKET)
        return _ANSWERS[request.operation](self, request)

    # --- objects ----------------------------------------------------------------------------------

    def _objects(self, request: Request) -> dict[str, Stored]:
        return self.buckets[request.bucket]

    def _found(self, request: Request) -> Stored:
        try:
            return self._objects(request)[request.key]
        except KeyError:
            raise _RefusedError(*_NO_KEY) from None

    def _stored(self, data: bytes, content_type: str, modified: datetime | None = None, parts: int = 0) -> Stored:
        salt = b"foreign" if Quirk.FOREIGN_ETAGS in self.quirks else b""
        digest = "" if Quirk.EMPTY_ETAGS in self.quirks else md5(salt + data).hexdigest()
        suffix = f"-{parts}" if parts and not salt and digest else ""
        return Stored(data, content_type, f'"{digest}{suffix}"', modified or datetime.now(timezone.utc))

    def _put_object(self, request: Request) -> Answer:
        data = self._flipped("PutObject", request.body)
        if self.checks_digests:
            _check_digests(request._replace(body=data))
        if self.lost_e_tag:
            return Answer("200 OK", headers={"etag": f'"{self.lost_e_tag}"'})
        return self._store(request, self._stored(data, request.headers.get("content-type", "binary/octet-stream")))

    def _store(self, request: Request, stored: Stored) -> Answer:
        ignoring = {Quirk.NO_IF_NONE_MATCH} | (
            {Quirk.NO_IF_NONE_MATCH_IN_UPLOADS} if "uploadId" in request.query else set()
        )
        is_new = request.headers.get("if-none-match") == "*" and not ignoring & self.quirks
        if is_new and request.key in self._objects(request):
            why = "At least one of the pre-conditions you specified did not hold"
            raise _RefusedError("412 Precondition Failed", "PreconditionFailed", why)
        self._objects(request)[request.key] = stored
        return Answer("200 OK", headers={"etag": stored.e_tag})

    def _flipped(self, operation: str, data: bytes) -> bytes:
        if not data or not self._flips[operation]:
            return data
        self._flips[operation] -= 1
        return bytes([data[0] ^ 1]) + data[1:]

    def _get_object(self, request: Request) -> Answer:
        stored = self._found(request)
        data = self._flipped("GetObject", stored.data)
        headers = {"content-type": stored.content_type, "etag": stored.e_tag, "accept-ranges": "bytes"}
        modified = self._modified(stored, _http_date, "Sun, 31 Feb 2026 25:61:00 GMT")
        headers |= {"last-modified": modified} if modified else {}
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", ""))
        if not wanted:
            return Answer("200 OK", data, headers)
        start, end = _limits(wanted, len(data))
        headers["content-range"] = f"bytes {start}-{end - 1}/{len(data)}"
        return Answer("206 Partial Content", data[start:end], headers)

    def _modified(self, stored: Stored, written: Callable[[datetime], str], odd: str) -> str:
        if Quirk.NO_LAST_MODIFIED in self.quirks:
            return ""
        if Quirk.ODD_LAST_MODIFIED in self.quirks:
            return odd
        return written(_EPOCH if Quirk.EPOCH_LAST_MODIFIED in self.quirks else stored.modified)

    def _copy_object(self, request: Request) -> Answer:
        bucket, _, key = unquote(request.headers["x-amz-copy-source"]).removeprefix("/").partition("/")
        source = self._found(request._replace(bucket=bucket, key=key))
        copy = source._replace(modified=datetime.now(timezone.utc))
        self._objects(request)[request.key] = copy
        rows = _xml("ETag", copy.e_tag) + _xml("LastModified", _iso(copy.modified))
        return _document(f"<CopyObjectResult>{rows}</CopyObjectResult>")

    # --- deleting ---------------------------------------------------------------------------------

    def _delete_object(self, request: Request) -> Answer:
        self._delete(request, request.key)
        return Answer("204 No Content")

    def _delete(self, request: Request, key: str) -> None:
        if key in self.denied:
            raise _RefusedError(*_DENIED)
        if key in self.kept:
            return
        if self._objects(request).pop(key, None) is None and Quirk.MISSING_IS_404 in self.quirks:
            raise _RefusedError(*_NO_KEY)

    def _delete_objects(self, request: Request) -> Answer:
        _check_digests(request)
        rows = ""
        is_quiet = _texts(request.body, "Quiet") == ["true"]
        for key in _texts(request.body, "Key"):
            try:
                self._delete(request, key)
                rows += "" if is_quiet else f"<Deleted>{_xml('Key', key)}</Deleted>"
            except _RefusedError as error:
                fields = _xml("Key", key) + _xml("Code", error.code) + _xml("Message", error.message)
                rows += f"<Error>{fields}</Error>"
        return _document(f"<DeleteResult>{rows}</DeleteResult>")

    # --- listing ----------------------------------------------------------------------------------

    def _list_objects(self, request: Request) -> Answer:
        query = request.query
        kind, last = _decoded(query.get("continuation-token", ""))
        if Quirk.EMPTY_PAGES in self.quirks and kind != "filled":
            return self._listing(request, [], ("filled", last))
        entries = self._entries_from(request, last)
        limit = min(int(query.get("max-keys", 1000)), 3 if Quirk.SMALL_PAGES in self.quirks else 1000)
        limit += last is not None and Quirk.REPEATED_PREFIXES in self.quirks
        page = entries[:limit]
        return self._listing(request, page, ("after", page[-1]) if page and len(entries) > limit else None)

    def _entries_from(self, request: Request, last: str | None) -> list[str]:
        """Return the keys and common prefixes of a listing in order, from the one after `last`."""
        rank = _hashed if Quirk.UNORDERED in self.quirks else str.encode
        prefix, delimiter, after = (request.query.get(name, "") for name in ("prefix", "delimiter", "start-after"))
        keys = [key for key in self._objects(request) if key.startswith(prefix) and key > after]
        entries = sorted({_entry(key, len(prefix), delimiter) for key in keys}, key=rank)
        if last is None:
            return entries
        is_again = Quirk.REPEATED_PREFIXES in self.quirks
        return [entry for entry in entries if rank(entry) > rank(last) or (is_again and entry == last)]

    def _listing(self, request: Request, page: list[str], following: tuple[str, str | None] | None) -> Answer:
        query, is_bare = request.query, Quirk.BARE_ANSWERS in self.quirks
        written = quote if query.get("encoding-type") == "url" and not is_bare else str
        fields = {"Name": request.bucket, "Prefix": written(query.get("prefix", ""))}
        if not is_bare:
            fields |= {"KeyCount": str(len(page)), "MaxKeys": query.get("max-keys", "1000")}
            fields |= {"EncodingType": "url"} if written is quote else {}
        fields["IsTruncated"] = str(following is not None).lower()
        if following and Quirk.NO_TOKEN not in self.quirks:
            fields["NextContinuationToken"] = _encoded_token(*following)
        rows = "".join(self._row(request, entry, written) for entry in page)
        return _document(f"<ListBucketResult>{_fields(fields)}{rows}</ListBucketResult>")

    def _row(self, request: Request, entry: str, written: Callable[[str], str]) -> str:
        stored, delimiter = self._objects(request).get(entry), request.query.get("delimiter", "")
        start = len(request.query.get("prefix", ""))
        if stored is None or (delimiter and delimiter in entry[start:]):
            return f"<CommonPrefixes>{_xml('Prefix', written(entry))}</CommonPrefixes>"
        modified = self._modified(stored, _iso, "2026-02-31T25:61:00.000Z")
        fields = {"Key": written(entry), "Size": str(len(stored.data))}
        fields |= {"LastModified": modified} if modified else {}
        if Quirk.BARE_ANSWERS not in self.quirks:
            fields |= {"ETag": stored.e_tag, "StorageClass": "STANDARD"}
        return f"<Contents>{_fields(fields)}</Contents>"

    # --- buckets ----------------------------------------------------------------------------------

    def _create_bucket(self, request: Request) -> Answer:
        self.buckets.setdefault(request.bucket, {})
        return Answer("200 OK", headers={"location": f"/{request.bucket}"})

    def _head_bucket(self, request: Request) -> Answer:
        return Answer("200 OK", headers={"x-amz-bucket-region": "us-east-1"})

    def _get_bucket_location(self, request: Request) -> Answer:
        return _document("<LocationConstraint/>")

    def _create_session(self, request: Request) -> Answer:
        """Answer with the keys that requests to a directory bucket are signed with."""
        fields = {"AccessKeyId": "session-key", "SecretAccessKey": "session-secret", "SessionToken": "session-token"}
        fields["Expiration"] = _iso(datetime.now(timezone.utc) + timedelta(minutes=5))
        return _document(f"<CreateSessionResult><Credentials>{_fields(fields)}</Credentials></CreateSessionResult>")

    # --- multipart uploads ------------------------------------------------------------------------

    def _create_upload(self, request: Request) -> Answer:
        self.begin(request.bucket, request.key)
        upload_id = list(self.uploads)[-1]
        fields = _xml("Bucket", request.bucket) + _xml("Key", request.key) + _xml("UploadId", upload_id)
        return _document(f"<InitiateMultipartUploadResult>{fields}</InitiateMultipartUploadResult>")

    def _upload(self, request: Request) -> Upload:
        upload = self.uploads.get(request.query["uploadId"])
        if upload is None or upload[:2] != (request.bucket, request.key):
            raise _RefusedError(*_NO_UPLOAD)
        return upload

    def _upload_part(self, request: Request) -> Answer:
        _check_digests(request)
        self._upload(request).parts[int(request.query["partNumber"])] = request.body
        return Answer("200 OK", headers={"etag": self._stored(request.body, "").e_tag})

    def _complete_upload(self, request: Request) -> Answer:
        upload = self._upload(request)
        numbers = [int(number) for number in _texts(request.body, "PartNumber")]
        data = b"".join(upload.parts[number] for number in numbers)
        stored = self._stored(data, upload.content_type, parts=len(numbers))
        self._store(request, stored)
        del self.uploads[request.query["uploadId"]]
        fields = _xml("Bucket", request.bucket) + _xml("Key", request.key) + _xml("ETag", stored.e_tag)
        return _document(f"<CompleteMultipartUploadResult>{fields}</CompleteMultipartUploadResult>")

    def _abort_upload(self, request: Request) -> Answer:
        self._upload(request)
        del self.uploads[request.query["uploadId"]]
        return Answer("204 No Content")

    def _list_uploads(self, request: Request) -> Answer:
        query = request.query
        marker = (query.get("key-marker", ""), query.get("upload-id-marker", "~"))  # without one, the key is passed
        begun = sorted((upload.key, name) for name, upload in self.uploads.items() if upload.bucket == request.bucket)
        rest = [place for place in begun if place > marker and self._is_listed(place[0], query.get("prefix", ""))]
        page = rest[: 3 if Quirk.SMALL_PAGES in self.quirks else 1000]
        fields = {"Bucket": request.bucket, "IsTruncated": str(len(rest) > len(page)).lower()}
        if len(rest) > len(page):
            fields |= {"NextKeyMarker": page[-1][0]}
            fields |= {} if Quirk.NO_UPLOAD_ID_MARKER in self.quirks else {"NextUploadIdMarker": page[-1][1]}
        rows = "".join(self._upload_row(key, upload_id) for key, upload_id in page)
        return _document(f"<ListMultipartUploadsResult>{_fields(fields)}{rows}</ListMultipartUploadsResult>")

    def _is_listed(self, key: str, prefix: str) -> bool:
        return key == prefix if Quirk.EXACT_UPLOAD_LIST in self.quirks else key.startswith(prefix)

    def _upload_row(self, key: str, upload_id: str) -> str:
        fields = {"Key": key, "UploadId": upload_id}
        if Quirk.BARE_ANSWERS not in self.quirks:
            fields["Initiated"] = _iso(self.uploads[upload_id].begun)
        return f"<Upload>{_fields(fields)}</Upload>"

    def _not_implemented(self, request: Request) -> Answer:
        raise _RefusedError(*_NO_FUNCTION)


_ANSWERS: dict[str, Callable[[QuirkyS3, Request], Answer]] = {
    "PutObject": QuirkyS3._put_object,
    "GetObject": QuirkyS3._get_object,
    "HeadObject": QuirkyS3._get_object,
    "CopyObject": QuirkyS3._copy_object,
    "DeleteObject": QuirkyS3._delete_object,
    "DeleteObjects": QuirkyS3._delete_objects,
    "ListObjectsV2": QuirkyS3._list_objects,
    "CreateBucket": QuirkyS3._create_bucket,
    "HeadBucket": QuirkyS3._head_bucket,
    "GetBucketLocation": QuirkyS3._get_bucket_location,
    "CreateSession": QuirkyS3._create_session,
    "CreateMultipartUpload": QuirkyS3._create_upload,
    "UploadPart": QuirkyS3._upload_part,
    "CompleteMultipartUpload": QuirkyS3._complete_upload,
    "AbortMultipartUpload": QuirkyS3._abort_upload,
    "ListMultipartUploads": QuirkyS3._list_uploads,
    "NotImplemented": QuirkyS3._not_implemented,
}


def _is_checksum(header: str) -> bool:
    return header.startswith("x-amz-checksum-") or header == "x-amz-sdk-checksum-algorithm"


def _has_no_md5(request: Request) -> bool:
    return "content-md5" not in request.headers


def _has_no_digest(request: Request) -> bool:
    return _has_no_md5(request) and not any(map(_is_checksum, request.headers))


def _has_open_prefix(request: Request) -> bool:
    return not request.query.get("prefix", "/").endswith("/") and bool(request.query["prefix"])


def _always(request: Request) -> bool:
    return True


_BAD = "400 Bad Request"
_LOCKED = "Content-MD5 OR x-amz-checksum- HTTP header is required for Put {} requests with Object Lock parameters"
# Which operations are refused, under which quirk (None: always), in which case, and with which answer.
_REFUSALS: tuple[tuple[Quirk | None, set[str], Callable[[Request], bool], tuple[str, str, str]], ...] = (
    (
        Quirk.MD5_FOR_BULK_DELETE,
        {"DeleteObjects"},
        _has_no_md5,
        (_BAD, "MissingContentMD5", "Missing required header for this request: Content-Md5."),
    ),
    (Quirk.NO_BULK_DELETE, {"DeleteObjects"}, _always, _NO_FUNCTION),
    (Quirk.NO_BULK_DELETE_400, {"DeleteObjects"}, _always, (_BAD, *_NO_FUNCTION[1:])),
    (Quirk.BULK_DELETE_INVALID, {"DeleteObjects"}, _always, (_BAD, "InvalidArgument", "Invalid argument.")),
    (Quirk.BULK_DELETE_MALFORMED, {"DeleteObjects"}, _always, (_BAD, "MalformedXML", "The XML is not well-formed")),
    (
        Quirk.SLASH_PREFIXES,
        {"ListObjectsV2", "ListMultipartUploads"},
        _has_open_prefix,
        (_BAD, "InvalidRequest", "This bucket does not support a prefix that does not end in a delimiter."),
    ),
    (Quirk.NO_UPLOAD_LIST, {"ListMultipartUploads"}, _always, _NO_FUNCTION),
    (Quirk.OBJECT_LOCK, {"PutObject"}, _has_no_digest, (_BAD, "InvalidRequest", _LOCKED.format("Object"))),
    (Quirk.OBJECT_LOCK, {"UploadPart"}, _has_no_digest, (_BAD, "InvalidRequest", _LOCKED.format("Part"))),
    (
        None,
        {"DeleteObjects"},
        _has_no_digest,
        (_BAD, "InvalidRequest", "Missing required header for this request: Content-MD5"),
    ),
)


def _check_digests(request: Request) -> None:
    """Refuse a body that is not the one that was signed, or not that of its checksums."""
    body, headers = request.body, request.headers
    signed = headers.get("x-amz-content-sha256", "")
    if re.fullmatch("[0-9a-f]{64}", signed) and signed != sha256(body).hexdigest():
        message = "The provided 'x-amz-content-sha256' header does not match what was computed."
        raise _RefusedError(_BAD, "XAmzContentSHA256Mismatch", message)
    crc = zlib.crc32(body).to_bytes(4, "big")
    for name, digest in {"content-md5": md5(body).digest(), "x-amz-checksum-crc32": crc}.items():
        if name in headers and headers[name] != base64.b64encode(digest).decode():
            message = f"The {name} you specified did not match what we received."
            raise _RefusedError(_BAD, "BadDigest", message)


# --- names, tokens, XML and HTTP ------------------------------------------------------------------


def _entry(key: str, start: int, delimiter: str) -> str:
    """Return the key as a listing has it: up to the first delimiter after the prefix."""
    cut = key.find(delimiter, start) if delimiter else -1
    return key if cut < 0 else key[: cut + len(delimiter)]


def _hashed(entry: str) -> bytes:
    return sha256(entry.encode()).digest()


def _encoded_token(kind: str, last: str | None) -> str:
    """Return a token that has the characters `+ / =`, as Amazon's have: a client has to quote them."""
    text = kind if last is None else f"{kind} {last}"
    return "+/" + base64.b64encode(text.encode()).decode() + "=="


def _decoded(token: str) -> tuple[str, str | None]:
    if not token:
        return "", None
    assert token.startswith("+/"), f"the token came back changed: {token}"
    kind, separator, last = base64.b64decode(token[2:-2]).decode().partition(" ")
    return kind, last if separator else None


def _limits(wanted: re.Match[str], size: int) -> tuple[int, int]:
    """Return start and end of the range that a header asks for."""
    first, last = wanted.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last) + 1, size) if first and last else size
    if start >= size:
        raise _RefusedError("416 Range Not Satisfiable", "InvalidRange", "The requested range is not satisfiable")
    return start, end


def _http_date(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


def _iso(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _xml(name: str, text: str) -> str:
    return f"<{name}>{escape(text)}</{name}>"


def _fields(fields: Mapping[str, str]) -> str:
    return "".join(_xml(name, text) for name, text in fields.items())


def _document(xml: str, status: str = "200 OK") -> Answer:
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n{xml}'
    return Answer(status, text.encode(), {"content-type": "application/xml"})


def _texts(document: bytes, name: str) -> list[str]:
    """Return the texts of all elements with a name, in any namespace."""
    elements = ElementTree.fromstring(document).iter()
    return [element.text or "" for element in elements if element.tag.rpartition("}")[2] == name]


async def _receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    method, target, _ = first.split(" ")
    url = urlsplit(target)
    bucket, _, key = unquote(url.path)[1:].partition("/")
    return Request(method, bucket, key, dict(parse_qsl(url.query, keep_blank_values=True)), headers, body)


def _encoded(request: Request, answer: Answer, is_chunked: bool) -> bytes:
    """Return the answer as bytes; one without a body has the length all the same, if it answers HEAD."""
    headers = {"server": "QuirkyS3", "date": _http_date(datetime.now(timezone.utc)), **answer.headers}
    is_chunked = is_chunked and request.method == "GET"
    headers |= {"transfer-encoding": "chunked"} if is_chunked else {"content-length": str(len(answer.body))}
    lines = [f"HTTP/1.1 {answer.status}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    body = b"" if request.method == "HEAD" else b"".join(_chunks(answer.body)) if is_chunked else answer.body
    return "\r\n".join(lines).encode("latin-1") + body


def _chunks(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), 1 << 16):
        chunk = body[start : start + (1 << 16)]
        yield b"%x\r\n%b\r\n" % (len(chunk), chunk)
    yield b"0\r\n\r\n"
