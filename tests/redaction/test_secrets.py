"""A planted key id, secret, session token and password occur in nothing that the library shows."""

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from storage_manager import S3ConfigError, StorageManager, StorageManagerError
from storage_manager.export.target import target_url

KEY, SECRET, TOKEN, PASSWORD = "PLANTEDKEY", "planted/secret+", "planted-token==", "planted-password"
PLANTED = [KEY, SECRET, TOKEN, PASSWORD]
Plant = Callable[..., StorageManager]


@pytest.fixture(params=["variables", "options", "client options"])
def planted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Plant:
    """Managers that have the secrets, each way in which they can be given."""
    names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    client = dict(zip(names, (KEY, SECRET, TOKEN), strict=True))
    options: dict[str, Any] = {
        "variables": {},
        "options": {"key": KEY, "secret": SECRET, "token": TOKEN},
        "client options": {"client_kwargs": client},
    }[request.param]
    if request.param == "variables":
        for name, value in client.items():
            monkeypatch.setenv(name.upper(), value)
    return lambda **kwargs: StorageManager("a-bucket", storage_options=options, **kwargs)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """What was shown; at the end, with every log record of ours, searched for the secrets."""
    caplog.set_level(logging.DEBUG)
    texts: list[str] = []
    yield texts
    logged = [record for record in caplog.get_records("call") if record.name.startswith("storage_manager")]
    texts += [logging.Formatter().format(record) for record in logged]
    assert texts
    assert not [(secret, text) for text in texts for secret in PLANTED if secret in text]


def everything_shown(sm: StorageManager) -> list[str]:
    shown = (repr(sm), str(sm), sm.get_storage_info(), sm.storage_options, sm.url_for(), sm.url_for("s", "t", "html"))
    return [str(text) for text in shown]


async def failures(sm: StorageManager) -> list[str]:
    """The whole traceback text, with every error in the chain, of every operation."""
    calls: list[Coroutine[Any, Any, object]] = [
        sm.store_step_data("s", "t", "x", metadata={}),
        sm.retrieve_step_data("s", "t"),
        sm.list_sessions(),
        sm.delete_session("s"),
        sm.check(),
    ]
    results = await asyncio.gather(*calls, return_exceptions=True)
    errors = [error for error in results if isinstance(error, Exception)]  # an ETag may make a PUT succeed
    assert len(errors) >= len(calls) - 1
    assert all(isinstance(error, StorageManagerError) for error in errors)
    shown = (("".join(traceback.format_exception(error)), repr(error), str(vars(error))) for error in errors)
    return [text for texts in shown for text in texts]


ANSWERS = {
    "echo": "200 OK\r\ncontent-type: text/html",
    "echo as XML": "200 OK\r\ncontent-type: application/xml",
    "part of it": "206 Partial Content\r\netag: x\r\ncontent-range: bytes 0-1/2\r\ncontent-type: application/xml",
    "error page": "502 Bad Gateway\r\ncontent-type: text/html",
    "unknown key": "403 Forbidden\r\ncontent-type: application/xml",
}


