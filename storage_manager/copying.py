"""One run of copying: what is unlike at the target, step by step, and what could not be copied."""

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from hashlib import md5
from typing import NamedTuple

from storage_manager.aio import map_ahead
from storage_manager.backends import File, FileInfo
from storage_manager.backends.base import md5_in
from storage_manager.errors import InvalidDataError, StorageManagerError, translating
from storage_manager.inventory import files_by_step, read_stored
from storage_manager.layout import BY_FILENAME, COMPONENTS, MANIFEST_FILENAME, is_id, join
from storage_manager.redaction import Redactor, redacted
from storage_manager.storage import StorageManager

__all__ = ["Copying", "Task"]

_SESSION_FILES = {MANIFEST_FILENAME}
HOPELESS = 16  # failures before any success, by which a place is known that cannot be used
_SHOWN = 5  # failed steps that an error names


class Task(NamedTuple):
    """A step, with its files at the source and at the target by name; without a step id, the end of its session."""

    session_id: str
    step_id: str
    source: Mapping[str, FileInfo]
    target: Mapping[str, FileInfo]


class Copying:
    """One run: how far it is, and what failed."""

    def __init__(self, source: StorageManager, target: StorageManager, named: list[str] | None) -> None:
        self.source, self.target, self.named = source, target, named
        self._places = (source, target)
        self.done = self.copied = 0
        self.failed: list[StorageManagerError] = []
        self._missing: list[str] = []  # sessions that are named, and not there
        self._is_whole = True  # the session whose steps are being settled

    async def tasks(self) -> AsyncIterator[Task]:
        """The steps of each session in order, then its end; sessions are listed ahead."""
        sessions = self.source.iter_sessions() if self.named is None else self.named
        async with aclosing(map_ahead(self._list, sessions, 4)) as listings:
            async for tasks in listings:
                for task in tasks:
                    yield task

    async def _list(self, session_id: str) -> list[Task]:
        there = await files_by_step(self.source, session_id)
        here = await files_by_step(self.target, session_id)
        step_ids = [name for name in sorted(there) if is_id(name) and BY_FILENAME.keys() & there[name].keys()]
        if self.named is not None and not step_ids:
            self._missing.append(self.source.url_for(session_id))
        end = [""] if step_ids else []
        return [Task(session_id, step_id, there[step_id], here[step_id]) for step_id in [*step_ids, *end]]

    @property
    def is_hopeless(self) -> bool:
        """True where the first steps all failed, and not for what is in them: the place cannot be used."""
        are_faults = [not isinstance(error, InvalidDataError) for error in self.failed[:HOPELESS]]
        return self.done == sum(are_faults) == HOPELESS

    async def attempt(self, task: Task) -> tuple[Task, bool | StorageManagerError]:
        """Copy what is unlike at the target: True where something was written, or why it could not be.

        The end of a session waits for its steps.
        """
        return task, bool(task.step_id) and await self._attempt(task)

    async def settle(self, task: Task, outcome: bool | StorageManagerError) -> None:
        """Count what became of a step; after all steps of a session, copy its manifest."""
        if task.step_id:
            self.done += 1
            self.copied += outcome is True
        elif self._is_whole and not self.target.redact:
            outcome = await self._attempt(task)
        if isinstance(outcome, StorageManagerError):
            self.failed.append(outcome)
            self._is_whole = False
        if not task.step_id:
            self._is_whole = True  # the next one

    async def _attempt(self, task: Task) -> bool | StorageManagerError:
        source_url, target_url = (place.url_for(task.session_id, task.step_id or None) for place in self._places)
        try:
            with translating("copy", source_url):
                return await self._copy(task, source_url, target_url)
        except StorageManagerError as error:
            return error

    async def _copy(self, task: Task, source_url: str, target_url: str) -> bool:
        names = [name for name in task.source if name in (BY_FILENAME if task.step_id else _SESSION_FILES)]
        if not self.target.redact:
            names = [name for name in names if not _is_known(task.source[name], task.target.get(name))]
        read = await read_stored(self.source, [join(source_url, name) for name in names], "copy")
        data = dict(zip(names, read, strict=True))
        if self.target.redact:
            data = _redacted(self.target.redact, data, source_url)
        there = [await self._has(join(target_url, name), data[name], task.target.get(name)) for name in data]
        missing = [name for name, is_there in zip(data, there, strict=True) if not is_there]
        if missing:
            files = [File(join(target_url, name), data[name], _content_type(name, data[name])) for name in missing]
            with translating("copy", target_url):
                await self.target.async_fs.write_files(files)
        return bool(missing)

    async def _has(self, url: str, data: bytes, found: FileInfo | None) -> bool:
        """True where the target has these bytes: its ETag is their MD5, or, as not all ETags are, it reads so."""
        if found is None or found.size != len(data):
            return False
        if md5_in(found.e_tag or "") == md5(data, usedforsecurity=False).hexdigest():
            return True
        [there] = await self.target.async_fs.read_files([url])
        return bool(there == data)

    def result(self) -> int:
        """How many steps were copied.

        Raises:
            StorageManagerError: not all were.
        """
        if not self.failed and self._missing:
            why = f"there is no session {', '.join(self._missing[:_SHOWN])}; all others are copied"
            raise InvalidDataError(why, operation="copy", url=self._missing[0])
        if not self.failed:
            return self.copied
        first, urls = self.failed[0], ", ".join(str(error.url) for error in self.failed[:_SHOWN])
        more = ", ..." if len(self.failed) > _SHOWN else ""
        why = f"not copied: {len(self.failed)} of {self.done} steps ({urls}{more}). Run it again to go on. {first}"
        raise type(first)(why, operation="copy", url=first.url) from first


def _is_known(source: FileInfo, target: FileInfo | None) -> bool:
    """True where the listings alone tell that both have the same bytes."""
    digest = md5_in(source.e_tag or "")
    return bool(target and digest and target.size == source.size and md5_in(target.e_tag or "") == digest)


def _redacted(redact: Redactor, data: Mapping[str, bytes], url: str) -> dict[str, bytes]:
    """The bytes that would be stored of these."""
    try:
        values = [row.decode(data[row.filename]) if row.filename in data else None for row in COMPONENTS]
    except ValueError as error:
        why = f"cannot copy {url}: what cannot be decoded cannot be redacted: {error}"
        raise InvalidDataError(why, operation="copy", url=url) from error
    kept = zip(COMPONENTS, redacted(redact, values), strict=True)
    return {row.filename: row.encode(value, row.keyword) for row, value in kept if value is not None}


def _content_type(name: str, data: bytes) -> str:
    return BY_FILENAME[name].content_type(data) if name in BY_FILENAME else "application/json"
