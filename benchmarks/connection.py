"""HTTP/1.1 as the endpoint of the benchmarks speaks it, with or without TLS below: requests in, answers out."""

import asyncio
import math
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple, Protocol
from urllib.parse import parse_qsl, unquote

__all__ = ["Answer", "Connection", "Request"]

_END = b"\r\n0\r\n\r\n"  # of a body in chunks, behind the line before it


class Request(NamedTuple):
    """One request, decoded."""

    method: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[bytes, bytes]  # names in lower case
    body: bytes


class Answer(NamedTuple):
    """One answer; a HEAD is told the length of the body, and gets none."""

    status: str = "200 OK"
    body: bytes = b""
    content_type: str = "application/xml"
    headers: str = ""


class Service(Protocol):
    """What answers requests, after so many seconds."""

    latency: float

    def answer(self, request: Request) -> Answer:
        """What it says."""


class Connection(asyncio.Protocol):
    """HTTP/1.1 for one client: a request at a time, as S3's clients do not pipeline."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.parts: list[bytes] = []
        self.missing = 0.0  # bytes until the request under way is complete; infinite for a body in chunks
        self.tail = b""  # the last bytes of the request under way
        self.head: tuple[str, str, dict[bytes, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where answers go."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(high=1 << 22)

    def data_received(self, data: bytes) -> None:
        """Collect a request; answer it when its last byte is here."""
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
        """Read the head if all of it is there; what is left belongs to the body."""
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self.parts = [data]
            return b""
        first, *lines = data[:end].split(b"\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        method, target, _ = first.decode("latin-1").split(" ")
        self.head, self.tail = (method, target, headers), b"\r\n"
        # botocore sends a checksum behind the body, and so chunks, where TLS lets it leave the body unsigned
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
    """The content of a body in chunks, HTTP's or `aws-chunked`: a size in hex, so many bytes, until a size of 0."""
    parts: list[bytes] = []
    start = 0
    while True:
        line = body.index(b"\r\n", start)
        size = int(body[start:line].partition(b";")[0], 16)
        if not size:
            return b"".join(parts)
        parts.append(body[line + 2 : line + 2 + size])
        start = line + 2 + size + 2
