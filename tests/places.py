"""The places that the suite runs on: local disk, S3 through moto, and any real endpoint that is named.

SM_TEST_S3_ENDPOINT, with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, adds a real S3 server;
`eval "$(python tests/ceph_s3.py start DIR)"` starts one. No test touches the user's own AWS configuration.
"""

import asyncio
import os
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler

from storage_manager import StorageManager
from storage_manager.filesystems.s3fs import S3FileSystem

REAL_ENDPOINT = os.environ.get("SM_TEST_S3_ENDPOINT")
REAL_KEYS = {name: os.environ.get(name, "") for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
REAL = pytest.param(
    "real-s3",
    marks=pytest.mark.skipif(not REAL_ENDPOINT, reason='eval "$(python tests/ceph_s3.py start DIR)" starts a server'),
)

Make = Callable[..., StorageManager]


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


def make_bucket(endpoint: str) -> str:
    """A new bucket, through s3fs; the keys are in the environment."""
    name = f"sessions-{uuid.uuid4().hex}"

    async def create() -> None:
        fs = S3FileSystem(asynchronous=True, endpoint_url=endpoint, client_kwargs={"region_name": "us-east-1"})
        await fs._call_s3("create_bucket", Bucket=name)

    asyncio.run(create())
    return name
