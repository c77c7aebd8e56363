"""The order of a whole training stage, from numbers alone: which examples are in which row of which batch.

A plan is a function of the hand-over, the stage, the batch and a seed; stages of one seed have orders of their own. It
knows of no rank, worker or thread: these read their part of the same plan. So a stage that was interrupted goes on
exactly, with other workers too, and a mixture can be counted over a million draws without a picture being read. 4 us an
example, tables included, and 6 us where rows are packed; every rank and worker pays it for all examples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from curate.errors import ConfigError
from curate.handover.augment import Augment
from curate.handover.shards import Handover
from curate.handover.stages import MixtureSource, TrainingStage
from curate.train.data.draws import stream_seed
from curate.train.data.lanes import Lane, Shape, micro_batches, shape_of
from curate.train.data.mixture import ByRepeat, BySample, ByToken, Chooser, OneSource
from curate.train.data.packing import Row
from curate.train.data.stream import Stream
from curate.train.data.window import Counting, Item, Longer, passes_of

__all__ = ["Plan", "PlanOptions", "PlannedBatch", "plan_settings"]

SETTINGS = ("resolution", "sequence_tokens", "packing", "batch_unit", "epochs")
SOURCE_SETTINGS = (
    *("weight", "repeat", "captions", "min_images", "max_images", "next_image_probability"),
    *("batch", "sequence_tokens"),
)
"""Fields of a stage, and of each of its sources, that an order depends on."""


@dataclass(frozen=True)
class PlanOptions:
    """`batch` counts the stage's `batch_unit`: rows, or tokens. `tokenizer`: whose counts are tokens ("": the only
    one). `window` shards are mixed, at least 1. Packing has `open_rows` rows open, at least 1. `longer` says what is
    done with an example of more tokens than a row: it is "cut" to the row's (the trainer cuts its text), "keep" gives
    it a longer row of its own, "leave_out" drops it; each is counted. `extra_tokens` is added to each example.
    `augment`: crops and flips of the pictures of pairs."""

    batch: int
    tokenizer: str = ""
    window: int = 16
    open_rows: int = 64
    longer: Longer = "cut"
    extra_tokens: int = 0
    augment: Augment | None = None


@dataclass(frozen=True)
class PlannedBatch:
    """Batch `number`, from 0, of the global order: rows of examples."""

    number: int
    rows: list[Row]


class Plan:
    """The batches of a stage. `number` is the next one; `examples`, `tokens` and `rows` count those before.

    Raises ConfigError where the stage cannot draw from the hand-over.
    """

    def __init__(self, handover: Handover, stage: TrainingStage, seed: int, options: PlanOptions) -> None:
        self.stage, self.number, self.examples, self.tokens, self.rows = stage, 0, 0, 0, 0
        if options.window < 1 or options.open_rows < 1:
            raise ConfigError(f"window = {options.window} and open_rows = {options.open_rows} must be at least 1")
        mixture = stage.mixture
        if options.augment:
            _require_fit(options.augment, stage)
        tokenizer = _tokenizer(handover, stage, options.tokenizer)
        own = stream_seed(seed, stage.name)
        shape = shape_of(stage, options.batch, options.open_rows)
        counting = Counting(own, options.window, tokenizer, stage.resolution, options.extra_tokens, options.augment)
        counting = replace(counting, longer=options.longer)
        by_repeat = mixture.unit != "gradient" and not any(source.weight for source in mixture.sources)
        sources = [source if by_repeat else replace(source, repeat=1.0) for source in mixture.sources]
        self.streams = [
            Stream(handover, source, number, replace(counting, limit=_limit(stage, source)))
            for number, source in enumerate(sources)
        ]
        self._shares = [[0, 0] for _ in sources]
        self.lanes = self._by_gradient(shape) if mixture.unit == "gradient" else [Lane(self._chooser(own), shape)]
        whole = sum(stream.size for stream in self.streams)
        self._most = stage.samples or (0 if by_repeat else math.ceil(stage.epochs * whole))

    def batches(self) -> Iterator[PlannedBatch]:
        """The batches from here on, without end where the stage does not say how long it is.

        A stage of `samples` or `tokens` ends with the batch that reaches them, and so does one of `epochs` with
        weights; without weights its last batch has what is left. Raises ShardError for tables that are at odds.
        """
        while not self._ended():
            rows = [row for lane in self.lanes for row in lane.take()]
            if not rows:
                return
            for row in rows:
                self._count(row)
            self.rows += len(rows)
            self.number += 1
            yield PlannedBatch(self.number - 1, rows)

    def counts(self) -> dict[str, dict[str, int]]:
        """By source: `examples` and `tokens` given out, and what was passed over, was longer than its row or fell
        short. Under "": `rows`."""
        found = {
            stream.source.name: {"examples": examples, "tokens": tokens, **stream.counts}
            for stream, (examples, tokens) in zip(self.streams, self._shares, strict=True)
        }
        return {**found, "": {"rows": self.rows}}

    def state(self) -> dict[str, Any]:
        """Where the plan is: JSON-able, a few kB with packing, else less."""
        return {
            "batches": self.number,
            "rows": self.rows,
            "shares": [list(share) for share in self._shares],
            "streams": [[stream.run, stream.place, stream.counts.copy()] for stream in self.streams],
            "lanes": [lane.state() for lane in self.lanes],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken, of a plan of the same hand-over, stage, seed and options."""
        self.number, self.rows = state["batches"], state["rows"]
        self._shares = [list(share) for share in state["shares"]]
        self.examples, self.tokens = (sum(share[n] for share in self._shares) for n in (0, 1))
        for stream, (run, place, counts) in zip(self.streams, state["streams"], strict=True):
            stream.seek(run, place)
            stream.counts = dict(counts)
        for lane, own in zip(self.lanes, state["lanes"], strict=True):
            lane.restore(own, self._item)

    def close(self) -> None:
        """End the threads that read tables ahead."""
        for stream in self.streams:
            stream.close()

    def _item(self, stream: int, run: int, place: int) -> Item:
        return self.streams[stream].at(run, place)

    def _count(self, row: Row) -> None:
        for item in row:
            share = self._shares[item.stream]
            share[0] += 1
            share[1] += item.tokens
            self.examples += 1
            self.tokens += item.tokens

    def _ended(self) -> bool:
        stage = self.stage
        return 0 < stage.steps <= self.number or 0 < self._most <= self.examples or 0 < stage.tokens <= self.tokens

    def _chooser(self, seed: int) -> Chooser:
        weights = [source.weight for source in self.stage.mixture.sources]
        if any(weights):
            by_token = self.stage.mixture.unit == "token"
            return ByToken(self.streams, weights) if by_token else BySample(self.streams, weights, seed)
        if not any(passes_of(source) for source in self.stage.mixture.sources):
            raise ConfigError(f"stage {self.stage.name} has no weights, and repeat = 0 for all sources; raise one")
        return ByRepeat(self.streams, seed, self.stage.epochs)

    def _by_gradient(self, shape: Shape) -> list[Lane]:
        weights = [source.weight or source.batch or 1.0 for source in self.stage.mixture.sources]
        parts = micro_batches(shape.rows or shape.tokens, weights)
        shapes = [replace(shape, rows=part) if shape.rows else replace(shape, tokens=part) for part in parts]
        return [Lane(OneSource(stream), own) for stream, own in zip(self.streams, shapes, strict=True)]


