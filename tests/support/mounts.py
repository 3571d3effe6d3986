"""Real file systems for the tests: tmpfs, overlayfs, and one in user space with the quirks of others (quirky_disk.py).

Mounting needs root, and the one in user space needs `mfusepy` and libfuse. Without them a test is skipped, but not in
CI.
"""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

NOBODY = 65534
HOW_TO_MOUNT = "run as root, in a container with --cap-add SYS_ADMIN --device /dev/fuse"


def cannot_mount(why: str) -> NoReturn:
    """Skip the test, or fail in CI."""
    assert "CI" not in os.environ, f"CI needs mounts ({why}): {HOW_TO_MOUNT}"
    pytest.skip(f"no mount ({why}): {HOW_TO_MOUNT}")


@contextmanager
def mounted(point: Path, *arguments: str) -> Iterator[Path]:
    """Mount something at a directory, with the arguments of mount(8), until the block ends."""
    point.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(["mount", *arguments, point], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        cannot_mount("install util-linux")
    if done.returncode:
        cannot_mount(done.stderr.strip())
    try:
        yield point
    finally:
        subprocess.run(["umount", "-l", point], check=True)


@contextmanager
def overlay(directory: Path, lower: Path) -> Iterator[Path]:
    """Mount overlayfs over a lower directory, as a container has the files of its image."""
    with mounted(directory, "-t", "tmpfs", "tmpfs"):  # overlayfs takes no upper directory that is on overlayfs itself
        upper, work = directory / "upper", directory / "work"
        upper.mkdir()
        work.mkdir()
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        with mounted(directory / "merged", "-t", "overlay", "-o", options, "overlay") as point:
            yield point


@contextmanager
def quirky(directory: Path, *switches: str) -> Iterator[Path]:
    """Mount quirky_disk.py with these switches."""
    if importlib.util.find_spec("mfusepy") is None or not os.path.exists("/dev/fuse"):
        cannot_mount("pip install mfusepy; apt-get install libfuse3-3")
    source, point = directory / "source", directory / "mounted"
    source.mkdir(parents=True)
    point.mkdir()
    command = [sys.executable, str(Path(__file__).with_name("quirky_disk.py")), str(source), str(point), *switches]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        if process.stdout.readline() != "mounted\n":
            cannot_mount(process.stderr.read().strip())
        try:
            yield point
        finally:
            subprocess.run(["umount", "-l", point], check=True)
            process.communicate(timeout=30)


@contextmanager
def nobody() -> Iterator[None]:
    """Run the block as a user whom permissions bind, if root runs the suite."""
    if os.geteuid():
        yield
        return
    groups = os.getgroups()
    os.setgroups([])
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setgroups(groups)


def files_below(base: Path) -> set[str]:
    """Return all paths below a directory, staged or not."""
    return {str(path.relative_to(base)) for path in base.rglob("*")}
