"""Every error is ours, chained, and says what to do."""

import asyncio
import errno
import os
import pickle

import pytest
from botocore.exceptions import ClientError, NoCredentialsError

import storage_manager
from storage_manager import (
    InvalidDataError,
    InvalidIdError,
    LocalStorageError,
    S3ConfigError,
    S3OperationError,
    StorageManagerError,
)
from storage_manager.errors import is_missing, translate, translating


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
        (errno.EACCES, "who may write"),
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
