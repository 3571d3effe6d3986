"""Read HTTP/1.1 requests and send answers, for the endpoint of the benchmarks, with or without TLS."""

import asyncio
import math
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple, Protocol
from urllib.parse import parse_qsl, unquote

__all__ = ["Answer", "Connection", "Request"]

_END = b"\r\n0\r\n\r\n"  # the end of the last line and of a chunked body


class Request(NamedTuple):
    """One decoded request."""

    method: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[bytes, bytes]  # names in lower case
    body: bytes


class Answer(NamedTuple):
    """One answer. For a HEAD, only the length of the body is sent."""

    status: str = "200 OK"
    body: bytes = b""
    content_type: str = "application/xml"
    headers: str = ""


class Service(Protocol):
    """An object that answers requests; the answer is sent after `latency` seconds."""

    latency: float

    def answer(self, request: Request) -> Answer:
        """Return the answer to a request."""


class Connection(asyncio.Protocol):
    """The connection of one client. It handles one request at a time, because S3 clients do not pipeline."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.parts: list[bytes] = []
        self.missing = 0.0  # bytes until the current request is complete; infinite for a chunked body
        self.tail = b""  # the last bytes of the current request
        self.head: tuple[str, str, dict[bytes, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport, which sends the answers."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(high=1 << 22)

    def data_received(self, data: bytes) -> None:
        """Collect the bytes of a request, and answer it when its last byte has arrived."""
        if self.head is None:
            self.parts.append(data)
            data = self._begin(b"".join(self.parts))
            if self.head is None:
                return
            self.parts = []
        self.parts.append(data)
        self.missing -= len(data)
        self.tail = (self.tail + data[-len(_END) :])[-len(_END) :]
        if self.missing <= 0 or (self.missing == math.inf and self.tail == _END):
            self._end(b"".join(self.parts))

    def _begin(self, data: bytes) -> bytes:
        """Read the head if it is complete. Return the remaining bytes, which belong to the body."""
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self.parts = [data]
            return b""
        first, *lines = data[:end].split(b"\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        method, target, _ = first.decode("latin-1").split(" ")
        self.head, self.tail = (method, target, headers), b"\r\n"
        # Over TLS, botocore does not sign the body. It sends a checksum after it instead, and therefore uses chunks.
        self.missing = math.inf if b"transfer-encoding" in headers else int(headers.get(b"content-length", 0))
        if b"expect" in headers:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return data[end + 4 :]

    def _end(self, body: bytes) -> None:
        assert self.head is not None
        method, target, headers = self.head
        self.parts, self.head = [], None
        answer = self.service.answer(_decoded(method, target, headers, body))
        send = partial(self._send, answer, method != "HEAD")
        if self.service.latency:
            asyncio.get_running_loop().call_later(self.service.latency, send)
        else:
            send()

    def _send(self, answer: Answer, with_body: bool) -> None:
        if self.transport.is_closing():
            return
        head = f"HTTP/1.1 {answer.status}\r\n{answer.headers}x-amz-request-id: 0\r\nServer: benchmark\r\n"
        if answer.status[:3] != "204":
            head += f"Content-Type: {answer.content_type}\r\nContent-Length: {len(answer.body)}\r\n"
        self.transport.write(head.encode() + b"\r\n")
        if with_body and answer.body:
            self.transport.write(answer.body)


def _decoded(method: str, target: str, headers: dict[bytes, bytes], body: bytes) -> Request:
    path, _, query = target.partition("?")
    bucket, _, key = unquote(path).lstrip("/").partition("/")
    if b"transfer-encoding" in headers:
        body = _unchunked(body)
    if headers.get(b"x-amz-content-sha256", b"").startswith(b"STREAMING"):
        body = _unchunked(body)
    return Request(method, bucket, key, dict(parse_qsl(query, keep_blank_values=True)), headers, body)


def _unchunked(body: bytes) -> bytes:
    """Return the content of a chunked body, in the encoding of HTTP or `aws-chunked`.

    Each chunk is its size in hexadecimal digits and then its bytes. A chunk of size 0 ends the body.
    """
    parts: list[bytes] = []
    start = 0
    while True:
        line = body.index(b"\r\n", start)
        size = int(body[start:line].partition(b";")[0], 16)
        if not size:
            return b"".join(parts)
        parts.append(body[line + 2 : line + 2 + size])
        start = line + 2 + size + 2
