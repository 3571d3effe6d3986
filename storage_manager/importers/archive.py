"""Read the members of a trace one at a time and within limits. Nothing is written to disk."""

import os
import posixpath
import re
import struct
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import IO, BinaryIO

from storage_manager.encoding import count_values
from storage_manager.importers.budget import Budget, refuse
from storage_manager.importers.parsing import MAX_QUICK, parse_line

__all__ = [
    "MAX_EVENTS",
    "MAX_FILE",
    "MAX_LINE",
    "MAX_MEMBERS",
    "MAX_NAME",
    "MAX_RATIO",
    "Archive",
    "ZipArchive",
    "check_name",
    "is_foreign",
]

# A recording of a whole day has about ten thousand screencast frames. More than 65,535 members would need zip64, which
# is refused too.
MAX_MEMBERS = 50_000
# In real traces, all `.trace` members together have up to 100 MB. They need up to four times this size in memory.
MAX_EVENTS = 256 * 2**20
# A short event needs more memory than its line has bytes, so each event counts as this many additional bytes.
_EVENT = 256
# One event; the largest is the snapshot of a page with inlined data. A line is parsed as a whole, which needs 20 times
# its size.
MAX_LINE = 32 * 2**20
# An image or a style sheet. A screencast frame has 10 to 200 kB.
MAX_FILE = 32 * 2**20
# Events of real traces shrink to a 10th, at most to a 100th. Deflate can reach 1:1032, which zip bombs use.
MAX_RATIO = 400
# Deflate adds five bytes to every 65,535 bytes that it cannot shrink. Empty blocks could continue without end.
_MAX_GROWTH = 1024
_MAX_DIRECTORY = MAX_MEMBERS * 256
MAX_NAME = 1024  # characters; Playwright's names have about 60

_END = struct.Struct("<4s4H2LH")  # the end of central directory record (APPNOTE.TXT, 4.3.16)
_CLIMBS = re.compile(r"(?:^|[/\\])\.\.(?:[/\\]|$)|^[/\\]|^[A-Za-z]:|\x00")
_SNAPSHOT = "frame-snapshot"  # the type of the one event that may have very many values


