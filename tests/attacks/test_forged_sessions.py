"""Directories and manifests that somebody made by hand: no operation takes long, and none overlooks what is wrong."""

import json
import os
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from storage_manager import LocalStorageError, StorageManager, StorageManagerError
from storage_manager.integrity import Problem, seal_session, verify_session
from storage_manager.layout import BY_FILENAME
from storage_manager.manifest import ANY_FORM_BYTES, read_entries
from storage_manager.transfer import copy_sessions

HASH = "0" * 64


@pytest.fixture
async def sm(tmp_path: Path) -> StorageManager:
    """A manager of a root with a session of two steps."""
    storage = StorageManager(local_base_path=tmp_path / "base")
    for step_id in ("step_1", "step_2"):
        await storage.store_step_data("s", step_id, "<p>", b"x", {"a": 1}, {"b": 2})
    return storage


def forge(session: Path, count: int) -> None:
    """Write a manifest that lists this many components that are not there."""
    seals = {f"step_{number}/action.json": {"size": 1, "sha256": HASH} for number in range(100, 100 + count)}
    manifest = {"version": 1, "sealed_at": "2026-01-01T00:00:00.000+00:00", "components": seals}
    (session / "_manifest.json").write_text(json.dumps(manifest))


@pytest.mark.thorough
async def test_a_manifest_of_50000_entries(sm: StorageManager, tmp_path: Path) -> None:
    """It took 7 s: each entry was looked for on the disk, although the listing did not have it."""
    forge(tmp_path / "base" / "s", 50_000)
    started = time.process_time()
    problems = await verify_session(sm, "s")
    assert time.process_time() - started < 5, "1 s as a rule"
    missing = [problem for problem in problems if problem.kind == "missing"]
    assert (len(problems), len(missing)) == (50_008, 50_000)
    assert missing[0].detail == "the manifest lists it, but it does not exist"


