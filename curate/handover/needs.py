"""Which stages a data set can feed, and how long that is: a recipe against what is there, before anything is trained.

Sums alone are held, one for each stage and kind, so memory is that of one shard. A stage that names sources of a
hand-over reads those; every other stage is fed by kind, with what no stage names. Lengths follow the file: a stage told
in epochs reads your data as often, one told in steps, samples or tokens keeps them, and says how many passes that is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from curate.handover.layout import KINDS, Kind
from curate.handover.needs_there import Found, TrainingSet
from curate.handover.resolution import Resolution
from curate.handover.stages import MixtureSource, Stages, TrainingStage

__all__ = ["KindNeed", "Length", "StageNeed", "measure_needs"]


@dataclass
class KindNeed:
    """What a stage wants of one kind, and what is there.

    `wanted`: examples in the recipe, None where it does not say. Sums over what is there: `examples`, `pictures`,
    `text_tokens`, `image_tokens`; `smaller`: pictures that the stage enlarges; `refused`: too long for it;
    `unknown`: pictures whose size no table says, counted at the stage's own; `cut`: examples longer than its row;
    `unsuited`: examples with fewer or more pictures than its sources take, which are not in `examples`. `extra`
    examples and `extra_tokens` come up again in a pass (below 0: do not come up) by `repeat` of a source that is named.
    """

    kind: Kind
    names: tuple[str, ...]
    wanted: int | None
    examples: int = 0
    pictures: int = 0
    text_tokens: int = 0
    image_tokens: int = 0
    smaller: int = 0
    refused: int = 0
    unknown: int = 0
    cut: int = 0
    unsuited: int = 0
    extra: float = 0.0
    extra_tokens: float = 0.0

    @property
    def drawn(self) -> float:
        """Examples that come up in one pass."""
        return self.examples + self.extra

    @property
    def tokens(self) -> int:
        """All tokens of one pass."""
        return self.text_tokens + self.image_tokens

    def add(self, found: Found, resolution: Resolution, row: int, apart: bool = False) -> None:
        """Count a shard's examples; `row` is the longest row in tokens, 0 for any; `apart`: it holds no picture."""
        known = (found.width > 0) & (found.height > 0)
        width, height = (np.where(known, side, resolution.size) for side in (found.width, found.height))
        tokens = resolution.image_tokens(width, height)
        shown = np.zeros_like(tokens) if apart else tokens
        each = found.tokens + np.bincount(found.owner, shown, len(found.tokens)).astype(np.int64)
        self.examples += len(found.tokens)
        self.pictures += len(width)
        self.text_tokens += int(found.tokens.sum())
        self.image_tokens += int(tokens.sum())
        self.smaller += int(resolution.enlarged(width, height).sum())
        self.refused += int(resolution.refused(width, height).sum())
        self.unknown += int((~known).sum())
        self.cut += int((each > row).sum()) if row else 0


@dataclass(frozen=True)
class Length:
    """How long a stage is. `recipe_steps`: of the recipe on its own data; `steps`, `passes`, `tokens`: on yours; None
    where the file does not say enough, or nothing is there."""

    recipe_steps: int | None
    steps: int | None
    passes: float | None
    tokens: int | None


@dataclass
class StageNeed:
    """One stage and its kinds, in the order of KINDS."""

    stage: TrainingStage
    kinds: list[KindNeed] = field(default_factory=list)

    @property
    def fed(self) -> list[KindNeed]:
        """The kinds of which something is there."""
        return [need for need in self.kinds if need.examples]

    def length(self) -> Length:
        """The stage's length on the recipe's data and on yours."""
        stage, batch = self.stage, batch_of(self.stage)
        wanted = [need.wanted for need in self.kinds]
        recipe = None if None in wanted else _steps(stage, batch, sum(filter(None, wanted)), 0)
        examples = round(sum(need.drawn for need in self.kinds))
        tokens = round(sum(need.tokens + need.extra_tokens for need in self.kinds))
        if not examples:
            return Length(recipe or stage.steps or None, None, None, None)
        if stage.epochs:
            passes: float | None = stage.epochs
        elif stage.tokens:
            passes = stage.tokens / tokens if tokens else None
        elif stage.samples:
            passes = stage.samples / examples
        else:
            in_pass = _in_pass(stage, examples, tokens)
            passes = stage.steps * batch / in_pass if stage.steps and batch and in_pass else None
        steps = stage.steps or _steps(stage, batch, examples, tokens)
        read = None if passes is None else round(passes * tokens)
        return Length(recipe or stage.steps or None, steps or None, passes, read)

    def passes(self, need: KindNeed) -> float | None:
        """How often the examples of a kind come up: as often as all, or as the weights of its sources say."""
        whole = self.length().passes
        own, every = self._weight(need), sum(map(self._weight, self.fed))
        if whole is None or not need.examples:
            return whole
        if not every:
            return whole * need.drawn / need.examples
        by_token = self.stage.mixture.unit == "token"
        amounts = {one.kind: one.tokens if by_token else one.examples for one in self.fed}
        amount = amounts.get(need.kind)
        return whole * sum(amounts.values()) * own / every / amount if amount else None

    def _weight(self, need: KindNeed) -> float:
        return sum(source.weight for source in self.stage.mixture.sources if source.kind == need.kind)


