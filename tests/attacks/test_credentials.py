"""Services, libraries and tools that repeat the credentials that they were given."""

import asyncio
import copy
import errno
import gc
import json
import logging
import pickle
import re
import sys
import traceback
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

import fsspec
import pytest

from storage_manager import StorageManager, StorageManagerError
from storage_manager.config import arguments_of
from storage_manager.credentials import HIDDEN, Found, without_credentials
from storage_manager.errors import translate, translating
from storage_manager.export.target import Target
from storage_manager.importers import import_playwright_trace
from storage_manager.integrity import verify_session
from storage_manager.protocol import SessionFileSystem
from tests.support.answers import DELETED, XML, Answering, http, listing

KEY, SECRET, TOKEN = "PLANTEDKEY/<id>", "planted/secret+0123456789", "planted-token==&" * 8
PLANTED = [KEY, SECRET, TOKEN]
OPTIONS = {"key": KEY, "secret": SECRET, "token": TOKEN}
NAMES = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")


class Quoting:
    """An S3 service whose every answer is an error with this text in its message. It may miss some files."""

    missing: tuple[bytes, ...] = ()

    def __init__(self, *texts: str) -> None:
        self.message = "you sent " + ", ".join([*texts, *(quote(text, safe="") for text in texts)])

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = [int(line[15:]) for line in head.lower().splitlines() if line.startswith(b"content-length:")]
        await reader.readexactly(length[0] if length else 0)
        is_missing = any(name in head for name in self.missing)
        code, status = ("NoSuchKey", "404 Not Found") if is_missing else ("AccessDenied", "403 Forbidden")
        error = f"<Error><Code>{code}</Code><Message>{escape(self.message)}</Message></Error>"
        is_sts = head.startswith(b"POST / ")
        body = (f"<ErrorResponse>{error}</ErrorResponse>" if is_sts else error).encode()
        writer.write(f"HTTP/1.1 {status}\r\ncontent-type: application/xml\r\nconnection: close\r\n".encode())
        writer.write(b"content-length: %d\r\n\r\n" % len(body) + body)
        writer.close()


