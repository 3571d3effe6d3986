"""Names on a disk that ignores upper and lower case, such as on macOS, Windows shares and some ext4 directories.

On such a disk, `Run` and `run` are the same directory, but everywhere else they are two sessions. So only the stored
spelling is the id of a session. With any other spelling, nothing is found, and nothing is written.
"""

import contextlib
import os
import time
from collections.abc import Iterable
from typing import NamedTuple

from storage_manager.backends.base import STAGED, hidden_name
from storage_manager.errors import LocalStorageError

__all__ = ["Spelling"]

KEPT_DIRECTORIES = 1000  # listings that are kept, so that reading many steps lists each directory once
CLOCK_TICK = 3.0  # seconds; a younger listing is not kept, because FAT stores times in steps of two seconds


class _Listing(NamedTuple):
    """The names in a directory, and its inode and time when they were read."""

    stamp: tuple[int, int]
    names: frozenset[str]


class Spelling:
    """The spellings of the names below a root. On a disk that does not ignore case, this costs only one test.

    Parameters:
        root: the directory; "" to compare no names.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._ignores_case: bool | None = None if root else False
        self._listings: dict[str, _Listing] = {}

    def refuse_other(self, url: str, paths: Iterable[str] = ()) -> None:
        """Raise an error if a part of a path exists with another spelling.

        Parameters:
            url: the directory that will be written.
            paths: the files in it. If there are none, only the directory is checked.

        Raises:
            LocalStorageError: another spelling exists. The message names both.
        """
        if self._ignores_case is None:
            self._ignores_case = _ignores_case(self._root)
        if not self._ignores_case:
            return
        for other in filter(None, map(self._other, paths or [url])):
            why = f"the disk takes upper and lower case as the same, and {other} exists already"
            advice = "use its spelling, or another id"
            raise LocalStorageError(f"cannot store {url}: {why} ({advice})", operation="store", url=url)

    def is_other(self, path: str) -> bool:
        """Return True if the path leads to a file or directory whose name is spelled differently."""
        if self._ignores_case is None:
            self._ignores_case = _is_found_otherwise(self._root, path)
        return bool(self._ignores_case) and self._other(path) is not None

    def _other(self, path: str) -> str | None:
        """Return the other spelling with which a part of the path is stored; None if there is none."""
        if not path.startswith(f"{self._root}/"):
            return None
        directory = self._root
        for name in path[len(directory) + 1 :].split("/"):
            found = self._stored(directory, name)
            if found != name:
                return found and f"{directory}/{found}"
            directory = f"{directory}/{name}"
        return None

    def _stored(self, directory: str, name: str) -> str | None:
        """Return the spelling with which a name is stored; None if there is no such name."""
        if not os.path.lexists(f"{directory}/{name}"):
            return None
        names = self._names(directory)
        return name if name in names else next((other for other in names if other.lower() == name.lower()), None)

    def _names(self, directory: str) -> frozenset[str]:
        with contextlib.suppress(OSError):
            status = os.stat(directory)
            stamp = (status.st_ino, status.st_mtime_ns)
            known = self._listings.get(directory)
            if known and known.stamp == stamp:
                return known.names
            names = frozenset(os.listdir(directory))
            if time.time() - status.st_mtime > CLOCK_TICK:
                self._keep(directory, _Listing(stamp, names))
            return names
        return frozenset()

    def _keep(self, directory: str, listing: _Listing) -> None:
        if len(self._listings) >= KEPT_DIRECTORIES:
            self._listings.clear()
        self._listings[directory] = listing


def _is_found_otherwise(root: str, path: str) -> bool | None:
    """Return True if a name in a path below the root is also found in the other case; None if this is unknown.

    A reader tests only these names, because the root may have a hundred thousand names without a letter.
    """
    directory = root
    with contextlib.suppress(OSError):
        for name in path[len(root) + 1 :].split("/") if path.startswith(f"{root}/") else ():
            answer = _has_other_spelling(directory, name)
            if answer is not None:
                return answer
            directory = f"{directory}/{name}"
    return None


def _ignores_case(root: str) -> bool | None:
    """Return True if the disk ignores upper and lower case; None if this is unknown.

    A name at the root is looked up with another spelling. If no name is suitable, a hidden directory is created.
    """
    with contextlib.suppress(OSError), os.scandir(root) as entries:
        for entry in entries:
            # a staged name may go at any time, and a file system that caches names (FUSE) may still find it
            answer = None if STAGED.fullmatch(entry.name) else _has_other_spelling(root, entry.name)
            if answer is not None:
                return answer
    return _probe(root, hidden_name())


def _probe(root: str, name: str) -> bool | None:
    path = f"{root}/{name}"
    try:
        os.mkdir(path)
    except OSError:
        return None
    try:
        return _has_other_spelling(root, name)
    finally:
        os.rmdir(path)


def _has_other_spelling(directory: str, name: str) -> bool | None:
    """Return True if a name is also found with upper and lower case swapped, and a listing has only one of the two.

    Inode numbers are not compared, because some file systems (FUSE) invent a number for each name.

    Returns:
        None if the name has no letters, if it does not exist any more, or if the listing has both names.
    """
    path, swapped = f"{directory}/{name}", name.swapcase()
    if swapped == name or not name.isascii():
        return None
    if not os.path.lexists(f"{directory}/{swapped}"):
        return False if os.path.lexists(path) else None
    names = os.listdir(directory)
    if not os.path.lexists(path) or {name, swapped} <= set(names):
        return None
    return True if name.lower() in map(str.lower, names) else None
