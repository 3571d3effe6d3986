"""The types of the synchronous face are those of the asynchronous code."""

import importlib.util
import inspect
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

from storage_manager import recorder, storage, sync
from storage_manager.sync.table import FUNCTIONS
from tests.support import ROOT

LEFT_OUT = {"aclose", "async_fs", "backend"}
FOR_CALLBACKS = {"before_end", "try_step"}  # of asynchronous agents


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_sync_stub", ROOT / "scripts" / "make_sync_stub.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_stub_is_up_to_date(script: ModuleType) -> None:
    assert script.STUB.read_text() == script.stub(), "run scripts/make_sync_stub.py"


def test_a_new_method_makes_the_stub_out_of_date(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    source = inspect.getsource(storage)
    more = source.replace("    async def check(", "    async def recheck(self) -> int: ...\n\n    async def check(")
    real = inspect.getsource
    monkeypatch.setattr(inspect, "getsource", lambda what: more if what is storage else real(what))
    monkeypatch.setattr(sync.StorageManager, "recheck", lambda self: 1, raising=False)
    assert "def recheck(self) -> int: ..." in script.stub()


def public(cls: type) -> set[str]:
    return {name for name in dir(cls) if not name.startswith("_")}


def test_the_manager_has_every_public_name_of_its_twin() -> None:
    assert public(sync.StorageManager) == (public(storage.StorageManager) - LEFT_OUT) | {"close"}


def test_the_recorder_has_every_public_name_of_its_twin() -> None:
    assert public(sync.Recorder) == public(recorder.Recorder) - FOR_CALLBACKS


def test_all_names_the_table() -> None:
    assert set(sync.__all__) == {"Recorder", "StorageManager", "record", *FUNCTIONS}
    assert set(sync.__all__) <= set(dir(sync))


def twins() -> list[Any]:
    names = sorted(public(sync.StorageManager) - {"close"})
    methods = [(name, getattr(sync.StorageManager, name), getattr(storage.StorageManager, name)) for name in names]
    others = [
        (name, getattr(sync, name), getattr(importlib.import_module(FUNCTIONS[name]), name)) for name in FUNCTIONS
    ]
    return [pytest.param(*each[1:], id=each[0]) for each in methods + others if callable(each[1])]


@pytest.mark.parametrize(("twin", "function"), twins())
def test_a_twin_has_parameters_and_docstring_of_its_function(twin: Any, function: Any) -> None:
    ours, theirs = inspect.signature(twin), inspect.signature(function)
    assert [(each.name, each.kind, each.default) for each in ours.parameters.values()] == [
        (each.name, each.kind, each.default) for each in theirs.parameters.values()
    ]
    assert not inspect.iscoroutinefunction(inspect.unwrap(twin))
    assert (inspect.getdoc(twin) or "").split("\n")[0] == (inspect.getdoc(function) or "").split("\n")[0]
    assert twin.__name__ == function.__name__
    assert "async" not in str(ours).lower().replace("asynciterable", "")
    assert "async with" not in (twin.__doc__ or "")


@pytest.mark.thorough
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_a_user_of_the_types(checker: str) -> None:
    options = [] if checker == "mypy" else ["--pythonpath", sys.executable]
    command = [sys.executable, "-m", checker, *options, "tests/sync/use_sync.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout
