"""A real S3 server for the tests: Ceph's RADOS gateway over one OSD that keeps its data in memory.

    exports=$(python tests/ceph_s3.py start DIR) && eval "$exports"
    python tests/ceph_s3.py stop DIR

`start` prints shell exports (the endpoint and a test account's keys) once the gateway answers, and
nothing else on stdout.  It ends what an earlier start left running in DIR and begins with an empty
store.  When it fails, nothing is left running, the reason is on stderr, and DIR/log has the details.
`stop` ends the processes whose ids DIR/run records, and is content when there are none.

All ports are free ones on 127.0.0.1, so instances in different DIRs run side by side, and all files
are in DIR (some 100 MB; a memory file system makes it faster).  Missing commands are installed with
apt-get, for root only.  Exit codes: 0 done, 1 failed, 2 wrong usage or commands that have to be installed.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

ACCESS_KEY, SECRET_KEY = "testkey", "testsecret"
HOST = "127.0.0.1"
PACKAGES = ("radosgw", "ceph-mon", "ceph-osd", "ceph-common")
COMMANDS = ("radosgw", "radosgw-admin", "ceph-mon", "ceph-osd", "ceph", "ceph-authtool")
READY_SECONDS, STOP_SECONDS, INSTALL_SECONDS = 30.0, 10.0, 1800.0

# One copy of everything, no manager daemon, only the newer wire protocol, and no admin sockets (the
# length of a socket's path is limited).  The gateway frees the data of deleted objects within seconds
# instead of hours, since the store is small.
CONF = """\
[global]
fsid = {fsid}
mon host = [v2:{host}:{port}/0]
public network = 127.0.0.0/8
public addr = {host}
cluster addr = {host}
ms bind msgr1 = false
keyring = {home}/keyring
admin socket =
run dir = {home}/run
crash dir = {home}/crash
log file = {home}/log/$name.log
mon data = {home}/mon
mon cluster log file = {home}/log/cluster.log
mon data avail warn = 1
mon data avail crit = 1
mon allow pool size one = true
osd data = {home}/osd
osd objectstore = memstore
memstore device bytes = 2147483648
osd crush chooseleaf type = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pg autoscale mode = off
rgw data = {home}/rgw
rgw thread pool size = 32
rgw override bucket index max shards = 1
rgw gc obj min wait = 5
rgw gc processor period = 5
"""
OSD_CAPS = ("mon", "allow profile osd", "osd", "allow *")
CAPS = {
    "mon.": ("mon", "allow *"),
    "client.admin": ("mon", "allow *", "osd", "allow *"),
    "client.rgw": ("mon", "allow *", "osd", "allow *"),
    "osd.0": OSD_CAPS,
}


class Failure(Exception):
    """The message is for the user; `code` is the script's exit code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code
