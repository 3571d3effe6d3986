"""The live viewer: an aiohttp application that shows every session of a root. docs/viewer.rst lists the routes."""

import asyncio
from bisect import bisect_left
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from functools import partial

from aiohttp import web

from storage_manager.arguments import check_several, check_whole
from storage_manager.errors import InvalidDataError
from storage_manager.layout import ALL_COMPONENTS, check_id, formats
from storage_manager.storage import StorageManager, check_storage
from storage_manager.viewer.attachments import attachment_file, has_data, list_attachments, read_session_metadata
from storage_manager.viewer.changes import MAX_BYTES, compare_steps
from storage_manager.viewer.files import SEND_SECONDS, StoredFile, read_at_most, send_file
from storage_manager.viewer.following import Following
from storage_manager.viewer.guard import STORED_POLICY, add_headers, explain_errors, host_checker
from storage_manager.viewer.outline import read_outline
from storage_manager.viewer.overview import Overview
from storage_manager.viewer.searching import search_session
from storage_manager.viewer.templating import render_page, script, style
from storage_manager.viewer.turns import Turns

__all__ = ["check_host", "create_app", "serve"]

_STORAGE = web.AppKey("storage", StorageManager)
_OVERVIEW = web.AppKey("overview", Overview)
_COMPARING = web.AppKey("comparing", Turns)  # one comparison at a time, because it can take 100 MB
_SEARCHING = web.AppKey("searching", Turns)  # one search in a session at a time, because it reads every page
_FOLLOWING = web.AppKey("following", Following)
_READING = web.AppKey("reading", asyncio.Semaphore)
_READING_ATTACHMENTS = web.AppKey("reading_attachments", asyncio.Semaphore)  # they may be large, and take long
MAX_SEARCHES = 8  # that run or wait; each takes ten seconds at most
MAX_COMPARISONS = 16  # that run or wait; each takes three seconds at most, and a browser makes six requests at a time
MAX_READERS = 4  # components that are read at a time, and as many attachments; a page requests no more at once
_NAME = r"{name:[^/]*\.[^/]*}"  # of an attachment: with a dot, because a step may have the id "attachments"
_STATIC = {"viewer.js": ("text/javascript", script), "viewer.css": ("text/css", style)}


def create_app(storage: StorageManager, *, hosts: Iterable[str] = ()) -> web.Application:
    """Return the viewer as an aiohttp application. It shows every session, and reads a component when it is needed.

    Stored pages are shown in a sandbox, in which no script runs and nothing is loaded. There is no login: everyone who
    can reach the port sees the sessions, so bind it to 127.0.0.1, as `serve` does. Nothing is written.

    Parameters:
        hosts: names to accept in the Host header, besides localhost, 127.0.0.1 and [::1].

    Raises:
        TypeError: `storage` is not a StorageManager, or hosts is one name instead of several.
        StorageManagerError: jinja2 is not installed.
    """
    check_storage(storage)
    check_several(hosts, "hosts", of="names")
    render_page("error", title="", reason="")  # raises now, not at the first request, if jinja2 is missing
    app = web.Application(middlewares=[explain_errors, host_checker(hosts)])
    app[_STORAGE] = storage
    app[_OVERVIEW] = Overview(storage)
    app[_COMPARING] = Turns("comparisons", MAX_COMPARISONS)
    app[_SEARCHING] = Turns("searches", MAX_SEARCHES)
    app[_FOLLOWING] = Following(storage)
    app[_READING] = asyncio.Semaphore(MAX_READERS)
    app[_READING_ATTACHMENTS] = asyncio.Semaphore(MAX_READERS)
    app.on_response_prepare.append(add_headers)
    app.on_shutdown.append(_stop_following)
    app.on_cleanup.append(_close)
    app.add_routes(_routes())
    return app


