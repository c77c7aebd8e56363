"""The loop of CapFilt: caption the web set, filter both texts, train both models anew, several times: `curate train
capfilt`.

BLIP did it once (Li et al. 2022) and left more rounds to others; it also found that a model must be trained from the
start on the new texts, for going on from the old one gives nothing. A round's folder keeps its texts, its models and
what they came to:

    round-0/captioner, matcher             trained on the clean pairs (or on those and the web's own texts)
    round-1/texts/00000-SHARD.parquet      what the models of round 0 said and kept of each shard
    round-1/yields.json                    texts before and after, noise ratio
    round-1/captioner, matcher             trained on the clean pairs and the kept texts

Killed and called again, it goes on: a model at its last state, the texts at the next shard. More `rounds` later are no
other loop.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from curate.config import build, read_toml, require_range
from curate.errors import ConfigError
from curate.manifest import fingerprint
from curate.models.caption_settings import CaptionerSettings, MatcherSettings
from curate.models.device import work_on
from curate.models.settings import TOY, Precision
from curate.stage import settings_of
from curate.storage import plain_errors
from curate.train.capfilt_texts import CAPTIONER, CaptionSet, Judges, write_texts, yields_of
from curate.train.caption_course import Say
from curate.train.caption_place import Place, require_free, write_owner
from curate.train.captioner import CaptionerCourse, CaptionerOrder, train_captioner
from curate.train.coupling import warn_if_coupled
from curate.train.matcher import MatcherCourse, MatcherOrder, train_matcher
from curate.train.overlap import EvaluationSettings
from curate.train.pairs import PairSource

__all__ = ["CapfiltOrder", "Fit", "fit_here", "read_settings", "train_capfilt"]

OWNER, YIELDS = "capfilt.json", "yields.json"
Order = CaptionerOrder | MatcherOrder
Fit = Callable[[Order, CaptionSet, Path, Say], None]
"""Trains the model of an order on a set and writes the folder; the seam at which several workers come in."""


@dataclass(frozen=True)
class CapfiltOrder:
    """A config of `curate train capfilt`.

    `web`: pictures with the web's texts, which may be missing or wrong; `clean`: pairs that can be trusted. `start`: of
    every training, as `curate.train.caption_start`. `rounds`: how often texts are made and models trained on them.
    `first`: what round 0 learns from, `clean`, or `both` for a start that knows nothing yet. `min_probability` (0 to
    1): of a text that is kept. `captions`: how captions are drawn, as a captioner of `[models]`, without its weights.
    `captioner`, `matcher`: the `[training]` tables of both. `threads`: that decode pictures, 0 for torch's number.
    """

    web: PairSource
    clean: PairSource
    start: str = TOY
    rounds: int = field(default=1, metadata={"runtime": True})
    first: Literal["clean", "both"] = "clean"
    min_probability: float = 0.5
    captions: CaptionerSettings = field(default_factory=CaptionerSettings)
    captioner: CaptionerCourse = field(default_factory=CaptionerCourse)
    matcher: MatcherCourse = field(default_factory=MatcherCourse)
    evaluation: EvaluationSettings | None = field(default=None, metadata={"runtime": True})
    precision: Precision = "bf16"
    device: Literal["auto", "cpu", "cuda"] = field(default="auto", metadata={"runtime": True})
    threads: int = field(default=0, metadata={"runtime": True})

    def __post_init__(self) -> None:
        require_range("rounds", self.rounds, 1, 100)
        require_range("min_probability", self.min_probability, 0, 1)
        require_range("threads", self.threads, 0, 1_024)
        if self.captions.weights != TOY or self.captions.architecture or self.captions.engine != "own":
            raise ValueError(
                "[captions] takes no weights, architecture or engine: the captioner is the one trained here"
            )
        if self.captions.prompt != self.captioner.prompt:
            raise ValueError(
                f"prompt = {self.captions.prompt!r} in [captions] and {self.captioner.prompt!r} in [captioner]: a "
                "captioner is asked as it was trained, so write one in both"
            )
        _ = self.order_of("captioner"), self.order_of("matcher")

    def order_of(self, kind: str, partner: str = "") -> Order:
        """The training of one of the two. The captioner's alone looks for an overlap: both see the same pairs."""
        common: dict[str, Any] = {"start": self.start, "precision": self.precision, "device": self.device}
        if kind == "matcher":
            return MatcherOrder(self.clean, captioner=partner, training=self.matcher, **common)
        return CaptionerOrder(self.clean, training=self.captioner, evaluation=self.evaluation, **common)


