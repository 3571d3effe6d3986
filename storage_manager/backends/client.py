"""An aiobotocore client for one event loop. It is created quickly, all waits have a timeout, and it closes itself."""

import asyncio
import contextlib
import os
import socket
import threading
import weakref
from base64 import b64encode
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import cache, partial
from hashlib import md5
from typing import Any, ClassVar

import aiohttp
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import AioSession
from botocore.exceptions import CredentialRetrievalError
from botocore.handlers import add_expect_header
from botocore.loaders import Loader, create_loader
from botocore.utils import parse_timestamp

from storage_manager.errors import came_from_service
from storage_manager.s3_settings import check_endpoint

__all__ = [
    "HttpSession",
    "OptionsError",
    "adapt_requests",
    "finding_credentials",
    "http_session_class",
    "lifespan",
    "new_session",
    "prepare",
    "report_credentials",
    "using_options",
]


class OptionsError(TypeError):
    """A keyword in storage_options that s3fs, aiobotocore or botocore does not accept."""


@contextlib.contextmanager
def using_options() -> Iterator[None]:
    """Raise OptionsError for a keyword that a library does not accept. The block must raise no other TypeError.

    Raises:
        OptionsError: chained to the TypeError.
    """
    try:
        yield
    except TypeError as error:
        raise OptionsError(str(error)) from error


def new_session(**options: Any) -> AioSession:
    """Return an aiobotocore session. With it, each loop can create a client in 9 ms instead of 60 to 160 ms.

    All sessions share one copy of botocore's service models: some megabytes of JSON that do not change.
    """
    session = AioSession(**options)
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_timestamp)
    return session


def report_credentials(events: Any, use: Callable[[list[str | None]], None]) -> None:
    """Call a function with the credentials of each request, so that messages can hide them.

    botocore finds credentials in a profile, a role or a token, and renews them. The function is called when botocore
    signs with them, so this costs no request.

    Parameters:
        events: the events of a client, or of a session that has not created clients.
        use: called with key, secret and token, or with the tokens of a request for credentials.
    """

    def before_sign(request_signer: Any, **kwargs: Any) -> None:
        if not isinstance(request_signer.get_auth_instance, _Reporting):
            request_signer.get_auth_instance = _Reporting(request_signer.get_auth_instance, use)

    def before_build(params: Mapping[str, Any], **kwargs: Any) -> None:
        use([params.get(name) for name in _TOKENS])

    # a client gets the handlers of its session: with this name, each is called once
    events.register("before-sign", before_sign, unique_id="storage-manager-sign")
    events.register("before-parameter-build", before_build, unique_id="storage-manager-build")


class _Reporting:
    """The method `get_auth_instance` of a signer. It also calls a function with the credentials."""

    def __init__(self, method: Callable[..., Awaitable[Any]], use: Callable[[list[str | None]], None]) -> None:
        self._method, self._use = method, use

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        auth = await self._method(*args, **kwargs)
        keys = getattr(auth, "credentials", None)  # a bearer token has none
        self._use([keys.access_key, keys.secret_key, keys.token] if keys else [])
        return auth


_TOKENS = ("WebIdentityToken", "accessToken", "refreshToken", "clientSecret")  # of requests for credentials (STS, SSO)


class _Loader(Loader):  # type: ignore[misc, unused-ignore]
    """A loader for botocore's service models that assumes that each directory is a service.

    botocore itself searches 400 directories for models, to find out if there is a model for S3.
    """

    def list_available_services(self, type_name: str) -> list[str]:
        """Return the names of the directories."""
        return [name for path in self.search_paths if os.path.isdir(path) for name in os.listdir(path)]


@cache
def _loader(data_path: str | None) -> Loader:
    return _Loader(create_loader(data_path).search_paths, include_default_search_paths=False)


def _timestamp(value: Any) -> datetime | None:
    """Parse a time as botocore does, but parse the date in a header (RFC 9110, 5.6.7) ten times as fast.

    Every GET has such a header. A time without a time zone counts as UTC. Return None if the time is malformed. Also
    return None for 1970 and earlier: some services send the zero time of Unix or Go if they do not know the time.
    Return None for the year 9999, because some of its times cannot be converted to UTC.
    """
    try:
        is_header = isinstance(value, str) and value.endswith(" GMT")
        parsed: datetime = (parsedate_to_datetime if is_header else parse_timestamp)(value)
    except (ValueError, RuntimeError):  # botocore raises RuntimeError for a number that is too large
        return None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)) if 1970 < parsed.year < 9999 else None


@contextlib.contextmanager
def finding_credentials() -> Iterator[None]:
    """Report a missing credentials file as CredentialRetrievalError, not as a missing object.

    Raises:
        CredentialRetrievalError: a file or program that the AWS settings name is missing; chained.
    """
    try:
        yield
    except (FileNotFoundError, PermissionError) as error:
        if came_from_service(error):
            raise
        raise CredentialRetrievalError(provider="a file in the AWS settings", error_msg=str(error)) from error


def prepare(client: Any) -> None:
    """Check the endpoint of a new client. Make sure that it never waits without a timeout or calls another region.

    Raises:
        S3ConfigError: the endpoint that botocore found is malformed, or contains a password.
    """
    check_endpoint(client.meta.endpoint_url)  # it may come from a profile
    # aiohttp waits for "100 Continue" without a timeout, and a silent server never sends it
    client.meta.events.unregister("before-call.s3", add_expect_header)
    client.meta.events.register("before-call.s3", _call_no_other_region)
    adapt_requests(client)


