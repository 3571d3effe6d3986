"""`record`, and the Recorder that captures steps for the agent and stores them in the background."""

import asyncio
import logging
import re
from collections import deque
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

from storage_manager.aio import run_to_end
from storage_manager.errors import InvalidDataError, StorageManagerError, refusing, translating
from storage_manager.integrity import seal_session
from storage_manager.layout import ComponentSpec, StepData, check_id, formats
from storage_manager.recorder.capture import capture, check_page, shortened
from storage_manager.redaction import refusal
from storage_manager.storage import StorageManager

__all__ = ["Recorder", "record"]

logger = logging.getLogger(__name__)

# The most steps that are captured and not yet stored. Each is a page with its screenshot, 1 MB or more. With 16 of
# them storing may fall behind by a second or two before the agent has to wait.
MAX_WAITING = 16
DIGITS = 6  # of the number in a step id

_STEP_ID = re.compile(r"step_([0-9]+)")
[_ACTION, _METADATA] = formats(["action", "metadata"])


def record(
    storage: StorageManager, session_id: str, *, full_page: bool = False
) -> AbstractAsyncContextManager["Recorder"]:
    """Record a session in an `async with` block. At its end every step is stored, and the session is sealed.

    If the session exists already, it is continued: numbering starts after its last step. If the block ends with an
    exception, or if a step could not be stored, the other steps are stored, but the session is not sealed. Only one
    recorder at a time may write a session, because two would use the same numbers.

    Parameters:
        full_page: True for screenshots of the whole page; False for the viewport only.

    Raises:
        InvalidIdError: the session id is not allowed. Raised here, before any I/O.
        S3OperationError, S3ConfigError, LocalStorageError: when the block begins, the session cannot be listed; when
            it ends, steps were not stored (the message names them), or the session cannot be sealed.
    """
    with translating("record", storage.url_for()):
        return Recorder(storage, check_id(session_id, "session_id"), full_page)


