"""Records what a browser agent sees and does, a step at a time, while it goes on.

    async with record(storage, "run-1") as recorder:
        await page.goto("https://example.com/")
        await recorder.step(page, {"type": "goto", "url": "https://example.com/"})

A step costs the agent its capture: storing runs behind it, in order, and the block's end waits for all of it.
"""

import asyncio
import logging
import re
from collections import deque
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

from storage_manager.aio import run_to_end
from storage_manager.capture import capture, check_page
from storage_manager.errors import InvalidDataError, StorageManagerError, translating
from storage_manager.integrity import seal_session
from storage_manager.layout import ComponentSpec, StepData, check_id, formats
from storage_manager.redaction import refusal
from storage_manager.storage import StorageManager

__all__ = ["Recorder", "record"]

logger = logging.getLogger(__name__)

# Steps that are captured and not yet stored. Each is a page and its screenshot, 1 MB or several; 16 are the second or
# two that a store may be late before its agent waits for it.
BEHIND = 16
DIGITS = 6  # of a step's number

_NUMBERED = re.compile(r"step_([0-9]+)")
[_ACTION, _METADATA] = formats(["action", "metadata"])


def record(
    storage: StorageManager, session_id: str, *, full_page: bool = False
) -> AbstractAsyncContextManager["Recorder"]:
    """A block that records a session: everything is stored when it ends, and sealed if it ends without an error.

    A session that is there already goes on, numbered from its last step. Where the block ends by an exception, or a
    step was not stored, what was recorded is stored and the session not sealed. One recorder at a time writes a
    session: two would both take the same numbers.

    Parameters:
        full_page: screenshots of the whole page, not of the viewport only.

    Raises:
        InvalidIdError: here, before any I/O.
        S3OperationError, S3ConfigError, LocalStorageError: the session cannot be listed when the block begins; when
            it ends: steps that were not stored, which the message names; or the session cannot be sealed.
    """
    with translating("record", storage.url_for()):
        return _Recording(Recorder(storage, check_id(session_id, "session_id"), full_page))


