"""Run an S3 endpoint in memory: `python -m benchmarks.endpoint`. It is fast, so that the clients are measured.

It answers the requests of the contestants (PUT, GET, HEAD, DELETE, LIST, DeleteObjects, create bucket) and counts
them. It accepts every signature, and every bucket exists. A second port does the same over TLS.

It ends on Ctrl+C, or when its standard input ends. In the background, standard input ends at once;
`sleep 3600 | python -m benchmarks.endpoint &` prevents this. URLs below `/-/` control it:

    GET /-/requests                    return the number of answered requests, by kind, as JSON
    GET /-/latency?ms=20               from now on, wait this long before each answer
    GET /-/fill?bucket=b&prefix=p&sessions=1000&steps=1    add this many steps, with only metadata, without requests
"""

import argparse
import asyncio
import hashlib
import html
import json
import os
import re
import ssl
import sys
import tempfile
import threading
from collections import Counter
from contextlib import suppress
from functools import partial

import trustme

from benchmarks.connection import Answer, Connection, Request
from benchmarks.keys import Keys, Stored, list_page
from benchmarks.steps import FILENAMES, METADATA, folders

__all__ = ["main"]

_KEY = re.compile(rb"<Key>(.*?)</Key>", re.DOTALL)
_INTERNED = 256  # different bodies that are kept only once, even if many objects have them


class Server:
    """The buckets, the counts and the latency."""

    def __init__(self) -> None:
        self.buckets: dict[str, Keys] = {}
        self.counts: Counter[str] = Counter()
        self.latency = 0.0
        self._bodies: dict[bytes, tuple[bytes, str]] = {}

    def answer(self, request: Request) -> Answer:
        """Answer as S3 would."""
        if request.bucket == "-":
            return self._control(request)
        kind = self._kind(request)
        self.counts[kind] += 1
        return getattr(self, f"_{kind.lower()}")(request)  # type: ignore[no-any-return]

    def _kind(self, request: Request) -> str:
        if request.key:
            return request.method
        if request.method == "POST":
            return "DeleteObjects"
        return {"GET": "LIST", "HEAD": "BUCKET", "PUT": "BUCKET"}.get(request.method, "OTHER")

    def _keys(self, request: Request) -> Keys:
        return self.buckets.setdefault(request.bucket, Keys())

    def _put(self, request: Request) -> Answer:
        body, etag = self._interned(request.body)
        kept = {name: value for name, value in request.headers.items() if name.startswith(b"x-amz-checksum-")}
        checksums = "".join(f"{name.decode()}: {value.decode()}\r\n" for name, value in kept.items())
        content_type = request.headers.get(b"content-type", b"binary/octet-stream").decode()
        self._keys(request)[request.key] = Stored(body, etag, content_type, checksums)
        return Answer(headers=f'ETag: "{etag}"\r\n')

    def _interned(self, body: bytes) -> tuple[bytes, str]:
        """Return an equal body that is kept already, and its MD5.

        So many gigabytes of equal steps fit into memory, and cost one digest.
        """
        if body not in self._bodies:
            while len(self._bodies) >= _INTERNED:
                del self._bodies[next(iter(self._bodies))]
            self._bodies[body] = body, hashlib.md5(body, usedforsecurity=False).hexdigest()
        return self._bodies[body]

    def _get(self, request: Request) -> Answer:
        stored = self._keys(request).get(request.key)
        if stored is None:
            return _error("404 Not Found", "NoSuchKey")
        headers = f'ETag: "{stored.etag}"\r\nLast-Modified: Wed, 01 Jul 2026 00:00:00 GMT\r\nAccept-Ranges: bytes\r\n'
        wanted = re.fullmatch(rb"bytes=(\d+)-(\d*)", request.headers.get(b"range", b""))
        if wanted is None:
            checked = stored.checksums if b"x-amz-checksum-mode" in request.headers else ""
            return Answer("200 OK", stored.body, stored.content_type, headers + checked)
        start, size = int(wanted[1]), len(stored.body)
        end = min(int(wanted[2] or size - 1), size - 1)
        headers += f"Content-Range: bytes {start}-{end}/{size}\r\n"
        return Answer("206 Partial Content", stored.body[start : end + 1], stored.content_type, headers)

    _head = _get

    def _delete(self, request: Request) -> Answer:
        self._keys(request).pop(request.key, None)
        return Answer("204 No Content")

    def _deleteobjects(self, request: Request) -> Answer:
        keys, gone = self._keys(request), [html.unescape(key.decode()) for key in _KEY.findall(request.body)]
        for key in gone:
            keys.pop(key, None)
        quiet = b"<Quiet>true" in request.body
        rows = "" if quiet else "".join(f"<Deleted><Key>{html.escape(key)}</Key></Deleted>" for key in gone)
        return Answer(body=f'<?xml version="1.0"?>\n<DeleteResult>{rows}</DeleteResult>'.encode())

    def _list(self, request: Request) -> Answer:
        if "location" in request.query:
            return Answer(body=b"<LocationConstraint/>")
        return Answer(body=list_page(request.bucket, self._keys(request), request.query).encode())

    def _bucket(self, request: Request) -> Answer:
        return Answer(headers="x-amz-bucket-region: us-east-1\r\n")

    def _other(self, request: Request) -> Answer:
        return _error("501 Not Implemented", "NotImplemented")

    _post = _other

    def _control(self, request: Request) -> Answer:
        if request.key == "latency":
            self.latency = float(request.query["ms"]) / 1000
        elif request.key == "fill":
            self._fill(**request.query)
        elif request.key != "requests":
            return _other(request)
        return Answer(body=json.dumps(self.counts).encode(), content_type="application/json")

    def _fill(self, bucket: str, prefix: str, sessions: str, steps: str) -> None:
        stored = Stored(*self._interned(METADATA), "application/json", "")
        names = (f"{prefix}/{folder}/{FILENAMES[3]}" for folder in folders(int(sessions), int(steps)))
        self.buckets.setdefault(bucket, Keys()).update(dict.fromkeys(names, stored))


