"""Drops texts without the punctuation of sentences: menus, tag clouds, lists of links run together.

Tokens are as OBELICS has them: runs of letters, digits, `_` and `'`, and each of the marks `, ; : ? ! .`. It keeps
paragraphs whose marks are at least 0.001 of the tokens, looking only at those of 12 tokens or more (so one mark is
enough), and documents of at least 0.03.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from curate.filter import Batch, Filter, Scorer, Verdict, below, check_bounds, verdict

MARKS = "[,;:?!.]"
TOKENS = rf"[\pL\pN_']+|{MARKS}"


@dataclass(frozen=True)
class CountPunctuation(Scorer):
    """Tokens of a text, and how many of them are punctuation marks; null for no text."""

    name: ClassVar[str] = "text_punctuation"
    reads: ClassVar[tuple[str, ...]] = ("text",)
    writes: ClassVar[Mapping[str, pa.DataType]] = {"text_tokens": pa.int32(), "text_punctuation_marks": pa.int32()}

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        counts = (pc.count_substring_regex(batch.columns["text"], pattern=pattern) for pattern in (TOKENS, MARKS))
        return dict(zip(self.writes, counts, strict=True))


@dataclass(frozen=True)
class TextPunctuation(Filter):
    """Keeps texts with at least `min` marks per token, included, and those of fewer than `min_words` tokens.

    What has no text is kept.
    """

    min: float = 0.001
    min_words: int = 12

    reads: ClassVar[tuple[str, ...]] = tuple(CountPunctuation.writes)
    reasons: ClassVar[Mapping[str, str]] = {"too_little_punctuation": "the text has too little punctuation"}

    def __post_init__(self) -> None:
        check_bounds(self.min, None, most=1)
        check_bounds(self.min_words, None, name="{}_words")

    def scorer(self) -> Scorer:
        return CountPunctuation()

    def judge(self, columns: pa.Table) -> Verdict:
        tokens, marks = columns["text_tokens"], columns["text_punctuation_marks"]
        ratio = pc.divide(marks.cast(pa.float64()), pc.max_element_wise(tokens, 1, skip_nulls=False))
        enough = pc.greater_equal(tokens, self.min_words)
        return verdict(len(columns), ("too_little_punctuation", pc.and_(enough, below(ratio, self.min))))
