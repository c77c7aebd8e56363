"""Drops documents of nothing but short paragraphs: link lists, product pages, forum signatures.

OmniCorpus drops a document whose longest paragraph has fewer than 35 words while the mean is below 12. A paragraph is
what stands between empty lines and has a word in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.filter import Batch, Filter, Scorer, Verdict, below, check_bounds, verdict
from curate.text import words_of


@dataclass(frozen=True)
class MeasureParagraphs(Scorer):
    """Words of a text's longest paragraph and of its mean one, 0 for a text without words; null for no text."""

    name: ClassVar[str] = "paragraph_lengths"
    reads: ClassVar[tuple[str, ...]] = ("text",)
    writes: ClassVar[Mapping[str, pa.DataType]] = {
        "longest_paragraph_words": pa.int32(),
        "mean_paragraph_words": pa.float64(),
    }

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        paragraphs = pc.split_pattern(batch.columns["text"].combine_chunks(), "\n\n")
        owner = np.asarray(pc.list_parent_indices(paragraphs))
        words = np.asarray(pc.list_value_length(words_of(paragraphs.flatten())))
        longest = np.zeros(len(paragraphs), dtype=np.int32)
        np.maximum.at(longest, owner, words)
        total = np.bincount(owner, words, len(paragraphs))
        mean = total / np.maximum(np.bincount(owner, words > 0, len(paragraphs)), 1)
        absent = np.asarray(paragraphs.is_null())
        return dict(zip(self.writes, (pa.array(longest, mask=absent), pa.array(mean, mask=absent)), strict=True))


@dataclass(frozen=True)
class ParagraphLengths(Filter):
    """Keeps texts whose longest paragraph has at least `min_longest` words or whose mean one `min_mean`, both included.

    What has no text is kept.
    """

    min_longest: int = 35
    min_mean: float = 12.0

    reads: ClassVar[tuple[str, ...]] = tuple(MeasureParagraphs.writes)
    reasons: ClassVar[Mapping[str, str]] = {"paragraphs_too_short": "the document has nothing but short paragraphs"}

    def __post_init__(self) -> None:
        check_bounds(self.min_longest, None, name="{}_longest")
        check_bounds(self.min_mean, None, name="{}_mean")

    def scorer(self) -> Scorer:
        return MeasureParagraphs()

    def judge(self, columns: pa.Table) -> Verdict:
        longest, mean = (columns[name] for name in self.reads)
        short = pc.and_(below(longest, self.min_longest), below(mean, self.min_mean))
        return verdict(len(columns), ("paragraphs_too_short", short))
