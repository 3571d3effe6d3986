"""Read the actions and metadata of several steps, for the list of actions of the front end."""

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any

from storage_manager.aio import map_ahead
from storage_manager.errors import StorageManagerError
from storage_manager.layout import Component
from storage_manager.storage import StorageManager

__all__ = ["MAX_STEPS", "read_outline"]

MAX_STEPS = 100  # in one answer
MAX_BYTES = 1_000_000  # of a component; the front end parses no larger JSON
MAX_TOTAL = 4_000_000  # bytes of an answer; the front end requests the other steps again
CONCURRENCY = 16  # steps that are read at a time
_COMPONENTS: tuple[Component, ...] = ("action", "metadata")


async def read_outline(storage: StorageManager, session_id: str, step_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the stored actions and metadata of steps as texts, by step id.

    A component of more than a million bytes is left out. The answer has as many steps as fit into four million bytes,
    and at least one.

    Returns:
        Per step: `action` and `metadata`; `lacks`: the names of components that the step does not have; `error`: the
        reason if one cannot be read.

    Raises:
        InvalidIdError: the id is not allowed. Raised before any I/O.
        S3ConfigError, StorageManagerError: the storage cannot be opened.
    """

    async def read(step_id: str) -> dict[str, Any]:
        return _texts(await storage.read_step(session_id, step_id, components=_COMPONENTS))

    wanted = list(dict.fromkeys(step_ids))[:MAX_STEPS]
    found, size = dict[str, dict[str, Any]](), 0
    async with aclosing(map_ahead(read, wanted, CONCURRENCY)) as answers:
        async for answer in answers:
            size += sum(len(answer.get(name, "")) for name in _COMPONENTS)
            if found and size > MAX_TOTAL:
                break
            found[wanted[len(found)]] = answer
    return found


def _texts(answers: Mapping[Component, bytes | StorageManagerError | None]) -> dict[str, Any]:
    found: dict[str, Any] = {"lacks": [name for name, answer in answers.items() if answer is None]}
    for name, answer in answers.items():
        if isinstance(answer, StorageManagerError):
            found["error"] = str(answer)
        elif answer is not None and len(answer) <= MAX_BYTES:
            found[name] = answer.decode(errors="replace")
    return found
