"""Compiled loops of the exact Hamming search: counting bits, chunk tables, pairs of a table, matches of queries.

Hashes lie as uint64 (words, n), so that one is compared to 64 others by vector instructions: 0.06 to 0.1 ns a pair of
64 bits where the processor counts bits of vectors (AVX-512 VPOPCNTDQ), against 0.4 one by one. Loops that may find more
than their room for results stop, note where, and go on from there when called again.

The comparison of a block stands in both loops, not in a function: a call counts its arrays as in use, 25 ns where a
block takes 5. Its places are unsigned: a signed one may count from the end, and that check keeps vectors out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit
from numba.core import types
from numba.extending import intrinsic

__all__ = ["BLOCK", "fill_table", "find_matches", "find_pairs", "permute"]

BLOCK = 64
"""Hashes that one is compared to before results are looked at."""

_0 = np.uint64(0)

TILE = 1024
"""Buckets that are joined under one mask after the other: their neighbours are read in a row."""


@intrinsic
def _ones(context: Any, word: Any) -> Any:
    """How many bits of a uint64 are set."""
    return types.uint64(types.uint64), lambda context, builder, signature, arguments: builder.ctpop(arguments[0])


@njit(cache=True, nogil=True)
def permute(hashes: npt.NDArray[np.uint64], sources: npt.NDArray[np.int64], out: npt.NDArray[np.uint64]) -> None:
    """Hashes (n, words) with bit `sources[t]` put at place t, to `out` (words, n)."""
    for row in range(len(hashes)):
        for word in range(out.shape[0]):
            built = np.uint64(0)
            for place in range(64):
                source = sources[64 * word + place]
                built |= (hashes[row, source >> 6] >> np.uint64(source & 63) & np.uint64(1)) << np.uint64(place)
            out[word, row] = built


@njit(cache=True, nogil=True)
def fill_table(rows, word, shift, starts, table, number):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Sort rows (words, n) by their chunk at `shift` of `word`: bucket v of `table` is starts[v] to starts[v + 1].

    `starts` int32 (values + 2,), of zeros; `number` int32 (n,) becomes the row that stands at each place.
    """
    mask = np.uint64(len(starts) - 3)
    for row in range(rows.shape[1]):
        starts[np.int64(rows[word, row] >> shift & mask) + 2] += 1
    for value in range(2, len(starts)):
        starts[value] += starts[value - 1]
    for row in range(rows.shape[1]):
        after = np.int64(rows[word, row] >> shift & mask) + 1
        place = starts[after]
        starts[after] = place + 1
        number[place] = row
        for other in range(rows.shape[0]):
            table[other, place] = rows[other, row]


@njit(cache=True, nogil=True)
def _distance_if_first(one, table, at, chunks, chunk):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """The distance, or -1 where an earlier chunk is within its own limit and finds the two as well.

    `chunks` int64 (m, 4): word, shift, mask, limit.
    """
    for earlier in range(chunk):
        word = chunks[earlier, 0]
        apart = (one[word] ^ table[word, at]) >> np.uint64(chunks[earlier, 1]) & np.uint64(chunks[earlier, 2])
        if np.int64(_ones(apart)) <= chunks[earlier, 3]:
            return np.int64(-1)
    distance = np.int64(0)
    for word in range(len(one)):
        distance += np.int64(_ones(one[word] ^ table[word, at]))
    return distance


@njit(cache=True, nogil=True)
def _keep(left, right, distance, room, state, out, found):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, PLR0913
    """Write a result where there is room for it: 1, or 0."""
    if len(room):
        if room[left] <= 0 and room[right] <= 0:
            state[5] += 1
            return 0
        room[left] -= 1
        room[right] -= 1
    out[found, 0], out[found, 1], out[found, 2] = left, right, distance
    return 1


@njit(cache=True, nogil=True)
def _join(table, number, ranges, chunks, chunk, radius, room, state, out, found, scratch):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, C901, PLR0912, PLR0913
    """Pairs of rows of one bucket and another, or of one with itself: how many were found by now, or -1 - that many
    where the room ended. `ranges` is where both begin and end; `state` as in `find_pairs`."""
    begin, end, near, near_end = ranges
    row, other = max(begin, state[3]), state[4]
    one, distances, limit = scratch[0], scratch[1], np.uint64(radius)
    while row < end:
        if other < 0:
            other = row + 1 if near == begin else near
        for word in range(len(one)):
            one[word] = table[word, row]
        while other < near_end:
            start, size, hits = np.uint64(other), np.uint64(min(BLOCK, near_end - other)), _0
            if len(one) == 1:
                only = one[0]
                for place in range(size):
                    hits += np.uint64(_ones(only ^ table[_0, start + place]) <= limit)
            else:
                distances[:] = _0
                for word in range(np.uint64(len(one))):
                    own = one[word]
                    for place in range(size):
                        distances[place] += _ones(own ^ table[word, start + place])
                for place in range(size):
                    hits += np.uint64(distances[place] <= limit)
            if hits == 0:
                other += BLOCK
                continue
            if found + BLOCK > len(out):
                state[3], state[4] = row, other
                return -1 - found
            for at in range(other, min(other + BLOCK, near_end)):
                distance = np.uint64(0)
                for word in range(len(one)):
                    distance += _ones(one[word] ^ table[word, at])
                if distance <= limit and _distance_if_first(one, table, at, chunks, chunk) >= 0:
                    found += _keep(number[row], number[at], distance, room, state, out, found)
            other += BLOCK
        row, other = row + 1, -1
    state[3] = state[4] = -1
    return found


