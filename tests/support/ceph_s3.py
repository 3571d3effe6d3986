"""A real S3 server for the tests: Ceph's gateway over one in-memory store, reachable from this machine only.

    eval "$(python3 tests/support/ceph_s3.py start DIR)"   starts it and exports its address and keys
    python3 tests/support/ceph_s3.py stop DIR              stops it, if it runs

It writes only to DIR, which `start` empties first. The objects are gone after `stop`. It uses free ports, so servers in
different folders can run at the same time. Missing packages of Debian are installed (as root).
Exit codes: 0 done; 1 it did not start (the ends of its logs are on stderr); 2 refused before the start. Linux only.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

ACCESS_KEY, SECRET_KEY = "testkey", "testsecret"
PACKAGES = {"radosgw": "radosgw", "ceph-mon": "ceph-mon", "ceph-osd": "ceph-osd", "ceph": "ceph-common"}
DEADLINE = 30.0  # seconds, for each step of the start

# One copy of all data; a monitor that decides at once; no admin sockets, whose paths would be too long in deep folders;
# a deleted object's memory is free at once, not in two hours.
CONFIG = """\
[global]
mon host = {monitor}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
keyring = {home}/keyring
pid file = {home}/run/$name.pid
admin socket =
log file = {home}/log/$name.log
mon cluster log to file = false
mon data = {home}/mon
mon data avail crit = 1
mon allow pool size one = true
paxos propose interval = 0.05
osd data = {home}/osd
osd objectstore = memstore
memstore device bytes = 2147483648
osd pool default size = 1
osd pool default pg num = 8
rgw frontends = beast endpoint=127.0.0.1:{gateway} tcp_nodelay=1
rgw override bucket index max shards = 1
rgw gc obj min wait = 1
rgw gc processor period = 1
"""


class Ceph:
    """The server whose files are in one folder."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.config = home / "ceph.conf"
        self.here = ("-c", str(self.config))  # the option that all of Ceph's programs need

    def start(self) -> int:
        """Start the daemons, each on top of the one before; returns the gateway's port."""
        self.stop()
        self.empty()
        self.install()
        v2, v1, gateway = free_ports()
        monitor = f"[v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}]"
        self.config.write_text(CONFIG.format(home=self.home, monitor=monitor, gateway=gateway))
        self.make_keys()
        self.start_monitor(monitor)
        self.start_store()
        self.start_gateway(gateway)
        return gateway

    def empty(self) -> None:
        """Empty the folder, unless it has other files than this server's."""
        others = self.home.exists() and any(self.home.iterdir()) and not self.config.exists()
        if others or set(str(self.home)) & set("#;$"):
            refuse(f"{self.home} has files that are not this server's, or # ; $ in its name: choose another folder")
        shutil.rmtree(self.home, ignore_errors=True)
        for name in ("log", "mon", "osd", "run"):
            (self.home / name).mkdir(parents=True)
        self.config.touch()

    def install(self) -> None:
        """Install Debian's packages for the commands that are missing."""
        missing = [package for command, package in PACKAGES.items() if not shutil.which(command)]
        if missing and (os.geteuid() != 0 or not shutil.which("apt-get")):
            refuse(f"install Ceph first (Debian's packages: {' '.join(missing)})")
        if missing:
            apt_get = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y")
            self.run(*apt_get, "update", deadline=300)
            self.run(*apt_get, "install", "--no-install-recommends", *missing, deadline=900)

    def make_keys(self) -> None:
        """Create a key for each program, with all rights, in one file."""
        ring = f"{self.home}/keyring"
        rights = [word for kind in ("mon", "osd", "mgr") for word in ("--cap", kind, "allow *")]
        self.run("ceph-authtool", "--create-keyring", ring)
        for name in ("mon.", "osd.0", "client.admin", "client.rgw"):
            self.run("ceph-authtool", ring, "--gen-key", "-n", name, *rights)

    def start_monitor(self, address: str) -> None:
        """Start the monitor, which keeps the cluster's map."""
        monmap = f"{self.home}/monmap"
        self.run("monmaptool", "--create", "--addv", "a", address, monmap)
        self.run("ceph-mon", *self.here, "-i", "a", "--mkfs", "--monmap", monmap)
        self.run("ceph-mon", *self.here, "-i", "a")

    def start_store(self) -> None:
        """Start the object store, which keeps the data in memory. The first command waits for the monitor."""
        self.run("ceph", *self.here, "osd", "create")
        self.run("ceph-osd", *self.here, "-i", "0", "--mkfs")
        self.run("ceph-osd", *self.here, "-i", "0")

    def start_gateway(self, port: int) -> None:
        """Start the gateway, which speaks S3, with one user. It listens when the store is ready."""
        self.run("radosgw", *self.here, "-n", "client.rgw")
        wait_for(port)
        user = ("--uid=test", "--display-name=test", f"--access-key={ACCESS_KEY}", f"--secret-key={SECRET_KEY}")
        self.run("radosgw-admin", *self.here, "-n", "client.rgw", "user", "create", *user)

    def stop(self) -> None:
        """End the daemons, the gateway first, and wait until they are gone."""
        for name in ("client.rgw", "osd.0", "mon.a"):
            if (file := self.home / "run" / f"{name}.pid").exists():
                self.end(int(file.read_text() or 0))

    def end(self, pid: int) -> None:
        """End a daemon, with SIGKILL if it still runs after ten seconds."""
        for how in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + 10
            if self.runs(pid):
                os.kill(pid, how)
            while self.runs(pid) and time.monotonic() < deadline:
                time.sleep(0.05)

    def runs(self, pid: int) -> bool:
        """Return True if the process is one of this server. Another process may have its number now."""
        try:
            return os.fsencode(self.config) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            return False

    def run(self, *command: str, deadline: float = DEADLINE) -> None:
        """Run a command. Its output goes to the log."""
        with (self.home / "log" / "setup.log").open("a") as log:
            print("$", *command, file=log, flush=True)
            subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True, timeout=deadline)

    def tails(self) -> str:
        """Return the last lines of all logs."""
        ends = {log: log.read_text(errors="replace").splitlines()[-15:] for log in self.home.glob("log/*.log")}
        return "\n".join("\n".join([f"--- {log}", *lines]) for log, lines in sorted(ends.items()))


