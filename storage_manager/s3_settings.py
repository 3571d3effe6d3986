"""The settings of S3: the keywords for s3fs, and checks that need neither botocore nor a request.

No message repeats the value of a setting, because it could be a secret.
"""

import ipaddress
import os
import re
from collections.abc import Mapping
from configparser import Error as ConfigParserError
from configparser import RawConfigParser
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from storage_manager.errors import S3ConfigError, how_to_install

__all__ = [
    "ATTEMPTS",
    "ENDPOINT_RULE",
    "S3Settings",
    "Service",
    "check_endpoint",
    "configured_endpoint",
    "is_amazon",
    "is_endpoint",
]

ATTEMPTS = 3  # of each request, before its failure is reported
ENDPOINT_RULE = "an http:// or https:// URL with a host, without user, password, query or fragment"


def check_endpoint(url: str | None, root: str = "") -> None:
    """Refuse an endpoint URL that is malformed, or that contains the name of the bucket.

    Only Amazon endpoints are checked for the bucket: elsewhere, a bucket `minio` at `http://minio.svc` is correct.

    Parameters:
        url: the endpoint, from any source; None for Amazon's own.
        root: the URL of the root; "" to check no bucket.

    Raises:
        S3ConfigError: the message does not repeat the endpoint.
    """
    where = "endpoint_url (s3_endpoint_url, SM_S3_ENDPOINT_URL, storage_options, or AWS_ENDPOINT_URL)"
    if url is None:
        return
    if not is_endpoint(url):
        raise S3ConfigError(f"{where} must be {ENDPOINT_RULE}", operation="configure")
    parts, bucket = urlsplit(url), urlsplit(root).netloc
    names_bucket = parts.path.rstrip("/").endswith(f"/{bucket}") or str(parts.hostname).startswith(f"{bucket}.")
    if names_bucket and is_amazon(url):
        raise S3ConfigError(f"{where} names the bucket: leave it out, it is added", operation="configure")


def is_amazon(url: str | None) -> bool:
    """Return True if the endpoint belongs to Amazon, or is None."""
    return url is None or re.match(r"https?://([^/]*\.)?amazonaws\.com(\.cn)?(:\d+)?(/|\Z)", url.lower()) is not None


def configured_endpoint(options: Mapping[str, Any]) -> str | None:
    """Return the endpoint in storage_options, else the endpoint in the variables of AWS tools, else None."""
    given = options.get("endpoint_url") or (options.get("client_kwargs") or {}).get("endpoint_url")
    url = given or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None
    return None if url is None else str(url)


def _is_in_no_proxy(url: str | None) -> bool:
    """Return True if the endpoint is an IP address in a range of NO_PROXY (10.0.0.0/8). botocore ignores ranges."""
    excluded = (os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "").split(",")
    try:
        address = ipaddress.ip_address(urlsplit(url or "").hostname or "")
    except ValueError:  # a name, or malformed
        return False
    return any(address in network for network in map(_network, excluded) if network)


def _network(text: str) -> "ipaddress.IPv4Network | ipaddress.IPv6Network | None":
    try:
        return ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:  # the name of a host or domain, which urllib compares
        return None


