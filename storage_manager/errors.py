"""The errors that the library raises, and the translation of errors of other libraries.

    Exception
    └── StorageManagerError            base class; raised itself for backends other than S3 and local disk
        ├── S3ConfigError              S3 cannot be used as it is configured
        ├── S3OperationError           S3 refused a request or did not answer
        ├── LocalStorageError          the local disk refused an operation
        ├── AlreadyExistsError         (also FileExistsError) `overwrite=False`, and a file exists already
        ├── InvalidIdError             (also ValueError) a session or step id is not allowed
        └── InvalidDataError           (also ValueError) a component or an argument is not allowed

This module imports no other library. It recognises S3 errors by the code in the answer of the service (Amazon S3 API
reference, "Error responses") and by the names of their classes. So botocore and aiohttp are not imported before S3 is
used.
"""

import errno
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from storage_manager.credentials import without_credentials

__all__ = [
    "DISTRIBUTION",
    "NOT_ON_PYPI",
    "AlreadyExistsError",
    "InvalidDataError",
    "InvalidIdError",
    "LocalStorageError",
    "S3ConfigError",
    "S3OperationError",
    "StorageManagerError",
    "already_exists",
    "attempt",
    "came_from_service",
    "first_of",
    "how_to_install",
    "is_bulk_refused",
    "is_content_md5_missing",
    "is_missing",
    "is_precondition_failed",
    "is_range_refused",
    "is_refused",
    "is_transient",
    "is_unsupported",
    "needing",
    "refusing",
    "translate",
    "translating",
]

Out = TypeVar("Out")


# The name of the distribution. It is not on PyPI, where `storage-manager` is another project. Every page that explains
# the installation has both texts. A test in tests/docs checks that.
DISTRIBUTION = "agent-storage-manager"
NOT_ON_PYPI = "not on PyPI yet"


def how_to_install(extra: str) -> str:
    """Return the command that installs an extra of this package, for a message."""
    in_clone = f'(it is {NOT_ON_PYPI}: run pip install ".[{extra}]" in a clone)'
    return f'pip install "{DISTRIBUTION}[{extra}]" {in_clone}'


class StorageManagerError(Exception):
    """Base class of the library's errors. The message says what failed, on which URL, why, and what to do.

    `__cause__` is the original error, unless its text contains a credential.

    Attributes:
        operation: "store", "retrieve", "list", "delete", "share", "check", "record", "seal", "verify", "sweep",
            "copy", "purge", "import", "export", "view", "render", "catalog", "find", "open" or "configure"; None if
            unknown.
        url: the URL that failed, without credentials; None if an argument was refused before any I/O.
    """

    def __init__(self, message: str, *, operation: str | None = None, url: str | None = None) -> None:
        super().__init__(message)
        self.operation = operation
        self.url = url


class S3ConfigError(StorageManagerError):
    """S3 cannot be used as it is configured: bucket name, endpoint, region, engine, profile or credentials."""


class S3OperationError(StorageManagerError):
    """An S3 service refused a request, or did not send a usable answer within the attempts and timeouts."""


class LocalStorageError(StorageManagerError):
    """The local disk refused an operation: it is full or read-only, or a permission or the directory is missing."""


class InvalidIdError(StorageManagerError, ValueError):
    """A session or step id is not allowed. The rules are the same for all backends. Raised before any I/O."""


class InvalidDataError(StorageManagerError, ValueError):
    """A value cannot be stored unchanged, an argument is not allowed, or data that was read is not valid."""


class AlreadyExistsError(StorageManagerError, FileExistsError):
    """With `overwrite=False`, a file exists already. `url` is one of the files that were not replaced."""

    def __init__(self, message: str, *, operation: str | None = None, url: str | None = None) -> None:
        super().__init__(message, operation=operation, url=url)
        self.errno = errno.EEXIST


def already_exists(url: str) -> AlreadyExistsError:
    """Return the error for a file that exists already, from a write with overwrite=False."""
    why = f"cannot store {url}: the file exists already, and overwrite is False"
    return AlreadyExistsError(why, operation="store", url=url)


