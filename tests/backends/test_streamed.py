"""`open_async` on local disk: reads what it opened, writes whole or not at all."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from storage_manager.backends.local import LocalBackend


@pytest.fixture
async def fs(tmp_path: Path) -> AsyncIterator[LocalBackend]:
    fs = LocalBackend(str(tmp_path), asynchronous=True)
    yield fs
    await fs.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "file"


async def test_a_reader_keeps_what_it_opened(fs: LocalBackend, path: Path) -> None:
    await fs._pipe_file(str(path), b"0123456789")
    async with await fs.open_async(f"file://{path}") as file:
        assert await file.read(4) == b"0123"
        await fs._pipe_file(str(path), b"something longer")
        assert await file.read() == b"456789"
        assert await file.read(1) == b""
        file.seek(2)
        assert await file.read(2) == b"23"
    assert file._source.closed
    with pytest.raises(ValueError, match="closed"):
        await file.read()


async def test_what_is_written_appears_whole(fs: LocalBackend, path: Path) -> None:
    """Also when it is more than a block, and where something was before."""
    for new in (b"a", b"b"):
        before = path.read_bytes() if path.exists() else None
        async with await fs.open_async(str(path), "wb") as file:
            file.blocksize = 3
            for _ in range(10):
                assert await file.write(new * 2) == 2
            assert (path.read_bytes() if path.exists() else None) == before
        assert path.read_bytes() == new * 20
    assert list(path.parent.parent.rglob("*")) == [path.parent, path]


async def test_half_of_a_file_is_none(fs: LocalBackend, path: Path) -> None:
    await fs._pipe_file(str(path), b"old")
    with pytest.raises(KeyError):
        async with await fs.open_async(str(path), "wb") as file:
            await file.write(b"half")
            raise KeyError
    assert path.read_bytes() == b"old"


async def test_exclusive_is_decided_when_it_is_published(fs: LocalBackend, path: Path) -> None:
    file = await fs.open_async(str(path), "xb")
    await file.write(b"late")
    await fs._pipe_file(str(path), b"first")
    with pytest.raises(FileExistsError):
        await file.close()
    with pytest.raises(FileExistsError):
        await fs.open_async(str(path), "xb")
    assert path.read_bytes() == b"first"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"mode": "r"}, ValueError),
        ({"mode": "rb", "compression": "gzip"}, ValueError),
        ({"mode": "ab"}, NotImplementedError),
        ({"mode": "rb"}, FileNotFoundError),
    ],
)
async def test_what_cannot_be_opened(
    fs: LocalBackend, path: Path, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await fs.open_async(str(path), **options)


async def test_a_file_that_nobody_closes_is_told(fs: LocalBackend, path: Path) -> None:
    """The garbage collector cannot await; a reader has nothing to lose."""
    await fs._pipe_file(str(path), b"old")
    reader, writer = await fs.open_async(str(path)), await fs.open_async(str(path), "wb")
    await writer.write(b"new")
    del reader
    with pytest.warns(ResourceWarning, match="never closed"):
        del writer
    assert path.read_bytes() == b"old"
