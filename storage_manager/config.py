"""The settings: constructor argument, else `SM_*` variable, else default; and what S3 is told because of them.

Settings that are visibly wrong are refused here. No file is read but the AWS profiles, no request is made, and
botocore stays unloaded. No message repeats a value that was given, because it could be a secret.
"""

import ipaddress
import os
import re
from collections.abc import Mapping
from configparser import Error as ConfigParserError
from configparser import RawConfigParser
from importlib.util import find_spec
from typing import Any, Literal
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from storage_manager.errors import (
    LocalStorageError,
    S3ConfigError,
    StorageManagerError,
    how_to_install,
    translating,
)

__all__ = [
    "ATTEMPTS",
    "DEFAULT_LOCAL_BASE_PATH",
    "DEFAULT_S3_REGION",
    "Config",
    "S3Settings",
    "arguments_of",
    "check_endpoint",
]

DEFAULT_S3_REGION = "us-west-2"
DEFAULT_LOCAL_BASE_PATH = "./.storage_data"
ATTEMPTS = 3  # of each request, before its failure is reported

_PREFIX = "SM_"
_BUCKET = re.compile(r"(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_REGION = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
_FIELDS = {"s3_region_name": "s3_region"}  # the one argument whose field and variable have another name
_PREFIX_LIMIT = 700  # bytes; an S3 key has at most 1024, of which two ids and a file name take up to 275


def _is_ip_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Config(BaseModel):
    """The resolved settings. `root` is the URL that sessions are below: `s3://bucket[/prefix]` or a directory."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)

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
        """Take each setting from its argument unless that is None, else from the environment, else the default.

        Raises:
            S3ConfigError: says which arguments or variables are wrong and how to correct them, never their values.
            LocalStorageError: `local_base_path` is not the name of a directory.
        """
        given = {_FIELDS.get(name, name): value for name, value in arguments.items() if value is not None}
        try:
            config = cls(**{**_environment(), **given})
        except ValidationError as error:
            raise S3ConfigError(_explain(error, given), operation="configure") from error
        if config.require_s3 and not config.uses_s3:
            missing = "s3_bucket_name (SM_S3_BUCKET_NAME) is not set" if config.prefer_s3 else "prefer_s3 is false"
            raise S3ConfigError(f"require_s3 is set, but {missing}", operation="configure")
        return config

    @field_validator("local_base_path", mode="before")
    @classmethod
    def _make_absolute(cls, value: object) -> str:
        path = os.fspath(value) if isinstance(value, (str, os.PathLike)) else value
        if not isinstance(path, str) or not path or "\0" in path:
            raise LocalStorageError("local_base_path must be the name of a directory", operation="configure")
        if "://" in path:
            raise LocalStorageError(
                "local_base_path is a URL; use StorageManager.from_url(url) for it", operation="configure"
            )
        expanded = os.path.expanduser(path)
        if expanded.startswith("~"):
            why = "local_base_path begins with ~, but there is no such home directory: set HOME, or give a full path"
            raise LocalStorageError(why, operation="configure")
        with translating("open", path):
            return os.path.abspath(expanded)

    @field_validator("s3_bucket_name")
    @classmethod
    def _check_bucket(cls, value: str | None) -> str | None:
        if value is not None and (not _BUCKET.fullmatch(value) or _is_ip_address(value)):
            rule = "use 3 to 63 lower-case letters, digits, '-' and single '.', and no IP address"
            raise ValueError(f"is not a valid bucket name: {rule}")
        return value

    @field_validator("s3_region")
    @classmethod
    def _check_region(cls, value: str) -> str:
        if not _REGION.fullmatch(value):
            raise ValueError("is not a valid region: use 1 to 63 letters, digits and inner '-', such as us-west-2")
        return value

    @field_validator("s3_prefix")
    @classmethod
    def _strip_slashes(cls, value: str) -> str:
        prefix = value.strip("/")
        wrong = re.search(r"[*?\[\]\\\x00-\x1f\x7f\ud800-\udfff]|::|(^|/)\.{1,2}(/|$)|//", prefix)
        if wrong or len(prefix.encode(errors="replace")) > _PREFIX_LIMIT:
            rule = f"use at most {_PREFIX_LIMIT} bytes, without * ? [ ] \\ :: // . .. and control characters"
            raise ValueError(f"is not a valid prefix: {rule}")
        return prefix

    @field_validator("s3_endpoint_url")
    @classmethod
    def _check_endpoint_url(cls, value: str | None) -> str | None:
        if value is not None and not _is_endpoint(value):
            raise ValueError(f"is not a valid endpoint: use {_ENDPOINT_RULE}")
        return value

    @property
    def uses_s3(self) -> bool:
        """True if a bucket is configured and S3 is preferred."""
        return self.prefer_s3 and self.s3_bucket_name is not None

    @property
    def root(self) -> str:
        """`s3://bucket[/prefix]`, or the absolute local directory."""
        if self.uses_s3:
            return "/".join(filter(None, (f"s3://{self.s3_bucket_name}", self.s3_prefix)))
        return self.local_base_path


def _environment() -> dict[str, str]:
    """Return the settings that the environment gives. Variables may have any case; an empty one counts as unset."""
    variables = {name.upper(): value for name, value in os.environ.items() if value}
    fields = {field: _PREFIX + field.upper() for field in Config.model_fields}
    return {field: variables[name] for field, name in fields.items() if name in variables}


def _explain(error: ValidationError, given: Mapping[str, Any]) -> str:
    """Return one sentence for each wrong setting, which names the argument or the variable that it came from."""
    faults = []
    for fault in error.errors(include_input=False, include_url=False, include_context=False):
        field, message = str(fault["loc"][0]), fault["msg"]
        argument = next((name for name, other in _FIELDS.items() if other == field), field)
        source = argument if field in given else _PREFIX + field.upper()
        ours = message.removeprefix("Value error, ")
        faults.append(f"{source} {ours}" if ours != message else f"{source} is not valid: {message}")
    return "; ".join(faults)


_S3, _LOCAL = ("s3", "s3a"), ("file", "local")  # the protocols, as fsspec names them
_BAD_SLASHES = re.compile(r"[a-z][a-z0-9+]+:/(?!/)|(s3a?|file|local|memory|gc?s|az|abfss?|https?):(?!//)")


def arguments_of(url: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return the settings that a URL of S3 or of the local disk means; None for any other fsspec backend.

    Raises:
        S3ConfigError, StorageManagerError: the URL holds more than a root (for example a password or a query).
    """
    text = os.fspath(url)
    if _BAD_SLASHES.match(text):
        raise StorageManagerError("a URL has two slashes after its protocol: s3://bucket/prefix", operation="configure")
    if "://" not in text:
        return {"local_base_path": url, "prefer_s3": False, "require_s3": False}
    parts = _split(text)
    if parts.scheme in _LOCAL and parts.netloc in ("", "localhost"):
        return {"local_base_path": unquote(parts.path), "prefer_s3": False, "require_s3": False}
    if parts.scheme in _S3:
        return {"s3_bucket_name": parts.netloc, "s3_prefix": parts.path, "prefer_s3": True}
    if parts.scheme in _LOCAL or re.search(r"//.*(:|%3a).*@|;password=|::", text, re.IGNORECASE):
        why = "a URL must not hold a password or '::', and a file URL no host: use storage_options"
        raise StorageManagerError(why, operation="configure")
    if not {*"*?["}.isdisjoint(text):  # fsspec would delete in every directory that matches
        raise StorageManagerError(
            "the URL must not hold * ? or [: fsspec takes them as patterns", operation="configure"
        )
    return None


def _split(url: str) -> SplitResult:
    """Split a URL that names a root and nothing more. `urlsplit` alone would drop control characters silently."""
    cls = S3ConfigError if url.lower().startswith(("s3:", "s3a:")) else StorageManagerError
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise cls("the URL cannot be read: its host is malformed", operation="configure") from error
    strict = parts.scheme in (*_S3, *_LOCAL)
    if not url.isprintable() or parts.query or parts.fragment or (strict and "@" in parts.netloc):
        why = "the URL must name a root only: remove its user, query, fragment or control characters"
        raise cls(why, operation="configure")
    return parts


_ENDPOINT_RULE = "an http:// or https:// URL with a host, without user, password, query or fragment"


def check_endpoint(url: str | None, root: str = "") -> None:
    """Refuse an endpoint URL that is malformed, or that names the bucket of the root.

    Parameters:
        url: the endpoint, from any source; None for Amazon's own.
        root: the root's URL; without one, the bucket is not looked for.

    Raises:
        S3ConfigError: does not repeat the endpoint.
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
        parts.port  # noqa: B018 - raises ValueError if it is not a number
    except ValueError:
        return False
    clean = url.isprintable() and " " not in url and "@" not in url
    return clean and parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query + parts.fragment


# Seconds without progress, for each of three attempts: a dead address is reported in 15, a silent server in 48.
CONNECT_TIMEOUT, READ_TIMEOUT = 4, 15
_PUBLIC = ("anon", "profile", "requester_pays", "use_ssl")  # options that hold no secret
# The AWS files with profiles, and how botocore reads the names of their sections.
_PROFILE_FILES = (
    ("AWS_CONFIG_FILE", "~/.aws/config", re.compile(r"profile\s+(.+)|(default)")),
    ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials", re.compile(r"(.+)")),
)


class S3Settings:
    """The settings of S3 for one root: the library's own, and the user's storage_options over them.

    Parameters:
        config: region, endpoint and engine.
        storage_options: the user's keywords for s3fs.
        max_concurrency: the most requests in flight.
    """

    def __init__(self, config: Config, storage_options: Mapping[str, Any], max_concurrency: int) -> None:
        self.engine = config.s3_engine
        self._options = storage_options
        self._ours = {
            "endpoint_url": config.s3_endpoint_url,
            "client_kwargs": {"region_name": config.s3_region},
            "config_kwargs": {
                "max_pool_connections": max_concurrency,
                "connect_timeout": CONNECT_TIMEOUT,
                "read_timeout": READ_TIMEOUT,
                "user_agent": "storage-manager",  # botocore builds its own for every request, which takes 90 us
                "signature_version": "s3v4",  # for links too, which botocore would sign as of 2006
                # A PUT signs the SHA-256 of its body, and its ETag is compared. A CRC is not needed, and services
                # other than Amazon's may not support it.
                "request_checksum_calculation": "when_required",
            },
            "max_concurrency": 1,
            "use_listings_cache": False,
        }

    def keywords(self, attempts: int = ATTEMPTS) -> dict[str, Any]:
        """Return the keywords for `s3fs.S3FileSystem`; botocore tries each request `attempts` times."""
        # botocore's "max_attempts" would count the retries alone
        retries = {"config_kwargs": {"retries": {"mode": "standard", "total_max_attempts": attempts}}}
        return _merge(_merge(self._ours, retries), self._options)

    @property
    def region(self) -> str:
        """The region that requests go to."""
        return str(self.keywords()["client_kwargs"]["region_name"])

    @property
    def endpoint_url(self) -> str | None:
        """The endpoint that requests go to; None for Amazon's own."""
        options = self.keywords()
        url = options["endpoint_url"] or options["client_kwargs"].get("endpoint_url")
        return None if url is None else str(url)

    @property
    def public_options(self) -> dict[str, Any]:
        """The options that another tool needs to open the same URLs; only those that never hold a secret."""
        given = {name: self._options[name] for name in _PUBLIC if name in self._options}
        endpoint = {"endpoint_url": self.endpoint_url} if self.endpoint_url else {}
        return {"client_kwargs": {"region_name": self.region}, **given, **endpoint}

    def check(self, root: str) -> None:
        """Refuse an engine that is not installed, credentials that are visibly wrong, and a wrong endpoint.

        Raises:
            S3ConfigError: says what is wrong and what to do; repeats no value.
        """
        if find_spec(self.engine) is None:
            why = f"s3_engine (SM_S3_ENGINE) is {self.engine}, which is not installed: {how_to_install(self.engine)}"
            raise S3ConfigError(why, operation="configure")
        self._check_keys()
        self._check_profile()
        environment = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        check_endpoint(self.endpoint_url or environment, root)

    def _check_keys(self) -> None:
        """Refuse an access key without its secret, or a secret without its key."""
        client = self._options.get("client_kwargs") or {}
        key = self._options.get("key") or client.get("aws_access_key_id")
        secret = self._options.get("secret") or client.get("aws_secret_access_key")
        if not key and not secret:
            key, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
            secret = secret if key else None  # botocore ignores this variable if it is alone
        if bool(key) != bool(secret) and not self._options.get("anon"):
            given, missing = ("secret", "its key id") if secret else ("key id", "its secret")
            how = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or storage_options['key'] and ['secret']"
            raise S3ConfigError(f"an access {given} is given without {missing}: {how}", operation="configure")

    def _check_profile(self) -> None:
        """Refuse a profile that neither AWS file has."""
        profile = self._options.get("profile") or os.environ.get("AWS_DEFAULT_PROFILE") or os.environ.get("AWS_PROFILE")
        if profile and profile not in _profiles():
            why = (
                "the AWS profile (AWS_PROFILE, or storage_options['profile']) is in neither AWS file: "
                "add it to ~/.aws/config, or unset it"
            )
            raise S3ConfigError(why, operation="configure")


def _profiles() -> set[str]:
    names = set()
    for variable, default, section in _PROFILE_FILES:
        parser = RawConfigParser(strict=False, default_section="")
        try:
            parser.read(os.path.expandvars(os.path.expanduser(os.environ.get(variable) or default)), encoding="utf-8")
        except (ConfigParserError, UnicodeDecodeError) as error:
            why = f"the file of {variable}, by default {default}, cannot be read: {type(error).__name__}"
            # not chained: the parser's message quotes the line, which may hold a secret
            raise S3ConfigError(why, operation="configure") from None
        found = filter(None, map(section.fullmatch, parser.sections()))
        names |= {next(filter(None, match.groups())).strip(" \"'") for match in found}
    return names


def _merge(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Return their options over ours, also inside of options that are mappings themselves."""
    both = {name: _merge(ours[name], value) for name, value in theirs.items() if _are_mappings(ours.get(name), value)}
    return {**ours, **theirs, **both}


def _are_mappings(*values: object) -> bool:
    return all(isinstance(value, Mapping) for value in values)
