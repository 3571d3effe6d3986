"""The contestants on local disk.

Plain synchronous Python is the limit, to which the others are compared. They are two file systems of fsspec, aiofiles,
and this library with its two faces. The limit of exports to Parquet is pyarrow.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import aiofiles
import aiofiles.os
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from fsspec.implementations.local import LocalFileSystem

from benchmarks.contestants import READ_AHEAD, Asynchronous, Location, Synchronous
from benchmarks.steps import ATTACHMENT, FILENAMES, METADATA, StepData, decode, encode, folders, in_flight

__all__ = ["LOCAL"]


class Plain(Synchronous):
    """The calls of `os` that a careful and fast program uses, `os.scandir` and `shutil.rmtree`. This is the limit.

    Files are written by `os.open`, `os.write` and `os.close`, and read by `os.open`, `os.fstat` and `os.read`. To read
    the four files of a step takes 0.09 ms of CPU this way, and 0.12 ms by `open(path, "rb")`, with or without
    `buffering=0`: these call `lseek` too, and read once more to find the end of the file.
    """

    name = "plain Python"

    def put(self, session: str, step: str, data: StepData) -> None:
        folder = f"{self.root}/{session}/{step}"
        os.makedirs(folder, exist_ok=True)
        for filename, content in zip(FILENAMES, encode(data), strict=True):
            _write_file(f"{folder}/{filename}", content)

    def fetch(self, session: str, step: str) -> StepData:
        return decode([_read_file(f"{self.root}/{session}/{step}/{filename}") for filename in FILENAMES])

    def names(self, *session: str) -> list[str]:
        with os.scandir("/".join((self.root, *session))) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())

    def delete(self, session: str) -> int:
        shutil.rmtree(f"{self.root}/{session}")
        return 0

    def count(self, session: str) -> int:
        return len(self.names(session)) if os.path.exists(f"{self.root}/{session}") else 0

    def fill(self, sessions: int, steps: int) -> int:
        for folder in folders(sessions, steps):
            os.makedirs(f"{self.root}/{folder}")
            _write_file(f"{self.root}/{folder}/{FILENAMES[3]}", METADATA)
        return 0

    def fill_with_pages(self, steps: int) -> int:
        from benchmarks import export  # noqa: PLC0415 - its memory must not count

        for step in export.steps(export.Work("", steps, html=120_000, screenshot=250_000)):
            self.put(step.session_id, step.step_id, StepData(*step.data))  # type: ignore[arg-type]
        return 0

    def attach(self, session: str, files: Sequence[str]) -> int:
        os.makedirs(f"{self.root}/{session}/_files", exist_ok=True)
        for file in files:
            _write_file(f"{self.root}/{session}/_files/{file}", ATTACHMENT)
        return len(files)

    def retrieve_attached(self, session: str, files: Sequence[str]) -> int:
        return sum(len(_read_file(f"{self.root}/{session}/_files/{file}")) for file in files)


class Pyarrow(Plain):
    """pyarrow, which reads the files as plain Python does, and writes Parquet."""

    name = "plain pyarrow"
    has_all_rows = False

    def open(self) -> None:
        from benchmarks import export  # noqa: PLC0415 - a worker loads only its own library

        self.by_pyarrow = export.export_by_pyarrow

    def export_parquet(self) -> int:
        return self.by_pyarrow(self.root, f"{self.location.directory}/by-pyarrow")


def _write_file(path: str, content: bytes) -> None:
    """Write a file. One `os.write` may write only a part of the content, so it is repeated until all is written."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        written = os.write(descriptor, content)
        while written < len(content):
            written += os.write(descriptor, memoryview(content)[written:])
    finally:
        os.close(descriptor)


def _read_file(path: str) -> bytes:
    """Read a file. One `os.read` may return only a part of the content, so it is repeated until all is read."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(descriptor).st_size
        content = os.read(descriptor, size)
        while len(content) < size and (more := os.read(descriptor, size - len(content))):
            content += more
        return content
    finally:
        os.close(descriptor)


class Fsspec(Synchronous):
    """The synchronous local file system of fsspec."""

    name = "fsspec LocalFileSystem"

    def __init__(self, location: Location, root: str) -> None:
        super().__init__(location, root)
        self.files = LocalFileSystem()

    def put(self, session: str, step: str, data: StepData) -> None:
        folder = f"{self.root}/{session}/{step}"
        self.files.makedirs(folder, exist_ok=True)
        for filename, content in zip(FILENAMES, encode(data), strict=True):
            self.files.pipe_file(f"{folder}/{filename}", content)

    def fetch(self, session: str, step: str) -> StepData:
        return decode([self.files.cat_file(f"{self.root}/{session}/{step}/{filename}") for filename in FILENAMES])

    def names(self, *session: str) -> list[str]:
        return _directories(self.files.ls("/".join((self.root, *session)), detail=True))

    def delete(self, session: str) -> int:
        self.files.rm(f"{self.root}/{session}", recursive=True)
        return 0


class Wrapped(Asynchronous):
    """The local file system of fsspec in fsspec's own wrapper for asyncio, which runs each call in a thread."""

    name = "fsspec AsyncFileSystemWrapper"

    def __init__(self, location: Location, root: str) -> None:
        super().__init__(location, root)
        self.files: Any = AsyncFileSystemWrapper(LocalFileSystem(), asynchronous=True)

    async def put(self, session: str, step: str, data: StepData) -> None:
        folder = f"{self.root}/{session}/{step}"
        await self.files._makedirs(folder, exist_ok=True)
        pairs = zip(FILENAMES, encode(data), strict=True)
        await asyncio.gather(*(self.files._pipe_file(f"{folder}/{filename}", content) for filename, content in pairs))

    async def get(self, session: str, step: str) -> StepData:
        paths = [f"{self.root}/{session}/{step}/{filename}" for filename in FILENAMES]
        return decode(await asyncio.gather(*map(self.files._cat_file, paths)))

    async def names(self, *session: str) -> list[str]:
        return _directories(await self.files._ls("/".join((self.root, *session)), detail=True))

    async def remove(self, session: str) -> None:
        await self.files._rm(f"{self.root}/{session}", recursive=True)