@asynccontextmanager
async def serve(
    storage: StorageManager, host: str = "127.0.0.1", port: int = 0, *, hosts: Iterable[str] = ()
) -> AsyncIterator[str]:
    """Serve the viewer until the `async with` block ends. The value of `as` is the URL of the viewer.

    Parameters:
        host: the address to bind. Any address but 127.0.0.1 lets other machines see the sessions.
        port: the port to bind; 0 for any free port.
        hosts: as for create_app. `host` is accepted, too.

    Raises:
        InvalidDataError: the host is empty, which would mean every address of this machine.
        TypeError, ValueError: `storage` is not a StorageManager, hosts is one name instead of several, or port is not a
            number from 0 to 65535.
        StorageManagerError: jinja2 is not installed.
        OSError: the port is in use, or the address does not belong to this machine.
    """
    check_host(host)
    check_several(hosts, "hosts", of="names")
    check_whole(port, "port", 0, 65535)
    name = f"[{host}]" if ":" in host else host
    runner = web.AppRunner(create_app(storage, hosts=[name, *hosts]), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield f"http://{name}:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


def check_host(host: object) -> None:
    """Refuse an empty host, which binds every address. A shell passes one for a variable that is not set.

    Raises:
        InvalidDataError: the host is empty, blank, or not a str.
    """
    if not isinstance(host, str) or not host.strip():
        why = f"host is {host!r}: give an address, such as 127.0.0.1, or 0.0.0.0 for every address of this machine"
        raise InvalidDataError(f"cannot view: {why}", operation="view")


def _routes() -> list[web.RouteDef]:
    return [
        web.get("/", _list),
        web.get("/api/sessions/{session}", _summary),
        web.get("/api/sessions/{session}/steps", _steps),
        web.get("/api/sessions/{session}/outline", _outline),
        web.get("/api/sessions/{session}/search", _search),
        web.get("/api/sessions/{session}/events", _events),
        web.get("/api/sessions/{session}/metadata", _session_metadata),
        web.get("/api/sessions/{session}/attachments", _attachments),
        web.get("/api/sessions/{session}/{step}/attachments", _attachments),
        web.get("/sessions/{session}", _session),
        web.get("/sessions/{session}/{step}", _session),
        web.get("/sessions/{session}/{step}/changes", _changes),
        web.get(f"/sessions/{{session}}/{{step}}/{{component:{'|'.join(ALL_COMPONENTS)}}}", _component),
        web.get(f"/sessions/{{session}}/attachments/{_NAME}", _attachment),
        web.get(f"/sessions/{{session}}/{{step}}/attachments/{_NAME}", _attachment),
        web.get(f"/static/{{name:{'|'.join(_STATIC)}}}", _static),
    ]


async def _stop_following(app: web.Application) -> None:
    await app[_FOLLOWING].close()


async def _close(app: web.Application) -> None:
    await app[_OVERVIEW].close()


def _html(text: str) -> web.Response:
    return web.Response(text=text, content_type="text/html")


async def _list(request: web.Request) -> web.Response:
    return _html(render_page("list", **await request.app[_OVERVIEW].page(request.query)))


async def _session(request: web.Request) -> web.Response:
    session_id, step_id = request.match_info["session"], request.match_info.get("step")
    storage = request.app[_STORAGE]
    steps = await storage.list_steps_for_session(session_id)
    if not steps and not await has_data(storage, session_id):
        raise web.HTTPNotFound(text=f"There is no session {session_id}.")
    if step_id is not None and check_id(step_id, "step_id") not in steps:
        raise web.HTTPNotFound(text=f"The session {session_id} has no step {step_id}.")
    data = {"session": session_id, "steps": steps, "live": True}
    return _html(render_page("session", session_id=session_id, data=data))


async def _steps(request: web.Request) -> web.Response:
    return web.json_response(await request.app[_STORAGE].list_steps_for_session(request.match_info["session"]))


async def _outline(request: web.Request) -> web.Response:
    step_ids = [check_id(step_id, "step_id") for step_id in request.query.get("steps", "").split(",")]
    async with request.app[_READING]:
        return web.json_response(await read_outline(request.app[_STORAGE], request.match_info["session"], step_ids))


async def _search(request: web.Request) -> web.Response:
    is_connected = partial(_is_connected, request)
    session_id, query = check_id(request.match_info["session"], "session_id"), request.query.get("q", "").strip()
    async with request.app[_SEARCHING].turn(is_connected):
        return web.json_response(await search_session(request.app[_STORAGE], session_id, query, is_connected))


def _is_connected(request: web.Request) -> bool:
    return request.transport is not None and not request.transport.is_closing()


async def _events(request: web.Request) -> web.StreamResponse:
    session_id = check_id(request.match_info["session"], "session_id")
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    async with aclosing(request.app[_FOLLOWING].events(session_id)) as events:
        try:
            async for event in events:
                await asyncio.wait_for(response.write(event), SEND_SECONDS)
        except (ConnectionError, asyncio.TimeoutError):
            pass  # the client left
    return response


async def _session_metadata(request: web.Request) -> web.Response:
    async with request.app[_READING]:
        data = await read_session_metadata(request.app[_STORAGE], request.match_info["session"])
    if data is None:
        raise web.HTTPNotFound(text="This session has no metadata.")
    headers = {"Content-Type": "application/json", "Content-Security-Policy": STORED_POLICY}
    return web.Response(body=data, headers=headers)


async def _attachments(request: web.Request) -> web.Response:
    session_id, step_id = request.match_info["session"], request.match_info.get("step")
    return web.json_response(await list_attachments(request.app[_STORAGE], session_id, step_id))


async def _attachment(request: web.Request) -> web.StreamResponse:
    storage, names = request.app[_STORAGE], request.match_info
    file = attachment_file(storage, names["session"], names.get("step"), names["name"])
    async with request.app[_READING_ATTACHMENTS]:  # until it is sent
        return await send_file(request, storage, file)


async def _summary(request: web.Request) -> web.Response:
    return web.json_response(await request.app[_OVERVIEW].row(request.match_info["session"]))


async def _component(request: web.Request) -> web.StreamResponse:
    [spec] = formats([request.match_info["component"]])  # type: ignore[list-item]
    storage = request.app[_STORAGE]
    url = storage.url_for(request.match_info["session"], request.match_info["step"], spec.name)
    missing = f"This step has no {'HTML' if spec.name == 'html' else spec.name}."
    async with request.app[_READING]:  # until it is sent
        return await send_file(request, storage, StoredFile(url, spec.content_type, missing))


async def _changes(request: web.Request) -> web.Response:
    storage, session_id, step_id = request.app[_STORAGE], request.match_info["session"], request.match_info["step"]
    since = request.query.get("since") or await _previous_step(storage, session_id, step_id)
    async with request.app[_COMPARING].turn(partial(_is_connected, request)):
        after = await read_at_most(storage, storage.url_for(session_id, step_id, "html"), MAX_BYTES)
        before = await read_at_most(storage, storage.url_for(session_id, since, "html"), MAX_BYTES) if since else None
        return web.json_response(await asyncio.to_thread(compare_steps, since, before, after))


async def _previous_step(storage: StorageManager, session_id: str, step_id: str) -> str | None:
    """Return the id of the step before this one; None for the first step."""
    steps = await storage.list_steps_for_session(session_id)
    position = bisect_left(steps, step_id)
    return steps[position - 1] if position else None


async def _static(request: web.Request) -> web.Response:
    kind, read = _STATIC[request.match_info["name"]]
    response = web.Response(text=await asyncio.to_thread(read), content_type=kind)
    response.enable_compression()
    return response
