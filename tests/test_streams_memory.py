"""A large attachment never lies in memory as a whole: not when it is stored, sealed, verified or copied."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from storage_manager import StorageManager
from tests.support import ROOT
from tests.support.quirky_s3 import QuirkyS3
from tests.support.services import BUCKET

pytestmark = pytest.mark.thorough

SIZE = 200 * 10**6  # bytes
WORK = ("store", "seal", "verify", "copy")


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "video.webm"
    path.write_bytes(os.urandom(10**6) * (SIZE // 10**6))
    return path


def peaks(root: str, video: Path, copy: str, works: tuple[str, ...] = WORK, **environment: str) -> dict[str, int]:
    """The peak of memory of each piece of work, in a process of its own, above its start, in MB."""
    found = {}
    for what in works:
        command = [sys.executable, "-m", "tests.support.streaming_child", what, root, str(video), copy]
        settings = {**os.environ, **environment}
        run = subprocess.run(command, check=False, cwd=ROOT, env=settings, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        found[what] = int(run.stdout.split()[0]) // 10**6
    print(found)
    return found


def test_on_local_disk(local: StorageManager, video: Path, tmp_path: Path) -> None:
    assert max(peaks(local.url_for(), video, f"{tmp_path}/copy").values()) < 60


def test_on_s3(video: Path, tmp_path: Path, engine: str) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "SM_S3_ENGINE": engine}
    works = WORK if engine == "obstore" else ("store", "copy")  # seal and verify read as copy does
    with QuirkyS3() as server:
        server.buckets[BUCKET] = {}
        found = peaks(f"s3://{BUCKET}/p", video, f"{tmp_path}/copy", works, SM_S3_ENDPOINT_URL=server.url, **keys)
        assert len(server.buckets[BUCKET]["p/s/_files/video.webm"].data) == SIZE
    assert max(found.values()) < 150
