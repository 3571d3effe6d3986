"""Search the pages, actions and metadata of a session for a text."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Any

from storage_manager.aio import map_ahead
from storage_manager.errors import StorageManagerError
from storage_manager.layout import Component
from storage_manager.storage import StorageManager
from storage_manager.viewer.files import read_at_most

__all__ = ["around", "search_session", "visible_text"]

MAX_STEPS = 1000  # steps that one search reads
MAX_BYTES = 4_000_000  # of a component; the rest is not searched
SECONDS = 10.0  # then the search ends with the steps found so far
CONCURRENCY = 8  # steps that are read at a time
_BEFORE, _AFTER = 10, 60  # characters before and after the text that was found
_COMPONENTS: tuple[Component, ...] = ("action", "metadata", "html")
_HIDDEN = ("script", "style")  # elements whose text a page does not show


async def search_session(
    storage: StorageManager, session_id: str, query: str, is_wanted: Callable[[], bool]
) -> dict[str, Any]:
    """Return the steps that contain a text, in upper or lower case, in their action, their metadata or their page.

    Parameters:
        is_wanted: called after each step; the search ends if it returns False.

    Returns:
        matches: dictionaries with `step`, the id of a step, and `text`, the words around the text; searched: the number
        of steps that were read; total: the number of steps of the session.

    Raises:
        S3OperationError, S3ConfigError, LocalStorageError: the session cannot be listed, or no step can be read.
    """

    async def search(step_id: str) -> tuple[str, str | StorageManagerError]:
        try:
            return step_id, await _search_step(storage, session_id, step_id, query)
        except StorageManagerError as error:
            return step_id, error

    ids = await storage.list_steps_for_session(session_id)
    wanted = ids[:MAX_STEPS] if query else []
    results, until = dict[str, str | StorageManagerError](), time.monotonic() + SECONDS
    async with storage.backend(), aclosing(map_ahead(search, wanted, CONCURRENCY)) as steps:
        async for step_id, result in steps:
            results[step_id] = result
            if time.monotonic() > until or not is_wanted():
                break
    return {**_result(results), "total": len(ids)}


def _result(results: Mapping[str, str | StorageManagerError]) -> dict[str, Any]:
    """Return the matches, and the number of steps that were read. Raise the error if no step can be read."""
    failed = [result for result in results.values() if isinstance(result, StorageManagerError)]
    if failed and len(failed) == len(results):
        raise failed[0]
    found = {step_id: words for step_id, words in results.items() if isinstance(words, str) and words}
    matches = [{"step": step_id, "text": words} for step_id, words in found.items()]
    return {"matches": matches, "searched": len(results) - len(failed)}


async def _search_step(storage: StorageManager, session_id: str, step_id: str, query: str) -> str:
    """Return the words around the first occurrence of a text in a step; "" if there is none."""

    async def read(name: Component) -> bytes:
        data = await read_at_most(storage, storage.url_for(session_id, step_id, name), MAX_BYTES)
        return (data or b"")[:MAX_BYTES]

    found = [data async for data in map_ahead(read, _COMPONENTS, len(_COMPONENTS))]
    return await asyncio.to_thread(_find, found, query)


def _find(found: Iterable[bytes], query: str) -> str:
    for name, data in zip(_COMPONENTS, found, strict=True):
        text = data.decode(errors="replace")
        if words := around(visible_text(text) if name == "html" else text, query):
            return words
    return ""


def around(text: str, query: str) -> str:
    """Return the words around the first occurrence of `query`, in upper or lower case; "" if there is none."""
    at = text.lower().find(query.lower())
    if at < 0:
        return ""
    start = max(0, at - _BEFORE)
    words = " ".join(text[start : at + len(query) + _AFTER].split())
    return f"…{words}" if start else words


def visible_text(html: str) -> str:
    """Remove tags, scripts and styles from a page, roughly, in time proportional to its size."""
    lower, at, texts = html.lower(), 0, list[str]()
    while (tag := html.find("<", at)) >= 0:
        texts.append(html[at:tag])
        hidden = next((name for name in _HIDDEN if lower.startswith(name, tag + 1)), None)
        end = lower.find(f"</{hidden}", tag) if hidden else tag
        at = html.find(">", end) + 1 if end >= 0 else 0
        if not at:
            return " ".join(texts)
    return " ".join([*texts, html[at:]])
