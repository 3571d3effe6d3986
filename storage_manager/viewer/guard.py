"""What stands between the viewer and other web pages in the same browser: the Host header, and headers of answers.

A page of another site can send requests to 127.0.0.1. It cannot read the answers, as none of them allows it (CORS),
unless its own name has come to mean 127.0.0.1 (DNS rebinding): then the request's Host is that name, and refused.
"""

import re
from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web
from aiohttp.typedefs import Middleware

from storage_manager.errors import InvalidDataError, InvalidIdError, StorageManagerError
from storage_manager.viewer.templating import page

__all__ = ["LOCAL_HOSTS", "OWN_POLICY", "STORED_POLICY", "add_headers", "checking_host", "explaining"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::[0-9]{1,5})?")

# The stored page is a srcdoc of ours, and is governed by this policy too: it needs inline styles, and data: URLs for
# images and fonts. No scripts but our file, no frame that leaves its srcdoc, no address but this server's for data.
OWN_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src blob: data:; font-src data:; "
    "connect-src 'self'; frame-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# What is stored, opened by itself: an origin of its own, in which nothing runs or loads.
STORED_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": OWN_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-DNS-Prefetch-Control": "off",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # no Content-Security-Policy is about connections on which nothing is asked yet (preconnect); chromium knows this
    "Connection-Allowlist": "(response-origin)",
    # pages of people who were logged in: no copy stays in the browser's cache, and what is shown is what is stored
    "Cache-Control": "no-store",
}


async def add_headers(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Every answer has them, also an error; a handler may have set its own."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)


def checking_host(more: Iterable[str]) -> Middleware:
    """Requests for other hosts than this machine's own names, and `more`, are refused; any port will do."""
    allowed = LOCAL_HOSTS | {name.lower() for name in more}

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = _HOST.fullmatch(request.headers.get("Host", "").lower())
        if host is None or host[1] not in allowed:
            raise web.HTTPForbidden(text="This server does not answer to that host name.")
        return await handler(request)

    return check


@web.middleware
async def explaining(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors as a page for a person, as text for the viewer's own script: the reason, and no traceback."""
    try:
        return await handler(request)
    except web.HTTPError as error:
        status, reason = error.status, error.text or ""
        if reason == f"{status}: {error.reason}":  # the router's own
            reason = "There is no such page." if status == 404 else error.reason
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    except StorageManagerError as error:
        status, reason = 400 if isinstance(error, (InvalidIdError, InvalidDataError)) else 502, str(error)
        headers = {}
    if "text/html" not in request.headers.get("Accept", ""):
        return web.Response(status=status, text=reason, headers=headers)
    text = page("error", title=_TITLES.get(status, "This cannot be shown"), reason=reason)
    return web.Response(status=status, text=text, content_type="text/html", headers=headers)


_TITLES = {404: "Not here", 502: "The storage cannot be read"}
