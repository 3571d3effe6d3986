"""The members of a trace's zip, one at a time and within bounds; nothing is ever written to disk."""

import json
import os
import re
import stat
import struct
import threading
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from typing import BinaryIO, NoReturn

__all__ = ["MAX_EVENTS", "MAX_FILE", "MAX_LINE", "MAX_MEMBERS", "MAX_RATIO", "Archive", "refuse"]

# A day's recording has some ten thousand screencast frames; more members need zip64, which is refused, too.
MAX_MEMBERS = 50_000
# All `.trace` members of real ones together have up to 100 MB; up to four times this is held in memory.
MAX_EVENTS = 256 * 2**20
# What is kept of a short event takes more than its line, so that each counts as that many bytes more.
_EVENT = 256
# One event, at most the snapshot of a page with its inlined data: a line is parsed as a whole, into 20 times as much.
MAX_LINE = 32 * 2**20
# An image or a style sheet: a frame of the screencast has 10 to 200 kB.
MAX_FILE = 32 * 2**20
# Events of real traces shrink to a 10th, at most a 100th; deflate can do 1:1032, which is what bombs consist of.
MAX_RATIO = 400
_MAX_DIRECTORY = MAX_MEMBERS * 256

_END = struct.Struct("<4s4H2LH")  # end of central directory record (APPNOTE.TXT, 4.3.16)
_CLIMBS = re.compile(r"(?:^|[/\\])\.\.(?:[/\\]|$)|^[/\\]|^[A-Za-z]:|\x00")
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def refuse(why: str) -> NoReturn:
    """Raise the ValueError that says what is wrong with the trace; the caller knows which file it is."""
    raise ValueError(why)


def _check_directory(file: BinaryIO) -> None:
    """Refuse, before zipfile reads it into memory, a central directory that is out of proportion."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _END.size - 0xFFFF - 20))
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) < at + _END.size:
        refuse("it is not a zip, or it is cut off")
    length = _END.unpack_from(tail, at)[5]
    if length > _MAX_DIRECTORY or tail[max(0, at - 20) : at].startswith(b"PK\6\7"):
        refuse(f"its directory is that of more than {MAX_MEMBERS} members")


def _check_member(info: zipfile.ZipInfo) -> None:
    name = info.orig_filename
    if _CLIMBS.search(name):
        refuse(f"the member name {name[:80]!r} leads out of the zip")
    if info.flag_bits & 0x1:
        refuse(f"{name[:80]!r} is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        refuse(f"{name[:80]!r} is compressed in a way that no trace is")


class Archive:
    """An open trace.zip; for one thread. Any other may set `is_cancelled`, and the next event or slice is the last.

    Raises (here and in each method):
        ValueError, zipfile.BadZipFile, zlib.error, EOFError: not a zip, or a hostile one.
        OSError: the file cannot be read.
    """

    def __init__(self, path: str) -> None:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for its other end
            refuse("it is not a regular file")
        self._events = 0
        self.is_cancelled = threading.Event()
        with ExitStack() as stack:
            file = stack.enter_context(open(path, "rb"))
            _check_directory(file)
            self._zip = stack.enter_context(zipfile.ZipFile(file))
            self._check_members(self._zip.infolist())
            self.close = stack.pop_all().close

    def _check_members(self, infos: list[zipfile.ZipInfo]) -> None:
        if len(infos) > MAX_MEMBERS:
            refuse(f"it has {len(infos)} members, and {MAX_MEMBERS} are allowed")
        for info in infos:
            _check_member(info)
        self._infos = {info.orig_filename: info for info in infos}
        if len(self._infos) < len(infos):
            refuse("two of its members have the same name")
        self.traces = sorted(name for name in self._infos if name.endswith(".trace"))
        if not self.traces:
            refuse("no member is called *.trace: it is not a trace of Playwright")

    def _bounded(self, name: str, most: int) -> zipfile.ZipInfo:
        """The member with a name; zipfile gives no more bytes of it than are declared, and these are bounded."""
        info = self._infos[name]
        if info.file_size > most:
            refuse(f"{name[:80]!r} has {info.file_size} bytes, and {most} are allowed")
        if info.file_size > 2**20 and info.file_size > MAX_RATIO * info.compress_size:
            refuse(f"{name[:80]!r} grows more than {MAX_RATIO} times when it is decompressed: a zip bomb")
        return info

    def events(self, name: str) -> Iterator[tuple[str, object]]:
        """The JSON value of each line, and where it is, for messages."""
        with self._zip.open(self._bounded(name, MAX_EVENTS)) as member:
            number = 0
            while line := member.readline(MAX_LINE + 1):
                self.go_on()
                number += 1
                where = f"{name[:80]}, line {number}"
                self._events += len(line) + _EVENT
                if self._events > MAX_EVENTS:
                    refuse(f"{where}: its events take more than {MAX_EVENTS} bytes")
                if len(line) > MAX_LINE:
                    refuse(f"{where}: more than {MAX_LINE} bytes")
                if line.strip():
                    yield where, _parsed(line, where)

    def go_on(self) -> None:
        """Raise where whoever waited for the trace has left."""
        if self.is_cancelled.is_set():
            refuse("the import was cancelled")

    def read(self, name: str) -> bytes | None:
        """An image or a style sheet; None where the zip has no member with exactly this name."""
        if _CLIMBS.search(name):
            refuse(f"the name {name[:80]!r} leads out of the zip")
        return self._zip.read(self._bounded(name, MAX_FILE)) if name in self._infos else None


def _no_constant(name: str) -> NoReturn:
    refuse(f"{name} is no JSON number")


def _parsed(line: bytes, where: str) -> object:
    """The value of one line; half surrogate pairs, which cut texts have, become U+FFFD as in any UTF-8 file."""
    try:
        value: object = json.loads(line.decode(), parse_constant=_no_constant)
        if _ESCAPED_SURROGATE.search(line):
            text = _SURROGATE.sub("\ufffd", json.dumps(value, ensure_ascii=False))
            value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: {error}") from error
    return value
