"""What lies in a directory on a local disk and below it, with nothing left out that cannot be looked at."""

import os
from collections.abc import Iterator
from datetime import datetime, timezone

from storage_manager.backends.base import FileInfo

__all__ = ["files_below"]


def files_below(path: str, name: str = "", *, follows_links: bool = True) -> Iterator[FileInfo]:
    """Every file, named from the directory on; sorted. What is deleted meanwhile is left out.

    A link to a directory counts as one in the directory itself (a step may be one), and as a file below.

    Raises:
        OSError: the directory is not there, or the disk refuses one below: fsspec's own `find` would leave it out.
    """
    with os.scandir(path) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        try:
            if entry.is_dir(follow_symlinks=follows_links):
                yield from files_below(entry.path, f"{name}{entry.name}/", follows_links=False)
            else:
                yield _found(entry, f"{name}{entry.name}")
        except FileNotFoundError:
            continue


def _found(entry: "os.DirEntry[str]", name: str) -> FileInfo:
    status = entry.stat(follow_symlinks=False)
    return FileInfo(name, status.st_size, datetime.fromtimestamp(status.st_mtime, timezone.utc))
