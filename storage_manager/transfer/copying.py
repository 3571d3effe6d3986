"""Copy sessions from one root to another, step by step. A second run copies only the files that differ."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import partial
from hashlib import md5, sha256
from typing import NamedTuple

from storage_manager.aio import Progress, map_ahead
from storage_manager.arguments import check_callable, check_whole
from storage_manager.backends import File, FileInfo, Stream, hash_blocks
from storage_manager.errors import InvalidDataError, StorageManagerError, first_of, refusing, translate, translating
from storage_manager.inventory import (
    count_steps,
    deleted_error,
    files_by_step,
    hash_file,
    is_foreign,
    read_stored,
    renamed_error,
)
from storage_manager.layout import (
    ATTACHMENTS_DIRECTORY,
    BY_FILENAME,
    COMPONENTS,
    MANIFEST_FILENAME,
    SESSION_METADATA_FILENAME,
    Component,
    check_ids,
    content_type_of,
    is_attachment_name,
    is_data,
    is_id,
    join,
)
from storage_manager.overlap import lies_within
from storage_manager.redaction import Redactor, redacted, redacted_metadata
from storage_manager.storage import StorageManager, check_storage, redacted_content

__all__ = ["CopyResult", "copy_sessions"]

_IN_MEMORY = 8 * 2**20  # bytes of the attachments of a step that are held in memory; the others are read in blocks
_MANY_FAILURES = 16  # if the first 16 steps all fail, the root cannot be used
_Files = Mapping[str, Mapping[str, FileInfo]]  # the files of a session by directory and name


class CopyResult(int):
    """The number of copied steps, with the URLs of files that were not copied.

    Attributes:
        left_behind: the URLs of files in the sessions that are not part of the layout, so they were not copied. Files
            of operating systems and leftovers of killed writers are not named.
    """

    left_behind: tuple[str, ...]

    def __new__(cls, copied: int, left_behind: Iterable[str] = ()) -> "CopyResult":
        """Return the number, with these URLs as an attribute."""
        self = super().__new__(cls, copied)
        self.left_behind = tuple(left_behind)
        return self


async def copy_sessions(
    source: StorageManager,
    target: StorageManager,
    session_ids: Iterable[str] | None = None,
    *,
    concurrency: int = 16,
    progress: Progress | None = None,
    dry_run: bool = False,
) -> CopyResult:
    """Copy sessions with all their files between any two roots, byte for byte. A second run sends nothing twice.

    A file is skipped if the target has the same bytes already. If both roots report its size and ETag, these are
    compared; otherwise both files are read. Files that only the target has stay there. The source does not change.

    Components, attachments, the metadata of a session and its manifest are copied. A file directly in the directory of
    a session becomes an attachment of the session if its name is allowed, the session is not sealed, and the session
    has no attachment of this name with other bytes. Every other file is left behind, and is named in the result.

    If a step cannot be copied, or a session cannot be listed, the others are still copied. The failure is reported at
    the end. But if the first 16 all fail, and not because of their content, the copy stops. The manifest of a sealed
    session is copied last, and only if all its other files were copied. If the target redacts, the redacted files are
    compared and written, and the manifest is not copied: seal the session at the target.

    Parameters:
        session_ids: the sessions to copy, in this order; None for all.
        concurrency: how many steps are read, compared and written at a time.
        progress: called on the event loop with the number of steps done and the number of all steps. If it is given,
            the steps are counted beforehand.
        dry_run: True to write nothing, and return how many steps would be copied. A file is then read only if the
            target has a file of the same size.

    Returns:
        The number of steps with at least one file that was written, as an int with the attribute `left_behind`.

    Raises:
        InvalidIdError, InvalidDataError: an id is not allowed, or the target is the source or lies within it. Raised
            before any I/O. Also raised at the end of the copy if a named session does not exist.
        StorageManagerError: steps or sessions were not copied. The message says how many, which, and why. The error
            has the class of the first failure.
        TypeError, ValueError: `source` or `target` is not a StorageManager; concurrency is not a whole number, or is
            below 1; or progress is not a function.
    """
    check_storage(source, "source")
    check_storage(target, "target")
    ids = check_ids(session_ids, "copy")
    concurrency = check_whole(concurrency, "concurrency")
    check_callable(progress, "progress", "two numbers")
    given = None if ids is None else list(ids)
    with translating("copy", source.url_for()):
        for session_id in given or ():
            source.url_for(session_id)
        named = None if given is None else list(dict.fromkeys(given))
        _refuse_overlap(source, target)
        async with _kept_open(source, target):
            total = await count_steps(source, named, strict=False) if progress else None
            return await _run(_Copying(source, target, named, dry_run), concurrency, progress, total)


@asynccontextmanager
async def _kept_open(*storages: StorageManager) -> AsyncGenerator[None, None]:
    """Make `aclose` of each storage wait until the block ends."""
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


async def _run(copying: "_Copying", concurrency: int, progress: Progress | None, total: int | None) -> CopyResult:
    async with aclosing(map_ahead(copying.attempt, copying.tasks(), concurrency)) as attempts:
        async for task, outcome in attempts:
            await copying.settle(task, outcome)
            if progress and task.is_step:
                progress(copying.done, total)
            if copying.is_hopeless:
                break
    return copying.result()


class _Task(NamedTuple):
    """A directory to copy, with its files at source and target by name: a step, or the attachments of a session.

    An empty directory name means the end of the session, with its metadata and manifest.

    Attributes:
        source: the files to copy, by their new names; `FileInfo.name` is the old path, relative to the session.
        failure: the error if the session, or a directory in it, cannot be listed at the source or the target. The task
            is then the end of the session, and the manifest is not copied.
    """

    session_id: str
    directory: str
    source: Mapping[str, FileInfo] = {}
    target: Mapping[str, FileInfo] = {}
    failure: StorageManagerError | None = None

    @property
    def is_step(self) -> bool:
        """True if the directory is a step."""
        return is_id(self.directory)

    def url(self, storage: StorageManager) -> str:
        """Return the URL of the directory at the source or the target."""
        session = storage.url_for(self.session_id)
        return join(session, self.directory) if self.directory else session

    def path(self, name: str) -> str:
        """Return the new path of a file, relative to the session."""
        return f"{self.directory}/{name}" if self.directory else name


class _Copying:
    """The state of one copy: how many steps are done, which failed, and which files are left behind."""

    def __init__(self, source: StorageManager, target: StorageManager, named: list[str] | None, dry_run: bool) -> None:
        self.source, self.target, self.named, self.dry_run = source, target, named, dry_run
        self.done = self.copied = 0
        self.failed: list[StorageManagerError] = []
        self.unlisted = 0  # sessions that could not be listed; they are in `failed` too
        self._left_behind: list[str] = []
        self._missing: list[str] = []  # URLs of named sessions that do not exist
        self._is_complete = True  # no directory of the current session has failed

    async def tasks(self) -> AsyncGenerator[_Task, None]:
        """Yield the steps of each session in order, then its attachments, then its end. Sessions are listed ahead."""
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
            steps = await self.source.list_steps_for_session(session_id) if self._has_directories else []
            own = {name: dict(found) for name, found in at_source.items()}
            await self._adopt(session_id, own)
        except StorageManagerError as error:
            return [_Task(session_id, "", failure=error)]
        files = {directory: _copied(directory, names) for directory, names in own.items()}
        self._left_behind += [join(self.source.url_for(session_id), path) for path in _left_behind(own, files)]
        directories = sorted({name for name in files if files[name] and is_id(name)} | set(steps))
        directories += [ATTACHMENTS_DIRECTORY] if files.get(ATTACHMENTS_DIRECTORY) else []
        is_session = bool(directories) or SESSION_METADATA_FILENAME in files.get("", {})
        if self.named is not None and not is_session:
            self._missing.append(self.source.url_for(session_id))
        ends = [""] if is_session and not unlisted else []
        tasks = [_Task(session_id, name, files.get(name, {}), at_target[name]) for name in directories + ends]
        return tasks + [_Task(session_id, "", failure=error) for error in unlisted]

    async def _adopt(self, session_id: str, files: dict[str, dict[str, FileInfo]]) -> None:
        """Move files that are directly in a session to its attachments, unless it is sealed or has others there."""
        loose, attachments = files.get("", {}), files.get(ATTACHMENTS_DIRECTORY, {})
        if MANIFEST_FILENAME in loose:
            return
        for name in filter(is_attachment_name, list(loose)):
            if name not in attachments:
                files.setdefault(ATTACHMENTS_DIRECTORY, {})[name] = loose.pop(name)
            elif await self._are_same(session_id, loose[name], attachments[name]):
                del loose[name]

    async def _are_same(self, session_id: str, one: FileInfo, other: FileInfo) -> bool:
        session = self.source.url_for(session_id)
        if one.size != other.size:
            return False
        first, second = [await hash_file(self.source, join(session, found.name)) for found in (one, other)]
        return first == second

    @property
    def is_hopeless(self) -> bool:
        """True if a root cannot be used: the first steps and sessions have all failed, and not due to their content."""
        are_faults = [not isinstance(error, InvalidDataError) for error in self.failed[:_MANY_FAILURES]]
        return self.done + self.unlisted == sum(are_faults) == _MANY_FAILURES

    async def attempt(self, task: _Task) -> tuple[_Task, bool | StorageManagerError]:
        """Copy the files of a directory that differ. Return True if something was written, or the error.

        At the end of a session, this does nothing: `settle` copies the end, after all steps are copied.
        """
        return task, bool(task.directory) and await self._attempt(task)

    async def settle(self, task: _Task, outcome: bool | StorageManagerError) -> None:
        """Count a step by its outcome. At the end of a session, copy its metadata, and then its manifest."""
        if task.is_step:
            # a directory without files of the layout is not a step
            self.done += bool(task.source) or outcome is not False
            self.copied += outcome is True
        elif task.failure:
            self.unlisted += 1
            outcome = renamed_error(task.failure, "copy")
        elif not task.directory:
            outcome = await self._end(task)
        if isinstance(outcome, StorageManagerError):
            self.failed.append(outcome)
            self._is_complete = False
        if not task.directory:
            self._is_complete = True  # for the next session

    async def _end(self, task: _Task) -> bool | StorageManagerError:
        files = dict(task.source)
        manifest = files.pop(MANIFEST_FILENAME, None)
        outcome = await self._attempt(task._replace(source=files)) if files else False
        is_complete = self._is_complete and not isinstance(outcome, StorageManagerError)
        if manifest and is_complete and not self.target.redact:
            return await self._attempt(task._replace(source={MANIFEST_FILENAME: manifest}))
        return outcome

    async def _attempt(self, task: _Task) -> bool | StorageManagerError:
        source_url = task.url(self.source)
        try:
            with translating("copy", source_url):
                return await self._copy(task, source_url, task.url(self.target))
        except StorageManagerError as error:
            return error

    async def _copy(self, task: _Task, source_url: str, target_url: str) -> bool:
        names = self._names(task)
        if self.dry_run and not self.target.redact and any(_differs(task, name) for name in names):
            return True
        contents = await self._read(task, names, source_url)
        if self.target.redact:
            contents = await self._redacted(self.target.redact, contents, source_url)
        same = [await self._has(join(target_url, name), contents[name], task.target.get(name)) for name in contents]
        differing = [name for name, is_same in zip(contents, same, strict=True) if not is_same]
        if differing and not self.dry_run:
            files = [_file(target_url, task.path(name), contents[name]) for name in differing]
            with translating("copy", target_url):
                async with self.target.backend() as backend:
                    await backend.write_files(files)
        return bool(differing)

    def _names(self, task: _Task) -> list[str]:
        """Return the names of the files to read: all files that are not equal according to the listings."""
        if self.target.redact:
            return [*task.source]
        return [name for name, found in task.source.items() if not _is_known_equal(found, task.target.get(name))]

    async def _read(self, task: _Task, names: Sequence[str], url: str) -> dict[str, bytes | Stream]:
        """Return the content of files at the source, by name. Raise the error of the first file that cannot be read."""
        components = [name for name in names if task.is_step and name in BY_FILENAME]
        small, large = _divided({name: task.source[name].size for name in names if name not in components})
        session = self.source.url_for(task.session_id)
        paths = {name: join(session, task.source[name].name) for name in (*small, *large)}
        stored = await read_stored(self.source, [paths[name] for name in small], "copy") if small else []
        return {
            **await self._read_components(task, components, url),
            **dict(zip(small, stored, strict=True)),
            **{name: Stream(partial(self._blocks, paths[name]), task.source[name].size, paths[name]) for name in large},
        }

    async def _blocks(self, url: str) -> AsyncGenerator[bytes, None]:
        with translating("copy", url):
            async with self.source.backend() as backend, aclosing(backend.read_blocks(url)) as blocks:
                async for block in blocks:
                    yield block

    async def _read_components(self, task: _Task, names: Sequence[str], url: str) -> dict[str, bytes]:
        wanted = [*BY_FILENAME] if self._has_directories and task.is_step else names
        if not wanted:
            return {}
        components: list[Component] = [BY_FILENAME[name].name for name in wanted]
        answers = await self.source.read_step(task.session_id, task.directory, components=components)
        found = {spec.filename: answers[spec.name] for spec in COMPONENTS if spec.name in answers}
        there = {name: answer for name, answer in found.items() if name in names or answer is not None}
        return {name: _readable(join(url, name), answer) for name, answer in there.items()}

    @property
    def _has_directories(self) -> bool:
        """True if a directory at the source may have the name of a component. A listing of files does not show it."""
        return not self.source.get_storage_info()["uses_s3"]

    async def _redacted(
        self, redact: Redactor, contents: Mapping[str, bytes | Stream], url: str
    ) -> dict[str, bytes | Stream]:
        """Return the files of a directory as the target would store them."""
        whole = {name: data for name, data in contents.items() if isinstance(data, bytes)}
        components = _redacted(redact, {name: whole[name] for name in BY_FILENAME if name in whole}, url)
        others = {name: content for name, content in contents.items() if name not in BY_FILENAME}
        limit = self.target.max_file_bytes
        return {
            **components,
            **{name: await _redacted_other(redact, name, content, limit) for name, content in others.items()},
        }

    async def _has(self, url: str, content: bytes | Stream, found: FileInfo | None) -> bool:
        """Return True if the target has a file with these bytes.

        If its ETag is not their MD5, it is read: not every ETag is an MD5.
        """
        size = content.size if isinstance(content, Stream) else len(content)
        if found is None or found.size != size:
            return False
        if isinstance(content, Stream):
            digest_md5, digest = await _digests(content)
            return found.md5 == digest_md5 or (await hash_file(self.target, url))[1] == digest
        if found.md5 == md5(content, usedforsecurity=False).hexdigest():
            return True
        async with self.target.backend() as backend:
            [answer] = await backend.read_files([url])
        return bool(answer == content)

    def result(self) -> CopyResult:
        """Return how many steps were copied.

        Raises:
            StorageManagerError: not all steps and sessions were copied.
        """
        if self.failed:
            raise self._failure() from self.failed[0]
        if self._missing:
            why = f"there is no session {first_of(self._missing)}; all others are copied"
            raise InvalidDataError(why, operation="copy", url=self._missing[0])
        return CopyResult(self.copied, self._left_behind)

    def _failure(self) -> StorageManagerError:
        first, urls = self.failed[0], first_of([str(error.url) for error in self.failed])
        steps = f"{len(self.failed) - self.unlisted} of {self.done} steps"
        sessions = f"{self.unlisted} session{'s' * (self.unlisted != 1)} that cannot be listed"
        what = " and ".join([steps] * (len(self.failed) > self.unlisted) + [sessions] * (self.unlisted > 0))
        left = len(self._left_behind)
        behind = f"; {left} file{'s' * (left != 1)} left behind, which are not part of a session" if left else ""
        summary = f"not copied: {what} ({urls}){behind}"
        return type(first)(f"{summary}. Repeat the copy to continue. {first}", operation="copy", url=first.url)


def _differs(task: _Task, name: str) -> bool:
    """Return True if the listings alone show that the target lacks the file, or has other bytes."""
    there = task.target.get(name)
    return there is None or there.size != task.source[name].size


def _readable(url: str, answer: bytes | StorageManagerError | None) -> bytes:
    """Return the bytes of a component. Raise an error if there are none."""
    if isinstance(answer, StorageManagerError):
        raise renamed_error(answer, "copy")
    if answer is None:
        raise translate(deleted_error(), "copy", url)
    return answer


def _is_known_equal(source: FileInfo, target: FileInfo | None) -> bool:
    """Return True if the listings alone show that both have the same bytes."""
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


async def _redacted_other(redact: Redactor, name: str, content: bytes | Stream, limit: int) -> bytes | Stream:
    if name == SESSION_METADATA_FILENAME and isinstance(content, bytes):
        with refusing("the metadata of the session", "it cannot be decoded, so it cannot be redacted"):
            return redacted_metadata(redact, content)
    return await redacted_content(redact, name, content, limit)


def _copied(directory: str, files: Mapping[str, FileInfo]) -> dict[str, FileInfo]:
    """Return the files of a directory that belong to a session."""
    prefix = f"{directory}/" if directory else ""
    return {name: info for name, info in files.items() if is_data(prefix + name) or prefix + name == MANIFEST_FILENAME}


def _left_behind(found: _Files, copied: _Files) -> list[str]:
    """Return the paths of files that are not part of the layout, and are not copied, sorted."""
    left = [info for name, files in found.items() for key, info in files.items() if key not in copied[name]]
    return sorted(info.name for info in left if is_foreign(info.name))


def _divided(sizes: Mapping[str, int]) -> tuple[list[str], list[str]]:
    """Return the names of the files that are read into memory, and of those that are read in blocks."""
    small, large, held = list[str](), list[str](), 0
    for name, size in sizes.items():
        if held + size > _IN_MEMORY:
            large.append(name)
        else:
            small.append(name)
            held += size
    return small, large


async def _digests(stream: Stream) -> tuple[str, str]:
    """Return MD5 and SHA-256 in hexadecimal. The stream is read once."""
    digests = md5(usedforsecurity=False), sha256()
    await hash_blocks(stream.blocks(), *digests)
    return digests[0].hexdigest(), digests[1].hexdigest()


def _file(target_url: str, path: str, content: bytes | Stream) -> File:
    data = content if isinstance(content, bytes) else b""
    return File(join(target_url, path.rpartition("/")[2]), content, content_type_of(path, data))
