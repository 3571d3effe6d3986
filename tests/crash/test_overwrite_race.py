"""Several processes write one step with overwrite=False: of each file exactly one is stored, and that one stays."""

import asyncio
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from storage_manager import StorageManager
from tests.support import ROOT
from tests.support.racing_writers import NAMES
from tests.support.roots import Make, needs_real_s3

pytestmark = pytest.mark.thorough

PROCESSES = 8
ROUNDS = 100
ROUNDS_ON_S3 = int(os.environ.get("SM_TEST_ROUNDS", "6"))  # 200 take minutes


class Racers:
    """The processes, which write the step of a round at the same time."""

    def __init__(self, root: str, environment: dict[str, str]) -> None:
        command = [sys.executable, "-W", "error", "-m", "tests.support.racing_writers"]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        settings = {**os.environ, **environment}
        self._running = [
            subprocess.Popen([*command, str(number), root], cwd=ROOT, env=settings, **pipes)
            for number in range(PROCESSES)
        ]
        assert [self._line(process) for process in self._running] == ["ready"] * PROCESSES

    def _line(self, process: "subprocess.Popen[str]") -> str:
        assert process.stdout
        return process.stdout.readline().strip()

    def run(self, number: int) -> list[list[str]]:
        """Return, for each process, the files that it has written in this round."""
        for process in self._running:
            assert process.stdin
            process.stdin.write(f"{number}\n")
            process.stdin.flush()
        return [json.loads(self._line(process)) for process in self._running]

    def end(self) -> None:
        """End the processes."""
        for process in self._running:
            process.communicate()


async def winners(sm: StorageManager, step_id: str) -> dict[str, str]:
    """The process whose bytes are stored, by file."""
    data = await sm.retrieve_step_data("s", step_id, components=["html", "metadata"], strict=True)
    attachment = await sm.retrieve_attachment("s", "a.txt", step_id)
    assert data.html is not None
    assert data.metadata is not None
    assert attachment is not None
    return dict(zip(NAMES, (data.html, data.metadata["by"], attachment.decode()), strict=True))


async def race(sm: StorageManager, root: str, environment: dict[str, str], rounds: int) -> None:
    racers = await asyncio.to_thread(Racers, root, environment)
    try:
        for number in range(rounds):
            won = await asyncio.to_thread(racers.run, number)
            for name in NAMES:
                assert [name in names for names in won].count(True) == 1
            stored = await winners(sm, f"step_{number:06d}")
            assert stored == {name: str(by) for by, names in enumerate(won) for name in names}
    finally:
        await asyncio.to_thread(racers.end)


async def test_on_local_disk(local: StorageManager) -> None:
    await race(local, local.url_for(), {}, ROUNDS)


@needs_real_s3
async def test_on_a_real_server(real_s3: Make, engine: str) -> None:
    sm = real_s3()
    endpoint = sm.storage_options["endpoint_url"]
    await race(sm, sm.url_for(), {"SM_S3_ENDPOINT_URL": endpoint, "SM_S3_ENGINE": engine}, ROUNDS_ON_S3)


async def test_on_moto(moto_url: str, moto: Make, engine: str) -> None:
    sm = moto()
    await race(sm, sm.url_for(), {"SM_S3_ENDPOINT_URL": moto_url, "SM_S3_ENGINE": engine}, ROUNDS_ON_S3)