_NO_ACCESS = "grant s3:ListBucket on the bucket and s3:GetObject, s3:PutObject, s3:DeleteObject on its objects"
_BAD_CREDENTIALS = "correct the credentials (AWS_ACCESS_KEY_ID, AWS_PROFILE, or storage_options)"
_NO_CREDENTIALS = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_SESSION_TOKEN if the key is temporary; "
    "or set AWS_PROFILE, or give storage_options={'key': ..., 'secret': ...}"
)
_WRONG_REGION = "set s3_region_name (SM_S3_REGION) to the bucket's own region"
_FAILING = "try again later: the service kept failing after three attempts"
_UNREACHABLE = "check s3_endpoint_url (SM_S3_ENDPOINT_URL), the network and the proxy"
_SLOW = (
    f"{_UNREACHABLE}; on a slow line lower max_concurrency, or raise read_timeout in storage_options['config_kwargs']"
)
_WEB_PAGE = "a web page"  # botocore calls it a 500, whatever its status
_NOT_S3 = "check s3_endpoint_url (SM_S3_ENDPOINT_URL): the server there does not speak S3"

# The advice for an error, by its names. A name is an S3 error code, an HTTP status, a class name or an errno name.
_ADVICE_BY_NAMES = {
    "NoSuchBucket": "create the bucket, or correct s3_bucket_name (SM_S3_BUCKET_NAME)",
    "AccessDenied AllAccessDisabled 403": _NO_ACCESS,
    "InvalidAccessKeyId SignatureDoesNotMatch UnauthenticatedError": _BAD_CREDENTIALS,
    "NoCredentialsError": _NO_CREDENTIALS,
    "PartialCredentialsError CredentialRetrievalError": _BAD_CREDENTIALS,
    "ExpiredToken InvalidToken TokenRefreshRequired": "renew the session credentials",
    "PermanentRedirect TemporaryRedirect 301 307": _WRONG_REGION,
    "AuthorizationHeaderMalformed IllegalLocationConstraintException": _WRONG_REGION,
    "RequestTimeTooSkewed": "set this machine's clock",
    "SlowDown ServiceUnavailable InternalError TooManyRequests 500 502 503 504 429": _FAILING,
    "ReadTimeoutError": _SLOW,
    "HTTPClientError ConnectionError ClientConnectionError 407": _UNREACHABLE,
    "InvalidProxiesConfigError": "correct the proxy's URL (HTTPS_PROXY, HTTP_PROXY, or config_kwargs['proxies'])",
    "OptionsError": "correct storage_options",
    "EPROTO 302 303 308 404": _NOT_S3,
    "ENOSPC": "free some space on the disk",
    "EDQUOT": "free some of the disk quota",
    "EACCES EPERM": "check who may read and write this path",
    "EROFS": "the file system is mounted read-only: choose another local_base_path",
    "ENOTDIR EEXIST": "a file is in the way of a directory: move it, or choose another local_base_path",
    "ENOENT": "the directory is gone: create it again, or mount its disk, or choose another local_base_path",
}
_ADVICE = {name: advice for names, advice in _ADVICE_BY_NAMES.items() for name in names.split()} | {_WEB_PAGE: _NOT_S3}

_NOT_CREATED = "the directory cannot be created there: mount its disk, or choose another local_base_path"
_UNKNOWN_PROTOCOL = (
    "s3://, file:// and memory:// are built in; for another protocol of fsspec, install the package that has it"
)
_TO_A_FILE = ("export", "render")  # the operations that write outside of the root

# Errors that are raised before a request is sent: by botocore (the error of a service is a ClientError, which is no
# BotoCoreError), by obstore, for a missing package, or for an unknown storage option.
_CONFIG_ERRORS = {
    "BotoCoreError", "UnauthenticatedError", "UnknownConfigurationKeyError", "ImportError", "OptionsError",
}  # fmt: skip

# The BotoCoreErrors that are caused by a request, and not by the configuration.
_REQUEST_ERRORS = {
    "HTTPClientError", "ConnectionError", "IncompleteReadError", "ChecksumError", "FlexibleChecksumError",
    "UnseekableStreamError", "CapacityNotAvailableError", "PaginationError", "WaiterError",
}  # fmt: skip

# Errors after which the same request may succeed (Amazon S3 API reference, "Error responses": retry on 5xx and
# SlowDown; RFC 6585: retry on 429).
_TRANSIENT = {
    "OperationAborted", "ConditionalRequestConflict", "RequestTimeout", "SlowDown", "BadDigest", "IncompleteBody",
    "XAmzContentSHA256Mismatch", "408", "429",
    "HTTPClientError", "ConnectionError", "TimeoutError", "ClientConnectionError", "ClientPayloadError",
    "IncompleteReadError", "ResponseParserError", "ChecksumError", "FlexibleChecksumError", "CapacityNotAvailableError",
    "EPROTO", "EBADMSG",
}  # fmt: skip


