"""What users of fsspec expect of any filesystem, and its suite does not ask."""

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage_manager.backends.local import LocalBackend


@pytest.fixture
async def fs(tmp_path: Path) -> AsyncIterator[LocalBackend]:
    fs = LocalBackend(str(tmp_path), asynchronous=True)
    yield fs
    await fs.close()


async def test_a_list_of_files_is_fetched(fs: LocalBackend, tmp_path: Path) -> None:
    """`_get` of every asynchronous filesystem strips the protocol of the list as one."""
    await fs._pipe({f"{tmp_path}/a": b"1", f"{tmp_path}/b": b"2"})
    await fs._get([f"file://{tmp_path}/a", f"{tmp_path}/b"], f"{tmp_path}/copy/")
    assert [path.read_bytes() for path in sorted((tmp_path / "copy").iterdir())] == [b"1", b"2"]


async def test_without_a_root_a_file_is_staged_beside_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in the root directory of the machine, which is another disk, and nobody's to write in."""
    staged: list[str] = []
    replace = os.replace

    def watch(source: str, target: str) -> None:
        staged.append(source)
        replace(source, target)

    monkeypatch.setattr(os, "replace", watch)
    fs = LocalBackend(asynchronous=True)
    await fs._pipe_file(f"{tmp_path}/deep/file", b"1")
    assert [os.path.dirname(path) for path in staged] == [f"{tmp_path}/deep"]
    assert await fs._find(str(tmp_path)) == [f"{tmp_path}/deep/file"]
    await fs.close()


def test_a_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    """`pipe_file` waits for its end, as `open` does, and is forgotten when it fails."""
    fs = LocalBackend(str(tmp_path))
    with pytest.raises(KeyError), fs.transaction:
        fs.pipe_file(f"{tmp_path}/a", b"1")
        raise KeyError
    assert fs.find(str(tmp_path)) == []
    with fs.transaction:
        fs.pipe_file(f"{tmp_path}/a", b"1")
        assert fs.find(str(tmp_path)) == []
    assert fs.cat_file(f"{tmp_path}/a") == b"1"
    with pytest.raises(FileExistsError), fs.transaction:
        fs.pipe_file(f"{tmp_path}/a", b"2", mode="create")


@pytest.mark.parametrize("auto_mkdir", [True, False])
async def test_directories_are_made_only_when_asked(tmp_path: Path, auto_mkdir: bool) -> None:
    fs = LocalBackend(str(tmp_path), auto_mkdir=auto_mkdir, asynchronous=True)
    path = f"{tmp_path}/new/file"
    (tmp_path / "source").write_bytes(b"1")
    for call in (fs._pipe_file(path, b""), fs._cp_file(f"{tmp_path}/source", path), fs._touch(path)):
        if auto_mkdir:
            await call
            shutil.rmtree(tmp_path / "new")
        else:
            with pytest.raises(FileNotFoundError):
                await call
            assert not (tmp_path / "new").exists()
    await fs.close()
