"""Drops pairs whose caption says other things than captions made from the picture, by SIEVE (Mahmoud et al. 2024).

The score is the highest cosine between the caption and any of the synthetic ones under an encoder of sentences, after
words for the medium ("an image of", "stock photo") are taken out of both. The paper writes eight captions with BLIP,
encodes with all-MiniLM-L6-v2, and keeps the best 20 % by the mean of this and of CLIPScore, each brought to 0 to 1 by
the least and the largest of the pool: `fusion = "min_max"`, `fraction = 0.2`. A single odd row moves all others then;
`fusion = "rank"` takes each score's place among all instead. Both are exact at any packing, a shard in memory at once.

On 600 pictures of text books, whose alt text stood for a synthetic caption, it told their own caption from another's
with an AUC of .96. The captions are a column of lists of strings: from the source, imported, or of a captioner.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.config import require_range
from curate.cut import Cut
from curate.filter import Batch, Rules, Scorer
from curate.manifest import Attempt
from curate.models.caption_scores import captions_column
from curate.models.heads import made_on_top
from curate.models.pair_scores import similarity
from curate.models.settings import check_model_name, require_model
from curate.models.text_encoder import MINILM, open_text_encoder, text_encoder_fingerprint
from curate.rank import Rank, rank_columns, require_one_model
from curate.shard import Shard
from curate.stage import Barrier, Work

SIMILARITY, FUSED = "sieve_similarity", "sieve_score"

MEDIUM = re.compile(
    r"\b(?:an image of|a photo of|stock photo|photo stock|a photo|an image|image|photo)\b", re.IGNORECASE
)
"""The phrases of the paper, the longer first."""
Pairs = npt.NDArray[np.float64]
"""SIEVE's score and CLIP's of each row, (2, n)."""


@dataclass(frozen=True)
class CompareCaptions(Scorer):
    """Highest cosine, -1 to 1; null without a caption or a synthetic one, or where nothing is left of either."""

    encoder: str = MINILM
    captioner: str = "synthetic"

    name: ClassVar[str] = "sieve"
    version: ClassVar[int] = 2
    writes: ClassVar[Mapping[str, pa.DataType]] = {"sieve_similarity": pa.float32()}

    @property
    def reads(self) -> tuple[str, ...]:
        return ("caption", captions_column(self.captioner))

    @property
    def gpus(self) -> float:
        return 1.0

    def require(self) -> None:
        open_text_encoder(self.encoder)

    def identity(self) -> Any:
        encoder = text_encoder_fingerprint(self.encoder)
        return {"scorer": self.name, "version": self.version, "encoder": encoder, "captions": self.captioner}

    def provenance(self) -> Mapping[str, str]:
        return self.made_from({})

    def made_from(self, told: Mapping[str, Mapping[str, str]]) -> Mapping[str, str]:
        """As `provenance`, where it is known what the columns of `reads` say of themselves: who wrote the captions."""
        encoder = text_encoder_fingerprint(self.encoder)
        about = {"encoder": self.encoder, "encoder_fingerprint": encoder}
        return made_on_top(told.get(captions_column(self.captioner), {}), [self.name, self.version, encoder], about)

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        columns = (batch.columns[name].to_pylist() for name in self.reads)
        pairs = [_texts(caption, made) for caption, made in zip(*columns, strict=True)]
        rows = [row for row, texts in enumerate(pairs) if len(texts) > 1]
        texts = [text for row in rows for text in pairs[row]]
        similarity = np.full(len(pairs), np.nan, np.float32)
        if rows:
            similarity[rows] = best_of(open_text_encoder(self.encoder).embed(texts), [len(pairs[row]) for row in rows])
        return {"sieve_similarity": pa.array(similarity, mask=~np.isfinite(similarity))}


@dataclass(frozen=True)
class FuseWithClip(Barrier):
    """Writes `sieve_score`, float32 of 0 to 1: `weight` of SIEVE's similarity and the rest of that of `model`.

    Each is brought to 0 to 1 before: by `min_max`, from the least to the largest among rows that have both (all 0 where
    these are one), or by `rank`, as 1 less the share of all rows with that score which score more. Null where either
    is null or not finite."""

    model: str
    how: Literal["min_max", "rank"]
    weight: float

    name: ClassVar[str] = FUSED

    @property
    def scores(self) -> tuple[str, str]:
        """The two columns that are fused."""
        return SIMILARITY, similarity(self.model)

    @property
    def reads(self) -> tuple[str, ...]:
        places = [rank_columns(column, False)[1:] for column in self.scores] if self.how == "rank" else []
        return (*self.scores, *(name for names in places for name in names))

    @property
    def writes(self) -> tuple[str, ...]:
        return (FUSED,)

    def run(self, shards: Sequence[Shard], attempt: Attempt) -> None:
        for column in self.scores:
            require_one_model(shards, column)
        spans = _spans(map(self._values, shards)) if self.how == "min_max" else None
        for shard in shards:
            own, clip = _places(shard, self.scores) if spans is None else _between(self._values(shard), spans)
            fused = (self.weight * own + (1 - self.weight) * clip).astype(np.float32)
            column = pa.array(fused, mask=~np.isfinite(self._values(shard)).all(axis=0))
            attempt.write_table(shard.table_name(self.label), self._table(shard, column))
            attempt.counts["fused"] = attempt.counts.get("fused", 0) + len(column) - column.null_count

    def _values(self, shard: Shard) -> Pairs:
        columns = shard.columns(self.scores).columns
        return np.stack([np.asarray(c.cast(pa.float64()).combine_chunks().fill_null(np.nan)) for c in columns])

    def _table(self, shard: Shard, column: pa.Array) -> pa.Table:
        """The column says which models made both scores."""
        below, clip = (shard.provenance(name) for name in self.scores)
        own = [self.name, self.version, self.how, self.weight, clip.get("model_fingerprint")]
        about = made_on_top(below, own, {f"clip_{name}": value for name, value in clip.items()})
        key = shard.columns(["key"])
        schema = pa.schema([key.schema.field(0), pa.field(FUSED, pa.float32(), metadata=about)])
        return pa.table([key["key"], column], schema=schema)


def _spans(every: Iterable[Pairs]) -> Pairs:
    """The least of both scores and the largest, (2, 2), among rows that have both."""
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    for values in every:
        known = values[:, np.isfinite(values).all(axis=0)]
        low = np.minimum(low, known.min(axis=1, initial=np.inf))
        high = np.maximum(high, known.max(axis=1, initial=-np.inf))
    return np.stack([low, high])


def _between(values: Pairs, spans: Pairs) -> Pairs:
    """Both scores from 0 at the least to 1 at the largest."""
    low, width = spans[0][:, None], np.diff(spans, axis=0).T
    with np.errstate(invalid="ignore"):
        scaled: Pairs = (values - low) / np.where(width > 0, width, 1)
    return scaled


def _places(shard: Shard, scores: Sequence[str]) -> Pairs:
    """For both scores 1 less the share of rows that score more."""
    found = []
    for score in scores:
        above, total = (
            np.asarray(c.combine_chunks().fill_null(1)) for c in shard.columns(rank_columns(score, False)[1:])
        )
        found.append(1 - above / np.maximum(total, 1))
    return np.stack(found)


@dataclass(frozen=True)
class Sieve(Cut):
    """Bounds as `curate.cut.Cut` has them, on a cosine of -1 to 1, or on a score of 0 to 1 where it is fused.

    `fusion`: with the similarity by the CLIP `model` of the config, as above; `weight` is SIEVE's share of it.
    `captioner`: the `[models.NAME]` whose `NAME_captions` are compared, or the head of such a column of the source.
    `encoder`: the folder of a sentence encoder as `transformers` and sentence-transformers save it, or its id on the
    Hugging Face hub, from where it is downloaded once.
    """

    encoder: str = field(default=MINILM, metadata={"runtime": True})
    fusion: Literal["none", "min_max", "rank"] = "none"
    model: str = "clip"
    weight: float = 0.5
    captioner: str = "synthetic"

    reads: ClassVar[tuple[str, ...]] = ("sieve_similarity",)
    too_low: ClassVar[str] = "unlike_synthetic_captions"
    too_high: ClassVar[str] = "too_like_synthetic_captions"
    not_best: ClassVar[str] = "synthetic_captions_not_among_nearest"
    unknown: ClassVar[str] = "synthetic_captions_similarity_unknown"
    reasons: ClassVar[Mapping[str, str]] = {
        "synthetic_captions_similarity_unknown": "the caption could not be compared with synthetic ones",
        "unlike_synthetic_captions": "the caption says other things than the synthetic ones",
        "too_like_synthetic_captions": "the caption says the same as a synthetic one",
        "synthetic_captions_not_among_nearest": "other captions are more like their synthetic ones",
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        check_model_name(self.model)
        check_model_name(self.captioner)
        require_range("weight", self.weight, 0, 1)

    @property
    def score(self) -> str:
        return SIMILARITY if self.fusion == "none" else FUSED

    def scorer(self) -> Scorer:
        return CompareCaptions(self.encoder, self.captioner)

    def scorers(self, models: Mapping[str, Any]) -> tuple[Scorer, ...]:
        if self.fusion != "none":
            require_model(models, self.model)
        return (self.scorer(),)

    def steps(self, earlier: Rules) -> tuple[Work, ...]:
        last = super().steps(earlier)
        if self.fusion == "none":
            return last
        fuse = FuseWithClip(self.model, self.fusion, self.weight)
        return (*(Rank(score) for score in fuse.scores if self.fusion == "rank"), fuse, *last)


def best_of(rows: npt.NDArray[np.float32], sizes: Sequence[int]) -> npt.NDArray[np.float32]:
    """For each group of `rows`, of so many each, the highest cosine of its first with one of the others.

    `rows`: float32 (n, d) of unit length, at least two a group; float32 of -1 to 1, or not a number where one is not.
    """
    starts = np.cumsum([0, *sizes[:-1]])
    cosines = np.einsum("nd,nd->n", rows, np.repeat(rows[starts], sizes, axis=0))
    cosines[starts] = np.where(np.isfinite(cosines[starts]), -np.inf, np.nan)
    best: npt.NDArray[np.float32] = np.clip(np.maximum.reduceat(cosines, starts), -1, 1)
    return best


def _texts(caption: str | None, made: Sequence[str | None] | None) -> list[str]:
    """The caption and then the synthetic ones, without their medium; empty without a caption."""
    own = without_medium(caption)
    others = [text for text in map(without_medium, made or ()) if text]
    return [own, *others] if own else []


def without_medium(text: str | None) -> str:
    """`text` without the phrases above, white space made single; empty for None."""
    return " ".join(MEDIUM.sub(" ", text).split()) if text else ""
