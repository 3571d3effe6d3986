"""A session at a glance, as the list shows it: what its files and its metadata say, cut to what a row can hold."""

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

__all__ = ["About", "Glance", "about_row", "glance", "parse_about", "read_about", "size_text"]

MAX_GOAL = 300  # characters
MAX_LABEL = 60
MAX_LABELS = 10  # tags, and hosts
MAX_SEARCHED = 10_000  # characters of a session that a search looks at
MAX_THUMBNAIL = 4_000_000  # bytes of a screenshot that becomes a thumbnail
_IN_THREAD = 65_536  # bytes of metadata that take a millisecond


class About(NamedTuple):
    """The metadata of a session that the list shows. Its texts are as long as they were stored.

    Attributes:
        hosts: those that are known: of every step from the catalogue, else of the first URL.
    """

    title: str | None = None
    goal: str | None = None
    outcome: str | None = None
    model: str | None = None
    tags: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    started_at: datetime | None = None

    def short(self) -> "About":
        """Return it with what a row can hold. A text that is cut ends with an ellipsis."""
        return About(
            title=_cut(self.title, MAX_GOAL),
            goal=_cut(self.goal, MAX_GOAL),
            outcome=_cut(self.outcome, MAX_LABEL),
            model=_cut(self.model, MAX_LABEL),
            tags=tuple(filter(None, (_cut(tag, MAX_LABEL) for tag in self.tags[:MAX_LABELS]))),
            hosts=self.hosts[:MAX_LABELS],
            started_at=self.started_at,
        )

    def searched(self) -> str:
        """Return what a search looks at, in lower case: a line for each text. The goal is last, because it is cut."""
        texts = [self.title, self.outcome, *self.tags[:MAX_LABELS], *self.hosts[:MAX_LABELS], self.goal]
        return "\n".join(text[:MAX_SEARCHED] for text in texts if text)[:MAX_SEARCHED].lower()


def parse_about(data: bytes) -> About:
    """Return what the metadata of a session says.

    Raises:
        ValueError: it is not a JSON object.
    """
    metadata = decode_json(data)
    fields = fields_of({name: metadata.get(name) for name in (*About._fields, "start_url")})
    host = host_of(fields["start_url"])
    return about_row({**fields, "title": text_of(metadata.get("title")), "hosts": [host] if host else []})


def about_row(row: Mapping[str, Any]) -> About:
    """Return what a row of the catalogue says, which has a title besides."""
    lists = {name: tuple(row[name] or ()) for name in ("tags", "hosts")}
    return About(**{**{name: row[name] for name in About._fields}, **lists})


async def read_about(storage: StorageManager, session_id: str) -> About | None:
    """Read what the metadata of a session says; None if it has none.

    Raises:
        ValueError: the metadata is not a JSON object.
        As read_session_metadata.
    """
    data = await read_session_metadata(storage, session_id)
    if data is None or len(data) < _IN_THREAD:
        return None if data is None else parse_about(data)
    return await asyncio.to_thread(parse_about, data)


class Glance(NamedTuple):
    """The facts that the listing of a session gives.

    Attributes:
        screenshot: the last step that has a screenshot for a thumbnail.
        has_metadata: there is metadata of the session.
    """

    steps: int = 0
    size: int = 0
    modified: datetime | None = None
    screenshot: str | None = None
    has_metadata: bool = False


async def _list(storage: StorageManager, session_id: str) -> Glance:
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
    return Glance(len(steps), size, modified, max(seen & steps, default=None), has_metadata)


async def glance(storage: StorageManager, session_id: str) -> dict[str, Any]:
    """Return what the list shows of a session, as JSON. On S3 this costs a LIST per thousand files, and one GET if
    there is metadata.

    Returns:
        steps, size, modified: of the session; screenshot: a step with one, or None; unreadable: why the metadata cannot
            be read, or None; and what the metadata says.

    Raises:
        As list_files.
    """
    found, about, why = await _list(storage, session_id), None, None
    try:
        about = await read_about(storage, session_id) if found.has_metadata else None
    except (StorageManagerError, ValueError) as error:
        why = str(error)[:MAX_GOAL]
    modified = found.modified.isoformat() if found.modified else None
    summary = {"steps": found.steps, "size": found.size, "modified": modified, "screenshot": found.screenshot}
    shown = (about or About()).short()._asdict()
    started = shown["started_at"].isoformat() if shown["started_at"] else None
    return {**summary, "unreadable": why, **shown, "started_at": started}


def size_text(size: int) -> str:
    """Return a number of bytes as viewer.js writes it, such as 1.2 MB."""
    number, units = float(size), ["B", "kB", "MB", "GB", "TB"]
    while number >= 1000 and len(units) > 1:
        number, units = number / 1000, units[1:]
    return f"{number:.1f} {units[0]}" if number < 10 and units[0] != "B" else f"{number:.0f} {units[0]}"


def _cut(text: str | None, most: int) -> str | None:
    text = (text or "").strip()
    return (text if len(text) <= most else f"{text[: most - 1]}…") or None
