"""What users of fsspec expect of any filesystem, and its suite does not ask."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage_manager.filesystems.local import AsyncLocalFileSystem


@pytest.fixture
async def fs(tmp_path: Path) -> AsyncIterator[AsyncLocalFileSystem]:
    fs = AsyncLocalFileSystem(str(tmp_path), asynchronous=True)
    yield fs
    await fs._close()


async def test_a_list_of_files_is_fetched(fs: AsyncLocalFileSystem, tmp_path: Path) -> None:
    """`_get` of every asynchronous filesystem strips the protocol of the list as one."""
    await fs._pipe({f"{tmp_path}/a": b"1", f"{tmp_path}/b": b"2"})
    await fs._get([f"file://{tmp_path}/a", f"{tmp_path}/b"], f"{tmp_path}/copy/")
    assert [path.read_bytes() for path in sorted((tmp_path / "copy").iterdir())] == [b"1", b"2"]
