"""StorageManager: store, retrieve, list and delete the steps of browser sessions, on S3 or local disk alike."""

import logging
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from storage_manager.aio import map_ahead
from storage_manager.backends import File
from storage_manager.connection import Connection
from storage_manager.errors import InvalidDataError, StorageManagerError, is_missing, translate, translating
from storage_manager.layout import (
    ALL_COMPONENTS,
    COMPONENTS,
    Component,
    ComponentSpec,
    Step,
    StepData,
    check_ids,
    formats,
    join,
    only_ids,
)
from storage_manager.redaction import redacted

__all__ = ["StorageManager"]

logger = logging.getLogger(__name__)


class StorageManager(Connection):
    """Stores the HTML, screenshot, action and metadata of each step of a browser session, whole or not at all.

    S3 where a bucket is configured, else local disk; a setting comes from its argument, `SM_*` variable or default.
    One manager serves any number of event loops, threads and forked children, and needs no closing.
    """

    async def store_step_data(
        self,
        session_id: str,
        step_id: str,
        html_content: str | bytes | None = None,
        screenshot_bytes: bytes | bytearray | memoryview | None = None,
        action_data: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> dict[str, str | None]:
        """Store the components that are given, whole, as `redact` leaves them; others stay as they are.

        On local disk a new step appears at once, with all that was given. When this raises, or is cancelled,
        nothing is being written any more, and the same call again repairs the step.

        Parameters:
            session_id, step_id: letters, digits and `_ . : = @ + , ~ -`, at most 128.
            html_content: text, stored as UTF-8; or bytes, stored as they are.
            screenshot_bytes: PNG; JPEG and WebP get their own content type on S3.
            action_data, metadata: mappings of JSON values (RFC 8259: no NaN); datetime, UUID, Path, Enum,
                dataclass and pydantic values as pydantic encodes them.

        Returns:
            html_path, screenshot_path, action_data_path, metadata_path: the URL of each component that was
            stored (`s3://...`, or an absolute local path), None for the others.

        Raises:
            InvalidIdError, InvalidDataError: refused before any I/O.
            S3OperationError, S3ConfigError, LocalStorageError: not stored; says why.
        """
        values = (html_content, screenshot_bytes, action_data, metadata)
        with translating("store", self._place.root):
            url = self._url("store", session_id, step_id)
            given = zip(COMPONENTS, redacted(self.redact, values) if self.redact else values, strict=True)
            files = {row: _file(row, url, value) for row, value in given if value is not None}
        if files:
            with translating("store", url):
                async with self._place.using() as filesystem:
                    await filesystem.write_files(list(files.values()))
        return {row.path_key: files[row].path if row in files else None for row in COMPONENTS}

    async def retrieve_step_data(
        self,
        session_id: str,
        step_id: str,
        *,
        components: Sequence[Component] = ALL_COMPONENTS,
        strict: bool = False,
    ) -> StepData:
        """The components of a step; one that is missing or unreadable is None, and a warning is logged for it.

        Parameters:
            components: which to read; the others are None.
            strict: True to raise for the first component that is there but cannot be read or decoded.

        Raises:
            InvalidIdError, InvalidDataError: refused before any I/O.
            S3OperationError, S3ConfigError, LocalStorageError: every component failed for another reason than
                being missing (no such bucket, no access, no connection), or, if strict, one did.
        """
        stored = await self.read_step(session_id, step_id, components=components)
        failed = [answer for answer in stored.values() if isinstance(answer, StorageManagerError)]
        if failed and (strict or len(failed) == len(stored)):
            raise failed[0]
        url = self.url_for(session_id, step_id)
        return StepData(**{row.name: _decoded(row, url, stored[row.name], strict) for row in formats(list(stored))})

    async def read_step(
        self, session_id: str, step_id: str, *, components: Sequence[Component] = ALL_COMPONENTS
    ) -> dict[Component, bytes | StorageManagerError | None]:
        """Read components of a step as they are stored: for each its bytes, None if it is missing, or the error.

        The errors are returned, not raised. Nothing is decoded and nothing is logged.

        Parameters:
            components: the names of those to read; the answer has them in the order of `layout.COMPONENTS`.

        Raises:
            InvalidIdError, InvalidDataError: refused before any I/O.
            S3ConfigError, StorageManagerError: the backend cannot be opened.
        """
        with translating("retrieve", self._place.root):
            url, rows = self._url("retrieve", session_id, step_id), formats(components)
            if not rows:
                return {}
            paths = [join(url, row.filename) for row in rows]
            async with self.backend() as backend:
                answers = await backend.read_files(paths)
        found = zip(rows, paths, answers, strict=True)
        return {row.name: _stored(path, answer) for row, path, answer in found}

    async def list_sessions(self) -> list[str]:
        """The ids of all sessions, sorted by code point; names that are no ids are left out.

        Raises:
            S3OperationError, S3ConfigError, LocalStorageError: the place cannot be listed.
        """
        return [name async for page in self._pages(self._place.root) for name in page]

    async def list_steps_for_session(self, session_id: str) -> list[str]:
        """The ids of a session's steps, sorted by code point; [] where there is no such session.

        Raises:
            InvalidIdError: refused before any I/O.
            S3OperationError, S3ConfigError, LocalStorageError: the session cannot be listed.
        """
        return [name async for page in self._pages(self._url("list", session_id)) for name in page]

    async def delete_step(self, session_id: str, step_id: str) -> None:
        """Delete a step with all in it, and its session's seal, and prove it; nothing there: an INFO log says so.

        Raises:
            InvalidIdError: refused before any I/O.
            S3OperationError, S3ConfigError, LocalStorageError: names what is left.
        """
        await self._delete(self._url("delete", session_id, step_id), self._manifest_url(session_id))

    async def delete_session(self, session_id: str) -> None:
        """Delete a session with all its steps, and prove it; where nothing is there, an INFO log says so.

        Raises:
            InvalidIdError: refused before any I/O.
            S3OperationError, S3ConfigError, LocalStorageError: names what is left.
        """
        await self._delete(self._url("delete", session_id))

    async def _delete(self, url: str, *along: str) -> None:
        with translating("delete", url):
            async with self._place.using() as filesystem:
                if not await filesystem.remove_tree(url, along):
                    logger.info("nothing to delete at %s", url)

    async def iter_sessions(self) -> AsyncIterator[str]:
        """The ids of all sessions in order, page by page.

        On S3, names that go on after a shorter one with `+ , - .` (`run-1`: `run`) wait until the listing has
        passed the shorter; a local directory is read as a whole, as POSIX gives it unsorted.

        Raises:
            S3OperationError, S3ConfigError, LocalStorageError: the place cannot be listed.
        """
        async for page in self._pages(self._place.root):
            for name in page:
                yield name

    async def iter_steps(
        self,
        session_ids: Iterable[str] | None = None,
        *,
        components: Sequence[Component] = ALL_COMPONENTS,
        concurrency: int = 16,
        strict: bool = False,
    ) -> AsyncIterator[Step]:
        """Steps in order (session, then step), read ahead; no more than `concurrency` are held in memory.

        Parameters:
            session_ids: which sessions, in this order; None: all.
            components, strict: as for retrieve_step_data.
            concurrency: how many steps are read at a time.

        Raises:
            As retrieve_step_data; ValueError for a concurrency below 1.
        """
        check_ids(session_ids, "retrieve")
        with translating("retrieve", self._place.root):
            formats(components)

        async def read(ids: tuple[str, str]) -> Step:
            return Step(*ids, await self.retrieve_step_data(*ids, components=components, strict=strict))

        async with aclosing(map_ahead(read, self._step_ids(session_ids), concurrency)) as steps:
            async for step in steps:
                yield step

    async def _step_ids(self, session_ids: Iterable[str] | None) -> AsyncIterator[tuple[str, str]]:
        async def listed(session_id: str) -> list[tuple[str, str]]:
            return [(session_id, step_id) for step_id in await self.list_steps_for_session(session_id)]

        sessions = self.iter_sessions() if session_ids is None else session_ids
        async with aclosing(map_ahead(listed, sessions, 4)) as listings:
            async for steps in listings:
                for ids in steps:
                    yield ids

    async def store_steps(self, steps: Iterable[Step] | AsyncIterable[Step], *, concurrency: int = 16) -> int:
        """Store many steps; returns how many. The source is asked only as fast as steps are stored.

        Parameters:
            steps: what iter_steps gives, or your own.
            concurrency: how many steps are stored at a time.

        Raises:
            InvalidIdError, InvalidDataError, S3OperationError, S3ConfigError, LocalStorageError: one step was
            not stored; those in flight have settled, and no further one was begun.
        """

        async def store(step: Step) -> None:
            if not isinstance(step, Step) or not isinstance(step.data, StepData):
                raise InvalidDataError("store_steps takes Step(session_id, step_id, StepData(...))", operation="store")
            await self.store_step_data(step.session_id, step.step_id, *step.data)

        return len([None async for _ in map_ahead(store, steps, concurrency)])

    async def _pages(self, url: str) -> AsyncIterator[list[str]]:
        with translating("list", url):
            async with self._place.using() as filesystem:
                async for page in filesystem.iter_names(url):
                    yield only_ids(page)


def _file(row: ComponentSpec, step_url: str, value: object) -> File:
    data = row.encode(value, row.keyword)
    return File(join(step_url, row.filename), data, row.content_type(data))


def _stored(url: str, answer: bytes | Exception) -> bytes | StorageManagerError | None:
    if not isinstance(answer, Exception):
        return answer
    return None if is_missing(answer) else translate(answer, "retrieve", url)


def _decoded(row: ComponentSpec, step_url: str, answer: bytes | StorageManagerError | None, strict: bool) -> Any:
    """The value of a component; None, with a warning, if it is missing or unreadable."""
    url = join(step_url, row.filename)
    if not isinstance(answer, bytes):
        logger.warning("no %s at %s: %s", row.name, url, answer or "it is missing")
        return None
    try:
        return row.decode(answer)
    except ValueError as error:
        if strict:
            raise translate(error, "retrieve", url) from error
        logger.warning("no %s at %s: it cannot be decoded: %s", row.name, url, error)
        return None
