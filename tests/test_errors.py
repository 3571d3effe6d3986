"""Every error is ours, chained, and says what to do."""

import asyncio
import copy
import errno
import importlib
import importlib.util
import os
import pickle
import re
from pathlib import Path
from typing import Any

import aiohttp
import botocore.exceptions
import botocore.parsers
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError, ProfileNotFound
from s3fs.errors import translate_boto_error

import storage_manager
from storage_manager import (
    InvalidDataError,
    InvalidIdError,
    LocalStorageError,
    S3ConfigError,
    S3OperationError,
    StorageManagerError,
)
from storage_manager.errors import _CONFIG_ERRORS, _REQUEST_ERRORS, is_missing, is_transient, translate, translating


def answered(code: str, cls: type[OSError] = OSError) -> OSError:
    """What s3fs raises for an answer of the service."""
    error = cls("the service said so")
    error.__cause__ = ClientError({"Error": {"Code": code, "Message": "said so"}}, "GetObject")
    return error


def test_the_tree() -> None:
    ours = [S3ConfigError, S3OperationError, LocalStorageError, InvalidIdError, InvalidDataError]
    assert all(issubclass(cls, StorageManagerError) for cls in ours)
    assert [cls for cls in ours if issubclass(cls, ValueError)] == [InvalidIdError, InvalidDataError]
    assert all(getattr(storage_manager, cls.__name__) is cls for cls in ours)


def test_errors_travel_between_processes() -> None:
    error = pickle.loads(pickle.dumps(S3OperationError("message", operation="store", url="s3://b/s")))
    assert (str(error), error.operation, error.url) == ("message", "store", "s3://b/s")


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EACCES, "who may read and write"),
        (errno.EROFS, "read-only"),
        (errno.ENOTDIR, "in the way"),
        (errno.ENOENT, "gone"),
    ],
)
def test_disk_errors(number: int, advice: str) -> None:
    error = translate(OSError(number, os.strerror(number), "/data/.staging"), "store", "/data/s/t")
    assert type(error) is LocalStorageError
    assert (error.operation, error.url) == ("store", "/data/s/t")
    for part in (errno.errorcode[number], "cannot store /data/s/t", "/data/.staging", advice):
        assert part in str(error)


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("NoSuchBucket", "create the bucket"),
        ("AccessDenied", "grant"),
        ("SignatureDoesNotMatch", "credentials"),
        ("ExpiredToken", "renew"),
        ("PermanentRedirect", "s3_region_name"),
        ("SlowDown", "try again"),
        ("SomethingNew", ""),
    ],
)
def test_answers_of_the_service(code: str, advice: str) -> None:
    cause = answered(code)
    error = translate(cause, "retrieve", "s3://b/s")
    assert type(error) is S3OperationError
    assert error.__cause__ is cause
    assert code in str(error)
    assert advice in str(error)


def test_credentials_are_configuration() -> None:
    assert type(translate(NoCredentialsError(), "list", "s3://b")) is S3ConfigError
    assert type(translate(ImportError("no s3fs"), "open", "s3://b")) is S3ConfigError
    assert type(translate(ImportError("no gcsfs"), "open", "gs://b")) is StorageManagerError


def test_missing_is_told_apart() -> None:
    assert is_missing(FileNotFoundError())
    assert is_missing(answered("NoSuchKey", FileNotFoundError))
    assert not is_missing(answered("NoSuchBucket", FileNotFoundError))
    assert not is_missing(answered("AccessDenied", PermissionError))
    assert not is_missing(PermissionError())


def test_nothing_else_comes_through() -> None:
    with pytest.raises(LocalStorageError, match="KeyError: 'x'") as caught, translating("store", "/s"):
        raise KeyError("x")
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(LocalStorageError, match="cannot store /s: RuntimeError"), translating("store", "/s"):
        raise RuntimeError


def test_ours_pass_as_they_are() -> None:
    ours = InvalidIdError("x")
    with pytest.raises(InvalidIdError) as caught, translating("store", "/s"):
        raise ours
    assert caught.value is ours
    assert (ours.operation, ours.url) == ("store", None)
    assert translate(ours, "list", "/t") is ours


@pytest.mark.parametrize("cls", [asyncio.CancelledError, KeyboardInterrupt])
def test_a_cancellation_is_no_error(cls: type[BaseException]) -> None:
    with pytest.raises(cls), translating("store", "/s"):
        raise cls