def _response(error: BaseException) -> Mapping[str, Any]:
    """Return the response of an S3 service in the error or in one of its causes, else an empty mapping."""
    causes: list[BaseException] = [error]
    for one in causes:
        response = getattr(one, "response", None)
        if isinstance(response, dict) and response.get("Error"):
            return response
        if one.__cause__ is not None and one.__cause__ not in causes:  # causes may form a circle
            causes.append(one.__cause__)
    return {}


def _code(error: BaseException) -> str:
    """Return the error code in the answer of an S3 service, or an empty text."""
    return str(_response(error).get("Error", {}).get("Code") or "")


def _status(error: BaseException) -> int:
    """Return the HTTP status of the answer of an S3 service; 0 if there is none."""
    status = _response(error).get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status if isinstance(status, int) else 0


def _names(error: BaseException) -> list[str]:
    """Return the names by which the tables above may list the error, the most specific name first."""
    code, number = _code(error), getattr(error, "errno", None)
    headers = _response(error).get("ResponseMetadata", {}).get("HTTPHeaders", {})
    page = _WEB_PAGE if "text/html" in headers.get("content-type", "") else ""
    system = errno.errorcode.get(number, "") if isinstance(number, int) and not code else ""
    return [name for name in (page, code, system) if name] + [cls.__name__ for cls in type(error).__mro__]


def came_from_service(error: BaseException) -> bool:
    """Return True if the error contains a response of an S3 service."""
    return bool(_response(error))


def is_missing(error: BaseException) -> bool:
    """Return True if the error means that the file does not exist. A missing bucket is another error."""
    return isinstance(error, FileNotFoundError) and _code(error) in ("", "NoSuchKey", "NoSuchVersion")


def is_transient(error: BaseException) -> bool:
    """Return True if another attempt may succeed: the connection failed, or the service answered 5xx (but not 501)."""
    names = {*_names(error), str(_status(error))}
    return not _TRANSIENT.isdisjoint(names) or any(re.fullmatch(r"5(?!01)\d\d", name) for name in names)


_UNSUPPORTED = ("MethodNotAllowed", "NotImplemented", "NotSupported", "UnsupportedOperation")


def is_unsupported(error: BaseException) -> bool:
    """Return True if an S3 service answered that it does not support the operation (Amazon S3, "Error responses")."""
    return _status(error) in (405, 501) or _code(error) in _UNSUPPORTED


def is_precondition_failed(error: BaseException) -> bool:
    """Return True if an S3 service refused a conditional write, because the object exists (RFC 9110, 15.5.13)."""
    return _code(error) in ("PreconditionFailed", "412") or _status(error) == 412


def is_refused(error: BaseException) -> bool:
    """Return True if a service answered that it did not carry out a request: with 4xx, or with SlowDown."""
    return 400 <= _status(error) < 500 or _code(error) == "SlowDown"


def is_range_refused(error: BaseException) -> bool:
    """Return True if an S3 service refused a range of an object, because the object ends before it."""
    return _code(error) == "InvalidRange" or _status(error) == 416


# The codes with which services refuse a DeleteObjects that they cannot read. XML cannot contain every key.
_BULK_REFUSED = {
    "InvalidRequest", "MalformedXML", "MalformedPOSTRequest", "InvalidArgument", "BadRequest", "400",
    "MissingContentMD5",
}  # fmt: skip


def is_bulk_refused(error: BaseException) -> bool:
    """Return True if an S3 service refused a DeleteObjects as a whole, so that it may accept one DELETE per key."""
    return is_unsupported(error) or _code(error) in _BULK_REFUSED


def is_content_md5_missing(error: BaseException) -> bool:
    """Return True if an S3 service refused a request because it has no Content-MD5.

    Amazon does so in a bucket with a default retention (Amazon S3 User Guide, "Configuring S3 Object Lock").
    """
    text = f"{_code(error)} {_response(error).get('Error', {}).get('Message')}"
    return re.search("content-?md5", text, re.IGNORECASE) is not None


def _error_class(url: str, names: list[str]) -> type[StorageManagerError]:
    if url.startswith("s3://"):
        configured = not _CONFIG_ERRORS.isdisjoint(names) and _REQUEST_ERRORS.isdisjoint(names)
        return S3ConfigError if configured else S3OperationError
    return StorageManagerError if "://" in url else LocalStorageError


