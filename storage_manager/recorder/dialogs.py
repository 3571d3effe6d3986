"""Find out which dialog (alert, confirm, prompt) is open in a page. An open dialog is why a page does not answer.

A Playwright listener would change the page: Playwright answers every dialog itself only if there is no listener.
"""

import weakref
from collections.abc import Mapping
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from storage_manager.recorder.calls import NO_ANSWER, Deadline, Steps, has_protocol, is_weak

__all__ = ["Dialogs"]

SECONDS = 3.0  # to begin or to end watching a page; it takes some milliseconds, but not on a busy machine


class Dialogs:
    """The dialogs in the pages of one session. Chromium reports them from the first step of a page on."""

    def __init__(self) -> None:
        self._sessions: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()  # None for a page that cannot be watched
        self._open: WeakKeyDictionary[Any, str] = WeakKeyDictionary()

    def watch(self, page: Any) -> Steps[None]:
        """Begin to watch a page, if that is possible and has not been done."""
        if not is_weak(page) or page in self._sessions or not has_protocol(page):
            return
        self._sessions[page] = None
        deadline = Deadline(SECONDS)
        session = yield from deadline.call(partial(page.context.new_cdp_session, page))
        if isinstance(session, BaseException):
            return
        self._sessions[page] = session
        opened, owner = self._open, weakref.ref(page)
        session.on("Page.javascriptDialogOpening", lambda event: _note(opened, owner(), event))
        session.on("Page.javascriptDialogClosed", lambda event: _note(opened, owner(), None))
        yield from deadline.call(partial(session.send, "Page.enable"))

    def explain(self, page: Any, metadata: dict[str, Any]) -> dict[str, Any]:
        """Return metadata in which the open dialog, if any, is added to each reason that the page did not answer."""
        dialog = self._open.get(page) if is_weak(page) else None
        reasons: Mapping[str, Any] = metadata.get("not_captured", {})
        if not dialog or not reasons:
            return metadata
        named = {name: f"{why}: {dialog}" if str(why).startswith(NO_ANSWER) else why for name, why in reasons.items()}
        return {**metadata, "not_captured": named}

    def close(self) -> Steps[None]:
        """Stop watching the pages."""
        sessions = [session for session in self._sessions.values() if session]
        self._sessions.clear()
        yield Deadline(SECONDS).calls({str(at): (session.detach, object) for at, session in enumerate(sessions)})


def _note(opened: "WeakKeyDictionary[Any, str]", page: Any, event: Mapping[str, Any] | None) -> None:
    """Remember which dialog is open in a page."""
    if page is not None and event:
        opened[page] = f"a dialog ({event['type']}) waits for an answer, see page.on('dialog'): {event['message']}"
    elif page is not None:
        opened.pop(page, None)