ALL = [StorageManagerError, S3ConfigError, S3OperationError, LocalStorageError, InvalidIdError, InvalidDataError]


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("again", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
def test_every_error_survives_a_copy(cls: type[StorageManagerError], again: Any) -> None:
    for attributes in ({}, {"operation": "delete", "url": "s3://b/s"}):
        error = cls("what failed", **attributes)
        result = again(error)
        assert type(result) is cls
        assert (str(result), result.operation, result.url) == ("what failed", error.operation, error.url)


@pytest.mark.parametrize("cls", ALL)
def test_operation_and_url_are_unknown_until_said(cls: type[StorageManagerError]) -> None:
    error = cls("message")
    assert (str(error), error.operation, error.url) == ("message", None, None)
    with pytest.raises(TypeError):
        cls("message", "store")  # type: ignore[misc]


def as_s3fs_raises(code: str) -> Exception:
    """The error of s3fs itself for an answer, not an imitation of it."""
    error: Exception = translate_boto_error(ClientError({"Error": {"Code": code, "Message": "no"}}, "PutObject"))
    assert isinstance(error, OSError)
    return error


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("NoSuchBucket", "create the bucket"),
        ("AccessDenied", "s3:ListBucket"),
        ("AllAccessDisabled", "s3:ListBucket"),
        ("403", "s3:ListBucket"),
        ("InvalidAccessKeyId", "correct the credentials"),
        ("SignatureDoesNotMatch", "correct the credentials"),
        ("ExpiredToken", "renew the session credentials"),
        ("InvalidToken", "renew the session credentials"),
        ("TokenRefreshRequired", "renew the session credentials"),
        ("PermanentRedirect", "SM_S3_REGION"),
        ("301", "SM_S3_REGION"),
        ("AuthorizationHeaderMalformed", "SM_S3_REGION"),
        ("IllegalLocationConstraintException", "SM_S3_REGION"),
        ("RequestTimeTooSkewed", "clock"),
        ("SlowDown", "try again later"),
        ("ServiceUnavailable", "try again later"),
        ("InternalError", "try again later"),
        ("500", "try again later"),
        ("503", "try again later"),
    ],
)
def test_what_s3fs_raises_gets_code_and_advice(code: str, advice: str) -> None:
    cause = as_s3fs_raises(code)
    error = translate(cause, "store", "s3://b/s/t")
    assert type(error) is S3OperationError
    assert str(error).startswith("cannot store s3://b/s/t: ")
    assert code in str(error)
    assert advice in str(error)
    assert (error.__cause__, error.operation, error.url) == (cause, "store", "s3://b/s/t")


@pytest.mark.parametrize("code", ["NoSuchKey", "MethodNotAllowed", "NewInTheNextYear"])
def test_no_advice_from_the_disk_for_an_answer_of_s3(code: str) -> None:
    """EIO and EPERM of s3fs are made up: they say nothing of a disk."""
    error = translate(as_s3fs_raises(code), "retrieve", "s3://b/s")
    assert code in str(error)
    assert not str(error).endswith(")")  # advice stands in parentheses at the end
    assert not any(word in str(error) for word in ("EIO", "ENOENT", "EPERM", "directory"))


@pytest.mark.parametrize(
    ("code", "missing"),
    [("NoSuchKey", True), ("404", False), ("NoSuchBucket", False), ("AccessDenied", False), ("SlowDown", False)],
)
def test_missing_as_s3fs_raises_it(code: str, missing: bool) -> None:
    assert is_missing(as_s3fs_raises(code)) is missing


@pytest.mark.parametrize("url", ["s3://b", "/data", "gs://b"])
def test_a_missing_bucket_behind_two_errors(url: str) -> None:
    outer = FileNotFoundError("b")
    outer.__cause__ = as_s3fs_raises("NoSuchBucket")
    assert not is_missing(outer)
    said = str(translate(outer, "list", url))
    assert "NoSuchBucket" in said
    assert ("create the bucket" in said) == (url != "gs://b")  # what can be done there is not known


@pytest.mark.parametrize("response", [None, {}, {"Error": None}, {"Error": {}}, {"Error": {"Code": None}}, "text"])
def test_answers_without_a_code(response: object) -> None:
    error = PermissionError(errno.EACCES, "denied")
    error.response = response  # type: ignore[attr-defined]
    assert type(translate(error, "list", "s3://b")) is S3OperationError
    assert "EACCES" in str(translate(error, "list", "s3://b"))


@pytest.mark.parametrize(
    ("url", "error"),
    [("s3://b/s", S3ConfigError), ("gs://b/s", StorageManagerError), ("memory://s", StorageManagerError)],
)
def test_credentials_by_protocol(url: str, error: type[StorageManagerError]) -> None:
    for cause in (NoCredentialsError(), ProfileNotFound(profile="x")):
        assert type(translate(cause, "list", url)) is error