def _other(request: Request) -> Answer:
    return _error("404 Not Found", f"No{request.key}")


def _error(status: str, code: str) -> Answer:
    return Answer(
        status, f'<?xml version="1.0"?>\n<Error><Code>{code}</Code><Message>{code}</Message></Error>'.encode()
    )


def certify(directory: str) -> tuple[ssl.SSLContext, str]:
    """Return a TLS context with a new certificate for this machine, and the path of the certificate of its issuer."""
    authority, context = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    path = os.path.join(directory, "authority.pem")
    authority.cert_pem.write_to_path(path)
    return context, path


async def serve(host: str, port: int) -> None:
    """Serve until standard input ends. Print three lines: the URL, the URL with TLS, and the path of the CA file."""
    loop, ended, connect = asyncio.get_running_loop(), asyncio.Event(), partial(Connection, Server())

    def wait_for_end() -> None:
        while os.read(sys.stdin.fileno(), 1 << 12):  # sys.stdin.read() would delay the exit of the interpreter
            pass
        loop.call_soon_threadsafe(ended.set)

    with tempfile.TemporaryDirectory(prefix="endpoint-") as directory:
        context, authority = certify(directory)
        plain = await loop.create_server(connect, host, port, backlog=1024)
        secure = await loop.create_server(connect, host, 0, backlog=1024, ssl=context)
        ports = [listening.sockets[0].getsockname()[1] for listening in (plain, secure)]
        print(f"http://{host}:{ports[0]}\nhttps://{host}:{ports[1]}\n{authority}", flush=True)
        threading.Thread(target=wait_for_end, daemon=True).start()
        await ended.wait()


def main() -> None:
    """Run the command line of the endpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 selects a free one")
    options = parser.parse_args()
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(options.host, options.port))


if __name__ == "__main__":
    main()
