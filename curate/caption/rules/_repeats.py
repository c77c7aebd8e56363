"""Which texts of a row stand in it twice, without a hash table of all texts.

Nearly no text is repeated within its row, so most are told apart by a sketch: length, first, middle and last eight
bytes, mixed with the row into one number. Only where two of these numbers agree are the texts compared. 110,000
captions of 9 words take 4 ms that way, and 15 ms by Arrow's dictionaries.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["first_equal"]

Numbers = npt.NDArray[np.int64]

WINDOW = 8
_MASKS = np.array([(1 << 8 * n) - 1 for n in range(WINDOW + 1)], np.uint64)
"""Which bits of a window belong to a text that has n bytes in it."""
_STEP = np.uint64(0x9E3779B97F4A7C15)
ROW_SHIFT = np.uint64(40)
"""Bits of a sketch that stand below the row's number. Sorting what is nearly in order is eight times as fast."""


def first_equal(rows: Numbers, texts: pa.LargeStringArray, places: Numbers | None = None) -> Numbers:
    """For each text the place of the first one of its row that is equal, its own where there is none before it.

    `rows`: int64 (m,), whose each of the m texts is; `places`: int64 (n,), ascending, of those that are looked at, None
    for all; the others stay alone. int64 (m,)."""
    found = np.arange(len(rows))
    own = found if places is None else places
    keys = rows[own].astype(np.uint64) << ROW_SHIFT | _sketches(texts, own) >> (np.uint64(64) - ROW_SHIFT)
    order = np.argsort(keys)
    same = keys[order][1:] == keys[order][:-1]
    doubtful = own[np.sort(order[np.append(same, False) | np.append(False, same)[: len(order)]])]
    if len(doubtful):
        found[doubtful] = doubtful[_first(rows[doubtful], texts.take(pa.array(doubtful)))]
    return found


def _first(rows: Numbers, texts: pa.LargeStringArray) -> Numbers:
    """The same, by comparison: a dictionary numbers its entries by first appearance."""
    codes = np.asarray(texts.dictionary_encode().indices).astype(np.int64)
    numbers = np.asarray(pa.array(rows * (codes.max() + 1) + codes).dictionary_encode().indices).astype(np.int64)
    new = numbers > np.append(-1, np.maximum.accumulate(numbers)[:-1])
    found: Numbers = np.flatnonzero(new)[numbers]
    return found


def _sketches(texts: pa.LargeStringArray, places: Numbers) -> npt.NDArray[np.uint64]:
    """A number for each text at `places`, uint64 (n,): equal texts have equal ones."""
    if not len(places):
        return np.empty(0, np.uint64)
    offsets = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]
    own = np.frombuffer(texts.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
    padded = np.concatenate([own, np.zeros(WINDOW, np.uint8)])
    windows = np.ndarray((len(padded) - WINDOW + 1,), np.dtype((np.void, WINDOW)), padded, strides=(1,))
    starts = offsets[places] - offsets[0]
    lengths = offsets[places + 1] - offsets[places]
    mask = _MASKS[np.minimum(lengths, WINDOW)]
    room = np.maximum(lengths - WINDOW, 0)
    mixed = lengths.astype(np.uint64) * _STEP
    for place in (0 * room, room // 2, room):
        block = windows[starts + place].view("<u8") & mask
        mixed = (mixed ^ block) * _STEP
        mixed ^= mixed >> np.uint64(29)
    return mixed
