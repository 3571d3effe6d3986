"""Changes sessions, forks updaters of the catalogue, and kills them; tests/catalog/test_at_once.py starts it.

It stays single-threaded and has imported all that an updater needs, so that a fork is clean and quick. It prints how
many updaters were killed, and how many had ended before.
"""

import asyncio
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import deltalake.exceptions  # noqa: F401
import pyarrow.compute
import pyarrow.ipc  # noqa: F401

import storage_manager.backends.local  # noqa: F401
from storage_manager import StorageManager
from storage_manager.catalog import update_catalog

BASE, ROUNDS = Path(sys.argv[1]), int(sys.argv[2])
SESSIONS, CHANGES = 30, 6


sealed: set[Path] = set()  # their rows are trusted, so they are never written again


def change(number: int) -> None:
    """Write, seal or delete a session."""
    session = BASE / f"run-{number + random.randrange(SESSIONS)}"
    what = random.choice(["write", "write", "write", "seal", "delete"])
    if what == "delete":
        shutil.rmtree(session, ignore_errors=True)
    elif session not in sealed:
        step = session / f"step_{random.randrange(3)}"
        step.mkdir(parents=True, exist_ok=True)
        (step / "metadata.json").write_text(json.dumps({"url": f"https://host{random.random()}.example/"}) + "\n")
        (session / "_session.json").write_text(json.dumps({"reward": random.random()}) + "\n")
        if what == "seal":
            (session / "_manifest.json").write_text("{}\n")
            sealed.add(session)


def fork() -> int:
    """Start a child that updates the catalogue and ends. Return its id."""
    child = os.fork()
    if child == 0:
        asyncio.run(update_catalog(StorageManager(local_base_path=BASE)))
        os._exit(0)
    return child


def end(child: int) -> bool:
    """Wait for the end of a child. Return True if it was killed."""
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def main() -> None:
    """Kill one or two updaters after each few changes. Let one of four end, to know how long it takes now."""
    ended = killed = 0
    seconds = 0.0
    for number in range(ROUNDS):
        for _ in range(CHANGES):
            change(number)
        children = [fork() for _ in range(random.choice([1, 1, 2]))]
        begun = time.monotonic()
        if number % 4:
            time.sleep(seconds * random.uniform(0.2, 1.1))
            for child in children:
                os.kill(child, signal.SIGKILL)
        were_killed = list(map(end, children))
        seconds = seconds if number % 4 else (time.monotonic() - begun) / len(children)
        killed, ended = killed + sum(were_killed), ended + were_killed.count(False)
    print(killed, ended)


if __name__ == "__main__":
    main()
