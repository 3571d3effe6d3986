"""The places that the suite runs on: local disk, S3 through moto, and any real endpoint that is named.

SM_TEST_S3_ENDPOINT, with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, adds a real S3 server;
`eval "$(python tests/ceph_s3.py start DIR)"` starts one. No test touches the user's own AWS configuration.
"""

import asyncio
import logging
import os
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, NamedTuple

import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from storage_manager import StorageManager
from storage_manager.filesystems.s3fs import S3FileSystem

REAL_ENDPOINT = os.environ.get("SM_TEST_S3_ENDPOINT")
REAL_KEYS = {name: os.environ.get(name, "") for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
REAL = pytest.param(
    "real-s3",
    marks=pytest.mark.skipif(not REAL_ENDPOINT, reason='eval "$(python tests/ceph_s3.py start DIR)" starts a server'),
)

Make = Callable[..., StorageManager]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Neither SM_* nor AWS_* settings of whoever runs the suite reach a test."""
    for name in list(os.environ):
        if name.startswith(("SM_", "AWS_")):
            monkeypatch.delenv(name)
    nowhere = tmp_path_factory.mktemp("aws")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(nowhere / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(nowhere / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


class Request(NamedTuple):
    """One request as the server saw it."""

    method: str
    path: str
    query: str
    content_type: str


class Recorder:
    """The fake S3 server, writing down every request that reaches it."""

    def __init__(self) -> None:
        self.app = DomainDispatcherApplication(create_backend_app)
        self.requests: list[Request] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        names = ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "CONTENT_TYPE")
        self.requests.append(Request(*(environ.get(name, "") for name in names)))
        return self.app(environ, start_response)


class Continuing(WSGIRequestHandler):
    """Answers `Expect: 100-continue` at once, which every PUT of botocore asks for."""

    protocol_version = "HTTP/1.1"


@pytest.fixture(scope="session")
def moto_server() -> Iterator[tuple[str, Recorder]]:
    """moto in a thread, as its own ThreadedMotoServer does it, with the requests written down."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    recorder = Recorder()
    server = make_server("127.0.0.1", 0, recorder, threaded=True, request_handler=Continuing)
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
    """What moto was asked; `clear()` it before what is to be counted."""
    return moto_server[1].requests


def make_bucket(endpoint: str) -> str:
    """A new bucket, through s3fs; the keys are in the environment."""
    name = f"sessions-{uuid.uuid4().hex}"

    async def create() -> None:
        fs = S3FileSystem(asynchronous=True, endpoint_url=endpoint, client_kwargs={"region_name": "us-east-1"})
        await fs._call_s3("create_bucket", Bucket=name)

    asyncio.run(create())
    return name


@pytest.fixture
def moto(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Managers for one new bucket at moto."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testkey")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testsecret")
    bucket = make_bucket(moto_url)
    return lambda **kwargs: StorageManager(**{"s3_bucket_name": bucket, "s3_endpoint_url": moto_url, **kwargs})


@pytest.fixture
def real_s3(monkeypatch: pytest.MonkeyPatch) -> Make:
    """Managers for one new bucket at the real server."""
    for name, value in REAL_KEYS.items():
        monkeypatch.setenv(name, value)
    assert REAL_ENDPOINT
    bucket = make_bucket(REAL_ENDPOINT)
    return lambda **kwargs: StorageManager(**{"s3_bucket_name": bucket, "s3_endpoint_url": REAL_ENDPOINT, **kwargs})


@pytest.fixture(params=["local", "moto", REAL])
def make(request: pytest.FixtureRequest, tmp_path: object) -> Make:
    """A way to make managers of one empty place, for each backend."""
    if request.param == "local":
        return lambda **kwargs: StorageManager(**{"local_base_path": f"{tmp_path}/base", **kwargs})
    result: Make = request.getfixturevalue({"moto": "moto", "real-s3": "real_s3"}[request.param])
    return result


@pytest.fixture
async def sm(make: Make) -> AsyncIterator[StorageManager]:
    """A manager of an empty place, for each backend."""
    async with make() as manager:
        yield manager
