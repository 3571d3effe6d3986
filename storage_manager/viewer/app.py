"""Every session of a place, live in a browser.

==========================================  ===========================================================
route                                       answer
==========================================  ===========================================================
/                                           the list: `q` to search, `after` a cursor, `last` the end
/api/sessions/<session>                     steps, size in bytes, time of the last activity, as JSON
/sessions/<session>[/<step>]                the session, which loads what is looked at
/sessions/<session>/<step>/<component>      html, screenshot, action, metadata: the bytes as stored
/sessions/<session>/<step>/changes          the HTML against the step before (or `since`), as JSON
/static/viewer.js, /static/viewer.css       the front end
==========================================  ===========================================================
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from aiohttp import web

from storage_manager.inventory import summarize
from storage_manager.layout import ALL_COMPONENTS, check_id, formats
from storage_manager.storage import StorageManager
from storage_manager.viewer.components import read
from storage_manager.viewer.guard import STORED_POLICY, add_headers, checking_host, explaining
from storage_manager.viewer.sessions import Listing
from storage_manager.viewer.step_changes import changes_between, step_before
from storage_manager.viewer.templating import asset, page

__all__ = ["create_app", "serve"]

_STORAGE = web.AppKey("storage", StorageManager)
_LISTING = web.AppKey("listing", Listing)
_COMPARING = web.AppKey("comparing", asyncio.Lock)  # one comparison at a time: each may take 100 MB
_TYPES = {"viewer.js": "text/javascript", "viewer.css": "text/css"}


def create_app(storage: StorageManager, *, hosts: Iterable[str] = ()) -> web.Application:
    """The viewer as an application of aiohttp: every session of a place; loads a component when it is looked at.

    Stored pages are shown in a sandbox in which nothing runs or loads. There is no login: whoever reaches the port
    sees the sessions, so bind it to 127.0.0.1, as `serve` does. Nothing is written.

    Parameters:
        hosts: names in the Host header that are answered beside localhost, 127.0.0.1 and [::1].

    Raises:
        StorageManagerError: jinja2 is not installed.
    """
    page("error", title="", reason="")  # says at once that jinja2 is missing
    app = web.Application(middlewares=[explaining, checking_host(hosts)])
    app[_STORAGE] = storage
    app[_LISTING] = Listing(storage)
    app[_COMPARING] = asyncio.Lock()
    app.on_response_prepare.append(add_headers)
    app.on_cleanup.append(_close)
    app.add_routes([
        web.get("/", _list),
        web.get("/api/sessions/{session}", _summary),
        web.get("/sessions/{session}", _session),
        web.get("/sessions/{session}/{step}", _session),
        web.get("/sessions/{session}/{step}/changes", _changes),
        web.get(f"/sessions/{{session}}/{{step}}/{{component:{'|'.join(ALL_COMPONENTS)}}}", _component),
        web.get(f"/static/{{name:{'|'.join(_TYPES)}}}", _static),
    ])  # fmt: skip
    return app


@asynccontextmanager
async def serve(
    storage: StorageManager, host: str = "127.0.0.1", port: int = 0, *, hosts: Iterable[str] = ()
) -> AsyncIterator[str]:
    """Serve the viewer for the time of an `async with` block, which is given its URL.

    Parameters:
        host: the address that is bound; another than 127.0.0.1 shows the sessions to others.
        port: 0: one that is free.
        hosts: as for create_app; `host` is one of them.

    Raises:
        StorageManagerError: jinja2 is not installed.
        OSError: the port is in use, or the address not this machine's.
    """
    name = f"[{host}]" if ":" in host else host
    runner = web.AppRunner(create_app(storage, hosts=[name, *hosts]), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield f"http://{name}:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def _close(app: web.Application) -> None:
    await app[_LISTING].close()


def _html(text: str) -> web.Response:
    return web.Response(text=text, content_type="text/html")


async def _list(request: web.Request) -> web.Response:
    query, after, listing = request.query.get("q", "").strip(), request.query.get("after", ""), request.app[_LISTING]
    if after:
        check_id(after, "after")
    found = await (listing.last(query) if "last" in request.query else listing.page(query, after))
    return _html(page("list", query=query, found=found, place=request.app[_STORAGE].url_for()))


async def _session(request: web.Request) -> web.Response:
    session_id, step_id = request.match_info["session"], request.match_info.get("step")
    steps = await request.app[_STORAGE].list_steps_for_session(session_id)
    if not steps:
        raise web.HTTPNotFound(text=f"There is no session {session_id}.")
    if step_id is not None and check_id(step_id, "step_id") not in steps:
        raise web.HTTPNotFound(text=f"The session {session_id} has no step {step_id}.")
    return _html(page("session", session_id=session_id, data={"session": session_id, "steps": steps, "live": True}))


async def _summary(request: web.Request) -> web.Response:
    summary = await summarize(request.app[_STORAGE], request.match_info["session"])
    modified = summary.modified.isoformat() if summary.modified else None
    return web.json_response({"steps": summary.steps, "size": summary.size, "modified": modified})


async def _component(request: web.Request) -> web.Response:
    [row] = formats([request.match_info["component"]])  # type: ignore[list-item]
    data = await read(request.app[_STORAGE], request.match_info["session"], request.match_info["step"], row.name)
    if data is None:
        raise web.HTTPNotFound(text=f"This step has no {'HTML' if row.name == 'html' else row.name}.")
    headers = {"Content-Type": row.content_type(data), "Content-Security-Policy": STORED_POLICY}
    return web.Response(body=data, headers=headers)


async def _changes(request: web.Request) -> web.Response:
    storage, session_id, step_id = request.app[_STORAGE], request.match_info["session"], request.match_info["step"]
    since = request.query.get("since") or await step_before(storage, session_id, step_id)
    async with request.app[_COMPARING]:
        return web.json_response(await changes_between(storage, session_id, since, step_id))


async def _static(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    return web.Response(text=await asyncio.to_thread(asset, name), content_type=_TYPES[name])
