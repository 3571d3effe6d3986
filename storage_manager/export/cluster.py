"""Export sessions as Parquet with Dask: the workers of a cluster read the steps, and write the files of steps."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from fsspec.asyn import get_loop, sync

from storage_manager.aio import Progress
from storage_manager.errors import StorageManagerError, needing, translating
from storage_manager.export.parts import Part, divide, manager_options, read_part
from storage_manager.export.rows import Row, Session, Unlisted, refuse_empty_sessions, report_unlisted
from storage_manager.export.table import schema, to_batch
from storage_manager.export.tables import NAMES, ROW_GROUP_BYTES, Summary, index_batch, new_steps
from storage_manager.export.target import Target, target_url
from storage_manager.export.writing import BATCH_BYTES, check_options, size_of
from storage_manager.layout import ALL_COMPONENTS, Component, check_attachment_names, check_ids
from storage_manager.storage import StorageManager, check_storage, iter_listings

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["export_dask"]

PARTS_AT_ONCE = 64  # without a client: their rows of the index, and their sessions, are in memory together


class _Job(NamedTuple):
    """The input of a worker: the root that it reads, and the target to which it writes."""

    root: str
    options: Mapping[str, Any]
    components: Sequence[Component]
    attachments: Sequence[str]
    url: str
    storage_options: Mapping[str, Any] | None
    staging: str


class _Written(NamedTuple):
    """The result of a worker: its file, and its rows of the other tables."""

    name: str  # of the file, when it is published
    path: str  # of the file until then
    rows: "Sequence[pa.RecordBatch]"  # of the index
    unreadable: int  # files
    sessions: Sequence[Session]


def export_dask(
    storage: StorageManager,
    url: str | os.PathLike[str],
    session_ids: Iterable[str] | None = None,
    *,
    components: Sequence[Component] = ALL_COMPONENTS,
    attachments: Sequence[str] = (),
    storage_options: Mapping[str, Any] | None = None,
    steps_per_partition: int = 1000,
    progress: Progress | None = None,
) -> int:
    """Export as `export_parquet` does, but let the workers of a Dask cluster read the steps and write their files.

    It uses the Dask client of this process, or else Dask's threads. It returns when the export is complete. In
    asynchronous code, call it with `asyncio.to_thread`. An earlier export at this URL is replaced when all new files
    are complete. What cannot be read is null, and is counted in a warning. As with `read_dask`, the workers find the
    credentials for `storage` themselves, as botocore does.

    Parameters:
        url: a directory only for this export, at any fsspec URL that the workers can reach, outside the storage root.
        session_ids: the sessions to export, in this order; None for all.
        components: the components that get columns.
        attachments: the names of step attachments. Each gets a binary column with the name of the attachment.
        storage_options: options for the filesystem of `url`. All of them are sent to the workers, secrets too.
        steps_per_partition: the largest number of rows in a file. A worker needs memory for about three times their
            size.
        progress: called with the number of steps written and of all steps, after each partition. Without a client, it
            is called after each 64 partitions.

    Returns:
        The number of rows.

    Raises:
        InvalidIdError, InvalidDataError: an argument is not allowed (raised before any I/O), or a named session has no
            steps. Nothing is replaced.
        TypeError: `storage` is not a StorageManager. Raised before any I/O.
        S3OperationError, S3ConfigError, LocalStorageError, StorageManagerError: steps cannot be read, the target
            cannot be written, a worker finds none of its sessions, or dask or pyarrow is not installed.
    """
    check_storage(storage)
    with translating("export", storage.url_for()):
        directory = target_url(storage, url)
        check_options("steps_per_partition", steps_per_partition, progress=progress)
        schema(components, attachments)  # refuses names that cannot be used, before any I/O
        names = check_attachment_names(attachments)
        named = check_ids(session_ids, "export")
        _dask()
    unlisted: Unlisted = {}
    with translating("export", directory):
        listings = sync(get_loop(), _listings, storage, named, unlisted)
        target, known = Target(directory, storage_options), (storage.url_for(), manager_options(storage))
        job = _Job(*known, tuple(components), names, directory, storage_options, target.staging)
        summary = Summary(target, components, names)
        _export(job, listings, steps_per_partition, target, summary, progress)
    summary.report(directory)
    report_unlisted(unlisted, directory)
    return summary.rows


def _dask() -> Any:
    with needing("dask", "dask", "export"):
        import dask
    return dask


async def _listings(
    storage: StorageManager, named: Sequence[str] | None, unlisted: Unlisted
) -> list[tuple[str, list[str]]]:
    """List the steps of the sessions. This runs on fsspec's event loop; the backend is closed at its end."""
    once = None if named is None else list(dict.fromkeys(named))  # also if a session is named twice
    async with storage:
        listings = [listing async for listing in iter_listings(storage, once, unlisted.__setitem__)]
    if named is not None and (empty := [session_id for session_id, step_ids in listings if not step_ids]):
        refuse_empty_sessions(sorted(empty))
    return listings