def measure_needs(stages: Stages, sets: Sequence[TrainingSet]) -> list[StageNeed]:
    """Every stage's needs against all of the sets together. Raises ShardError where a shard is broken."""
    needs = [StageNeed(stage, _kinds(stage)) for stage in stages.stages]
    there = {name for training_set in sets for name in training_set.sources}
    named = {source.name for stage in stages.stages for source in stage.mixture.sources} & there
    for training_set in sets:
        for found in training_set.found():
            for need in needs:
                _feed(need, found, named)
    return needs


def batch_of(stage: TrainingStage) -> int:
    """What a step reads, in the stage's `batch_unit`: its own, else those of its sources together; 0: not said."""
    own = [source.batch for source in stage.mixture.sources]
    return stage.batch or (sum(own) if all(own) and "batch" not in stage.unpublished else 0)


def _kinds(stage: TrainingStage) -> list[KindNeed]:
    found = []
    for kind in KINDS:
        sources = [source for source in stage.mixture.sources if source.kind == kind]
        if sources:
            amounts = [source.examples for source in sources]
            wanted = sum(map(_repeated, sources)) if all(amounts) else None
            found.append(KindNeed(sources[0].kind, tuple(source.name for source in sources), wanted))
    return found


def _repeated(source: MixtureSource) -> int:
    return round(source.examples * source.repeat)


def _feed(need: StageNeed, found: Found, named: set[str]) -> None:
    own = next((kind for kind in need.kinds if kind.kind == found.kind), None)
    if own is None:
        return
    wanted = named & set(own.names)
    if found.source not in wanted if wanted else found.source in named:
        return
    every = need.stage.mixture.sources
    sources = [s for s in every if s.kind == found.kind and (not wanted or s.name == found.source)]
    rows = [source.sequence_tokens for source in sources]
    row = need.stage.sequence_tokens if 0 in rows else max(rows)
    examples, tokens = own.examples, own.tokens
    suited = _suited(found, sources)
    own.add(suited, need.stage.resolution, row, _apart(need.stage))
    own.unsuited += len(found.tokens) - len(suited.tokens)
    if wanted and not any(source.weight for source in every):
        own.extra += (sources[0].repeat - 1) * (own.examples - examples)
        own.extra_tokens += (sources[0].repeat - 1) * (own.tokens - tokens)


def _suited(found: Found, sources: Sequence[MixtureSource]) -> Found:
    """The examples with as many pictures as one of the sources takes."""
    pictures = np.bincount(found.owner, minlength=len(found.tokens))
    fits = np.zeros(len(found.tokens), bool)
    for source in sources:
        fits |= (pictures >= source.min_images) & (pictures <= (source.max_images or np.inf))
    if fits.all():
        return found
    there, number = fits[found.owner], np.cumsum(fits) - 1
    own = {name: getattr(found, name)[there] for name in ("width", "height")}
    return replace(found, tokens=found.tokens[fits], owner=number[found.owner[there]], **own)


def _apart(stage: TrainingStage) -> bool:
    """Whether pictures are no part of a row: they have a tower of their own, or are attended to across."""
    across = any("cross_attention" in module for module in stage.trainable_by_module)
    return across or set(stage.objectives) <= {"contrastive"}


def _in_pass(stage: TrainingStage, examples: int, tokens: int) -> int:
    """What a pass over so much is in the stage's batch unit: tokens, packed rows, or examples."""
    if stage.batch_unit == "tokens":
        return tokens
    if stage.packing and stage.sequence_tokens and tokens:
        return math.ceil(tokens / stage.sequence_tokens)
    return examples


def _steps(stage: TrainingStage, batch: int, examples: int, tokens: int) -> int | None:
    """Steps of a stage on so much; None where they cannot be told."""
    if stage.steps or not batch:
        return stage.steps or None
    if stage.epochs:
        in_pass = _in_pass(stage, examples, tokens)
        packed = stage.packing and stage.sequence_tokens and not tokens
        return math.ceil(stage.epochs * in_pass / batch) if in_pass and not packed else None
    if stage.samples and stage.batch_unit == "samples" and not stage.packing:
        return math.ceil(stage.samples / batch)
    if stage.tokens and (stage.batch_unit == "tokens" or (examples and tokens)):
        each = 1.0 if stage.batch_unit == "tokens" else tokens / _in_pass(stage, examples, tokens)
        return math.ceil(stage.tokens / each / batch)
    return None
