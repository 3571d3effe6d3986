"""fsspec's own conformance suite, on `LocalBackend`: on its synchronous methods, and on its coroutines."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from storage_manager.backends.local import LocalBackend
from tests.support.fsspec_suite import Suite

pytestmark = pytest.mark.thorough


class LocalSuite(Suite):
    """In a directory that is there."""

    @pytest.fixture
    def fs_path(self, tmp_path: Path) -> str:
        (tmp_path / "base").mkdir()
        return f"{tmp_path}/base"


class TestSynchronous(LocalSuite):
    """The suite on the filesystem itself, as a synchronous program has it."""

    @pytest.fixture
    def fs(self, fs_path: str) -> LocalBackend:
        return LocalBackend(fs_path)


class DrivenFile:
    """A file of `open_async`, for a synchronous `with`."""

    def __init__(self, file: Any, run: Callable[[Awaitable[Any]], Any]) -> None:
        self._file = file
        self._run = run

    def __enter__(self) -> "DrivenFile":
        self._run(self._file.__aenter__())
        return self

    def __exit__(self, *error: object) -> None:
        self._run(self._file.__aexit__(*error))

    def read(self) -> Any:
        return self._run(self._file.read())

    def write(self, data: bytes) -> Any:
        return self._run(self._file.write(data))


class Driven:
    """The coroutines of a filesystem under the synchronous names, and nothing else: `ls` runs `_ls` to its end."""

    def __init__(self, fs: LocalBackend, run: Callable[[Awaitable[Any]], Any]) -> None:
        self._fs = fs
        self._run = run

    def __getattr__(self, name: str) -> Callable[..., Any]:
        coroutine = getattr(self._fs, "_copy" if name == "cp" else f"_{name}")
        return lambda *args, **kwargs: self._run(coroutine(*args, **kwargs))

    def open(self, path: str, mode: str) -> DrivenFile:
        return DrivenFile(self._run(self._fs.open_async(path, mode)), self._run)


class TestAsynchronous(LocalSuite):
    """The suite on the coroutines: not one of its calls reaches a synchronous method."""

    @pytest.fixture
    def fs(self, fs_path: str) -> Iterator[Driven]:
        loop = asyncio.new_event_loop()
        fs = LocalBackend(fs_path, asynchronous=True)
        yield Driven(fs, loop.run_until_complete)
        loop.run_until_complete(fs.close())
        loop.close()
