"""Read the steps to export. A component that exists but cannot be read is null and counted, never dropped."""

import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple

from storage_manager.aio import map_ahead
from storage_manager.errors import InvalidDataError, StorageManagerError
from storage_manager.layout import (
    ALL_COMPONENTS,
    Component,
    ComponentSpec,
    StepData,
    check_ids,
    formats,
    join,
)
from storage_manager.storage import StorageManager, iter_listings

__all__ = [
    "Row",
    "Session",
    "Unlisted",
    "read_metadata",
    "read_row",
    "read_sessions",
    "read_steps",
    "refuse_empty_sessions",
    "report_unlisted",
]

logger = logging.getLogger(__name__)

CONCURRENCY = 16  # steps that are read at the same time
SESSIONS = 4  # sessions whose metadata is read at the same time

Unlisted = dict[str, StorageManagerError]  # session ids, each with the error of its listing

_Answer = bytes | StorageManagerError | None


class Session(NamedTuple):
    """One session: the ids of its steps, and its metadata. The metadata is None if it is missing or `is_unreadable`."""

    session_id: str
    step_ids: Sequence[str]
    metadata: Mapping[str, Any] | None = None
    is_unreadable: bool = False


class Row(NamedTuple):
    """One step, and the names of its unreadable files. These are None in `data`, or missing in `attachments`."""

    session_id: str
    step_id: str
    data: StepData
    unreadable: tuple[str, ...] = ()
    attachments: Mapping[str, bytes] = {}
    observed: str | None = None  # "before" or "after" the action, as the metadata of the step or of the session says


async def read_row(
    storage: StorageManager,
    session_id: str,
    step_id: str,
    components: Sequence[Component],
    attachments: Sequence[str] = (),
) -> Row:
    """Read one step. Missing files and unreadable files are distinguished. Each file is read once.

    Raises:
        S3OperationError, S3ConfigError, LocalStorageError: no component of the step can be read, because there is
            no bucket, no access or no connection.
    """
    answers, others = await storage.read_files_of_step(session_id, step_id, components, attachments)
    await _raise_if_nothing_can_be_read(storage, session_id, step_id, answers)
    url = storage.url_for(session_id, step_id)
    values: dict[Component, Any] = {spec.name: _value(spec, answers[spec.name], url) for spec in formats(components)}
    unreadable: list[str] = [name for name in values if values[name] is None and answers[name] is not None]
    unreadable += [name for name, answer in others.items() if isinstance(answer, StorageManagerError)]
    found = {name: answer for name, answer in others.items() if isinstance(answer, bytes)}
    return Row(session_id, step_id, StepData(**values), tuple(unreadable), found)


async def _raise_if_nothing_can_be_read(
    storage: StorageManager, session_id: str, step_id: str, answers: Mapping[Component, _Answer]
) -> None:
    """Raise an error if reading fails for every component, including those that are not exported.

    This means that the storage fails, not the step. An unmounted disk must not become rows of nulls.
    """
    failed = [answer for answer in answers.values() if isinstance(answer, StorageManagerError)]
    if not failed or len(failed) < len(answers):
        return
    others: list[Component] = [name for name in ALL_COMPONENTS if name not in answers]
    rest = await storage.read_step(session_id, step_id, components=others)
    if all(isinstance(answer, StorageManagerError) for answer in rest.values()):
        raise failed[0]


def _value(spec: ComponentSpec, answer: _Answer, step_url: str) -> Any:
    """Return the decoded component; None if it is missing or unreadable."""
    failure: Exception | None = answer if isinstance(answer, StorageManagerError) else None
    if isinstance(answer, bytes):
        try:
            return spec.decode(answer)
        except ValueError as error:
            failure = error
    if failure:  # at level INFO, because one warning at the end gives the number of unreadable components
        logger.info("cannot read %s: %s", join(step_url, spec.filename), failure)
    return None


async def read_steps(
    storage: StorageManager,
    sessions: AsyncIterable[Session],
    components: Sequence[Component],
    attachments: Sequence[str] = (),
) -> AsyncGenerator[Row, None]:
    """Yield the steps of these sessions in order. They are read ahead; at most 16 are in memory.

    The backend stays open until the last step is read.

    Raises:
        S3OperationError, S3ConfigError, LocalStorageError: as read_row, or raised by `sessions`.
    """

    async def read(step: tuple[Session, str]) -> Row:
        session, step_id = step
        row = await read_row(storage, session.session_id, step_id, components, attachments)
        return row._replace(observed=_observed(row.data.metadata) or _observed(session.metadata))

    async with storage.backend(), aclosing(map_ahead(read, _steps(sessions), CONCURRENCY)) as rows:
        async for row in rows:
            yield row


