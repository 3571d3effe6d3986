"""Shared parts of the tests: servers, browsers, sample sessions, and scripts that run in their own processes."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest  # which costs the processes too much time

ROOT = Path(__file__).parents[2]  # of the checkout


def wants_thorough(config: "pytest.Config") -> bool:
    """Return True if `--thorough`, `-m` or a test's own id asks for thorough tests."""
    return bool(config.option.thorough or config.option.markexpr or any("::" in argument for argument in config.args))
