"""Follow a session while it is recorded: yield its steps as they are stored."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing

from storage_manager.backends import FileInfo
from storage_manager.errors import InvalidDataError
from storage_manager.inventory import files_by_step
from storage_manager.layout import MANIFEST_FILENAME, Step, check_id, is_data, is_id
from storage_manager.storage import StorageManager, check_storage

__all__ = ["follow_ids", "follow_session"]


async def follow_session(
    storage: StorageManager, session_id: str, *, interval: float = 1.0
) -> AsyncGenerator[Step, None]:
    """Yield the steps of a session as they are stored, from the first step on, until the session is sealed.

    Each step is yielded once. The steps that one listing finds are in the order of their ids. If the session does not
    exist yet, the iteration waits for it. On S3, a step appears file by file. So the newest step is held back until a
    listing finds it unchanged, until another step follows, or until the session is sealed. On local disk, a new step
    appears with all of its files at once.

    Parameters:
        interval: seconds from one listing of the session to the next; more than 0. A listing is one LIST for each
            thousand files. If it takes more than half of the interval, the interval becomes twice that time.

    Raises:
        InvalidIdError, InvalidDataError: an argument is not allowed. Raised before any I/O.
        TypeError: `storage` is not a StorageManager.
        S3OperationError, S3ConfigError, LocalStorageError: the session cannot be listed, or as iter_steps.
    """
    async with aclosing(follow_ids(storage, session_id, interval=interval)) as found:
        async for ids in found:
            async with aclosing(storage.read_steps([(session_id, step_id) for step_id in ids])) as steps:
                async for step in steps:
                    yield step


async def follow_ids(
    storage: StorageManager, session_id: str, *, interval: float = 1.0
) -> AsyncGenerator[list[str], None]:
    """Yield the ids of the new steps after each listing; [] if there are none. No step is read.

    Parameters and errors are those of follow_session.
    """
    check_storage(storage)
    session_id = check_id(session_id, "session_id")
    _check_interval(interval)
    async with storage.backend() as backend:
        watch = _Watch(backend.has_whole_steps)
    is_sealed = False
    while not is_sealed:
        begun = time.monotonic()
        files = await files_by_step(storage, session_id)
        spent = time.monotonic() - begun
        is_sealed = MANIFEST_FILENAME in files.get("", {})
        yield watch.ready(files, is_sealed)
        if not is_sealed:
            await asyncio.sleep(max(0.0, begun + max(interval, 2 * spent) - time.monotonic()))


def _check_interval(interval: object) -> None:
    is_number = isinstance(interval, (int, float)) and not isinstance(interval, bool)
    if not is_number or not 0 < interval < math.inf:  # type: ignore[operator]
        raise InvalidDataError(f"interval must be a number of seconds above 0, not {interval!r}", operation="list")


class _Watch:
    """The state of a session that is followed: the steps that were yielded, and the step that is held back.

    Parameters:
        has_whole_steps: True if a new step appears with all of its files at once.
    """

    def __init__(self, has_whole_steps: bool) -> None:
        self._has_whole_steps = has_whole_steps
        self._given: set[str] = set()
        self._held: tuple[str, frozenset[FileInfo]] | None = None  # the newest step, with its files

    def ready(self, files: Mapping[str, Mapping[str, FileInfo]], is_sealed: bool) -> list[str]:
        """Return the ids of the new steps of a listing that can be read.

        Parameters:
            files: the files of the session by step id and name.
        """
        steps = {step_id: frozenset(found.values()) for step_id, found in files.items() if _is_step(step_id, found)}
        new = sorted(steps.keys() - self._given)
        if new and not (is_sealed or self._has_whole_steps):
            step_id = max(new, key=lambda each: (_moment(steps[each]), each))
            newest = step_id, steps[step_id]
            if newest != self._held:
                self._held = newest
                new.remove(step_id)
        self._given.update(new)
        return new


def _is_step(step_id: str, files: Mapping[str, FileInfo]) -> bool:
    return is_id(step_id) and any(is_data(f"{step_id}/{name}") for name in files)


def _moment(files: Iterable[FileInfo]) -> float:
    """Return when the last of these files was written, in seconds since 1970; 0 if the backend does not report it."""
    return max((file.modified.timestamp() for file in files if file.modified), default=0)
