"""The settings of botocore's client, converted for object_store: the Rust client that obstore and Delta Lake use.

botocore determines the endpoint of a bucket, the credentials that sign requests, and the proxy.
"""

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import NoCredentialsError
from botocore.httpsession import ProxyConfiguration
from botocore.utils import get_environ_proxies

from storage_manager.backends.client import finding_credentials
from storage_manager.errors import S3ConfigError

__all__ = ["credentials_of", "proxy_options", "request_options", "resolve"]

# The options that s3fs sends with every request, with their names in object_store.
_REQUEST_OPTIONS = {
    "RequestPayer": "request_payer",
    "ServerSideEncryption": "server_side_encryption",
    "SSEKMSKeyId": "sse_kms_key_id",
    "BucketKeyEnabled": "sse_bucket_key_enabled",
}
# If botocore uses no proxy, none is used. Without these options, object_store would read HTTP_PROXY and ALL_PROXY.
_NO_PROXY = {"proxy_url": "http://localhost", "proxy_excludes": "0.0.0.0/0,::/0,*"}


async def resolve(client: Any, bucket: str, refusal: str) -> tuple[str, Any]:
    """Return the URL to which botocore sends the requests for a bucket, and the signer of its client.

    No request is sent. The URL depends on region, partition, addressing style and profile.

    Parameters:
        refusal: the message for a directory bucket.

    Raises:
        S3ConfigError: it is a directory bucket. object_store would sign its requests differently.
    """
    found: dict[str, Any] = {}

    def answer(params: dict[str, Any], request_signer: Any, context: dict[str, Any], **kwargs: Any) -> Any:
        schemes = context.get("endpoint_properties", {}).get("authSchemes", ())
        found.update(url=params["url"], signer=request_signer, schemes=[scheme["name"] for scheme in schemes])
        return _NOTHING_SENT, {}

    event = "before-call.s3.ListParts"  # nothing else here uses this operation
    client.meta.events.register_first(event, answer)
    try:
        with finding_credentials():
            await client.list_parts(Bucket=bucket, Key="-", UploadId="-")
    finally:
        client.meta.events.unregister(event, answer)
    if any("express" in name for name in found["schemes"]):
        raise S3ConfigError(refusal, operation="open")
    return found["url"].partition("?")[0].removesuffix("/-"), found["signer"]


class _NothingSent:
    """The answer to a request that was resolved but not sent."""

    status_code = 200


_NOTHING_SENT = _NothingSent()


async def credentials_of(signer: Any, region: str) -> Any:
    """Return the credentials with which botocore signs requests now: access_key, secret_key and token.

    Raises:
        NoCredentialsError: there are none.
        BotoCoreError, ClientError, OSError: they cannot be found or renewed.
    """
    with finding_credentials():
        keys = (await signer.get_auth_instance("s3", region, "s3v4")).credentials
    if keys is None:
        raise NoCredentialsError
    return keys


def proxy_options(client_meta: Any, url: str) -> dict[str, str]:
    """Return the options for the proxy that botocore uses for a URL, or the options for no proxy."""
    proxies = client_meta.config.proxies
    proxies = get_environ_proxies(client_meta.endpoint_url) if proxies is None else proxies
    proxy = ProxyConfiguration(proxies).proxy_url_for(url)
    return {"proxy_url": proxy} if proxy else _NO_PROXY


def request_options(given: Mapping[str, Any], refusal: str) -> dict[str, Any]:
    """Return the options that s3fs sends with every request, with object_store's names, but no storage class.

    Parameters:
        refusal: the message for an option that object_store does not support, with `{}` for the option.

    Raises:
        S3ConfigError: such an option is given.
    """
    given = {name: value for name, value in given.items() if name != "StorageClass"}
    unknown = sorted(given.keys() - _REQUEST_OPTIONS.keys())
    if unknown:
        option = f"storage_options['s3_additional_kwargs'][{unknown[0]!r}]"
        raise S3ConfigError(refusal.format(option), operation="open")
    return {_REQUEST_OPTIONS[name]: value for name, value in given.items()}
