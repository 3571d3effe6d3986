"""Find base64 in a text, even if it is broken into lines, and the line ends are encoded in JSON, a URL or HTML."""

import re
from binascii import a2b_base64
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from string import ascii_letters, digits

__all__ = ["Base64Text"]

# A line end with the indentation after it, in any of its encodings; or `+`, as an odd group; or `/`, as an even one.
# Every alternative begins with a literal character, so that `re` skips most of a page quickly.
_PIECES = re.compile(
    r"\n\s*|\r\s*"
    r"|\\(?<!\\\\)\\{0,15}(?:[nrt]|u000[9aAdD]|[\r\n]\s*|(u002[bB])|(/|u002[fF]))"
    r"|%(?:25){0,8}(?:0[9aAdD]|20|(2[bB])|(2[fF]))"
    r"|&(?:amp;){0,12}(?:(?:#(?:0{0,8}(?:9|10|13|32)|[xX]0{0,8}(?:9|[aAdD]|20))|NewLine|Tab)"
    r"|(plus|#0{0,8}43|#[xX]0{0,8}2[bB])|(sol|#0{0,8}47|#[xX]0{0,8}2[fF]));"
)
_ALPHABET = (ascii_letters + digits + "+/").encode()
# RFC 4648, sections 4 and 5. Any other character counts as `/`, so that a text is decoded as a whole.
_STANDARD = bytes(
    byte if byte in _ALPHABET else {ord("-"): ord("+")}.get(byte, ord("/")) for byte in range(256)
)  # fmt: skip


class Base64Text:
    """A text that is decoded as base64 four times, beginning at each of its first four characters.

    The whole text is decoded. Parts that are not base64 become meaningless bytes. This takes a few milliseconds per MB.
    """

    def __init__(self, text: str) -> None:
        self._at: list[int] = []  # the position of each piece in the text without line ends
        # its start and end in the text; the end is 0 if each character of the piece stands for itself
        self._pieces: list[tuple[int, int]] = []
        self._length = 0
        joined = "".join(self._split(text))
        self._standard = joined.encode("ascii", "replace").translate(_STANDARD) + b"///////"

    def _split(self, text: str) -> Iterator[str]:
        end = 0
        for found in _PIECES.finditer(text):
            yield self._add(text[end : found.start()], end, 0)
            yield self._add("/+"[found.lastindex % 2] if found.lastindex else "", *found.span())
            end = found.end()
        yield self._add(text[end:], end, 0)

    def _add(self, piece: str, start: int, end: int) -> str:
        if piece:
            self._at.append(self._length)
            self._pieces.append((start, end))
            self._length += len(piece)
        return piece

    def spans(self, find: Callable[[bytes], Iterable[tuple[int, int]]]) -> list[tuple[int, int]]:
        """Return start and end of each part of the text whose decoded bytes have a match. They are sorted and united.

        Parameters:
            find: a function that returns start and end of each match in the bytes.
        """
        return _united(sorted(self._span(start, part) for start in range(4) for part in find(self._decoded(start))))

    def _decoded(self, start: int) -> bytes:
        return a2b_base64(self._standard[start : start + (len(self._standard) - start) // 4 * 4])

    def _span(self, start: int, part: tuple[int, int]) -> tuple[int, int]:
        """Return the part of the text from which these bytes were decoded. Each character has 6 bits."""
        first, last = start + part[0] * 8 // 6, start + -(-part[1] * 8 // 6) - 1
        return self._begin(first), self._end(last)

    def _piece(self, at: int) -> tuple[int, int, int]:
        index = bisect_right(self._at, at) - 1
        return (at - self._at[index], *self._pieces[index])

    def _begin(self, at: int) -> int:
        offset, start, _ = self._piece(at)
        return start + offset

    def _end(self, at: int) -> int:
        offset, start, end = self._piece(min(at, self._length - 1))
        return end or start + offset + 1


def _united(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the spans. Spans that overlap are merged."""
    united: list[tuple[int, int]] = []
    for span in spans:
        overlaps = united and span[0] < united[-1][1]
        before = united.pop() if overlaps else span
        united.append((before[0], max(before[1], span[1])))
    return united