class Recorder:
    """Capture steps of one session and store them in the background, one after another. `record` creates it."""

    session_id: str

    def __init__(self, storage: StorageManager, session_id: str, full_page: bool) -> None:
        self.session_id = session_id
        self._storage = storage
        self._full_page = full_page
        self._number: int | None = None  # of the last step; None outside the block
        self._digits = DIGITS
        self._all_stored = True  # False after a step could not be stored
        self._has_steps = False
        self._capturing = asyncio.Lock()
        self._room = asyncio.Semaphore(MAX_WAITING)
        self._waiting: deque[tuple[str, StepData]] = deque()
        self._storing: asyncio.Future[None] | None = None
        self._failed: dict[str, StorageManagerError] = {}

    async def step(
        self, page: Any, action: Mapping[str, Any] | None = None, metadata: Mapping[str, Any] | None = None
    ) -> str:
        """Store what the page shows now, with the action that led to it. Return the step id before it is stored.

        The ids are step_000001 and so on. In a session with steps they continue after the last one, with as many
        digits. HTML, screenshot, URL, title and viewport belong to one moment. If the page kept changing,
        `changed_during_capture` is true in the metadata. A part that cannot be captured, because the page is closed,
        has crashed or hangs, is left out, and `not_captured` in the metadata gives the reason.

        Parameters:
            page: Playwright's async page, or any object with content(), screenshot(), title() and url.
            action: what was done. It is copied at once.
            metadata: more about the step. It takes precedence over what the recorder adds itself.

        Raises:
            InvalidDataError: `page` is not a page, a value has no JSON form, or the block has ended. No number is used.
            StorageManagerError: nothing can be captured, and there is no action.
            S3OperationError, S3ConfigError, LocalStorageError: earlier steps were not stored. The message names them,
                and each is reported once. The step of this call was not captured: call again to record it.
        """
        with translating("record", self._url):
            self._check_open()
            check_page(page)
            action, metadata = self._copy(_ACTION, action), self._copy(_METADATA, metadata)
        async with self._capturing:
            self._raise_failure()
            shown = await capture(page, full_page=self._full_page)
            with translating("record", self._url):
                about = self._explained(shown.metadata)
                if shown.html is None and shown.screenshot is None and action is None:
                    raise _nothing_captured(about["not_captured"])
            about |= metadata or {}
            return await self._put(StepData(shown.html, shown.screenshot, action, about))

    async def __aenter__(self) -> "Recorder":
        await self._begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._end()
        except asyncio.CancelledError as cancelled:
            raise cancelled from self._take_failure()
        failure = self._take_failure()
        if failure and (error is None or isinstance(error, Exception)):
            raise failure  # Python makes the agent's own error its __context__
        if failure and error:
            error.__cause__ = failure  # a cancellation or a KeyboardInterrupt must not be replaced
        if error is None:
            await self._seal()

    @property
    def _url(self) -> str:
        return self._storage.url_for(self.session_id)

    def _check_open(self) -> int:
        """Return the last number, if another step may follow it."""
        if self._number is None:
            raise self._refusal("it is not being recorded; call step inside of `async with record(...)`")
        if self._number >= 10**self._digits - 1:
            last = f"{self._number} is the last number with {self._digits} digits"
            raise self._refusal(f"{last}, and ids with more digits do not sort after it; record another session")
        return self._number

    def _refusal(self, why: str) -> InvalidDataError:
        message = f"cannot record a step of session {self.session_id}: {why}"
        return InvalidDataError(message, operation="record", url=self._url)

    async def _put(self, data: StepData) -> str:
        """Queue a step as soon as there is room, and only then use its number."""
        await self._room.acquire()
        self._number = self._check_open() + 1  # the block may have ended in the meantime
        step_id = f"step_{self._number:0{self._digits}d}"
        self._has_steps = True
        self._waiting.append((step_id, data))
        self._start_storing()
        return step_id

    def _start_storing(self) -> asyncio.Future[None]:
        """Return the task that stores the queued steps. Start it if none is running."""
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
                self._all_stored = False
            self._waiting.popleft()  # not reached if cancelled: then the step is stored again
            self._room.release()

    async def _store_rest(self) -> None:
        """Wait until every queued step is stored.

        When an event loop shuts down, it cancels the task that stores. Then another one is started.
        """
        while self._waiting:
            storing = self._start_storing()
            await asyncio.wait([storing])
            if not storing.cancelled():
                storing.result()

    async def _begin(self) -> None:
        """Find the number and the digits from which to continue."""
        step_ids = await self._storage.list_steps_for_session(self.session_id)
        numbers = [found[1] for found in map(_STEP_ID.fullmatch, step_ids) if found]
        if numbers and DIGITS not in map(len, numbers):
            self._digits = len(numbers[-1])
        self._number = max((int(number) for number in numbers if len(number) == self._digits), default=0)
        self._has_steps = bool(step_ids)

    async def _end(self) -> None:
        self._number = None
        try:
            await run_to_end(self._store_rest())
        except asyncio.CancelledError:
            # When an event loop shuts down, it cancels every task, including the one that just waited for the rest.
            await run_to_end(self._store_rest())
            raise

    async def _seal(self) -> None:
        if not self._all_stored:  # a seal would say that the session is complete
            logger.warning("session not sealed, because some of its steps were not stored: %s", self._url)
        elif self._has_steps:
            await seal_session(self._storage, self.session_id)

    def _copy(self, spec: ComponentSpec, value: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Return a value as it will be read back. Refuse one that cannot be stored, without quoting a secret."""
        try:
            return None if value is None else spec.decode(spec.encode(value, spec.keyword))
        except InvalidDataError as error:
            if not self._storage.redact:
                raise
            why = str(error)
        raise refusal(self._storage.redact, why)

    def _explained(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Mask secrets in the page's errors, which may quote an address or typed text, and only then shorten them."""
        reasons = {name: shortened(self._redacted(why)) for name, why in metadata.get("not_captured", {}).items()}
        return {**metadata, "not_captured": reasons} if reasons else dict(metadata)

    def _redacted(self, text: str) -> str:
        if not self._storage.redact:
            return text
        with refusing("the step", "redact failed"):
            return self._storage.redact(StepData(html=text)).html or ""

    def _raise_failure(self) -> None:
        failure = self._take_failure()
        if failure:
            raise failure

    def _take_failure(self) -> StorageManagerError | None:
        """Return one error for all steps that were not stored and not yet reported. Its class is the first one's."""
        failed, self._failed = self._failed, {}
        for error in failed.values():
            message = f"cannot store steps of session {self.session_id}: {', '.join(failed)}: {error}"
            ours = type(error)(message, operation="record", url=error.url)
            ours.__cause__ = error
            return ours
        return None


def _nothing_captured(reasons: Mapping[str, str]) -> StorageManagerError:
    why = reasons.get("html") or reasons["screenshot"]
    advice = "record a page that is open, or give an action, which is stored without the page"
    return StorageManagerError(f"cannot capture anything of the page: {why.rstrip('.')} ({advice})")
