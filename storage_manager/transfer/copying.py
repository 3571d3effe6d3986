"""Copy sessions from one root to another, step by step. A second run copies only the files that differ."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from hashlib import md5
from typing import NamedTuple

from storage_manager.aio import Progress, map_ahead
from storage_manager.arguments import check_callable, check_whole
from storage_manager.backends import File, FileInfo
from storage_manager.errors import InvalidDataError, StorageManagerError, translate, translating
from storage_manager.inventory import count_steps, deleted, files_by_step, read_stored, renamed_error
from storage_manager.layout import BY_FILENAME, COMPONENTS, MANIFEST_FILENAME, Component, check_ids, is_id, join
from storage_manager.overlap import lies_within
from storage_manager.redaction import Redactor, redacted
from storage_manager.storage import StorageManager

__all__ = ["copy_sessions"]

_SESSION_FILES = {MANIFEST_FILENAME}
_MANY_FAILURES = 16  # if the first 16 steps all fail, the root cannot be used
_SHOWN = 5  # the most failed steps that an error names


async def copy_sessions(
    source: StorageManager,
    target: StorageManager,
    session_ids: Iterable[str] | None = None,
    *,
    concurrency: int = 16,
    progress: Progress | None = None,
) -> int:
    """Copy sessions between any two roots, byte for byte. A second run continues, and sends nothing twice.

    A component is skipped if the target has it with the same bytes. That is known from size and ETag if both roots
    tell them, else by reading. Files that only the target has stay there. Nothing at the source changes.

    A step that cannot be copied does not stop the others; it is reported after them, and so is a session that cannot be
    listed. But if the first 16 all fail, and not because of their content, the copy stops. The manifest of a sealed
    session is copied last, if all its steps were. If the target redacts, the redacted components are compared and
    written, and the manifest is not copied: seal the session there. Other files are not copied.

    Parameters:
        session_ids: the sessions to copy, in this order; None for all.
        concurrency: how many steps are read, compared and written at a time.
        progress: called on the event loop with the number of steps done and the number of all steps. If it is given,
            the steps are counted beforehand.

    Returns:
        The number of steps with at least one file that was written.

    Raises:
        InvalidIdError, InvalidDataError: an id is not allowed, or the target is the source or lies within it; raised
            before any I/O. Or, after the others are copied, a named session does not exist.
        StorageManagerError: steps or sessions were not copied. The message says how many, which, and why. The class is
            that of the first failure.
        TypeError, ValueError: concurrency is no whole number, or is below 1; or progress is no function.
    """
    check_ids(session_ids, "copy")
    concurrency = check_whole(concurrency, "concurrency")
    check_callable(progress, "progress", "two numbers")
    given = None if session_ids is None else list(session_ids)
    with translating("copy", source.url_for()):
        for session_id in given or ():
            source.url_for(session_id)
        named = None if given is None else list(dict.fromkeys(given))
        _refuse_overlap(source, target)
        async with _kept_open(source, target):
            total = await count_steps(source, named, strict=False) if progress else None
            return await _run(_Copying(source, target, named), concurrency, progress, total)


@asynccontextmanager
async def _kept_open(*storages: StorageManager) -> AsyncGenerator[None, None]:
    """Let `aclose` of each storage wait until the block ends."""
    async with AsyncExitStack() as stack:
        for storage in storages:
            with translating("copy", storage.url_for()):
                await stack.enter_async_context(storage.backend())
        yield


def _refuse_overlap(source: StorageManager, target: StorageManager) -> None:
    """Refuse a target that is the source, or lies within it."""
    source_url, target_url = source.url_for(), target.url_for()
    endpoints = {storage.storage_options.get("endpoint_url") for storage in (source, target)}
    if len(endpoints) == 1 and lies_within(target_url, source_url):
        same = lies_within(source_url, target_url)
        why = "it is the same root as the source" if same else f"it lies among the sessions of {source_url}"
        raise InvalidDataError(f"cannot copy to {target_url}: {why}; choose another target", operation="copy")


async def _run(copying: "_Copying", concurrency: int, progress: Progress | None, total: int | None) -> int:
    async with aclosing(map_ahead(copying.attempt, copying.tasks(), concurrency)) as attempts:
        async for task, outcome in attempts:
            await copying.settle(task, outcome)
            if progress and task.step_id:
                progress(copying.done, total)
            if copying.is_hopeless:
                break
    return copying.result()


class _Task(NamedTuple):
    """A step with its files at source and target by name. An empty step id stands for the end of the session.

    Attributes:
        failure: why the session cannot be listed, at the source or the target, or a directory in it. It stands at the
            end of the session, and its manifest is not copied.
    """

    session_id: str
    step_id: str
    source: Mapping[str, FileInfo] = {}
    target: Mapping[str, FileInfo] = {}
    failure: StorageManagerError | None = None


class _Copying:
    """The state of one copy: how many steps are done, and which failed."""

    def __init__(self, source: StorageManager, target: StorageManager, named: list[str] | None) -> None:
        self.source, self.target, self.named = source, target, named
        self.done = self.copied = 0
        self.failed: list[StorageManagerError] = []
        self.unlisted = 0  # sessions that could not be listed; they are in `failed` too
        self._missing: list[str] = []  # URLs of named sessions that do not exist
        self._is_complete = True  # no step of the current session has failed

    async def tasks(self) -> AsyncGenerator[_Task, None]:
        """Yield the steps of each session in order, then its end. Sessions are listed ahead."""
        sessions = self.source.iter_sessions() if self.named is None else self.named
        async with aclosing(map_ahead(self._list, sessions, 4)) as listings:
            async for tasks in listings:
                for task in tasks:
                    yield task

    async def _list(self, session_id: str) -> list[_Task]:
        unlisted: list[StorageManagerError] = []  # of a step or another directory in the session
        try:
            at_source = await files_by_step(self.source, session_id, unlisted)
            at_target = await files_by_step(self.target, session_id)
            directories = await self.source.list_steps_for_session(session_id) if self._has_directories else []
        except StorageManagerError as error:
            return [_Task(session_id, "", failure=error)]
        step_ids = {name for name in at_source if is_id(name) and BY_FILENAME.keys() & at_source[name].keys()}
        if self.named is not None and not step_ids:
            self._missing.append(self.source.url_for(session_id))
        step_ids.update(directories)
        ordered = [*sorted(step_ids), *[""] * (bool(step_ids) and not unlisted)]
        tasks = [_Task(session_id, step_id, at_source[step_id], at_target[step_id]) for step_id in ordered]
        return tasks + [_Task(session_id, "", failure=error) for error in unlisted]

    @property
    def is_hopeless(self) -> bool:
        """True if the first steps and sessions all failed, and not because of their content: a root cannot be used."""
        are_faults = [not isinstance(error, InvalidDataError) for error in self.failed[:_MANY_FAILURES]]
        return self.done + self.unlisted == sum(are_faults) == _MANY_FAILURES

    async def attempt(self, task: _Task) -> tuple[_Task, bool | StorageManagerError]:
        """Copy the files of a step that differ. Return True if something was written, or the error.

        The end of a session does nothing here: it has to wait for the steps, so `settle` does it.
        """
        return task, bool(task.step_id) and await self._attempt(task)

    async def settle(self, task: _Task, outcome: bool | StorageManagerError) -> None:
        """Count a step by its outcome. At the end of a session, copy its manifest if all its steps were copied."""
        if task.step_id:
            # a directory without components is no step
            is_empty = outcome is False and BY_FILENAME.keys().isdisjoint(task.source)
            self.done += not is_empty
            self.copied += outcome is True
        elif task.failure:
            self.unlisted += 1
            outcome = renamed_error(task.failure, "copy")
        elif self._is_complete and not self.target.redact:
            outcome = await self._attempt(task)
        if isinstance(outcome, StorageManagerError):
            self.failed.append(outcome)
            self._is_complete = False
        if not task.step_id:
            self._is_complete = True  # for the next session

    async def _attempt(self, task: _Task) -> bool | StorageManagerError:
        source_url, target_url = (
            storage.url_for(task.session_id, task.step_id or None) for storage in (self.source, self.target)
        )
        try:
            with translating("copy", source_url):
                return await self._copy(task, source_url, target_url)
        except StorageManagerError as error:
            return error

    async def _copy(self, task: _Task, source_url: str, target_url: str) -> bool:
        data = await self._read(task, self._names(task), source_url)
        if self.target.redact:
            data = _redacted(self.target.redact, data, source_url)
        same = [await self._has(join(target_url, name), data[name], task.target.get(name)) for name in data]
        differing = [name for name, is_same in zip(data, same, strict=True) if not is_same]
        if differing:
            files = [File(join(target_url, name), data[name], _content_type(name, data[name])) for name in differing]
            with translating("copy", target_url):
                async with self.target.backend() as backend:
                    await backend.write_files(files)
        return bool(differing)

    def _names(self, task: _Task) -> list[str]:
        """Return the names of the files to read: all that may have to be written, as far as the listings tell."""
        names = [name for name in task.source if name in (BY_FILENAME if task.step_id else _SESSION_FILES)]
        if self.target.redact:
            return names
        return [name for name in names if not _is_known_equal(task.source[name], task.target.get(name))]

    async def _read(self, task: _Task, names: Sequence[str], url: str) -> dict[str, bytes]:
        """Return the bytes of files at the source by name, or raise the error of the first that cannot be read."""
        if not task.step_id:
            stored = await read_stored(self.source, [join(url, name) for name in names], "copy")
            return dict(zip(names, stored, strict=True))
        wanted = [*BY_FILENAME] if self._has_directories else names
        components: list[Component] = [BY_FILENAME[name].name for name in wanted]
        answers = await self.source.read_step(task.session_id, task.step_id, components=components)
        found = {spec.filename: answers[spec.name] for spec in COMPONENTS if spec.name in answers}
        there = {name: answer for name, answer in found.items() if name in names or answer is not None}
        return {name: _readable(join(url, name), answer) for name, answer in there.items()}

    @property
    def _has_directories(self) -> bool:
        """True if a directory may be in the place of a component at the source. A listing does not show it."""
        return not self.source.get_storage_info()["uses_s3"]

    async def _has(self, url: str, data: bytes, found: FileInfo | None) -> bool:
        """Return True if the target has a file with these bytes.

        If its ETag is not their MD5, it is read: not every ETag is an MD5.
        """
        if found is None or found.size != len(data):
            return False
        if found.md5 == md5(data, usedforsecurity=False).hexdigest():
            return True
        async with self.target.backend() as backend:
            [answer] = await backend.read_files([url])
        return bool(answer == data)

    def result(self) -> int:
        """Return how many steps were copied.

        Raises:
            StorageManagerError: not all were.
        """
        if self.failed:
            raise self._failure() from self.failed[0]
        if self._missing:
            why = f"there is no session {', '.join(self._missing[:_SHOWN])}; all others are copied"
            raise InvalidDataError(why, operation="copy", url=self._missing[0])
        return self.copied

    def _failure(self) -> StorageManagerError:
        first, urls = self.failed[0], ", ".join(str(error.url) for error in self.failed[:_SHOWN])
        more = ", ..." if len(self.failed) > _SHOWN else ""
        steps = f"{len(self.failed) - self.unlisted} of {self.done} steps"
        sessions = f"{self.unlisted} session{'s' * (self.unlisted != 1)} that cannot be listed"
        what = " and ".join([steps] * (len(self.failed) > self.unlisted) + [sessions] * (self.unlisted > 0))
        summary = f"not copied: {what} ({urls}{more})"
        return type(first)(f"{summary}. Run it again to continue. {first}", operation="copy", url=first.url)


def _readable(url: str, answer: bytes | StorageManagerError | None) -> bytes:
    """Return the bytes of a component, or raise why there are none."""
    if isinstance(answer, StorageManagerError):
        raise renamed_error(answer, "copy")
    if answer is None:
        raise translate(deleted(), "copy", url)
    return answer


def _is_known_equal(source: FileInfo, target: FileInfo | None) -> bool:
    """Return True if the listings alone tell that both have the same bytes."""
    return bool(target and source.md5 and source.size == target.size and source.md5 == target.md5)


def _redacted(redact: Redactor, data: Mapping[str, bytes], url: str) -> dict[str, bytes]:
    """Return the files of a step as the target would store them."""
    try:
        values = [spec.decode(data[spec.filename]) if spec.filename in data else None for spec in COMPONENTS]
    except ValueError as error:
        why = f"cannot copy {url}: a component cannot be decoded, so it cannot be redacted: {error}"
        raise InvalidDataError(why, operation="copy", url=url) from error
    kept = zip(COMPONENTS, redacted(redact, values), strict=True)
    return {spec.filename: spec.encode(value, spec.keyword) for spec, value in kept if value is not None}


def _content_type(name: str, data: bytes) -> str:
    return BY_FILENAME[name].content_type(data) if name in BY_FILENAME else "application/json"
