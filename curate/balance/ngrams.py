"""Words of a corpus and pairs of neighbours, counted by Arrow and numpy: two to three million words a second and core.

A word is what stands between spaces once the text is padded as for matching (`curate.balance.matching`), with a letter
or a digit in it: what is counted here is what can be found there. Two words are neighbours when one space and nothing
else is between them, so no mark of punctuation.

Memory is bounded: when more different words or pairs are known than there is room for, those seen once are forgotten,
then those seen twice, and so on. That touches the counts of what is rare only; `forgotten` says up to which count.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["PairCounts", "WordCounts", "count_pairs", "count_words"]

MOST_WORDS = 16 << 20
MOST_PAIRS = 64 << 20
WORD = r"[\pL\pN]"
PENDING = 4 << 20
"""Words or pairs that are put together with the others at once."""

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class WordCounts:
    """Words in descending order of their counts, then ascending; `total` words were looked at."""

    words: pa.Array
    counts: Counts
    total: int
    forgotten: int = 0


@dataclass(frozen=True)
class PairCounts:
    """Pairs of words by their numbers in a WordCounts, int64 each, in ascending order."""

    first: Counts
    second: Counts
    counts: Counts
    forgotten: int = 0


def count_words(texts: Iterable[pa.Array], least: int = 1, most: int = MOST_WORDS) -> WordCounts:
    """Words that occur at least so often."""
    known = pa.table({"word": pa.array([], pa.large_string()), "count": pa.array([], pa.int64())})
    pending, waiting, total, forgotten = [known], 0, 0, 0
    for block in texts:
        words = pc.list_flatten(_split(block))
        words = words.filter(pc.match_substring_regex(words, WORD))
        total += len(words)
        found = pc.value_counts(words)
        pending.append(pa.table({"word": found.field("values"), "count": found.field("counts")}))
        waiting += len(found)
        if waiting > PENDING:
            known, forgotten = _merged_words(pending, most, forgotten)
            pending, waiting = [known], 0
    known, forgotten = _merged_words(pending, most, forgotten)
    known = known.filter(pc.greater_equal(known["count"], least))
    known = known.sort_by([("count", "descending"), ("word", "ascending")])
    return WordCounts(known["word"].combine_chunks(), np.asarray(known["count"]), total, forgotten)


def _split(texts: pa.Array) -> pa.Array:
    """The words of each text, some of them empty."""
    plain = pc.replace_substring_regex(texts, r"[\t\n\r]", " ")
    return pc.split_pattern(pc.replace_substring_regex(plain, "([,.;:?!`])", r" \1 "), " ")


def _merged_words(parts: list[pa.Table], most: int, forgotten: int) -> tuple[pa.Table, int]:
    merged = pa.concat_tables(parts).group_by("word").aggregate([("count", "sum")]).rename_columns(["word", "count"])
    while len(merged) > most:
        forgotten += 1
        merged = merged.filter(pc.greater(merged["count"], forgotten))
    return merged.combine_chunks(), forgotten


def count_pairs(texts: Iterable[pa.Array], words: WordCounts, least: int = 1, most: int = MOST_PAIRS) -> PairCounts:
    """Pairs of neighbours, both among `words`, that occur at least so often."""
    size = max(1, len(words.words))
    keys, counts, forgotten = np.empty(0, np.int64), np.empty(0, np.int64), 0
    pending: list[Counts] = []
    for block in texts:
        pending.append(_pair_keys(block, words.words, size))
        if sum(map(len, pending)) > PENDING:
            keys, counts, forgotten = _merged_pairs(keys, counts, pending, most, forgotten)
            pending = []
    keys, counts, forgotten = _merged_pairs(keys, counts, pending, most, forgotten)
    often = counts >= least
    return PairCounts(keys[often] // size, keys[often] % size, counts[often], forgotten)


def _pair_keys(texts: pa.Array, words: pa.Array, size: int) -> Counts:
    """One number for each two neighbours."""
    split = _split(texts)
    numbers = np.asarray(pc.fill_null(pc.index_in(pc.list_flatten(split), value_set=words), -1)).astype(np.int64)
    row = np.asarray(pc.list_parent_indices(split))
    both = (numbers[:-1] >= 0) & (numbers[1:] >= 0) & (row[:-1] == row[1:])
    found: Counts = numbers[:-1][both] * size + numbers[1:][both]
    return found


def _merged_pairs(
    keys: Counts, counts: Counts, pending: list[Counts], most: int, forgotten: int
) -> tuple[Counts, Counts, int]:
    new, often = np.unique(np.concatenate([np.empty(0, np.int64), *pending]), return_counts=True)
    merged, place = np.unique(np.concatenate([keys, new]), return_inverse=True)
    sums = np.zeros(len(merged), np.int64)
    np.add.at(sums, place, np.concatenate([counts, often]))
    while len(merged) > most:
        forgotten += 1
        merged, sums = merged[sums > forgotten], sums[sums > forgotten]
    return merged, sums, forgotten
