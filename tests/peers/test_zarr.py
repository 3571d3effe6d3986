"""zarr's own conformance suite for stores, on `LocalBackend` behind its `FsspecStore`."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

WHY = "zarr 3, which is asynchronous, needs Python 3.11"
zarr = pytest.importorskip("zarr", minversion="3", reason=WHY)

from zarr.core.buffer import Buffer, cpu  # noqa: E402
from zarr.storage import FsspecStore  # noqa: E402
from zarr.testing.store import StoreTests  # noqa: E402

from storage_manager.backends.local import LocalBackend  # noqa: E402

pytestmark = pytest.mark.thorough


class TestFsspecStore(StoreTests[FsspecStore, cpu.Buffer]):
    """Everything that zarr asks of a store; `get` and `set` look past the store, at the files themselves."""

    store_cls = FsspecStore
    buffer_cls = cpu.Buffer

    @pytest.fixture
    async def store_kwargs(self, tmp_path: Path) -> AsyncIterator[dict[str, Any]]:
        fs = LocalBackend(str(tmp_path), asynchronous=True)
        yield {"fs": fs, "path": f"{tmp_path}/store"}
        await fs.close()

    async def get(self, store: FsspecStore, key: str) -> Buffer:
        return self.buffer_cls.from_bytes(Path(store.path, key).read_bytes())

    async def set(self, store: FsspecStore, key: str, value: Buffer) -> None:
        path = Path(store.path, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value.to_bytes())

    def test_store_repr(self, store: FsspecStore) -> None:
        assert repr(store) == f"<FsspecStore(LocalBackend, {store.path})>"

    def test_store_supports_writes(self, store: FsspecStore) -> None:
        assert store.supports_writes
        assert store.supports_deletes

    def test_store_supports_listing(self, store: FsspecStore) -> None:
        assert store.supports_listing

    async def test_an_array_is_what_it_was(self, store: FsspecStore) -> None:
        """Through zarr's own interface: groups, chunks and attributes."""
        group = await zarr.api.asynchronous.create_group(store=store, attributes={"key": "value"})
        array = await group.create_array("numbers", shape=(10, 10), chunks=(4, 4), dtype="int32")
        await array.setitem(slice(None), 7)
        again = await zarr.api.asynchronous.open_group(store=store, mode="r")
        assert dict(again.attrs) == {"key": "value"}
        assert [name async for name in again.keys()] == ["numbers"]  # noqa: SIM118
        numbers = await again.getitem("numbers")
        assert int((await numbers.getitem(slice(None))).sum()) == 700
        assert len(list(Path(store.path, "numbers", "c").rglob("?"))) == 3 + 9
