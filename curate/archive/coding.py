"""Undoing what a server did to a body: chunks, gzip, deflate, br, zstd. Whatever the bytes are, within a bound.

Archives are at odds with their own headers: many crawlers store a body decoded and keep the header that says how it
was coded. So a body that shows no sign of a coding is taken as it is, and only one that breaks off in the middle is a
problem; what came out before is kept.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from typing import NamedTuple

import pyarrow as pa

__all__ = ["Decoded", "join_chunks", "undo_codings"]

MOST_CODINGS = 3
_READ_BYTES = 1 << 20
_CHUNK_HEAD = re.compile(rb"[ \t]*([0-9a-fA-F]{1,15})[ \t]*(?:;[^\n]{0,4096})?\r?\n")
_LINE_END = re.compile(rb"\r?\n?")
_TEXT = re.compile(rb"[\t\n\f\r -~\x80-\xff]{0,200}\Z")
_NO_CODING = frozenset(("", "identity", "none", "utf-8", "utf8", "iso-8859-1", "8bit", "7bit", "binary", "text/html"))


class Decoded(NamedTuple):
    """Bytes, and what was wrong with them, if anything."""

    data: bytes
    problem: str | None = None
    detail: str = ""


def join_chunks(body: bytes) -> Decoded:
    """A body without its chunked transfer coding (RFC 9112, 7.1); as it is where it never had one.

    Problems: `bad_chunks`, `truncated`.
    """
    parts: list[bytes] = []
    position = 0
    while position < len(body):
        head = _CHUNK_HEAD.match(body, position)
        if head is None:
            return _not_chunked(body, parts, position)
        size = int(head[1], 16)
        if size == 0:
            return Decoded(b"".join(parts))
        parts.append(body[head.end() : head.end() + size])
        if head.end() + size > len(body):
            return _cut_chunk(body, parts, size)
        end = _LINE_END.match(body, head.end() + size)
        position = end.end() if end else head.end() + size
    return Decoded(b"".join(parts), *(("truncated", "the last chunk is missing") if parts else ()))


def _not_chunked(body: bytes, parts: list[bytes], position: int) -> Decoded:
    if not parts:
        return Decoded(body)
    return Decoded(b"".join(parts), "bad_chunks", f"no size of a chunk at byte {position} of the body")


def _cut_chunk(body: bytes, parts: list[bytes], size: int) -> Decoded:
    if len(parts) == 1 and _CHUNK_HEAD.match(body) and size > 2 * len(body):
        return Decoded(body)  # a text that begins with a word of hexadecimal digits
    return Decoded(b"".join(parts), "truncated", f"a chunk of {size} bytes has {len(parts[-1])}")


def undo_codings(body: bytes, header: str, most: int) -> Decoded:
    """A body without the content codings that a Content-Encoding header lists; at most `most` bytes.

    Problems: `bad_coding`, `unknown_coding`, `truncated`, `too_large`.
    """
    names = [n for n in (part.strip().lower() for part in header.split(",")) if n not in _NO_CODING]
    if not body or not names:
        return Decoded(body)
    if len(names) > MOST_CODINGS:
        return Decoded(body, "unknown_coding", f"{len(names)} content codings, at most {MOST_CODINGS} are undone")
    done = Decoded(body)
    for name in reversed(names):
        undo = _CODINGS.get(name)
        if undo is None:
            return (
                done if _is_text(done.data) else Decoded(done.data, "unknown_coding", f"Content-Encoding {name[:40]!r}")
            )
        done = undo(done.data, most)
        if done.problem:
            break
    return done


def _gunzip(body: bytes, most: int) -> Decoded:
    return _inflate(body, 31, most) if body.startswith(b"\x1f\x8b") else Decoded(body)


def _deflate(body: bytes, most: int) -> Decoded:
    """With zlib's header, as the standard says, or without, as servers did it."""
    for window_bits in (15, -15):
        done = _inflate(body, window_bits, most)
        if done.data or done.problem is None:
            return done
    return Decoded(body) if _is_text(body) else Decoded(body, done.problem, done.detail)


def _inflate(body: bytes, window_bits: int, most: int) -> Decoded:
    engine = zlib.decompressobj(window_bits)
    try:
        data = engine.decompress(body, most + 1)
    except zlib.error as error:
        return Decoded(_up_to_error(body, window_bits, most), "bad_coding", str(error))
    if len(data) > most:
        return Decoded(data[:most], "too_large", f"more than {most} bytes after decompression")
    return Decoded(data) if engine.eof else Decoded(data, "truncated", "the compressed body ends too early")


def _up_to_error(body: bytes, window_bits: int, most: int) -> bytes:
    """What comes out before the damage: zlib throws away the output of the call that meets it."""
    engine, parts, held = zlib.decompressobj(window_bits), [], 0
    for position in range(0, len(body), 64):
        try:
            parts.append(engine.decompress(body[position : position + 64], most - held + 1))
        except zlib.error:
            break
        held += len(parts[-1])
        if held > most:
            break
    return b"".join(parts)[:most]


def _arrow(kind: str, magic: bytes) -> Callable[[bytes, int], Decoded]:
    def undo(body: bytes, most: int) -> Decoded:
        if not body.startswith(magic):
            return Decoded(body)
        parts: list[bytes] = []
        held = 0
        try:
            stream = pa.CompressedInputStream(pa.BufferReader(body), kind)
            while held <= most and (data := stream.read(min(_READ_BYTES, most + 1 - held))):
                parts.append(data)
                held += len(data)
        except (OSError, pa.ArrowException) as error:
            if not parts and not magic and _is_text(body):
                return Decoded(body)
            return Decoded(b"".join(parts), "bad_coding", str(error).split("\n", 1)[0][:200])
        if held > most:
            return Decoded(b"".join(parts)[:most], "too_large", f"more than {most} bytes after decompression")
        return Decoded(b"".join(parts))

    return undo


def _is_text(body: bytes) -> bool:
    """Whether a body looks like text, so that a coding that it does not have is no problem."""
    head = body[:200]
    return b"<" in head and _TEXT.match(head) is not None


_CODINGS: dict[str, Callable[[bytes, int], Decoded]] = {
    "gzip": _gunzip,
    "x-gzip": _gunzip,
    "deflate": _deflate,
    "br": _arrow("brotli", b""),
    "zstd": _arrow("zstd", b"\x28\xb5\x2f\xfd"),
}
