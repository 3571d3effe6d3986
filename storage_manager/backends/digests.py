"""What an ETag of S3 tells of an object's bytes."""

import errno
import re
from collections.abc import Mapping
from hashlib import md5
from typing import Any

__all__ = ["CHANGED", "check_digest", "may_be_md5_of", "md5_in"]

CHANGED = "bytes changed on their way: their MD5 is not the object's ETag"
_MD5 = re.compile('"?([0-9a-f]{32})"?')


def check_digest(bucket: str, answer: Mapping[str, Any], data: bytes) -> None:
    """Refuse bytes that changed on their way, where the ETag is their MD5.

    It is that unless encrypted with a key of KMS or of the customer, or in a directory bucket (Amazon S3 API
    reference, "Object"; rclone relies on the same for every S3 service that it knows).
    """
    encrypted = "SSECustomerAlgorithm" in answer or answer.get("ServerSideEncryption", "AES256") != "AES256"
    if not encrypted and not bucket.endswith("--x-s3") and not may_be_md5_of(answer["ETag"], data):
        raise OSError(errno.EBADMSG, CHANGED)


def may_be_md5_of(e_tag: str, data: bytes) -> bool:
    """False where an ETag is an MD5, and not that of the bytes."""
    digest = md5_in(e_tag)
    return digest is None or digest == md5(data, usedforsecurity=False).hexdigest()


def md5_in(e_tag: str) -> str | None:
    """The MD5 that an ETag looks like."""
    digest = _MD5.fullmatch(e_tag.lower())
    return digest and digest[1]
