"""Which share of a paragraph's n-grams an earlier document has: text that is repeated with changes, over the whole web.

MINT-1T (Awadalla et al. 2024) asks a Bloom filter for the n-grams of 13 words of each paragraph, at a false positive
rate of .01, one filter for each snapshot of Common Crawl, and goes by a bound of 80 %; its code was not released. Such
a filter is asked and filled in one go, so what counts as known depends on the order in which text comes, in a document
too. Here documents are asked in the order of the source, shard after shard, and a document's own n-grams are added
after all of them were asked for: what a document says twice is not held against it, and neither workers nor the size of
shards change anything. The order of the source does, since of two equal documents the second is the copy. The share is
a column, and the bound on it (`filters/ngram_duplicate.py`) asks nothing again.

The filter is the only thing that grows with the data: 1.26 bytes an n-gram at .01 (`curate.dedup.bloom_filter`), which
is 1.3 TB for a trillion, so a set of that size is cut by snapshot, as MINT-1T's was. It is one pass by one process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.config import require_range
from curate.dedup.groups import Rows
from curate.dedup.population import Population
from curate.document.columns import PART, TEXT, part_names
from curate.errors import StageError
from curate.manifest import Attempt
from curate.shard import Shard
from curate.stage import Barrier

__all__ = ["NgramDuplicates"]

SEEN = "seen_ngrams_ratio"


@dataclass(frozen=True)
class NgramDuplicates(Barrier):
    """Writes `part.seen_ngrams_ratio` (float32, 0 to 1), the share of a block's different n-grams that an earlier
    document has, and `seen_ngrams_ratio`, that of all its blocks together; null where nothing was asked.

    An n-gram is `n` words in lower case (`curate.dedup.shingles`); a block of fewer is one n-gram. Blocks that
    `parts_round` keeps are looked at, in documents that `documents_round` keeps; where `distinct_urls` is set, not in
    copies of another document by URL.

    `expected_ngrams` and `false_positive_rate` size the filter; 0 counts the n-grams first, in a pass of its own over
    the texts. Raises StageError where there are more different ones than were expected, and where the filter would take
    more than `max_filter_gb`.
    """

    n: int = 13
    expected_ngrams: int = 0
    false_positive_rate: float = 0.01
    documents_round: str = "read"
    parts_round: str = "read"
    distinct_urls: bool = True
    max_filter_gb: float = field(default=4.0, metadata={"runtime": True})

    name: ClassVar[str] = "ngram_duplicates"

    def __post_init__(self) -> None:
        require_range("n", self.n, 1, 1_000)
        require_range("expected_ngrams", self.expected_ngrams, 0, 1 << 40)
        require_range("false_positive_rate", self.false_positive_rate, 1e-6, 0.5)
        require_range("max_filter_gb", self.max_filter_gb, 0.001, 256)

    @property
    def population(self) -> Population:
        return Population(self.documents_round, self.parts_round, self.distinct_urls, TEXT)

    @property
    def reads(self) -> tuple[str, ...]:
        return ("key", *self.population.reads, *part_names(["key", "text"]))

    @property
    def writes(self) -> tuple[str, ...]:
        return (SEEN, PART + SEEN)

    def run(self, shards: Sequence[Shard], attempt: Attempt) -> None:
        from curate.dedup.bloom_filter import new_filter, seen_before

        expected = self.expected_ngrams or sum(int(self._asked(s).sizes.sum()) for s in shards)
        lines = new_filter(self._lines(expected))
        attempt.counts["filter_bytes"] = lines.nbytes
        for shard in shards:
            asked = self._asked(shard)
            seen = np.zeros(len(asked.ngrams), bool)
            attempt.counts["ngrams"] += len(seen)
            attempt.counts["new"] += int(seen_before(lines, asked.ngrams, asked.document_ends, seen))
            attempt.counts["seen"] += int(seen.sum())
            if attempt.counts["new"] > expected:
                raise StageError(
                    f"there are more than the expected {expected} n-grams by shard {shard.id}, so the filter answers "
                    "wrongly too often; raise [dedup.ngram_duplicates] expected_ngrams, or set it to 0"
                )
            self._write(shard, asked, seen, attempt)

    def _lines(self, expected: int) -> int:
        """Lines of the filter. Raises StageError where they would take too much."""
        from curate.dedup.bloom_filter import LINE_BYTES, MAX_LINES, lines_needed

        most = int(min(self.max_filter_gb * 1e9 // LINE_BYTES, MAX_LINES))
        lines = lines_needed(expected, self.false_positive_rate)
        if lines > most:
            raise StageError(
                f"a filter for {expected} n-grams at a rate of {self.false_positive_rate} takes "
                f"{lines * LINE_BYTES / 1e9:.1f} GB, and max_filter_gb = {self.max_filter_gb}; raise that or "
                "false_positive_rate in [dedup.ngram_duplicates], or make data sets of fewer documents"
            )
        return lines

    def _asked(self, shard: Shard) -> _Asked:
        from curate.dedup.shingles import Shingles, shingle_sets

        _, rows, blocks = self.population.parts(shard, "text")
        sets = shingle_sets(blocks["text"], Shingles("words", self.n), "xxh64")
        return _Asked(rows, np.asarray(blocks["document"], np.int64), sets.sizes, sets.hashes.astype(np.uint64))

    def _write(self, shard: Shard, asked: _Asked, seen: npt.NDArray[np.bool_], attempt: Attempt) -> None:
        owner = np.repeat(np.arange(len(asked.rows)), asked.sizes)
        known = np.bincount(owner, seen, len(asked.rows))
        for table, places in ((shard.parts, asked.rows), (shard, asked.documents)):
            key = table.columns(["key"])["key"]
            ratio = _ratios(np.bincount(places, known, len(key)), np.bincount(places, asked.sizes, len(key)))
            attempt.write_table(table.table_name(self.name), pa.table({"key": key, SEEN: ratio}))


class _Asked(NamedTuple):
    """The blocks of a shard that are looked at: their rows, their documents (ascending), and how many of the n-grams,
    uint64, are each one's."""

    rows: Rows
    documents: Rows
    sizes: npt.NDArray[np.int64]
    ngrams: npt.NDArray[np.uint64]

    @property
    def document_ends(self) -> npt.NDArray[np.int64]:
        """Up to which n-gram those of each document go."""
        last = np.flatnonzero(np.diff(self.documents, append=-1))
        ends: npt.NDArray[np.int64] = np.cumsum(self.sizes)[last]
        return ends


def _ratios(seen: npt.NDArray[Any], of: npt.NDArray[Any]) -> pa.FloatArray:
    """Null where there is nothing to be seen."""
    return pa.array((seen / np.maximum(of, 1)).astype(np.float32), mask=of == 0)
