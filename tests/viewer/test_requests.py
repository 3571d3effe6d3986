"""Requests as bytes on a socket, which a browser or a client would have put right."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from storage_manager import StorageManager
from storage_manager.viewer import serve
from tests.support.viewed import store_small

Ask = Callable[..., Awaitable[tuple[int, str]]]
NO_IDS = ["..", "%2e%2e", ".%2e", "%00", "a%00", "a%2fb", "a%5cb", "x" * 129, "a::b", "%ff", "*", "a%0d%0ab"]
WITH_ID = ["/sessions/{}", "/sessions/{}/step_1/html", "/sessions/run-1/{}/html", "/api/sessions/{}"]
WITH_ID += ["/sessions/run-1/step_1/attachments/{}.txt", "/sessions/{}/attachments/a.txt", "/api/sessions/{}/metadata"]
WITH_ID += ["/sessions/run-1/attachments/{}", "/api/sessions/run-1/{}/attachments"]
EVIL = "Origin: http://evil.test\r\n"


@pytest.fixture
async def ask(tmp_path: Path) -> AsyncIterator[Ask]:
    """What the server answers to a request line and headers: the status, and the whole answer."""
    sm = StorageManager.from_url(f"{tmp_path}/base")
    await store_small(sm)
    async with serve(sm) as url:
        port = urlsplit(url).port

        async def send(path: str, method: str = "GET", headers: str = "Host: 127.0.0.1\r\n") -> tuple[int, str]:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n".encode())
            answer = (await reader.read()).decode()
            writer.close()
            await writer.wait_closed()
            return int(answer.split(" ", 2)[1]), answer

        yield send


@pytest.mark.parametrize("headers", ["", "Host:\r\n", "Host: evil.test\r\n", "Host: evil.test\r\nHost: 127.0.0.1\r\n"])
async def test_hosts(ask: Ask, headers: str) -> None:
    status, answer = await ask("/sessions/run-1/step_1/html", headers=headers)
    assert status in {400, 403}
    assert "<p>one" not in answer


async def test_the_host_is_the_header_not_the_address(ask: Ask) -> None:
    assert (await ask("http://127.0.0.1/", headers="Host: evil.test\r\n"))[0] == 403


@pytest.mark.parametrize("method", ["OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"])
@pytest.mark.parametrize("path", ["/", "/sessions/run-1", "/sessions/run-1/step_1/html", "/api/sessions/run-1"])
async def test_methods(ask: Ask, method: str, path: str) -> None:
    headers = f"Host: localhost\r\n{EVIL}Access-Control-Request-Method: GET\r\nContent-Length: 0\r\n"
    status, answer = await ask(path, method, headers)
    assert status == 405
    assert "access-control" not in answer.lower()


@pytest.mark.parametrize("path", ["/", "/sessions/run-1", "/sessions/run-1/step_1/html", "/api/sessions/run-1", "/no"])
async def test_no_other_site_is_allowed_to_read(ask: Ask, path: str) -> None:
    status, answer = await ask(path, headers=f"Host: localhost\r\n{EVIL}")
    assert status in {200, 404}
    assert "access-control" not in answer.lower()
    assert "Cross-Origin-Resource-Policy: same-origin" in answer
    assert "nosniff" in answer
    assert "Connection-Allowlist: (response-origin)" in answer


@pytest.mark.parametrize("name", NO_IDS)
@pytest.mark.parametrize("path", WITH_ID)
async def test_ids(ask: Ask, path: str, name: str) -> None:
    status, answer = await ask(path.format(name))
    assert status in {400, 404}
    assert "Traceback" not in answer
    assert "<p>one" not in answer


async def test_the_longest_id(ask: Ask) -> None:
    assert (await ask(f"/sessions/{'x' * 128}"))[0] == 404
