"""The options with which Delta Lake opens a table on S3: those of botocore's client, with object_store's names.

object_store is the Rust client that Delta Lake uses. All its options are text.
"""

from collections.abc import Callable, Mapping
from typing import Any

from botocore import UNSIGNED

from storage_manager.backends.object_store import credentials_of, proxy_options, request_options, resolve

__all__ = ["table_options"]

_RETRIES = {"max_retries": "2", "retry_timeout": "180s", "backoff_config.max_backoff": "5s"}
_TIMEOUT = "300s"  # for a request as a whole: a file of the table has a hundred megabytes at most


async def table_options(
    client: Any, bucket: str, request: Mapping[str, Any], verify: object, use: Callable[[list[str | None]], None]
) -> dict[str, str]:
    """Return endpoint, region, credentials, certificates, proxy and encryption. They contain secrets.

    Parameters:
        client: botocore's client.
        request: the options that s3fs sends with every request.
        verify: how certificates are checked, as in botocore's `verify`.
        use: called with key, secret and token, so that messages can hide them.

    Raises:
        S3ConfigError: Delta Lake does not support a setting.
        NoCredentialsError: there are no credentials.
    """
    url, signer = await resolve(client, bucket, "in a directory bucket there can be no catalogue")
    options = {
        "aws_endpoint": url,
        "aws_virtual_hosted_style_request": "true",  # the URL names the bucket, in the host or in the path
        "aws_region": client.meta.region_name,
        "aws_conditional_put": "etag",
        "allow_http": str(url.startswith("http://")).lower(),
        "connect_timeout": f"{client.meta.config.connect_timeout}s",
        "timeout": _TIMEOUT,
        **_RETRIES,
        # Delta Lake trusts the authorities of the system, or those in the file that SSL_CERT_FILE names
        **({"allow_invalid_certificates": "true"} if verify is False else {}),
        **proxy_options(client.meta, url),
        **_request_options(request),
    }
    return {**options, **await _credentials(client.meta, signer, use)}


async def _credentials(client_meta: Any, signer: Any, use: Callable[[list[str | None]], None]) -> dict[str, str]:
    """Return the current credentials. Those of a role expire, so each commit asks for them again."""
    if client_meta.config.signature_version is UNSIGNED:
        return {"aws_skip_signature": "true"}
    keys = await credentials_of(signer, client_meta.region_name)
    use([keys.access_key, keys.secret_key, keys.token])
    token = {"aws_session_token": keys.token} if keys.token else {}
    return {"aws_access_key_id": keys.access_key, "aws_secret_access_key": keys.secret_key, **token}


def _request_options(request: Mapping[str, Any]) -> dict[str, str]:
    options = request_options(request, "a catalogue cannot have {}")
    payer = {"request_payer": "true"} if "request_payer" in options else {}
    return {f"aws_{name}": str(value) for name, value in {**options, **payer}.items()}
