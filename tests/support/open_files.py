"""The files that this process has open."""

import os
from pathlib import Path

__all__ = ["open_files"]


def open_files(folder: Path) -> list[str]:
    """Return the files in a folder that this process has open, of its own or of libraries."""
    links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    paths = [os.readlink(link) for link in links if os.path.islink(link)]
    return [path for path in paths if path.startswith(f"{folder}/")]