@pytest.fixture(params=ANSWERS)
async def echo(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """A server that answers with the headers that it was sent, as debugging proxies do, or with an error of S3."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        body = b"<html><pre>%s</pre></html>" % head
        if request.param == "unknown key":
            body = b"<Error><Code>InvalidAccessKeyId</Code><Message>No such key</Message>"
            body += b"<AWSAccessKeyId>%s</AWSAccessKeyId></Error>" % KEY.encode()
        lines = f"HTTP/1.1 {ANSWERS[request.param]}\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(lines.encode() + body)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()


async def test_nothing_that_is_shown_holds_a_secret(planted: Plant, said: list[str]) -> None:
    said += everything_shown(planted())


async def test_no_error_holds_a_secret(planted: Plant, echo: str, said: list[str]) -> None:
    async with planted(s3_endpoint_url=echo) as sm:
        said += await failures(sm)


async def test_no_error_about_nobody_listening_holds_a_secret(planted: Plant, said: list[str]) -> None:
    async with planted(s3_endpoint_url="http://127.0.0.1:1") as sm:
        said += await failures(sm)


@pytest.mark.parametrize("name", ["key", "token"])
async def test_no_error_about_a_broken_secret_holds_it(name: str, said: list[str]) -> None:
    """A line end at the end of a secret, as files and variables have it, can be no header."""
    options = {"key": KEY, "secret": SECRET, "token": TOKEN}
    options[name] += "\n"
    sm = StorageManager("a-bucket", s3_endpoint_url="http://127.0.0.1:1", storage_options=options)
    said += [*everything_shown(sm), *await failures(sm)]
    await sm.aclose()


async def test_no_error_about_a_proxy_holds_its_password(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for proxy in (f"http://user:{PASSWORD}/x@127.0.0.1:1", f"http://user:{PASSWORD}@127.0.0.1:1"):
        monkeypatch.setenv("HTTP_PROXY", proxy)
        sm = StorageManager("a-bucket", s3_endpoint_url="http://h", storage_options={"key": KEY, "secret": SECRET})
        said += [*everything_shown(sm), *await failures(sm)]
        await sm.aclose()


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
@pytest.mark.parametrize("url", [f"http://user:{PASSWORD}@host", f"http://host/?t={PASSWORD}"])
def test_no_endpoint_of_the_environment_holds_a_secret(
    name: str, url: str, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, url)
    with pytest.raises(S3ConfigError, match="AWS_ENDPOINT_URL") as caught:
        StorageManager("a-bucket")
    said += ["".join(traceback.format_exception(caught.value))]


async def test_no_endpoint_of_a_profile_holds_a_secret(
    engine: str, said: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """botocore alone reads it, when a client is made: it is refused then, and the next time."""
    profile = tmp_path / "config"
    profile.write_text(f"[default]\nendpoint_url = http://user:{PASSWORD}@127.0.0.1:9\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(profile))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    sm = StorageManager("a-bucket")
    for _ in range(2):
        said += await failures(sm)
        with pytest.raises(S3ConfigError, match="AWS_ENDPOINT_URL"):
            await sm.list_sessions()


WRONG: list[Callable[[], object]] = [
    lambda: StorageManager("a-bucket", s3_endpoint_url=f"http://user:{PASSWORD}@host"),
    lambda: StorageManager("a-bucket", s3_endpoint_url=f"http://host/?token={PASSWORD}"),
    lambda: StorageManager("a-bucket", storage_options={"endpoint_url": f"http://user:{PASSWORD}@host"}),
    lambda: StorageManager("a-bucket", storage_options={"client_kwargs": {"endpoint_url": f"ftp://{PASSWORD}@host"}}),
    lambda: StorageManager("a-bucket", storage_options={"secret": SECRET}),
    lambda: StorageManager(f"{SECRET}@bucket"),
    lambda: StorageManager("a-bucket", s3_region_name=SECRET),
    lambda: StorageManager(prefer_s3=SECRET),  # type: ignore[arg-type]
    lambda: StorageManager.from_url(f"s3://{KEY}:{SECRET}@bucket/prefix"),
    lambda: StorageManager.from_url(f"s3://bucket/prefix?token={TOKEN}"),
    lambda: StorageManager.from_url(f"memory://user:{PASSWORD}@host"),
    lambda: StorageManager.from_url(f"memory://host?sig={TOKEN}"),
    lambda: StorageManager.from_url(f"http://user:{PASSWORD}/x@host"),
    lambda: StorageManager.from_url(f"ftp://host/x;password={PASSWORD}"),
    lambda: StorageManager.from_url(f"simplecache::s3://{KEY}:{SECRET}@bucket/x"),
    lambda: StorageManager.from_url(f"s3:{KEY}:{SECRET}@bucket/x"),
    lambda: StorageManager.from_url("s3:bucket/x"),
    lambda: StorageManager.from_url(f"ftp://user%3A{PASSWORD}@host"),
    lambda: target_url(StorageManager.from_url("memory://x"), f"ftp://user:{PASSWORD}@host/x"),
    lambda: target_url(StorageManager.from_url("memory://x"), f"s3://bucket/x?token={TOKEN}"),
]


@pytest.mark.parametrize("wrong", WRONG)
def test_no_refusal_holds_a_secret(wrong: Callable[[], object], said: list[str]) -> None:
    with pytest.raises(StorageManagerError) as caught:
        wrong()
    said += ["".join(traceback.format_exception(caught.value)), repr(caught.value)]
    said[:] = [text for text in map(without_source, said) if text]


def without_source(text: str) -> str:
    """A traceback without the lines of this file, which name the constants."""
    return "\n".join(line for line in text.splitlines() if "lambda" not in line)
