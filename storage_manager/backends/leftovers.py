"""What killed writers left at the root of a local place."""

import os
import shutil
import time

from storage_manager.backends.base import STAGED, hidden_name

__all__ = ["STALE_SECONDS", "sweep"]

STALE_SECONDS = 3600  # a writer needs seconds: what is an hour old was left by a kill


def sweep(root: str, older_than: float) -> int:
    """Remove what is staged there and older than this many seconds; returns how many."""
    limit = time.time() - older_than
    with os.scandir(root) as entries:
        staged = [entry for entry in entries if STAGED.fullmatch(entry.name)]
    return sum(_remove_entry(entry) for entry in staged if _modified(entry) < limit)


def _remove_entry(entry: "os.DirEntry[str]") -> bool:
    """False where another was quicker.

    It is moved first: a writer that was at it all the same finds it gone, and begins anew. Removed where it lies, it
    could be published in the middle of that.
    """
    mine = os.path.join(os.path.dirname(entry.path), hidden_name())
    try:
        os.rename(entry.path, mine)
        (shutil.rmtree if entry.is_dir(follow_symlinks=False) else os.unlink)(mine)
    except FileNotFoundError:
        return False
    return True


def _modified(entry: "os.DirEntry[str]") -> float:
    try:
        return entry.stat(follow_symlinks=False).st_mtime
    except FileNotFoundError:  # published meanwhile
        return time.time()
