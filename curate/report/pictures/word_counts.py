"""Lengths of texts in words, as a histogram of four bins an octave: a caption has 8 words, some have 10,000."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.report.facts import Histogram
from curate.text import SPACE

__all__ = ["WordCounts"]

EDGES = np.array([*range(1, 8), *(n << k for k in range(1, 10) for n in range(4, 8)), 4_096])
"""1 to 8 one by one, then 10, 12, 14, 16, 20, 24, 28, 32, 40 ... 4,096 words."""


class WordCounts:
    """Counts texts by their words, which are what stands between white space (`len(text.split())`)."""

    def __init__(self, name: str) -> None:
        self.name, self.longest, self.texts = name, 0, 0
        self.rows, self.left = (np.zeros(len(EDGES), np.int64) for _ in range(2))
        self.without, self.without_kept = 0, 0

    def add(self, texts: pa.Array | pa.ChunkedArray, kept: npt.NDArray[np.bool_]) -> None:
        """Count texts, and those of them that are kept. A null, and a text without a word, has no length."""
        words = np.asarray(pc.fill_null(pc.count_substring_regex(texts, pattern=f"[^{SPACE}]+"), 0), np.int64)
        known = words > 0
        bins = np.searchsorted(EDGES, words, side="right") - 1
        self.texts += int(known.sum())
        self.rows += np.bincount(bins[known], minlength=len(EDGES))
        self.left += np.bincount(bins[known & kept], minlength=len(EDGES))
        self.without += int((~known).sum())
        self.without_kept += int((~known & kept & np.asarray(pc.is_valid(texts), bool)).sum())
        self.longest = max(self.longest, int(words.max(initial=0)))

    def histogram(self) -> Histogram | None:
        """None where no text has a word. The last bin holds all that are longer than 4,095 words."""
        if not self.texts:
            return None
        bins = int(np.flatnonzero(self.rows)[-1]) + 1
        end = EDGES[bins] if bins < len(EDGES) else max(self.longest, int(EDGES[-1]) + 1)
        end = end if bins > 1 else 1  # the last edge is in its bin
        edges = tuple(float(edge) for edge in (*EDGES[:bins], end))
        rows, left = (tuple(counts[:bins].tolist()) for counts in (self.rows, self.left))
        return Histogram(self.name, edges, rows, left, self.without, self.without_kept, log=True)
