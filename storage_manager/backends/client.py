"""An aiobotocore client of one event loop: made cheaply, bounded in its waits, and closed without being told."""

import contextlib
import os
import socket
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cache, partial
from typing import Any

import aiohttp
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import AioSession
from botocore.exceptions import CredentialRetrievalError
from botocore.handlers import add_expect_header
from botocore.loaders import create_loader
from botocore.utils import parse_timestamp

from storage_manager.config import check_endpoint
from storage_manager.errors import came_from_service

__all__ = ["finding_credentials", "lifespan", "new_session", "settle_in"]


def new_session(**options: Any) -> AioSession:
    """A session of aiobotocore for any number of loops to have one each: a client costs 9 ms, and not 60 to 160.

    All share one copy of botocore's service models, which are JSON of some megabytes and do not change.
    """
    session = AioSession(**options)
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_timestamp)
    return session


_loader = cache(create_loader)


def _timestamp(value: Any) -> datetime:
    """As botocore reads it, but a header's date (RFC 9110, 5.6.7) ten times as fast: every GET has one."""
    if isinstance(value, str) and value.endswith(" GMT"):
        return parsedate_to_datetime(value)
    other: datetime = parse_timestamp(value)
    return other


@contextlib.contextmanager
def finding_credentials() -> Iterator[None]:
    """What is not there before a service answers is no object, but what AWS settings name: a token's file, a program.

    Raises:
        CredentialRetrievalError: chained.
    """
    try:
        yield
    except (FileNotFoundError, PermissionError) as error:
        if came_from_service(error):
            raise
        raise CredentialRetrievalError(provider="what the AWS settings name", error_msg=str(error)) from error


def settle_in(owner: object, client: Any) -> None:
    """Bound every wait of a new client, let it follow nobody, and close with its owner what its loop leaves open.

    Raises:
        S3ConfigError: the endpoint that botocore found is none, or holds a password.
    """
    check_endpoint(client.meta.endpoint_url, "")  # a profile's, or that of the variables where this was unpickled
    # aiohttp waits for "100 Continue" without a timeout, and a server that is mute never says it
    client.meta.events.unregister("before-call.s3", add_expect_header)
    client.meta.events.register("before-call.s3", _call_no_other_region)
    http = client._endpoint.http_session
    http._connector_args.setdefault("socket_factory", partial(_socket, client.meta.config.read_timeout))
    http._get_session = partial(_follow_nobody, http._get_session)
    # a class of the user's own (http_session_cls) may trust otherwise
    if type(http) is AIOHTTPSession and http._verify is True and not http._cert_file and hasattr(http, _BUILD):
        setattr(http, _BUILD, partial(_contexts, getattr(http, _BUILD)))
    weakref.finalize(owner, _abandon, http._sessions, os.getpid())


def _call_no_other_region(params: dict[str, Any], **kwargs: Any) -> None:
    """Have botocore take a redirect for what it is, a wrong region: it would ask the bucket, a hundred times."""
    params["context"].setdefault("s3_redirect", {})["redirected"] = True


async def _follow_nobody(get_session: Callable[..., Any], *args: Any) -> aiohttp.ClientSession:
    """A session that answers a redirect as it came; aiohttp would send data and session token to any other host."""
    session: aiohttp.ClientSession = await get_session(*args)
    if "_request" not in vars(session):
        object.__setattr__(session, "_request", partial(session._request, allow_redirects=False))
    return session


_BUILD = "_build_ssl_contexts"  # aiobotocore before 3.10 has no such method


def _contexts(build: Callable[..., Any], proxy_url: str | None) -> Any:
    """Those of TLS: where there is no proxy, the ones that all clients share."""
    return build(proxy_url) if proxy_url else _certifi()


@cache
def _certifi() -> Any:
    """Those that trust what certifi names, made once: reading it takes 35 ms."""
    return AIOHTTPSession()._build_ssl_contexts(None)


def _socket(timeout: float, address: tuple[Any, ...]) -> socket.socket:
    """A socket whose peer must take what is sent within the timeout; aiohttp itself waits for that without end."""
    new = socket.socket(*address[:3])
    with contextlib.suppress(AttributeError):  # Linux alone has it (tcp(7))
        new.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(timeout * 1000))
    return new


async def lifespan(client: contextlib.AbstractAsyncContextManager[Any]) -> AsyncGenerator[None, None]:
    """Suspended while the client is in use: asyncio closes such generators before it closes their loop."""
    try:
        yield
    finally:
        await client.__aexit__(None, None, None)


def _abandon(sessions: dict[Any, aiohttp.ClientSession], pid: int) -> None:
    """Close what a loop left open that was closed without its generators, or that ran before a fork.

    Such a loop closes nothing any more, so the sockets are closed beneath it; a forked child closes only its
    own copies of them. aiohttp and asyncio would warn of each otherwise, when they are collected.
    """
    for session in sessions.values():
        connector = session.connector
        at_exit = not threading.main_thread().is_alive()
        if connector is None or (connector._loop.is_running() and os.getpid() == pid and not at_exit):
            continue
        session.detach()
        for connections in connector._conns.values():
            for protocol, _ in connections:
                _close_beneath(protocol.transport)
        connector._conns.clear()


def _close_beneath(transport: Any) -> None:
    with contextlib.suppress(AttributeError):  # a loop other than asyncio's own: its transports do not warn
        transport._sock.close()
        transport._sock = None
