"""Write an array of pixels as PNG (W3C, Portable Network Graphics, third edition), without an image library."""

import struct
import zlib

__all__ = ["png_of"]

_COLOURS = {3: 2, 4: 6}  # channels: the colour type, RGB or RGBA


def png_of(data: bytes, height: int, width: int, channels: int) -> bytes:
    """Return an image as PNG.

    Parameters:
        data: a byte for each channel of each pixel, row by row.
        channels: 3 for RGB, or 4 for RGBA.
    """
    row = width * channels
    lines = b"".join(b"\0" + data[at : at + row] for at in range(0, height * row, row))
    header = struct.pack(">2L5B", width, height, 8, _COLOURS[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))
