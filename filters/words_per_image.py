"""Drops documents that are pictures with hardly a word between them: galleries, catalogues, lists of thumbnails.

OmniCorpus keeps a document of more than 2 pictures when it has at least 50 words for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from curate.filter import Filter, Scorer, Verdict, below, check_bounds, verdict
from curate.text import CountWords


@dataclass(frozen=True)
class WordsPerImage(Filter):
    """Keeps documents with at least `min` words per picture, included, and those of at most `free_images` pictures."""

    min: float = 50.0
    free_images: int = 2

    reads: ClassVar[tuple[str, ...]] = ("text_words", "image_count")
    reasons: ClassVar[Mapping[str, str]] = {"too_few_words_per_image": "the document has too few words per picture"}

    def __post_init__(self) -> None:
        check_bounds(self.min, None)
        check_bounds(self.free_images, None, name="free_images")

    def scorer(self) -> Scorer:
        return CountWords()

    def judge(self, columns: pa.Table) -> Verdict:
        words, images = (columns[name] for name in self.reads)
        per_image = pc.divide(words.cast(pa.float64()), pc.max_element_wise(images, 1, skip_nulls=False))
        many = pc.greater(images, self.free_images)
        return verdict(len(columns), ("too_few_words_per_image", pc.and_(many, below(per_image, self.min))))
