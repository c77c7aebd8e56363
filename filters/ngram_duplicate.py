"""Drops text whose n-grams of words earlier documents have already: MINT-1T's dedup by a Bloom filter.

As a filter of text it drops paragraphs, as one of documents whole documents, by the same column of each. MINT-1T
(Awadalla et al. 2024) has 80 % for its bound. The step `ngram_duplicates` asks the filter; what it did not ask for is
kept, and its rate of false answers, .01 by default, is far below any bound of use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from curate.filter import Bounded, check_bounds
from curate.gauge import Gauge


@dataclass(frozen=True)
class NgramDuplicate(Bounded):
    """Keeps text of whose n-grams at most `max_ratio` were seen before, included."""

    max_ratio: float = 0.8

    reads: ClassVar[tuple[str, ...]] = ("seen_ngrams_ratio",)
    reasons: ClassVar[Mapping[str, str]] = {"ngrams_seen_before": "earlier documents say most of the text"}

    def __post_init__(self) -> None:
        check_bounds(None, self.max_ratio, most=1, name="{}_ratio")

    @property
    def gauge(self) -> Gauge:
        return Gauge(
            "seen_ngrams_ratio", self.reads, max=self.max_ratio, too_high="ngrams_seen_before", max_setting="max_ratio"
        )