def _check_directory(file: BinaryIO) -> None:
    """Refuse a central directory that is too large, before zipfile reads it into memory."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _END.size - 0xFFFF - 20))
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) < at + _END.size:
        refuse("it is not a zip file, or it is cut off")
    length = _END.unpack_from(tail, at)[5]
    if length > _MAX_DIRECTORY or tail[max(0, at - 20) : at].startswith(b"PK\6\7"):
        refuse(f"its central directory is too large: it lists more than {MAX_MEMBERS} members")


def check_name(name: str) -> None:
    """Refuse the name of a member that leads out of the trace, or that is too long.

    The message contains the whole name. If it contained only a part, a secret in the name could not be masked later.

    Check a name when it is read, not each time that it is used: a trace may use the same name for every action.
    """
    if len(name) > MAX_NAME:
        refuse(f"a name in it has {len(name)} characters; the limit is {MAX_NAME}")
    if _CLIMBS.search(name):
        refuse(f"the name {name!r} leads out of the trace")


def is_foreign(name: str) -> bool:
    """Return True if macOS added a member when the trace was packed again."""
    *folders, last = name.split("/")
    return "__MACOSX" in folders or last.startswith("._")


def _check_member(info: zipfile.ZipInfo) -> None:
    name = info.orig_filename
    check_name(name)
    if info.flag_bits & 0x1:
        refuse(f"{name!r} is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        refuse(f"{name!r} has a compression method that Playwright does not use")


class Archive(ABC):
    """The members of a trace. Only one thread may use it.

    Parameters:
        budget: stops the reading before the next event if the import is cancelled.

    Raises (here and in each method):
        ValueError, zipfile.BadZipFile, zlib.error, EOFError: this is not a trace, or it is hostile.
        OSError: it cannot be read.

    Attributes:
        traces: the names of the members with events. All are in the same folder.
        networks: the names of the network logs in this folder.
    """

    traces: list[str]
    networks: list[str]

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._size_of_events = 0
        self._folder = ""

    @abstractmethod
    def close(self) -> None:
        """Close the files."""

    @abstractmethod
    def _open(self, name: str, limit: int) -> IO[bytes] | None:
        """Open a member of at most `limit` bytes; None if there is no such member.

        Raises:
            ValueError: it is larger.
        """

    def _choose(self, names: Iterable[str]) -> None:
        """Find the members with events, and the network logs, among all members."""
        names = list(names)
        self.traces = sorted(name for name in names if name.endswith(".trace"))
        folders = {posixpath.dirname(name) for name in self.traces}
        if not folders:
            refuse("it has no member named *.trace, so it is not a Playwright trace")
        if len(folders) > 1:
            refuse("it has several traces, each in a folder of its own: import each folder by itself")
        self._folder = posixpath.join(*folders, "")
        logs = (name for name in names if name.endswith(".network"))
        self.networks = sorted(name for name in logs if posixpath.dirname(name) in folders)

    def events(self, name: str) -> Iterator[tuple[str, object]]:
        """Yield the JSON value of each line, with the location of the line for messages."""
        member = self._open(name, MAX_EVENTS)
        if member is None:
            refuse(f"{name!r} was removed while it was read")
        with member:
            number = 0
            while line := member.readline(MAX_LINE + 1):
                number += 1
                location = f"{name}, line {number}"
                self.spend(len(line) + _EVENT, f"{location}: ")
                if len(line) > MAX_LINE:
                    refuse(f"{location}: the line has more than {MAX_LINE} bytes")
                if line.strip():
                    yield location, _parse(line, location, self._budget.check_cancelled)

    def spend(self, size: int, location: str = "") -> None:
        """Count the bytes of events, or of what is built from them. Raise an error if the import was cancelled."""
        self._budget.check_cancelled()
        self._size_of_events += size
        if self._size_of_events > MAX_EVENTS:
            refuse(f"{location}the events up to here take more than {MAX_EVENTS} bytes")

    def read(self, name: str) -> bytes | None:
        """Return the bytes of an image or a style sheet; None if none has exactly this name.

        Parameters:
            name: the name in an event, relative to the folder of the traces.
        """
        member = self._open(self._folder + name, MAX_FILE)
        if member is None:
            return None
        with member:
            return member.read(MAX_FILE)


class ZipArchive(Archive):
    """An open trace.zip."""

    def __init__(self, path: str, budget: Budget) -> None:
        super().__init__(budget)
        with ExitStack() as stack:
            file = stack.enter_context(open(path, "rb"))
            _check_directory(file)
            self._zip = stack.enter_context(zipfile.ZipFile(file))
            self._check_members(self._zip.infolist())
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Close the zip."""
        self._stack.close()

    def _check_members(self, infos: list[zipfile.ZipInfo]) -> None:
        if len(infos) > MAX_MEMBERS:
            refuse(f"it has {len(infos)} members; the limit is {MAX_MEMBERS}")
        for info in infos:
            _check_member(info)
        self._infos = {info.orig_filename: info for info in infos}
        if len(self._infos) < len(infos):
            refuse("two of its members have the same name")
        self._choose(name for name in self._infos if not is_foreign(name))

    def _within_limits(self, name: str, limit: int) -> zipfile.ZipInfo:
        """Return the entry of a member. Refuse it if its declared size is too large.

        zipfile never returns more bytes than the entry declares, so checking the declared size is enough.
        """
        info = self._infos[name]
        if info.file_size > limit:
            refuse(f"{name!r} has {info.file_size} bytes; the limit is {limit}")
        if info.file_size > 2**20 and info.file_size > MAX_RATIO * info.compress_size:
            refuse(f"{name!r} grows more than {MAX_RATIO} times when it is decompressed, as in a zip bomb")
        if info.compress_size > 2 * info.file_size + _MAX_GROWTH:
            refuse(f"{name!r} takes more than twice its size in the zip, which no compressor writes")
        return info

    def _open(self, name: str, limit: int) -> IO[bytes] | None:
        return self._zip.open(self._within_limits(name, limit)) if name in self._infos else None


def _parse(line: bytes, location: str, check_cancelled: Callable[[], None]) -> object:
    try:
        value = parse_line(line, check_cancelled)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{location}: {error}") from error
    kind = value.get("type") if isinstance(value, dict) else None
    if kind != _SNAPSHOT and count_values(line) > MAX_QUICK:  # it would be stored as JSON, on the event loop
        refuse(f"{location}: the event has more than {MAX_QUICK} values")
    return value
