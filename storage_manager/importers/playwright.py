"""Import traces of Playwright, as `context.tracing.stop(path="trace.zip")` and Playwright MCP write them."""

import os
from contextlib import ExitStack
from functools import partial

from storage_manager.aio import Progress
from storage_manager.importers.archive import Archive
from storage_manager.importers.budget import Budget
from storage_manager.importers.storing import Read, Source, import_session
from storage_manager.importers.style_sheets import StyleSheets
from storage_manager.importers.trace import Context, actions_of
from storage_manager.importers.trace_steps import Steps
from storage_manager.importers.unpacked import open_archive
from storage_manager.storage import StorageManager

__all__ = ["import_playwright_trace"]


async def import_playwright_trace(
    storage: StorageManager,
    path: str | os.PathLike[str],
    session_id: str | None = None,
    *,
    all_calls: bool = False,
    progress: Progress | None = None,
) -> str:
    """Import a Playwright trace as a session with one step per action. Return the session id.

    The steps are step_000001 and so on, in the order in which the actions began. The whole file is read, and every
    step is built, before the first step is stored. The trace is read in a separate thread.

    Parameters:
        storage: the storage that receives the session.
        path: a trace.zip, a directory with the same files, as Playwright MCP writes it, or a .trace file in such a
            directory. Versions 3 to 10 of the format can be read: Playwright 1.31 to 1.65.
        session_id: the id of the new session. None to make it from the name of the file or directory.
        all_calls: False to leave out calls that neither act on a page nor check it: calls that read (`title`,
            `screenshot`), wait, or set up the browser (`addCookies`).
        progress: called on the event loop with the number of steps stored so far, and the number of all steps.

    Raises:
        InvalidIdError: the id is not allowed, or none can be made from the name. Raised before anything is read.
        InvalidDataError: the file is not a trace, it is damaged or hostile, or the session exists already.
            Nothing is stored.
        LocalStorageError: the file cannot be read.
        TypeError: `storage` is not a StorageManager, path is not a path, or progress is not a function.
        S3OperationError, S3ConfigError, LocalStorageError: storing failed. The steps that were stored are deleted
            again.
    """
    return await import_session(storage, path, session_id, partial(_read, all_calls), progress)


def _read(all_calls: bool, path: str, budget: Budget) -> Source:
    with ExitStack() as stack:
        archive = open_archive(path, budget)
        stack.callback(archive.close)
        steps = _read_steps(archive, budget, all_calls)
        close = stack.pop_all().close
    return Source({}, len(steps), lambda number: Read(steps.data(number)), close=close)


def _read_steps(archive: Archive, budget: Budget, all_calls: bool) -> Steps:
    """Return the steps of the trace. Each step is built later."""
    contexts = [Context(archive.spend).read(archive.events(name)) for name in archive.traces]
    sheets = StyleSheets(archive)
    for name in archive.networks:
        sheets.read(archive.events(name))
    return Steps(archive, actions_of(contexts), sheets, budget, all_calls=all_calls)
