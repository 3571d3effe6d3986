"""The roots of the suite on S3: through moto, and at a real endpoint if one is named.

SM_TEST_S3_ENDPOINT, with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, adds a real S3 server;
`eval "$(python3 tests/support/ceph_s3.py start DIR)"` starts one. No test touches the user's own AWS configuration.
"""

import _thread
import os
import threading
import uuid
from collections.abc import Callable
from functools import cache
from io import BytesIO
from typing import Any, NamedTuple

import boto3
import pytest
from moto.moto_server.werkzeug_app import create_backend_app
from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

from storage_manager import StorageManager

REAL_ENDPOINT = os.environ.get("SM_TEST_S3_ENDPOINT")
REAL_KEYS = {name: os.environ.get(name, "") for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
MOTO_KEYS = {"AWS_ACCESS_KEY_ID": "testkey", "AWS_SECRET_ACCESS_KEY": "testsecret"}
needs_real_s3 = pytest.mark.skipif(
    not REAL_ENDPOINT, reason='eval "$(python3 tests/support/ceph_s3.py start DIR)" starts a server'
)
ENGINES = ("s3fs", "obstore")

Make = Callable[..., StorageManager]


class Request(NamedTuple):
    """One request as the server saw it."""

    method: str
    path: str
    query: str
    content_type: str
    keys: int = 0  # that a DeleteObjects names


def read_body(environ: dict[str, Any]) -> bytes:
    """Read the body of a request, and leave it in place for the app."""
    body: bytes = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    environ["wsgi.input"] = BytesIO(body)
    return body


class Recorder:
    """The fake S3 server, with a list of the requests.

    Conditional writes run one after the other: moto compares the ETag and stores the object in two steps, without a
    lock (moto/s3/responses.py, `put_object`), so of several writers at once more than one could succeed.
    """

    def __init__(self) -> None:
        self.app = create_backend_app("s3")
        self.requests: list[Request] = []
        self.writing = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        names = ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "CONTENT_TYPE")
        request = Request(*(environ.get(name, "") for name in names))
        if request.method == "POST" and "delete" in request.query:
            request = request._replace(keys=read_body(environ).count(b"<Key>"))
        self.requests.append(request)
        if request.method in ("PUT", "POST") and {"HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"} & environ.keys():
            read_body(environ)  # a slow client must not make the others wait
            with self.writing:
                return self.app(environ, start_response)
        return self.app(environ, start_response)


class Continuing(WSGIRequestHandler):
    """Answers `Expect: 100-continue` at once, which every PUT of botocore asks for."""

    protocol_version = "HTTP/1.1"


class Server(ThreadedWSGIServer):
    """A server with a thread for each connection. `threading` does not know it, so coverage does not measure it."""

    def process_request(self, request: Any, client_address: Any) -> None:
        _thread.start_new_thread(self.process_request_thread, (request, client_address))


def managers_at(endpoint: str, monkeypatch: pytest.MonkeyPatch, **keys: str) -> Make:
    """Return a function that makes managers of one new bucket. SM_S3_ENGINE names the engine."""
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    bucket = make_bucket(endpoint)
    return lambda **kwargs: StorageManager(**{"s3_bucket_name": bucket, "s3_endpoint_url": endpoint, **kwargs})


def make_bucket(endpoint: str) -> str:
    """Make a new bucket, and return its name. The keys are in the environment."""
    name = f"sessions-{uuid.uuid4().hex}"
    s3_client(endpoint).create_bucket(Bucket=name)
    return name


def s3_client(endpoint: str) -> Any:
    """Return boto3's client, which shares no code with the library. The keys are in the environment."""
    return _client(endpoint, os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])


@cache
def _client(endpoint: str, key: str, secret: str) -> Any:
    keys = {"aws_access_key_id": key, "aws_secret_access_key": secret}
    return boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **keys)