class Recorder:
    """Stores steps of one session behind their agent, one after another; `record` makes it."""

    session_id: str

    def __init__(self, storage: StorageManager, session_id: str, full_page: bool) -> None:
        self.session_id = session_id
        self._storage = storage
        self._full_page = full_page
        self._number: int | None = None  # of the last step; None outside of the block
        self._digits = DIGITS
        self._is_whole = True  # every step so far is stored
        self._has_steps = False
        self._in_turn = asyncio.Lock()
        self._free = asyncio.Semaphore(BEHIND)
        self._waiting: deque[tuple[str, StepData]] = deque()
        self._storing: asyncio.Future[None] | None = None
        self._failed: dict[str, StorageManagerError] = {}

    async def step(
        self, page: Any, action: Mapping[str, Any] | None = None, metadata: Mapping[str, Any] | None = None
    ) -> str:
        """Store what the page shows now, with the action that led here; returns the step id, before it is stored.

        The ids are step_000001 and so on, after those that the session has (with as many digits as those). HTML,
        screenshot, URL, title and viewport are of one moment; where the page would not keep still,
        `changed_during_capture` is true in the metadata. What cannot be captured (the page is closed, has crashed,
        hangs) is absent, and `not_captured` says why.

        Parameters:
            page: Playwright's asynchronous page, or anything with its content(), screenshot(), title() and url.
            action: what was done; a copy is taken at once.
            metadata: more about the step; over what the recorder knows itself.

        Raises:
            InvalidDataError: no page, no JSON, or the block has ended; no number is used.
            StorageManagerError: nothing can be captured, and there is no action.
            S3OperationError, S3ConfigError, LocalStorageError: earlier steps were not stored, which the message
                names, once; this one was not captured, and may be recorded by another call.
        """
        with translating("record", self._url):
            self._check_open()
            check_page(page)
            action, metadata = self._copy(_ACTION, action), self._copy(_METADATA, metadata)
        async with self._in_turn:
            self._raise_failures()
            shown = await capture(page, full_page=self._full_page)
            with translating("record", self._url):
                if shown.html is None and shown.screenshot is None and action is None:
                    raise _nothing(self._redacted(shown.metadata["not_captured"]))
            about = {**shown.metadata, **(metadata or {})}
            return await self._put(StepData(shown.html, shown.screenshot, action, about))

    @property
    def _url(self) -> str:
        return self._storage.url_for(self.session_id)

    def _check_open(self) -> int:
        if self._number is None:
            why = "is not being recorded: call step inside of `async with record(...)`"
            raise InvalidDataError(f"the session {self.session_id} {why}", operation="record", url=self._url)
        if self._number >= 10**self._digits - 1:
            why = f"has its step {self._number}, after which ids of {self._digits} digits do not sort: record another"
            raise InvalidDataError(f"the session {self.session_id} {why}", operation="record", url=self._url)
        return self._number

    async def _put(self, data: StepData) -> str:
        """Queue a step, where there is room or as soon as there is; only then is its number used."""
        await self._free.acquire()
        self._number = self._check_open() + 1  # the block may have ended meanwhile
        step_id = f"step_{self._number:0{self._digits}d}"
        self._has_steps = True
        self._waiting.append((step_id, data))
        self._go_on()
        return step_id

    def _go_on(self) -> asyncio.Future[None]:
        """The task that stores, begun where none is under way."""
        if self._storing is None or self._storing.done():
            self._storing = asyncio.ensure_future(self._store_waiting())
        return self._storing

    async def _store_waiting(self) -> None:
        while self._waiting:
            step_id, data = self._waiting[0]
            try:
                await self._storage.store_step_data(self.session_id, step_id, *data)
            except StorageManagerError as error:
                self._failed[step_id] = error
                self._is_whole = False
            self._waiting.popleft()  # not where it was cancelled: it is stored again
            self._free.release()

    async def _store_rest(self) -> None:
        """Also where the loop's own shutdown cancels the task that stores: the next one goes on."""
        while self._waiting:
            storing = self._go_on()
            await asyncio.wait([storing])
            if not storing.cancelled():
                storing.result()

    async def _begin(self) -> None:
        step_ids = await self._storage.list_steps_for_session(self.session_id)
        numbers = [found[1] for found in map(_NUMBERED.fullmatch, step_ids) if found]
        if numbers and DIGITS not in map(len, numbers):
            self._digits = len(numbers[-1])
        self._number = max((int(number) for number in numbers if len(number) == self._digits), default=0)
        self._has_steps = bool(step_ids)

    async def _end(self) -> None:
        self._number = None
        try:
            await run_to_end(self._store_rest())
        except asyncio.CancelledError:
            # the loop's own shutdown cancels every task, also the one that waits here for the rest
            await run_to_end(self._store_rest())
            raise

    async def _seal(self) -> None:
        if not self._is_whole:  # a step is missing, as its agent was told
            logger.warning("not sealed, as not all of its steps were stored: %s", self._url)
        elif self._has_steps:
            await seal_session(self._storage, self.session_id)

    def _copy(self, row: ComponentSpec, value: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """A value as it will be read again; refused where it cannot be stored, without a secret."""
        try:
            return None if value is None else row.decode(row.encode(value, row.keyword))
        except InvalidDataError as error:
            if not self._storage.redact:
                raise
            why = str(error)
        raise refusal(self._storage.redact, why)

    def _redacted(self, reasons: Mapping[str, str]) -> Mapping[str, str]:
        """What the page's errors say, who may quote an address or what was typed."""
        redact = self._storage.redact
        return {name: (redact(StepData(html=why)).html or "") if redact else why for name, why in reasons.items()}

    def _raise_failures(self) -> None:
        failure = self._failure()
        if failure:
            raise failure

    def _failure(self) -> StorageManagerError | None:
        """One error for all steps that were not stored and have not been reported; of the first one's class."""
        failed, self._failed = self._failed, {}
        for error in failed.values():
            message = f"not stored of the session {self.session_id}: {', '.join(failed)}: {error}"
            ours = type(error)(message, operation="record", url=error.url)
            ours.__cause__ = error
            return ours
        return None


class _Recording(AbstractAsyncContextManager[Recorder]):
    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    async def __aenter__(self) -> Recorder:
        await self._recorder._begin()
        return self._recorder

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._recorder._end()
        except asyncio.CancelledError as cancelled:
            raise cancelled from self._recorder._failure()
        failure = self._recorder._failure()
        if failure and (error is None or isinstance(error, Exception)):
            raise failure  # its context is the agent's own error
        if failure and error:
            error.__cause__ = failure  # a cancellation, an interrupt: these stay what they are
        if error is None:
            await self._recorder._seal()


def _nothing(reasons: Mapping[str, str]) -> StorageManagerError:
    why = reasons.get("html") or reasons["screenshot"]
    return StorageManagerError(
        f"nothing of the page can be captured: {why.rstrip('.')} (record a page that is open, or give the action, which"
        " is stored alone)"
    )