def plan_settings(stage: TrainingStage, options: PlanOptions) -> dict[str, Any]:
    """What an order depends on beside hand-over and seed, JSON-able."""
    whole = asdict(stage)
    fields = {name: whole[name] for name in SETTINGS}
    sources = {own["name"]: {name: own[name] for name in SOURCE_SETTINGS} for own in whole["mixture"]["sources"]}
    return {
        "stage": stage.name,
        **fields,
        "unit": stage.mixture.unit,
        "order": list(sources),
        "sources": sources,
        **asdict(options),
    }


def _limit(stage: TrainingStage, source: MixtureSource) -> int:
    """The most tokens of an example in its row; 0 for any number."""
    own = source.sequence_tokens or stage.sequence_tokens
    return min(own, stage.sequence_tokens) if stage.packing else own


def _require_fit(augment: Augment, stage: TrainingStage) -> None:
    try:
        augment.require_fit(stage.resolution.policy, [source.kind for source in stage.mixture.sources])
    except ValueError as error:
        raise ConfigError(f"stage {stage.name}: {error}") from None


def _tokenizer(handover: Handover, stage: TrainingStage, name: str) -> str:
    """The tokenizer whose counts are used; "" where there is none to choose, and none is needed."""
    needed = stage.packing or stage.sequence_tokens or stage.tokens or stage.batch_unit == "tokens"
    needed = needed or stage.mixture.unit == "token" or any(own.sequence_tokens for own in stage.mixture.sources)
    if name or needed or len(handover.manifest.tokenizers) == 1:
        return handover.tokenizer(name)
    return ""
