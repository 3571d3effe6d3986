"""The synchronous manager and functions do what the asynchronous ones do, on local disk and on S3, without a loop."""

import asyncio
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from storage_manager import InvalidIdError, LocalStorageError, Step, StepData, StorageManagerError, storage, sync
from tests.support.children import run_python
from tests.support.roots import Make

DATA = StepData("<p>", b"\x89PNG", {"a": 1}, {"m": 1})


@pytest.fixture
def sm(make: Make) -> Iterator[sync.StorageManager]:
    """A synchronous manager of an empty place, for each backend."""
    asynchronous = make()
    manager = sync.StorageManager.__new__(sync.StorageManager)
    manager.asynchronous = asynchronous
    with manager:
        yield manager


@pytest.fixture
def local_sm(tmp_path: Path) -> sync.StorageManager:
    return sync.StorageManager(local_base_path=tmp_path / "base")


def test_steps_from_storing_to_deleting(sm: sync.StorageManager) -> None:
    sm.check()
    paths = sm.store_step_data("s", "t", *DATA, attachments={"a.txt": "text"})
    assert paths["html_path"] == sm.url_for("s", "t", "html")
    assert sm.retrieve_step_data("s", "t") == DATA
    assert sm.retrieve_attachment("s", "a.txt", "t") == b"text"
    assert sm.list_attachments("s", "t") == ["a.txt"]
    sm.store_session_metadata("s", {"goal": "g"})
    assert sm.retrieve_session_metadata("s") == {"goal": "g"}
    assert sm.list_sessions() == list(sm.iter_sessions()) == ["s"]
    assert list(sm.iter_steps(attachments=["a.txt"])) == [Step("s", "t", DATA, {"a.txt": b"text"})]
    assert set(sm.get_share_links("s", "t")) == set(paths) - {"a.txt"}
    with sm.fs.open(sm.url_for("s", "t", "html")) as file:
        assert file.read() == b"<p>"
    assert sm.get_storage_info() == sm.asynchronous.get_storage_info()
    sm.delete_attachment("s", "a.txt", "t")
    sm.delete_step("s", "t")
    sm.delete_session("s")
    assert sm.list_sessions() == []


def test_sessions_as_a_whole(sm: sync.StorageManager, tmp_path: Path) -> None:
    other = sync.StorageManager(local_base_path=tmp_path / "other")
    assert sm.store_steps(Step("s", f"t{number}", DATA) for number in range(20)) == 20
    assert sync.seal_session(sm, "s").endswith("_manifest.json")
    done = []
    assert sync.copy_sessions(sm, other, progress=lambda *args: done.append((*args, threading.current_thread()))) == 20
    assert done[-1] == (20, 20, threading.current_thread())
    assert sync.verify_session(other, "s") == []
    assert other.store_steps(step._replace(session_id="again") for step in sm.iter_steps()) == 20
    assert sync.sweep(other) == 0
    assert sync.purge_sessions(other, timedelta(0), dry_run=False) == ["again", "s"]


def test_files_for_others(local_sm: sync.StorageManager, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    pytest.importorskip("jinja2")
    local_sm.store_step_data("s", "t", *DATA)
    assert sync.export_parquet(local_sm, str(tmp_path / "parquet"), iter(["s"])) == 1
    assert len(sync.export_webdataset(local_sm, str(tmp_path / "shards"), local_sm.iter_sessions())) == 1
    assert Path(sync.render_session(local_sm, "s", tmp_path / "s.html")).stat().st_size > 1000


def test_the_manager_and_its_twin_see_the_same(local_sm: sync.StorageManager) -> None:
    local_sm.store_step_data("s", "t", *DATA)
    assert asyncio.run(local_sm.asynchronous.retrieve_step_data("s", "t")) == DATA


async def test_a_loop_that_runs_in_the_calling_thread_as_in_a_notebook(sm: sync.StorageManager) -> None:
    sm.store_step_data("s", "t", *DATA)
    assert [step.data for step in sm.iter_steps()] == [DATA]
    assert await sm.asynchronous.retrieve_step_data("s", "t") == DATA
    await sm.asynchronous.aclose()


def test_many_threads(sm: sync.StorageManager) -> None:
    def use(number: int) -> StepData:
        sm.store_step_data("s", f"t{number}", *DATA)
        return sm.retrieve_step_data("s", f"t{number}")

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(use, range(40))) == [DATA] * 40
    assert len(sm.list_steps_for_session("s")) == 40


def test_a_forked_child(sm: sync.StorageManager) -> None:
    sm.store_step_data("s", "parent", *DATA)
    pid = os.fork()
    if not pid:
        try:
            sm.store_step_data("s", "child", *DATA)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    assert sm.list_steps_for_session("s") == ["child", "parent"]


