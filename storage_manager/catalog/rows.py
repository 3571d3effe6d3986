"""Read a session as a row of the catalogue: its listing, its metadata, and the metadata of each step."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

from storage_manager.backends import FileInfo
from storage_manager.catalog.columns import COLUMNS, host_of
from storage_manager.encoding import decode_json
from storage_manager.errors import InvalidDataError, StorageManagerError, is_missing
from storage_manager.inventory import list_files
from storage_manager.layout import (
    MANIFEST_FILENAME,
    METADATA_FILENAME,
    SESSION_METADATA_FILENAME,
    is_component,
    is_id,
    join,
)
from storage_manager.session_fields import fields_of, text_of, time_of
from storage_manager.storage import StorageManager

__all__ = ["Listing", "Row", "list_session", "read_row"]

Row = dict[str, Any]  # by the names of `columns.schema`

_FILES_AT_ONCE = 64  # steps of one session whose metadata is read together
_BYTES_AT_ONCE = 4 * 2**20
_LARGEST = 16 * 2**20  # bytes of a step's metadata; a larger one is not read


@dataclass
class Listing:
    """The files of a session."""

    files: list[FileInfo]

    @property
    def digest(self) -> str:
        """A hash of names, sizes, times and ETags. It changes if a file is written or deleted."""
        lines = (f"{name}\0{size}\0{modified}\0{e_tag}\n" for name, size, modified, e_tag in sorted(self.files))
        return sha256("".join(lines).encode(errors="surrogatepass")).hexdigest()[:32]

    @property
    def is_sealed(self) -> bool:
        """True if there is a manifest. Only `verify_session` compares the manifest with the files."""
        return self._has(MANIFEST_FILENAME)

    @property
    def has_metadata(self) -> bool:
        """True if the session itself has metadata."""
        return self._has(SESSION_METADATA_FILENAME)

    def _has(self, name: str) -> bool:
        return any(file.name == name for file in self.files)

    def step_ids(self) -> set[str]:
        """Return the ids of the steps."""
        parts = (file.name.partition("/") for file in self.files)
        return {step_id for step_id, separator, _ in parts if separator and is_id(step_id)}

    def step_metadata(self) -> list[FileInfo]:
        """Return the metadata files of the steps, in the order of the steps."""
        files = [file for file in self.files if file.name.endswith(f"/{METADATA_FILENAME}") and is_component(file.name)]
        return sorted(file for file in files if file.size <= _LARGEST)


async def list_session(storage: StorageManager, session_id: str) -> Listing:
    """List the files of a session. If there is no such session, the listing is empty.

    Raises:
        As list_files.
    """
    return Listing([file async for file in list_files(storage, session_id)])


@dataclass
class _Steps:
    """A summary of the step metadata of a session. `is_whole` is False if the metadata of a step could not be read."""

    start_url: str | None = None
    hosts: set[str] = field(default_factory=set)
    times: list[datetime] = field(default_factory=list)  # the first and the last
    is_whole: bool = True

    def add(self, answers: Iterable[bytes | Exception]) -> None:
        """Add the metadata of steps, or the errors that reading it raised."""
        for answer in answers:
            self.is_whole &= isinstance(answer, bytes) or is_missing(answer)
            self._add(_decoded(answer))

    def _add(self, metadata: Mapping[str, Any]) -> None:
        url, time = text_of(metadata.get("url")), time_of(metadata.get("timestamp"))
        host = host_of(url)
        self.start_url = url if self.start_url is None else self.start_url
        self.hosts |= {host} if host else set()
        self.times = [*self.times[:1], time] if time else self.times

    def row(self) -> Row:
        """Return the columns that are used if the session's own metadata has no value."""
        started, ended = (self.times[0], self.times[-1]) if self.times else (None, None)
        return {"started_at": started, "ended_at": ended, "start_url": self.start_url, "hosts": sorted(self.hosts)}


def _decoded(answer: bytes | Exception) -> dict[str, Any]:
    try:
        return decode_json(answer) if isinstance(answer, bytes) else {}
    except ValueError:
        return {}


async def read_row(storage: StorageManager, session_id: str, listing: Listing) -> Row:
    """Return the row of a session. If its metadata lacks start, end or first URL, they are taken from the steps.

    If a file could not be read, the row has no digest. The next update then reads the session again.

    Raises:
        S3ConfigError, StorageManagerError: the backend cannot be opened.
    """
    metadata, is_whole = await _session_metadata(storage, session_id) if listing.has_metadata else (None, True)
    steps = await _read_steps(storage, session_id, listing.step_metadata())
    own = {name: value for name, value in fields_of(metadata).items() if value is not None and name in COLUMNS}
    return {
        **dict.fromkeys(COLUMNS),
        "session_id": session_id,
        "steps": len(listing.step_ids()),
        "bytes": sum(file.size for file in listing.files),
        **steps.row(),
        **own,
        "sealed": listing.is_sealed,
        "last_modified": max((file.modified for file in listing.files if file.modified), default=None),
        "digest": listing.digest if is_whole and steps.is_whole else None,
    }


async def _session_metadata(storage: StorageManager, session_id: str) -> tuple[dict[str, Any] | None, bool]:
    """Return the metadata of a session, and True if it could be read. It is None if it is not a JSON object."""
    try:
        return await storage.retrieve_session_metadata(session_id), True
    except InvalidDataError:
        return None, True
    except StorageManagerError:
        return None, False


async def _read_steps(storage: StorageManager, session_id: str, files: Sequence[FileInfo]) -> _Steps:
    steps, url = _Steps(), storage.url_for(session_id)
    async with storage.backend() as backend:
        for names in _parts(files):
            answers = await backend.read_files([join(url, name) for name in names])
            await asyncio.to_thread(steps.add, answers)
    return steps


def _parts(files: Iterable[FileInfo]) -> Iterator[list[str]]:
    """Divide files into parts that are read together, and yield their names."""
    names, size = list[str](), 0
    for file in files:
        if names and (len(names) == _FILES_AT_ONCE or size + file.size > _BYTES_AT_ONCE):
            yield names
            names, size = [], 0
        names.append(file.name)
        size += file.size
    if names:
        yield names
