"""The steps of the tables `[models.NAME]`: a scorer each, and one DataComp's npz of all that ask for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from curate.caption.faults import FindFaults
from curate.filter import Scorer
from curate.models.caption_scores import WriteCaptions
from curate.models.caption_settings import CaptionerSettings, MatcherSettings
from curate.models.copy_detection import EmbedPictures
from curate.models.match_scores import ScoreMatches
from curate.models.npz import EmbeddingsNpz
from curate.models.pair_scores import ScorePairs
from curate.models.settings import COPY_DETECTION, AnyModel, ModelSettings
from curate.models.text_scores import CompareTexts
from curate.score import Score
from curate.stage import Stage

__all__ = ["model_steps", "npz_steps", "picture_scorer"]


def model_steps(name: str, settings: AnyModel) -> Iterator[Stage]:
    """What runs for a model of the config, in order."""
    if isinstance(settings, MatcherSettings):
        yield Score(ScoreMatches(name, settings))
    elif isinstance(settings, CaptionerSettings):
        yield Score(WriteCaptions(name, settings))
        yield Score(FindFaults(name, settings.prompt, settings))
    else:
        yield Score(picture_scorer(name, settings))
        yield from (Score(CompareTexts(name, settings, captioner)) for captioner in settings.captions)


def picture_scorer(name: str, settings: ModelSettings) -> Scorer:
    """The scorer that embeds pictures, and captions too where the model does."""
    return EmbedPictures(name, settings) if settings.kind in COPY_DETECTION else ScorePairs(name, settings)


def npz_steps(models: Mapping[str, AnyModel]) -> Iterator[Stage]:
    """The one step that writes the embeddings of the models with `npz = true`, in any order of the config; none where
    there is no such model."""
    asking = sorted(name for name, settings in models.items() if getattr(settings, "npz", False))
    if asking:
        yield EmbeddingsNpz(tuple(asking))
