"""A proxy on loopback in front of an S3 server, which causes the faults of networks and services."""

import asyncio
import contextlib
import re
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import sha256

__all__ = ["FAULTS", "Message", "Proxy"]

HEADER_END = b"\r\n\r\n"


@dataclass
class Message:
    """An HTTP request or answer: its head and its body."""

    head: bytes
    body: bytes

    @property
    def is_bulk_delete(self) -> bool:
        return self.head.startswith(b"POST") and b"?delete" in self.head.split(b"\r\n", 1)[0]

    def encoded(self) -> bytes:
        """Return the message as bytes, with the present length of its body."""
        head = re.sub(rb"(?i)\r\n(content-length|transfer-encoding):[^\r]*", b"", self.head)
        return head[: -len(HEADER_END)] + b"\r\ncontent-length: %d" % len(self.body) + HEADER_END + self.body


async def receive(reader: asyncio.StreamReader, *, bodyless: bool = False) -> Message:
    """Return the next whole message of a connection. At its end, raise IncompleteReadError."""
    head = await reader.readuntil(HEADER_END)
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    if b"chunked" in head.lower() and length is None:
        body = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readuntil(b"\r\n")
        return Message(head, body)
    if bodyless or length is None:
        return Message(head, b"")
    return Message(head, await reader.readexactly(int(length[1])))


@dataclass
class Exchange:
    """One request with the connection of its client, and a function that forwards it to the server."""

    request: Message
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    forward: Callable[[Message], Awaitable[Message]]

    async def answer(self, message: Message) -> None:
        self.writer.write(message.encoded())
        await self.writer.drain()

    def reset(self) -> None:
        """Close with RST instead of FIN, as a crash or a firewall does."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()

    async def silence(self) -> None:
        """Send nothing until the client leaves."""
        await self.reader.read()


Fault = Callable[[Exchange], Awaitable[None]]


async def reset(exchange: Exchange) -> None:
    exchange.reset()


async def applied_then_reset(exchange: Exchange) -> None:
    await exchange.forward(exchange.request)
    exchange.reset()


async def stall(exchange: Exchange) -> None:
    await exchange.silence()


async def stalled_body(exchange: Exchange) -> None:
    """Send the headers and half of the body, and no more. Send nothing if the answer has no body."""
    answer = await exchange.forward(exchange.request)
    if answer.body:
        exchange.writer.write(answer.encoded()[: -(len(answer.body) + 1) // 2])
    await exchange.silence()


async def cut_body(exchange: Exchange) -> None:
    """End the connection in the middle of the body, or of the headers if there is no body."""
    answer = await exchange.forward(exchange.request)
    exchange.writer.write(answer.encoded()[: -(len(answer.body) + 3) // 2])
    await exchange.writer.drain()
    exchange.writer.close()


def flipped(data: bytes) -> bytes:
    """Return the data with one changed byte: the first of an XML document, which a parser sees; else the middle."""
    at = 0 if data.startswith(b"<?xml") else len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def refusal(status: str, code: str) -> Fault:
    """Return a fault: the service answers with an error, and the request is not applied."""
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>injected</Message></Error>'

    async def fault(exchange: Exchange) -> None:
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/xml\r\nx-amz-request-id: injected{HEADER_END.decode()}"
        await exchange.answer(Message(head.encode(), body.encode()))

    return fault


_SIGNED = re.compile(rb"\r\nx-amz-content-sha256: *([0-9a-f]{64})")


async def flipped_byte(exchange: Exchange) -> None:
    """Change a byte of the request, which S3 (but not moto) finds by the signature; without a body, of the answer."""
    request = exchange.request
    if request.body:
        request = Message(request.head, flipped(request.body))
    signed = _SIGNED.search(request.head.lower())
    if signed and signed[1] != sha256(request.body).hexdigest().encode():
        await refusal("400 Bad Request", "XAmzContentSHA256Mismatch")(exchange)
        return
    answer = await exchange.forward(request)
    if answer.body:
        answer = Message(answer.head, flipped(answer.body))
    await exchange.answer(answer)


async def garbage(exchange: Exchange) -> None:
    """Answer with the page of a captive portal, with status 200."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/html" + HEADER_END
    await exchange.answer(Message(head, b"<!doctype html><html><body><p>Please log in<br></body></html>"))


_OBJECT = re.compile(rb"<Object><Key>([^<]*)</Key></Object>")


def partial_deletion(reported: bool) -> Fault:
    """Return a fault: a bulk deletion leaves out its first key and answers 200, with or without an error for it."""

    async def fault(exchange: Exchange) -> None:
        request = exchange.request
        key = _OBJECT.search(request.body)
        assert key
        rest = request.body.replace(key[0], b"", 1)
        if _OBJECT.search(rest):
            await exchange.forward(Message(request.head, rest))
        error = b"<Error><Key>%s</Key><Code>AccessDenied</Code><Message>Access Denied</Message></Error>" % key[1]
        body = b'<?xml version="1.0"?>\n<DeleteResult>%s</DeleteResult>' % (error if reported else b"")
        await exchange.answer(Message(b"HTTP/1.1 200 OK\r\ncontent-type: application/xml" + HEADER_END, body))

    return fault


FAULTS: dict[str, Fault] = {
    "reset": reset,
    "applied, then reset": applied_then_reset,
    "stall": stall,
    "stalled body": stalled_body,
    "cut body": cut_body,
    "flipped byte": flipped_byte,
    "500": refusal("500 Internal Server Error", "InternalError"),
    "503 SlowDown": refusal("503 Slow Down", "SlowDown"),
    "429": refusal("429 Too Many Requests", "TooManyRequests"),
    "garbage 200": garbage,
    "partial deletion": partial_deletion(reported=True),
    "partial deletion, untold": partial_deletion(reported=False),
    "403": refusal("403 Forbidden", "AccessDenied"),
    "ExpiredToken": refusal("400 Bad Request", "ExpiredToken"),
    "NoSuchBucket": refusal("404 Not Found", "NoSuchBucket"),
    "301 wrong region": refusal("301 Moved Permanently", "PermanentRedirect"),
}


@dataclass
class Proxy:
    """A proxy that causes a fault in `times` requests, from the `first` on (counted from 0); an async context manager.

    A fault of deletions counts only bulk deletions. `only` counts only requests with this text in their first line.
    """

    upstream: str
    fault: str = ""
    first: int = 0
    times: float = 1
    only: str = ""
    seen: int = field(default=0, init=False)
    done: int = field(default=0, init=False)

    async def __aenter__(self) -> "Proxy":
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while not writer.transport.is_closing():
                    await self._exchange(await receive(reader), reader, writer)
        finally:
            writer.transport.abort()

    async def _exchange(self, request: Message, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        exchange = Exchange(request, reader, writer, self._forward)
        if self._is_next(request):
            self.done += 1
            await FAULTS[self.fault](exchange)
        else:
            await exchange.answer(await self._forward(request))

    def _is_next(self, request: Message) -> bool:
        if not self.fault or (self.fault.startswith("partial") and not request.is_bulk_delete):
            return False
        if self.only.encode() not in request.head.split(b"\r\n", 1)[0]:
            return False
        self.seen += 1
        return self.first < self.seen <= self.first + self.times

    async def _forward(self, request: Message) -> Message:
        host, port = self.upstream.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(request.encoded())
            return await receive(reader, bodyless=request.head.startswith(b"HEAD"))
        finally:
            writer.transport.abort()
