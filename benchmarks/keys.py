"""Keep the keys of one bucket in order, and list them in pages, even if there are millions."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote
from xml.sax.saxutils import escape

from sortedcontainers import SortedDict

__all__ = ["Keys", "Stored", "list_page"]

Keys = SortedDict  # maps each key to a Stored


class Stored(NamedTuple):
    """One object: its bytes and the headers that are sent with them."""

    body: bytes
    etag: str
    content_type: str
    checksums: str


class _Page(NamedTuple):
    rows: list[str]
    prefixes: list[str]
    token: str | None  # the start of the next page; None on the last page


def _entries(keys: Any, prefix: str, delimiter: str, start: str, inclusive: bool) -> Iterator[tuple[str, bool]]:
    """Yield keys (False) and common prefixes (True) in order. Skip a common prefix by bisection, not key by key."""
    while True:
        for key in keys.irange(start, inclusive=(inclusive, True)):
            if not key.startswith(prefix):
                return
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            if cut >= 0:
                break
            yield key, False
        else:
            return
        common = key[: cut + len(delimiter)]
        yield common, True
        start, inclusive = _past(common), True


def _past(prefix: str) -> str:
    """Return the smallest string that sorts after all keys with this prefix."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


def _begin(prefix: str, query: Mapping[str, str]) -> tuple[str, bool]:
    """Return the key at which a LIST begins, and whether the LIST includes that key."""
    token = query.get("continuation-token", "")
    if token.startswith("p"):
        return _past(token[1:]), True
    after = token[1:] or query.get("start-after") or query.get("marker") or ""
    return (after, False) if after >= prefix and after else (prefix, True)


def _page(keys: Any, query: Mapping[str, str], encode: Any) -> _Page:
    prefix, limit = query.get("prefix", ""), int(query.get("max-keys") or 1000)
    rows: list[str] = []
    prefixes: list[str] = []
    token = None
    for name, common in _entries(keys, prefix, query.get("delimiter", ""), *_begin(prefix, query)):
        if len(rows) + len(prefixes) == limit:
            return _Page(rows, prefixes, token)
        token = ("p" if common else "k") + name
        if common:
            prefixes.append(f"<CommonPrefixes><Prefix>{encode(name)}</Prefix></CommonPrefixes>")
        else:
            rows.append(_row(encode(name), keys[name]))
    return _Page(rows, prefixes, None)


def _row(name: str, stored: Stored) -> str:
    return (
        f"<Contents><Key>{name}</Key><LastModified>2026-07-01T00:00:00.000Z</LastModified>"
        f"<ETag>&quot;{stored.etag}&quot;</ETag><Size>{len(stored.body)}</Size>"
        "<StorageClass>STANDARD</StorageClass></Contents>"
    )


def list_page(bucket: str, keys: Any, query: Mapping[str, str]) -> str:
    """Return the XML answer of a LIST, in version 2 or 1 of the API."""
    encode = quote if query.get("encoding-type") == "url" else escape
    page = _page(keys, query, encode)
    more = "" if page.token is None else _more(page.token, "list-type" in query, encode)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>{bucket}</Name><Prefix>{encode(query.get('prefix', ''))}</Prefix>"
        f"<Delimiter>{encode(query.get('delimiter', ''))}</Delimiter>"
        f"<KeyCount>{len(page.rows) + len(page.prefixes)}</KeyCount><MaxKeys>{query.get('max-keys', 1000)}</MaxKeys>"
        f"{'<EncodingType>url</EncodingType>' if encode is quote else ''}"
        f"<IsTruncated>{str(bool(more)).lower()}</IsTruncated>{more}{''.join(page.rows)}{''.join(page.prefixes)}"
        "</ListBucketResult>"
    )


def _more(token: str, version_2: bool, encode: Any) -> str:
    if version_2:
        return f"<NextContinuationToken>{escape(token)}</NextContinuationToken>"
    return f"<NextMarker>{encode(token[1:])}</NextMarker>"