def free_ports() -> list[int]:
    """Return three ports of this machine on which nothing listens."""
    any_port = ("127.0.0.1", 0)
    with socket.create_server(any_port) as a, socket.create_server(any_port) as b, socket.create_server(any_port) as c:
        return [int(opened.getsockname()[1]) for opened in (a, b, c)]


def wait_for(port: int) -> None:
    """Wait until something listens on a port."""
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=2).close()
        except OSError as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"nothing listens on port {port} after {DEADLINE:.0f} s") from error
            time.sleep(0.05)


def refuse(reason: str) -> NoReturn:
    """Print why nothing is done, and exit."""
    print(reason, file=sys.stderr)
    sys.exit(2)


def main(verb: str, folder: str) -> None:
    """Start the server, or stop it. If a part of it does not start, end the others."""
    server = Ceph(Path(folder).resolve())
    if verb == "stop":
        return server.stop()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    try:
        port = server.start()
    except BaseException as error:
        server.stop()
        if not isinstance(error, (OSError, subprocess.SubprocessError)):
            raise
        sys.exit(f"{server.tails()}\n{error}")
    keys = f"AWS_ACCESS_KEY_ID={ACCESS_KEY} AWS_SECRET_ACCESS_KEY={SECRET_KEY}"
    print(f"export SM_TEST_S3_ENDPOINT=http://127.0.0.1:{port} {keys}")


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("start", "stop"):
        refuse(__doc__)
    main(*sys.argv[1:])
