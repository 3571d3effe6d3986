"""A real S3 server for the tests: Ceph's object gateway over one in-memory store, on 127.0.0.1 alone.

    eval "$(python tests/ceph_s3.py start DIR)"    starts it, and exports SM_TEST_S3_ENDPOINT and its keys
    python tests/ceph_s3.py stop DIR               ends it, by the process ids that DIR holds

Debian's packages are installed where they are missing, which needs root. Nothing is kept: DIR is emptied.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

KEY, SECRET = "testkey", "testsecret"
PACKAGES = {"radosgw": "radosgw", "ceph-mon": "ceph-mon", "ceph-osd": "ceph-osd", "ceph": "ceph-common"}
PATIENCE = 30.0  # seconds for each daemon to come up

CONFIG = """
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon2}/0,v1:127.0.0.1:{mon1}/0]
public network = 127.0.0.0/8
public addr = 127.0.0.1
cluster addr = 127.0.0.1
keyring = {home}/keyring
run dir = {home}
log file = {home}/$name.log
admin socket = {home}/$name.asok
pid file = {home}/$name.pid
mon data = {home}/mon
osd data = {home}/osd
rgw data = {home}/rgw
mon cluster log file = {home}/cluster.log
mon data avail warn = 1
mon data avail crit = 1
mon allow pool size one = true
mon max pg per osd = 1000
osd objectstore = memstore
memstore device bytes = 2147483648
osd crush chooseleaf type = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pg autoscale mode = off
rgw frontends = beast endpoint=127.0.0.1:{rgw} tcp_nodelay=1
rgw override bucket index max shards = 1
rgw enable usage log = false
rgw enable ops log = false
"""


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(taken.getsockname()[1]) for taken in sockets]
    for taken in sockets:
        taken.close()
    return ports


class Ceph:
    """One server, all of which lies in one directory."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.log = home / "setup.log"

    def run(self, *command: str) -> str:
        """What a command prints; its complaints go to the log."""
        with self.log.open("a") as log:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, text=True, check=True)
        return done.stdout

    def ceph(self, *words: str) -> str:
        """What the administrator's tool prints."""
        return self.run("ceph", "-c", f"{self.home}/ceph.conf", "--connect-timeout", "3", *words)

    def start(self) -> int:
        """Start everything; returns the port of the gateway."""
        self.stop()
        shutil.rmtree(self.home, ignore_errors=True)
        for name in ("mon", "osd", "rgw"):
            (self.home / name).mkdir(parents=True)
        install(self)
        mon2, mon1, rgw = free_ports(3)
        fsid = str(uuid.uuid4())
        (self.home / "ceph.conf").write_text(CONFIG.format(home=self.home, fsid=fsid, mon2=mon2, mon1=mon1, rgw=rgw))
        self.make_keys()
        self.start_monitor(fsid, f"[v2:127.0.0.1:{mon2},v1:127.0.0.1:{mon1}]")
        self.start_store()
        self.start_gateway(rgw)
        return rgw

    def make_keys(self) -> None:
        """One keyring for all: the daemons trust each other."""
        ring = f"{self.home}/keyring"
        everything = [word for kind in ("mon", "osd", "mgr") for word in ("--cap", kind, "allow *")]
        for number, name in enumerate(("mon.", "client.admin", "client.rgw", "osd.0")):
            self.run("ceph-authtool", ring, *["--create-keyring"][number:], "--gen-key", "-n", name, *everything)
        shutil.copy(ring, self.home / "rgw" / "keyring")

    def start_monitor(self, fsid: str, address: str) -> None:
        """The monitor, which knows the map of the cluster."""
        conf = ["-c", f"{self.home}/ceph.conf", "-i", "x"]
        monmap = f"{self.home}/monmap"
        self.run("monmaptool", "--create", "--clobber", "--fsid", fsid, "--addv", "x", address, monmap)
        self.run("ceph-mon", *conf, "--mkfs", "--monmap", monmap, "--keyring", f"{self.home}/keyring")
        self.run("ceph-mon", *conf)
        wait_until("the monitor", lambda: bool(self.ceph("-s")))

    def start_store(self) -> None:
        """The one object store, in memory."""
        number = self.ceph("osd", "create").strip()
        self.ceph("osd", "crush", "add", f"osd.{number}", "1.0", "root=default", "host=local")
        [osd] = json.loads(self.ceph("osd", "dump", "-f", "json"))["osds"]
        conf = ["-c", f"{self.home}/ceph.conf", "-i", number]
        self.run("ceph-osd", *conf, "--mkfs", "--osd-uuid", osd["uuid"])
        self.run("ceph-osd", *conf)

    def start_gateway(self, port: int) -> None:
        """The gateway that speaks S3, and its one user."""
        conf = ["-c", f"{self.home}/ceph.conf", "-n", "client.rgw"]
        self.run("radosgw", *conf)
        wait_until("the gateway", lambda: answers(port))
        user = ["--uid=test", "--display-name=test", f"--access-key={KEY}", f"--secret-key={SECRET}"]
        self.run("radosgw-admin", *conf, "user", "create", *user)

    def stop(self) -> None:
        """End the daemons, and wait until they are gone."""
        for file in self.home.glob("*.pid"):
            end(int(file.read_text()))
            file.unlink(missing_ok=True)


def install(server: Ceph) -> None:
    """Debian's packages for the commands that are missing."""
    missing = [package for command, package in PACKAGES.items() if not shutil.which(command)]
    if not missing:
        return
    if os.geteuid() or not shutil.which("apt-get"):
        sys.exit(f"install these first, as root: {' '.join(missing)}")
    server.run("apt-get", "update", "-qq")
    quiet = ["-y", "-qq", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confold"]
    server.run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", *quiet, *missing)


def wait_until(what: str, ready: Callable[[], bool]) -> None:
    """Ask until it is ready, or give up."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            if ready():
                return
        except (OSError, http.client.HTTPException, subprocess.CalledProcessError):
            pass
        time.sleep(0.1)
    raise TimeoutError(f"{what} did not come up within {PATIENCE:.0f} s")


def answers(port: int) -> bool:
    """True where something speaks HTTP."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    connection.request("GET", "/")
    return connection.getresponse().status > 0


def end(pid: int) -> None:
    """SIGTERM, and SIGKILL to what is still there ten seconds later."""
    deadline = time.monotonic() + 10
    try:
        os.kill(pid, signal.SIGTERM)
        while time.monotonic() < deadline:
            os.kill(pid, 0)
            time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def main(verb: str, folder: str) -> None:
    """Start or stop."""
    server = Ceph(Path(folder).resolve())
    if verb == "stop":
        return server.stop()
    try:
        port = server.start()
    except (subprocess.CalledProcessError, TimeoutError) as error:
        server.stop()
        tail = server.log.read_text().splitlines()[-20:]
        sys.exit("\n".join([*tail, str(error)]))
    print(f"export SM_TEST_S3_ENDPOINT=http://127.0.0.1:{port} AWS_ACCESS_KEY_ID={KEY} AWS_SECRET_ACCESS_KEY={SECRET}")


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("start", "stop"):
        sys.exit(__doc__)
    main(*sys.argv[1:])