async def _steps(sessions: AsyncIterable[Session]) -> AsyncGenerator[tuple[Session, str], None]:
    async for session in sessions:
        for step_id in session.step_ids:
            yield session, step_id


def _observed(metadata: Mapping[str, Any] | None) -> str | None:
    said = (metadata or {}).get("observed")
    return said if isinstance(said, str) and said in ("before", "after") else None


async def read_metadata(
    storage: StorageManager, listings: Iterable[tuple[str, Sequence[str]]] | AsyncIterable[tuple[str, Sequence[str]]]
) -> AsyncGenerator[Session, None]:
    """Yield these sessions with their metadata, in order. The metadata is read ahead.

    Parameters:
        listings: the id of each session, with the ids of its steps.
    """

    async def read(listing: tuple[str, Sequence[str]]) -> Session:
        session_id, step_ids = listing
        try:
            return Session(session_id, step_ids, await storage.retrieve_session_metadata(session_id))
        except StorageManagerError as error:
            logger.info("the metadata of the session %s cannot be read: %s", session_id, error)
            return Session(session_id, step_ids, is_unreadable=True)

    async with aclosing(map_ahead(read, listings, SESSIONS)) as sessions:
        async for session in sessions:
            yield session


async def read_sessions(
    storage: StorageManager,
    session_ids: Iterable[str] | None,
    components: Sequence[Component],
    unlisted: Unlisted,
    attachments: Sequence[str] = (),
    sessions: "deque[Session] | None" = None,
) -> AsyncGenerator[Row, None]:
    """Yield the steps of these sessions, or of all sessions if None, in the order of `iter_steps`.

    Parameters:
        unlisted: the sessions that cannot be listed are added to it, with their errors.
        sessions: each session is added to it, with its metadata, before its first row. None to read no metadata.

    Raises:
        InvalidIdError, InvalidDataError: an argument is not allowed (raised before any I/O), or a named session has no
            steps (raised at the end).
        S3OperationError, S3ConfigError, LocalStorageError: the root or every session cannot be listed, or as read_row.
    """
    given = check_ids(session_ids, "export")
    named = None if given is None else list(dict.fromkeys(given))  # each once, also if it is named twice
    empty = set(named or ())
    found = _sessions(storage, named, unlisted, sessions)
    async with aclosing(found), aclosing(read_steps(storage, found, components, attachments)) as rows:
        async for row in rows:
            empty.discard(row.session_id)
            yield row
    empty -= unlisted.keys()
    if empty:
        refuse_empty_sessions(sorted(empty))


async def _sessions(
    storage: StorageManager, session_ids: Iterable[str] | None, unlisted: Unlisted, sessions: "deque[Session] | None"
) -> AsyncGenerator[Session, None]:
    async with aclosing(iter_listings(storage, session_ids, unlisted.__setitem__)) as listings:
        if sessions is None:
            async for listing in listings:
                yield Session(*listing)
            return
        async with aclosing(read_metadata(storage, listings)) as found:
            async for session in found:
                sessions.append(session)
                yield session


def report_unlisted(unlisted: Unlisted, url: str) -> None:
    """Log a warning if sessions are not in the export because they could not be listed."""
    if unlisted:
        names = ", ".join(list(unlisted)[:10]) + ", ..." * (len(unlisted) > 10)
        first = next(iter(unlisted.values()))
        number = len(unlisted)
        what = (
            "1 session could not be listed and is" if number == 1 else f"{number} sessions could not be listed and are"
        )
        logger.warning("%s not in the export to %s: %s (%s)", what, url, names, first)


def refuse_empty_sessions(names: Sequence[str]) -> None:
    """Raise the error for sessions that were named but have no steps.

    Raises:
        InvalidDataError: always.
    """
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    why = f"these sessions have no steps: {', '.join(names[:10])}{more}. Nothing was changed at the target"
    raise InvalidDataError(f"cannot export: {why}", operation="export")
