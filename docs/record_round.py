"""Record docs/round.txt: a newcomer's first session with the command line, in a real tmux, against moto.

    pip install -e '.[test]' && python docs/record_round.py [FILE]

The script needs tmux. It works in the directory /tmp/demo, which must not exist yet and is deleted at the end. The file
contains the terminal's text unchanged, except for two ports: moto's is written as 9000, and the viewer's as 8000.
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
LIMIT = 60  # seconds for one command

# The commands that are typed. C-c is the key that stops the viewer; {port} is moto's port.
ROUND = [
    "ls sessions/harbour-books",
    "storage-manager put sessions",
    "storage-manager ls",
    "storage-manager ls --long",
    "storage-manager ls harbour-books --long",
    "storage-manager show harbour-books",
    "storage-manager show harbour-books step_000002",
    "storage-manager seal harbour-books",
    "storage-manager verify",
    "export SM_S3_ENDPOINT_URL=http://127.0.0.1:{port}",
    "storage-manager check --root s3://archive/2026",
    "storage-manager cp .storage_data s3://archive/2026 --dry-run",
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
    """A shell in a tmux server of its own."""

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
        """Return the text on the screen, with wrapped lines joined."""
        return self._run("capture-pane", "-p", "-J", "-t", "demo").rstrip()

    def wait(self, is_ready: Callable[[str], bool]) -> str:
        """Wait until `is_ready` is true of the text on the screen, and return the text."""
        until = time.monotonic() + LIMIT
        while time.monotonic() < until:
            text = self.text()
            if is_ready(text):
                return text
            time.sleep(0.05)
        raise TimeoutError(self.text())

    def type(self, command: str) -> None:
        """Type a command, and wait for the next prompt, or for the viewer's URL: the viewer shows no prompt."""
        prompts = len(re.findall(r"^\$", self.text(), re.MULTILINE))
        if command != "C-c":
            self._run("send-keys", "-t", "demo", "-l", command)
        self._run("send-keys", "-t", "demo", *(["C-c"] if command == "C-c" else ["Enter"]))
        if " view " in command:
            self.wait(lambda text: "Press Ctrl+C to stop" in text)
        else:
            self.wait(lambda text: len(re.findall(r"^\$", text, re.MULTILINE)) > prompts and text.endswith("$"))

    def close(self) -> None:
        """End the shell and its tmux server."""
        self._run("kill-server")


@contextmanager
def moto() -> Iterator[int]:
    """Run moto with the bucket `archive`, and yield its port."""
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
    """Return environment variables without the user's own: HOME is /tmp/demo, `storage-manager` uses this Python."""
    command = scratch / "storage-manager"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m storage_manager "$@"\n')
    command.chmod(0o700)
    paths = {"PATH": f"{scratch}:/usr/bin:/bin", "PYTHONPATH": str(REPOSITORY), "HOME": str(DEMO)}
    return {**paths, **KEYS, "AWS_EC2_METADATA_DISABLED": "true", "LANG": "C.UTF-8", "TERM": "xterm"}


def record() -> str:
    """Type all commands, and return the text of the terminal."""
    os.environ.update(KEYS)
    scratch = DEMO / ".bin"
    scratch.mkdir()
    shutil.copytree(REPOSITORY / "storage_manager/sample", DEMO / "sessions")
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
    """Write the recording to its file, and delete /tmp/demo."""
    target = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("round.txt"))
    DEMO.mkdir()
    try:
        target.write_text(record())
    finally:
        shutil.rmtree(DEMO)


if __name__ == "__main__":
    main()
