"""Drops all rows but one whose captions are nearly the same: MinHash finds candidates, the exact Jaccard decides.

Captions are short, so shingles are of 5 characters and not of 5 words, and a caption shorter than that is compared as
a whole. Lee et al. 2022 (Deduplicating Training Data Makes Language Models Better) take .8 as near.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from curate.config import require_range
from curate.dedup.clusters import Likeness
from curate.dedup.duplicates import Duplicates
from curate.filter import Rules, Scorer
from curate.stage import Work

if TYPE_CHECKING:
    from curate.dedup.bands import Bands
    from curate.dedup.near_text import NearCaption, TextSettings


@dataclass(frozen=True)
class NearCaptionDuplicate(Duplicates):
    """Near are captions of a Jaccard similarity of at least `min_similarity` (0 to 1).

    `unit`, `ngram`: shingles are so many `chars` or `words`; `normalise`: "text" (letter case and spacing do not
    count), "bare" (nor does punctuation) or "none"; `short`: a caption of fewer words than `ngram` is compared as a
    whole ("exact") or by characters ("chars"); of fewer characters always as a whole. Bands are chosen so that at most
    `max_miss` of the pairs at `min_similarity` are missed, of at most `permutations` numbers; or given as `bands` of
    `rows`. `cap`: beyond so many different captions in a bucket, each is compared with its neighbours only, and what
    was left out is counted.
    """

    min_similarity: float = 0.8
    unit: Literal["chars", "words"] = "chars"
    ngram: int = 5
    normalise: Literal["text", "bare", "none"] = "text"
    short: Literal["exact", "chars"] = "exact"
    permutations: int = 256
    max_miss: float = 0.01
    bands: int | None = None
    rows: int | None = None
    cap: int = 64

    reads: ClassVar[tuple[str, ...]] = ("near_caption_duplicate_of",)
    reasons: ClassVar[Mapping[str, str]] = {
        "near_duplicate_caption": "another row with nearly the same caption is kept"
    }
    copy: ClassVar[str] = "near_duplicate_caption"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("min_similarity", self.min_similarity, 0.05, 1)
        require_range("ngram", self.ngram, 1, 1_000)
        require_range("permutations", self.permutations, 1, 4_096)
        require_range("max_miss", self.max_miss, 1e-6, 1)
        require_range("cap", self.cap, 2, 65_536)
        if (self.bands is None) != (self.rows is None):
            raise ValueError(f"bands = {self.bands!r} and rows = {self.rows!r}: give both, or neither")
        if self.unit == "words" and self.normalise == "none":
            raise ValueError('unit = "words" needs white space in order; set normalise to "text" or "bare"')
        if self.unit == "chars" and self.short == "chars":
            raise ValueError('short = "chars" is for unit = "words"; leave it out, or set unit to "words"')
        require_range("bands * rows", self.chosen.permutations, 1, 65_536)

    @property
    def chosen(self) -> Bands:
        """The bands, given or chosen."""
        from curate.dedup.bands import Bands, choose_bands

        if self.bands is not None and self.rows is not None:
            return Bands(self.bands, self.rows)
        return choose_bands(self.min_similarity, self.permutations, self.max_miss)

    @property
    def text(self) -> TextSettings:
        """How captions are cut and signed."""
        from curate.dedup.near_text import TextSettings

        bands = self.chosen
        return TextSettings(self.unit, self.ngram, self.normalise, self.short, bands.bands, bands.rows)

    @property
    def nearness(self) -> NearCaption:
        """How near captions are found."""
        from curate.dedup.near_text import NearCaption

        return NearCaption(self.text, self.min_similarity, self.cap)

    @property
    def likeness(self) -> Likeness:
        from curate.dedup.nearness import SameComponent

        return SameComponent(self.nearness)

    def scorers(self, models: Mapping[str, Any]) -> tuple[Scorer, ...]:
        from curate.dedup.near_text import CaptionBands

        return (CaptionBands(self.text),)

    def steps(self, earlier: Rules) -> tuple[Work, ...]:
        from curate.dedup.near import near_steps

        return near_steps(self.clusters(earlier))
