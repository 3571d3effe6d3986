"""The summary of a session that `show SESSION` prints."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from storage_manager.backends import FileInfo
from storage_manager.cli.process import print_error
from storage_manager.cli.root import require_session
from storage_manager.cli.text import columns, count, indented, json_line, moment, one_line, paragraphs, size
from storage_manager.errors import StorageManagerError
from storage_manager.inventory import files_by_step
from storage_manager.layout import (
    ATTACHMENTS_DIRECTORY,
    COMPONENTS,
    MANIFEST_FILENAME,
    METADATA_FILENAME,
    is_attachment_name,
)
from storage_manager.storage import StorageManager

__all__ = ["SessionView", "load_session"]

# The fields of a session's metadata that are printed first.
_FIRST = ("goal", "outcome", "reward", "agent", "model", "owner", "started_at", "ended_at")


class _Kind(NamedTuple):
    """The files of one name in all steps: how many there are, and their bytes."""

    files: int
    size: int


class SessionView(NamedTuple):
    """A session at a glance.

    Attributes:
        step_ids: in order.
        files: by step id and name; those that lie directly in the session have the step id "".
        pages: the URLs of the first and the last page.
        metadata: None if there is none, or if it cannot be read.
        is_readable: False if the metadata cannot be read.
    """

    session_id: str
    url: str
    step_ids: list[str]
    files: Mapping[str, dict[str, FileInfo]]
    pages: list[str]
    metadata: dict[str, Any] | None
    is_readable: bool

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(file.size for files in self.files.values() for file in files.values())

    @property
    def modified(self) -> datetime | None:
        """The time at which the last file was written; None if it is not known."""
        times = (file.modified for files in self.files.values() for file in files.values())
        return max(filter(None, times), default=None)

    @property
    def is_sealed(self) -> bool:
        """True if the session has a seal."""
        return MANIFEST_FILENAME in self.files.get("", {})

    def kinds(self) -> dict[str, _Kind]:
        """Return the components and attachments of the steps: how many steps have each, and their bytes."""
        names = {row.filename: row.name for row in COMPONENTS}
        of_steps = [self.files.get(step_id, {}) for step_id in self.step_ids]
        others = sorted({name for files in of_steps for name in files if is_attachment_name(name)})
        sizes = {name: [files[name].size for files in of_steps if name in files] for name in [*names, *others]}
        return {names.get(name, name): _Kind(len(found), sum(found)) for name, found in sizes.items() if found}

    def attachments(self) -> dict[str, int]:
        """Return the attachments of the session with their sizes."""
        return {name: file.size for name, file in sorted(self.files.get(ATTACHMENTS_DIRECTORY, {}).items())}

    def json(self) -> str:
        """Return the summary as one line of JSON."""
        ids = {"session_id": self.session_id, "url": self.url, "steps": len(self.step_ids)}
        facts = {"size": self.size, "modified": moment(self.modified), "sealed": self.is_sealed}
        kinds = {name: {"steps": kind.files, "size": kind.size} for name, kind in self.kinds().items()}
        more = {"components": kinds, "attachments": self.attachments(), "metadata": self.metadata}
        return json_line({**ids, **facts, **more})

    def lines(self) -> list[str]:
        """Return the summary as lines of text."""
        first = dict.fromkeys([*self.step_ids[:1], *self.step_ids[-1:]])
        rows = [("session", self.session_id), ("url", self.url)]
        rows += [("steps", f"{len(self.step_ids)}" + (f" ({' to '.join(first)})" if first else ""))]
        rows += [("pages", " to ".join(self.pages))] if self.pages else []
        rows += [("size", size(self.size)), ("modified", moment(self.modified) or "-")]
        rows += [("sealed", "yes" if self.is_sealed else "no")]
        metadata = self.metadata or {}
        rows += [(name, one_line(metadata[name])) for name in _FIRST if metadata.get(name) is not None]
        kinds = [(name, f"{size(kind.size):>9}  {count(kind.files, 'step')}") for name, kind in self.kinds().items()]
        kinds += [(name, f"{size(number):>9}  of the session") for name, number in self.attachments().items()]
        return paragraphs(columns(rows), columns(kinds), indented("metadata", metadata))


async def load_session(storage: StorageManager, session_id: str) -> SessionView:
    """Read the summary of a session: its files are listed, and its metadata and that of two steps is read.

    Raises:
        InvalidDataError: there is no such session.
        StorageManagerError: it cannot be listed.
    """
    step_ids = await require_session(storage, session_id)
    files = await files_by_step(storage, session_id)
    url, metadata, is_readable = storage.url_for(session_id), None, True
    try:
        metadata = await storage.retrieve_session_metadata(session_id)
    except StorageManagerError as error:
        print_error(error)
        is_readable = False
    with_page = [step_id for step_id in step_ids if METADATA_FILENAME in files.get(step_id, {})]
    pages = await _pages(storage, session_id, list(dict.fromkeys([*with_page[:1], *with_page[-1:]])))
    return SessionView(session_id, url, step_ids, files, pages, metadata, is_readable)


async def _pages(storage: StorageManager, session_id: str, step_ids: list[str]) -> list[str]:
    """Return the URLs of the pages of these steps. One that cannot be read is left out, and a warning is logged."""
    read = [await storage.retrieve_step_data(session_id, step_id, components=["metadata"]) for step_id in step_ids]
    return [one_line(url) for data in read if data.metadata and (url := data.metadata.get("url"))]