@pytest.fixture
async def quoting(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    service = Quoting(*getattr(request, "param", PLANTED))
    server = await asyncio.start_server(service.answer, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()


def given(how: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    client = dict(zip(NAMES, PLANTED, strict=True))
    if how == "variables":
        for name, value in client.items():
            monkeypatch.setenv(name.upper(), value)
    ways: dict[str, dict[str, Any]] = {"options": {**OPTIONS}, "client options": {"client_kwargs": client}}
    return ways.get(how, {})


async def errors_of(sm: StorageManager) -> list[StorageManagerError]:
    calls = (
        sm.store_step_data("s", "t", "x", metadata={}),
        sm.retrieve_step_data("s", "t"),
        sm.list_sessions(),
        sm.delete_session("s"),
        sm.check(),
    )
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(error, StorageManagerError) for error in found), found
    return [error for error in found if isinstance(error, StorageManagerError)]


def shown(errors: list[StorageManagerError], caplog: pytest.LogCaptureFixture) -> str:
    logged = [record for record in caplog.records if record.name.startswith("storage_manager")]
    texts = ["".join(traceback.format_exception(error)) + repr(error) + str(vars(error)) for error in errors]
    return "\n".join([*texts, *map(logging.Formatter().format, logged)])


@pytest.mark.parametrize("how", ["options", "client options", "variables"])
async def test_a_service_that_quotes_the_credentials(
    how: str, quoting: str, engine: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    options = given(how, monkeypatch)
    sm = StorageManager("a-bucket", s3_endpoint_url=quoting, storage_options=options)
    for same in (sm, pickle.loads(pickle.dumps(sm)), copy.copy(sm)):
        async with same:
            errors = await errors_of(same)
        text = shown(errors, caplog)
        assert "you sent" in text
        assert HIDDEN in text
        assert [secret for secret in PLANTED if secret in text or quote(secret, safe="") in text] == []
        assert all("grant s3:ListBucket" in str(error) for error in errors), "the advice is still there"


async def test_what_is_unreadable_is_logged_without_credentials(engine: str, caplog: pytest.LogCaptureFixture) -> None:
    """One component is refused, the others are missing: nothing is raised, and a warning says why."""
    service = Quoting(*PLANTED)
    service.missing = (b"/action.json", b"/metadata.json", b"/screenshot.png")
    server = await asyncio.start_server(service.answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with StorageManager("a-bucket", s3_endpoint_url=url, storage_options=OPTIONS) as sm:
        assert (await sm.retrieve_step_data("s", "t")).html is None
    server.close()
    await server.wait_closed()
    assert HIDDEN in caplog.text
    assert [secret for secret in PLANTED if secret in shown([], caplog)] == []


ID, LONG_TOKEN = "ASIA" + "Z7" * 8, "IQoJb3JpZ2luX2VjE" + "Ab/+9" * 60 + "=="


@pytest.mark.parametrize("quoting", [(ID, LONG_TOKEN)], indirect=True)
async def test_credentials_of_a_profile_are_known_by_their_shape(
    quoting: str, engine: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Only botocore reads them; they are Amazon's."""
    profile = tmp_path / "credentials"
    keys = zip(NAMES, (ID, "secret-secret-secret", LONG_TOKEN), strict=True)
    profile.write_text("[p]\n" + "".join(f"{name} = {value}\n" for name, value in keys))
    for name in NAMES:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(profile))
    monkeypatch.setenv("AWS_PROFILE", "p")
    async with StorageManager("a-bucket", s3_endpoint_url=quoting) as sm:
        text = shown(await errors_of(sm), caplog)
    assert "you sent" in text
    assert ID not in text
    assert LONG_TOKEN not in text


def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, credentials: str, config: str = "") -> None:
    """Let botocore find credentials in the two files of AWS alone."""
    for name in NAMES:
        monkeypatch.delenv(name.upper(), raising=False)
    for variable, text in {"AWS_SHARED_CREDENTIALS_FILE": credentials, "AWS_CONFIG_FILE": config}.items():
        (tmp_path / variable).write_text(text)
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setenv("AWS_PROFILE", "p")


async def test_credentials_that_botocore_found_are_known(
    quoting: str, engine: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They have no shape by which they could be known: another service than Amazon's made them."""
    profile = "[p]\n" + "".join(f"{name} = {value}\n" for name, value in zip(NAMES, PLANTED, strict=True))
    configured(tmp_path, monkeypatch, profile)
    async with StorageManager("a-bucket", s3_endpoint_url=quoting) as sm:
        text = shown(await errors_of(sm), caplog)
    assert "you sent" in text
    assert [secret for secret in PLANTED if secret in text or quote(secret, safe="") in text] == []


def process(path: Path) -> str:
    """A profile whose program makes other credentials each time, which end at once."""
    program = path / "program.py"
    ending = "(datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=1)).isoformat()"
    program.write_text(f"""
import datetime, json, pathlib
count = pathlib.Path({str(path / "count")!r})
number = int(count.read_text()) + 1 if count.exists() else 1
count.write_text(str(number))
keys = {{"AccessKeyId": f"key-of-number-{{number}}", "SecretAccessKey": f"secret-of-number-{{number}}"}}
print(json.dumps({{"Version": 1, **keys, "SessionToken": f"token-of-number-{{number}}", "Expiration": {ending}}}))
""")
    return f"[profile p]\ncredential_process = {sys.executable} {program}\n"


SENT = [f"{what}-of-number-{number}" for what in ("key", "secret", "token") for number in (1, 2, 3)]


@pytest.mark.parametrize("quoting", [SENT], indirect=True)
async def test_credentials_that_botocore_renews_are_known(
    quoting: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An error may quote those of the request before. Nothing is asked more often than to sign the requests."""
    configured(tmp_path, monkeypatch, "", process(tmp_path))
    async with StorageManager("a-bucket", s3_endpoint_url=quoting) as sm:
        for asked in (1, 2, 3):
            with pytest.raises(StorageManagerError, match="you sent") as raised:
                await sm.list_sessions()
            assert int((tmp_path / "count").read_text()) == asked + 1, "once for the client, and once to sign each"
            known = [text for text in SENT if 2 <= int(text[-1]) <= asked + 1]
            assert [text for text in known if text in shown([raised.value], caplog)] == []


TOKEN_OF_ROLE = "-".join(["not-a-jwt"] * 12)


@pytest.mark.parametrize("quoting", [(TOKEN_OF_ROLE,)], indirect=True)
async def test_a_token_that_is_exchanged_for_credentials_is_known(
    quoting: str, engine: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "token").write_text(TOKEN_OF_ROLE)
    role = f"role_arn = arn:aws:iam::1:role/x\nweb_identity_token_file = {tmp_path / 'token'}\n"
    configured(tmp_path, monkeypatch, "", f"[profile p]\nregion = us-east-1\n{role}")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", quoting)
    async with StorageManager("a-bucket", s3_endpoint_url=quoting) as sm:
        text = shown(await errors_of(sm), caplog)
    assert "you sent" in text
    assert TOKEN_OF_ROLE not in text


async def test_credentials_that_were_found_are_hidden_as_long_as_they_are_used() -> None:
    found = Found("s3://a-bucket/p")
    found.add(["found-key-123", None, "found-secret-1234"])
    assert without_credentials("found-key-123, found-secret-1234", "s3://a-bucket/p/s") == f"{HIDDEN}, {HIDDEN}"
    assert without_credentials("found-key-123", "s3://b-bucket") == "found-key-123"
    for number in range(10):
        found.add([f"key-of-number-{number}", f"secret-of-number-{number}", f"token-of-number-{number}"])
    assert len(found.secrets_for("s3://a-bucket/p")) < 30
    del found
    gc.collect()
    assert without_credentials("key-of-number-9", "s3://a-bucket/p") == "key-of-number-9"


FORMS: dict[str, Callable[[str], str]] = {
    "URL": quote,
    "URL, lower case": lambda text: re.sub("%..", lambda code: code[0].lower(), quote(text, safe="")),
    "URL, some": lambda text: quote(text, safe="+"),
    "URL twice": lambda text: quote(quote(text, safe=""), safe=""),
    "form": quote_plus,
    "XML": lambda text: escape(text, {'"': "&quot;"}),
    "JSON": json.dumps,
    "JSON with slashes": lambda text: json.dumps(text).replace("/", "\\/"),
    "Python": repr,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("secret", [SECRET, TOKEN, 'pass word/"+é<1>', "pass'word\\/+="])
def test_a_credential_is_hidden_as_libraries_write_it(form: str, secret: str) -> None:
    sm = StorageManager("a-bucket", storage_options={**OPTIONS, "secret": secret})
    text = without_credentials(f"you sent {FORMS[form](secret)}.", sm.url_for())
    assert text.strip("'\".").removeprefix("you sent ").strip("'\"") == HIDDEN


PROXY_PASSWORD = "proxypass/word99"


async def test_a_proxy_that_refuses_and_quotes(
    engine: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A refused CONNECT is an error of aiohttp that quotes the URL with its password; it stood in the traceback."""
    header = b64encode(f"user:{PROXY_PASSWORD}".encode()).decode()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 407 not {PROXY_PASSWORD} {header}\r\ncontent-length: 0\r\n".encode())
        writer.write(b"connection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    url = f"http://user:{quote(PROXY_PASSWORD, safe='')}@127.0.0.1:{server.sockets[0].getsockname()[1]}"
    monkeypatch.setenv("HTTPS_PROXY", url)
    async with StorageManager("a-bucket", s3_endpoint_url="https://s3.example.test", storage_options=OPTIONS) as sm:
        text = shown(await errors_of(sm), caplog)
    server.close()
    await server.wait_closed()
    assert [part for part in (PROXY_PASSWORD, quote(PROXY_PASSWORD, safe=""), header) if part in text] == []


async def test_a_log_record_about_a_deletion_quotes_nothing(engine: str, caplog: pytest.LogCaptureFixture) -> None:
    """The service refuses to delete what a system left in a session: that is no error, and a warning says it."""
    refusal = f"<Code>AccessDenied</Code><Message>you sent {SECRET}</Message>"
    errors = f"{XML}<DeleteResult><Error><Key>s/.DS_Store</Key>{refusal}</Error></DeleteResult>"
    service = Answering()
    service.answers = [listing("s/t/action.json"), DELETED, listing(), listing("s/.DS_Store")]
    service.answers += [http("200 OK", errors, content_type="application/xml")]
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with StorageManager("b", s3_endpoint_url=url, storage_options=OPTIONS) as sm:
        await sm.delete_step("s", "t")
    server.close()
    await server.wait_closed()
    assert "you sent [hidden]" in caplog.text
    assert SECRET not in caplog.text


async def test_a_log_record_of_verify_quotes_nothing(engine: str, caplog: pytest.LogCaptureFixture) -> None:
    """The right to list uploads is missing."""
    service = Answering()
    refusal = f"{XML}<Error><Code>AccessDenied</Code><Message>you sent {SECRET}</Message></Error>"
    service.answers = [listing("s/t/action.json"), http("403 Forbidden", refusal, content_type="application/xml")]
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with StorageManager("b", s3_endpoint_url=url, storage_options=OPTIONS) as sm:
        await verify_session(sm, "s")
    server.close()
    await server.wait_closed()
    assert "s3:ListBucketMultipartUploads" in caplog.text
    assert SECRET not in caplog.text


def test_the_options_of_an_export_are_hidden() -> None:
    target = Target("s3://exports/x", OPTIONS)
    assert without_credentials(f"you sent {SECRET}", f"{target.url}/part-0") == f"you sent {HIDDEN}"


@pytest.mark.parametrize("quoting", [("nothing",)], indirect=True)
async def test_an_error_that_quotes_nothing_is_chained(quoting: str, engine: str) -> None:
    async with StorageManager("a-bucket", s3_endpoint_url=quoting, storage_options=OPTIONS) as sm:
        for error in await errors_of(sm):
            assert error.__cause__ is not None
            assert "you sent nothing" in str(error)


def failing(where: str) -> Exception:
    """An error with a cause, a context or a note that quotes a credential."""
    error: Any = OSError(errno.EIO, "it failed")
    quoted = ValueError(f"the header {SECRET} is wrong")
    if where == "cause":
        error.__cause__ = ValueError("fine")
        error.__cause__.__cause__ = quoted
    elif where == "context":
        error.__context__ = quoted
    elif where == "note":
        error.__notes__ = [str(quoted)]
    return error  # type: ignore[no-any-return]


@pytest.mark.parametrize("where", ["cause", "context", "note"])
def test_a_cause_that_quotes_is_not_chained(where: str) -> None:
    sm = StorageManager("a-bucket", storage_options=OPTIONS)
    ours = translate(failing(where), "store", sm.url_for("s"))
    assert ours.__cause__ is None
    with pytest.raises(StorageManagerError) as raised, translating("store", sm.url_for("s")):
        raise failing(where)
    assert SECRET not in "".join(traceback.format_exception(raised.value)).replace("{SECRET}", "")
    assert translate(failing("nowhere"), "store", sm.url_for("s")).__cause__ is not None


def test_a_chain_that_is_a_circle_ends() -> None:
    sm, first, second = StorageManager("a-bucket", storage_options=OPTIONS), OSError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert translate(first, "store", sm.url_for("s")).__cause__ is first
    second.args = (SECRET,)
    assert translate(first, "store", sm.url_for("s")).__cause__ is None


def test_credentials_are_hidden_for_their_root_and_as_long_as_it_exists(tmp_path: Path) -> None:
    gc.collect()  # the managers of other tests, which have the same secret
    text = f"{SECRET} in {SECRET}"
    sm = StorageManager("only-here", s3_prefix="p", storage_options=OPTIONS)
    assert without_credentials(text, "s3://only-here/p/s/t") == f"{HIDDEN} in {HIDDEN}"
    assert without_credentials(text, "s3://not-here") == without_credentials(text, str(tmp_path)) == text
    del sm
    gc.collect()
    assert without_credentials(text, "s3://only-here/p") == text


@pytest.mark.parametrize(
    "options",
    [
        {"password": SECRET, "host": "planted"},
        {"account_key": SECRET},
        {"connection_string": SECRET},
        {"token": {"refresh": {"inner": SECRET}}},
        {"username": SECRET},
        {"client_options": {"auth": SECRET}},
    ],
)
def test_options_of_other_backends_are_secrets_by_their_names(options: Mapping[str, Any]) -> None:
    sm = StorageManager.from_url("memory://host", storage_options=options)
    text = without_credentials(f"530 {SECRET} planted refused", sm.url_for("s"))
    assert text == f"530 {HIDDEN} planted refused"


def test_a_short_credential_is_hidden_as_a_word_only() -> None:
    sm = StorageManager("a-bucket", storage_options={"key": "test", "secret": "abc"})
    text = "the key test is not the latest, key=test, abc"
    assert without_credentials(text, sm.url_for()) == f"the key {HIDDEN} is not the latest, key={HIDDEN}, abc"


@pytest.mark.parametrize("url", ["ftp://TOKENTOKEN@host/", "sftp://TOKENTOKEN@host/x", "http://TOKENTOKEN@host"])
def test_a_url_with_a_user_alone_is_refused(url: str) -> None:
    with pytest.raises(StorageManagerError, match=r"must not contain a user.*use storage_options") as raised:
        StorageManager.from_url(url)
    assert "TOKENTOKEN" not in "".join(traceback.format_exception(raised.value)).replace(url, "")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://u%3ATOKENTOKEN%40host/x",
        "ftp://u:TOKENTOKEN%40host/",
        "ftp://host/x;token=TOKENTOKEN",
        "ftp://TOKENTOKEN%40h/",
    ],
)
def test_a_url_with_an_encoded_user_is_refused(url: str) -> None:
    """It was taken for the name of a host, and shown."""
    with pytest.raises(StorageManagerError, match="must not contain a user") as raised:
        StorageManager.from_url(url)
    assert "TOKENTOKEN" not in str(raised.value)


async def test_an_import_from_a_url_does_not_show_it() -> None:
    with pytest.raises(StorageManagerError, match="path is a URL; download the file first") as raised:
        await import_playwright_trace(StorageManager.from_url("memory://x"), "https://u:TOKENTOKEN@host/trace.zip")
    assert "TOKENTOKEN" not in str(raised.value)


def test_the_container_of_azure_is_no_user() -> None:
    assert arguments_of("abfs://container@account.dfs.core.windows.net/x") is None
    assert arguments_of("memory://root/a@b") is None


async def test_no_json_of_a_filesystem_holds_a_credential(engine: str) -> None:
    options = {**OPTIONS, "client_kwargs": dict(zip(NAMES, PLANTED, strict=True)), "config_kwargs": {"read_timeout": 3}}
    async with StorageManager("a-bucket", storage_options=options) as sm:
        text = sm.async_fs.to_json() + json.dumps(sm.async_fs.to_dict(include_password=True))
    assert [secret for secret in PLANTED if secret in text or json.dumps(secret)[1:-1] in text] == []
    assert json.loads(sm.async_fs.to_json())["client_kwargs"] == {"region_name": "us-west-2"}
    again = fsspec.AbstractFileSystem.from_json(sm.async_fs.to_json())
    assert (type(again), again.config_kwargs["read_timeout"]) == (type(sm.async_fs), 3)


async def test_no_json_of_another_backend_holds_a_credential() -> None:
    sm = StorageManager.from_url("memory://x", storage_options={"password": SECRET})
    assert SECRET not in sm.async_fs.to_json()


def test_the_options_of_sm_hold_no_credential() -> None:
    """fsspec keeps every keyword, and tools show them; a pickle has them, so that a worker can read."""
    fs = fsspec.filesystem("sm", s3_bucket_name="a-bucket", storage_options=OPTIONS)
    assert [secret for secret in PLANTED if secret in f"{fs.storage_options}{vars(fs)}{fs.to_json()}"] == []
    assert fs.storage_options["storage_options"]["client_kwargs"] == {"region_name": "us-west-2"}
    worker = pickle.loads(pickle.dumps(fs))
    assert worker.storage.fs.key == KEY
    assert worker.storage_options == fs.storage_options
    assert SessionFileSystem(**fs.storage_options).storage.url_for() == fs.storage.url_for()
    assert SessionFileSystem(storage=StorageManager.from_url("memory://x")).storage_options == {}
