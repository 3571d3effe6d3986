"""Limit the work of an import, and end it if it is cancelled."""

import threading
from typing import NoReturn

__all__ = ["MAX_SESSION", "Budget", "refuse"]

# Bytes of a session. A trace of 100 MB becomes some GB of steps, because each step has its whole page. Without this
# limit, a hostile trace could fill the disk, or take forever with pages of many empty slices.
MAX_SESSION = 8 * 2**30


def refuse(reason: str) -> NoReturn:
    """Raise a ValueError with the reason why a file is not imported. The caller adds the name of the file."""
    raise ValueError(reason)


class Budget:
    """The remaining work that an import may do. Any thread may set `is_cancelled`."""

    def __init__(self) -> None:
        self.is_cancelled = threading.Event()
        self._spent = 0

    def check_cancelled(self) -> None:
        """Raise ValueError if the import was cancelled."""
        if self.is_cancelled.is_set():
            refuse("the import was cancelled")

    def spend(self, size: int) -> None:
        """Count bytes of the session. Raise ValueError if there are too many, or if the import was cancelled."""
        self.check_cancelled()
        self._spent += size
        if self._spent > MAX_SESSION:
            refuse(f"its session would have more than {MAX_SESSION} bytes")

    def restart(self) -> None:
        """Count from zero again: each step is built a second time when it is stored."""
        self._spent = 0
