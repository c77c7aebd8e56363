"""Drops pairs whose caption says other things than captions made from the picture, by SIEVE (Mahmoud et al. 2024).

The score is the highest cosine between the caption and any of `synthetic_captions` under an encoder of sentences, after
words for the medium ("an image of", "stock photo") are taken out of both. The paper writes eight captions with BLIP,
encodes with all-MiniLM-L6-v2, and keeps the best 20 % by the mean of this and of CLIPScore, each brought to 0 to 1.

On 600 pictures of text books, whose alt text stood for a synthetic caption, it told their own caption from another's
with an AUC of .96. The captions are a column of lists of strings: from the source, imported, or of a captioner.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.cut import Cut
from curate.filter import Batch, Scorer
from curate.models.heads import made_on_top
from curate.models.text_encoder import MINILM, open_text_encoder, text_encoder_fingerprint

MEDIUM = re.compile(
    r"\b(?:an image of|a photo of|stock photo|photo stock|a photo|an image|image|photo)\b", re.IGNORECASE
)
"""The phrases of the paper, the longer first."""


@dataclass(frozen=True)
class CompareCaptions(Scorer):
    """Highest cosine, -1 to 1; null without a caption or a synthetic one, or where nothing is left of either."""

    encoder: str = MINILM

    name: ClassVar[str] = "sieve"
    version: ClassVar[int] = 2
    reads: ClassVar[tuple[str, ...]] = ("caption", "synthetic_captions")
    writes: ClassVar[Mapping[str, pa.DataType]] = {"sieve_similarity": pa.float32()}

    @property
    def gpus(self) -> float:
        return 1.0

    def require(self) -> None:
        open_text_encoder(self.encoder)

    def identity(self) -> Any:
        return {"scorer": self.name, "version": self.version, "encoder": text_encoder_fingerprint(self.encoder)}

    def provenance(self) -> Mapping[str, str]:
        return self.made_from({})

    def made_from(self, told: Mapping[str, Mapping[str, str]]) -> Mapping[str, str]:
        """As `provenance`, where it is known what the columns of `reads` say of themselves: who wrote the captions."""
        encoder = text_encoder_fingerprint(self.encoder)
        about = {"encoder": self.encoder, "encoder_fingerprint": encoder}
        return made_on_top(told.get("synthetic_captions", {}), [self.name, self.version, encoder], about)

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
class Sieve(Cut):
    """Bounds as `curate.cut.Cut` has them, on a cosine of -1 to 1.

    `encoder`: the folder of a sentence encoder as `transformers` and sentence-transformers save it, or its id on the
    Hugging Face hub, from where it is downloaded once.
    """

    encoder: str = field(default=MINILM, metadata={"runtime": True})

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

    @property
    def score(self) -> str:
        return "sieve_similarity"

    def scorer(self) -> Scorer:
        return CompareCaptions(self.encoder)


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
