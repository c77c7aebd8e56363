"""The scorer of a matcher: how likely the caption describes the picture, and how likely each synthetic one does.

A matcher looks at picture and text together, so nothing of it can be computed once per text or kept for later: one
number a pair is all it writes. All texts of a picture are judged at once, because the picture is the larger part: of
BLIP-large's 419 GFLOP for a picture and two texts, 382 are its tower.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curate.caption.lists import aligned_lists
from curate.filter import Batch, Pixels, Scorer
from curate.manifest import fingerprint
from curate.models.caption_scores import BATCH_PICTURES
from curate.models.caption_settings import MatcherSettings
from curate.models.device import computed_precision, require_device
from curate.models.open_captioner import matcher_digest, require_matcher
from curate.models.opened import opened_matcher
from curate.models.settings import TOY, settings_that_count

__all__ = ["ScoreMatches", "captions_probability", "match_probability"]


def match_probability(model: str) -> str:
    """The column with the probability, float32 in 0 to 1."""
    return f"{model}_probability"


def captions_probability(model: str, captioner: str) -> str:
    """The column with the probability of each of a captioner's captions, list of float32."""
    return f"{model}_{captioner}_probability"


@dataclass(frozen=True)
class ScoreMatches(Scorer):
    """`model` is its name in the config. Null where there is no readable picture, or no caption; a list is as long as
    that of the captions, with a null for each that has no words."""

    model: str
    settings: MatcherSettings

    @property
    def name(self) -> str:
        return self.model

    @property
    def reads(self) -> tuple[str, ...]:
        return ("image", "caption", *(f"{captioner}_captions" for captioner in self.settings.captions))

    @property
    def writes(self) -> Mapping[str, pa.DataType]:
        lists = {captions_probability(self.model, name): pa.list_(pa.float32()) for name in self.settings.captions}
        return {match_probability(self.model): pa.float32(), **lists}

    @property
    def gpus(self) -> float:
        return 0.0 if self.settings.device == "cpu" else 1.0

    @property
    def batch_pictures(self) -> int:
        return max(BATCH_PICTURES, self.settings.batch)

    def identity(self) -> Any:
        return {"scorer": self.name, "version": self.version, "model": self._fingerprint, **self._of_captions}

    @property
    def _of_captions(self) -> Mapping[str, Any]:
        return {"captions": list(self.settings.captions)} if self.settings.captions else {}

    def provenance(self) -> Mapping[str, str]:
        """The model alone: who wrote the captions is told by their own columns."""
        words = "toy matcher" if self.settings.weights == TOY else Path(self.settings.weights).name
        own = {
            "model": words,
            "model_precision": self._precision,
            "model_fingerprint": self._fingerprint,
        }
        return own | ({"model_revision": self.settings.revision} if self.settings.revision else {})

    def require(self) -> None:
        require_device(self.settings.device)
        require_matcher(self.settings)

    @property
    def _precision(self) -> str:
        if self.settings.weights == TOY:
            return "fp32"
        return computed_precision(self.settings.precision, self.settings.device)

    @property
    def _fingerprint(self) -> str:
        counts = settings_that_count(self.settings, "weights", "revision", "captions")
        return fingerprint(["matcher", 2, matcher_digest(self.settings), counts])

    def prepare(self, pixels: Pixels) -> Any:
        return opened_matcher(self.settings).prepare(pixels)

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        columns = [batch.columns[name].to_pylist() for name in self.reads[1:]]
        rows = [row for row, view in enumerate(batch.pixels) if view is not None]
        texts = [_texts(columns, row) for row in rows]
        found = opened_matcher(self.settings).match([batch.pixels[row] for row in rows], texts) if rows else []
        of_row = {row: iter(scores.tolist()) for row, scores in zip(rows, found, strict=True)}
        web = np.array([next(of_row[row]) if row in of_row else np.nan for row in range(len(batch))], np.float32)
        answer = {match_probability(self.model): pa.array(web, mask=~np.isfinite(web))}
        for captioner, captions in zip(self.settings.captions, columns[1:], strict=True):
            answer[captions_probability(self.model, captioner)] = aligned_lists(captions, of_row)
        return answer


def _texts(columns: Sequence[Sequence[Any]], row: int) -> list[str]:
    """The web's caption, then every synthetic one, with nothing for those that are null."""
    web, *others = (column[row] for column in columns)
    return [web or "", *(text or "" for captions in others for text in captions or ())]
