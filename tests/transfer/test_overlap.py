"""Whether one place lies within another is told from what URLs mean, not from how they are written."""

from pathlib import Path

import pytest

from storage_manager import InvalidDataError, StorageManager
from storage_manager.overlap import lies_within
from storage_manager.transfer import copy_sessions


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3a://bucket/a/", "s3://bucket"),
        ("s3://bucket/a/b", "s3://bucket/a"),
        ("memory:///root/a", "memory://root"),
        ("memory://root", "memory:///root"),
        ("ftp://host/a/b", "ftp://host/a"),
        ("/data/a", "/data"),
        ("file:///data/a", "/data/"),
        ("/data/../data/a", "/data"),
        ("/data", "/"),
    ],
)
def test_within(url: str, root: str) -> None:
    assert lies_within(url, root)


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("s3://bucket", "s3://bucket/a"),
        ("s3://bucket/ab", "s3://bucket/a"),
        ("s3://other/a", "s3://bucket"),
        ("memory://roots", "memory://root"),
        ("ftp://other/a/b", "ftp://host/a"),
        ("/data2", "/data"),
        ("memory://data/a", "/data"),
    ],
)
def test_outside(url: str, root: str) -> None:
    assert not lies_within(url, root)


def test_behind_links(tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "place")
    assert lies_within(f"{tmp_path}/link/a", f"{tmp_path}/place")


@pytest.mark.parametrize(
    ("target", "why"), [("memory:///here", "the same root as the source"), ("memory:///here/a", "lies among")]
)
async def test_no_copy_into_the_source(target: str, why: str) -> None:
    with pytest.raises(InvalidDataError, match=why):
        await copy_sessions(StorageManager.from_url("memory://here"), StorageManager.from_url(target))
