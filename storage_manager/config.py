"""The settings, as one frozen dataclass. Each comes from a constructor argument, an `SM_*` variable, or its default.

Settings that are visibly wrong are refused here. No message repeats the value of a setting, because it could be a
secret. This is not a pydantic model: importing pydantic took a third of the time of `storage-manager ls`.
"""

import ipaddress
import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import SplitResult, unquote, urlsplit

from storage_manager.defaults import DEFAULT_LOCAL_BASE_PATH, DEFAULT_S3_REGION
from storage_manager.errors import LocalStorageError, S3ConfigError, StorageManagerError, translating
from storage_manager.s3_settings import ENDPOINT_RULE, configured_endpoint, is_amazon, is_endpoint

__all__ = ["DEFAULT_LOCAL_BASE_PATH", "DEFAULT_S3_REGION", "Config", "arguments_of", "warn_if_mistyped"]

logger = logging.getLogger(__name__)

_PREFIX = "SM_"
# Amazon's rule (Amazon S3 User Guide, "General purpose bucket naming rules"), and the names that all clients accept.
_AMAZON_BUCKET = re.compile(r"(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ANY_BUCKET = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,255}")
_REGION = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
_FIELDS = {"s3_region_name": "s3_region"}  # the only argument whose field and variable have another name
_PREFIX_LIMIT = 700  # bytes; an S3 key has at most 1024, of which two ids and a file name take up to 275


def _is_ip_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class Config:
    """The resolved settings. `root` is the URL of the directory that contains the sessions.

    Attributes:
        other_root: the URL in SM_ROOT if it is neither on S3 nor on local disk, else None.
    """

    s3_bucket_name: str | None = None
    s3_region: str = DEFAULT_S3_REGION
    local_base_path: str = DEFAULT_LOCAL_BASE_PATH
    prefer_s3: bool = True
    s3_prefix: str = ""
    s3_endpoint_url: str | None = None
    s3_engine: Literal["s3fs", "obstore"] = "s3fs"
    require_s3: bool = False
    other_root: str | None = None

    @classmethod
    def resolve(cls, storage_options: Mapping[str, Any] | None = None, **arguments: Any) -> "Config":
        """Read each setting from its argument. If that is None, read the environment, and then use the default.

        Parameters:
            storage_options: the user's keywords for the filesystem. They may include the endpoint.

        Raises:
            S3ConfigError: a setting is wrong. The message names the argument or variable, but not its value.
            LocalStorageError: `local_base_path` is not the name of a directory.
            StorageManagerError: SM_ROOT contains more than the URL of a root.
        """
        given = {_FIELDS.get(name, name): value for name, value in arguments.items() if value is not None}
        settings = {"local_base_path": DEFAULT_LOCAL_BASE_PATH, **_environment(given), **given}
        checked, faults = _check(settings, configured_endpoint(storage_options or {}))
        if faults:
            wrong = LocalStorageError if "local_base_path" in faults else S3ConfigError
            raise wrong(_explain(faults, given), operation="configure")
        config = cls(**checked)
        if config.require_s3 and not config.uses_s3:
            missing = "s3_bucket_name (SM_S3_BUCKET_NAME) is not set" if config.prefer_s3 else "prefer_s3 is false"
            missing = "SM_ROOT is not on S3" if _root_url(given) else missing
            raise S3ConfigError(f"require_s3 is set, but {missing}", operation="configure")
        return config

    @property
    def uses_s3(self) -> bool:
        """True if a bucket is configured and S3 is preferred."""
        return self.prefer_s3 and self.s3_bucket_name is not None

    @property
    def root(self) -> str:
        """`s3://bucket[/prefix]`, the absolute local directory, or the URL of another backend."""
        if self.other_root is not None:
            return self.other_root
        if self.uses_s3:
            return "/".join(filter(None, (f"s3://{self.s3_bucket_name}", self.s3_prefix)))
        return self.local_base_path


