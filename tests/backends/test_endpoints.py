"""Endpoints, bucket names, prefixes and credentials: what is accepted, and what is said if something is missing."""

import socket
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from storage_manager import S3ConfigError, S3OperationError, StorageManager, StorageManagerError
from tests.support.roots import MOTO_KEYS
from tests.support.services import DATA, Serve, inherited, manager

AMAZON = "https://s3.eu-south-1.amazonaws.com"


# --- links ----------------------------------------------------------------------------------------

HOSTS = {
    "us-east-1": "my-sessions.s3.us-east-1.amazonaws.com",
    "eu-south-1": "my-sessions.s3.eu-south-1.amazonaws.com",
    "me-central-1": "my-sessions.s3.me-central-1.amazonaws.com",
    "us-gov-west-1": "my-sessions.s3.us-gov-west-1.amazonaws.com",
    "cn-north-1": "my-sessions.s3.cn-north-1.amazonaws.com.cn",
}


@inherited
@pytest.mark.parametrize("region", HOSTS)
async def test_a_link_names_the_host_of_the_region(engine: str, keys: None, region: str) -> None:
    """On the global host, buckets of newer regions are not found, and those of others answer with a redirect."""
    async with StorageManager("my-sessions", region) as sm, sm.backend() as backend:
        link = urlsplit(await backend.link(sm.url_for("s", "t", "html"), 60))
    assert (link.hostname, link.path) == (HOSTS[region], "/s/t/observation.html")


@inherited
async def test_a_link_to_a_bucket_with_dots_names_it_in_the_path(engine: str, keys: None) -> None:
    """No certificate is valid for a host with more dots."""
    async with StorageManager("my.sessions", "eu-south-1") as sm, sm.backend() as backend:
        link = urlsplit(await backend.link(sm.url_for("s", "t", "html"), 60))
    assert (link.hostname, link.path) == ("s3.eu-south-1.amazonaws.com", "/my.sessions/s/t/observation.html")


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bucket", "endpoint"),
    [
        ("minio", "http://minio.svc:9000"),
        ("storage", "https://storage.googleapis.com"),
        ("gateway", "https://gateway.example.org"),
        ("files", "https://gateway.example.org/files"),
    ],
)
def test_an_endpoint_may_be_called_as_the_bucket(bucket: str, endpoint: str) -> None:
    sm = StorageManager(bucket, s3_endpoint_url=endpoint)
    assert sm.storage_options["endpoint_url"] == endpoint


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://my-sessions.s3.eu-south-1.amazonaws.com",
        "https://s3.eu-south-1.amazonaws.com/my-sessions",
        "https://my-sessions.s3.cn-north-1.amazonaws.com.cn/",
    ],
)
def test_an_endpoint_of_amazon_does_not_name_the_bucket(endpoint: str) -> None:
    with pytest.raises(S3ConfigError, match="names the bucket"):
        StorageManager("my-sessions", s3_endpoint_url=endpoint)


OTHER_NAMES = ["My_Sessions", "sessions_of_2026", "SESSIONS"]


@pytest.mark.parametrize("bucket", OTHER_NAMES[:2])
async def test_bucket_names_of_other_services_work(serve: Serve, bucket: str) -> None:
    server, _ = serve()
    async with manager(server, bucket, s3_prefix="p") as sm:
        await sm.check()
        await sm.store_step_data("s", "t", *DATA)
        assert await sm.retrieve_step_data("s", "t") == DATA
        assert await sm.list_sessions() == ["s"]
        assert urlsplit(str((await sm.get_share_links("s", "t"))["html_path"])).path.startswith(f"/{bucket}/p/s/t/")
        same = StorageManager.from_url(sm.url_for(), s3_endpoint_url=server.url)
        assert same.url_for() == sm.url_for() == f"s3://{bucket}/p"
        await sm.delete_session("s")
    assert server.buckets[bucket] == {}


