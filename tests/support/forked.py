"""Run commands in forks of a process that has imported everything. Starting Python for each takes up to a second.

A fork is a process like any other: with its own arguments, environment, directory, output and exit code.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import IO, Any, NamedTuple

import storage_manager
from tests.support import ROOT

MODULES = ("s3fs", "aiobotocore.session", "aiobotocore.config", "obstore.store", "rich.progress", "jinja2")
MAX_MESSAGE = 2**18


class Result(NamedTuple):
    """The exit code and the output of a process."""

    code: int
    out: bytes
    err: bytes


class Forks:
    """A process that forks for each command. It ends when this process does."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-W", "error", "-m", "tests.support.forked", str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], env=_neutral()
            )
        atexit.register(self.close)

    def run(self, argv: Sequence[str], env: Mapping[str, str], cwd: str, limit: int) -> Result:
        """Run `python -m storage_manager` with these arguments. It is killed after this number of seconds."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            message = json.dumps({"argv": list(argv), "env": dict(env), "cwd": cwd, "limit": limit}).encode()
            socket.send_fds(self._socket, [message], [out.fileno(), err.fileno()])
            code = int(self._socket.recv(64))
            return Result(code, _all_of(out), _all_of(err))

    def close(self) -> None:
        """End the process."""
        self._socket.close()
        self._process.wait()


@lru_cache
def forks() -> Forks:
    """Return the instance of this process. It starts at the first call."""
    return Forks()


def _neutral() -> dict[str, str]:
    """Return an environment in which nothing is configured."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("SM_", "AWS_"))}


def _all_of(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def _serve(connection: socket.socket) -> dict[str, Any]:
    """Fork for each request. Return the request in the child; exit when there are no more."""
    while True:
        message, descriptors, *_ = socket.recv_fds(connection, MAX_MESSAGE, 2)
        if not message:
            sys.exit()
        if child := os.fork():
            for descriptor in descriptors:
                os.close(descriptor)
            _, status = os.waitpid(child, 0)
            connection.send(str(os.waitstatus_to_exitcode(status)).encode())
            continue
        for number, descriptor in enumerate(descriptors, 1):
            os.dup2(descriptor, number)
            os.close(descriptor)
        connection.close()
        return json.loads(message)  # type: ignore[no-any-return]


def _main() -> None:
    for module in pkgutil.walk_packages(storage_manager.__path__, "storage_manager."):
        if module.name.startswith(("storage_manager.cli", "storage_manager.backends")):
            importlib.import_module(module.name)
    for name in MODULES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # otherwise each fork copies all of it when it ends
    request = _serve(socket.socket(fileno=int(sys.argv[1])))
    signal.alarm(request["limit"])
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.argv = ["storage-manager", *request["argv"]]
    runpy.run_module("storage_manager", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