def _check(settings: Mapping[str, Any], endpoint: str | None) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the checked settings, and the reason for each setting that is wrong.

    Parameters:
        endpoint: the endpoint of storage_options or of the AWS variables. The rule for buckets depends on it.
    """
    checked: dict[str, Any] = {}
    faults = {name: "is not a setting" for name in settings if name not in _CHECKS}
    for name, check in _CHECKS.items():  # the endpoint before the bucket
        if name in settings:
            try:
                checked[name] = check(settings[name], endpoint or checked.get("s3_endpoint_url"))
            except ValueError as error:
                if isinstance(error, StorageManagerError):
                    raise
                faults[name] = str(error)
    return checked, faults


def _check_text(value: object, endpoint: str | None = None) -> str:
    if not isinstance(value, str):
        raise ValueError("is not valid: it must be a str")
    return value


def _check_bool(value: object, endpoint: str | None) -> bool:
    answer = (
        _BOOLEANS.get(value.lower() if isinstance(value, str) else value) if isinstance(value, (str, int)) else None
    )
    if answer is None:
        raise ValueError("is not valid: it must be true or false")
    return answer


_BOOLEANS: dict[str | int, bool] = {
    **dict.fromkeys((True, 1, "1", "true", "t", "yes", "y", "on"), True),
    **dict.fromkeys((False, 0, "0", "false", "f", "no", "n", "off"), False),
}


def _check_engine(value: object, endpoint: str | None) -> str:
    if value not in ("s3fs", "obstore"):
        raise ValueError("is not valid: it must be 's3fs' or 'obstore'")
    return str(value)


def _make_absolute(value: object, endpoint: str | None) -> str:
    path = os.fspath(value) if isinstance(value, (str, os.PathLike)) else value
    if not isinstance(path, str) or not path or "\0" in path:
        raise ValueError("is not the name of a directory")
    if "://" in path:
        raise ValueError("is a URL: use StorageManager.from_url(url)")
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        raise ValueError("begins with ~, but there is no such home directory: set HOME, or give a full path")
    with translating("open", path):
        return os.path.abspath(expanded)


def _check_bucket(value: object, endpoint: str | None) -> str:
    name = _check_text(value)
    if is_amazon(endpoint) and (not _AMAZON_BUCKET.fullmatch(name) or _is_ip_address(name)):
        rule = "use 3 to 63 lower-case letters, digits, '-' and single '.', and no IP address"
        raise ValueError(
            f"is not a valid bucket name on Amazon S3: {rule}; give an access point by its alias, "
            "and the endpoint of another service in s3_endpoint_url"
        )
    if not _ANY_BUCKET.fullmatch(name):
        raise ValueError("is not a valid bucket name: use 1 to 255 letters, digits and '-', '_', '.'")
    return name


def _check_region(value: object, endpoint: str | None) -> str:
    region = _check_text(value)
    if not _REGION.fullmatch(region):
        raise ValueError("is not a valid region: use 1 to 63 letters, digits and inner '-', such as us-west-2")
    return region


def _strip_slashes(value: object, endpoint: str | None) -> str:
    prefix = _check_text(value).strip("/")
    wrong = re.search(r"[*?\[\]\\\x00-\x1f\x7f\ud800-\udfff]|::|(^|/)\.{1,2}(/|$)|//", prefix)
    if wrong or not prefix.isprintable() or len(prefix.encode(errors="replace")) > _PREFIX_LIMIT:
        rule = f"use at most {_PREFIX_LIMIT} bytes, without * ? [ ] \\ :: //, control characters and parts . or .."
        raise ValueError(f"is not a valid prefix: {rule}")
    return prefix


def _check_endpoint_url(value: object, endpoint: str | None) -> str:
    url = _check_text(value)
    if not is_endpoint(url):
        raise ValueError(f"is not a valid endpoint: use {ENDPOINT_RULE}")
    return url


# The function that checks each setting and returns its value.
_CHECKS: dict[str, Callable[[object, str | None], Any]] = {
    "s3_endpoint_url": _check_endpoint_url,
    "s3_bucket_name": _check_bucket,
    "s3_region": _check_region,
    "local_base_path": _make_absolute,
    "prefer_s3": _check_bool,
    "s3_prefix": _strip_slashes,
    "s3_engine": _check_engine,
    "require_s3": _check_bool,
    "other_root": _check_text,
}
_VARIABLES = ("SM_ROOT", *(_PREFIX + field.upper() for field in _CHECKS if field != "other_root"))
_OF_TESTS = "SM_TEST_"  # the variables of the test suite begin so
_SIMILAR = 0.8  # difflib's ratio above which a variable counts as mistyped: SM_BUCKET_NAME has 0.9
_NAMES_OF_A_ROOT = {"s3_bucket_name", "local_base_path", "prefer_s3"}


def _environment(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings in the environment. The names ignore case; an empty variable counts as unset.

    SM_ROOT overrides the variables of bucket, prefix and directory, and each of these arguments overrides SM_ROOT.
    """
    variables = _variables()
    for name in variables:
        if name.startswith(_PREFIX) and not name.startswith(_OF_TESTS) and name not in _VARIABLES:
            warn_if_mistyped(name)
    fields = {field: _PREFIX + field.upper() for field in _CHECKS if field != "other_root"}
    settings: dict[str, Any] = {field: variables[name] for field, name in fields.items() if name in variables}
    url = _root_url(given)
    return settings if url is None else {**settings, **_settings_of_root(url)}


def _variables() -> dict[str, str]:
    return {name.upper(): value for name, value in os.environ.items() if value}


@lru_cache(maxsize=256)  # one warning for each variable
def warn_if_mistyped(name: str) -> None:
    """Log a warning if a variable is no setting, but its name is similar to one. Its value is not read."""
    from difflib import get_close_matches  # noqa: PLC0415 - only mistakes need it

    similar = get_close_matches(name, _VARIABLES, n=1, cutoff=_SIMILAR)
    if similar:
        logger.warning("the variable %s is ignored, because there is no such setting: did you mean %s?", name, *similar)


