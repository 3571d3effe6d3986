"""Read sessions on a Dask cluster if this process has a Dask client: to build a catalogue of millions of sessions.

Each worker reads its sessions directly from the storage. It finds credentials as botocore does.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, Protocol, TypeVar

from storage_manager.aio import map_ahead
from storage_manager.errors import StorageManagerError
from storage_manager.storage import StorageManager

__all__ = ["active_client", "visit_on_cluster"]

_PART = 200  # sessions that a worker reads together
_PARTS_AHEAD = 2  # for each thread of the cluster
_THREADS = 8  # assumed of a cluster with an asynchronous client, which answers only to `await`


class _Visited(Protocol):
    @property
    def is_missing(self) -> bool: ...


Task = TypeVar("Task")
Visited = TypeVar("Visited", bound=_Visited)
_Visit = Callable[[StorageManager, Task], Awaitable[Visited]]


def active_client() -> Any:
    """Return the Dask client that this process created last; None if there is none."""
    distributed = sys.modules.get("distributed")
    try:
        return distributed and distributed.get_client()
    except ValueError:  # there is no client
        return None


async def visit_on_cluster(
    client: Any, storage: StorageManager, visit: _Visit[Task, Visited], tasks: AsyncIterable[Task], concurrency: int
) -> AsyncGenerator[Visited, None]:
    """Call a function for each task on the workers, and yield the results in order.

    Parameters:
        visit: a function at the top level of a module. The workers import it.
        concurrency: how many tasks of a part run at a time.

    Raises:
        StorageManagerError: a worker finds none of its sessions.
    """
    root, options = storage.url_for(), storage.storage_options

    async def send(part: list[Task]) -> list[Visited]:
        future = client.submit(_visit_part, visit, concurrency, part, root, options, pure=False)
        visited: list[Visited] = await (future if client.asynchronous else asyncio.to_thread(future.result))
        return visited

    threads = sum(client.nthreads().values()) if not client.asynchronous else _THREADS
    async with aclosing(map_ahead(send, _parts(tasks), max(1, _PARTS_AHEAD * threads))) as parts:
        async for part in parts:
            for visited in part:
                yield visited


async def _parts(tasks: AsyncIterable[Task]) -> AsyncGenerator[list[Task], None]:
    part = list[Task]()
    async for task in tasks:
        part.append(task)
        if len(part) == _PART:
            yield part
            part = []
    if part:
        yield part


def _visit_part(
    visit: _Visit[Task, Visited], concurrency: int, part: Sequence[Task], root: str, options: Mapping[str, Any]
) -> list[Visited]:
    """Process the tasks of a part. This runs in a thread of a worker."""
    return asyncio.run(_visit_all(visit, concurrency, part, root, options))


async def _visit_all(
    visit: _Visit[Task, Visited], concurrency: int, part: Sequence[Task], root: str, options: Mapping[str, Any]
) -> list[Visited]:
    async with StorageManager.from_url(root, storage_options=options) as storage:
        found = [visited async for visited in map_ahead(partial(visit, storage), part, concurrency)]
    if all(visited.is_missing for visited in found):
        why = f"none of {len(found)} sessions exists at {root}: they were deleted, or a worker has another disk"
        raise StorageManagerError(f"cannot catalog them: {why}", operation="catalog", url=root)
    return found
