"""Protect the viewer from other web pages in the same browser: check the Host header, and add security headers.

A page of another site can send requests to 127.0.0.1. It cannot read the answers, because no answer allows it (CORS).
There is one exception: the site's own name can resolve to 127.0.0.1 (DNS rebinding). Then the Host header of the
request has that name, and the request is refused.
"""

import re
from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web
from aiohttp.typedefs import Middleware

from storage_manager.errors import InvalidDataError, InvalidIdError, StorageManagerError
from storage_manager.viewer.templating import render_page

__all__ = ["LOCAL_HOSTS", "OWN_POLICY", "STORED_POLICY", "add_headers", "explain_errors", "host_checker"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::[0-9]{1,5})?")

# The policy of the viewer's pages. A stored page is a srcdoc in such a page, so this policy applies to it, too; it
# needs inline styles, and data: URLs for images and fonts. The only script is viewer.js, the only frames are srcdocs,
# and data comes only from this server.
OWN_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src blob: data:; font-src data:; "
    "connect-src 'self'; frame-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# The policy of a stored file that is opened by itself: it has an origin of its own, runs nothing and loads nothing.
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
    # No Content-Security-Policy forbids a connection without a request (preconnect). Chromium knows this header.
    "Connection-Allowlist": "(response-origin)",
    # Stored pages can show private data, so the browser keeps no copy. A page also shows the data as it is now.
    "Cache-Control": "no-store",
}


async def add_headers(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Add the security headers to every answer, errors included, unless a handler has set them."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)


def host_checker(hosts: Iterable[str]) -> Middleware:
    """Return a middleware that accepts requests only for LOCAL_HOSTS and `hosts`, with any port."""
    allowed = LOCAL_HOSTS | {name.lower() for name in hosts}

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = _HOST.fullmatch(request.headers.get("Host", "").lower())
        if host is None or host[1] not in allowed:
            raise web.HTTPForbidden(text="This server does not accept requests for that host name.")
        return await handler(request)

    return check


_TITLES = {404: "Not found", 502: "The storage cannot be read", 503: "The viewer is busy"}


@web.middleware
async def explain_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer errors with the reason: as a page for people, or as text for viewer.js."""
    try:
        return await handler(request)
    except web.HTTPError as error:
        status, reason = error.status, error.text or ""
        if reason == f"{status}: {error.reason}":  # aiohttp's own text
            reason = "There is no such page." if status == 404 else error.reason
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    except StorageManagerError as error:
        status, reason = 400 if isinstance(error, (InvalidIdError, InvalidDataError)) else 502, str(error)
        headers = {}
    if "text/html" not in request.headers.get("Accept", ""):
        return web.Response(status=status, text=reason, headers=headers)
    text = render_page("error", title=_TITLES.get(status, "This page cannot be shown"), reason=reason)
    return web.Response(status=status, text=text, content_type="text/html", headers=headers)
