"""Where the sessions go: constructor argument, else `SM_*` variable, else default, in one frozen model.

Everything that is wrong on its face is refused here, before any I/O beyond reading the AWS profile files.
botocore stays unloaded. No message repeats a value that was given: it could be a secret.
"""

import ipaddress
import os
import re
from configparser import Error as ConfigParserError
from configparser import RawConfigParser
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from storage_manager.errors import LocalStorageError, S3ConfigError, StorageManagerError

__all__ = ["DEFAULT_LOCAL_BASE_PATH", "DEFAULT_S3_REGION", "Config", "arguments_of", "check_credentials"]

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
    s3_engine: Literal["s3fs"] = "s3fs"
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
            raise ValueError("an http:// or https:// URL with a host, without user, password, query or fragment")
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


def arguments_of(url: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The settings that a URL of S3 or of the local disk stands for; None for any other fsspec backend.

    Raises:
        S3ConfigError, StorageManagerError: the URL holds more than a place (a password, a query).
    """
    parts = urlsplit(os.fspath(url)) if "://" in os.fspath(url) else None
    if parts is None or parts.scheme == "file":
        return {"local_base_path": unquote(parts.path) if parts else url, "prefer_s3": False, "require_s3": False}
    if parts.scheme == "s3":
        if parts.query or parts.fragment or "@" in parts.netloc:
            raise S3ConfigError("an S3 URL is s3://bucket/prefix, and no more", operation="configure")
        return {"s3_bucket_name": parts.netloc, "s3_prefix": parts.path, "prefer_s3": True}
    if parts.password is not None:
        raise StorageManagerError("a URL must not hold a password: use storage_options", operation="configure")
    return None


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


def _profiles() -> set[str]:
    names = set()
    for variable, default in (("AWS_CONFIG_FILE", "config"), ("AWS_SHARED_CREDENTIALS_FILE", "credentials")):
        parser = RawConfigParser(strict=False)
        path = os.environ.get(variable) or Path.home() / ".aws" / default
        try:
            parser.read(path, encoding="utf-8")
        except (ConfigParserError, UnicodeDecodeError) as error:
            raise S3ConfigError(f"{path} cannot be read as an AWS profile file", operation="configure") from error
        names |= {section.removeprefix("profile ").strip(" \"'") for section in parser.sections()}
    return names


def check_credentials(options: dict[str, Any]) -> None:
    """Refuse credentials that are wrong on their face: half a key pair, or a profile that no file has.

    Parameters:
        options: the storage options of the filesystem; where they name no credentials, AWS_* variables are read.

    Raises:
        S3ConfigError: what is missing and where it is looked for; no value is repeated.
    """
    client = options.get("client_kwargs") or {}
    key = options.get("key") or client.get("aws_access_key_id")
    secret = options.get("secret") or client.get("aws_secret_access_key")
    if not key and not secret:
        key, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    if key and not secret:
        raise S3ConfigError(
            "an access key id is given without its secret: set AWS_SECRET_ACCESS_KEY, or storage_options['secret']",
            operation="configure",
        )
    profile = options.get("profile") or os.environ.get("AWS_DEFAULT_PROFILE") or os.environ.get("AWS_PROFILE")
    if profile and profile not in _profiles():
        raise S3ConfigError(
            "the AWS profile (AWS_PROFILE, or storage_options['profile']) is in neither AWS file: "
            "add it to ~/.aws/config, or unset it",
            operation="configure",
        )
