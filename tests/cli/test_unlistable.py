"""Commands that go on after a session that cannot be listed. They run in this process, because root may list any."""

import asyncio
import gc
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage_manager import Step, StepData, StorageManager
from storage_manager.backends.local import LocalBackend
from storage_manager.cli import main
from tests.support.shell import Done

DATA = StepData("<p>", b"\x89PNG", {"a": 1}, {"m": 1})
Run = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Run a command on three sessions, of which b may not be listed."""
    base = tmp_path / "base"
    asyncio.run(StorageManager(local_base_path=base).store_steps(Step(session, "t", DATA) for session in "abc"))
    for name in ("directories", "files"):
        method = getattr(LocalBackend, name)

        def listed(self: LocalBackend, path: str, *more: object, method: Callable[..., object] = method) -> object:
            if path == f"{base}/b":
                raise PermissionError(13, "not yours", path)
            return method(self, path, *more)

        monkeypatch.setattr(LocalBackend, name, listed)

    def run(*args: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["storage-manager", *map(str, args)])
        with pytest.raises(SystemExit) as ended:
            main()
        return Done(int(str(ended.value)), *capfd.readouterr())

    monkeypatch.setenv("SM_LOCAL_BASE_PATH", str(base))
    monkeypatch.setenv("SM_PREFER_S3", "false")
    yield run
    gc.unfreeze()  # a process of its own would have ended
    gc.enable()


def test_ls(run: Run) -> None:
    done = run("ls", "--long")
    _, *rows, total = done.out.splitlines()
    assert [row.split()[-1] for row in rows] == ["a", "b", "c"]
    assert rows[1].split() == ["unreadable", "-", "-", "b"]
    assert total.startswith("3 sessions, 2 steps, ")
    assert done.code == 1
    assert "not yours" in done.err.splitlines()[0]
    assert done.err.endswith("storage-manager: 1 session could not be listed\n")
    facts = [json.loads(line) for line in run("ls", "--long", "--json").out.splitlines()]
    assert [fact.get("steps") for fact in facts] == [1, None, 1]
    assert "not yours" in facts[1]["error"]
    assert run("ls") == (0, "a\nb\nc\n", "")
    done = run("ls", "--sort", "size")
    assert (done.code, done.out) == (1, "a\nc\nb\n")


def test_verify(run: Run) -> None:
    done = run("verify")
    [problem, total] = done.out.splitlines()
    assert problem.startswith("unreadable ")
    assert "/base/b  " in problem
    assert total == "3 sessions (3 not sealed), 2 steps, 1 problem"
    assert done.code == 1


@pytest.mark.parametrize("named", [[], ["a", "b", "c"]])
def test_cp(run: Run, named: list[str], tmp_path: Path) -> None:
    done = run("cp", tmp_path / "base", tmp_path / "copy", *named)
    assert (done.code, "not copied: 1 session that cannot be listed" in done.err) == (3, True)
    assert run("ls", "--root", tmp_path / "copy").out == "a\nc\n"


def test_purge(run: Run, tmp_path: Path) -> None:
    done = run("purge", "--older-than", "0s", "--yes")
    assert (done.code, [line.split()[-1] for line in done.out.splitlines()]) == (3, ["a", "c"])
    assert "not purged: 1 of 3 sessions" in done.err
    assert run("ls").out == "b\n"


@pytest.mark.parametrize("kind", ["parquet", "webdataset"])
def test_export(run: Run, kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert run("export", kind, tmp_path / "out").code == 0
    assert "1 session could not be listed" in caplog.text  # outside of pytest, on stderr
