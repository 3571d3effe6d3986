"""The routes of the live viewer, and what guards them."""

import json
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestClient, TestServer

from storage_manager import StorageManager, StorageManagerError
from storage_manager.viewer import attachments, create_app, serve
from storage_manager.viewer.templating import _environment
from tests.support.roots import Make, Request
from tests.support.viewed import BREAKING, HOSTILE, JPEG, PNG, store_small

Client = Callable[..., Awaitable[TestClient[Any, Any]]]
HTML = {"Accept": "text/html"}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A client of the viewer of a place."""
    async with AsyncExitStack() as stack:

        async def connect(sm: StorageManager, **kwargs: Any) -> TestClient[Any, Any]:
            server = TestServer(create_app(sm, **kwargs))
            return await stack.enter_async_context(TestClient(server))

        yield connect


@pytest.fixture
async def local(tmp_path: Path) -> StorageManager:
    """A local place with one session."""
    sm = StorageManager.from_url(f"{tmp_path}/base")
    await store_small(sm)
    return sm


async def test_every_route_on_every_backend(sm: StorageManager, client: Client) -> None:
    await store_small(sm)
    web = await client(sm)
    assert 'data-session="run-1"' in await (await web.get("/")).text()
    summary = await (await web.get("/api/sessions/run-1")).json()
    assert summary["steps"] == 3
    assert summary["size"] > len(HOSTILE)
    assert summary["modified"].endswith("+00:00")
    for path in ("/sessions/run-1", "/sessions/run-1/step_2"):
        [data] = re.findall(r'id="session-data">(.*?)</script>', await (await web.get(path)).text())
        assert json.loads(data) == {"live": True, "session": "run-1", "steps": ["step_1", "step_2", "step_3"]}
    assert (await web.get("/sessions/run-1/step_3/html")).status == 404
    answer = await web.get("/sessions/run-1/step_1/screenshot")
    assert (await answer.read(), answer.content_type) == (PNG, "image/png")


@pytest.mark.parametrize(
    ("component", "content_type", "data"),
    [
        ("html", "text/html; charset=utf-8", HOSTILE.encode()),
        ("screenshot", "image/jpeg", JPEG),
        (
            "action",
            "application/json",
            json.dumps({"type": BREAKING}, ensure_ascii=False, separators=(",", ":")).encode(),
        ),
    ],
)
async def test_components_are_served_as_stored_and_sandboxed(
    local: StorageManager, client: Client, component: str, content_type: str, data: bytes
) -> None:
    answer = await (await client(local)).get(f"/sessions/run-1/step_2/{component}")
    assert answer.headers["Content-Type"] == content_type
    assert (await answer.read()).rstrip(b"\n") == data
    policy = answer.headers["Content-Security-Policy"].split("; ")
    assert "sandbox" in policy
    assert "default-src 'none'" in policy
    assert not any("script-src" in rule or "allow-" in rule for rule in policy)


@pytest.mark.parametrize(
    "path", ["/", "/sessions/run-1", "/sessions/run-1/step_1/html", "/nowhere", "/static/viewer.js"]
)
async def test_headers_of_every_answer(local: StorageManager, client: Client, path: str) -> None:
    headers = (await (await client(local)).get(path)).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert not any(name.startswith("Access-Control") for name in headers)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "[::1]:8080", "LOCALHOST:80", "viewer.test:99999"])
async def test_hosts_that_are_answered(local: StorageManager, client: Client, host: str) -> None:
    web = await client(local, hosts=["Viewer.test"])
    assert (await web.get("/", headers={"Host": host})).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.test",
        "127.0.0.1.evil.test",
        "localhost.",
        "localhost:x",
        "127.0.0.1@evil.test",
        "",
        "[::2]",
        "localhost:80:80",
    ],
)
@pytest.mark.parametrize("path", ["/", "/sessions/run-1/step_1/html", "/static/viewer.js"])
async def test_other_hosts_are_refused(local: StorageManager, client: Client, host: str, path: str) -> None:
    answer = await (await client(local)).get(path, headers={"Host": host})
    assert answer.status == 403
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("/sessions/..%2f..%2fetc", 400, "cannot be used: '/'"),
        ("/sessions/run-1/%00", 400, "cannot be used"),
        ("/sessions/run-1/.hidden/html", 400, "position 0"),
        ("/api/sessions/_own", 400, "position 0"),
        ("/sessions/run-1/step_2/changes?since=..", 400, "'.' at its end"),
        ("/?after=../up", 400, "'/'"),
        ("/sessions/none", 404, "no session none"),
        ("/sessions/run-1/none", 404, "no step none"),
        ("/sessions/run-1/step_3/screenshot", 404, "no screenshot"),
        ("/sessions/run-1/step_1/other", 404, "no such page"),
        ("/sessions/run-1/step_1/attachments/none.txt", 404, "no attachment none.txt"),
        ("/sessions/run-1/attachments/none.txt", 404, "no attachment none.txt"),
        ("/sessions/run-1/attachments/none", 404, "no such page"),
        ("/sessions/run-1/step_1/attachments/action.json", 400, "file name of a component"),
        ("/sessions/run-1/attachments/a%2fb.txt", 400, "a name has 1 to 128"),
        ("/sessions/run-1/attachments/.hidden.txt", 400, "a name has 1 to 128"),
        ("/api/sessions/run-1/metadata", 404, "no metadata"),
        ("/api/sessions/run-1/_files/attachments", 400, "position 0"),
        ("/static/..%2fpages.py", 404, "no such page"),
    ],
)
async def test_errors_for_a_person_and_for_the_script(
    local: StorageManager, client: Client, path: str, status: int, reason: str
) -> None:
    web = await client(local)
    plain = await web.get(path)
    assert (plain.status, plain.content_type) == (status, "text/plain")
    assert reason in await plain.text()
    page = await web.get(path, headers=HTML)
    assert (page.status, page.content_type) == (status, "text/html")
    assert "<h1>" in await page.text()


async def test_only_reading(local: StorageManager, client: Client) -> None:
    answer = await (await client(local)).post("/sessions/run-1")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET,HEAD")


async def test_unreadable_is_502_with_the_reason(local: StorageManager, client: Client) -> None:
    path = Path(local.url_for("run-1", "step_1", "html"))
    path.unlink()
    path.mkdir()
    web = await client(local)
    for name in ("html", "changes"):
        answer = await web.get(f"/sessions/run-1/step_1/{name}")
        assert answer.status == 502
        text = await answer.text()
        assert "cannot retrieve" in text
        assert "Traceback" not in text
    assert "The storage cannot be read" in await (await web.get("/sessions/run-1/step_1/html", headers=HTML)).text()


async def test_a_pipe_that_nobody_writes_to_holds_nobody_up(local: StorageManager, client: Client) -> None:
    path = Path(local.url_for("run-1", "step_1", "html"))
    path.unlink()
    os.mkfifo(path)
    web = await client(local)
    assert (await web.get("/sessions/run-1/step_1/html")).status == 502
    assert (await web.get("/sessions/run-1/step_2/html")).status == 200


async def test_a_disk_that_is_gone_is_no_missing_component(
    local: StorageManager, tmp_path: Path, client: Client
) -> None:
    (tmp_path / "base").rename(tmp_path / "away")
    answer = await (await client(local)).get("/sessions/run-1/step_1/html")
    assert answer.status == 502
    assert "the base directory is gone" in await answer.text()


async def test_a_bucket_that_is_missing_is_no_missing_component(moto: Make, client: Client) -> None:
    web = await client(moto(s3_bucket_name="is-not-there"))
    answer = await web.get("/sessions/run-1/step_1/html")
    assert answer.status == 502
    assert "create the bucket" in await answer.text()
    assert (await web.get("/")).status == 502


async def test_changes_since_the_step_before(local: StorageManager, client: Client) -> None:
    web = await client(local)
    told = await (await web.get("/sessions/run-1/step_2/changes?since=step_1")).json()
    assert told == await (await web.get("/sessions/run-1/step_2/changes")).json()
    assert told["since"] == "step_1"
    assert ["-", "<p>one"] in told["rows"]
    first, third = [await (await web.get(f"/sessions/run-1/{step}/changes")).json() for step in ("step_1", "step_3")]
    assert (first["since"], third["since"]) == (None, "step_2")
    assert "first step" in first["reason"]
    assert third["reason"] == "This step has no HTML."
    await local.store_step_data("run-1", "step_4", "<p>four</p>")
    fourth = await (await web.get("/sessions/run-1/step_4/changes")).json()
    assert fourth["reason"] == "The step before, step_3, has no HTML."


ATTACHMENTS = {
    "a.json": (b'{"a":1}\n', "application/json"),
    "b.svg": (b"<svg onload=alert(1)>", "text/plain; charset=utf-8"),
    "c.html": (b"<script>alert(1)</script>", "text/plain; charset=utf-8"),
    "d.png": (PNG, "image/png"),
    "e.webm": (b"\x1aE\xdf\xa3", "video/webm"),
    "f.pdf": (b"%PDF-", "application/pdf"),
    "g.unknown": (b"<html><script>", "application/octet-stream"),
    "h.html.gz": (b"\x1f\x8b", "application/octet-stream"),
    "i.xsl": (b"<x/>", "text/plain; charset=utf-8"),
    "j.empty.txt": (b"", "text/plain; charset=utf-8"),
}


@pytest.mark.parametrize("step_id", ["step_1", "attachments", None])
async def test_attachments_on_every_backend(sm: StorageManager, client: Client, step_id: str | None) -> None:
    await store_small(sm)
    await sm.store_step_data("run-1", "attachments", "<p>a step of this name")
    await sm.store_attachments("run-1", {name: data for name, (data, _) in ATTACHMENTS.items()}, step_id)
    web, path = await client(sm), "/".join(["/sessions/run-1", *filter(None, [step_id]), "attachments"])
    listed = await (await web.get(f"/api{path}")).json()
    wanted = [{"name": name, "size": len(data), "type": kind} for name, (data, kind) in ATTACHMENTS.items()]
    assert listed == {"attachments": wanted, "more": 0}
    for name, (data, kind) in ATTACHMENTS.items():
        answer = await web.get(f"{path}/{name}")
        assert (answer.status, await answer.read(), answer.headers["Content-Type"]) == (200, data, kind)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in answer.headers["Content-Security-Policy"].split("; ")
        shown = kind.startswith(("image/", "text/", "application/json"))
        assert answer.headers.get("Content-Disposition") == (None if shown else f'attachment; filename="{name}"')
    assert "a step of this name" in await (await web.get("/sessions/run-1/attachments/html")).text()
    others = await (await web.get("/api/sessions/run-1/step_2/attachments")).json()
    assert others == {"attachments": [], "more": 0}


async def test_the_list_of_attachments_has_only_attachments(local: StorageManager, client: Client) -> None:
    directory = Path(local.url_for("run-1", "step_1"))
    for name in ("good.txt", "<img src=x onerror=alert(1)>.png", "no-extension", ".hidden.txt", "a\nb.txt", "ü.txt"):
        (directory / name).write_text("x")
    (directory / "directory.txt").mkdir()
    (directory / "directory.txt" / "inside.txt").write_text("x")
    listed = await (await (await client(local)).get("/api/sessions/run-1/step_1/attachments")).json()
    assert [found["name"] for found in listed["attachments"]] == ["good.txt"]


async def test_a_long_list_of_attachments_is_cut(
    local: StorageManager, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attachments, "MAX_LISTED", 2)
    await local.store_attachments("run-1", {f"{name}.txt": name for name in "cbad"})
    listed = await (await (await client(local)).get("/api/sessions/run-1/attachments")).json()
    assert ([found["name"] for found in listed["attachments"]], listed["more"]) == (["a.txt", "b.txt"], 2)


async def test_session_metadata_as_it_is_stored(local: StorageManager, client: Client) -> None:
    web, path = await client(local), Path(await local.store_session_metadata("run-1", {"goal": BREAKING}))
    for data in (path.read_bytes(), b"no <script> JSON", b"\xff", b""):
        path.write_bytes(data)
        answer = await web.get("/api/sessions/run-1/metadata")
        assert (answer.status, await answer.read(), answer.content_type) == (200, data, "application/json")
        assert "sandbox" in answer.headers["Content-Security-Policy"].split("; ")
        assert (await web.get("/sessions/run-1")).status == 200
    os.truncate(path, 10 * attachments.MAX_METADATA)
    assert "more than 4,000,000 bytes" in await (await web.get("/api/sessions/run-1/metadata")).text()
    path.unlink()
    path.mkdir()
    assert (await web.get("/api/sessions/run-1/metadata")).status == 502
    assert (await web.get("/sessions/run-1")).status == 200


async def test_a_session_without_steps_has_a_page(sm: StorageManager, client: Client) -> None:
    await sm.store_session_metadata("run-2", {"goal": "nothing"})
    await sm.store_attachments("run-3", {"a.txt": "a"})
    web = await client(sm)
    for session_id in ("run-2", "run-3"):
        text = await (await web.get(f"/sessions/{session_id}")).text()
        assert "This session has no steps." in text
        assert 'id="stage"' not in text
        assert (await web.get(f"/sessions/{session_id}/step_1")).status == 404
    assert (await web.get("/sessions/run-4")).status == 404


async def test_attachments_on_s3_cost_one_list(moto: Make, client: Client, moto_requests: list[Request]) -> None:
    sm = moto()
    await store_small(sm)
    await sm.store_attachments("run-1", {"a.txt": "a"}, "step_1")
    web = await client(sm)
    for path in ("/api/sessions/run-1/step_1/attachments", "/sessions/run-1/step_1/attachments/a.txt"):
        moto_requests.clear()
        assert (await web.get(path)).status == 200
        assert [request.method for request in moto_requests] == ["GET"]
    await sm.aclose()


async def test_opening_a_session_on_s3_asks_for_its_list_only(
    moto: Make, client: Client, moto_requests: list[Request]
) -> None:
    sm = moto()
    await store_small(sm)
    web = await client(sm)
    moto_requests.clear()
    assert (await web.get("/sessions/run-1")).status == 200
    assert [request.method for request in moto_requests] == ["GET"]
    moto_requests.clear()
    assert (await web.get("/sessions/run-1/step_1/action")).status == 200
    assert len(moto_requests) == 1
    await sm.aclose()


async def test_what_is_searched_is_escaped(local: StorageManager, client: Client) -> None:
    text = await (await (await client(local)).get("/", params={"q": "<script>&\"'"})).text()
    assert "&lt;script&gt;&amp;&#34;&#39;" in text
    assert "<script>&" not in text


async def test_the_list_has_links_to_its_pages(tmp_path: Path, client: Client) -> None:
    for number in range(250):
        (tmp_path / "base" / f"run-{number:03}").mkdir(parents=True)
    web = await client(StorageManager.from_url(f"{tmp_path}/base"))
    first = await (await web.get("/?q=RUN")).text()
    assert "1–100\n    of 250" in first
    assert 'rel="next" href="/?q=RUN&amp;after=run-099"' in first
    assert "Previous" not in first
    last = await (await web.get("/?last")).text()
    assert "201–250\n    of 250" in last
    assert 'rel="prev" href="/?q=&amp;after=run-099"' in last
    assert "Next" not in last


async def test_serving(local: StorageManager) -> None:
    async with serve(local) as url, ClientSession() as session:
        assert url.startswith("http://127.0.0.1:")
        assert (await session.get(url)).status == 200
    async with serve(local, "::1") as url, ClientSession() as session:
        assert url.startswith("http://[::1]:")
        assert (await session.get(url)).status == 200


async def test_without_jinja2(local: StorageManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    _environment.cache_clear()
    with pytest.raises(StorageManagerError, match=r'pip install "agent-storage-manager\[viewer\]"'):
        create_app(local)
