"""Capture the steps of a session, and store them in the background: `record` and its Recorder."""

import asyncio
import logging
import os
import re
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timezone
from types import TracebackType
from typing import Any, Literal

from storage_manager.aio import run_to_end
from storage_manager.encoding import decode_json, encode_attachment, encode_json
from storage_manager.errors import (
    AlreadyExistsError,
    InvalidDataError,
    StorageManagerError,
    refusing,
    translating,
)
from storage_manager.integrity import seal_session, unseal_session
from storage_manager.layout import (
    ALL_COMPONENTS,
    SESSION_METADATA_FILENAME,
    ComponentSpec,
    StepData,
    check_attachment_name,
    check_id,
    formats,
)
from storage_manager.recorder.calls import carry_out
from storage_manager.recorder.camera import Camera, Picture, check_picture
from storage_manager.recorder.capture import Capture, Observer, shortened
from storage_manager.recorder.markup import storable, without_user
from storage_manager.recorder.pages import PageView, check_page
from storage_manager.redaction import method_for_files, redacted_metadata, refusal
from storage_manager.storage import Attachment, StorageManager, check_readable, check_storage

__all__ = ["Recorder", "metadata_of", "record"]

logger = logging.getLogger(__name__)

# The maximum number of steps that are captured and not yet stored. Each is a page with its screenshot, 1 MB or more.
# With 16 steps, storing may fall behind by a second or two before the agent must wait.
MAX_WAITING = 16
DIGITS = 6  # of the number in a step id

_STEP_ID = re.compile(r"step_([0-9]+)")
_HTML, _SCREENSHOT, _ACTION, _METADATA = formats(ALL_COMPONENTS)


def record(
    storage: StorageManager,
    session_id: str,
    *,
    full_page: bool = False,
    metadata: Mapping[str, Any] | None = None,
    observed: Literal["after", "before"] = "after",
    image: Literal["png", "jpeg", "webp"] = "png",
    quality: int | None = None,
    mask: Sequence[str] = (),
) -> AbstractAsyncContextManager["Recorder"]:
    """Record a session in an `async with` block. At its end every step is stored, and the session is sealed.

    If the session exists already, it is continued: numbering starts after its last step, and its seal is removed. If
    the block ends with an exception, or if a step could not be stored, the other steps are stored, but the session is
    not sealed.

    No step is ever overwritten. If two recorders write the same session at the same time, the second recorder to use a
    number stores its step under the next free number. Its next call raises AlreadyExistsError once. Only S3 and local
    disk can guarantee this: other backends have no conditional writes.

    When the block begins, the metadata of the session gets `started_at`, `observed` and the given fields. When it ends,
    `ended_at` and the fields of `finish` are added. If `outcome` is not given, it becomes "error" if the block raised
    an error, and "cancelled" if it was cancelled. A continued session keeps its first `started_at`, and the fields of
    an earlier run that are not given again. Its `ended_at` and `outcome` are removed.

    Parameters:
        full_page: True for screenshots of the whole page; False for the viewport only.
        metadata: the metadata of the session, for example its goal, agent and model.
        observed: "after" if step() is called after the action, "before" if it is called before the action. It is stored
            in the metadata of each step.
        image: the format of the screenshots. If the page can make only PNG images, Pillow converts them.
        quality: 1 to 100, for "jpeg" and "webp".
        mask: CSS selectors. Elements of the page that match one are covered in the screenshot. For an element in a
            frame, give a selector of the frame.

    Raises:
        InvalidIdError, InvalidDataError: an argument is not allowed. Raised here, before any I/O.
        TypeError: `storage` is not a StorageManager.
        S3OperationError, S3ConfigError, LocalStorageError: when the block begins, the session cannot be listed, or its
            metadata cannot be stored; when it ends, steps were not stored (the message names them), or the session
            cannot be sealed.
        AlreadyExistsError: as for Recorder.step; raised when the block ends. Everything is stored, but the session is
            not sealed.
    """
    check_storage(storage)
    with translating("record", storage.url_for()):
        if observed not in ("after", "before"):
            raise InvalidDataError(f"observed must be 'after' or 'before', not {observed!r}", operation="record")
        session_id = check_id(session_id, "session_id")
        picture = check_picture(full_page, image, quality, mask)
        return Recorder(storage, session_id, observed, picture, _checked_metadata(storage, metadata or {}))