def _export(
    job: _Job,
    listings: Sequence[tuple[str, list[str]]],
    size: int,
    target: Target,
    summary: Summary,
    progress: Progress | None,
) -> None:
    """Let the workers write all parts, write the other files, and publish them together."""
    steps, parts = dict(listings), divide(listings, size)
    total, names = sum(map(len, steps.values())), []
    try:
        target.prepare()
        for number, written in enumerate(_written(parts, job)):
            target.adopt(written.name, written.path)
            for batch in written.rows:
                summary.add_steps(batch)
            summary.add_unreadable(written.unreadable)
            begun = written.sessions[_continues(parts, number) :]
            summary.add_sessions([session._replace(step_ids=steps[session.session_id]) for session in begun])
            names.append(written.name)
            if progress:
                progress(summary.rows, total)
        target.publish([*names, *summary.finish()], NAMES)
    finally:
        with suppress(StorageManagerError), translating("export", target.url):
            summary.close()
        target.clean()


def _continues(parts: Sequence[Part], number: int) -> bool:
    """Return True if the first session of a part begins in the part before."""
    return number > 0 and bool(parts[number]) and parts[number][0][0] == parts[number - 1][-1][0]


def _written(parts: Sequence[Part], job: _Job) -> Iterator[_Written]:
    """Let the workers write the parts, and yield what they have written, in the order of the parts."""
    dask = _dask()
    tasks = [dask.delayed(partial(_write_part, number, part, job), pure=False)() for number, part in enumerate(parts)]
    client = getattr(dask.base.get_scheduler(), "__self__", None)  # a bound method, if there is a client
    if client is None:
        for first in range(0, len(tasks), PARTS_AT_ONCE):
            yield from dask.compute(*tasks[first : first + PARTS_AT_ONCE])
        return
    futures = deque(client.compute(tasks))
    while futures:
        yield futures.popleft().result()


def _write_part(number: int, part: Part, job: _Job) -> _Written:
    """Read a part, and write its file. This runs in a worker."""
    rows, sessions = sync(get_loop(), read_part, part, job.root, job.options, job.components, job.attachments)
    batches = [to_batch(piece, job.root, job.components, job.attachments) for piece in _pieces(rows)]
    with translating("export", job.url):
        target = Target(job.url, job.storage_options, job.staging)
        with closing(new_steps(target, number, job.components, job.attachments, ROW_GROUP_BYTES)) as file:
            for batch in batches:
                file.add(batch)
            file.finish()
    index = [index_batch(batch, job.components, job.attachments, file.name) for batch in batches]
    return _Written(file.name, target.path_of(file.name), index, sum(len(row.unreadable) for row in rows), sessions)


def _pieces(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Divide rows into pieces that are small enough for an Arrow array."""
    piece: list[Row] = []
    size = 0
    for row in rows:
        piece.append(row)
        size += size_of(row)
        if size >= BATCH_BYTES:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece
