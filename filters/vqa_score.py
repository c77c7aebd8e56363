"""Drops pairs whose caption a vision-language model denies: VQAScore (Lin et al. 2024).

The score is the probability that the model answers "Yes" when it is asked whether the picture shows the caption. It
sees more of who does what to whom than a dual encoder does, at the price of a language model's pass for each pair. The
model is a table `[models.NAME]` with `kind = "matcher"` and `head = "vqa"`; any image-text-to-text model will do, and
what its probabilities mean differs, so look at their distribution before you set a bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from curate.cut import Cut
from curate.errors import ConfigError
from curate.filter import Scorer
from curate.models.match_scores import match_probability
from curate.models.settings import check_model_name, require_model


@dataclass(frozen=True)
class VqaScore(Cut):
    """Bounds as `curate.cut.Cut` has them, on a probability of 0 to 1."""

    model: str = "vqa"

    reads: ClassVar[tuple[str, ...]] = ("vqa_probability",)
    too_low: ClassVar[str] = "caption_denied"
    too_high: ClassVar[str] = "caption_affirmed_too_surely"
    not_best: ClassVar[str] = "caption_not_among_most_affirmed"
    unknown: ClassVar[str] = "caption_not_asked_about"
    reasons: ClassVar[Mapping[str, str]] = {
        "caption_not_asked_about": "the model could not be asked about picture and caption",
        "caption_denied": "the model does not see what the caption says",
        "caption_affirmed_too_surely": "the model is too sure of the caption",
        "caption_not_among_most_affirmed": "the model is surer of other pairs",
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        check_model_name(self.model)

    @property
    def score(self) -> str:
        return match_probability(self.model)

    def scorers(self, models: Mapping[str, Any]) -> tuple[Scorer, ...]:
        if require_model(models, self.model, "matcher").head != "vqa":
            raise ConfigError(
                f'model = {self.model!r}: [models.{self.model}] matches by its own head; write head = "vqa" there, or '
                "use the filter match_probability"
            )
        return ()