def adapt_requests(client: Any) -> None:
    """Make a client send requests that other services understand too, and sign links to the host of the region."""
    for operation in ("DeleteObjects", "PutObject", "UploadPart"):
        client.meta.events.register(f"before-call.s3.{operation}", _send_content_md5)
    client.meta.events.register_first("before-endpoint-resolution.s3", _link_to_the_region)


def _call_no_other_region(params: dict[str, Any], **kwargs: Any) -> None:
    """Make botocore report a redirect as a wrong region. Otherwise it asks for the bucket's region a hundred times."""
    params["context"].setdefault("s3_redirect", {})["redirected"] = True


def _send_content_md5(model: Any, params: dict[str, Any], context: dict[str, Any], **kwargs: Any) -> None:
    """Send a request with Content-MD5. In a DeleteObjects, it replaces botocore's CRC32, which some services refuse.

    Object Lock needs a Content-MD5 in a PUT. Directory buckets accept only the CRC32 (Amazon S3 API reference,
    "DeleteObjects").
    """
    schemes = context.get("endpoint_properties", {}).get("authSchemes", ())
    body, headers = params["body"], params["headers"]
    if any("express" in scheme["name"] for scheme in schemes) or not isinstance(body, (bytes, bytearray)):
        return
    if "Content-MD5" not in headers:
        headers["Content-MD5"] = b64encode(md5(body, usedforsecurity=False).digest()).decode()
    if model.name == "DeleteObjects":
        context.get("checksum", {}).pop("request_algorithm", None)


def _link_to_the_region(builtins: dict[str, Any], context: dict[str, Any], **kwargs: Any) -> None:
    """Make presigned URLs name the host of the region, as every request does.

    botocore would name s3.amazonaws.com, which does not know the buckets in regions that opened since 2019 (Amazon S3
    User Guide, "Virtual hosting of general purpose buckets").
    """
    if context.get("is_presign_request"):
        context["use_global_endpoint"] = False
        builtins["AWS::S3::UseGlobalEndpoint"] = False


class HttpSession(AIOHTTPSession):
    """The HTTP session of a client. It follows no redirects, and closes its sockets when it is garbage-collected."""

    shared_certificates: ClassVar[Any] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connector_args.setdefault("socket_factory", partial(_socket, self._timeout.sock_read))

    async def __aenter__(self) -> "HttpSession":
        await super().__aenter__()
        weakref.finalize(self, _abandon, self._sessions, asyncio.get_running_loop(), os.getpid())
        return self

    async def _get_session(self, proxy_url: str | None) -> "_NoRedirects":
        session = await super()._get_session(proxy_url)
        # aiohttp would send a PUT again after a reset, and its own file would then make a conditional PUT fail
        session._retry_connection = False
        return _NoRedirects(session)

    def _build_ssl_contexts(self, proxy_url: str | None) -> Any:
        """Return the TLS contexts. Sessions with the default certificates share them: reading these takes 35 ms."""
        if proxy_url or self._verify is not True or self._cert_file or type(self) is not HttpSession:
            return super()._build_ssl_contexts(proxy_url)
        if HttpSession.shared_certificates is None:
            HttpSession.shared_certificates = super()._build_ssl_contexts(None)
        return HttpSession.shared_certificates


class _NoRedirects:
    """An aiohttp session that does not follow a redirect, which would send data and token to another host."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.request = partial(session.request, allow_redirects=False)


def http_session_class(config: Mapping[str, Any]) -> type[Any]:
    """Return the class of HTTP sessions for the configuration of a client.

    If the user configured a subclass of aiobotocore's class (`http_session_cls`), the result is a subclass of it. Any
    other class is returned unchanged.
    """
    own: type[Any] = config.get("http_session_cls", HttpSession)
    if not isinstance(own, type) or not issubclass(own, AIOHTTPSession) or issubclass(own, HttpSession):
        return own
    return HttpSession if own is AIOHTTPSession else type(own.__name__, (HttpSession, own), {})


def _socket(timeout: float | None, address: tuple[Any, ...]) -> socket.socket:
    """Return a socket whose peer must accept data within the timeout. aiohttp alone would wait forever."""
    new = socket.socket(*address[:3])
    if timeout is not None:
        with contextlib.suppress(AttributeError):  # only Linux has it (tcp(7))
            new.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(timeout * 1000))
    return new


async def lifespan(client: contextlib.AbstractAsyncContextManager[Any]) -> AsyncGenerator[None, None]:
    """Keep a client open until this generator is closed. asyncio closes the generator before it closes the loop."""
    try:
        yield
    finally:
        await client.__aexit__(None, None, None)


def _abandon(sessions: dict[Any, aiohttp.ClientSession], loop: asyncio.AbstractEventLoop, pid: int) -> None:
    """Close the connections of a loop that was closed without its generators, or that ran before a fork.

    Such a loop cannot close anything any more, so the sockets are closed directly. A forked child process closes only
    its own copies. Otherwise aiohttp and asyncio would log a warning for each connection when it is garbage-collected.
    """
    at_exit = not threading.main_thread().is_alive()
    if loop.is_running() and os.getpid() == pid and not at_exit:
        return
    for session, connector in [(session, session.connector) for session in sessions.values() if session.connector]:
        session.detach()
        for connections in connector._conns.values():
            for protocol, _ in connections:
                _close_socket(protocol.transport)
        connector._conns.clear()


def _close_socket(transport: Any) -> None:
    with contextlib.suppress(AttributeError):  # the transports of other loops than asyncio's do not warn
        transport._sock.close()
        transport._sock = None
