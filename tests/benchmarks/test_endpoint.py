"""The benchmarks' endpoint answers as S3 does, and counts: else what is measured there would say nothing."""

import json
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import obstore
import pytest
from obstore.store import S3Store
from sortedcontainers import SortedDict

from benchmarks.keys import Stored, list_page
from benchmarks.measure import Endpoint, endpoint

KEYS = ["a-/x", "a/1/x", "a/1/y", "a/2", "a/3/x", "b&<"]


@pytest.fixture(scope="module")
def server() -> Iterator[Endpoint]:
    with endpoint(None) as opened:
        yield opened
    assert not os.path.exists(str(opened.authority))


@pytest.fixture
def bucket(server: Endpoint, request: pytest.FixtureRequest) -> S3Store:
    where: dict[str, Any] = {"endpoint": server.url, "virtual_hosted_style_request": False, "region": "us-east-1"}
    keys = {"access_key_id": "k", "secret_access_key": "s"}
    name = request.node.name.replace("_", "-")[:63]
    return S3Store(name, client_options={"allow_http": True}, **where, **keys)


def test_an_object_is_stored_read_listed_and_deleted(server: Endpoint, bucket: S3Store) -> None:
    before = server.control("requests")
    for number in range(1001):
        obstore.put(bucket, f"s/{number}/x&<>", b"data")
    obstore.put(bucket, "s/1/part", b"0123456789", use_multipart=False)
    assert obstore.get(bucket, "s/1/part").bytes() == b"0123456789"
    assert obstore.get_range(bucket, "s/1/part", start=2, end=5) == b"234"
    assert len(obstore.list_with_delimiter(bucket, "s")["common_prefixes"]) == 1001
    paths = [row["path"] for row in obstore.list(bucket).collect()]
    assert len(paths) == 1002
    obstore.delete(bucket, paths)
    assert not obstore.list(bucket).collect()
    with pytest.raises(FileNotFoundError):
        obstore.get(bucket, "s/1/part")
    counted = server.control("requests") - before
    assert counted == {"PUT": 1002, "GET": 3, "LIST": 5, "DeleteObjects": 2}


def test_the_same_is_there_over_tls(server: Endpoint, bucket: S3Store) -> None:
    before = server.control("requests")
    where: dict[str, Any] = {**bucket.config, "endpoint": server.tls}
    secure = S3Store(**where, client_options={"root_certificate": Path(str(server.authority)).read_bytes()})
    obstore.put(secure, "a", b"data")
    assert obstore.get(bucket, "a").bytes() == b"data"
    assert server.control("requests") - before == {"PUT": 1, "GET": 1}
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib.request.urlopen(f"{server.tls}/-/requests")


@pytest.mark.parametrize("body", [b"", b"4\r\ndata\r\n3;x\r\n\r\n0\r\n"])
def test_a_body_may_come_in_chunks(server: Endpoint, body: bytes) -> None:
    address = urlsplit(str(server.url))
    with socket.create_connection((address.hostname, address.port)) as connected:
        connected.sendall(b"PUT /chunked/a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
        connected.sendall(b"0\r\n")
        connected.sendall(b"\r\n")
        assert connected.recv(15) == b"HTTP/1.1 200 OK"
    with urllib.request.urlopen(f"{server.url}/chunked/a") as answer:
        assert answer.read() == (b"data\r\n0" if body else b"")


def test_it_waits_as_it_is_told(server: Endpoint, bucket: S3Store) -> None:
    server.control("latency?ms=50")
    began = time.monotonic()
    obstore.put(bucket, "a", b"")
    assert time.monotonic() - began >= 0.05
    server.control("latency?ms=0")


def test_filling_makes_keys_without_requests(server: Endpoint, bucket: S3Store) -> None:
    before = server.control("requests")
    assert server.control("fill?bucket=filled&prefix=p&sessions=3&steps=2") == before
    with urllib.request.urlopen(f"{server.url}/filled/p/s000002/t000001/metadata.json") as answer:
        assert len(json.load(answer)["text"]) == 280


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({}, ["a-/x", "a/1/x", "a/1/y", "a/2", "a/3/x", "b%26%3C"]),
        ({"delimiter": "/"}, ["b%26%3C", "a-/", "a/"]),
        ({"prefix": "a/", "delimiter": "/"}, ["a/2", "a/1/", "a/3/"]),
        ({"prefix": "a/", "delimiter": "/", "max-keys": "2"}, ["a/2", "a/1/"]),
        ({"prefix": "a/", "delimiter": "/", "continuation-token": "ka/2"}, ["a/3/"]),
        ({"prefix": "a/", "delimiter": "/", "continuation-token": "pa/1/"}, ["a/2", "a/3/"]),
        ({"start-after": "a/1/y"}, ["a/2", "a/3/x", "b%26%3C"]),
        ({"prefix": "z"}, []),
    ],
)
def test_a_list_names(query: dict[str, str], named: list[str]) -> None:
    keys = SortedDict(dict.fromkeys(KEYS, Stored(b"", "", "", "")))
    page = list_page("bucket", keys, {"list-type": "2", "encoding-type": "url", **query})
    contents = [part.partition("</Key>")[0] for part in page.split("<Contents><Key>")[1:]]
    prefixes = [part.partition("</Prefix>")[0] for part in page.split("<CommonPrefixes><Prefix>")[1:]]
    assert contents + prefixes == named
    assert f"<KeyCount>{len(named)}</KeyCount>" in page
