"""Several processes store, read, list and delete at one place, and none of them is the worse for it."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from storage_manager import Step, StorageManager
from tests.support import ROOT, whole

pytestmark = pytest.mark.thorough

Make = Callable[..., StorageManager]


def start(number: int, count: int, environment: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-m", "tests.support.one_of_many", str(number), str(count)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, cwd=ROOT, env={**os.environ, **environment}, **pipes)


def run(processes: int, count: int, **environment: str) -> list[dict[str, Any]]:
    """What each process reports; they begin together."""
    with ExitStack() as stack:
        running = [stack.enter_context(start(number, count, environment)) for number in range(processes)]
        for process in running:
            stack.callback(process.kill)
        for process in running:
            assert process.stdout
            assert process.stdout.readline() == "ready\n", process.communicate()[1]
        for process in running:
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()
        answers = [process.communicate() for process in running]
    assert [errors for _, errors in answers] == [""] * processes
    reports = [json.loads(out) for out, _ in answers]
    print(dict(sum((Counter(report["done"]) for report in reports), Counter())))
    return reports


async def kept(sm: StorageManager, reports: list[dict[str, Any]]) -> list[Step]:
    """All steps at the end; a process's own are as it stored them last."""
    steps = [step async for step in sm.iter_steps(strict=True)]
    read = {step[:2]: whole.versions(step) for step in steps}
    for number, report in enumerate(reports):
        expected = {(f"own{number}", step): [version] * 4 for step, version in report["own"].items()}
        assert {ids: versions for ids, versions in read.items() if ids[0] == f"own{number}"} == expected
    return steps


async def test_processes_on_one_disk(base: Path) -> None:
    """No operation fails, nothing that is read is torn, every step is complete at the end, and nothing is left over."""
    reports = run(8, 200, SM_LOCAL_BASE_PATH=str(base))
    assert [error for report in reports for error in report["errors"] + report["torn"]] == []
    sm = StorageManager(local_base_path=base)
    steps = await kept(sm, reports)
    assert {len(whole.versions(step)) for step in steps} == {4}
    directories = {str(path.relative_to(base)) for path in base.rglob("*") if path.is_dir()}
    assert directories == {name for step in steps for name in (step.session_id, f"{step.session_id}/{step.step_id}")}
    assert await sm.list_sessions() == sorted(name for name in os.listdir(base))


@pytest.mark.parametrize("engine", ["obstore"], indirect=True)
async def test_processes_on_one_bucket(moto: Make, moto_url: str) -> None:
    """Nothing that is read is torn; a step that was deleted while it was stored may lack parts.

    No operation fails but a deletion that finds the same keys stored again three times, and says so.
    """
    sm = moto()
    bucket = sm.url_for().removeprefix("s3://")
    reports = run(3, 60, SM_S3_BUCKET_NAME=bucket, SM_S3_ENDPOINT_URL=moto_url)
    assert [torn for report in reports for torn in report["torn"]] == []
    errors = [error for report in reports for error in report["errors"]]
    assert [error for error in errors if "still listed after its deletions" not in error] == []
    steps = await kept(sm, reports)
    found = {name.rsplit("/", 1)[0] for name in sm.fs.find(bucket)}
    assert found == {f"{bucket}/{step.session_id}/{step.step_id}" for step in steps}
