"""Read the entries of a manifest of any size. Other tasks can run meanwhile, and can stop the reading at any time.

Everyone who may write to a root may also write a manifest. Parsing 85 MB of JSON that was not a manifest took 55 s and
8 GB, and nothing else could run meanwhile. So a large manifest must have the form that `seal_session` writes, and is
read entry by entry. A small manifest may have any JSON formatting, because another tool may have rewritten it.
"""

import re
import threading
from collections.abc import Generator, Iterator
from typing import NamedTuple

__all__ = ["ANY_FORM_BYTES", "MAX_BYTES", "Entry", "read_entries"]

ANY_FORM_BYTES = 2**18  # a manifest of up to this size is parsed as JSON, in a tenth of a second
MAX_BYTES = 2**28  # two million files; reading them takes four times as much memory

_HEAD = re.compile(rb'\s*\{\s*"version"\s*:\s*([12])\s*,\s*"sealed_at"\s*:\s*"[^"\\]{0,64}"\s*,\s*')
_COMPONENTS = re.compile(rb'"components"\s*:\s*\{\s*')
_FILES = re.compile(rb',\s*"files"\s*:\s*\{\s*')  # only since version 2
_ENTRY = re.compile(
    rb'"([^"\\]{1,512})"\s*:\s*\{\s*"size"\s*:\s*([0-9]{1,19})\s*,\s*"sha256"\s*:\s*"([0-9a-f]{64})"\s*\}\s*'
)
_NEXT = re.compile(rb",\s*")
_SECTION_END = re.compile(rb"\}\s*")
_END = re.compile(rb"\}\s*")


class Entry(NamedTuple):
    """The path, size and hash of one file in a manifest."""

    path: str
    size: int
    sha256: str


def read_entries(data: bytes, cancelled: threading.Event) -> Iterator[Entry]:
    """Yield the entries of a manifest that has the form of `seal_session`. Stop if the event is set.

    Raises:
        ValueError: it does not have this form (the message names the position), or has more than MAX_BYTES bytes.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"it has {len(data):,} bytes, and {MAX_BYTES:,} are allowed")
    found = _HEAD.match(data)
    if found is None:
        raise ValueError("it does not begin with version and sealed_at")
    at = found.end()
    for beginning in [_COMPONENTS, _FILES][: int(found[1])]:
        start = beginning.match(data, at)
        if start is None:
            raise ValueError(f"neither components nor files are at byte {at}")
        at = yield from _read_section(data, start.end(), cancelled)
        if cancelled.is_set():
            return
    if _END.fullmatch(data, at) is None:
        raise ValueError(f"neither another path nor the end is at byte {at}")


def _read_section(data: bytes, at: int, cancelled: threading.Event) -> Generator[Entry, None, int]:
    """Yield the entries of a mapping. Return the position after it."""
    end = _SECTION_END.match(data, at)
    while end is None and not cancelled.is_set():
        entry = _ENTRY.match(data, at)
        if entry is None:
            raise ValueError(f"no path with size and sha256 is at byte {at}")
        yield Entry(entry[1].decode(), int(entry[2]), entry[3].decode())
        following = _NEXT.match(data, entry.end())
        if following is not None:
            at = following.end()
            continue
        end = _SECTION_END.match(data, entry.end())
        if end is None:
            raise ValueError(f"neither another path nor the end is at byte {entry.end()}")
    return end.end() if end else at
