"""The obstore engine: configured as botocore is, and what of it is not as with s3fs."""

import _thread
import asyncio
import ssl
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from botocore.exceptions import CredentialRetrievalError
from obstore.exceptions import GenericError

from storage_manager import S3ConfigError, S3OperationError, StepData, StorageManager
from storage_manager.backends import obstore
from storage_manager.backends.base import File
from storage_manager.backends.obstore_errors import translated
from storage_manager.errors import is_transient
from tests.support.answers import Answering, Answers, http, listing
from tests.support.roots import s3_client

Make = Callable[..., StorageManager]
DATA = StepData("<p>", b"\x89PNG", {"a": 1}, {"m": 1})
MD5 = "9dd4e461268c8034f5c8564e155c67a6"  # of b"x"
FOUND = http("200 OK", "x", etag=f'"{MD5}"')


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> str:
    """This one alone."""
    monkeypatch.setenv("SM_S3_ENGINE", "obstore")
    return "obstore"


async def html(sm: StorageManager) -> str | None:
    return (await sm.retrieve_step_data("s", "t", components=["html"], strict=True)).html


def test_what_is_not_installed_is_said_at_once(moto: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(S3ConfigError, match=r'not installed: pip install "agent-storage-manager\[obstore\]"'):
        moto()
    StorageManager(prefer_s3=False)  # which has no need of it


# --- configured as botocore is ----------------------------------------------------------------------------


async def test_the_environment_of_obstore_is_not_asked(answered_by: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint that is given goes before every variable; and requests are signed."""
    _, trap = await answered_by(FOUND)
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    sm, server = await answered_by(FOUND)
    assert await html(sm) == "x"
    assert b"Credential=testkey/" in server.asked[0]
    assert b"/us-west-2/s3/" in server.asked[0]
    assert trap.asked == []


@pytest.mark.parametrize("name", ["AWS_UNSIGNED_PAYLOAD", "AWS_S3_EXPRESS", "AWS_REQUEST_PAYER"])
async def test_variables_that_only_obstore_knows(
    answered_by: Answers, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """What is stored is signed with its SHA-256, whatever they say: nothing else compares it."""
    monkeypatch.setenv(name, "true")
    sm, server = await answered_by(FOUND)
    await sm.store_step_data("s", "t", "x")
    assert b"UNSIGNED-PAYLOAD" not in server.asked[0]
    assert b"request-payer" not in server.asked[0]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_no_proxy_but_that_of_botocore(
    moto: Make, answered_by: Answers, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """It knows no ALL_PROXY, and proxies that are given go before those of the environment."""
    shown, proxy = await answered_by(FOUND)
    for name in ("ALL_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(name, shown.storage_options["endpoint_url"])
    asked, server = await answered_by(FOUND)
    url = asked.storage_options["endpoint_url"].replace("127.0.0.1", host)
    options = {"config_kwargs": {"proxies": {"https": "http://127.0.0.1:9"}}}
    assert await html(moto(s3_endpoint_url=url, storage_options=options)) == "x"
    assert [len(server.asked), proxy.asked] == [1, []]


async def test_certificates_that_are_missing_are_no_missing_component(moto: Make, tmp_path: Path) -> None:
    sm = moto(storage_options={"client_kwargs": {"verify": str(tmp_path / "none.pem")}})
    with pytest.raises(S3ConfigError, match="AWS_CA_BUNDLE"):
        await sm.retrieve_step_data("s", "t")


async def test_nobody_signs_who_is_anonymous(moto: Make, answered_by: Answers) -> None:
    """And what is not signed is compared with its ETag."""
    shown, server = await answered_by(http("200 OK", "", etag=f'"{MD5}"'), http("200 OK", "y", etag=f'"{MD5}"'))
    sm = moto(s3_endpoint_url=shown.storage_options["endpoint_url"], storage_options={"anon": True})
    with pytest.raises(S3OperationError, match="changed on their way"):
        await sm.store_step_data("s", "t", "z")
    assert not any(b"authorization" in head.lower() for head in server.asked)


PROCESS = """
import datetime, json, pathlib, sys
count = pathlib.Path(sys.argv[1])
count.write_text(count.read_text() + "I" if count.exists() else "I")
until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=5)
keys = {"AccessKeyId": "KEY" + count.read_text(), "SecretAccessKey": "s", "SessionToken": "t"}
print(json.dumps({"Version": 1, "Expiration": until.isoformat(), **keys}))
"""


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moto_url: str) -> str:
    """An AWS profile whose credentials come from a program, and end in five minutes."""
    (tmp_path / "keys.py").write_text(PROCESS)
    program = f"{sys.executable} {tmp_path / 'keys.py'} {tmp_path / 'count'}"
    (tmp_path / "config").write_text(f"[profile mine]\ncredential_process = {program}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    return "mine"


async def test_credentials_are_renewed_before_they_end(
    answered_by: Answers, moto: Make, profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(obstore, "_KEPT", timedelta())  # ask botocore before every request
    shown, server = await answered_by(FOUND)
    sm = moto(s3_endpoint_url=shown.storage_options["endpoint_url"], storage_options={"profile": profile})
    for _ in range(2):
        assert await html(sm) == "x"
    used = [head.partition(b"Credential=")[2].partition(b"/")[0].decode() for head in server.asked]
    assert len(set(used)) == 2
    assert all(key.startswith("KEYI") for key in used)
    assert all(b"x-amz-security-token: t" in head.lower() for head in server.asked)


async def test_two_first_requests_open_one_store(
    answered_by: Answers, moto: Make, profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the credentials take a while."""
    opened, store = list[str](), obstore.S3Store
    monkeypatch.setattr(obstore, "S3Store", lambda bucket, **options: opened.append(bucket) or store(bucket, **options))
    shown, _ = await answered_by(FOUND)
    sm = moto(s3_endpoint_url=shown.storage_options["endpoint_url"], storage_options={"profile": profile})
    assert await asyncio.gather(html(sm), html(sm)) == ["x", "x"]
    assert len(opened) == 1


async def test_credentials_that_cannot_be_renewed(moto: Make, profile: str, tmp_path: Path) -> None:
    (tmp_path / "keys.py").write_text("raise SystemExit('out of keys')")
    with pytest.raises(S3ConfigError, match="out of keys") as caught:
        await moto(storage_options={"profile": profile}).retrieve_step_data("s", "t")
    assert type(caught.value.__cause__).__name__ == "CredentialRetrievalError"


async def test_renewal_that_fails_later_is_told_as_what_it_is(
    answered_by: Answers, moto: Make, profile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """obstore passes on only the text of an exception, and the engine raises the exception itself."""
    monkeypatch.setattr(obstore, "_KEPT", timedelta())  # ask botocore before every request
    shown, _ = await answered_by(FOUND)
    sm = moto(s3_endpoint_url=shown.storage_options["endpoint_url"], storage_options={"profile": profile})
    assert await html(sm) == "x"
    (tmp_path / "keys.py").write_text("raise SystemExit('no keys today')")
    with pytest.raises(S3ConfigError, match=r"no keys today\s+\(correct the credentials") as caught:
        await html(sm)
    assert isinstance(caught.value.__cause__, CredentialRetrievalError)


async def test_what_obstore_cannot_do_is_refused(moto: Make) -> None:
    with pytest.raises(S3ConfigError, match=r"\['ACL'\].*s3_engine='s3fs'"):
        await moto(storage_options={"s3_additional_kwargs": {"ACL": "public-read"}}).retrieve_step_data("s", "t")
    for name, value in {"client_cert": "cert.pem", "signature_version": "s3"}.items():
        with pytest.raises(S3ConfigError, match=rf"\['{name}'\]: use s3_engine='s3fs'"):
            await moto(storage_options={"config_kwargs": {name: value}}).retrieve_step_data("s", "t")
    proxies = {"http": "http://user:planted@:x"}
    with pytest.raises(S3ConfigError, match="proxy") as caught:
        await moto(storage_options={"config_kwargs": {"proxies": proxies}}).retrieve_step_data("s", "t")
    assert "planted" not in "".join(traceback.format_exception(caught.value))
    with pytest.raises(S3ConfigError, match="directory buckets need s3_engine='s3fs'"):
        await StorageManager("b--usw2-az1--x-s3").retrieve_step_data("s", "t")


async def test_options_of_each_request(moto: Make, answered_by: Answers) -> None:
    shown, server = await answered_by(http("200 OK", "", etag=f'"{MD5}"'))
    encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "key", "StorageClass": "GLACIER"}
    options = {"s3_additional_kwargs": encryption, "requester_pays": True, "config_kwargs": {"read_timeout": None}}
    sm = moto(s3_endpoint_url=shown.storage_options["endpoint_url"], storage_options=options)
    await sm.store_step_data("s", "t", "x")
    head = server.asked[0].lower()
    for line in (b"encryption: aws:kms", b"kms-key-id: key", b"storage-class: glacier", b"request-payer: requester"):
        assert line in head


async def test_requests_go_through_a_proxy(moto: Make, answered_by: Answers) -> None:
    shown, proxy = await answered_by(FOUND)
    options = {"config_kwargs": {"proxies": {"http": shown.storage_options["endpoint_url"]}}}
    assert await html(moto(s3_endpoint_url="http://s3.example.com", storage_options=options)) == "x"
    assert proxy.asked[0].startswith(b"GET http://s3.example.com/")


@pytest.fixture
async def tls(tmp_path: Path) -> AsyncIterator[tuple[str, Answering]]:
    """A server with a certificate of an authority of its own, whose ETag is that of another body."""
    authority, answering = trustme.CA(), Answering()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    answering.answers = [http("200 OK", "y", etag=f'"{MD5}"')]
    server = await asyncio.start_server(answering.serve, "127.0.0.1", 0, ssl=context)
    yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", answering
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("engine", ["s3fs", "obstore"])
async def test_tls_is_verified_and_trusted(
    moto: Make, tls: tuple[str, Answering], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    """With the authority that is named, or where that is switched off. What TLS protects obstore does not compare."""
    monkeypatch.setenv("SM_S3_ENGINE", engine)
    url, server = tls
    if engine == "s3fs":
        server.answers = [FOUND]
    for verify in (str(tmp_path / "authority.pem"), False):
        sm = moto(s3_endpoint_url=url, storage_options={"client_kwargs": {"verify": verify}})
        assert await html(sm) == {"s3fs": "x", "obstore": "y"}[engine]
    assert len(server.asked) == 2
    with pytest.raises(S3OperationError, match=r"SSL validation failed.*(UnknownIssuer|unable to get local issuer)"):
        await html(moto(s3_endpoint_url=url))


# --- what is read and listed ------------------------------------------------------------------------------


async def test_an_etag_that_is_no_md5_is_found_out_once(answered_by: Answers) -> None:
    """As with a key of KMS: what is read alike twice has not changed on its way."""
    sm, server = await answered_by(http("200 OK", "y", etag=f'"{MD5}"', x_amz_server_side_encryption="aws:kms"))
    assert [await html(sm), len(server.asked)] == ["y", 2]
    assert [await html(sm), len(server.asked)] == ["y", 3]


async def test_bytes_that_are_read_twice_alike_are_accepted(
    answered_by: Answers, caplog: pytest.LogCaptureFixture
) -> None:
    """ETags are then no MD5 at this service. It is said once, and they are not compared any more."""
    sm, server = await answered_by(http("200 OK", "y", etag=f'"{MD5}"'))
    assert [await html(sm), len(server.asked)] == ["y", 3]  # one by obstore, a second and its second half by s3fs
    assert [await html(sm), len(server.asked)] == ["y", 4]
    assert [record.message for record in caplog.records] == [caplog.records[0].message]
    assert "is not the MD5 of its bytes" in caplog.text


async def test_bytes_that_always_change_alike_are_not_accepted(answered_by: Answers) -> None:
    """The second half, which is read alone, shows that something on the way changes them."""
    whole, half = http("200 OK", "yx", etag=f'"{MD5}"'), http("206 Partial", "y", etag=MD5, content_range="bytes 1-1/2")
    sm, server = await answered_by(*[whole, whole, half] * 3)
    with pytest.raises(S3OperationError, match="changed on their way"):
        await html(sm)
    assert len(server.asked) == 9


async def test_a_refusal_that_may_pass_is_tried_three_times(answered_by: Answers) -> None:
    """And not by obstore as well."""
    sm, server = await answered_by(http("503 Slow Down", "<Error><Code>SlowDown</Code></Error>"))
    for call, asked in ((html(sm), 3), (sm.store_step_data("s", "t", "x"), 6), (sm.list_sessions(), 9)):
        with pytest.raises(S3OperationError, match="SlowDown"):
            await call
        assert len(server.asked) == asked


async def test_a_long_body_has_time(moto: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The read timeout grows with the size of the body, because obstore's includes the time to send it."""
    timeouts, store = list[timedelta](), obstore.S3Store

    def opening(bucket: str, **options: Any) -> Any:
        timeouts.append(options["client_options"]["read_timeout"])
        return store(bucket, **options)

    monkeypatch.setattr(obstore, "S3Store", opening)
    sm = moto()
    for size in (2**20 - 1, 2**20, 5 * 2**20):
        await sm.store_step_data("s", "t", screenshot_bytes=bytes(size))
    assert [timeout / timeouts[0] for timeout in timeouts] == [1, 2, 8]


async def test_what_is_deleted_is_told_from_what_is_not_there(moto: Make, caplog: pytest.LogCaptureFixture) -> None:
    """And an object that is called as a session is none of it, though its marker looks like it."""
    caplog.set_level("INFO", "storage_manager")
    sm = moto()
    bucket, client = sm.get_storage_info()["s3_bucket"], s3_client(sm.storage_options["endpoint_url"])
    await sm.store_step_data("s", "t", *DATA)
    for key in ("s/", "s"):
        client.put_object(Bucket=bucket, Key=key)
    await sm.delete_session("s")
    assert caplog.records == []
    assert [row["Key"] for row in client.list_objects_v2(Bucket=bucket)["Contents"]] == ["s"]
    await sm.delete_session("s")
    assert len(caplog.records) == 1


async def test_keys_that_obstore_has_no_name_for(moto: Make) -> None:
    """Others' empty names and directories are listed past, and deleted; what lies beside them stays."""
    sm = moto()
    await sm.store_step_data("s", "t", *DATA)
    bucket, client = sm.get_storage_info()["s3_bucket"], s3_client(sm.storage_options["endpoint_url"])
    for key in ("s/", "s/t/", "s/u//x", "s/.", "s/v/../x", "/x"):
        client.put_object(Bucket=bucket, Key=key)
    client.put_object(Bucket=bucket, Key="s", Body=b"mine")
    assert await sm.list_sessions() == ["s"]
    assert set(await sm.list_steps_for_session("s")) >= {"t", "u"}
    await sm.delete_session("s")
    left = client.list_objects_v2(Bucket=bucket)
    assert [row["Key"] for row in left["Contents"]] == ["/x", "s"]


@pytest.mark.parametrize("key", ["s/u//x", "/x", "s/../x", "s/.", "s/x/", "s/a\x01b"])
async def test_a_key_that_obstore_cannot_name(moto: Make, key: str) -> None:
    """obstore refuses `a//b` and reads `x` if asked for `/x`. Such keys are stored and read through s3fs."""
    sm = moto()
    path = f"{sm.url_for()}/{key}"
    await sm.async_fs.write_files(
        [File(f"{sm.url_for()}/x", b"other", "text/plain"), File(path, b"found", "text/plain")]
    )
    assert await sm.async_fs.read_files([path]) == [b"found"]
    assert await sm.async_fs.read_files([f"{sm.url_for()}/x"]) == [b"other"]


async def test_a_prefix_is_taken_literally(moto: Make) -> None:
    """A parser of URLs would end the key at `#`, and four components would be one."""
    sm = moto(s3_prefix="a#b/c%20d")
    await sm.store_step_data("s", "t", *DATA)
    assert await sm.retrieve_step_data("s", "t") == DATA
    assert [await sm.list_sessions(), await sm.list_steps_for_session("s")] == [["s"], ["t"]]
    await sm.delete_session("s")
    assert await moto(s3_prefix="a#b").list_sessions() == []


async def test_a_listing_that_is_cut_without_a_token(answered_by: Answers) -> None:
    """obstore's own listing would end there, as if nothing was missing."""
    sm, _ = await answered_by(listing("s/t/metadata.json", token=None, truncated=True))
    with pytest.raises(S3OperationError, match="truncated, without a token"):
        await sm.list_sessions()


async def test_the_rest_of_fsspec_is_there(moto: Make) -> None:
    sm = moto()
    await sm.store_step_data("s", "t", *DATA)
    fs, url = sm.async_fs, sm.url_for("s", "t", "html")
    assert await fs._exists(url)
    assert await fs._cat_file(url, start=1) == b"p>"
    assert (await fs._info(url))["size"] == 3
    assert len(await fs._find(sm.url_for())) == 4
    await fs._pipe_file(url, b"new")
    await fs._cp_file(url, f"{url}.copy")
    await fs._rm_file(url)
    assert await fs._cat_file(f"{url}.copy") == b"new"


async def test_every_way_of_fsspec_leads_to_the_same_place(moto: Make) -> None:
    """obstore's own would go to Amazon, with the credentials of the environment."""
    sm = moto()
    await sm.store_step_data("s", "t", *DATA)
    fs, url = sm.async_fs, sm.url_for("s", "t", "html")
    assert await fs._cat_ranges([url, url], [0, -2], [2, None]) == [b"<p", b"p>"]
    file = await fs.open_async(url, "rb")
    assert await file.read() == b"<p>"
    await file.close()
    with pytest.raises(OSError, match="version"):
        await fs._cat_file(url, version_id="none")


async def test_names_of_elsewhere_are_not_listed(answered_by: Answers) -> None:
    found = "<CommonPrefixes><Prefix>other/x/</Prefix></CommonPrefixes><IsTruncated>false</IsTruncated>"
    sm, _ = await answered_by(http("200 OK", f"<ListBucketResult><Name>b</Name>{found}</ListBucketResult>"))
    with pytest.raises(S3OperationError, match="not below the directory"):
        await sm.list_steps_for_session("s")


@pytest.mark.parametrize("session", ["redirect", "Timeout"])
async def test_an_id_is_no_reason(answered_by: Answers, session: str) -> None:
    """The text of obstore quotes the URL."""
    sm, server = await answered_by(b"")
    with pytest.raises(S3OperationError, match="Connection was closed"):
        await sm.retrieve_step_data(session, "t", components=["html"])
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Generic S3 error: HTTP error: error\n\nDebug source:\n kind: Timeout,\n  Connect,\n", "ConnectTimeoutError"),
        ("Generic S3 error: HTTP error: error\n\nDebug source:\n kind: Timeout,\n", "ReadTimeoutError"),
        (
            "Error performing GET http://h/b/redirect/Timeout,Connect, in 1s - HTTP error: error",
            "ConnectionClosedError",
        ),
        ("Generic S3 error: something new\n\nDebug source: secret", "OSError"),
    ],
)
def test_other_words_of_obstore(text: str, names: str) -> None:
    error = translated(GenericError(text), "GetObject", "http://h")
    assert type(error).__name__.startswith(names)
    assert is_transient(error) == ("HTTP" in text)
    assert "secret" not in str(error)


# --- threads ----------------------------------------------------------------------------------------------


def test_the_process_waits_for_threads_that_python_does_not_know() -> None:
    """One that is in Python when Python ends is unwound, which Rust answers by aborting the process."""
    ended = threading.Event()
    begun = threading.Event()

    def leave() -> None:
        begun.set()
        time.sleep(0.05)
        ended.set()

    _thread.start_new_thread(leave, ())
    begun.wait()
    obstore._wait_for_threads()
    assert ended.is_set()


FORK = """
    import asyncio, os, sys
    from storage_manager import StorageManager
    sm = StorageManager.from_url(sys.argv[1], s3_endpoint_url=sys.argv[2])
    asyncio.run(sm.store_step_data("s", "t", "parent"))
    if not (pid := os.fork()):
        asyncio.run(sm.store_step_data("s", "u", asyncio.run(sm.retrieve_step_data("s", "t")).html + " and child"))
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    print(asyncio.run(sm.retrieve_step_data("s", "u")).html)
"""


async def test_a_forked_child_is_served_by_s3fs(moto: Make) -> None:
    """The threads of obstore are not there in it, and every call would hang."""
    sm = moto()
    code = ["-W", "ignore:This process:DeprecationWarning", "-c", textwrap.dedent(FORK)]
    where = (sm.url_for(), sm.storage_options["endpoint_url"])
    child = await asyncio.create_subprocess_exec(sys.executable, *code, *where, stdout=asyncio.subprocess.PIPE)
    with suppress(asyncio.TimeoutError):
        said, _ = await asyncio.wait_for(child.communicate(), 60)
    assert said.strip() == b"parent and child"
    assert await html_of(sm, "u") == "parent and child"


async def html_of(sm: StorageManager, step: str) -> Any:
    return (await sm.retrieve_step_data("s", step, components=["html"])).html