@pytest.mark.parametrize(
    "cause",
    [
        EndpointConnectionError(endpoint_url="http://h"),
        botocore.exceptions.ConnectTimeoutError(endpoint_url="http://h"),
        botocore.exceptions.ReadTimeoutError(endpoint_url="http://h"),
        aiohttp.ClientConnectionError("refused"),
        aiohttp.ServerDisconnectedError(),
        ConnectionResetError(errno.ECONNRESET, "reset"),
        ConnectionRefusedError(errno.ECONNREFUSED, "refused"),
    ],
)
def test_who_does_not_answer_is_looked_for(cause: Exception) -> None:
    error = translate(cause, "list", "s3://b")
    assert type(error) is S3OperationError
    assert "SM_S3_ENDPOINT_URL" in str(error)


def classes(*modules: str) -> list[type[Exception]]:
    """Every exception class that these modules name, if they are installed."""
    found = set()
    for name in modules:
        module = importlib.import_module(name) if importlib.util.find_spec(name.partition(".")[0]) else None
        values = vars(module).values() if module else ()
        found |= {cls for cls in values if isinstance(cls, type) and issubclass(cls, Exception)}
    return sorted((cls for cls in found if not issubclass(cls, Warning)), key=lambda cls: cls.__name__)


BOTOCORE = classes("botocore.exceptions", "botocore.parsers", "aiobotocore.response", "aiobotocore.httpchecksum")
OTHERS = classes("aiohttp", "aiohttp.client_exceptions", "s3fs.errors", "obstore.exceptions", "asyncio", "socket")

# What botocore raises once a request is on its way, or for what came back; all else of its own is configuration.
ON_THE_WAY = (
    botocore.exceptions.HTTPClientError,
    botocore.exceptions.ConnectionError,
    botocore.exceptions.ClientError,
    botocore.exceptions.IncompleteReadError,
    botocore.exceptions.ChecksumError,
    botocore.exceptions.FlexibleChecksumError,
    botocore.exceptions.UnseekableStreamError,
    botocore.exceptions.CapacityNotAvailableError,
    botocore.exceptions.PaginationError,
    botocore.exceptions.WaiterError,
)


def raised(cls: type[Exception], url: str) -> StorageManagerError:
    """What comes out of the translation when this class is raised in it."""
    # each constructor wants its own arguments, and some give their words only then
    cause = type(cls.__name__, (cls,), {"__init__": lambda self: None, "__str__": lambda self: "words"})()
    with pytest.raises(StorageManagerError) as caught, translating("store", url):
        raise cause
    assert caught.value.__cause__ is cause
    assert (caught.value.operation, caught.value.url) == ("store", url)
    assert cls.__name__ in str(caught.value)
    return caught.value


@pytest.mark.parametrize("cls", BOTOCORE, ids=lambda cls: cls.__name__)
def test_every_error_of_botocore_is_the_documented_one(cls: type[Exception]) -> None:
    """Before a request: configuration; a request that failed: operation."""
    configuration = issubclass(cls, botocore.exceptions.BotoCoreError) and not issubclass(cls, ON_THE_WAY)
    assert type(raised(cls, "s3://b/s")) is (S3ConfigError if configuration else S3OperationError)


@pytest.mark.parametrize("cls", OTHERS, ids=lambda cls: cls.__name__)
def test_every_error_of_the_transports_is_the_documented_one(cls: type[Exception]) -> None:
    configuration = cls.__name__ in {"UnauthenticatedError", "UnknownConfigurationKeyError"}
    configuration = configuration or issubclass(cls, ImportError)
    assert type(raised(cls, "s3://b/s")) is (S3ConfigError if configuration else S3OperationError)
    assert type(raised(cls, "/data/s")) is LocalStorageError
    assert type(raised(cls, "gs://b/s")) is StorageManagerError


def test_the_walk_met_them_all() -> None:
    names = {cls.__name__ for cls in BOTOCORE + OTHERS}
    assert {"NoCredentialsError", "ResponseParserError", "AioReadTimeoutError", "ClientPayloadError"} <= names
    assert (_CONFIG_ERRORS | _REQUEST_ERRORS) - {"ImportError", "OptionsError"} <= names


PASSING = [
    EndpointConnectionError(endpoint_url="http://h"),
    botocore.exceptions.ReadTimeoutError(endpoint_url="http://h"),
    botocore.exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2),
    botocore.parsers.ResponseParserError("garbage"),
    aiohttp.ClientPayloadError("cut"),
    aiohttp.ServerDisconnectedError(),
    ConnectionResetError(errno.ECONNRESET, "reset"),
    TimeoutError(),
    *(ClientError({"Error": {"Code": code}}, "x") for code in ("SlowDown", "RequestTimeout", "503", "429")),
    ClientError({"Error": {"Code": "New"}, "ResponseMetadata": {"HTTPStatusCode": 502}}, "x"),
]
STAYING = [
    NoCredentialsError(),
    FileNotFoundError(errno.ENOENT, "no"),
    PermissionError(errno.EACCES, "no"),
    *(ClientError({"Error": {"Code": code}}, "x") for code in ("AccessDenied", "NoSuchBucket", "ExpiredToken", "301")),
]


