"""Sessions as WebDataset: tar shards, in which the files of a step lie one after another under one key."""

import logging
import os
import re
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from io import BytesIO
from typing import Any

from storage_manager.aio import Progress
from storage_manager.errors import InvalidDataError, translating
from storage_manager.export.rows import Row, read_rows
from storage_manager.export.target import Target, target_url
from storage_manager.export.writing import run
from storage_manager.layout import ALL_COMPONENTS, COMPONENTS
from storage_manager.storage import StorageManager

__all__ = ["export_webdataset"]

logger = logging.getLogger(__name__)


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
    """Write the steps to `shard-*.tar`, which appear when all of them are complete; returns their URLs, in order.

    An earlier export in the same place is replaced then, and left as it is by a failure or a cancellation. A
    sample's key is `session/step`, with `%2E` for each dot of the ids (`urllib.parse.unquote` gives them back); its
    files are those of the step, byte for byte as this library stores them. The same steps give the same shards.

    Parameters:
        url: a directory for this export alone, at any fsspec URL; outside of the storage's own root.
        session_ids: which sessions, in this order; None: all.
        shard_bytes: a shard ends with the step that brings it to this size; at least 1.
        complete_only: leave out steps that lack a component, which `datasets` cannot load beside others; a warning
            says how many. False: what is there.
        storage_options: for the filesystem of `url`.
        progress: called on the event loop with the steps that are done, and None; at the end with them twice.

    Raises:
        InvalidIdError, InvalidDataError: refused before any I/O; or a session that was named has no steps, or no
            step has all components: nothing is replaced.
        S3OperationError, S3ConfigError, LocalStorageError, StorageManagerError: steps cannot be read, or the
            target not be written.
    """
    with translating("export", storage.url_for()):
        place = target_url(storage, url)
        if shard_bytes < 1:
            raise InvalidDataError(f"shard_bytes must be at least 1, not {shard_bytes}")
    with translating("export", place):
        target = Target(place, storage_options)
        sink = _Shards(target, shard_bytes, complete_only)
        names = await run(read_rows(storage, session_ids, ALL_COMPONENTS), sink, target, progress=progress)
    sink.report(place)
    return [f"{place}/{name}" for name in names]


class _Shards:
    """The tar files of one export; a sample at a time is in memory."""

    names = re.compile(r"shard-\d{6,}\.tar")

    def __init__(self, target: Target, shard_bytes: int, complete_only: bool) -> None:
        self._target = target
        self._shard_bytes = shard_bytes
        self._complete_only = complete_only
        self._written: list[str] = []
        self._open = ExitStack()
        self._tar: tarfile.TarFile | None = None
        self._left_out = 0
        self._unreadable = 0

    def add(self, rows: Sequence[Row]) -> None:
        """Write steps."""
        for row in rows:
            self._unreadable += len(row.unreadable)
            if self._complete_only and None in row.data:
                self._left_out += 1
            else:
                _write_sample(self._shard(), row)

    def _shard(self) -> tarfile.TarFile:
        """The shard for the next sample: a new one where the last is large enough."""
        if self._tar is None or self._tar.offset >= self._shard_bytes:
            self._open.close()
            self._written.append(f"shard-{len(self._written):06}.tar")
            file = self._target.create(self._written[-1])
            self._open.callback(file.close)
            self._tar = self._open.enter_context(tarfile.open(fileobj=file, mode="w|"))  # noqa: SIM115 (it is entered)
        return self._tar

    def finish(self) -> Sequence[str]:
        """Complete the last shard."""
        self._open.close()
        if self._left_out and not self._written:
            why = f"each of the {self._left_out} steps lacks a component; complete_only=False exports what is there"
            raise InvalidDataError(why, operation="export")
        return self._written

    def close(self) -> None:
        """Close what is open."""
        self._open.close()

    def report(self, url: str) -> None:
        """Say what is not in the shards, once."""
        if self._left_out or self._unreadable:
            what = "%d incomplete steps are left out of the export to %s; %d components cannot be read"
            logger.warning(what, self._left_out, url, self._unreadable)
        elif not self._written:
            logger.warning("no steps are exported to %s: there are none", url)


def _write_sample(tar: tarfile.TarFile, row: Row) -> None:
    """The step's files, with the same header whoever writes it, and when."""
    key = f"{row.session_id}/{row.step_id}".replace(".", "%2E")
    for component in COMPONENTS:
        value = getattr(row.data, component.name)
        if value is not None:
            data = component.encode(value, component.keyword)
            member = tarfile.TarInfo(f"{key}.{component.filename}")
            member.size = len(data)
            tar.addfile(member, BytesIO(data))
    tar.members.clear()  # type: ignore[attr-defined]  # it would grow with the shard
