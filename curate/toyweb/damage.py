"""Bytes that are not what they seem: a picture broken inside, a page under an image's name, a decompression bomb."""

from __future__ import annotations

import struct
import zlib
from functools import cache

from curate.filter import Pixels

__all__ = ["BOMB_SIDE_PX", "bomb", "broken_png", "html_page"]

BOMB_SIDE_PX = 20_000
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@cache
def bomb() -> bytes:
    """A white square PNG of 20,000 px a side: some 50 kB that ask for 400 megapixels (1.2 GB as RGB)."""
    row = b"\0" + b"\xff" * (BOMB_SIDE_PX // 8)
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(row * 100) for _ in range(BOMB_SIDE_PX // 100)) + packer.flush()
    return _png((BOMB_SIDE_PX, BOMB_SIDE_PX, 1, 0), packed)


def broken_png(pixels: Pixels) -> bytes:
    """A PNG whose first third is sound and whose compressed data then holds a block of a kind that does not exist.

    Noise would not do: deflate accepts 4 % of it. `pixels` is height x width x 3; the checksums are right.
    """
    height, width, _ = pixels.shape
    packer = zlib.compressobj(1)
    sound = b"".join(b"\0" + row.tobytes() for row in pixels[: height // 3])
    packed = packer.compress(sound) + packer.flush(zlib.Z_FULL_FLUSH) + b"\xff" * 1000
    return _png((width, height, 8, 2), packed)


def html_page() -> bytes:
    """What a server says with status 200 and an image's content type when the picture is gone."""
    return (
        b"<!DOCTYPE html><html><head><title>Not found</title></head>"
        b"<body><h1>Sorry</h1><p>This picture has moved.</p></body></html>\n"
    )


def _png(shape: tuple[int, int, int, int], packed: bytes) -> bytes:
    """A PNG file around its compressed rows; `shape` is width, height, bit depth and colour type (0 grey, 2 RGB)."""
    header = struct.pack(">IIBBBBB", *shape, 0, 0, 0)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
