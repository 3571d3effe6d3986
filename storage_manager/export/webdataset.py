"""Export sessions as WebDataset: tar shards, in which the files of a step follow each other under one key."""

import logging
import os
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import IO, Any

from storage_manager.aio import Progress
from storage_manager.errors import InvalidDataError, translating
from storage_manager.export.rows import Row, Unlisted, read_sessions, report_unlisted
from storage_manager.export.target import Target, target_url
from storage_manager.export.writing import check_options, write_export
from storage_manager.layout import ALL_COMPONENTS, COMPONENTS
from storage_manager.storage import StorageManager, check_storage

__all__ = ["export_webdataset"]

logger = logging.getLogger(__name__)

# The end of a shard: two empty blocks, and zeros up to a whole record (POSIX.1-1988, ustar; GNU tar, Basic Tar Format).
_BLOCK = tarfile.BLOCKSIZE
_RECORD = tarfile.RECORDSIZE


async def export_webdataset(
    storage: StorageManager,
    url: str | os.PathLike[str],
    session_ids: Iterable[str] | None = None,
    *,
    shard_bytes: int = 256 * 2**20,
    complete_only: bool = True,
    storage_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> list[str]:
    """Write the steps to `shard-*.tar`, and return the URLs of the shards in order.

    The shards appear when all are complete. An earlier export at the same URL is then replaced. After a failure or a
    cancellation, it is unchanged. The key of a sample is `session/step`, with `%2E` for each dot in the ids
    (`urllib.parse.unquote` restores the ids). The files of a sample have exactly the bytes that this library stores.
    The same steps produce the same shards. A session that cannot be listed is left out, and is named in a warning.

    Parameters:
        url: a directory only for this export, at any fsspec URL, outside the storage root.
        session_ids: the sessions to export, in this order; None for all.
        shard_bytes: the size at which a shard ends; at least 1. The step that reaches it is the last of the shard.
        complete_only: True to leave out steps that lack a component, because `datasets` cannot load them together with
            complete steps. A warning has their number. False to export all steps with the components that they have.
        storage_options: options for the filesystem of `url`.
        progress: called on the event loop with the number of steps done and None; at the end with that number twice.

    Raises:
        InvalidIdError, InvalidDataError: an argument is not allowed (raised before any I/O), a named session has no
            steps, or no step has all components. Nothing is replaced.
        TypeError: `storage` is not a StorageManager. Raised before any I/O.
        S3OperationError, S3ConfigError, LocalStorageError, StorageManagerError: steps cannot be read, or the target
            cannot be written.
    """
    check_storage(storage)
    with translating("export", storage.url_for()):
        directory = target_url(storage, url)
        check_options("shard_bytes", shard_bytes, progress=progress)
    with translating("export", directory):
        target = Target(directory, storage_options)
        sink = _Shards(target, shard_bytes, complete_only)
        unlisted: Unlisted = {}
        rows = read_sessions(storage, session_ids, ALL_COMPONENTS, unlisted)
        names = await write_export(rows, sink, target, progress=progress)
    sink.report(directory)
    report_unlisted(unlisted, directory)
    return [f"{directory}/{name}" for name in names]


class _Shards:
    """The tar files of one export. Only one sample is in memory at a time."""

    name_pattern = re.compile(r"shard-\d{6,}\.tar")

    def __init__(self, target: Target, shard_bytes: int, complete_only: bool) -> None:
        self._target = target
        self._shard_bytes = shard_bytes
        self._complete_only = complete_only
        self._written: list[str] = []
        self._open = ExitStack()
        self._file: IO[bytes] | None = None
        self._size = 0  # of the open shard
        self._left_out = 0
        self._unreadable = 0

    def add(self, rows: Sequence[Row]) -> None:
        """Write steps."""
        for row in rows:
            self._unreadable += len(row.unreadable)
            if self._complete_only and None in row.data:
                self._left_out += 1
            else:
                shard = self._shard()
                self._size += shard.write(b"".join(_sample(row)))

    def _shard(self) -> IO[bytes]:
        """Return the shard for the next sample. Begin a new shard if the last one is large enough."""
        if self._file is None or self._size >= self._shard_bytes:
            self._end_shard()
            self._written.append(f"shard-{len(self._written):06}.tar")
            self._file, self._size = self._target.create(self._written[-1]), 0
            self._open.callback(self._file.close)
        return self._file

    def _end_shard(self) -> None:
        if self._file is not None:
            self._file.write(bytes(2 * _BLOCK + -(self._size + 2 * _BLOCK) % _RECORD))
            self._file = None
        self._open.close()

    def finish(self) -> Sequence[str]:
        """Complete the last shard. Return the names of all shards."""
        self._end_shard()
        if self._left_out and not self._written:
            why = f"each of the {self._left_out} steps lacks a component"
            advice = "use complete_only=False to export the components that they have"
            raise InvalidDataError(f"cannot export: {why}; {advice}", operation="export")
        return self._written

    def close(self) -> None:
        """Close the shard that is open."""
        self._open.close()

    def report(self, url: str) -> None:
        """Log a warning if steps were left out, if components could not be read, or if there are no shards."""
        if self._left_out:
            steps, why = (
                ("1 step is", "it lacks") if self._left_out == 1 else (f"{self._left_out} steps are", "they lack")
            )
            advice = "use complete_only=False to export what is there"
            logger.warning("%s left out of the export to %s, because %s a component: %s", steps, url, why, advice)
        if self._unreadable:
            components = "1 component" if self._unreadable == 1 else f"{self._unreadable} components"
            logger.warning("%s could not be read for the export to %s", components, url)
        if not (self._left_out or self._unreadable or self._written):
            logger.warning("nothing was exported to %s: there are no steps", url)


def _sample(row: Row) -> Iterator[bytes]:
    """Yield the files of a step in tar format: for each file a header, the bytes, and zeros up to a whole block.

    The headers have no time and no owner, so equal steps produce equal bytes. `tarfile.TarFile` is not used, because it
    takes a third more time for small files: it copies each header, and writes each part separately.
    """
    key = f"{row.session_id}/{row.step_id}".replace(".", "%2E")
    for spec in COMPONENTS:
        value = getattr(row.data, spec.name)
        if value is not None:
            data = spec.encode(value, spec.keyword)
            member = tarfile.TarInfo(f"{key}.{spec.filename}")
            member.size = len(data)
            yield member.tobuf(tarfile.GNU_FORMAT)
            yield data
            yield bytes(-len(data) % _BLOCK)
