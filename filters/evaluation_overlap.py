"""Drops pairs whose picture or caption is in an evaluation, so that a benchmark measures what was learnt and not kept.

Seven ways to be like an evaluation, the surest first; a row is told by the first of `by` that holds:

| `by` | a row is dropped when | bound and its source |
|---|---|---|
| `hash` | its file, as downloaded, is one of the set | SHA-256 |
| `pixels` | its decoded picture is | |
| `pdq` | PDQ hashes are near | 31 of 256 bits, quality 50: Meta 2019, the paper on PDQ |
| `phash` | pHashes are near (off) | 4 of 64 bits, 1 of 28,000 pairs by chance; COYO-700M takes equal ones |
| `embedding` | embeddings of `model` are near | by its kind, see below |
| `caption` | the words of its caption are those of a text | at least 5 words |
| `ngram` | it shares a run of words with a text | 13 words: GPT-3 (Brown et al. 2020); 8 is the other common choice |

Least cosine, where `min_cosine` is not given: .604169 for `isc`, DataComp's own (Gadre et al. 2023: precision .9 and
recall .8 on a labelled sample; it flags 2.8 % of CommonPool); .75 for `sscd` (Pizzi et al. 2022: precision .9 on DISC);
.96 for `clip`, where DataComp found a recall of .02: CLIP sees what is in a picture, not which picture it is, so take a
copy detection model (`curate.models.copy_detection`).

The evaluations are indexed once, before a run starts (`curate.decontamination.index`); workers read the index through
the page cache.

Of 400 photographs and diagrams, PDQ finds all as they are, grey, or encoded anew at quality 40, 99 % made square or
15 % brighter, 96 % halved, and 0.5 % cropped by 3 % a side (pHash 100, 96, 100 and 22 %); bordered and mirrored ones
are found by embeddings alone. Of 927 others 11 are called near, and 5 of these are the same to the last pixel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from curate.config import require_range
from curate.decontamination.comparing import (
    BY,
    SURENESS,
    CompareWithEvaluations,
    Evaluations,
    NearestEvaluation,
)
from curate.decontamination.index import IndexSettings
from curate.decontamination.searching import Bounds, Kind
from curate.decontamination.sets import TEXT_FIELDS
from curate.filter import Filter, Scorer, Verdict, verdict
from curate.manifest import fingerprint
from curate.models.settings import check_model_name, require_picture_model

COSINES = {"isc": 0.604169, "sscd": 0.75, "clip": 0.96}
"""The least cosine by the model's kind; sources are named above."""
REASONS: Mapping[Kind, str] = {
    "hash": "evaluation_file",
    "pixels": "evaluation_pixels",
    "pdq": "near_evaluation_picture",
    "phash": "near_evaluation_picture",
    "embedding": "like_evaluation_picture",
    "caption": "evaluation_caption",
    "ngram": "evaluation_words",
}


@dataclass(frozen=True)
class EvaluationOverlap(Filter):
    """`sets`: folders of pictures or shards, globs of tars, `.txt` and `.jsonl` files of captions or questions
    (`curate.decontamination.sets`); or `index` alone, the folder of one that `build_index` made. With both, `index` is
    where it is built; on several machines it must be a folder that all of them share.

    `by`: see above. `pdq_radius` 0 to 63, `phash_radius` 0 to 15, `min_quality` 0 to 100 (of PDQ; it is for pHashes
    too), `words` 2 to 100, `min_words` 1 to 100. `text_fields` are read of `.jsonl`. `model`: a `[models.NAME]` whose
    embeddings are compared, with a cosine of at least `min_cosine`.
    """

    sets: tuple[str, ...] = ()
    index: str = field(default="", metadata={"runtime": True})
    by: tuple[Kind, ...] = ()
    pdq_radius: int = 31
    phash_radius: int = 4
    min_quality: int = 50
    words: int = 13
    min_words: int = 5
    text_fields: tuple[str, ...] = TEXT_FIELDS
    model: str = ""
    min_cosine: float | None = None

    reads: ClassVar[tuple[str, ...]] = (BY,)
    reasons: ClassVar[Mapping[str, str]] = {
        "evaluation_file": "the picture's file is in an evaluation",
        "evaluation_pixels": "the picture is in an evaluation, in another file",
        "near_evaluation_picture": "the picture is nearly one of an evaluation, by its hash",
        "like_evaluation_picture": "the picture is a copy of one of an evaluation, by its embedding",
        "evaluation_caption": "the caption is in an evaluation",
        "evaluation_words": "the caption shares a run of words with an evaluation",
    }

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("pdq_radius", self.pdq_radius, 0, 63),
            ("phash_radius", self.phash_radius, 0, 15),
            ("min_quality", self.min_quality, 0, 100),
            ("words", self.words, 2, 100),
            ("min_words", self.min_words, 1, 100),
            ("min_cosine", self.min_cosine, -1, 1),
        ):
            require_range(name, value, low, high)
        if not self.sets and not self.index:
            raise ValueError("needs `sets` (paths of evaluations) or `index` (a folder that was built of some)")
        if ("embedding" in self.by or self.min_cosine is not None) and not self.model:
            raise ValueError("compares embeddings and has no `model`; name a table [models.NAME]")
        if self.model:
            check_model_name(self.model)
        if self.by and self.model and "embedding" not in self.by:
            raise ValueError(f"has model = {self.model!r}, and by = {list(self.by)} asks for no embedding")

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What is compared, the surest first."""
        usual = set(SURENESS) - {"phash"} - (set() if self.model else {"embedding"})
        return tuple(kind for kind in SURENESS if kind in (self.by or usual))

    def identity(self) -> Any:
        return {"filter": type(self).__name__, "version": self.version}

    def scorer(self) -> Scorer:
        return self._compare(None, COSINES["clip"])

    def scorers(self, models: Mapping[str, Any]) -> tuple[Scorer, ...]:
        from curate.dedup.picture_hashes import PictureHashes

        needs = {"pixel_hash": ("pixels",), "phash": ("phash",), "pdq": ("pdq", "phash")}
        hashes = [hash for hash, kinds in needs.items() if set(kinds) & set(self.kinds)]
        own = [PictureHashes((hash,)) for hash in hashes]
        if not self.model:
            return (*own, self._compare(None, 0))
        from curate.models.scorers import picture_scorer

        settings = require_picture_model(models, self.model)
        model = picture_scorer(self.model, settings)
        compare = self._compare(model, COSINES[settings.kind])
        return (*own, NearestEvaluation(compare.evaluations, self.model), compare)

    def _compare(self, model: Scorer | None, min_cosine: float) -> CompareWithEvaluations:
        mark = fingerprint({k: v for k, v in model.identity().items() if k != "scorer"}) if model else ""
        settings = IndexSettings(self.words, self.min_words, self.text_fields, mark)
        evaluations = Evaluations(self.sets, self.index, settings, model)
        bounds = Bounds(self.pdq_radius, self.phash_radius, self.min_quality, self.words, self.min_words)
        least = (min_cosine if self.min_cosine is None else self.min_cosine) if "embedding" in self.kinds else None
        return CompareWithEvaluations(evaluations, self.kinds, bounds, least)

    def judge(self, columns: pa.Table) -> Verdict:
        by = columns[BY]
        return verdict(len(columns), *((reason, pc.equal(by, kind)) for kind, reason in REASONS.items()))
