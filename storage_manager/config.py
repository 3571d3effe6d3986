"""Where the sessions go: constructor argument, else `SM_*` variable, else default, in one frozen model.

Everything that is wrong on its face is refused here, before any I/O beyond reading the AWS profile files.
botocore stays unloaded. No message repeats a value that was given: it could be a secret.
"""

import ipaddress
import os
import re
from typing import Any, Literal
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from storage_manager.errors import LocalStorageError, S3ConfigError, StorageManagerError, translating

__all__ = [
    "DEFAULT_LOCAL_BASE_PATH",
    "DEFAULT_S3_REGION",
    "Config",
    "arguments_of",
    "check_endpoint",
]

DEFAULT_S3_REGION = "us-west-2"
DEFAULT_LOCAL_BASE_PATH = "./.storage_data"

_BUCKET = re.compile(r"(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_REGION = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
_FIELDS = {"s3_region_name": "s3_region"}  # the one argument that is not called like its variable
_PREFIX_LIMIT = 700  # bytes; S3 keys have 1024, and two ids with a file name take up to 275 of them


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Config(BaseSettings):
    """The resolved settings; `root` is where sessions lie: `s3://bucket[/prefix]`, or an absolute directory."""

    model_config = SettingsConfigDict(
        env_prefix="SM_", env_ignore_empty=True, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    s3_bucket_name: str | None = None
    s3_region: str = DEFAULT_S3_REGION
    local_base_path: str = DEFAULT_LOCAL_BASE_PATH
    prefer_s3: bool = True
    s3_prefix: str = ""
    s3_endpoint_url: str | None = None
    s3_engine: Literal["s3fs", "obstore"] = "s3fs"
    require_s3: bool = False

    @classmethod
    def resolve(cls, **arguments: Any) -> "Config":
        """Settings from the arguments that are not None, then from the environment, then the defaults.

        Raises:
            S3ConfigError: names each setting that is wrong and how to put it right, never its value.
            LocalStorageError: `local_base_path` is no directory's name.
        """
        given = {_FIELDS.get(name, name): value for name, value in arguments.items() if value is not None}
        try:
            config = cls(**given)
        except ValidationError as error:
            raise S3ConfigError(_explain(error), operation="configure") from error
        if config.require_s3 and not config.uses_s3:
            missing = "s3_bucket_name (SM_S3_BUCKET_NAME) is not set" if config.prefer_s3 else "prefer_s3 is false"
            raise S3ConfigError(f"require_s3 is set, but {missing}", operation="configure")
        return config

    @field_validator("local_base_path", mode="before")
    @classmethod
    def _absolute(cls, value: object) -> str:
        path = os.fspath(value) if isinstance(value, (str, os.PathLike)) else value
        if not isinstance(path, str) or not path or "\0" in path:
            raise LocalStorageError("local_base_path must be the name of a directory", operation="configure")
        if "://" in path:
            raise LocalStorageError(
                "local_base_path is a URL; use StorageManager.from_url(url) for it", operation="configure"
            )
        with translating("open", path):
            return os.path.abspath(os.path.expanduser(path))

    @field_validator("s3_bucket_name")
    @classmethod
    def _bucket(cls, value: str | None) -> str | None:
        if value is not None and (not _BUCKET.fullmatch(value) or _is_ip(value)):
            raise ValueError("3 to 63 lower-case letters, digits, '-' and single '.', no IP address")
        return value

    @field_validator("s3_region")
    @classmethod
    def _region(cls, value: str) -> str:
        if not _REGION.fullmatch(value):
            raise ValueError("a region has 1 to 63 letters, digits and inner '-', such as us-west-2")
        return value

    @field_validator("s3_prefix")
    @classmethod
    def _slashless(cls, value: str) -> str:
        prefix = value.strip("/")
        wrong = re.search(r"[*?\[\]\\\x00-\x1f\x7f\ud800-\udfff]|::|(^|/)\.{1,2}(/|$)|//", prefix)
        if wrong or len(prefix.encode(errors="replace")) > _PREFIX_LIMIT:
            raise ValueError(f"no * ? [ ] \\ :: // . .. or control characters, at most {_PREFIX_LIMIT} bytes")
        return prefix

    @field_validator("s3_endpoint_url")
    @classmethod
    def _endpoint(cls, value: str | None) -> str | None:
        if value is not None and not _is_endpoint(value):
            raise ValueError(_ENDPOINT_RULE)
        return value

    @property
    def uses_s3(self) -> bool:
        """True where a bucket is configured and preferred."""
        return self.prefer_s3 and self.s3_bucket_name is not None

    @property
    def root(self) -> str:
        """`s3://bucket[/prefix]`, or the absolute local directory."""
        if self.uses_s3:
            return "/".join(filter(None, (f"s3://{self.s3_bucket_name}", self.s3_prefix)))
        return self.local_base_path


_S3, _LOCAL = ("s3", "s3a"), ("file", "local")  # as fsspec names them


def arguments_of(url: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The settings that a URL of S3 or of the local disk stands for; None for any other fsspec backend.

    Raises:
        S3ConfigError, StorageManagerError: the URL holds more than a place (a password, a query).
    """
    text = os.fspath(url)
    if re.match(r"[a-z][a-z0-9+]+:/(?!/)|(s3a?|file|local|memory|gc?s|az|abfss?|https?):(?!//)", text):
        raise StorageManagerError("a URL has two slashes after its protocol: s3://bucket/prefix", operation="configure")
    if "://" not in text:
        return {"local_base_path": url, "prefer_s3": False, "require_s3": False}
    parts = _split(text)
    if parts.scheme in _LOCAL and parts.netloc in ("", "localhost"):
        return {"local_base_path": unquote(parts.path), "prefer_s3": False, "require_s3": False}
    if parts.scheme in _S3:
        return {"s3_bucket_name": parts.netloc, "s3_prefix": parts.path, "prefer_s3": True}
    if parts.scheme in _LOCAL or re.search(r"//.*(:|%3a).*@|;password=|::", text, re.IGNORECASE):
        raise StorageManagerError(
            "a URL must not hold a password or '::', nor a file URL a host: use storage_options", operation="configure"
        )
    if not {*"*?["}.isdisjoint(text):  # fsspec would delete in every place like it
        raise StorageManagerError("a URL of a place must not hold * ? or [, patterns to fsspec", operation="configure")
    return None


def _split(url: str) -> SplitResult:
    """The parts of a URL that is a place and no more; urlsplit itself drops control characters in silence."""
    cls = S3ConfigError if url.lower().startswith(("s3:", "s3a:")) else StorageManagerError
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise cls("the URL cannot be read: its host is malformed", operation="configure") from error
    strict = parts.scheme in (*_S3, *_LOCAL)
    if not url.isprintable() or parts.query or parts.fragment or (strict and "@" in parts.netloc):
        raise cls("the URL is more than a place: user, query, fragment or control characters", operation="configure")
    return parts


_ENDPOINT_RULE = "an http:// or https:// URL with a host, without user, password, query or fragment"


def check_endpoint(url: str | None, root: str) -> None:
    """Refuse an endpoint, from wherever it came, that is none or that names the bucket of the root.

    Raises:
        S3ConfigError: which does not repeat it.
    """
    where = "endpoint_url (s3_endpoint_url, SM_S3_ENDPOINT_URL, storage_options, or AWS_ENDPOINT_URL)"
    if url is None:
        return
    if not _is_endpoint(url):
        raise S3ConfigError(f"{where} must be {_ENDPOINT_RULE}", operation="configure")
    parts, bucket = urlsplit(url), urlsplit(root).netloc
    if parts.path.rstrip("/").endswith(f"/{bucket}") or str(parts.hostname).startswith(f"{bucket}."):
        raise S3ConfigError(f"{where} names the bucket: leave it out, it is added", operation="configure")


def _is_endpoint(url: str) -> bool:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises ValueError where it is no number
    except ValueError:
        return False
    clean = url.isprintable() and " " not in url and "@" not in url
    return clean and parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query + parts.fragment


def _explain(error: ValidationError) -> str:
    faults = []
    for fault in error.errors(include_input=False, include_url=False, include_context=False):
        field = str(fault["loc"][0])
        argument = next((name for name, other in _FIELDS.items() if other == field), field)
        faults.append(f"{argument} (SM_{field.upper()}): {fault['msg'].removeprefix('Value error, ')}")
    return "the configuration cannot be used: " + "; ".join(faults)
