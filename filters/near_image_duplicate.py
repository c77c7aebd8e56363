"""Drops all rows but one whose pictures look nearly the same: by perceptual hashes, found exactly up to a radius.

Default is PDQ with its own radius of 31 of 256 bits, for pictures of a quality of at least 50 (Meta 2019, The TMK+PDQF
Video-Hashing Algorithm and the PDQ Image-Hashing Algorithm).
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
    from curate.dedup.near_image import NearImage

RADIUS = {"pdq": 31, "phash": 8, "phash_imagededup": 8, "dhash": 8, "dhash_imagededup": 8}
QUALITY = 50
COSINE = 0.9


@dataclass(frozen=True)
class NearImageDuplicate(Duplicates):
    """Near are pictures whose hashes differ by at most `radius` bits: 0 to 63 of 256 for `pdq` (31 unless given), 0 to
    15 of 64 for `phash`, `dhash` (8 unless given) and those of imagededup.

    `min_quality` (0 to 100): pictures of a lower `pdq_quality` are too flat to be compared and take no part; 50 unless
    given for `pdq`, none for others. `model`: a table `[models.NAME]` whose embeddings must agree too, with a cosine of
    at least `min_cosine` (imagededup and fastdup take .9 for theirs).
    """

    hash: Literal["pdq", "phash", "phash_imagededup", "dhash", "dhash_imagededup"] = "pdq"
    radius: int | None = None
    min_quality: int | None = None
    model: str = ""
    min_cosine: float = COSINE

    reads: ClassVar[tuple[str, ...]] = ("near_image_duplicate_of",)
    reasons: ClassVar[Mapping[str, str]] = {"near_duplicate_image": "another row with nearly the same picture is kept"}
    copy: ClassVar[str] = "near_duplicate_image"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("radius", self.radius, 0, 63 if self.hash == "pdq" else 15)
        require_range("min_quality", self.min_quality, 0, 100)
        require_range("min_cosine", self.min_cosine, -1, 1)

    @property
    def least_quality(self) -> int | None:
        """The bound on `pdq_quality`, given or not."""
        return QUALITY if self.min_quality is None and self.hash == "pdq" else self.min_quality

    @property
    def nearness(self) -> NearImage:
        """How near pictures are found."""
        from curate.dedup.near_image import EmbeddingCosine, NearImage
        from curate.models.pair_scores import image_embedding

        radius = RADIUS[self.hash] if self.radius is None else self.radius
        check = EmbeddingCosine(image_embedding(self.model), self.min_cosine) if self.model else None
        return NearImage(self.hash, radius, self.least_quality, check)

    @property
    def likeness(self) -> Likeness:
        from curate.dedup.nearness import SameComponent

        return SameComponent(self.nearness)

    def scorers(self, models: Mapping[str, Any]) -> tuple[Scorer, ...]:
        from curate.dedup.picture_hashes import PictureHashes
        from curate.models.settings import require_picture_model

        if self.model:
            require_picture_model(models, self.model)
        kinds = dict.fromkeys((self.hash, *(("pdq",) if self.least_quality is not None else ())))
        return tuple(PictureHashes((kind,)) for kind in kinds)

    def steps(self, earlier: Rules) -> tuple[Work, ...]:
        from curate.dedup.near import near_steps

        return near_steps(self.clusters(earlier))
