"""10,000 sessions: the first is shown at once, and memory does not grow with their number."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from moto.s3.models import s3_backends

from tests.support.roots import MOTO_KEYS, Request, make_bucket

pytestmark = pytest.mark.thorough

MANY = 10_000
SECONDS = 30  # one where nothing else runs, and S3 is no Python
GROWTH = 8_000  # kB more than for one session; the names of 10,000 alone, as a list, take 1,000


# what wait4() and getrusage() tell of a child includes what its parent had when it forked
MEASURED = """
import atexit, re, sys
from pathlib import Path
status = lambda: re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]
atexit.register(lambda: sys.stderr.write(status()))
from storage_manager.cli import main
main()
"""


class Usage(NamedTuple):
    """What a listing took: seconds and requests until its first line, its lines, and kB of memory at most."""

    first: float
    requests: int
    lines: int
    memory: int


def listed(root: object, requests: list[Request]) -> Usage:
    """List the sessions of a place."""
    requests.clear()
    began = time.monotonic()
    command = [sys.executable, "-W", "error", "-c", MEASURED, "ls", "--root", str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        first, asked = time.monotonic() - began, len(requests)
        lines = 1 + sum(1 for _ in process.stdout)
        memory = int(process.stderr.read())
    assert process.returncode == 0
    return Usage(first, asked, lines, memory)


@pytest.fixture(params=["local", "obstore"])
def roots(request: pytest.FixtureRequest, base: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str]]:
    """A place of one session, and one of many."""
    if request.param == "local":
        for name in ["one/session", *(f"many/session_{number:05}" for number in range(MANY))]:
            (base / name).mkdir(parents=True)
        yield f"{base}/one", f"{base}/many"
        return
    endpoint = request.getfixturevalue("moto_url")
    for name, value in {**MOTO_KEYS, "SM_S3_ENDPOINT_URL": endpoint, "SM_S3_ENGINE": request.param}.items():
        monkeypatch.setenv(name, value)
    bucket = make_bucket(endpoint)
    backend = next(place for account in s3_backends.values() for place in account.values() if bucket in place.buckets)
    for name in ["one/session", *(f"many/session_{number:05}" for number in range(MANY))]:
        backend.put_object(bucket, f"{name}/step_1/action.json", b"{}\n")
    yield f"s3://{bucket}/one", f"s3://{bucket}/many"
    backend.buckets.pop(bucket)


def test_ls_of_many_sessions(roots: tuple[str, str], moto_requests: list[Request]) -> None:
    one, many = (listed(root, moto_requests) for root in roots)
    print(f"first line after {many.first:.2f} s, {many.memory} kB at most; of one session {one.memory} kB")
    assert (one.lines, many.lines) == (1, MANY)
    assert many.first < SECONDS
    if os.environ.get("SM_S3_ENGINE") != "obstore":  # which gives a directory as a whole, in 10 LIST
        assert many.requests <= 2  # pages of 1,000: the first, and the next one
    assert many.memory - one.memory < GROWTH
