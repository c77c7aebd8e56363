"""What a threshold on a model's score keeps: the table that a new filter needs before anybody can name a bound.

Thresholds are of a model: .281 of ViT-B/32 and .243 of ViT-L/14 both keep 30 % of DataComp's pool, and a fine-tuned
model moves again. Measured on a sample, a share is known to sqrt(f (1 - f) / n): 15 % of 100,000 rows to 0.11 %, and
the table says so. `fraction` in a filter needs no table; it counts places among all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.config import require_range
from curate.decode import prepared
from curate.filter import Batch
from curate.models.pair_scores import ScorePairs, similarity
from curate.models.settings import ModelSettings
from curate.toyweb.defects import DEFECTS
from curate.train.pairs import Pairs, PairSource

__all__ = ["CalibrateSettings", "auc", "calibrate", "fits", "score_pairs", "separation"]

FRACTIONS = (0.01, 0.03, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 0.9)
"""DataComp's, and DFN's .15."""
MATCHING = frozenset({"clip_similarity", "match_probability"})
"""The filters that compare picture and caption, by their names in the toy web's truth."""
NAME = "filter"

Scores = npt.NDArray[np.float32]


@dataclass(frozen=True)
class CalibrateSettings:
    """The `[calibrate]` table: a sample of the pool that is to be filtered, and the shares (0 to 1) of it to keep.

    `shards`, `caption_column`, `kept_only` as in `[clean]`. `rows`: at most so many pairs, drawn by the training's
    seed; 0 for all.
    """

    shards: tuple[str, ...]
    caption_column: str = "caption"
    kept_only: bool = False
    fractions: tuple[float, ...] = FRACTIONS
    rows: int = 100_000

    def __post_init__(self) -> None:
        self.source()
        if not self.fractions:
            raise ValueError("fractions = [] asks for no threshold; give shares such as 0.15")
        for fraction in self.fractions:
            require_range("fractions", fraction, 1e-9, 1)
        require_range("rows", self.rows, 0)

    def source(self) -> PairSource:
        """Where the pairs lie."""
        return PairSource(self.shards, self.caption_column, self.kept_only)


def score_pairs(pairs: Pairs, rows: Sequence[int], settings: ModelSettings, threads: int) -> Scores:
    """The similarity of these rows as a run writes it, float32 in -1 to 1; not-a-number where there is none."""
    scorer = ScorePairs(NAME, settings)
    scores = np.full(len(rows), np.nan, np.float32)
    encoded = ((str(place), pairs.read(row)) for place, row in enumerate(rows))
    waiting: list[tuple[int, Any]] = []

    def answer() -> None:
        places = [place for place, _ in waiting]
        captions = pairs.captions.take(pa.array([rows[place] for place in places], pa.int64()))
        batch = Batch(pa.table({"caption": captions}), [view for _, view in waiting])
        found = scorer.score(batch)[similarity(NAME)]
        scores[places] = np.asarray(found.fill_null(np.nan))
        waiting.clear()

    for picture in prepared(encoded, [scorer.prepare], threads):
        if isinstance(picture.views[0], np.ndarray):
            waiting.append((int(picture.key), picture.views[0]))
        if len(waiting) == scorer.batch_pictures:
            answer()
    if waiting:
        answer()
    return scores


def calibrate(scores: Scores, fractions: Sequence[float], right: npt.NDArray[np.bool_] | None = None) -> pa.Table:
    """One row per fraction of the rows that have a score; a fraction is of these.

    `threshold`: the int(n * fraction)-th best score, null for none: `min` of a filter that keeps `rows` rows, as many
    as asked for and those that equal the last one. `datacomp_threshold` is the next score, as DataComp's code takes it,
    null at 1, where it fails; it keeps `datacomp_rows`. `fraction_error`: standard error of the fraction on the whole
    pool. With `right`, bool (n,) for each score: `precision`, the share of right ones among `rows`, and `recall`, the
    share of all right ones that is kept; null for no rows.
    """
    known = np.isfinite(scores)
    best = -np.sort(-scores[known])
    own = None if right is None else right[known][np.argsort(-scores[known], kind="stable")]
    return pa.Table.from_pylist([_row(best, fraction, own) for fraction in fractions], _schema(own is not None))


def _row(best: Scores, fraction: float, right: npt.NDArray[np.bool_] | None) -> dict[str, Any]:
    total = len(best)
    wanted = int(total * fraction)
    threshold = float(best[wanted - 1]) if wanted else None
    beyond = float(best[wanted]) if wanted < total else None
    kept, also = (0 if bound is None else _at_least(best, bound) for bound in (threshold, beyond))
    row = {
        "fraction": fraction,
        "fraction_error": (fraction * (1 - fraction) / total) ** 0.5 if total else None,
        "threshold": threshold,
        "rows": kept,
        "datacomp_threshold": beyond,
        "datacomp_rows": also,
    }
    if right is not None:
        hits = int(right[:kept].sum())
        row |= {"precision": hits / kept if kept else None, "recall": hits / right.sum() if right.any() else None}
    return row


def _at_least(best: Scores, bound: float) -> int:
    """How many of the scores, the best first, reach a bound."""
    return int(np.searchsorted(-best, -np.float32(bound), side="right"))


def _schema(with_truth: bool) -> pa.Schema:
    numbers = {"fraction": pa.float64(), "fraction_error": pa.float64(), "threshold": pa.float32(), "rows": pa.int64()}
    numbers |= {"datacomp_threshold": pa.float32(), "datacomp_rows": pa.int64()}
    return pa.schema(numbers | ({"precision": pa.float64(), "recall": pa.float64()} if with_truth else {}))


def fits(defects: Sequence[str | None]) -> npt.NDArray[np.bool_]:
    """Of toy rows by label: whether picture and caption fit, so that a filter that compares them should keep the row.

    A copy fits, and so does what is only too large; a caption in another language and a blurred picture do not.
    """
    wrong = {label for label, about in DEFECTS.items() if MATCHING & (about.must | about.may)}
    return np.array([label not in wrong for label in defects], dtype=bool)


def separation(scores: Scores, defects: Sequence[str | None]) -> dict[str, float | None]:
    """Per kind of toy row whose caption is about another scene, or wrong in one attribute: the area under the ROC curve
    of the score, with the rows that fit as positives; None where there is no such row."""
    labels = np.array([label or "" for label in defects], dtype=object)
    good = scores[fits(defects)]
    wrong = [label for label, about in DEFECTS.items() if MATCHING & about.must]
    return {label: auc(good, scores[labels == label]) for label in wrong}


def auc(positives: Scores, negatives: Scores) -> float | None:
    """Chance that a positive scores above a negative, ties counted half, 0 to 1; None where either is empty. Scores
    that are not finite are left out."""
    ours, theirs = (np.sort(scores[np.isfinite(scores)]) for scores in (positives, negatives))
    if not len(ours) or not len(theirs):
        return None
    below = np.searchsorted(theirs, ours, side="left") + np.searchsorted(theirs, ours, side="right")
    return float(below.sum() / (2 * len(ours) * len(theirs)))
