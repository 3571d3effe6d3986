"""Fixtures: managers of an empty root on local disk, moto and a real S3 server if one is named; and a browser."""

import asyncio
import logging
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import fsspec.asyn
import pytest

from storage_manager import StorageManager
from storage_manager.backends.base import Backend
from tests.support import wants_thorough
from tests.support.answers import Answering, Answers
from tests.support.roots import (
    ENGINES,
    MOTO_KEYS,
    REAL_ENDPOINT,
    REAL_KEYS,
    Continuing,
    Make,
    Recorder,
    Request,
    Server,
    managers_at,
    needs_real_s3,
)

MEMORY = "/dev/shm"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--thorough`."""
    parser.addoption("--thorough", action="store_true", help="Also run the tests that are marked thorough.")


def pytest_configure() -> None:
    """Start the thread of fsspec here. It never ends, and coverage measures the code that it runs."""
    fsspec.asyn.get_loop()


# These tests are about the differences between the engines, so they always run with both.
BOTH_ENGINES = ("backends", "test_attachments", "test_conformance", "test_overwrite", "test_storage")


def _is_twin(item: pytest.Item) -> bool:
    """Return True for a test with s3fs that also runs with obstore, which is quicker, and is not about the engines."""
    path = item.path.relative_to(Path(__file__).parent).with_suffix("")
    params = item.callspec.params.values() if isinstance(item, pytest.Function) and hasattr(item, "callspec") else ()
    names = [name for value in params for name in (value if isinstance(value, tuple) else (value,))]
    strings = {name for name in names if isinstance(name, str)}
    return path.parts[0] not in BOTH_ENGINES and "s3fs" in strings and "obstore" not in strings


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out thorough tests, unless `--thorough`, `-m` or a test's own id asks for them."""
    for item in filter(_is_twin, items):
        item.add_marker(pytest.mark.thorough)
    if wants_thorough(config):
        return
    thorough = [item for item in items if item.get_closest_marker("thorough")]
    config.hook.pytest_deselected(items=thorough)
    items[:] = [item for item in items if not item.get_closest_marker("thorough")]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Switch coverage off during a thorough test, also in its processes: coverage takes a third of the time.

    The other tests cover every branch.
    """
    if item.get_closest_marker("thorough") is None:
        return (yield)
    trace, threads = sys.gettrace(), threading.gettrace()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"):
            patch.delenv(name, raising=False)
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]
        try:
            return (yield)
        finally:
            sys.settrace(trace)
            threading.settrace(threads)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry at once. test_base.py tests the real waits."""
    monkeypatch.setattr(Backend, "backoff_seconds", 0)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Remove the SM_* and AWS_* settings of the user who runs the suite."""
    for name in list(os.environ):
        if name.startswith(("SM_", "AWS_", "REQUESTS_CA_BUNDLE")):
            monkeypatch.delenv(name)
    nowhere = tmp_path_factory.mktemp("aws")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(nowhere / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(nowhere / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def base() -> Iterator[Path]:
    """A base directory that does not exist yet, in memory if possible, for tests that write much."""
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as scratch:
        yield Path(scratch) / "base"


@pytest.fixture(scope="session")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The module datasets, with its own cache and without telemetry. It is not offline: then it opens no fsspec URL."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("huggingface")))
        patch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
        patch.setenv("HF_UPDATE_DOWNLOAD_COUNTS", "0")
        import datasets  # noqa: PLC0415 (it reads the environment when it is imported)
    datasets.disable_progress_bars()
    return datasets


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Chromium. Without it, the tests that need it are skipped; in CI they fail."""
    path = shutil.which("chromium")
    if path is None:
        assert "CI" not in os.environ, "CI needs a browser: apt-get install chromium"
        pytest.skip("needs a browser: apt-get install chromium")
    return path


@pytest.fixture
def driver(chromium: str) -> Iterator[Any]:
    """A WebDriver of Selenium, with Chromium."""
    from selenium import webdriver  # noqa: PLC0415 - it takes half a second

    path = shutil.which("chromedriver")
    if path is None:
        assert "CI" not in os.environ, "CI needs a driver: apt-get install chromium-driver"
        pytest.skip("needs a driver: apt-get install chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--no-sandbox", "--headless=new", "--window-size=500,400"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(path))
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def moto_server() -> Iterator[tuple[str, Recorder]]:
    """moto in a thread, like its own ThreadedMotoServer, with a list of the requests."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    recorder = Recorder()
    server = Server("127.0.0.1", 0, recorder, Continuing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", recorder
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def moto_url(moto_server: tuple[str, Recorder]) -> str:
    """The endpoint of moto."""
    return moto_server[0]


@pytest.fixture
def moto_requests(moto_server: tuple[str, Recorder]) -> list[Request]:
    """The requests to moto. Call `clear()` before the requests that a test counts."""
    return moto_server[1].requests


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The engine of S3 that managers use by default."""
    monkeypatch.setenv("SM_S3_ENGINE", request.param)
    return str(request.param)


@pytest.fixture
def moto(moto_url: str, engine: str, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Managers for one new bucket at moto, with each engine."""
    return managers_at(moto_url, monkeypatch, **MOTO_KEYS)


@pytest.fixture
def real_s3(engine: str, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Managers for one new bucket at the real server, with each engine."""
    assert REAL_ENDPOINT
    return managers_at(REAL_ENDPOINT, monkeypatch, **REAL_KEYS)


@pytest.fixture
def local(tmp_path: Path) -> StorageManager:
    """A manager of an empty root on local disk, tmp_path / "base"."""
    return StorageManager(local_base_path=tmp_path / "base")


_S3 = [pytest.param(("moto", name), id=f"moto-{name}") for name in ENGINES]
_AGAIN = (needs_real_s3, pytest.mark.thorough)
# s3fs at the real server: tests/test_conformance.py. The engines differ only in the PUT and the GET of an object.
_REAL_S3 = [pytest.param(("real", "obstore"), id="real-obstore", marks=_AGAIN)]


@pytest.fixture(params=["local", *_S3, *_REAL_S3])
def make(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A function that makes managers of one empty root, for each backend and engine."""
    if request.param == "local":
        return lambda **kwargs: StorageManager(**{"local_base_path": f"{tmp_path}/base", **kwargs})
    server, engine = request.param
    monkeypatch.setenv("SM_S3_ENGINE", engine)
    if server == "moto":
        return managers_at(request.getfixturevalue("moto_url"), monkeypatch, **MOTO_KEYS)
    assert REAL_ENDPOINT
    return managers_at(REAL_ENDPOINT, monkeypatch, **REAL_KEYS)


@pytest.fixture
async def answered_by(moto: Make) -> AsyncIterator[Answers]:
    """A function that makes a manager, and the server that gives it these answers."""
    async with AsyncExitStack() as stack:

        async def make_answered(*answers: bytes) -> tuple[StorageManager, Answering]:
            answering = Answering()
            answering.answers += answers
            server = await asyncio.start_server(answering.serve, "127.0.0.1", 0)
            stack.push_async_callback(server.wait_closed)
            stack.callback(server.close)
            sm = moto(s3_endpoint_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            stack.push_async_callback(sm.aclose)
            return sm, answering

        yield make_answered


@pytest.fixture
async def sm(make: Make) -> AsyncIterator[StorageManager]:
    """A manager of an empty root, for each backend."""
    async with make() as manager:
        yield manager