def read_settings(path: Path) -> CapfiltOrder:
    """The settings in a TOML file. Raises ConfigError."""
    return build(CapfiltOrder, read_toml(path), "")


def fit_here(order: Order, data: CaptionSet, out: Path, say: Say) -> None:
    """Train in this process."""
    if isinstance(order, CaptionerOrder):
        train_captioner(order, out, say, pairs=data.open)
    else:
        train_matcher(order, out, say, pairs=data.open)


def train_capfilt(
    settings: CapfiltOrder, out: Path, say: Say = lambda text: None, fit: Fit = fit_here
) -> dict[str, Any]:
    """Run the rounds that are not done; answers what to show: a line a round, and the last models.

    Raises ConfigError for a config that cannot be run and for a folder of another loop, StageError when a loss is not
    finite.
    """
    _own(settings, out)
    lines = []
    first = CaptionSet(settings.clean, settings.web if settings.first == "both" else None)
    _models(settings, first, out / "round-0", say, fit)
    for number in range(1, settings.rounds + 1):
        folder, before = out / f"round-{number}", out / f"round-{number - 1}"
        say(f"round {number} of {settings.rounds}")
        lines.append({"round": number, **_texts(settings, before, folder, say)})
        kept = CaptionSet(settings.clean, settings.web, str(folder / "texts"))
        _models(settings, kept, folder, say, fit)
    last = out / f"round-{settings.rounds}"
    config = (
        f'[models.synthetic]\nkind = "captioner"\nweights = "{last / "captioner"}"\n\n[models.itm]\n'
        f'kind = "matcher"\nweights = "{last / "matcher"}"\ncaptions = ["synthetic"]'
    )
    return {"rounds": lines, "written_to": str(out), "config": f"\n{config}"}


def _own(settings: CapfiltOrder, out: Path) -> None:
    """Make the folder, or find that it is of the same loop."""
    mark = fingerprint(["capfilt", 1, settings_of(settings)])
    owner = out / OWNER
    if owner.is_file():
        try:
            known = json.loads(owner.read_text("utf-8"))["fingerprint"]
        except (ValueError, KeyError, TypeError):
            known = None
        if known != mark:
            raise ConfigError(
                f"{out} holds a loop that was begun with other settings (only rounds, [evaluation], threads and device "
                "may change); choose another --out, or delete it"
            )
        return
    require_free(out)
    write_owner(owner, {"fingerprint": mark, "settings": settings_of(settings)})


def _texts(settings: CapfiltOrder, models: Path, folder: Path, say: Say) -> dict[str, Any]:
    """Caption and judge what is not done yet; what the round kept, which is written down too."""
    captions = replace(
        settings.captions,
        weights=str(models / "captioner"),
        precision=settings.precision,
        device=settings.device,
    )
    matching = MatcherSettings(
        weights=str(models / "matcher"),
        precision=settings.precision,
        captions=(CAPTIONER,),
        device=settings.device,
    )
    told = warn_if_coupled(captions, matching)
    if told is not None:
        say(f"warning: {told}")
    judges = Judges(captions, matching, settings.min_probability)
    threads = settings.threads or torch.get_num_threads()
    work_on(0, threads)
    kept = yields_of(write_texts(settings.web, judges, folder / "texts", threads, say))
    with plain_errors(f"write {folder}"):
        (folder / YIELDS).write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
    say(
        f"kept {kept['web_kept']:,} of {kept['web_in']:,} texts of the web and {kept['synthetic_kept']:,} of "
        f"{kept['synthetic_in']:,} synthetic ones"
    )
    return {name: value for name, value in kept.items() if name != "reasons"}


def _models(settings: CapfiltOrder, data: CaptionSet, folder: Path, say: Say, fit: Fit) -> None:
    """Train what is not there yet, the captioner first; the matcher's report says what the two have in common."""
    for kind in ("captioner", "matcher"):
        out = folder / kind
        if (out / "training.json").is_file():
            Place(out, "").clear()
            continue
        partner = str(folder / "captioner") if kind == "matcher" else ""
        fit(settings.order_of(kind, partner), data, out, say)
