"""The balance curve: how many rows each concept had before and has after, small enough to be kept with the data set.

    metaclip_balance/curve.json
      cap, entries, incidences, expected_rows, in_rows, with_concept_rows, kept_rows
      top:        [entry, rows before, rows after] of the 1,000 largest
      histogram:  [from rows, to rows (included), entries, rows before, rows after], one line per power of two

Some 30 kB, and 250 at most, whatever the pool.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["TOP", "balance_curve"]

TOP = 1_000
LONGEST = 200
"""Characters of an entry that are written."""

Counts = npt.NDArray[np.int64]


def balance_curve(entries: Sequence[str], before: Counts, after: Counts, about: Mapping[str, float | int]) -> bytes:
    """The file above, from the rows of each entry before and after, int64 (entries,)."""
    order = np.argsort(-before, kind="stable")[:TOP]
    top = [[entries[e][:LONGEST], int(before[e]), int(after[e])] for e in order.tolist() if before[e]]
    powers = np.frexp(before.astype(np.float64))[1]
    lines = []
    for power in np.unique(powers).tolist():
        own = powers == power
        low, high = (1 << (power - 1), (1 << power) - 1) if power else (0, 0)
        lines.append([low, high, int(own.sum()), int(before[own].sum()), int(after[own].sum())])
    return json.dumps({**about, "top": top, "histogram": lines}, ensure_ascii=False).encode()
