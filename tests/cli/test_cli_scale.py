"""10,000 sessions: the first is shown at once, and memory does not grow with their number."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from moto.s3.models import s3_backends
from places import MOTO_KEYS, make_bucket
from shell import SM

MANY = 10_000
GROWTH = 8_000  # kB more than for one session; the names of 10,000 alone, as a list, take 1,000


class Usage(NamedTuple):
    """What a listing took: seconds until its first line, lines, and kB of memory at most."""

    first: float
    lines: int
    memory: int


def listed(root: object) -> Usage:
    """List the sessions of a place."""
    began = time.monotonic()
    with subprocess.Popen([*SM, "ls", "--root", str(root)], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        first = time.monotonic() - began
        lines = 1 + sum(1 for _ in process.stdout)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return Usage(first, lines, usage.ru_maxrss)


@pytest.fixture(params=["local", "s3fs", "obstore"])
def roots(
    request: pytest.FixtureRequest, base: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[object, object]]:
    """A place of one session, and one of many."""
    if request.param == "local":
        for name in ["one/session", *(f"many/session-{number:05}" for number in range(MANY))]:
            (base / name).mkdir(parents=True)
        yield base / "one", base / "many"
        return
    endpoint = request.getfixturevalue("moto_url")
    for name, value in {**MOTO_KEYS, "SM_S3_ENDPOINT_URL": endpoint, "SM_S3_ENGINE": request.param}.items():
        monkeypatch.setenv(name, value)
    bucket = make_bucket(endpoint)
    backend = next(place for account in s3_backends.values() for place in account.values() if bucket in place.buckets)
    for name in ["one/session", *(f"many/session-{number:05}" for number in range(MANY))]:
        backend.put_object(bucket, f"{name}/step_1/action.json", b"{}\n")
    yield f"s3://{bucket}/one", f"s3://{bucket}/many"
    backend.buckets.pop(bucket)


def test_ls_of_many_sessions(roots: tuple[object, object]) -> None:
    one, many = map(listed, roots)
    print(f"first line after {many.first:.2f} s, {many.memory} kB at most; of one session {one.memory} kB")
    assert (one.lines, many.lines) == (1, MANY)
    assert many.first < 5
    assert many.memory - one.memory < GROWTH