def _checked_metadata(storage: StorageManager, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return a redacted copy of the metadata of a session, without user and password in `start_url`.

    Raises:
        InvalidDataError: the metadata has no JSON form, or the redactor can redact only steps.
    """
    data = encode_json(metadata, "metadata")
    known = decode_json(redacted_metadata(storage.redact, data) if storage.redact else data)
    start = known.get("start_url")
    return {**known, "start_url": without_user(start)} if isinstance(start, str) else known


@dataclass(slots=True)
class _Waiting:
    """A step that is captured and not yet stored.

    Attributes:
        returned: the id that the caller got.
        number: the number in the id under which the step will be stored.
        was_tried: True if the recorder has begun to store it.
    """

    returned: str
    number: int
    data: StepData
    attachments: Mapping[str, Attachment]
    was_tried: bool = False


class Recorder:
    """Capture steps of one session and store them in the background, one after another. `record` creates it."""

    session_id: str

    def __init__(
        self, storage: StorageManager, session_id: str, observed: str, picture: Picture, metadata: dict[str, Any]
    ) -> None:
        self.session_id = session_id
        self._storage = storage
        self._observed = observed
        self._camera = Camera(picture)
        self._observer = Observer(lambda page: PageView(page, self._camera))
        self._begin_with, self._end_with = metadata, dict[str, Any]()
        self._last_calls: list[Callable[[], Awaitable[Mapping[str, Any]]]] = []
        self._number: int | None = None  # of the last step; None outside the block
        self._digits = DIGITS
        self._all_stored = True  # False after a step could not be stored
        self._capturing = asyncio.Lock()
        self._room = asyncio.Semaphore(MAX_WAITING)
        self._waiting: deque[_Waiting] = deque()
        self._storing: asyncio.Future[None] | None = None
        self._failed: dict[str, StorageManagerError] = {}
        self._moved: dict[str, str] = {}  # by the id that was returned, the one under which the step is stored

    async def step(
        self,
        page: Any,
        action: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        attachments: Mapping[str, Attachment] | None = None,
    ) -> str:
        """Store what the page shows now, with the action. Return the step id before the step is stored.

        The ids are step_000001 and so on. If the session has steps, the ids continue after the last step, with as many
        digits. HTML, screenshot, URL, title and viewport belong to one moment. If the page kept changing,
        `changed_during_capture` is true in the metadata. A part that cannot be captured, because the page is closed,
        has crashed or hangs, is left out, and `not_captured` in the metadata has the reason.

        Parameters:
            page: Playwright's async page, or any object with content(), screenshot(), title() and url.
            action: the action of the agent. It is copied at once.
            metadata: additional metadata of the step. Its fields override those that the recorder adds itself.
            attachments: other files of the step, as for store_step_data. If a Path is given, its file must exist until
                the step is stored.

        Raises:
            InvalidDataError: `page` is not a page, a value cannot be stored, or the block has ended. No number is used.
            StorageManagerError: nothing can be captured, and there is no action.
            AlreadyExistsError: another writer used the number of an earlier step. This step and later steps are stored
                under other ids, which the message names. The present step was not captured: call again to record it.
            S3OperationError, S3ConfigError, LocalStorageError: earlier steps were not stored. The message names them,
                and each is reported once. The present step was not captured: call again to record it.
        """
        given = self._given(page, action, metadata, attachments)
        async with self._capturing:
            self._raise_failure()
            return await self._capture(page, *given)

    async def try_step(
        self, page: Any, action: Mapping[str, Any] | None = None, metadata: Mapping[str, Any] | None = None
    ) -> str | None:
        """Record a step as `step` does, but raise errors of the library only at the end of the block. For callbacks.

        The agent then continues if the storage fails. If a step cannot be recorded, a warning is logged, and None is
        returned. The errors are raised when the block ends, and the session is not sealed.

        Parameters:
            page, action, metadata: as for step.

        Raises:
            CancelledError: the call was cancelled. No error of the library is raised.
        """
        try:
            given = self._given(page, action, metadata, None)
            async with self._capturing:
                return await self._capture(page, *given)
        except StorageManagerError as error:
            logger.warning("a step is not recorded: %s", error)
            name = f"the step after {self._step_id(self._number or 0)}"  # it has no id
            count = sum(known.startswith(name) for known in self._failed)
            self._note_failure(f"{name} ({count + 1})" if count else name, error)
            return None

    def _note_failure(self, name: str, error: StorageManagerError) -> None:
        self._failed[name] = error
        self._all_stored = False

    def _given(
        self,
        page: Any,
        action: Mapping[str, Any] | None,
        metadata: Mapping[str, Any] | None,
        attachments: Mapping[str, Attachment] | None,
    ) -> tuple[Any, Any, dict[str, Attachment]]:
        """Return copies of the arguments of a step. Refuse a value that cannot be recorded."""
        with translating("record", self._url):
            self._check_open()
            check_page(page)
            self._camera.check(page)
            done, about = self._copy(_ACTION, action), self._copy(_METADATA, metadata)
            return done, about, self._copy_attachments(attachments)

    async def _capture(self, page: Any, action: Any, metadata: Any, attachments: Mapping[str, Attachment]) -> str:
        shown = await carry_out(self._observer.observe(page))
        with translating("record", self._url):
            about = metadata_of(self._storage, shown, action)
        about |= {"observed": self._observed, **(metadata or {})}
        return await self._put(StepData(shown.html, shown.screenshot, action, self._without_user(about)), attachments)

    async def add(
        self,
        *,
        html: str | bytes | None = None,
        screenshot: bytes | None = None,
        action: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        attachments: Mapping[str, Attachment] | None = None,
    ) -> str:
        """Store a step that the caller has captured itself. Return the step id before the step is stored.

        Use it for desktop agents, the Chrome DevTools Protocol, or MCP. `timestamp` and `observed` are added to the
        metadata if they are missing.

        Parameters:
            html, screenshot, action, metadata, attachments: as for store_step_data. Mappings are copied at once.

        Raises:
            As step.
            InvalidDataError: there is nothing to store.
        """
        with translating("record", self._url):
            self._check_open()
            if all(part is None for part in (html, screenshot, action, metadata, attachments)):
                raise self._refusal("there is nothing to store: give html, screenshot, action, metadata or attachments")
            given, files = self._copy(_METADATA, metadata) or {}, self._copy_attachments(attachments)
            about = {"timestamp": _now(), "observed": self._observed, "source": "recorder", **given}
            seen, image = self._copy(_HTML, html), self._copy(_SCREENSHOT, screenshot)
            done = self._copy(_ACTION, action)
        async with self._capturing:
            self._raise_failure()
            data = StepData(seen and await storable(seen), image, done, self._without_user(about))
            return await self._put(data, files)

    def finish(self, **metadata: Any) -> None:
        """Add fields to the metadata of the session, which is stored when the block ends.

        Example: `recorder.finish(outcome="success", reward=1.0)`. A later call replaces fields of an earlier call.

        Raises:
            InvalidDataError: a value has no JSON form, the redactor can redact only steps, or the block has ended.
        """
        with translating("record", self._url):
            if self._number is None:
                raise self._refusal("it is not being recorded; call finish inside the block of `record(...)`")
            self._end_with |= _checked_metadata(self._storage, metadata)

    def before_end(self, function: Callable[[], Awaitable[Mapping[str, Any]]]) -> None:
        """Call a function when the block ends. It returns session metadata that is not known earlier.

        Fields of `record` or `finish` override the fields that the function returns. If the function raises an error,
        the block raises this error after everything else is stored, and the session is not sealed.

        Raises:
            InvalidDataError: the redactor can redact only steps.
        """
        with translating("record", self._url):
            _checked_metadata(self._storage, {"goal": ""})
        self._last_calls.append(function)

    async def __aenter__(self) -> "Recorder":
        await self._begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._end(_outcome(error))
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
            raise self._refusal("it is not being recorded; call step or add inside the block of `record(...)`")
        if self._number >= 10**self._digits - 1:
            last = f"{self._number} is the last number with {self._digits} digits"
            raise self._refusal(f"{last}, and ids with more digits do not sort after it; record another session")
        return self._number

    def _refusal(self, why: str) -> InvalidDataError:
        message = f"cannot record a step of session {self.session_id}: {why}"
        return InvalidDataError(message, operation="record", url=self._url)

    async def _put(self, data: StepData, attachments: Mapping[str, Attachment]) -> str:
        """Wait until there is room in the queue. Then use the next number, and queue the step."""
        await self._room.acquire()
        self._number = self._check_open() + 1  # the block may have ended in the meantime
        step_id = self._step_id(self._number)
        self._waiting.append(_Waiting(step_id, self._number, data, attachments))
        self._start_storing()
        return step_id

    def _step_id(self, number: int) -> str:
        return f"step_{number:0{self._digits}d}"

    def _start_storing(self) -> asyncio.Future[None]:
        """Return the task that stores the queued steps. Start it if none is running."""
        if self._storing is None or self._storing.done():
            self._storing = asyncio.ensure_future(self._store_waiting())
        return self._storing

    async def _store_waiting(self) -> None:
        while self._waiting:
            step = self._waiting[0]
            try:
                await self._store(step)
            except StorageManagerError as error:
                self._note_failure(step.returned, error)
            self._waiting.popleft()  # not reached if cancelled: then the step is stored again
            self._room.release()

    async def _store(self, step: _Waiting) -> None:
        """Store a step under its number, or under the next one that is free."""
        while True:
            was_tried, step.was_tried = step.was_tried, True
            try:
                return await self._storage.store_new_step(
                    self.session_id, self._step_id(step.number), step.data, step.attachments, may_be_stored=was_tried
                )
            except AlreadyExistsError:
                step.was_tried = False
                await self._move_up(step.number)

    async def _move_up(self, taken: int) -> None:
        """Give the waiting steps the next free numbers: another writer has used the number of the first one."""
        step_ids = await self._storage.list_steps_for_session(self.session_id)
        distance = max(self._last_number(step_ids), taken) + 1 - taken
        for step in self._waiting:
            step.number += distance
            self._moved[step.returned] = self._step_id(step.number)
        if self._number is not None:
            self._number += distance

    def _last_number(self, step_ids: Sequence[str]) -> int:
        return max((int(number) for number in _numbers(step_ids) if len(number) == self._digits), default=0)

    async def _store_rest(self) -> None:
        """Wait until every queued step is stored.

        When an event loop shuts down, it cancels the task that stores. Another task is then started.
        """
        while self._waiting:
            storing = self._start_storing()
            await asyncio.wait([storing])
            if not storing.cancelled():
                storing.result()

    async def _begin(self) -> None:
        """Find the number and the digits from which to continue, remove the seal, and store the first metadata."""
        step_ids = await self._storage.list_steps_for_session(self.session_id)
        numbers = _numbers(step_ids)
        if numbers and DIGITS not in map(len, numbers):
            self._digits = len(numbers[-1])
        with translating("record", self._url):
            before = await self._storage.retrieve_session_metadata(self.session_id)
            await unseal_session(self._storage, self.session_id)  # it may have attachments only
            started = {"started_at": (before or {}).get("started_at") or _now(), "observed": self._observed}
            await self._storage.update_session_metadata(
                self.session_id, {**started, **self._begin_with}, remove=("ended_at", "outcome")
            )
        self._number = self._last_number(step_ids)

    async def _end(self, outcome: Mapping[str, str]) -> None:
        self._number = None
        try:
            await run_to_end(self._store_all(outcome))
        except asyncio.CancelledError:
            # When an event loop shuts down, it cancels every task, including the one that just waited for the rest.
            await run_to_end(self._store_all(outcome))
            raise

    async def _store_all(self, outcome: Mapping[str, str]) -> None:
        """Store the steps that wait, and then the last metadata."""
        await carry_out(self._observer.close())
        await self._store_rest()
        known = await self._known_at_end()
        about = {"ended_at": _now(), **known, **outcome, **self._end_with}
        try:
            await self._storage.update_session_metadata(self.session_id, about)
        except StorageManagerError as error:
            self._note_failure(SESSION_METADATA_FILENAME, error)

    async def _known_at_end(self) -> dict[str, Any]:
        """Return what the functions of `before_end` return, without the fields that `record` was given."""
        known: dict[str, Any] = {}
        while self._last_calls:
            try:
                with translating("record", self._url):
                    found = _with_masked_reasons(self._storage, await self._last_calls.pop(0)())
                    known |= _checked_metadata(self._storage, found)
            except StorageManagerError as error:
                self._note_failure(SESSION_METADATA_FILENAME, error)
        return {name: value for name, value in known.items() if name not in self._begin_with}

    async def _seal(self) -> None:
        if self._all_stored:
            await seal_session(self._storage, self.session_id)
        else:  # a seal would say that the session is complete
            logger.warning("session not sealed, because some of its steps were not stored: %s", self._url)

    def _copy_attachments(self, attachments: Mapping[str, Attachment] | None) -> dict[str, Attachment]:
        """Return copies of attachments. If a path is given, its file is read when the step is stored."""
        return {name: self._copy_attachment(name, value) for name, value in (attachments or {}).items()}

    def _copy_attachment(self, name: str, value: Attachment) -> Attachment:
        check_attachment_name(name)
        if self._storage.redact:
            method_for_files(self._storage.redact, name)  # raises now, not when the step is stored
        if not isinstance(value, os.PathLike):
            return encode_attachment(name, value)
        check_readable(name, value)
        return value

    def _copy(self, spec: ComponentSpec, value: Any) -> Any:
        """Return a copy of a value. Refuse one that cannot be stored, without quoting a secret."""
        try:
            return None if value is None else spec.decode(spec.encode(value, spec.keyword))
        except InvalidDataError as error:
            if not self._storage.redact:
                raise
            why = str(error)
        raise refusal(self._storage.redact, why)

    def _without_user(self, metadata: dict[str, Any]) -> dict[str, Any]:
        """Remove user and password from the URL of a step. Mask secrets first: a secret may include the password."""
        url = metadata.get("url")
        if not isinstance(url, str) or without_user(url) == url:
            return metadata
        return {**metadata, "url": without_user(_redacted(self._storage, url))}

    def _raise_failure(self) -> None:
        failure = self._take_failure()
        if failure:
            raise failure

    def _take_failure(self) -> StorageManagerError | None:
        """Return one error for all steps that were not stored, or are stored under other ids. Each is reported once.

        The error has the class of the error of the first step that was not stored.
        """
        (failed, self._failed), (moved, self._moved) = (self._failed, {}), (self._moved, {})
        others = ", ".join(f"{returned} is stored as {stored}" for returned, stored in moved.items())
        for error in failed.values():
            message = f"cannot store steps of session {self.session_id}: {', '.join(failed)}: {error}"
            ours = type(error)(f"{message}; {others}" if moved else message, operation="record", url=error.url)
            ours.__cause__ = error
            return ours
        if moved:
            why = "another writer has recorded steps of it at the same time, and nothing was replaced"
            advice = "use the new ids, or record each run as a session of its own"
            message = f"steps of session {self.session_id} have other ids: {others}: {why} ({advice})"
            return AlreadyExistsError(message, operation="record", url=self._url)
        return None


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def _outcome(error: BaseException | None) -> dict[str, str]:
    """Return the outcome of a session whose block ended with this error."""
    if error is None:
        return {}
    return {"outcome": "cancelled" if isinstance(error, asyncio.CancelledError) else "error"}


def _numbers(step_ids: Sequence[str]) -> list[str]:
    """Return the digits of each id that has the form of a recorder's ids."""
    return [found[1] for found in map(_STEP_ID.fullmatch, step_ids) if found]


def metadata_of(storage: StorageManager, shown: Capture, action: object) -> dict[str, Any]:
    """Return the metadata of a capture. Secrets in `not_captured` are masked.

    Raises:
        StorageManagerError: no part of the page could be captured, and there is no action.
    """
    about = _with_masked_reasons(storage, shown.metadata)
    if shown.html is None and shown.screenshot is None and action is None:
        reasons = about["not_captured"]
        why = (reasons.get("html") or reasons["screenshot"]).partition("\n")[0]
        advice = "record a page that is open, or give an action, which is stored without the page"
        raise StorageManagerError(f"cannot capture anything of the page: {why.rstrip('.')} ({advice})")
    return about


def _with_masked_reasons(storage: StorageManager, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Mask secrets in the page's errors, which may quote an address or typed text, and only then shorten them."""
    found = metadata.get("not_captured", {})
    reasons = {name: _masked_reason(storage, why) for name, why in found.items()}
    return {**metadata, "not_captured": reasons} if reasons else dict(metadata)


def _masked_reason(storage: StorageManager, why: str | Sequence[str]) -> str:
    """Return a reason without secrets, shortened; of several reasons, the first line of each."""
    if isinstance(why, str):
        return shortened(_redacted(storage, why))
    return "; ".join(shortened(_redacted(storage, each)).partition("\n")[0] for each in why)


def _redacted(storage: StorageManager, text: str) -> str:
    if not storage.redact:
        return text
    with refusing("the step", "redact failed"):
        return storage.redact(StepData(html=text)).html or ""
