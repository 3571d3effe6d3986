"""A writer that is killed at any moment leaves whole components, complete new steps, and nothing in sight.

SM_TEST_CRASH_ROUNDS is how many writers are killed at random moments: 25 if it is not set, 1000 for the full count.
"""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from storage_manager import Step, StorageManager
from storage_manager.backends.base import STAGING_PREFIX
from storage_manager.integrity import sweep
from tests.support import ROOT, whole

pytestmark = pytest.mark.thorough

ROUNDS = int(os.environ.get("SM_TEST_CRASH_ROUNDS", "25"))
MOST = 12  # stores that return before the kill: half of those that a writer does
WITHIN = 0.0002  # seconds from when a write is seen to the kill

NOW = timedelta(0)

Order = Callable[..., str]


@pytest.fixture
def acknowledged(base: Path) -> Path:
    """The file in which a writer notes each store that has returned to it."""
    return base.with_name("acknowledged")


@pytest.fixture
def fsync() -> bool:
    return False


@pytest.fixture
def order(base: Path, acknowledged: Path, fsync: bool) -> Iterator[Order]:
    """Send a line to killed_writers and return its answer."""
    command = [sys.executable, "-W", "error", "-m", "tests.support.killed_writers", base, acknowledged]
    with subprocess.Popen(
        [*command, "fsync" if fsync else ""], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdin
        assert process.stdout
        stdin, stdout = process.stdin, process.stdout

        def send(**line: Any) -> str:
            stdin.write(json.dumps(line) + "\n")
            stdin.flush()
            return stdout.readline().strip()

        yield send
        stdin.close()
        assert process.wait() == 0


def staged(base: Path) -> list[Path]:
    return [path for path in base.iterdir() if path.name.startswith(STAGING_PREFIX)]


async def steps_in_sight(sm: StorageManager) -> list[Step]:
    """All steps, each complete; lists and find show them alike, and nothing else."""
    steps = [step async for step in sm.iter_steps(strict=True)]
    assert await sm.list_sessions() == sorted({step.session_id for step in steps})
    found: set[str] = set()
    for session in await sm.list_sessions():
        ids = [step.step_id for step in steps if step.session_id == session]
        assert await sm.list_steps_for_session(session) == ids
        found.update(sm.fs.find(sm.url_for(session), withdirs=False))
    components = ("html", "screenshot", "action", "metadata")
    assert found == {sm.url_for(*step[:2], name) for step in steps for name in components}  # type: ignore[arg-type]
    return steps


def noted(acknowledged: Path) -> dict[str, int]:
    """The last version of each step whose store had returned; a line that the kill cut off was not noted."""
    lines = acknowledged.read_text().splitlines(keepends=True) if acknowledged.exists() else []
    acknowledged.unlink(missing_ok=True)
    pairs = (line.split() for line in lines if line.endswith("\n"))
    return {step: int(version) for step, version in pairs}


async def check(sm: StorageManager, number: int, before: dict[str, int], kept: dict[str, int]) -> dict[str, int]:
    """Every component is whole, as it was or newer, and no older than what was acknowledged; its oldest version."""
    after = {}
    for step in await steps_in_sight(sm):
        name, versions = f"{step.session_id}/{step.step_id}", whole.versions(step)
        is_old = [version // 1000 < number for version in versions]
        assert not any(is_old) or name in before
        assert min(versions) >= max(before.get(name, 0), kept.get(name, 0))
        after[name] = min(versions)
    assert after.keys() >= before.keys() | kept.keys()
    return after


async def forget_new(sm: StorageManager, known: dict[str, int]) -> dict[str, int]:
    """Delete the steps of this round, so that the next one is as quick."""
    for name in known:
        session, step = name.split("/")
        if step.startswith("new-") or session.startswith("new-"):
            await sm.delete_step(session, step)
    return {name: version for name, version in known.items() if name.startswith("old/old-")}


def moment() -> dict[str, float | None]:
    """When to kill: one in ten at any time, the others while something is being written."""
    return {
        "after": random.randrange(MOST),
        "then": random.uniform(0, WITHIN) if random.random() < 0.9 else None,
    }


async def kill_rounds(sm: StorageManager, order: Order, acknowledged: Path, rounds: int) -> tuple[int, int]:
    """Kill and check so often, and up to five times as often until a quarter met a write; how often, and how many.

    On a busy machine the killer may be late. The last round's leftovers stay.
    """
    known: dict[str, int] = {}
    number = met = 0
    while number < rounds or (met < rounds / 4 and number < 5 * rounds):
        number += 1
        await sweep(sm, NOW)
        assert order(version=number, **moment()) == "killed"
        met += bool(staged(Path(sm.url_for())))
        known = await check(sm, number, known, noted(acknowledged))
        known = await forget_new(sm, known)
    return number, met


async def test_kills_at_random_moments(base: Path, order: Order, acknowledged: Path) -> None:
    """Whatever a kill meets, each component is the old or the new one, and what was acknowledged is there."""
    sm = StorageManager(local_base_path=base)
    number, met = await kill_rounds(sm, order, acknowledged, ROUNDS)
    print(f"{number} writers were killed, {met} of them within a write; every component is whole")
    assert met


@pytest.mark.parametrize("fsync", [True])
async def test_kills_with_fsync(base: Path, order: Order, acknowledged: Path) -> None:
    """The same with fsync."""
    assert await kill_rounds(StorageManager(local_base_path=base), order, acknowledged, 12) > (0, 0)


@pytest.mark.parametrize("existing", [False, True], ids=["new", "over"])
async def test_kills_before_every_call(base: Path, order: Order, existing: bool) -> None:
    """A store that is killed before any call to the system leaves a complete step, or what was there, or nothing."""
    sm = StorageManager(local_base_path=base)
    old = whole.step("s", "t", 1, [100] * 4)
    mixed = [[[1] * (4 - new) + [2] * new] for new in range(5)]
    at, answer = 0, "killed"
    while answer == "killed":
        at += 1
        await (sm.store_step_data("s", "t", *old.data) if existing else sm.delete_session("s"))
        answer = order(version=2, session="s", delete=[], at=at)
        seen = [sorted(whole.versions(step)) for step in await steps_in_sight(sm)]
        assert seen in (mixed if existing else [[], [[2] * 4]])
        await sweep(sm, NOW)
    assert answer == "ended"
    assert at > 6


async def test_kills_in_a_deletion_of_a_session(base: Path, order: Order) -> None:
    """A deletion that is killed has deleted all that is in sight, or nothing."""
    sm = StorageManager(local_base_path=base)
    at, answer, seen = 0, "killed", []
    while answer == "killed":
        at += 1
        await sm.store_steps(whole.step("s", name, 1, [100] * 4) for name in "tu")
        answer = order(version=2, session="s", delete=["delete_session"], at=at)
        seen.append(sum(whole.versions(step) == [1] * 4 for step in await steps_in_sight(sm)))
        await sweep(sm, NOW)
    assert answer == "ended"
    assert set(seen) == {0, 2}


async def test_kills_in_a_deletion_of_the_last_step(base: Path, order: Order) -> None:
    """The step is whole or gone; its session may be left empty, and goes when the deletion is called again."""
    sm = StorageManager(local_base_path=base)
    at, answer, seen = 0, "killed", []
    while answer == "killed":
        at += 1
        await sm.store_steps([whole.step("s", "t", 1, [100] * 4)])
        answer = order(version=2, session="s", delete=["delete_step", "t"], at=at)
        steps = [step async for step in sm.iter_steps(strict=True)]
        assert [whole.versions(step) for step in steps] in ([], [[1] * 4])
        seen.append((await sm.list_sessions(), len(steps)))
        await sm.delete_step("s", "t")
        assert await sm.list_sessions() == []
        await sweep(sm, NOW)
    assert answer == "ended"
    assert [seen[0], seen[-1]] == [(["s"], 1), ([], 0)]
    assert seen.count((["s"], 0)) == 1


async def leave(base: Path, order: Order) -> list[Path]:
    """Leftovers of at least four kills, each before another call to the system."""
    for at in range(1, 50):
        order(version=1, session="s", delete=[], at=at)
        if len(staged(base)) >= 4:
            return staged(base)
    raise AssertionError("fifty kills left nothing")


async def test_leftovers_go_when_they_are_an_hour_old(base: Path, order: Order) -> None:
    """A later store of a new manager removes what killed writers left an hour ago, and nothing younger."""
    left = await leave(base, order)
    for path in left[:2]:
        os.utime(path, (time.time() - 3601,) * 2)
    for path in left[2:]:
        os.utime(path, (time.time() - 3500,) * 2)
    await StorageManager(local_base_path=base).store_step_data("s", "t", "x")
    assert sorted(staged(base)) == sorted(left[2:])


async def test_an_explicit_sweep_removes_leftovers(base: Path, order: Order) -> None:
    """A sweep removes what is older than it is told, and counts it."""
    left = await leave(base, order)
    sm = StorageManager(local_base_path=base)
    for path in left[:2]:
        os.utime(path, (time.time() - 100,) * 2)
    assert await sweep(sm, timedelta(seconds=50)) == 2
    assert sorted(staged(base)) == sorted(left[2:])
    assert await sweep(sm, NOW) == len(left) - 2
    assert staged(base) == []