@pytest.mark.parametrize(("error", "passing"), [(e, True) for e in PASSING] + [(e, False) for e in STAYING], ids=repr)
def test_what_another_attempt_may_not_meet(error: Exception, passing: bool) -> None:
    """5xx, SlowDown and 429 (S3 API reference, RFC 6585), connections and bodies; no other answer of the service."""
    assert is_transient(error) is passing


def test_the_system_really_says_so(tmp_path: Path) -> None:
    """Errors that the disk itself raises, not ones that a test has made."""
    (tmp_path / "file").touch()
    with pytest.raises(LocalStorageError, match=r"ENOTDIR.*in the way") as caught, translating("store", "/s"):
        (tmp_path / "file" / "x").write_text("")
    assert isinstance(caught.value.__cause__, NotADirectoryError)
    with pytest.raises(LocalStorageError, match=r"ENOENT.*directory is gone"), translating("store", "/s"):
        (tmp_path / "none" / "x").write_text("")


@pytest.mark.parametrize("number", [errno.EDQUOT, errno.EPERM, errno.EIO, errno.ENAMETOOLONG, errno.EBUSY])
def test_other_numbers_are_named(number: int) -> None:
    error = translate(OSError(number, os.strerror(number)), "store", "/s")
    assert type(error) is LocalStorageError
    assert errno.errorcode[number] in str(error)


@pytest.mark.parametrize("cause", [OSError(99_999, "odd"), OSError("no number"), RuntimeError("x."), TimeoutError()])
def test_errors_without_a_known_number(cause: Exception) -> None:
    error = translate(cause, "store", "/s")
    assert type(cause).__name__ in str(error)
    assert not str(error).endswith(".")


@pytest.mark.parametrize("cls", [KeyError, StopIteration, StopAsyncIteration, AssertionError, MemoryError])
def test_no_exception_at_all_comes_through(cls: type[Exception]) -> None:
    """StopIteration is one that a context manager made of a generator may mistake for its own."""
    cause = cls("x")
    with pytest.raises(StorageManagerError) as caught, translating("list", "/s"):
        raise cause
    assert caught.value.__cause__ is cause
    assert (caught.value.operation, caught.value.url) == ("list", "/s")


@pytest.mark.parametrize(
    ("operation", "error", "advice"),
    [
        ("export", NotADirectoryError(errno.ENOTDIR, "x"), r"move it, or choose another directory\)"),
        ("render", OSError(errno.EROFS, "x"), r"read-only: choose another directory\)"),
        ("store", OSError(errno.EROFS, "x"), r"read-only: choose another local_base_path\)"),
        ("open", FileNotFoundError(errno.ENOENT, "x"), r"\(the directory cannot be created there: mount its disk"),
        ("store", FileNotFoundError(errno.ENOENT, "x"), r"\(the directory is gone: create it again"),
    ],
)
def test_advice_fits_the_operation(operation: str, error: OSError, advice: str) -> None:
    assert re.search(advice, str(translate(error, operation, "/data")))


def test_no_error_no_change() -> None:
    with translating("list", "/s"):
        result = 7
    assert result == 7


@pytest.mark.parametrize("cls", ALL)
def test_what_ours_says_already_is_kept(cls: type[StorageManagerError]) -> None:
    """The innermost URL is nearest to what failed; the outermost operation is what the user called."""
    ours = cls("x", operation="store", url="/inner")
    with pytest.raises(cls) as caught, translating("check", "/outer"), translating("list", "/middle"):
        raise ours
    assert caught.value is ours
    assert (ours.operation, ours.url, ours.__cause__) == ("check", "/inner", None)


def test_nested_translation_is_done_once() -> None:
    cause = OSError(errno.ENOSPC, "full")
    with pytest.raises(LocalStorageError) as caught, translating("store", "/outer"), translating("write", "/inner"):
        raise cause
    assert (caught.value.operation, caught.value.url) == ("store", "/inner")
    assert caught.value.__cause__ is cause
    assert str(caught.value).count("cannot ") == 1


@pytest.mark.parametrize("cls", [asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_exception_passes_as_it_is(cls: type[BaseException]) -> None:
    interruption = cls()
    with pytest.raises(cls) as caught, translating("store", "/s"):
        raise interruption
    assert caught.value is interruption
    assert caught.value.__cause__ is None


def test_an_error_without_words_is_called_by_its_name() -> None:
    assert str(translate(RuntimeError(), "store", "/s")) == "cannot store /s: RuntimeError"
