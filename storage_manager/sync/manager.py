"""The synchronous StorageManager. Its methods are those of the asynchronous one, which does the work."""

import os
from types import TracebackType
from typing import TYPE_CHECKING, Any

from storage_manager import storage
from storage_manager.sync.background import run
from storage_manager.sync.twins import add_twins, signature_of, translated_text

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["StorageManager"]


class StorageManager:
    """Stores the HTML, screenshot, action and metadata of each step of a browser session, without `async`.

    It has the methods of storage_manager.StorageManager. They wait for the result, and iterators are plain generators.
    Any number of threads and forked child processes can use it. It also works while an event loop is running in the
    calling thread, as in Jupyter; this loop is blocked meanwhile. You do not have to close it.

    Attributes:
        asynchronous: the manager underneath. Await its methods in coroutines, on any event loop.
    """

    asynchronous: storage.StorageManager

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.asynchronous = storage.StorageManager(*args, **kwargs)

    @classmethod
    def from_url(cls, url: str | os.PathLike[str], **options: Any) -> "Self":
        self = cls.__new__(cls)
        self.asynchronous = storage.StorageManager.from_url(url, **options)
        return self

    def __repr__(self) -> str:
        return f"<sync.StorageManager {self.asynchronous.url_for()}>"

    def __enter__(self) -> "Self":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        run(self.asynchronous.aclose)


def _describe(function: Any, twin: Any) -> None:
    function.__doc__ = translated_text(twin.__doc__)
    function.__signature__ = signature_of(twin, {})


_describe(StorageManager.__init__, storage.StorageManager.__init__)
_describe(vars(StorageManager)["from_url"].__func__, vars(storage.StorageManager)["from_url"].__func__)
_describe(StorageManager.close, storage.StorageManager.aclose)
add_twins(StorageManager, storage.StorageManager, leave_out=("aclose", "async_fs", "backend"))