def translate(error: Exception, operation: str, url: str) -> StorageManagerError:
    """Translate any error into one of the library. The message says what failed, on which URL, why, and what to do.

    The original error becomes the cause, unless it or one of its own causes contains a credential. The message hides
    credentials.
    """
    if isinstance(error, StorageManagerError):
        return error
    names = _names(error)
    text = without_credentials(str(error), url, from_service=came_from_service(error))
    reason = text if text not in ("", "None") else type(error).__name__  # some services send a code without a message
    reason = reason if names[0] in reason else f"{names[0]}: {reason}"
    cls = _error_class(url, names)
    advice = _UNKNOWN_PROTOCOL if text.startswith("Protocol not known") else _advice(cls, names, operation)
    message = f"cannot {operation} {url}: {reason.rstrip('.')}" + (f" ({advice})" if advice else "")
    translated = cls(message, operation=operation, url=url)
    translated.__cause__ = None if _quotes_credentials(error, url) else error
    return translated


def _advice(cls: type[StorageManagerError], names: list[str], operation: str) -> str:
    """Return the advice for an error, or an empty text. The table has advice for S3 and local disk only."""
    if cls is StorageManagerError:
        return ""
    if operation == "open" and "ENOENT" in names:  # the root is being created
        return _NOT_CREATED
    advice = next((_ADVICE[name] for name in names if name in _ADVICE), "")
    if operation in _TO_A_FILE:
        advice = advice.replace("choose another local_base_path", "choose another directory")
    return advice


def _quotes_credentials(error: BaseException, url: str) -> bool:
    """Return True if a traceback of the error would show a credential."""
    shown = [(other, "\n".join([str(other), *getattr(other, "__notes__", ())])) for other in _chain(error)]
    return any(without_credentials(text, url, from_service=came_from_service(other)) != text for other, text in shown)


def _chain(error: BaseException) -> list[BaseException]:
    """Return the error, and the errors that its traceback shows: causes, contexts and the members of a group."""
    chain = [error]
    for one in chain:
        context = None if one.__suppress_context__ else one.__context__
        others = [one.__cause__ or context, *getattr(one, "exceptions", ())]
        chain += [other for other in others if isinstance(other, BaseException) and other not in chain]
    return chain


def first_of(names: Sequence[str], most: int = 5) -> str:
    """Return the first few of several names or URLs, for a message."""
    return ", ".join(names[:most]) + ", ..." * (len(names) > most)


def attempt(call: Callable[[], Out]) -> Out | Exception:
    """Call a function; return its result, or the error that it raised."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - the caller raises it
        return error


class translating:  # noqa: N801 - a context manager; a class is quicker than a generator
    """Translate each error of the block into a StorageManagerError with this operation and URL. It is chained.

    Raises:
        StorageManagerError: of the class that `translate` chooses. A StorageManagerError that the block itself raises
            is not translated; its `operation` becomes the operation that the user called.
    """

    def __init__(self, operation: str, url: str) -> None:
        self._operation, self._url = operation, url

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, StorageManagerError):
            error.operation = self._operation
        elif isinstance(error, Exception):
            translated = translate(error, self._operation, self._url)
            raise translated from translated.__cause__


@contextmanager
def needing(package: str, extra: str, operation: str) -> Iterator[None]:
    """Translate an ImportError of the block into an error that names the extra to install. It is chained.

    Raises:
        StorageManagerError: the package is not installed.
    """
    try:
        yield
    except ImportError as error:
        message = f"{package} is not installed: {how_to_install(extra)}"
        raise StorageManagerError(message, operation=operation) from error


@contextmanager
def refusing(what: str, why: str) -> Iterator[None]:
    """Translate each error of the block into an InvalidDataError. It is chained. Use it for code that reads user data.

    Raises:
        InvalidDataError: `what` cannot be stored. The message has `why` and the text of the original error.
    """
    try:
        yield
    except StorageManagerError:
        raise
    except Exception as error:
        raise InvalidDataError(f"{what} cannot be stored: {why} ({type(error).__name__}: {_text_of(error)})") from error


def _text_of(error: Exception) -> str:
    """Return the text of an error. For pydantic's ValidationError, return only the number of faults.

    The text of a ValidationError shortens values, so it could contain a part of a secret, which is not recognised.
    """
    count = getattr(error, "error_count", None)
    return f"{count()} faults in {getattr(error, 'title', 'it')}" if callable(count) else str(error)