def is_endpoint(url: str) -> bool:
    """Return True if the URL follows ENDPOINT_RULE."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises ValueError if it is not a number
    except ValueError:
        return False
    clean = url.isprintable() and " " not in url and "@" not in url
    return clean and parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query + parts.fragment


# Seconds without progress, in each of three attempts. A dead address is reported in 15 s, a silent server in 48 s.
CONNECT_TIMEOUT, READ_TIMEOUT = 4, 15
_PUBLIC = ("anon", "profile", "requester_pays", "use_ssl")  # options that hold no secret
# The AWS files with profiles: the variable, the default path, and the names of the sections as botocore reads them.
_PROFILE_FILES = (
    ("AWS_CONFIG_FILE", "~/.aws/config", re.compile(r"profile\s+(.+)|(default)")),
    ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials", re.compile(r"(.+)")),
)


class Service:
    """The known differences between the service of a root and Amazon S3. All backends of the root share them.

    Attributes:
        compares_e_tags: False if its ETags look like MD5s but are not, so they are not compared.
        has_md5_e_tags: True if an ETag was the MD5 of the bytes.
        deletes_in_bulk: False if it has no DeleteObjects.
        lists_in_order: False if its listings are not sorted.
        wants_content_md5: True if it refuses a PUT without the MD5 of the bytes. obstore cannot send an MD5.
        refuses_to_replace: True if it honours If-None-Match in a PUT, False if not, None if this is not known yet.
        refuses_to_complete: the same for the end of an upload in parts.
        may_replace_steps: True after the warning that one recorder may replace steps of another.
    """

    refuses_to_replace: bool | None = None
    refuses_to_complete: bool | None = None

    def __init__(self) -> None:
        self.compares_e_tags = self.deletes_in_bulk = self.lists_in_order = True
        self.has_md5_e_tags = self.wants_content_md5 = self.may_replace_steps = False


class S3Settings:
    """The settings of S3 for one root: those of the library, overridden by the user's storage_options.

    Parameters:
        engine: "s3fs" or "obstore".
        region, endpoint_url: as configured; storage_options may override them.
        storage_options: the user's keywords for s3fs.
        max_concurrency: the maximum number of requests in flight.
    """

    def __init__(
        self,
        engine: str,
        region: str,
        endpoint_url: str | None,
        storage_options: Mapping[str, Any],
        max_concurrency: int,
    ) -> None:
        self.engine = engine
        self.service = Service()
        self._options = storage_options
        self._ours = {
            "endpoint_url": endpoint_url,
            "client_kwargs": {"region_name": region},
            "config_kwargs": {
                "max_pool_connections": max_concurrency,
                "connect_timeout": CONNECT_TIMEOUT,
                "read_timeout": READ_TIMEOUT,
                "user_agent": "storage-manager",  # botocore's own is built again for every request, in 90 us
                "signature_version": "s3v4",  # also for links, which botocore would sign with version 2, from 2006
                # A CRC is not needed: a PUT signs the SHA-256 of its body, and its ETag is compared. Some services
                # do not support a CRC.
                "request_checksum_calculation": "when_required",
                "response_checksum_validation": "when_required",
            },
            "max_concurrency": 1,
            "use_listings_cache": False,
        }

    def keywords(self, attempts: int = ATTEMPTS) -> dict[str, Any]:
        """Return the keywords for `s3fs.S3FileSystem`; botocore tries each request `attempts` times."""
        # botocore's "max_attempts" would count only the retries
        config: dict[str, Any] = {"retries": {"mode": "standard", "total_max_attempts": attempts}}
        if _is_in_no_proxy(self.endpoint_url or configured_endpoint(self._options)):
            config["proxies"] = {}
        return _merge(_merge(self._ours, {"config_kwargs": config}), self._options)

    @property
    def region(self) -> str:
        """The region of the requests."""
        return str(_merge(self._ours, self._options)["client_kwargs"]["region_name"])

    @property
    def endpoint_url(self) -> str | None:
        """The endpoint of the requests; None for Amazon's own."""
        options = _merge(self._ours, self._options)
        url = options["endpoint_url"] or options["client_kwargs"].get("endpoint_url")
        return None if url is None else str(url)

    @property
    def public_options(self) -> dict[str, Any]:
        """The options that another tool needs to open the same URLs. None of them ever contains a secret."""
        given = {name: self._options[name] for name in _PUBLIC if name in self._options}
        endpoint = {"endpoint_url": self.endpoint_url} if self.endpoint_url else {}
        return {"client_kwargs": {"region_name": self.region}, **given, **endpoint}

    def check(self, root: str) -> None:
        """Refuse an engine that is not installed, credentials that are visibly wrong, and a wrong endpoint.

        Raises:
            S3ConfigError: one of these is wrong. The message does not contain its value.
        """
        if find_spec(self.engine) is None:
            why = f"s3_engine (SM_S3_ENGINE) is {self.engine}, which is not installed: {how_to_install(self.engine)}"
            raise S3ConfigError(why, operation="configure")
        self._check_keys()
        self._check_profile()
        check_endpoint(self.endpoint_url or configured_endpoint(self._options), root)

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
        """Refuse a profile that is in neither AWS file."""
        given = [(name, os.environ[name]) for name in ("AWS_DEFAULT_PROFILE", "AWS_PROFILE") if os.environ.get(name)]
        if self._options.get("profile"):
            given = [("storage_options['profile']", self._options["profile"])]
        if given and given[0][1] not in _profiles():
            source, profile = given[0]
            name = repr(profile) if source in os.environ else "that is given"  # an option could be a secret by mistake
            why = f"the AWS profile {name} ({source}) is in neither AWS file: correct it, or add it to ~/.aws/config"
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
    """Return our options, overridden by theirs. Mappings are merged; None does not replace a mapping."""
    theirs = {name: value for name, value in theirs.items() if value is not None or not _are_mappings(ours.get(name))}
    both = {name: _merge(ours[name], value) for name, value in theirs.items() if _are_mappings(ours.get(name), value)}
    return {**ours, **theirs, **both}


def _are_mappings(*values: object) -> bool:
    return all(isinstance(value, Mapping) for value in values)
