"""Bytes that are not what they seem: a picture broken inside, a page under an image's name, a decompression bomb."""

from __future__ import annotations

import struct
import zlib
from functools import cache

__all__ = ["BOMB_SIDE_PX", "bomb", "broken_png", "html_page"]

BOMB_SIDE_PX = 20_000
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@cache
def bomb() -> bytes:
    """A white square PNG of 20,000 px a side: some 50 kB that ask for 400 megapixels (1.2 GB as RGB)."""
    row = b"\0" + b"\xff" * (BOMB_SIDE_PX // 8)
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(row * 100) for _ in range(BOMB_SIDE_PX // 100)) + packer.flush()
    header = struct.pack(">IIBBBBB", BOMB_SIDE_PX, BOMB_SIDE_PX, 1, 0, 0, 0, 0)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def broken_png(data: bytes) -> bytes:
    """A whole PNG whose header is right and whose pixel data is noise from a third of the file on."""
    start = data.index(b"IDAT") + 4 + len(data) // 3
    end = len(data) - 16
    return data[:start] + bytes(b ^ 0xA5 for b in data[start:end]) + data[end:]


def html_page() -> bytes:
    """What a server says with status 200 and an image's content type when the picture is gone."""
    return (
        b"<!DOCTYPE html><html><head><title>Not found</title></head>"
        b"<body><h1>Sorry</h1><p>This picture has moved.</p></body></html>\n"
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
