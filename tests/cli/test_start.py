"""A command imports what it needs, and no more: most of the time of a short one is imports."""

import asyncio
import gc
import subprocess
import sys

import pytest

from storage_manager.cli import process
from tests.support.shell import SAMPLE

CODE = """
import sys
from storage_manager.cli import main
try:
    main()
finally:
    print(*sys.modules)
"""
# Each takes a tenth of the time of `ls`, or more.
NOT_FOR_LS = {"pydantic", "pydantic_core", "http.client", "rich", "s3fs", "aiohttp", "botocore"}


def modules(*command: object) -> set[str]:
    """The modules that a process has imported at the end of a command."""
    words = [sys.executable, "-c", CODE, *map(str, command)]
    return set(subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()[-1].split())


def test_ls_imports_little() -> None:
    found = modules("ls", "--long", "--root", SAMPLE)
    assert {"storage_manager.cli.ls", "storage_manager.backends.local"} <= found
    assert found & NOT_FOR_LS == set()
    of_others = {"storage_manager.cli.show", "storage_manager.transfer", "storage_manager.integrity"}
    assert found & of_others == set()


def test_a_long_command_collects_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_STARTING", 0)
    gc.disable()
    try:
        process.run(asyncio.sleep(0.001))  # the timer of 0 seconds is earlier
        assert gc.isenabled()
    finally:
        gc.enable()
