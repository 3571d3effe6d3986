"""Export sessions as Parquet. `tables` describes the files."""

import os
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from storage_manager.aio import Progress
from storage_manager.errors import translating
from storage_manager.export.rows import Row, Session, Unlisted, read_sessions, report_unlisted
from storage_manager.export.table import schema, to_batch
from storage_manager.export.tables import NAMES, ROW_GROUP_BYTES, ParquetFile, Summary, index_batch, new_steps
from storage_manager.export.target import Target, target_url
from storage_manager.export.writing import BATCH_BYTES, check_options, write_export
from storage_manager.layout import ALL_COMPONENTS, Component, check_attachment_names
from storage_manager.storage import StorageManager, check_storage

__all__ = ["export_parquet"]

MAX_ROW_GROUP_BYTES = 2**30  # half of what Arrow's offsets of 32 bits can address
FILE_BYTES = 2**30  # before compression


async def export_parquet(
    storage: StorageManager,
    url: str | os.PathLike[str],
    session_ids: Iterable[str] | None = None,
    *,
    components: Sequence[Component] = ALL_COMPONENTS,
    attachments: Sequence[str] = (),
    storage_options: Mapping[str, Any] | None = None,
    row_group_bytes: int = ROW_GROUP_BYTES,
    progress: Progress | None = None,
) -> int:
    """Write the steps, an index, the sessions and a dataset card. The files appear when all are complete.

    `data/steps-*.parquet` has one row per step. `index/index.parquet` has the same rows without the large columns.
    `sessions/sessions.parquet` has one row per session. README.md is the dataset card: with it,
    `datasets.load_dataset(url)` loads the steps, with screenshots as images. docs/export.rst describes the columns.

    An earlier export at the same URL is replaced when all new files are complete. After a failure or a cancellation, it
    is unchanged. A component that exists but cannot be read is null, is named in the column `unreadable`, and is
    counted in a warning. A session that cannot be listed is left out, and is named in a warning. The memory that is
    needed depends on `row_group_bytes`, and not on the number of steps.

    Parameters:
        url: a directory only for this export, at any fsspec URL, outside the storage root.
        session_ids: the sessions to export, in this order; None for all.
        components: the components that get columns.
        attachments: the names of step attachments. Each gets a binary column with the name of the attachment.
        storage_options: options for the filesystem of `url`.
        row_group_bytes: the size at which a row group ends, before compression; 1 to 2**30.
        progress: called on the event loop with the number of steps written and None; at the end with that number twice.

    Returns:
        The number of rows.

    Raises:
        InvalidIdError, InvalidDataError: an argument is not allowed (raised before any I/O), or a named session has no
            steps. Nothing is replaced.
        TypeError: `storage` is not a StorageManager. Raised before any I/O.
        S3OperationError, S3ConfigError, LocalStorageError, StorageManagerError: steps cannot be read, the target
            cannot be written, or pyarrow is not installed.
    """
    check_storage(storage)
    with translating("export", storage.url_for()):
        directory = target_url(storage, url)
        check_options("row_group_bytes", row_group_bytes, MAX_ROW_GROUP_BYTES, progress)
        schema(components, attachments)  # refuses names that cannot be used, before any I/O
        names = check_attachment_names(attachments)
    with translating("export", directory):
        target = Target(directory, storage_options)
        sessions: deque[Session] = deque()
        sink = _Tables(target, storage.url_for(), components, names, row_group_bytes, sessions)
        unlisted: Unlisted = {}
        rows = read_sessions(storage, session_ids, components, unlisted, names, sessions)
        await write_export(rows, sink, target, batch_bytes=min(BATCH_BYTES, row_group_bytes), progress=progress)
    sink.summary.report(directory)
    report_unlisted(unlisted, directory)
    return sink.summary.rows


class _Tables:
    """The files of one export.

    Parameters:
        target: creates the files.
        root: the URL of the storage root.
        sessions: the sessions whose rows will be written. They are added while the steps are read.
    """

    name_pattern = NAMES

    def __init__(
        self,
        target: Target,
        root: str,
        components: Sequence[Component],
        attachments: Sequence[str],
        row_group_bytes: int,
        sessions: "deque[Session]",
    ) -> None:
        self._target, self._root, self._found = target, root, sessions
        self._components, self._attachments = components, attachments
        self._row_group_bytes = row_group_bytes
        self._steps = [self._new_steps(0)]
        self.summary = Summary(target, components, attachments)

    def _new_steps(self, number: int) -> ParquetFile:
        return new_steps(self._target, number, self._components, self._attachments, self._row_group_bytes)

    def add(self, rows: Sequence[Row]) -> None:
        """Write steps, their rows of the index, and the sessions that were found meanwhile."""
        if self._steps[-1].bytes >= FILE_BYTES:
            self._steps[-1].finish()
            self._steps.append(self._new_steps(len(self._steps)))
        batch = to_batch(rows, self._root, self._components, self._attachments)
        self._steps[-1].add(batch)
        self.summary.add_steps(index_batch(batch, self._components, self._attachments, self._steps[-1].name))
        self.summary.add_unreadable(sum(len(row.unreadable) for row in rows))
        self._add_sessions()

    def _add_sessions(self) -> None:
        self.summary.add_sessions([self._found.popleft() for _ in range(len(self._found))])

    def finish(self) -> Sequence[str]:
        """Complete all files. Return their names, the index last."""
        self._add_sessions()
        self._steps[-1].finish()
        return [*(file.name for file in self._steps), *self.summary.finish()]

    def close(self) -> None:
        """Close all open files."""
        with ExitStack() as stack:
            stack.callback(self.summary.close)
            for file in self._steps:
                stack.callback(file.close)
