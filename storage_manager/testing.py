"""A conformance suite for any root: an fsspec backend, or a bucket and the rights on it.

    import uuid, pytest
    from storage_manager import StorageManager
    from storage_manager.testing import StorageManagerTests

    class TestMyBucket(StorageManagerTests):
        @pytest.fixture
        def storage(self):
            return StorageManager.from_url(f"s3://my-bucket/{uuid.uuid4().hex}")

It needs pytest and pytest-asyncio (the extra `testing`). Both modes of pytest-asyncio work. If warnings are errors
(`-W error`), set `asyncio_default_fixture_loop_scope = function`.
"""

import asyncio
import logging
import pickle
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

from storage_manager.errors import how_to_install

try:
    import pytest
    import pytest_asyncio
except ImportError as error:
    raise ImportError(
        f"storage_manager.testing needs pytest and pytest-asyncio: {how_to_install('testing')}"
    ) from error

from storage_manager.errors import AlreadyExistsError, InvalidDataError, InvalidIdError, StorageManagerError
from storage_manager.layout import ALL_COMPONENTS, COMPONENTS, ComponentSpec, Step, StepData
from storage_manager.storage import Attachment, StorageManager

__all__ = ["StorageManagerTests"]

OLD = StepData("<p>é\r\n</p>", b"\x89PNG\r\n" + bytes(range(256)), {"type": "click", "at": [1, 2.5]}, {"n": None})
NEW = StepData("", b"", {}, {"é": "\N{SNOWMAN}", "deep": {"a": [{"b": True}]}})
RAW = {
    "html": "<p>é\r\n</p>".encode(),
    "screenshot": OLD.screenshot,
    "action": b'{"type":"click","at":[1,2.5]}\n',
    "metadata": b'{"n":null}\n',
}
# fmt: off
BAD_IDS = [
    "", ".", "..", "../up", "a/b", "a\\b", ".hidden", "_own", "*", "a?versionId=1", "a::b", "a.", "a b", "a\n", "é",
    "lost+found",
]
BAD_NAMES = [
    "", "a", "a.", ".a.txt", "_a.txt", "a/b.txt", "../a.txt", "a b.txt", "é.txt", "a~.txt", "a:b.txt", "a.txt\n",
    "observation.html", "Action.JSON", "Thumbs.db", "desktop.ini", "x" * 125 + ".txt",
]
# fmt: on
# sorted by code point
NAMES = ["0", "B", "a", "a+c", "a-1", "a.b", "a=", "b", "b-1", "b-1-2", "run", "run-10", "run-9", "z~"]


