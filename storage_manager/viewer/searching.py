"""Search the pages, actions and metadata of a session for a text."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from typing import Any

from storage_manager.layout import Step
from storage_manager.storage import StorageManager

__all__ = ["around", "search_session", "text_of"]

MAX_STEPS = 1000  # steps that one search reads
SECONDS = 10.0  # then the steps found so far are returned
CONCURRENCY = 8  # steps that are read at a time
_BEFORE, _AFTER = 10, 60  # characters around what was found
_HIDDEN = ("script", "style")


async def search_session(
    storage: StorageManager, session_id: str, query: str, is_wanted: Callable[[], bool]
) -> dict[str, Any]:
    """Return the steps that contain a text, in upper or lower case, in their action, their metadata or their page.

    Parameters:
        is_wanted: is asked before each step; the search ends if it returns False.

    Returns:
        matches: dictionaries with `step`, its id, and `text`, the words around; searched: how many steps were read;
        total: how many there are.

    Raises:
        S3OperationError, S3ConfigError, LocalStorageError: the session cannot be listed or read.
    """
    ids = await storage.list_steps_for_session(session_id)
    pairs = [(session_id, step_id) for step_id in ids[:MAX_STEPS]] if query else []
    matches, searched, until = list[dict[str, str]](), 0, time.monotonic() + SECONDS
    reading = storage.read_steps(pairs, components=("html", "action", "metadata"), concurrency=CONCURRENCY)
    async with aclosing(reading) as steps:
        async for step in steps:
            words = await asyncio.to_thread(_find, step, query)
            searched += 1
            if words:
                matches.append({"step": step.step_id, "text": words})
            if time.monotonic() > until or not is_wanted():
                break
    return {"matches": matches, "searched": searched, "total": len(ids)}


def _find(step: Step, query: str) -> str:
    return next(filter(None, (around(text, query) for text in _texts(step))), "")


def _texts(step: Step) -> Iterator[str]:
    for value in (step.data.action, step.data.metadata):
        if value is not None:
            yield json.dumps(value, ensure_ascii=False)
    if step.data.html is not None:
        yield text_of(step.data.html)


def around(text: str, query: str) -> str:
    """Return the words around the first place of a text, in upper or lower case; "" if it is not there."""
    at = text.lower().find(query.lower())
    if at < 0:
        return ""
    start = max(0, at - _BEFORE)
    words = " ".join(text[start : at + len(query) + _AFTER].split())
    return f"…{words}" if start else words


def text_of(html: str) -> str:
    """Return the text of a page, roughly: without its tags, scripts and styles.

    This takes time in proportion to the size of the page.
    """
    lower, at, texts = html.lower(), 0, list[str]()
    while (tag := html.find("<", at)) >= 0:
        texts.append(html[at:tag])
        hidden = next((name for name in _HIDDEN if lower.startswith(name, tag + 1)), None)
        end = lower.find(f"</{hidden}", tag) if hidden else tag
        at = html.find(">", end) + 1 if end >= 0 else 0
        if not at:
            return " ".join(texts)
    return " ".join([*texts, html[at:]])
