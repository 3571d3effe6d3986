"""A command that is interrupted, or whose reader leaves, ends soon, says how far it was, and leaves nothing behind."""

import asyncio
import os
import re
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.request import urlopen

import pytest

from storage_manager.cli.process import run
from tests.support.roots import MOTO_KEYS, Recorder, Request, make_bucket
from tests.support.shell import LIMIT, SAMPLE, SM, sm


class Watched(list[Request]):
    """What a server was asked; the event is set when it was asked for the nth PUT."""

    def __init__(self, number: int) -> None:
        self.left = number
        self.reached = threading.Event()

    def append(self, request: Request) -> None:
        super().append(request)
        self.left -= request.method == "PUT"
        if self.left == 0:
            self.reached.set()


@pytest.fixture
def many(base: Path) -> Path:
    """A place of 200 steps, a component each."""
    for number in range(200):
        step = base / f"run-{number % 2}/step_{number:03}"
        step.mkdir(parents=True)
        (step / "action.json").write_text(f'{{"number": {number}}}\n')
    return base


@pytest.mark.parametrize("engine", ["s3fs", "obstore"])
@pytest.mark.thorough
def test_interrupted_in_the_middle_and_run_again_no_byte_is_sent_twice(
    many: Path, engine: str, moto_server: tuple[str, Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint, recorder = moto_server
    for name, value in {**MOTO_KEYS, "SM_S3_ENDPOINT_URL": endpoint, "SM_S3_ENGINE": engine}.items():
        monkeypatch.setenv(name, value)
    target = f"s3://{make_bucket(endpoint)}/archive"
    requests = Watched(40)
    monkeypatch.setattr(recorder, "requests", requests)
    command = [*SM, "cp", "-q", str(many), target]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert requests.reached.wait(LIMIT)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, out) == (130, "")
    told = re.fullmatch(r"storage-manager: interrupted: (\d+) of 200 steps copied; run it again to continue\n", err)
    assert told
    sent = Counter(request.path for request in requests if request.method == "PUT")
    assert int(told[1]) <= len(sent) < 200
    done = sm("cp", "-q", many, target)
    assert done == (0, f"{200 - len(sent)} steps copied, {len(sent)} were there already\n", "")
    sent = Counter(request.path for request in requests if request.method == "PUT")
    assert len(sent) == 200
    assert set(sent.values()) == {1}
    assert sm("verify", "-q", "--root", target).out == "2 sessions (2 not sealed), 200 steps, no problems\n"


def test_a_reader_that_leaves_is_no_news(base: Path) -> None:
    for number in range(6000):  # more than a pipe holds
        (base / f"session-{number:05}").mkdir(parents=True)
    with subprocess.Popen(
        [*SM, "ls", "--root", base], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == "session-00000\n"
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(LIMIT) == 141


@pytest.fixture
def viewer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    """The viewer of one session, on a port that is free, with a browser that writes down what it is to open."""
    pytest.importorskip("storage_manager.viewer")
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    browser.chmod(0o700)
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    command = [*SM, "view", "harbour-books", "--port", "0", "--root", str(SAMPLE)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def _line(stream: IO[str] | None) -> str:
    assert stream
    return stream.readline()


def test_the_viewer_serves_until_it_is_interrupted(viewer: subprocess.Popen[str], tmp_path: Path) -> None:
    url = _line(viewer.stdout).removesuffix("\n")
    assert _line(viewer.stderr) == "Press Ctrl+C to stop\n"
    assert url.endswith("/sessions/harbour-books")
    with urlopen(url) as answer:
        assert b"harbour-books" in answer.read()
    viewer.send_signal(signal.SIGINT)
    assert viewer.communicate(timeout=LIMIT) == ("", "stopped\n")
    assert viewer.returncode == 0
    assert (tmp_path / "opened").read_text() == f"{url}\n"


def test_the_viewer_of_all_sessions_ends_when_it_is_told_to() -> None:
    pytest.importorskip("storage_manager.viewer")
    command = [*SM, "view", "--no-open", "--port", "0", "--root", str(SAMPLE)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        url = _line(process.stdout).removesuffix("\n")
        with urlopen(url) as answer:
            assert b"harbour-books" in answer.read()
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=LIMIT) == ("", "Press Ctrl+C to stop\nstopped\n")
    assert process.returncode == 0


def test_a_port_that_is_taken(moto_url: str) -> None:
    pytest.importorskip("storage_manager.viewer")
    port = moto_url.rpartition(":")[2]
    code, out, err = sm("view", "--no-open", "--port", port, "--root", SAMPLE)
    assert (code, out, err.count("\n")) == (3, "", 1)
    assert err == f"storage-manager: port {port} of 127.0.0.1 is in use: give --port 0 for any free port\n"


def test_the_demo_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("storage_manager.viewer")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    command = [*SM, "demo", "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        with urlopen(_line(process.stdout).removesuffix("\n")) as answer:
            assert b"harbour-books" in answer.read()
        [root] = tmp_path.iterdir()
        assert sm("ls", "--root", root) == (0, "harbour-books\n", "")
        process.send_signal(signal.SIGHUP)  # the terminal is closed
        out, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, out) == (0, "")
    assert f"try: storage-manager ls harbour-books --root {root}\n" in err
    assert list(tmp_path.iterdir()) == []


def test_a_signal_that_nohup_ignores_stays_ignored() -> None:
    async def hang_up() -> str:
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0)
        return "done"

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run(hang_up()) == "done"
    finally:
        signal.signal(signal.SIGHUP, before)
