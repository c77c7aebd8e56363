"""The steps of one table `[models.NAME]`: its scorer, and its embeddings as DataComp's npz where that is asked for."""

from __future__ import annotations

from collections.abc import Iterator

from curate.filter import Scorer
from curate.models.copy_detection import EmbedPictures
from curate.models.match_scores import ScoreMatches
from curate.models.npz import EmbeddingsNpz
from curate.models.pair_scores import ScorePairs
from curate.models.settings import COPY_DETECTION, ModelSettings
from curate.score import Score
from curate.stage import Stage

__all__ = ["model_steps", "picture_scorer"]


def model_steps(name: str, settings: ModelSettings) -> Iterator[Stage]:
    """What runs for a model of the config, in order."""
    if settings.kind == "matcher":
        yield Score(ScoreMatches(name, settings))
        return
    yield Score(picture_scorer(name, settings))
    if settings.npz:
        yield EmbeddingsNpz(name)


def picture_scorer(name: str, settings: ModelSettings) -> Scorer:
    """The scorer that embeds pictures, and captions too where the model does."""
    return EmbedPictures(name, settings) if settings.kind in COPY_DETECTION else ScorePairs(name, settings)