class Aiofiles(Asynchronous):
    """aiofiles, which runs each call in a thread."""

    name = "aiofiles"

    async def put(self, session: str, step: str, data: StepData) -> None:
        folder = f"{self.root}/{session}/{step}"
        await aiofiles.os.makedirs(folder, exist_ok=True)
        pairs = zip(FILENAMES, encode(data), strict=True)
        await asyncio.gather(*(_write_async(f"{folder}/{filename}", content) for filename, content in pairs))

    async def get(self, session: str, step: str) -> StepData:
        paths = [f"{self.root}/{session}/{step}/{filename}" for filename in FILENAMES]
        return decode(await asyncio.gather(*map(_read_async, paths)))

    async def names(self, *session: str) -> list[str]:
        with await aiofiles.os.scandir("/".join((self.root, *session))) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())

    async def remove(self, session: str) -> None:
        await _rmtree(f"{self.root}/{session}")


_rmtree = aiofiles.os.wrap(shutil.rmtree)  # aiofiles has no rmtree; it makes its own functions in this way


async def _write_async(path: str, content: bytes) -> None:
    async with aiofiles.open(path, "wb") as file:
        await file.write(content)


async def _read_async(path: str) -> bytes:
    async with aiofiles.open(path, "rb") as file:
        return await file.read()


def _directories(infos: list[dict[str, Any]]) -> list[str]:
    return sorted(info["name"].rpartition("/")[2] for info in infos if info["type"] == "directory")


def whole(html: Any, screenshot: Any, action: Any, metadata: Any) -> StepData:
    """Return the components as a step.

    Raises:
        ValueError: one of them is missing.
    """
    if html is None or screenshot is None or action is None or metadata is None:
        raise ValueError("a component is missing")
    return StepData(html, screenshot, action, metadata)


class Ours(Asynchronous):
    """This library, through its public class."""

    name = "ours"

    def options(self) -> dict[str, Any]:
        """Return the arguments for StorageManager."""
        return {"local_base_path": self.root, "prefer_s3": False}

    async def connect(self) -> None:
        from storage_manager import StorageManager, export  # noqa: PLC0415 - their memory must not count for the others

        self.storage, self.exports = StorageManager(**self.options()), export

    async def put(self, session: str, step: str, data: StepData) -> None:
        await self.storage.store_step_data(session, step, *data)

    async def get(self, session: str, step: str) -> StepData:
        return whole(*await self.storage.retrieve_step_data(session, step))

    async def names(self, *session: str) -> list[str]:
        return await (self.storage.list_steps_for_session(*session) if session else self.storage.list_sessions())

    async def remove(self, session: str) -> None:
        await self.storage.delete_session(session)

    async def steps(self, session: str) -> AsyncGenerator[object, None]:
        async for step in self.storage.iter_steps([session], concurrency=READ_AHEAD):
            yield step

    async def metadata(self, session: str) -> int:
        """Read only the metadata of a session's steps. Return how many steps have metadata."""
        steps = self.storage.iter_steps([session], components=["metadata"], concurrency=READ_AHEAD)
        return len([None async for step in steps if step.data.metadata])

    def iterate_metadata(self, session: str) -> int:
        """Do the same, and block until it is done."""
        return self.run(self.metadata(session))

    def attach(self, session: str, files: Sequence[str]) -> int:
        self.run(in_flight(lambda file: self.storage.store_attachments(session, {file: ATTACHMENT}), files, 1))
        return len(files)

    def retrieve_attached(self, session: str, files: Sequence[str]) -> int:
        return self.run(self._retrieve_attached(session, files))

    async def _retrieve_attached(self, session: str, files: Sequence[str]) -> int:
        return sum([len(await self.storage.retrieve_attachment(session, file) or b"") for file in files])

    def export_parquet(self) -> int:
        return self.run(self.exports.export_parquet(self.storage, f"{self.location.directory}/by-us"))


class OursSync(Synchronous):
    """This library, through the class of its module `sync`."""

    name = "ours, sync"

    def options(self) -> dict[str, Any]:
        """Return the arguments for StorageManager."""
        return {"local_base_path": self.root, "prefer_s3": False}

    def open(self) -> None:
        from storage_manager.sync import StorageManager  # noqa: PLC0415 - its memory must not count for the others

        self.storage = StorageManager(**self.options())

    def put(self, session: str, step: str, data: StepData) -> None:
        self.storage.store_step_data(session, step, *data)

    def fetch(self, session: str, step: str) -> StepData:
        return whole(*self.storage.retrieve_step_data(session, step))

    def names(self, *session: str) -> list[str]:
        return self.storage.list_steps_for_session(*session) if session else self.storage.list_sessions()

    def delete(self, session: str) -> int:
        self.storage.delete_session(session)
        return 0

    def iterate(self, session: str) -> int:
        return len([None for _ in self.storage.iter_steps([session], concurrency=READ_AHEAD)])

    def attach(self, session: str, files: Sequence[str]) -> int:
        for file in files:
            self.storage.store_attachments(session, {file: ATTACHMENT})
        return len(files)

    def retrieve_attached(self, session: str, files: Sequence[str]) -> int:
        return sum(len(self.storage.retrieve_attachment(session, file) or b"") for file in files)


LOCAL = (Plain, Fsspec, Wrapped, Aiofiles, Pyarrow, Ours, OursSync)
