"""The same library without `async`, for scripts, notebooks, Playwright's sync pages and Selenium.

    storage = StorageManager(local_base_path="sessions")
    storage.store_step_data("run-1", "step_000001", html_content="<p>", action_data={"type": "goto"})
    for step in storage.iter_steps(["run-1"]):
        print(step.step_id, step.data.action)

Every class and function has the signature and the docstring of its asynchronous twin, without `async`. Asynchronous
iterators become plain generators. The asynchronous twin does the work, on one event loop per process, in a background
thread.

The types are in `__init__.pyi`, which `scripts/make_sync_stub.py` writes.
"""

import importlib
from typing import Any

from storage_manager.sync.manager import StorageManager
from storage_manager.sync.recording import Recorder as Recorder
from storage_manager.sync.recording import record as record
from storage_manager.sync.table import FUNCTIONS
from storage_manager.sync.twins import twin_of

# The table has the names of the functions; type checkers read the stub.
__all__ = sorted(  # noqa: PLE0605
    ["Recorder", "StorageManager", "record", *FUNCTIONS]  # pyright: ignore[reportUnsupportedDunderAll]
)


def __getattr__(name: str) -> Any:
    """Derive a function of the table when it is first used."""
    if name not in FUNCTIONS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    function = getattr(importlib.import_module(FUNCTIONS[name]), name)
    twin = globals()[name] = twin_of(function, StorageManager, __name__)
    return twin


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
