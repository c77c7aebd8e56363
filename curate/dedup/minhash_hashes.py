"""Hashes of byte ranges inside one array, compiled: no Python object for a shingle.

A call of the `xxhash` package costs 57 ns, with the bytes it is given; here a shingle of five letters takes 1. XXH32
and XXH64 (Yann Collet's specification) with seed 0, little-endian; SHA-1 (FIPS 180-4) cut to its first four bytes, as
`datasketch.sha1_hash32` has it, takes some 200 ns and is there to match signatures that exist.

What is called for each shingle gets numbers and no array, unless it has no branch: numba counts the references to an
array at every branch, by atomic instructions that take 10 ns. And numba's cache looks at the file of the function that
was called, not at what that calls: after a change here, touch `minhash_text.py`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

__all__ = ["sha1_32", "xxh32", "xxh32_of_five", "xxh32_short", "xxh64", "xxh64_short"]

Bytes = npt.NDArray[np.uint8]

_A1, _A2, _A3 = np.uint32(0x9E3779B1), np.uint32(0x85EBCA77), np.uint32(0xC2B2AE3D)
_A4, _A5 = np.uint32(0x27D4EB2F), np.uint32(0x165667B1)
_B1, _B2, _B3 = np.uint64(0x9E3779B185EBCA87), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9)
_B4, _B5 = np.uint64(0x85EBCA77C2B2AE63), np.uint64(0x27D4EB2F165667C5)
_A1_A2, _A_MINUS_1 = np.uint32(0x24234428), np.uint32(0x61C8864F)
"""The first and the last lane of XXH32 begin with the sum of two primes and with minus the first one."""
_B1_B2, _B_MINUS_1 = np.uint64(0x60EA27EEADC0B5D6), np.uint64(0x61C8864E7A143579)
_ONE, _TWO, _THREE = np.uint64(1), np.uint64(2), np.uint64(3)
"""A place as an unsigned number spares the question whether it counts from the end, and four loads become one."""
_BYTE, _HALF = np.uint64(0xFF), np.uint64(32)
_SHA_K = (np.uint32(0x5A827999), np.uint32(0x6ED9EBA1), np.uint32(0x8F1BBCDC), np.uint32(0xCA62C1D6))


@njit(cache=True, nogil=True, inline="always")
def _read32(data: Bytes, i: int) -> np.uint32:
    j = np.uint64(i)
    return np.uint32(
        np.uint32(data[j])
        | (np.uint32(data[j + _ONE]) << np.uint32(8))
        | (np.uint32(data[j + _TWO]) << np.uint32(16))
        | (np.uint32(data[j + _THREE]) << np.uint32(24))
    )


@njit(cache=True, nogil=True, inline="always")
def _read64(data: Bytes, i: int) -> np.uint64:
    return np.uint64(_read32(data, i)) | (np.uint64(_read32(data, i + 4)) << np.uint64(32))


@njit(cache=True, nogil=True)
def _turn32(value: np.uint32, bits: np.uint32) -> np.uint32:
    return np.uint32((value << bits) | (np.uint32(value) >> np.uint32(np.uint32(32) - bits)))


@njit(cache=True, nogil=True)
def _turn64(value: np.uint64, bits: np.uint64) -> np.uint64:
    return np.uint64((value << bits) | (value >> (np.uint64(64) - bits)))


@njit(cache=True, nogil=True)
def _round32(lane: np.uint32, word: np.uint32) -> np.uint32:
    return np.uint32(_turn32(np.uint32(lane + np.uint32(word * _A2)), np.uint32(13)) * _A1)


@njit(cache=True, nogil=True)
def _round64(lane: np.uint64, word: np.uint64) -> np.uint64:
    return np.uint64(_turn64(lane + word * _B2, np.uint64(31)) * _B1)


@njit(cache=True, nogil=True)
def _stripes32(data: Bytes, start: int, end: int) -> np.uint32:
    """The four lanes of XXH32 over all whole stripes of 16 bytes."""
    v1, v2, v3, v4 = _A1_A2, _A2, np.uint32(0), _A_MINUS_1
    for i in range(start, end - 15, 16):
        v1 = _round32(v1, _read32(data, i))
        v2 = _round32(v2, _read32(data, i + 4))
        v3 = _round32(v3, _read32(data, i + 8))
        v4 = _round32(v4, _read32(data, i + 12))
    low = np.uint32(_turn32(v1, np.uint32(1)) + _turn32(v2, np.uint32(7)))
    return np.uint32(low + np.uint32(_turn32(v3, np.uint32(12)) + _turn32(v4, np.uint32(18))))


@njit(cache=True, nogil=True)
def _four32(h: np.uint32, word: np.uint32) -> np.uint32:
    return np.uint32(_turn32(np.uint32(h + np.uint32(word * _A3)), np.uint32(17)) * _A4)


@njit(cache=True, nogil=True)
def _one32(h: np.uint32, byte: np.uint64) -> np.uint32:
    return np.uint32(_turn32(np.uint32(h + np.uint32(np.uint32(byte & _BYTE) * _A5)), np.uint32(11)) * _A1)


@njit(cache=True, nogil=True)
def _last32(h: np.uint32) -> np.uint32:
    h = np.uint32(np.uint32(h ^ (h >> np.uint32(15))) * _A2)
    h = np.uint32(np.uint32(h ^ (h >> np.uint32(13))) * _A3)
    return np.uint32(h ^ (h >> np.uint32(16)))


@njit(cache=True, nogil=True)
def _short32(h: np.uint32, low: np.uint64, high: np.uint64, size: int) -> np.uint32:
    """The last `size` bytes, 15 at most, that begin with those of `low`, then those of `high`."""
    for least in (4, 8, 12):
        if size >= least:
            h = _four32(h, np.uint32(low))
            low, high = (low >> _HALF) | (high << _HALF), high >> _HALF
    rest = size & 3
    if rest >= 1:
        h = _one32(h, low)
    if rest >= 2:
        h = _one32(h, low >> np.uint64(8))
    if rest == 3:
        h = _one32(h, low >> np.uint64(16))
    return np.uint32(_last32(h))


@njit(cache=True, nogil=True)
def _tail(data: Bytes, start: int, end: int) -> tuple[np.uint64, np.uint64]:
    """The 15 bytes at most of `data[start:end]` as two numbers."""
    low, high = np.uint64(0), np.uint64(0)
    for i in range(end - start):
        byte = np.uint64(data[start + i]) << np.uint64(8 * (i & 7))
        low, high = (low | byte, high) if i < 8 else (low, high | byte)
    return low, high


@njit(cache=True, nogil=True)
def xxh32(data: Bytes, start: int, end: int) -> np.uint32:
    """XXH32 of `data[start:end]`, seed 0."""
    size = end - start
    h = np.uint32((_stripes32(data, start, end) if size >= 16 else _A5) + np.uint32(size))
    low, high = _tail(data, end - (size & 15), end)
    return np.uint32(_short32(h, low, high, size & 15))


@njit(cache=True, nogil=True, inline="always")
def xxh32_short(data: Bytes, start: int, size: int) -> np.uint32:
    """XXH32 of `data[start:start + size]` for a size up to 15; `data` must go on to `start + 16` at least."""
    h = np.uint32(_A5 + np.uint32(size))
    return np.uint32(_short32(h, _read64(data, start), _read64(data, start + 8), size))


@njit(cache=True, nogil=True, inline="always")
def xxh32_of_five(data: Bytes, start: int) -> np.uint32:
    """XXH32 of `data[start:start + 5]`, seed 0."""
    h = _four32(np.uint32(_A5 + np.uint32(5)), _read32(data, start))
    return np.uint32(_last32(_one32(h, np.uint64(data[np.uint64(start) + np.uint64(4)]))))


@njit(cache=True, nogil=True)
def _stripes64(data: Bytes, start: int, end: int) -> np.uint64:
    """The four lanes of XXH64 over all whole stripes of 32 bytes."""
    v1, v2, v3, v4 = _B1_B2, _B2, np.uint64(0), _B_MINUS_1
    for i in range(start, end - 31, 32):
        v1 = _round64(v1, _read64(data, i))
        v2 = _round64(v2, _read64(data, i + 8))
        v3 = _round64(v3, _read64(data, i + 16))
        v4 = _round64(v4, _read64(data, i + 24))
    h = _turn64(v1, np.uint64(1)) + _turn64(v2, np.uint64(7))
    h += _turn64(v3, np.uint64(12)) + _turn64(v4, np.uint64(18))
    for lane in (v1, v2, v3, v4):
        h = (h ^ _round64(np.uint64(0), lane)) * _B1 + _B4
    return np.uint64(h)


@njit(cache=True, nogil=True)
def _short64(h: np.uint64, low: np.uint64, high: np.uint64, size: int) -> np.uint64:
    """The last `size` bytes, 15 at most, that begin with those of `low`, then those of `high`."""
    if size >= 8:
        h = _eight64(h, low)
        low = high
    if size & 4:
        h = _turn64(h ^ ((low & np.uint64(0xFFFFFFFF)) * _B1), np.uint64(23)) * _B2 + _B3
        low >>= _HALF
    for _ in range(size & 3):
        h = _turn64(h ^ ((low & _BYTE) * _B5), np.uint64(11)) * _B1
        low >>= np.uint64(8)
    h = (h ^ (h >> np.uint64(33))) * _B2
    h = (h ^ (h >> np.uint64(29))) * _B3
    return np.uint64(h ^ (h >> _HALF))


@njit(cache=True, nogil=True)
def _eight64(h: np.uint64, word: np.uint64) -> np.uint64:
    return np.uint64(_turn64(h ^ _round64(np.uint64(0), word), np.uint64(27)) * _B1 + _B4)


@njit(cache=True, nogil=True)
def xxh64(data: Bytes, start: int, end: int) -> np.uint64:
    """XXH64 of `data[start:end]`, seed 0."""
    size = end - start
    h = (_stripes64(data, start, end) if size >= 32 else _B5) + np.uint64(size)
    i = end - (size & 31)
    if size & 16:
        h = _eight64(_eight64(h, _read64(data, i)), _read64(data, i + 8))
        i += 16
    low, high = _tail(data, i, end)
    return np.uint64(_short64(h, low, high, size & 15))


@njit(cache=True, nogil=True, inline="always")
def xxh64_short(data: Bytes, start: int, size: int) -> np.uint64:
    """XXH64 of `data[start:start + size]`, with the bounds of `xxh32_short`."""
    low, high = _read64(data, start), _read64(data, start + 8)
    return np.uint64(_short64(_B5 + np.uint64(size), low, high, size))


@njit(cache=True, nogil=True)
def sha1_32(data: Bytes, start: int, end: int) -> np.uint32:
    """The first four bytes of the SHA-1 of `data[start:end]`, read as a little-endian number."""
    size = end - start
    block, words = np.zeros(64, np.uint8), np.empty(80, np.uint32)
    state = np.array([0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0], np.uint32)
    for number in range((size + 8) // 64 + 1):
        for i in range(64):
            place = number * 64 + i
            block[i] = data[start + place] if place < size else (128 if place == size else 0)
        if number == (size + 8) // 64:
            for i in range(8):
                block[63 - i] = (np.uint64(size) * np.uint64(8)) >> np.uint64(8 * i)
        _sha1_block(block, words, state)
    first = state[0]
    swapped = (first >> np.uint32(24)) | ((first >> np.uint32(8)) & np.uint32(0xFF00))
    return np.uint32(swapped | ((first & np.uint32(0xFF00)) << np.uint32(8)) | (first << np.uint32(24)))


@njit(cache=True, nogil=True)
def _sha1_block(block: Bytes, words: npt.NDArray[np.uint32], state: npt.NDArray[np.uint32]) -> None:
    for i in range(16):
        little = _read32(block, 4 * i)
        words[i] = (little << np.uint32(24)) | ((little & np.uint32(0xFF00)) << np.uint32(8))
        words[i] |= ((little >> np.uint32(8)) & np.uint32(0xFF00)) | (little >> np.uint32(24))
    for i in range(16, 80):
        words[i] = _turn32(words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16], np.uint32(1))
    a, b, c, d, e = state[0], state[1], state[2], state[3], state[4]
    for i in range(80):
        if i < 20:
            f = (b & c) | (~b & d)
        elif 40 <= i < 60:
            f = (b & c) | (b & d) | (c & d)
        else:
            f = b ^ c ^ d
        turned = np.uint32(np.uint32(_turn32(a, np.uint32(5)) + np.uint32(f)) + np.uint32(e + words[i]))
        a, b, c, d, e = np.uint32(turned + _SHA_K[i // 20]), a, _turn32(b, np.uint32(30)), c, d
    for i, value in enumerate((a, b, c, d, e)):
        state[i] = np.uint32(state[i] + value)
