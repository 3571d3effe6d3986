"""fsspec's own coroutines, on local disk and on a backend that has only synchronous methods."""

from pathlib import Path
from typing import Any

import pytest

from storage_manager import StorageManager


@pytest.fixture(params=["local", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> StorageManager:
    return StorageManager.from_url(f"{tmp_path}/base" if request.param == "local" else f"memory://{tmp_path.name}")


async def test_the_coroutines_of_fsspec(root: StorageManager, tmp_path: Path) -> None:
    fs: Any = root.async_fs
    base, mine = root.url_for(), tmp_path / "mine.txt"
    mine.write_bytes(b"mine")
    await fs._makedirs(f"{base}/a/b", exist_ok=True)
    await fs._mkdir(f"{base}/c")
    await fs._pipe_file(f"{base}/a/one", b"0123")
    await fs._cp_file(f"{base}/a/one", f"{base}/a/two")
    await fs._put_file(str(mine), f"{base}/a/b/three")
    await fs._get_file(f"{base}/a/two", str(tmp_path / "two"))
    assert (tmp_path / "two").read_bytes() == await fs._cat_file(f"{base}/a/one") == b"0123"
    assert (await fs._cat_file(f"{base}/a/b/three"), await fs._cat_file(f"{base}/a/one", start=1, end=3)) == (
        b"mine",
        b"12",
    )
    assert [Path(name).name for name in sorted(await fs._ls(f"{base}/a", detail=False))] == ["b", "one", "two"]
    assert [Path(name).name for name in await fs._find(f"{base}/a")] == ["three", "one", "two"]
    assert [Path(name).name for name in await fs._glob(f"{base}/a/t*")] == ["two"]
    assert ((await fs._info(f"{base}/a/one"))["size"], await fs._du(f"{base}/a")) == (4, 12)
    assert await fs._exists(f"{base}/a/one")
    assert await fs._isfile(f"{base}/a/one")
    assert await fs._isdir(f"{base}/a")
    await fs._rm_file(f"{base}/a/one")
    assert not await fs._exists(f"{base}/a/one")
    await fs._rm(f"{base}/a", recursive=True)
    assert not await fs._exists(f"{base}/a/b/three")
    await root.aclose()


async def test_more_coroutines_of_a_disk(tmp_path: Path) -> None:
    """These are on a local disk alone."""
    async with StorageManager(local_base_path=tmp_path / "base") as sm:
        fs: Any = sm.async_fs
        await fs._touch(f"{tmp_path}/base/a")
        assert (await fs._created(f"{tmp_path}/base/a")).year > 2000
        assert (await fs._modified(f"{tmp_path}/base/a")).year > 2000
        await fs._mkdir(f"{tmp_path}/base/b")
        await fs._rmdir(f"{tmp_path}/base/b")
        assert not (tmp_path / "base" / "b").exists()


async def test_a_file_that_is_larger_than_the_disk_says_is_read_whole(tmp_path: Path) -> None:
    """Files of /proc have the size 0, and a file may grow while it is read."""
    async with StorageManager(local_base_path=tmp_path).backend() as backend:
        assert await backend.read_files(["/proc/version"]) == [Path("/proc/version").read_bytes()]


@pytest.mark.parametrize(("name", "stays"), [(".DS_Store", False), ("Thumbs.db", False), ("notes.txt", True)])
async def test_files_of_systems_go_with_the_last_step(tmp_path: Path, name: str, stays: bool) -> None:
    """Nobody's files keep no session listed, and anyone else's are left alone."""
    sm = StorageManager.from_url(f"memory://{tmp_path.name}-{name}")
    fs: Any = sm.async_fs
    for step in ("t", "u"):
        await sm.store_step_data("s", step, "<p>")
    await fs._pipe_file(f"{sm.url_for()}/{name}", b"at the root")
    await fs._pipe_file(f"{sm.url_for('s')}/{name}", b"")
    await sm.delete_step("s", "t")
    assert await fs._exists(f"{sm.url_for('s')}/{name}")
    await sm.delete_step("s", "u")
    assert await sm.list_sessions() == ["s"] * stays
    await sm.delete_session("s")
    assert await sm.list_sessions() == []
    assert await fs._exists(f"{sm.url_for()}/{name}")
