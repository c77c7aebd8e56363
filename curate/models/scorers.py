"""The steps of one table `[models.NAME]`: its scorer, and its embeddings as DataComp's npz where that is asked for."""

from __future__ import annotations

from collections.abc import Iterator

from curate.models.match_scores import ScoreMatches
from curate.models.npz import EmbeddingsNpz
from curate.models.pair_scores import ScorePairs
from curate.models.settings import ModelSettings
from curate.score import Score
from curate.stage import Stage

__all__ = ["model_steps"]


def model_steps(name: str, settings: ModelSettings) -> Iterator[Stage]:
    """What runs for a model of the config, in order."""
    if settings.kind == "matcher":
        yield Score(ScoreMatches(name, settings))
        return
    yield Score(ScorePairs(name, settings))
    if settings.npz:
        yield EmbeddingsNpz(name)