def _root_url(given: Mapping[str, Any]) -> str | None:
    """Return SM_ROOT; None if it is not set, or if an argument names a root."""
    return None if _NAMES_OF_A_ROOT & given.keys() else _variables().get("SM_ROOT")


def _settings_of_root(url: str) -> dict[str, Any]:
    try:
        settings = arguments_of(url)
    except StorageManagerError as error:
        raise type(error)(f"SM_ROOT: {error}", operation="configure") from error
    settings = {"other_root": url, "prefer_s3": False} if settings is None else settings
    return {name: value for name, value in settings.items() if name != "require_s3"}  # SM_REQUIRE_S3 still holds


def _explain(faults: Mapping[str, str], given: Mapping[str, Any]) -> str:
    """Return a message with the argument or variable of each wrong setting, and the reason."""
    arguments = {field: argument for argument, field in _FIELDS.items()}
    sources = {field: arguments.get(field, field) if field in given else _variable_of(field, given) for field in faults}
    return "; ".join(f"{sources[field]} {why}" for field, why in faults.items())


def _variable_of(field: str, given: Mapping[str, Any]) -> str:
    """Return the name of the variable that a setting came from."""
    url = _root_url(given)
    return "SM_ROOT" if url is not None and field in _settings_of_root(url) else _PREFIX + field.upper()


_PARAMETERS = ("password", "passwd", "token", "secret", "key", "auth")  # of a URL, after a semicolon
_LOCAL = ("file", "local")  # the protocols, as fsspec names them
_WITH_CONTAINER = ("abfs", "abfss", "az")  # `abfs://container@account/...`: no user
_BAD_SLASHES = re.compile(
    r"[a-z][a-z0-9+]+:/(?!/)|(s3a?|file|local|memory|gc?s|az|abfss?|https?):(?!//)", re.IGNORECASE
)


def arguments_of(url: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return the settings for a URL on S3 or on local disk; None for any other fsspec backend.

    Raises:
        LocalStorageError: the URL is empty.
        S3ConfigError, StorageManagerError: the URL contains more than a root (for example a password or a query).
    """
    text = os.fspath(url)
    if not text:
        raise LocalStorageError("the URL is empty: give s3://bucket/prefix or a directory", operation="configure")
    if _BAD_SLASHES.match(text):
        raise StorageManagerError("a URL has two slashes after its protocol: s3://bucket/prefix", operation="configure")
    if "://" not in text:
        return {"local_base_path": url, "prefer_s3": False, "require_s3": False}
    if text.lower().startswith(("s3://", "s3a://")):
        return _s3_arguments(text)
    parts = _split(text)
    if parts.scheme in _LOCAL and parts.netloc in ("", "localhost"):
        return {"local_base_path": unquote(parts.path), "prefer_s3": False, "require_s3": False}
    has_user = "@" in parts.netloc.replace("%40", "@") and parts.scheme not in _WITH_CONTAINER  # it may be a token
    if has_user or parts.scheme in _LOCAL or _has_password(text.lower()):
        why = "a URL must not contain a user, a password or '::', or the host of a file: use storage_options"
        raise StorageManagerError(why, operation="configure")
    if not {*"*?["}.isdisjoint(text):  # fsspec would delete in every directory that matches
        raise StorageManagerError(
            "the URL must not contain * ? or [: to fsspec they are patterns", operation="configure"
        )
    return None


def _s3_arguments(url: str) -> dict[str, Any]:
    """Return the settings for a URL on S3. `#` and `%` in its prefix are ordinary characters, as in fsspec."""
    before, sharp, after = url.partition("#")
    parts = _split(before, S3ConfigError)
    if sharp and not parts.path:
        raise S3ConfigError(_ONLY_A_ROOT, operation="configure")
    return {"s3_bucket_name": parts.netloc, "s3_prefix": parts.path + sharp + after, "prefer_s3": True}


def _has_password(url: str) -> bool:
    """Return True if a URL in lower case has a password, or chains another URL, which may have a password."""
    before = url.partition("//")[2].replace("%40", "@").rpartition("@")[0]  # the last @: a password may have others
    return ":" in before or "%3a" in before or "::" in url or any(f";{name}=" in url for name in _PARAMETERS)


_ONLY_A_ROOT = "the URL must name a root only: remove its user, query, fragment or control characters"


def _split(url: str, cls: type[StorageManagerError] = StorageManagerError) -> SplitResult:
    """Split a URL that names only a root. `urlsplit` alone would silently remove control characters."""
    try:
        parts = urlsplit(url)
    except ValueError:
        # not chained: the text of the error quotes the URL, which may hold a password
        raise cls("the URL cannot be read: its host is malformed", operation="configure") from None
    is_strict = parts.scheme in _LOCAL or cls is S3ConfigError
    if not url.isprintable() or parts.query or parts.fragment or (is_strict and "@" in parts.netloc):
        raise cls(_ONLY_A_ROOT, operation="configure")
    return parts
