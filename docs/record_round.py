"""Records docs/round.txt: a newcomer's round with the command line, in a real tmux, against moto.

    pip install -e '.[test]' && python docs/record_round.py [FILE]

It needs tmux, and runs in a directory of its own, /tmp/demo, which must not be there yet. What is shown is what the
terminal showed, and no more: only the port of moto is written as 9000, and that of the viewer as 8000.
"""

import logging
import os
import re
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
from moto.server import ThreadedMotoServer

REPOSITORY = Path(__file__).parents[1]
DEMO = Path("/tmp/demo")
WIDTH, HEIGHT = 108, 400
KEYS = {"AWS_ACCESS_KEY_ID": "testkey", "AWS_SECRET_ACCESS_KEY": "testsecret"}
LIMIT = 60  # seconds that a command may take

# What is typed; a lonely C-c ends the viewer. {port} is moto's.
ROUND = [
    "ls sessions/harbour-books",
    "storage-manager put sessions",
    "storage-manager ls",
    "storage-manager ls --long",
    "storage-manager ls harbour-books --long",
    "storage-manager show harbour-books step_000002",
    "storage-manager seal harbour-books",
    "storage-manager verify",
    "export SM_S3_ENDPOINT_URL=http://127.0.0.1:{port}",
    "storage-manager check --root s3://archive/2026",
    "storage-manager cp .storage_data s3://archive/2026",
    "storage-manager cp .storage_data s3://archive/2026",
    "storage-manager verify --root s3://archive/2026",
    "printf x >> .storage_data/harbour-books/step_000003/observation.html",
    "storage-manager verify; echo $?",
    "storage-manager purge --older-than 30d",
    "storage-manager purge --older-than 0s",
    "storage-manager purge --older-than 0s --yes",
    "storage-manager ls",
    "storage-manager view harbour-books --root s3://archive/2026 --no-open",
    "C-c",
]


class Terminal:
    """A tmux of its own, in which a shell runs."""

    def __init__(self, env: dict[str, str]) -> None:
        self._tmux = ["tmux", "-L", f"demo-{uuid.uuid4().hex}", "-f", "/dev/null"]
        self._env = env
        size = ("-x", str(WIDTH), "-y", str(HEIGHT))
        self._run("new-session", "-d", "-s", "demo", *size, "-c", str(DEMO), "env PS1='$ ' bash --norc --noprofile")

    def _run(self, *arguments: str) -> str:
        return subprocess.run(
            [*self._tmux, *arguments], env=self._env, check=True, capture_output=True, text=True
        ).stdout

    def text(self) -> str:
        """What is on the screen; lines that it wrapped are whole."""
        return self._run("capture-pane", "-p", "-J", "-t", "demo").rstrip()

    def wait(self, is_there: Callable[[str], bool]) -> str:
        """The screen, when it shows what is waited for."""
        until = time.monotonic() + LIMIT
        while time.monotonic() < until:
            text = self.text()
            if is_there(text):
                return text
            time.sleep(0.05)
        raise TimeoutError(self.text())

    def type(self, command: str) -> None:
        """Type a command, and wait until the next prompt; the viewer's has none."""
        prompts = len(re.findall(r"^\$", self.text(), re.MULTILINE))
        if command != "C-c":
            self._run("send-keys", "-t", "demo", "-l", command)
        self._run("send-keys", "-t", "demo", *(["C-c"] if command == "C-c" else ["Enter"]))
        if " view " in command:
            self.wait(lambda text: "Ctrl-C ends it" in text)
        else:
            self.wait(lambda text: len(re.findall(r"^\$", text, re.MULTILINE)) > prompts and text.endswith("$"))

    def close(self) -> None:
        """End the shell, and the server of this tmux."""
        self._run("kill-server")


@contextmanager
def moto() -> Iterator[int]:
    """The port of an S3 with the bucket `archive`."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
    client.create_bucket(Bucket="archive")
    try:
        yield port
    finally:
        server.stop()


def environment(scratch: Path) -> dict[str, str]:
    """Nothing of the user's own: a home in the demo, and `storage-manager` of this Python."""
    command = scratch / "storage-manager"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m storage_manager "$@"\n')
    command.chmod(0o700)
    paths = {"PATH": f"{scratch}:/usr/bin:/bin", "PYTHONPATH": str(REPOSITORY), "HOME": str(DEMO)}
    return {**paths, **KEYS, "AWS_EC2_METADATA_DISABLED": "true", "LANG": "C.UTF-8", "TERM": "xterm"}


def record() -> str:
    """The round, as the terminal showed it."""
    os.environ.update(KEYS)
    scratch = DEMO / ".bin"
    scratch.mkdir()
    shutil.copytree(REPOSITORY / "examples/sessions", DEMO / "sessions")
    with moto() as port:
        terminal = Terminal(environment(scratch))
        try:
            terminal.wait(lambda text: text.endswith("$"))
            for command in ROUND:
                terminal.type(command.format(port=port))
            text = terminal.text()
        finally:
            terminal.close()
    text = text.removesuffix("$").rstrip() + "\n"
    text = text.replace(f"127.0.0.1:{port}", "127.0.0.1:9000")
    text = re.sub(r"(?<=http://127\.0\.0\.1:)\d+(?=/sessions)", "8000", text)
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def main() -> None:
    """Record it, and leave nothing of it but the file."""
    target = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("round.txt"))
    DEMO.mkdir()
    try:
        target.write_text(record())
    finally:
        shutil.rmtree(DEMO)


if __name__ == "__main__":
    main()
