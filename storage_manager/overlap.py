"""Check if one root lies within another, however their URLs are written."""

import os

from fsspec import get_filesystem_class
from fsspec.core import split_protocol, strip_protocol

__all__ = ["lies_within"]


def lies_within(url: str, root: str) -> bool:
    """Return True if a URL names the root or something below it. On local disk, links are followed.

    Parameters:
        url, root: URLs of any fsspec backend. They do not contain the endpoints, which the caller has to compare.
    """
    (*kind, path), (*root_kind, root_path) = _parts(url), _parts(root)
    return kind == root_kind and f"{path}/".startswith(f"{root_path.rstrip('/')}/")


def _parts(url: str) -> tuple[str, str, str]:
    """Return protocol, host and path as the backend reads them.

    For the backends, `memory:///a` is the same as `memory://a`, and `s3a://` is the same as `s3://`.
    """
    protocol, rest = split_protocol(url)
    if protocol in (None, "file", "local"):
        return "file", "", os.path.realpath(strip_protocol(url))
    backend = get_filesystem_class(protocol)
    name = backend.protocol if isinstance(backend.protocol, str) else backend.protocol[0]
    path, host = str(strip_protocol(url)).strip("/"), rest.partition("/")[0]
    return name, "" if f"{path}/".startswith(f"{host}/") else host, path