@njit(cache=True, nogil=True)
def find_pairs(table, number, starts, masks, chunks, chunk, radius, until, room, state, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, PLR0913
    """Pairs of one table within `radius` that no earlier chunk finds: how many, and that many rows of `out`.

    Buckets from `state[0]` up to `until` are joined with the buckets whose value is theirs with the bits of a mask
    turned; the one without the lowest of these bits does it. `state` int64 (6,) of tile, mask, bucket, row, other is
    where to go on; it begins as (first, 0, first, -1, -1, 0), and state[0] is `until` at the end. `out` int64 (k, 3):
    the numbers of both and their distance. `room` int32 (n,): results that each hash may still have, or empty for any
    number of them; what finds no room in either hash is counted in `state[5]`.
    """
    tile, turn, bucket, found = state[0], state[1], state[2], 0
    scratch = (np.empty(table.shape[0], np.uint64), np.empty(BLOCK, np.uint64))
    while tile < until:
        end = min(tile + TILE, until)
        while turn < len(masks):
            mask = masks[turn]
            lowest = mask & -mask
            while bucket < end:
                ranges = (starts[bucket], starts[bucket + 1], starts[bucket ^ mask], starts[(bucket ^ mask) + 1])
                if bucket & lowest == 0 and ranges[0] < ranges[1] and ranges[2] < ranges[3]:
                    found = _join(table, number, ranges, chunks, chunk, radius, room, state, out, found, scratch)
                    if found < 0:
                        state[0], state[1], state[2] = tile, turn, bucket
                        return -1 - found
                bucket += 1
            turn, bucket = turn + 1, tile
        tile, turn, bucket = end, 0, end
    state[0] = until
    return found


@njit(cache=True, nogil=True)
def find_matches(queries, order, table, number, starts, masks, chunks, chunk, radius, until, state, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, C901, PLR0912, PLR0913
    """Hashes of one table within `radius` of queries (words, q) that no earlier chunk finds, as in `find_pairs`.

    Queries are taken in `order`, from state[0] up to `until`. `state` int64 (3,) of place in order, mask, place in
    table (-1 for the first of its bucket); `out` int64 (k, 3) of query, number, distance.
    """
    at, turn, other = state[0], state[1], state[2]
    distances, one, found = np.empty(BLOCK, np.uint64), np.empty(table.shape[0], np.uint64), 0
    word, shift, bits = chunks[chunk, 0], np.uint64(chunks[chunk, 1]), np.uint64(chunks[chunk, 2])
    limit = np.uint64(radius)
    while at < until:
        for row in range(len(one)):
            one[row] = queries[row, order[at]]
        value = np.int64(one[word] >> shift & bits)
        while turn < len(masks):
            bucket = value ^ masks[turn]
            other, end = max(other, starts[bucket]), starts[bucket + 1]
            while other < end:
                start, size, hits = np.uint64(other), np.uint64(min(BLOCK, end - other)), _0
                if len(one) == 1:
                    only = one[0]
                    for place in range(size):
                        hits += np.uint64(_ones(only ^ table[_0, start + place]) <= limit)
                else:
                    distances[:] = _0
                    for part in range(np.uint64(len(one))):
                        own = one[part]
                        for place in range(size):
                            distances[place] += _ones(own ^ table[part, start + place])
                    for place in range(size):
                        hits += np.uint64(distances[place] <= limit)
                if hits == 0:
                    other += BLOCK
                    continue
                if found + BLOCK > len(out):
                    state[0], state[1], state[2] = at, turn, other
                    return found
                for row in range(other, min(other + BLOCK, end)):
                    distance = _distance_if_first(one, table, row, chunks, chunk)
                    if 0 <= distance <= radius:
                        out[found, 0], out[found, 1], out[found, 2] = order[at], number[row], distance
                        found += 1
                other += BLOCK
            turn, other = turn + 1, -1
        at, turn = at + 1, 0
    state[0] = until
    return found