def test_errors_are_those_of_the_twin(local_sm: sync.StorageManager, tmp_path: Path) -> None:
    with pytest.raises(InvalidIdError, match="step_id"):
        local_sm.store_step_data("s", "../t")
    with pytest.raises(InvalidIdError):
        next(local_sm.iter_steps("s"))
    with pytest.raises(TypeError, match="steps must be"):
        local_sm.store_steps(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="store_step_data"):
        local_sm.store_step_data("s", "t", unknown=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="positional"):
        local_sm.store_steps([], [], [])  # type: ignore[call-arg]
    (tmp_path / "base" / "s").write_text("a file in the way")
    with pytest.raises(LocalStorageError) as caught:
        local_sm.store_step_data("s", "t", *DATA)
    assert caught.value.operation == "store"


def test_an_asynchronous_manager_is_refused(local_sm: sync.StorageManager) -> None:
    with pytest.raises(TypeError, match=r"must be a storage_manager\.sync\.StorageManager"):
        sync.seal_session(local_sm.asynchronous, "s")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="session_id"):
        sync.seal_session(local_sm)  # type: ignore[call-arg]


def test_a_redactor_that_waits_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    def redact(data: StepData) -> StepData:
        other.list_sessions()
        return data

    other = sync.StorageManager(local_base_path=tmp_path / "other")
    sm = sync.StorageManager(local_base_path=tmp_path / "base", redact=redact)
    with pytest.raises(StorageManagerError) as caught:
        sm.store_step_data("s", "t", *DATA)
    chain: list[Any] = [caught.value]
    while chain[-1].__cause__ or chain[-1].__context__:
        chain.append(chain[-1].__cause__ or chain[-1].__context__)
    assert "thread of its own event loop" in str(chain[-1])


def test_ways_to_make_one(tmp_path: Path) -> None:
    class Own(sync.StorageManager):
        pass

    own = Own.from_url(tmp_path / "base", max_concurrency=4)
    assert type(own) is Own
    assert type(own.asynchronous) is storage.StorageManager
    assert str(tmp_path / "base") in repr(own)
    again = pickle.loads(pickle.dumps(sync.StorageManager(local_base_path=tmp_path / "base")))
    again.store_step_data("s", "t", *DATA)
    assert own.retrieve_step_data("s", "t") == DATA
    with pytest.raises(AttributeError, match="no attribute 'unknown'"):
        sync.unknown  # type: ignore[attr-defined]  # noqa: B018
    again.close()
    again.close()
    assert again.list_sessions() == ["s"]


def test_help_is_about_this_class() -> None:
    assert "Resolve the configuration" in (sync.StorageManager.__init__.__doc__ or "")
    assert "s3_bucket_name" in str(sync.StorageManager.__init__.__signature__)  # type: ignore[attr-defined]
    assert "Return a manager" in (sync.StorageManager.from_url.__doc__ or "")


def test_importing_it_imports_nothing_heavy() -> None:
    code = "import sys, storage_manager.sync; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = set(run_python(code).split())
    assert loaded.isdisjoint({"aiohttp", "jinja2", "pyarrow", "dask", "pandas", "playwright", "s3fs", "selenium"})


ENDINGS: dict[str, Callable[[str], str]] = {
    "never closed": lambda line: line,
    "closed": lambda line: f"{line}; sm.close()",
    "an iterator is left open": lambda line: f"{line}; steps = sm.iter_steps(); next(steps)",
    "in a thread": lambda line: f"threading.Thread(target=lambda: exec({line!r})).start()",
    "in asyncio.run": lambda line: f"async def main(): {line}\nasyncio.run(main())",
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("make", ["local", ("moto", "s3fs")], indirect=True, ids=["local", "s3fs"])
@pytest.mark.thorough
def test_nothing_is_printed_at_the_end_of_a_script(ending: str, make: Make) -> None:
    made = make()
    info = made.get_storage_info()
    url = f"s3://{info['s3_bucket']}" if info["uses_s3"] else info["local_base_path"]
    options = {"s3_endpoint_url": made.storage_options["endpoint_url"]} if info["uses_s3"] else {}
    line = (
        "sm.store_step_data('s', 't', '<p>', b'PNG', {'a': 1}, {'m': 1}); assert sm.retrieve_step_data('s', 't').html"
    )
    code = f"""
import asyncio, sys, threading
from storage_manager import sync
sm = sync.StorageManager.from_url({url!r}, **{options!r})
{ENDINGS[ending](line)}
"""
    assert run_python(code) == ""
