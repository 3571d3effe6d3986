"""Recognize which tool has written a file or directory, and name the importer for its format."""

import os
import stat
from collections.abc import Awaitable, Callable

from storage_manager.errors import InvalidDataError, LocalStorageError
from storage_manager.importers.agentlab import import_agentlab
from storage_manager.importers.browser_use import import_browser_use
from storage_manager.importers.folder import MAX_NAMES
from storage_manager.importers.playwright import import_playwright_trace
from storage_manager.importers.webvoyager import MESSAGES, import_webvoyager

__all__ = ["IMPORTERS", "Importer", "recognize"]

Importer = Callable[..., Awaitable[str]]  # of a storage, a path and a session id

IMPORTERS: dict[str, Importer] = {
    "trace": import_playwright_trace,
    "browser-use": import_browser_use,
    "webvoyager": import_webvoyager,
    "agentlab": import_agentlab,
}
_FILES = {"step_0.pkl.gz": "agentlab", "exp_args.pkl": "agentlab", MESSAGES: "webvoyager"}
_KNOWN = (
    "a Playwright trace (trace.zip, or a directory with a .trace file), a history of browser-use (history.json), "
    f"results of WebVoyager (a directory with {MESSAGES}), or an experiment of AgentLab or BrowserGym (a directory "
    "with step_0.pkl.gz)"
)


def recognize(path: str) -> str:
    """Return the format of a file or directory: a key of `IMPORTERS`. It is found from names and the first bytes.

    Raises:
        InvalidDataError: the format is none of these. The message lists the formats.
        LocalStorageError: the file or directory cannot be read.
    """
    try:
        found = _of_directory(path) if stat.S_ISDIR(os.stat(path).st_mode) else _of_file(path)
    except OSError as error:
        raise LocalStorageError(f"cannot import {path}: {error.strerror}", operation="import", url=path) from error
    if found is None:
        why = f"its format is not recognized; it must be {_KNOWN}; name the format with --format"
        raise InvalidDataError(f"cannot import {path}: {why}", operation="import", url=path)
    return found


def _of_directory(path: str) -> str | None:
    """Return the format, from the names in a directory. If there are very many, not all are checked."""
    with os.scandir(path) as entries:
        names = [entry.name for entry, _ in zip(entries, range(MAX_NAMES), strict=False)]
    if any(name.endswith(".trace") for name in names):
        return "trace"
    return next((kind for name, kind in _FILES.items() if name in names), None)


def _of_file(path: str) -> str | None:
    """Return the format, from the name of a file or its first bytes. A pipe has no format: opening it would block."""
    name = os.path.basename(path)
    if name.endswith((".trace", ".zip")):
        return "trace"
    if name == MESSAGES or not stat.S_ISREG(os.stat(path).st_mode):
        return _FILES.get(name)
    with open(path, "rb") as file:
        start = file.read(64).lstrip()
    return "trace" if start.startswith(b"PK") else "browser-use" if start.startswith(b"{") else None
