"""`storage-manager import` recognizes what it is given."""

import gzip
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from storage_manager import InvalidDataError, LocalStorageError, StorageManager, sync
from storage_manager.cli.import_ import import_
from storage_manager.importers.formats import IMPORTERS, recognize
from tests.support.agent_runs import (
    PNG,
    history_item,
    observation,
    pickled,
    step_info,
    write_experiment,
    write_files,
    write_history,
)
from tests.support.printed import run, text


@pytest.mark.parametrize(
    ("files", "path", "expected"),
    [
        ({"a.zip": b"PK"}, "a.zip", "trace"),
        ({"a": b"PK\3\4"}, "a", "trace"),
        ({"a.trace": b"{}"}, "a.trace", "trace"),
        ({"0-trace.trace": b"{}", "0-trace.network": b""}, "", "trace"),
        ({"h.json": b' \n{"history": []}'}, "h.json", "browser-use"),
        ({"interact_messages.json": b"[]"}, "interact_messages.json", "webvoyager"),
        ({"interact_messages.json": b"[]", "screenshot1.png": b""}, "", "webvoyager"),
        ({"step_0.pkl.gz": b""}, "", "agentlab"),
        ({"exp_args.pkl": b""}, "", "agentlab"),
    ],
)
def test_formats(tmp_path: Path, files: dict[str, bytes], path: str, expected: str) -> None:
    write_files(tmp_path, files)
    assert recognize(str(tmp_path / path)) == expected
    assert expected in IMPORTERS


def test_what_is_none_of_them(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.json": b"[]", "b/c.txt": b"x"})
    os.mkfifo(tmp_path / "pipe")
    for path in ("a.json", "b", "b/c.txt", "pipe"):
        with pytest.raises(InvalidDataError, match=r"its format is not recognized; it must be a Playwright trace"):
            recognize(str(tmp_path / path))
    with pytest.raises(LocalStorageError, match="No such file"):
        recognize(str(tmp_path / "gone"))


def test_the_command(tmp_path: Path) -> None:
    """It takes each of the formats. `--format` says which one it is."""
    base = tmp_path / "base"
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "Thought: t\nAction: Wait"}]
    task = write_files(tmp_path / "task--1", {"interact_messages.json": json.dumps(messages)})
    pickles = {"step_0.pkl.gz": gzip.compress(pickled(step_info(0, None, {"url": "x"})))}
    paths = [write_history(tmp_path, [history_item(1)]), task, write_files(tmp_path / "exp", pickles)]

    def run(*arguments: object) -> tuple[int, str]:
        result = CliRunner().invoke(import_, [*map(str, arguments), "--root", str(base)], obj={"debug": False})
        return result.exit_code, result.output

    assert [run(path) for path in paths] == [(0, "history\n"), (0, "task--1\n"), (0, "exp\n")]
    assert run(paths[0], "--session", "b", "--format", "browser-use") == (0, "b\n")
    assert run(paths[0], "--session", "c", "--format", "trace")[0] != 0
    assert run(paths[0], "--format", "other")[0] == 2
    assert sync.StorageManager(local_base_path=base).list_sessions() == ["b", "exp", "history", "task--1"]


async def test_the_examples_of_the_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of runs of agents; what a trace needs is tested beside a browser."""
    monkeypatch.chdir(tmp_path)
    for name in ("run", "agent/screenshots", "study"):
        (tmp_path / name).mkdir(parents=True)
    write_history(tmp_path / "run", [history_item(1)])
    task = {
        "role": "user",
        "content": "Now given a task: Find a kettle.  Please interact with http://shop.test/ and get",
    }
    answer = {"role": "assistant", "content": "Thought: There it is.\n\nAction: ANSWER; It costs 20."}
    messages = [{"role": "system", "content": "Numerical Labels"}, task, answer]
    files: dict[str, bytes | str] = {"interact_messages.json": json.dumps(messages), "screenshot1.png": PNG}
    write_files(tmp_path / "results/20250102_10_00_00/taskAmazon--0", files)
    write_experiment(tmp_path / "study/2025-01-02_10-00-01_MyAgent_on_shop_1", [step_info(0, None, observation())])
    runs, history = text("importers").partition("\nRuns of agents\n")[2].split("\nbrowser-use\n~~~", 1)
    storage = StorageManager(local_base_path=tmp_path / "base")
    await run("importers", runs, {"storage": storage})
    assert await storage.list_sessions() == ["2025-01-02_10-00-01_MyAgent_on_shop_1", "history", "taskAmazon--0"]

    async def done() -> SimpleNamespace:
        return SimpleNamespace(save_to_file=lambda path: Path(path).write_text("{}"))

    (tmp_path / "run/screenshots").rename(tmp_path / "was")
    await run(
        "importers", history, {"agent": SimpleNamespace(run=done, agent_directory=tmp_path / "agent"), "shutil": shutil}
    )
    assert (tmp_path / "run/screenshots").is_dir()
