"""A store of obstore, configured as botocore's client for the same bucket is."""

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from botocore import UNSIGNED
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from obstore.store import S3Store

from storage_manager.backends.client import finding_credentials
from storage_manager.backends.obstore_errors import FAILURES
from storage_manager.backends.s3 import S3Backend
from storage_manager.errors import S3ConfigError

__all__ = ["Credentials", "open_store"]

# object_store asks again for what ends in five minutes; botocore gives nothing that ends in less than ten.
_KEPT = timedelta(minutes=10)
_NO_LIMIT = timedelta(days=365)  # of a request as a whole; obstore's own is 30 seconds, whatever its size
# What s3fs can be told to send with every request, as obstore calls it.
_REQUEST_OPTIONS = {
    "RequestPayer": "request_payer",
    "ServerSideEncryption": "server_side_encryption",
    "SSEKMSKeyId": "sse_kms_key_id",
    "BucketKeyEnabled": "sse_bucket_key_enabled",
}
# What obstore takes from AWS_* variables that botocore does not know, and that is no: a PUT is signed with its SHA-256.
_NOT_FROM_ENVIRONMENT = {"unsigned_payload": False, "s3_express": False, "request_payer": False}
# Where botocore uses no proxy, none is used: a client without one would ask HTTP_PROXY and ALL_PROXY itself.
_NO_PROXY = {"proxy_url": "http://localhost", "proxy_excludes": "0.0.0.0/0,::/0,*"}


class Credentials:
    """What botocore found for its client and renews; `error` is why it could not the last time.

    Parameters:
        found: aiobotocore's credentials; None where it found none.
    """

    error: Exception | None = None

    def __init__(self, found: Any) -> None:
        self._found = found

    async def __call__(self) -> dict[str, Any]:
        self.error = None
        try:
            if self._found is None:
                raise NoCredentialsError
            with finding_credentials():
                keys = await self._found.get_frozen_credentials()
        except (BotoCoreError, ClientError, OSError) as error:
            self.error = error  # obstore would keep its text alone
            raise
        return {
            "access_key_id": keys.access_key,
            "secret_access_key": keys.secret_key,
            "token": keys.token,
            "expires_at": datetime.now(timezone.utc) + _KEPT,
        }


async def open_store(configured: S3Backend, bucket: str, timeout_factor: int) -> tuple[S3Store, Credentials]:
    """The store for a bucket, and what it takes its credentials from.

    Parameters:
        configured: whose client says endpoint, region, credentials, timeouts, proxy and certificates.
        timeout_factor: by how much the read timeout is multiplied, as obstore's covers the sending too.

    Raises:
        S3ConfigError: something is configured that obstore cannot do.
    """
    with finding_credentials():
        client = await configured.set_session()
    _refuse_what_is_not_here(client.meta.config)
    signs = client.meta.config.signature_version is not UNSIGNED
    credentials = Credentials(client._request_signer._credentials)
    url = await _url(client, bucket)
    options: Any = {
        "endpoint": url,
        "aws_endpoint_url_s3": url,  # else that of the environment comes before it
        "virtual_hosted_style_request": True,  # the URL names the bucket, wherever it does
        "region": client.meta.region_name,
        "skip_signature": not signs,
        **_NOT_FROM_ENVIRONMENT,
        **_request_options(configured),
    }
    client_options = _client_options(client, url, timeout_factor)
    signing: Any = {"credential_provider": credentials} if signs else {}
    retries: Any = {"max_retries": 0}  # the engine tries again itself
    try:
        return S3Store(bucket, **options, **signing, client_options=client_options, retry_config=retries), credentials
    except FAILURES as error:
        # not quoted, and not chained: it may name a proxy with its password
        why = f"obstore does not take these storage_options ({type(error).__name__}): look at proxy and certificates"
        raise S3ConfigError(why, operation="open") from None


def _refuse_what_is_not_here(config: Any) -> None:
    given = [name for name in ("client_cert", "proxies_config") if getattr(config, name)]
    if config.signature_version not in (UNSIGNED, "s3v4"):
        given.append("signature_version")
    if given:
        why = f"the obstore engine does not know storage_options['config_kwargs'][{given[0]!r}]: use s3_engine='s3fs'"
        raise S3ConfigError(why, operation="open")


async def _url(client: Any, bucket: str) -> str:
    """Where botocore would send a request for the bucket: by region, partition, addressing style, profile."""
    operation = client.meta.service_model.operation_model("ListObjectsV2")
    context = {"client_region": client.meta.region_name}
    url, _, properties = await client._resolve_endpoint_ruleset(operation, {"Bucket": bucket}, context)
    if any("express" in scheme["name"] for scheme in (properties or {}).get("authSchemes", ())):
        raise S3ConfigError("directory buckets need s3_engine='s3fs'", operation="open")
    return str(url)


def _request_options(configured: S3Backend) -> dict[str, Any]:
    given = {**configured.s3_additional_kwargs, **configured.req_kw}
    given.pop("StorageClass", None)  # an attribute of each object
    unknown = sorted(given.keys() - _REQUEST_OPTIONS.keys())
    if unknown:
        why = f"the obstore engine does not know storage_options['s3_additional_kwargs'][{unknown[0]!r}]"
        raise S3ConfigError(f"{why}: use s3_engine='s3fs'", operation="open")
    return {_REQUEST_OPTIONS[name]: value for name, value in given.items()}


def _client_options(client: Any, url: str, timeout_factor: int) -> Any:
    """Timeouts, connections, certificates and proxy, as botocore's client has them."""
    config, http = client.meta.config, client._endpoint.http_session
    return {
        "allow_http": url.startswith("http://"),
        "connect_timeout": _limit(config.connect_timeout),
        "read_timeout": _limit(config.read_timeout, timeout_factor),
        "timeout": _NO_LIMIT,
        "pool_max_idle_per_host": str(config.max_pool_connections),
        **_certificates(http._verify),
        **_proxy(http._proxy_config.proxy_url_for(url)),
    }


def _limit(seconds: float | None, times: int = 1) -> timedelta:
    return timedelta(seconds=seconds * times) if seconds is not None else _NO_LIMIT


def _certificates(verify: bool | str | None) -> dict[str, Any]:
    """As botocore has it: False for none, or the file of the authorities to trust."""
    if verify is False:
        return {"allow_invalid_certificates": True}
    if not isinstance(verify, str):
        return {}
    try:
        return {"root_certificate": Path(verify).read_bytes()}
    except OSError as error:  # a missing one would be taken for a missing component
        why = f"the certificates of AWS_CA_BUNDLE or client_kwargs['verify'] cannot be read: {error.strerror}"
        raise S3ConfigError(why, operation="open") from error


def _proxy(url: str | None) -> dict[str, Any]:
    return {"proxy_url": url} if url else _NO_PROXY