@pytest.mark.parametrize("bucket", OTHER_NAMES)
@pytest.mark.parametrize("source", ["s3_endpoint_url", "SM_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_bucket_names_of_other_services_are_accepted(bucket: str, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "http://localhost:9000"
    if source.isupper():
        monkeypatch.setenv(source, url)
    sm = StorageManager(bucket, s3_endpoint_url=None if source.isupper() else url)
    assert sm.url_for() == f"s3://{bucket}"


@pytest.mark.parametrize("bucket", OTHER_NAMES)
@pytest.mark.parametrize("endpoint", [None, AMAZON, "https://s3.cn-north-1.amazonaws.com.cn"])
def test_bucket_names_of_amazon_are_as_amazon_says(bucket: str, endpoint: str | None) -> None:
    with pytest.raises(S3ConfigError, match="bucket name"):
        StorageManager(bucket, s3_endpoint_url=endpoint)


@pytest.mark.parametrize("bucket", ["a/b", "my sessions", "..", "a?b", "a#b", "a*", "a\nb", "a@b"])
def test_some_bucket_names_are_nowhere_allowed(bucket: str) -> None:
    with pytest.raises(S3ConfigError):
        StorageManager(bucket, s3_endpoint_url="http://localhost:9000")


def test_an_access_point_is_named_by_its_alias() -> None:
    alias = "readers-hrzrlukc5m36ft7okagglf3gmwluquse1b-s3alias"
    assert StorageManager(alias).url_for() == f"s3://{alias}"
    with pytest.raises(S3ConfigError, match="alias"):
        StorageManager("arn:aws:s3:us-west-2:123456789012:accesspoint/readers")


PREFIXES = ["h#1", "a?b=1", "50%", "a%20b", "a b", "é", "a+b", "a&b", "a;b", "team/2026", "a@b"]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_what_a_constructor_accepts_its_own_url_opens(prefix: str) -> None:
    """tests/tools/test_prefixes.py opens it with other tools too."""
    try:
        sm = StorageManager("my-sessions", s3_prefix=prefix)
    except S3ConfigError:
        return
    same = StorageManager.from_url(sm.url_for("s", "t"))
    assert same.url_for() == sm.url_for("s", "t") == f"s3://my-sessions/{prefix}/s/t"


@pytest.mark.parametrize("prefix", ["team/2026", "é", "a+b"])
def test_usual_prefixes_are_accepted(prefix: str) -> None:
    assert StorageManager("my-sessions", s3_prefix=prefix).url_for() == f"s3://my-sessions/{prefix}"


# --- credentials, profiles, proxies and options ---------------------------------------------------


async def test_without_credentials_it_says_which_variables_to_set(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in MOTO_KEYS:
        monkeypatch.delenv(name)
    with pytest.raises(S3ConfigError, match=r"set AWS_ACCESS_KEY_ID.*AWS_SECRET_ACCESS_KEY") as caught:
        await serve().sm.check()
    assert "correct the credentials" not in str(caught.value)


@pytest.mark.parametrize("variable", ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"])
def test_a_profile_that_does_not_exist_is_named(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "prod")
    with pytest.raises(S3ConfigError, match=rf"'prod' \({variable}\)"):
        StorageManager("my-sessions")


@pytest.mark.parametrize("spelling", [str.upper, pytest.param(str.lower, marks=pytest.mark.thorough)])
@pytest.mark.parametrize(
    ("excluded", "is_direct"),
    [
        ("10.0.0.0/8, 127.0.0.0/8", True),
        ("10.0.0.0/8", False),
        pytest.param("127.0.0.1/32", True, marks=pytest.mark.thorough),
        pytest.param("example.org,127.0.0.1", True, marks=pytest.mark.thorough),
        pytest.param("", False, marks=pytest.mark.thorough),
    ],
)
async def test_no_proxy_takes_networks(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, spelling: Any, excluded: str, is_direct: bool
) -> None:
    """In the notation of CIDR (RFC 4632), as curl and Go do."""
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv(spelling("http_proxy"), f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setenv(spelling("no_proxy"), excluded)
        service = serve()
        for call in (partial(service.sm.store_step_data, "s", "t", "x"), service.sm.list_sessions):
            if is_direct:
                await call()
            else:
                with pytest.raises(S3OperationError, match="the proxy"):
                    await call()


@pytest.mark.parametrize("url", ["s3://my-sessions", "memory://x", "local"])
async def test_an_option_of_the_library_itself_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(StorageManagerError, match="asynchronous") as caught:
        sm = StorageManager.from_url(str(tmp_path) if url == "local" else url, storage_options={"asynchronous": True})
        await sm.check()
    assert isinstance(caught.value, S3ConfigError) == url.startswith("s3:")