async def test_what_only_a_manifest_lists_is_not_read(
    sm: StorageManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    whole = StorageManager.read_step

    async def counting(self: StorageManager, session_id: str, step_id: str, **options: Any) -> Any:
        read.append(step_id)
        return await whole(self, session_id, step_id, **options)

    monkeypatch.setattr(StorageManager, "read_step", counting)
    forge(tmp_path / "base" / "s", 50)
    assert len(await verify_session(sm, "s")) == 58
    assert sorted(read) == ["step_1", "step_2"]


def empty(directory: Path) -> None:
    directory.mkdir()


def filled(directory: Path) -> None:
    directory.mkdir()
    (directory / "x").write_text("x")


@pytest.mark.parametrize("name", list(BY_FILENAME))
@pytest.mark.parametrize("make", [empty, filled])
async def test_a_directory_in_the_place_of_a_component(
    sm: StorageManager, tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    """Verifying, sealing and copying agree, and each names it."""
    place = tmp_path / "base/s/step_1" / name
    place.unlink()
    make(place)
    problem, *others = await verify_session(sm, "s")
    assert (problem.url, problem.kind) == (str(place), "unreadable")
    assert [(other.url, other.kind) for other in others] == [(f"{place}/x", "unlisted")] * (make is filled)
    assert "not a regular file" in problem.detail
    with pytest.raises(LocalStorageError, match=rf"cannot seal .*/step_1/{name}: .*not a regular file"):
        await seal_session(sm, "s")
    target = StorageManager(local_base_path=tmp_path / "copy")
    with pytest.raises(LocalStorageError, match=rf"not copied: 1 of 2 steps .*/step_1/{name}: .*not a regular file"):
        await copy_sessions(sm, target, ["s"])
    assert await target.list_steps_for_session("s") == ["step_2"]


async def test_a_step_with_nothing_but_such_a_directory(sm: StorageManager, tmp_path: Path) -> None:
    (tmp_path / "base/s/step_3/observation.html").mkdir(parents=True)
    (tmp_path / "base/s/step_4").mkdir()  # an empty directory is not a step, and no problem
    [problem] = await verify_session(sm, "s")
    assert problem.url.endswith("/s/step_3/observation.html")
    with pytest.raises(LocalStorageError, match=r"cannot seal .*/step_3/observation.html"):
        await seal_session(sm, "s")
    target = StorageManager(local_base_path=tmp_path / "copy")
    told: list[tuple[int, int | None]] = []
    with pytest.raises(LocalStorageError, match=r"not copied: 1 of 3 steps"):
        await copy_sessions(sm, target, ["s"], progress=lambda done, total: told.append((done, total)))
    assert await target.list_steps_for_session("s") == ["step_1", "step_2"]
    assert told[-1] == (3, 4)


async def removed_meanwhile(sm: StorageManager, path: Path, work: Callable[[], Awaitable[Any]]) -> Any:
    """Do the work, and remove the file after the first listing of the session."""
    backend: Any = sm.async_fs
    whole = backend.files

    def files(directory: str, *stop: Any) -> Any:
        found = whole(directory, *stop)
        path.unlink(missing_ok=True)
        return found

    backend.files = files
    try:
        return await work()
    finally:
        del backend.files


async def test_a_seal_that_vanishes_while_it_is_verified(sm: StorageManager, tmp_path: Path) -> None:
    """It was reported as: the directory is gone, mount its disk."""
    seal = Path(await seal_session(sm, "s"))
    problems = await removed_meanwhile(sm, seal, lambda: verify_session(sm, "s"))
    why = "the seal was removed while the session was verified: verify it again, or seal it again"
    assert problems == [Problem(str(seal), "missing", why)]


async def test_a_seal_that_vanishes_while_it_is_copied(sm: StorageManager, tmp_path: Path) -> None:
    seal = Path(await seal_session(sm, "s"))
    target = StorageManager(local_base_path=tmp_path / "copy")
    with pytest.raises(StorageManagerError, match="it was deleted after it was listed") as caught:
        await removed_meanwhile(sm, seal, lambda: copy_sessions(sm, target, ["s"]))
    assert "mount its disk" not in str(caught.value)


async def test_a_root_that_is_gone_is_still_said(sm: StorageManager, tmp_path: Path) -> None:
    await seal_session(sm, "s")
    (tmp_path / "base").rename(tmp_path / "away")
    with pytest.raises(LocalStorageError, match="mount its disk"):
        await verify_session(sm, "s")


# --- manifests of any size and kind ---------------------------------------------------------------

HEAD = '{"version":1,"sealed_at":"x","components":{'
SEAL = '{"size":1,"sha256":"' + HASH + '"}'
HUGE = {
    # each took 12 to 55 s, in which nothing else ran; the second took 8 GB
    "paths that are none": HEAD + ",".join(f'"bad/{number}":{SEAL}' for number in range(100_000)) + "}}",
    "lists": '{"x":[' + "[]," * 3_000_000 + "1]}",
    "one path many times": HEAD + ",".join(f'"step_1/action.json":{SEAL}' for _ in range(100_000)) + "}",
    "a long hash": HEAD + '"step_1/action.json":{"size":1,"sha256":"' + "0" * 10_000_000 + '"}}}',
    "a long number": HEAD + '"step_1/action.json":{"size":' + "9" * 1_000_000 + ',"sha256":"' + HASH + '"}}}',
    "another beginning": '{"components":{' + f'"step_1/action.json":{SEAL}' + "}}" + " " * 1_000_000,
}


@pytest.mark.parametrize("kind", HUGE)
async def test_a_huge_manifest_holds_nobody(sm: StorageManager, tmp_path: Path, kind: str) -> None:
    manifest = tmp_path / "base/s/_manifest.json"
    manifest.write_text(HUGE[kind])
    started = time.process_time()
    [problem] = await verify_session(sm, "s")
    assert time.process_time() - started < 3  # it took 55 s
    assert (problem.url, problem.kind) == (str(manifest), "unreadable")
    assert "not a manifest of this library" in problem.detail
    assert len(problem.detail) < 300


async def test_a_large_manifest_of_ours_is_compared(sm: StorageManager, tmp_path: Path) -> None:
    """Also with the spaces of another JSON writer."""
    seal = Path(await seal_session(sm, "s"))
    for separators in ((",", ":"), (", ", ": ")):
        known = json.loads(seal.read_text())
        known["components"] |= {f"gone_{number}/action.json": {"size": 1, "sha256": HASH} for number in range(5000)}
        seal.write_text(json.dumps(known, separators=separators) + "\n")
        assert seal.stat().st_size > ANY_FORM_BYTES
        assert {problem.kind for problem in await verify_session(sm, "s")} == {"missing"}
        assert len(await verify_session(sm, "s")) == 5000


def test_reading_a_manifest_can_be_ended() -> None:
    cancelled = threading.Event()
    entries = read_entries((HEAD + f'"a/action.json":{SEAL},' * 10 + "}}").encode(), cancelled)
    assert next(entries).path == "a/action.json"
    cancelled.set()
    assert list(entries) == []


@pytest.mark.parametrize("make", [os.mkfifo, empty, filled, lambda path: os.symlink(path, path)])
async def test_a_manifest_that_is_no_file(sm: StorageManager, tmp_path: Path, make: Callable[[Path], None]) -> None:
    """It ended the verification of all sessions, or was overlooked."""
    make(tmp_path / "base/s/_manifest.json")
    problem, *others = await verify_session(sm, "s")
    assert (problem.url, problem.kind) == (sm.url_for("s") + "/_manifest.json", "unreadable")
    assert [other.kind for other in others] == ["unlisted"] * (make is filled)


async def test_a_manifest_larger_than_memory(sm: StorageManager, tmp_path: Path) -> None:
    manifest = tmp_path / "base/s/_manifest.json"
    manifest.touch()
    os.truncate(manifest, 2**40)
    [problem] = await verify_session(sm, "s")
    assert (problem.url, problem.kind) == (str(manifest), "unreadable")
    assert "max_file_bytes" in problem.detail
