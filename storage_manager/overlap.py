"""Whether one place lies within another, however their URLs are written."""

import os

from fsspec import get_filesystem_class
from fsspec.core import split_protocol
from fsspec.implementations.local import LocalFileSystem

__all__ = ["lies_within"]


def lies_within(url: str, root: str) -> bool:
    """True where a URL is that of the root, or of something below it; on local disk behind all links.

    Parameters:
        url, root: of any backend of fsspec; an endpoint is none of their parts, and for the caller to compare.
    """
    (*kind, path), (*root_kind, root_path) = _parts(url), _parts(root)
    return kind == root_kind and f"{path}/".startswith(f"{root_path.rstrip('/')}/")


def _parts(url: str) -> tuple[str, str, str]:
    """Protocol, host, and path, as the backend itself reads them: `memory:///a` is `memory://a`, `s3a://` is `s3://`."""
    protocol, rest = split_protocol(url)
    if protocol in (None, "file", "local"):
        return "file", "", os.path.realpath(LocalFileSystem._strip_protocol(url))
    backend = get_filesystem_class(protocol)
    name = backend.protocol if isinstance(backend.protocol, str) else backend.protocol[0]
    path, host = str(backend._strip_protocol(url)).strip("/"), rest.partition("/")[0]
    return name, "" if f"{path}/".startswith(f"{host}/") else host, path
