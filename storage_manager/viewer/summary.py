"""Summarize a session for a row of the list, from the listing of its files and from its metadata."""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from datetime import datetime
from typing import Any, NamedTuple

from storage_manager.catalog.columns import host_of
from storage_manager.encoding import decode_json
from storage_manager.errors import StorageManagerError
from storage_manager.inventory import list_files
from storage_manager.layout import SCREENSHOT_FILENAME, SESSION_METADATA_FILENAME, is_id
from storage_manager.session_fields import fields_of, text_of
from storage_manager.storage import StorageManager
from storage_manager.viewer.attachments import read_session_metadata

__all__ = ["SessionMetadata", "metadata_of_row", "parse_metadata", "read_metadata", "size_text", "summarize"]

MAX_GOAL = 300  # characters
MAX_LABEL = 60
MAX_LABELS = 10  # tags, and hosts
MAX_SEARCHED = 10_000  # characters of a session that are searched
MAX_THUMBNAIL = 4_000_000  # bytes of a screenshot that becomes a thumbnail
_IN_THREAD = 65_536  # bytes of metadata; parsing as many takes a millisecond


class SessionMetadata(NamedTuple):
    """The metadata of a session that the list shows, with whole texts.

    Attributes:
        hosts: the hosts of all steps from the catalogue; without a catalogue, the host of the first URL.
    """

    title: str | None = None
    goal: str | None = None
    outcome: str | None = None
    model: str | None = None
    tags: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    started_at: datetime | None = None

    def short(self) -> "SessionMetadata":
        """Return the metadata with shortened texts. A text that was cut ends with an ellipsis."""
        return SessionMetadata(
            title=_cut(self.title, MAX_GOAL),
            goal=_cut(self.goal, MAX_GOAL),
            outcome=_cut(self.outcome, MAX_LABEL),
            model=_cut(self.model, MAX_LABEL),
            tags=tuple(filter(None, (_cut(tag, MAX_LABEL) for tag in self.tags[:MAX_LABELS]))),
            hosts=self.hosts[:MAX_LABELS],
            started_at=self.started_at,
        )

    def searched(self) -> str:
        """Return the text to search, in lower case, a line for each field. The goal is last, because it may be cut."""
        texts = [self.title, self.outcome, *self.tags[:MAX_LABELS], *self.hosts[:MAX_LABELS], self.goal]
        return "\n".join(text[:MAX_SEARCHED] for text in texts if text)[:MAX_SEARCHED].lower()


def parse_metadata(data: bytes) -> SessionMetadata:
    """Parse the stored metadata of a session.

    Raises:
        ValueError: it is not a JSON object.
    """
    metadata = decode_json(data)
    fields = fields_of({name: metadata.get(name) for name in (*SessionMetadata._fields, "start_url")})
    host = host_of(fields["start_url"])
    return metadata_of_row({**fields, "title": text_of(metadata.get("title")), "hosts": [host] if host else []})


def metadata_of_row(row: Mapping[str, Any]) -> SessionMetadata:
    """Return the metadata in a row of the catalogue, to which `title` was added."""
    lists = {name: tuple(row[name] or ()) for name in ("tags", "hosts")}
    return SessionMetadata(**{**{name: row[name] for name in SessionMetadata._fields}, **lists})


async def read_metadata(storage: StorageManager, session_id: str) -> SessionMetadata | None:
    """Read and parse the metadata of a session; return None if there is none.

    Raises:
        ValueError: the metadata is not a JSON object.
        As read_session_metadata.
    """
    data = await read_session_metadata(storage, session_id)
    if data is None or len(data) < _IN_THREAD:
        return None if data is None else parse_metadata(data)
    return await asyncio.to_thread(parse_metadata, data)


class _Files(NamedTuple):
    """Facts from the listing of a session.

    Attributes:
        size: of all files, in bytes.
        screenshot: the id of the last step with a screenshot that fits into a thumbnail; None if there is none.
        has_metadata: True if the session has metadata.
    """

    steps: int = 0
    size: int = 0
    modified: datetime | None = None
    screenshot: str | None = None
    has_metadata: bool = False


async def _list(storage: StorageManager, session_id: str) -> _Files:
    steps, seen, size, modified, has_metadata = set[str](), set[str](), 0, None, False
    async with aclosing(list_files(storage, session_id)) as listed:
        async for found in listed:
            step_id, _, name = found.name.rpartition("/")
            first = found.name.partition("/")[0]
            if step_id and is_id(first):
                steps.add(first)
            if name == SCREENSHOT_FILENAME and step_id == first and 0 < found.size <= MAX_THUMBNAIL:
                seen.add(step_id)
            has_metadata |= found.name == SESSION_METADATA_FILENAME
            size += found.size
            modified = max(filter(None, (modified, found.modified)), default=None)
    return _Files(len(steps), size, modified, max(seen & steps, default=None), has_metadata)


async def summarize(storage: StorageManager, session_id: str) -> dict[str, Any]:
    """Return a session as the list shows it, as JSON.

    On S3 this costs a LIST per thousand files, and one GET if the session has metadata.

    Returns:
        The fields of SessionMetadata, and: steps: the number of steps; size: in bytes; modified: the time of the last
        change; screenshot: the id of a step for the thumbnail, or None; unreadable: the reason why the metadata cannot
        be read, or None.

    Raises:
        As list_files.
    """
    files, metadata, why = await _list(storage, session_id), None, None
    try:
        metadata = await read_metadata(storage, session_id) if files.has_metadata else None
    except (StorageManagerError, ValueError) as error:
        why = str(error)[:MAX_GOAL]
    modified = files.modified.isoformat() if files.modified else None
    summary = {"steps": files.steps, "size": files.size, "modified": modified, "screenshot": files.screenshot}
    fields = (metadata or SessionMetadata()).short()._asdict()
    started = fields["started_at"].isoformat() if fields["started_at"] else None
    return {**summary, "unreadable": why, **fields, "started_at": started}


def size_text(size: int) -> str:
    """Return a number of bytes as text, such as 1.2 MB, in the same way as viewer.js."""
    number, units = float(size), ["B", "kB", "MB", "GB", "TB"]
    while number >= 1000 and len(units) > 1:
        number, units = number / 1000, units[1:]
    return f"{number:.1f} {units[0]}" if number < 10 and units[0] != "B" else f"{number:.0f} {units[0]}"


def _cut(text: str | None, limit: int) -> str | None:
    """Return a text of at most `limit` characters; None if it is empty."""
    text = (text or "").strip()
    return (text if len(text) <= limit else f"{text[: limit - 1]}…") or None