@pytest.mark.asyncio
class StorageManagerTests:
    """Test the promises of StorageManager for one root. A subclass supplies one fixture, `storage`.

    `storage` returns a manager of an empty root that other managers can open as well. The tests delete everything in
    the root, so they refuse a root that contains any file. `set`, `get` and `files` bypass the code under test. They
    use fsspec's own filesystem (`storage.fs`). Override them if you do not trust this filesystem.
    """

    @pytest.fixture
    def storage(self) -> StorageManager:
        """Return the manager under test. Its root is empty."""
        raise NotImplementedError("a subclass of StorageManagerTests supplies the fixture `storage`")

    async def set(self, storage: StorageManager, url: str, data: bytes) -> None:
        """Write bytes to a URL, bypassing the code under test."""
        await asyncio.to_thread(storage.fs.pipe_file, url, data)

    async def get(self, storage: StorageManager, url: str) -> bytes:
        """Return the bytes at a URL, bypassing the code under test."""
        return bytes(await asyncio.to_thread(storage.fs.cat_file, url))

    async def files(self, storage: StorageManager) -> list[str]:
        """Return the paths of all files of the root, including hidden files, bypassing the code under test."""
        return list(await asyncio.to_thread(storage.fs.find, storage.url_for()))

    @pytest_asyncio.fixture(autouse=True)
    async def _emptied(self, storage: StorageManager) -> AsyncIterator[None]:
        root = storage.url_for()
        found = [*await storage.list_sessions(), *await self.files(storage)]
        assert not found, f"{root} is not empty: the tests would delete the files in it"
        yield
        for session_id in await storage.list_sessions():
            await storage.delete_session(session_id)
        await asyncio.to_thread(self._clear, storage)
        await storage.aclose()

    def _clear(self, storage: StorageManager) -> None:
        """Delete the files of the tests that belong to no session."""
        if storage.fs.exists(storage.url_for()):
            for path in storage.fs.ls(storage.url_for(), detail=False):
                storage.fs.rm(path, recursive=True)

    # --- one step -------------------------------------------------------------------------------------

    async def test_a_step_is_read_back_equal(self, storage: StorageManager) -> None:
        paths = await storage.store_step_data("s", "t", *OLD)
        assert paths == {spec.path_key: storage.url_for("s", "t", spec.name) for spec in COMPONENTS}
        assert await storage.retrieve_step_data("s", "t") == OLD
        await storage.store_step_data("s", "t", *NEW)
        assert await storage.retrieve_step_data("s", "t") == NEW

    async def test_the_files_are_as_documented(self, storage: StorageManager) -> None:
        await storage.store_step_data("s", "t", *OLD)
        assert {name: await self.get(storage, storage.url_for("s", "t", name)) for name in ALL_COMPONENTS} == RAW
        assert len(await self.files(storage)) == 4

    async def test_files_of_other_writers_are_read(self, storage: StorageManager) -> None:
        for name in ALL_COMPONENTS:
            await self.set(storage, storage.url_for("s", "t", name), RAW[name] or b"")
        assert await storage.retrieve_step_data("s", "t") == OLD
        assert await storage.list_steps_for_session("s") == ["t"]

    @pytest.mark.parametrize("spec", COMPONENTS, ids=lambda spec: spec.name)
    async def test_storing_one_component_keeps_the_others(self, storage: StorageManager, spec: ComponentSpec) -> None:
        await storage.store_step_data("s", "t", *OLD)
        changed: Any = {spec.keyword: getattr(NEW, spec.name)}
        paths = await storage.store_step_data("s", "t", **changed)
        assert [key for key, path in paths.items() if path] == [spec.path_key]
        expected = {other.name: getattr(NEW if other is spec else OLD, other.name) for other in COMPONENTS}
        assert await storage.retrieve_step_data("s", "t") == StepData(**expected)

    async def test_a_missing_component_is_none_with_a_warning(
        self, storage: StorageManager, caplog: pytest.LogCaptureFixture
    ) -> None:
        await storage.store_step_data("s", "t", metadata={})
        caplog.clear()
        assert await storage.retrieve_step_data("s", "t", strict=True) == StepData(metadata={})
        missing = [record for record in caplog.records if "it is missing" in record.getMessage()]
        assert [record.levelno for record in missing] == [logging.WARNING] * 3
        assert await storage.retrieve_step_data("no", "step") == StepData()
        caplog.clear()
        with caplog.at_level(logging.DEBUG, "storage_manager"):
            assert [step.data async for step in storage.iter_steps(["s"])] == [StepData(metadata={})]
        missing = [record for record in caplog.records if "it is missing" in record.getMessage()]
        assert [record.levelno for record in missing] == [logging.DEBUG] * 3

    @pytest.mark.parametrize("data", [b"", b'{"a":', b"\xff{}", b"[" * 100_000, b'{"a":NaN}', b"[1]"])
    async def test_an_undecodable_component_is_none_or_an_error(self, storage: StorageManager, data: bytes) -> None:
        url = storage.url_for("s", "t", "action")
        await self.set(storage, url, data)
        await storage.store_step_data("s", "t", metadata={})
        assert await storage.retrieve_step_data("s", "t") == StepData(metadata={})
        with pytest.raises(StorageManagerError) as caught:
            await storage.retrieve_step_data("s", "t", strict=True)
        assert (caught.value.operation, caught.value.url) == ("retrieve", url)
        assert isinstance(caught.value.__cause__, ValueError)

    async def test_only_the_given_components_are_read(
        self, storage: StorageManager, caplog: pytest.LogCaptureFixture
    ) -> None:
        await storage.store_step_data("s", "t", html_content="x", metadata={"m": 1})
        caplog.clear()
        assert await storage.retrieve_step_data("s", "t", components=["metadata"]) == StepData(metadata={"m": 1})
        assert await storage.retrieve_step_data("s", "t", components=[]) == StepData()
        assert "it is missing" not in caplog.text

    async def test_a_large_component_is_whole(self, storage: StorageManager) -> None:
        large = bytes(range(256)) * 32_768  # 8 MiB
        await storage.store_step_data("s", "t", screenshot_bytes=large)
        assert (await storage.retrieve_step_data("s", "t", components=["screenshot"])).screenshot == large

    # --- attachments and metadata of a session ---------------------------------------------------------

    async def test_attachments_are_read_back_equal(self, storage: StorageManager, tmp_path: Path) -> None:
        (tmp_path / "video").write_bytes(bytes(range(256)) * 40_000)  # more than one block, and more than one part
        given: dict[str, Attachment] = {"tree.json": {"a": [1]}, "page.html": "<p>é", "0.bin": b"", "b@1.x": b"\xff\0"}
        for step_id in ("t", None):
            video = {"video.webm": tmp_path / "video"}
            urls = await storage.store_attachments("s", {**given, **video}, step_id)
            assert urls == {name: storage.url_for("s", step_id, attachment=name) for name in urls}
            assert await storage.list_attachments("s", step_id) == sorted(urls)
            stored = {name: await storage.retrieve_attachment("s", name, step_id) for name in urls}
            assert stored.pop("video.webm") == (tmp_path / "video").read_bytes()
            expected = {"tree.json": b'{"a":[1]}\n', "page.html": "<p>é".encode(), "0.bin": b"", "b@1.x": b"\xff\0"}
            assert stored == expected
            assert await self.get(storage, urls["tree.json"]) == b'{"a":[1]}\n'
        assert await storage.retrieve_attachment("s", "no.txt", "t") is None
        assert await storage.retrieve_attachment("no", "no.txt") is None
        assert await storage.list_attachments("no") == []

    async def test_a_step_is_stored_with_its_attachments(self, storage: StorageManager) -> None:
        paths = await storage.store_step_data("s", "t", *OLD, attachments={"a.txt": "1", "b.txt": "2"})
        assert paths["a.txt"] == storage.url_for("s", "t", attachment="a.txt")
        await storage.store_step_data("s", "u", attachments={"a.txt": "3"})
        assert await storage.list_steps_for_session("s") == ["t", "u"]
        steps = [step async for step in storage.iter_steps(attachments=["a.txt", "no.txt"])]
        assert [step.attachments for step in steps] == [{"a.txt": b"1"}, {"a.txt": b"3"}]
        assert steps[0].data == OLD
        assert [step.attachments async for step in storage.iter_steps(components=["html"])] == [{}, {}]
        await storage.store_steps([Step("copy", "t", StepData(), steps[0].attachments)])
        assert await storage.retrieve_attachment("copy", "a.txt", "t") == b"1"
        await storage.store_step_data("s", "t", attachments={"a.txt": "new"})
        assert await storage.retrieve_attachment("s", "b.txt", "t") == b"2"

    async def test_metadata_of_a_session(self, storage: StorageManager) -> None:
        assert await storage.retrieve_session_metadata("s") is None
        url = await storage.store_session_metadata("s", {"goal": "é", "tags": ["a"]})
        assert url == f"{storage.url_for('s')}/_session.json"
        assert await self.get(storage, url) == '{"goal":"é","tags":["a"]}\n'.encode()
        await storage.store_session_metadata("s", {"reward": 0.5})
        assert await storage.retrieve_session_metadata("s") == {"reward": 0.5}
        assert await storage.list_sessions() == ["s"]
        assert await storage.list_steps_for_session("s") == []

    async def test_a_session_is_listed_as_long_as_it_has_something(
        self, storage: StorageManager, tmp_path: Path
    ) -> None:
        file = tmp_path / "file"
        file.write_bytes(b"1")
        await storage.store_step_data("s", "t", attachments={"a.txt": "1"})
        await storage.store_attachments("s", {"b.txt": file})
        await storage.delete_step("s", "t")
        assert await storage.list_sessions() == ["s"]
        assert await storage.list_steps_for_session("s") == []
        await storage.delete_attachment("s", "b.txt")
        await storage.delete_attachment("s", "b.txt")
        assert await storage.list_sessions() == []
        await storage.store_step_data("s", "t", attachments={"a.txt": file})
        await storage.delete_attachment("s", "a.txt", "t")
        await storage.store_session_metadata("s-2", {})
        await storage.delete_session("s-2")
        assert await storage.list_sessions() == []
        assert await self.files(storage) == []

    async def test_a_bad_name_is_refused(self, storage: StorageManager) -> None:
        for bad in BAD_NAMES:
            for call in (
                storage.store_step_data("s", "t", "kept out", attachments={"a.txt": "1", bad: b""}),
                storage.store_attachments("s", {bad: b""}),
                storage.retrieve_attachment("s", bad),
                storage.delete_attachment("s", bad, "t"),
            ):
                with pytest.raises(InvalidDataError):
                    await call
        assert await self.files(storage) == []

    # --- writes that never replace ---------------------------------------------------------------------

    async def test_nothing_is_replaced(self, storage: StorageManager) -> None:
        async with storage.backend() as backend:
            if not backend.has_conditional_writes:
                with pytest.raises(StorageManagerError, match="never replaces"):
                    await storage.store_step_data("s", "t", "x", overwrite=False)
                assert await self.files(storage) == []
                return
        await storage.store_step_data("s", "t", *OLD, attachments={"a.txt": "old"}, overwrite=False)
        for call, path in (
            (storage.store_step_data("s", "t", OLD.html, overwrite=False), storage.url_for("s", "t", "html")),
            (
                storage.store_attachments("s", {"a.txt": "old"}, "t", overwrite=False),
                storage.url_for("s", "t", attachment="a.txt"),
            ),
        ):
            with pytest.raises(AlreadyExistsError) as caught:
                await call
            assert (caught.value.operation, caught.value.url) == ("store", path)
        assert await storage.retrieve_step_data("s", "t") == OLD
        await storage.store_session_metadata("s", {"n": 1}, overwrite=False)
        with pytest.raises(FileExistsError):
            await storage.store_session_metadata("s", {"n": 1}, overwrite=False)
        await storage.store_attachments("s", {"b.txt": "new"}, "t", overwrite=False)
        assert len(await self.files(storage)) == 7

    async def test_of_several_writers_one_succeeds(self, storage: StorageManager) -> None:
        async with storage.backend() as backend:
            if not backend.has_conditional_writes:
                return

        async def write(number: int) -> int | None:
            try:
                await storage.store_step_data("s", "t", metadata={"by": number}, overwrite=False)
            except AlreadyExistsError:
                return None
            return number

        winners = [number for number in await asyncio.gather(*map(write, range(8))) if number is not None]
        assert len(winners) == 1
        assert (await storage.retrieve_step_data("s", "t")).metadata == {"by": winners[0]}

    # --- listing and deleting -------------------------------------------------------------------------

    async def test_lists_are_sorted_and_contain_only_ids(self, storage: StorageManager) -> None:
        for name in reversed(NAMES):
            await storage.store_step_data(name, "t", metadata={})
            await storage.store_step_data("a", name, metadata={})
        for path in ("_hidden/t/metadata.json", ".hidden/t/metadata.json", "file", "a/_manifest.json", "a/_h/t.json"):
            await self.set(storage, f"{storage.url_for()}/{path}", b"{}")
        assert await storage.list_sessions() == NAMES
        assert [name async for name in storage.iter_sessions()] == NAMES
        assert await storage.list_steps_for_session("a") == sorted([*NAMES, "t"])
        assert await storage.list_steps_for_session("no") == []

    async def test_a_deletion_deletes_nothing_else(self, storage: StorageManager) -> None:
        for session in ("s", "s-1", "s1"):
            for step in ("t", "t-1", "t1"):
                await storage.store_step_data(session, step, "x", metadata={})
        await self.set(storage, f"{storage.url_for('s', 't')}/other/file", b"x")
        await storage.delete_step("s", "t")
        assert await storage.list_steps_for_session("s") == ["t-1", "t1"]
        await storage.delete_session("s1")
        assert await storage.list_sessions() == ["s", "s-1"]
        assert len(await self.files(storage)) == 2 * (2 + 3)

    async def test_deleting_the_last_step_deletes_the_session(self, storage: StorageManager) -> None:
        await storage.store_step_data("s", "t", "x")
        await storage.delete_step("s", "t")
        assert await storage.list_sessions() == []
        assert await self.files(storage) == []
        await storage.delete_step("s", "t")
        await storage.delete_session("s")

    # --- bad arguments --------------------------------------------------------------------------------

    @pytest.mark.parametrize("bad", BAD_IDS)
    async def test_a_bad_id_is_refused(self, storage: StorageManager, bad: str) -> None:
        calls: dict[str, list[Coroutine[Any, Any, object]]] = {
            "store": [storage.store_step_data(bad, "t", "x"), storage.store_step_data("s", bad, "x")],
            "retrieve": [storage.retrieve_step_data(bad, "t"), storage.retrieve_step_data("s", bad)],
            "list": [storage.list_steps_for_session(bad)],
            "delete": [storage.delete_step(bad, "t"), storage.delete_step("s", bad), storage.delete_session(bad)],
        }
        for operation, refused in calls.items():
            for call in refused:
                with pytest.raises(InvalidIdError) as caught:
                    await call
                assert caught.value.operation == operation
        assert await self.files(storage) == []

    async def test_nothing_of_a_step_with_bad_data_is_stored(self, storage: StorageManager) -> None:
        with pytest.raises(InvalidDataError, match=r"metadata\['a'\]\[0\]"):
            await storage.store_step_data("s", "t", "kept out", metadata={"a": [float("nan")]})
        assert await self.files(storage) == []

    # --- many steps, concurrency, other managers ------------------------------------------------------

    async def test_many_steps_are_stored_and_read_in_order(self, storage: StorageManager) -> None:
        ids = [(i, j) for i in range(3) for j in range(4)]
        steps = [Step(f"s-{i}", f"t{j}", StepData(*OLD[:3], {"at": [i, j]})) for i, j in ids]
        assert await storage.store_steps(steps, concurrency=5) == 12
        assert [step async for step in storage.iter_steps(concurrency=5)] == steps
        assert [step async for step in storage.iter_steps(["s-2", "no", "s-0"])] == steps[8:] + steps[:4]

    async def test_concurrent_writers_leave_one_value_per_component(self, storage: StorageManager) -> None:
        values = [StepData(c * 5000, c.encode() * 9000, {"c": c * 100}, {"c": c * 99}) for c in "abcdefgh"]
        await asyncio.gather(*(storage.store_step_data("s", "t", *value) for value in values))
        step = await storage.retrieve_step_data("s", "t")
        assert all(getattr(step, name) in [getattr(value, name) for value in values] for name in ALL_COMPONENTS)

    async def test_a_cancelled_store_writes_nothing_more(self, storage: StorageManager) -> None:
        for turns in range(8):
            task = asyncio.ensure_future(storage.store_step_data("s", f"t{turns}", *OLD))
            for _ in range(turns * turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            before = [await self.get(storage, path) for path in await self.files(storage)]
            await storage.store_step_data("other", "t", *NEW)
            await storage.delete_session("other")
            assert [await self.get(storage, path) for path in await self.files(storage)] == before

    async def test_other_managers_and_event_loops_see_the_same(self, storage: StorageManager) -> None:
        await storage.store_step_data("s", "t", *OLD)
        other = pickle.loads(pickle.dumps(storage))
        assert await asyncio.to_thread(asyncio.run, storage.retrieve_step_data("s", "t")) == OLD
        assert await asyncio.to_thread(asyncio.run, other.retrieve_step_data("s", "t")) == OLD
        await storage.aclose()
        assert await storage.list_sessions() == ["s"]

    async def test_check_leaves_no_files(self, storage: StorageManager) -> None:
        await storage.check()
        assert await self.files(storage) == []

    async def test_storage_info_and_urls(self, storage: StorageManager) -> None:
        names = {"uses_s3", "s3_bucket", "s3_region", "local_base_path", "effective_storage_type"}
        assert set(storage.get_storage_info()) == names
        assert storage.url_for("s", "t", "html") == f"{storage.url_for()}/s/t/observation.html"
