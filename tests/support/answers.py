"""A server on loopback that sends given answers, and answers of S3 for it."""

import asyncio
import re
from collections.abc import Awaitable, Callable

from storage_manager import StorageManager


class Answering:
    """A server that sends its answers one after another, and then the last one again.

    Attributes:
        asked: the head of each request.
    """

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.answers: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: *(\d+)", head.lower())
        await reader.readexactly(int(length[1]) if length else 0)
        self.asked.append(head)
        writer.write(self.answers[min(len(self.asked), len(self.answers)) - 1])
        writer.close()


def http(status: str, body: str, **headers: str) -> bytes:
    """Return an answer as bytes. Underscores in the names of headers become dashes."""
    lines = [f"HTTP/1.1 {status}", "connection: close", f"content-length: {len(body.encode())}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", body]).encode()


def listing(*keys: str, token: str | None = "", truncated: bool = False) -> bytes:
    """Return a page of ListObjectsV2."""
    rest = "<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>x</ETag><Size>1</Size>"
    rows = "".join(f"<Contents><Key>{key}</Key>{rest}</Contents>" for key in keys)
    next_token = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    tail = f"<IsTruncated>{str(truncated).lower()}</IsTruncated>{next_token}"
    xml = f"{XML}<ListBucketResult><Name>b</Name>{rows}{tail}</ListBucketResult>"
    return http("200 OK", xml, content_type="application/xml")


Answers = Callable[..., Awaitable[tuple[StorageManager, Answering]]]
XML = "<?xml version='1.0'?>\n"
DELETED = http("200 OK", f"{XML}<DeleteResult></DeleteResult>", content_type="application/xml")
