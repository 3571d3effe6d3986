"""What changed in the HTML of a step since the step before."""

import asyncio
from bisect import bisect_left
from typing import Any

from storage_manager.storage import StorageManager
from storage_manager.viewer.changes import compare
from storage_manager.viewer.components import read

__all__ = ["changes_between", "changes_of", "step_before"]


async def step_before(storage: StorageManager, session_id: str, step_id: str) -> str | None:
    """The step that comes before in its session; None for the first.

    Raises:
        InvalidIdError: refused before any I/O.
        S3OperationError, S3ConfigError, LocalStorageError: the session cannot be listed.
    """
    steps = await storage.list_steps_for_session(session_id)
    place = bisect_left(steps, step_id)
    return steps[place - 1] if place else None


async def changes_between(storage: StorageManager, session_id: str, since: str | None, step_id: str) -> dict[str, Any]:
    """The changes from one step to another, worked out in a thread, as the browser is told them.

    Raises:
        InvalidIdError: refused before any I/O.
        S3OperationError, S3ConfigError, LocalStorageError: one of them has HTML that cannot be read.
    """
    after = await read(storage, session_id, step_id, "html")
    before = await read(storage, session_id, since, "html") if since else None
    return await asyncio.to_thread(changes_of, since, before, after)


def changes_of(since: str | None, before: bytes | None, after: bytes | None) -> dict[str, Any]:
    """The same from the HTML of both; None for what is not there."""
    if since is None:
        return {"since": None, "reason": "This is the first step: nothing comes before it."}
    if after is None:
        return {"since": since, "reason": "This step has no HTML."}
    if before is None:
        return {"since": since, "reason": f"The step before, {since}, has no HTML."}
    return {"since": since, **compare(before.decode(errors="replace"), after.decode(errors="replace"))}
