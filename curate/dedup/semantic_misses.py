"""What cells miss: near duplicates that k-means has put into different cells are never compared.

For a sample of rows, drawn by what they are, all other rows are looked at: a share of 0.1 % of a million rows of 512
numbers takes a core 8 s. Pairs are counted at several thresholds, for the step does not know which one will be chosen.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["AT_LEAST", "count_misses"]

AT_LEAST = (0.8, 0.85, 0.9, 0.95, 0.99)
BLOCK_ROWS = 1 << 14
Numbers = npt.NDArray[np.int64]


def count_misses(
    stored: npt.NDArray[np.float16], cells: npt.NDArray[np.int32], sample: Numbers
) -> list[dict[str, Any]]:
    """For each cosine in `AT_LEAST`: `pairs` of a row of the sample and another row that reach it, how many of them lie
    `in_other_cells`, `rows` of the sample that are in such a pair, and `rows_missed`, those that are in none within
    their cell.

    `stored` (n, d) are finite and not 0, `cells` (n,) say in which each lies; `sample` (m,) are numbers of rows.
    """
    pairs = np.zeros((len(AT_LEAST), 2), np.int64)
    hit = np.zeros((len(AT_LEAST), 2, len(sample)), bool)
    own = _unit(stored[sample])
    for start in range(0, len(stored), BLOCK_ROWS):
        cosines = own @ _unit(stored[start : start + BLOCK_ROWS]).T
        one, other = np.nonzero(cosines >= min(AT_LEAST))
        one, other = one[sample[one] != other + start], other[sample[one] != other + start]
        elsewhere = (cells[sample[one]] != cells[other + start]).astype(np.int64)
        for number, least in enumerate(AT_LEAST):
            near = cosines[one, other] >= np.float32(least)
            pairs[number] += np.bincount(elsewhere[near], minlength=2)
            hit[number, elsewhere[near], one[near]] = True
    return [
        {
            "at_least": least,
            "pairs": int(both.sum()),
            "in_other_cells": int(both[1]),
            "rows": int(rows.any(axis=0).sum()),
            "rows_missed": int((rows[1] & ~rows[0]).sum()),
        }
        for least, both, rows in zip(AT_LEAST, pairs, hit, strict=True)
    ]


def _unit(stored: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
    rows = stored.astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows
