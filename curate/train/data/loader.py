"""Batches of examples for one rank of a training stage: a plan, and threads that read ahead of it.

The plan (`curate.train.data.plan`) decides what is in batch b; rank r of w reads rows r, r + w, r + 2w, ... of it, so
the ranks together read the same at any w. What is put down is the plan's place after a batch, not what threads have
read ahead of it, so a stage resumes at the very next batch, with another number of ranks, workers or threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass, field, fields
from itertools import islice
from typing import Any

from curate.errors import ConfigError, StageError
from curate.handover.augment import Augment
from curate.handover.shards import Handover
from curate.handover.stages import TrainingStage
from curate.train.data.packing import Row
from curate.train.data.plan import Plan, PlannedBatch, PlanOptions, plan_settings
from curate.train.data.reading import OK, Drawn, ExampleReader, Unread
from curate.train.data.window import Longer

__all__ = ["Batch", "Loader"]

STATE_VERSION = 2
AHEAD = 2
"""Batches that may be read before they are wanted; more of them where they are less than two pieces a thread."""
PIECE = 16
"""Examples that a thread reads at a time from a disk, about: handing over one alone would cost as much as reading it.
From a store it is one, so that the requests under way are as many as there are threads."""
MOST_UNREAD = 100_000
ENOUGH = 1_000
"""Examples after which a loader may say that too many cannot be read."""


@dataclass(frozen=True)
class Batch:
    """This rank's part of batch `number` of the stage: `rows` of examples, one in each where nothing is packed.

    It may have no row, at the end of a stage or with more ranks than rows. `whole_rows` counts those of all ranks.
    `place` is where the plan stands after it, for `Loader.state`.
    """

    number: int
    rows: tuple[tuple[Drawn, ...], ...]
    whole_rows: int
    place: Mapping[str, Any] = field(repr=False)

    @property
    def examples(self) -> list[Drawn]:
        """All examples of all rows."""
        return [drawn for row in self.rows for drawn in row]

    @property
    def unread(self) -> list[Unread]:
        """The examples of this batch that could not be read in full."""
        return [Unread(drawn.key, drawn.shard, drawn.status) for drawn in self.examples if drawn.status != OK]


@dataclass
class Loader:
    """The batches of a stage, for one rank. Iterating goes on behind the last batch that was taken.

    `batch`: rows of all ranks together, or tokens where the stage's `batch_unit` says so. `threads` read and decode
    ahead; 0 reads when asked, for a process that does nothing else (a DataLoader's worker). `decode`: pictures as
    pixels too. `window`, `open_rows`, `longer`, `extra_tokens`, `augment`: see `PlanOptions`. `max_unread_ratio`: above
    it, after 1,000 examples, the stage stops. The stage's own length ends the iteration; without one it has no end.

    `unread` lists what could not be read (the first 100,000), `unread_count` counts all of it, both for this rank.
    """

    handover: Handover
    stage: TrainingStage
    _: KW_ONLY
    seed: int
    batch: int
    rank: int = 0
    world: int = 1
    tokenizer: str = ""
    decode: bool = True
    threads: int = 1
    window: int = 16
    open_rows: int = 64
    longer: Longer = "cut"
    extra_tokens: int = 0
    augment: Augment | None = None
    max_unread_ratio: float = 0.1
    unread: list[Unread] = field(default_factory=list, init=False, repr=False)
    unread_count: int = field(default=0, init=False)
    read_count: int = field(default=0, init=False)
    _place: Mapping[str, Any] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world:
            raise ConfigError(f"rank = {self.rank} is none of world = {self.world}; ranks go from 0 to world - 1")
        if self.threads < 0:
            raise ConfigError(f"threads = {self.threads} is out of range: at least 0")
        self.new_plan().close()

    @property
    def options(self) -> PlanOptions:
        """What the plan depends on beside hand-over, stage and seed."""
        return PlanOptions(**{own.name: getattr(self, own.name) for own in fields(PlanOptions)})

    def new_plan(self) -> Plan:
        """The stage's plan, at the place where this loader is."""
        plan = Plan(self.handover, self.stage, self.seed, self.options)
        if self._place is not None:
            plan.restore(self._place)
        return plan

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.part(0, 1):
            self._place = batch.place
            yield batch

    def part(self, part: int, parts: int) -> Iterator[Batch]:
        """Every `parts`-th batch from `part` on, counted from where this loader is, which does not move it."""
        plan = self.new_plan()
        reader = ExampleReader(self.handover.storage, self.stage.mixture.sources, self.decode)
        try:
            own = islice(self._planned(plan), part, None, parts)
            for batch in self._read(reader, own) if self.threads else self._read_now(reader, own):
                self._note(batch)
                yield batch
        finally:
            plan.close()
            reader.close()

    def state(self, batch: Batch | None = None) -> dict[str, Any]:
        """What `resume` takes, JSON-able: the place behind `batch`, or behind the last one that iterating gave."""
        place = batch.place if batch is not None else self._place
        if place is None:
            plan = self.new_plan()
            place = plan.state()
            plan.close()
        return {
            "version": STATE_VERSION,
            "handover": self.handover.digest,
            "seed": self.seed,
            "settings": plan_settings(self.stage, self.options),
            "batches": place["batches"],
            "place": place,
            "unread": self.unread_count,
            "read": self.read_count,
        }

    def counts(self) -> dict[str, dict[str, int]]:
        """What all ranks were given until here, and what was passed over or cut: see `Plan.counts`."""
        plan = self.new_plan()
        plan.close()
        return plan.counts()

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on behind the batch at which `state` was taken. Raises ConfigError for the state of another hand-over, or
        of settings that give another order."""
        if state.get("version") != STATE_VERSION:
            raise ConfigError(
                f"the loader's state is of version {state.get('version')}, not {STATE_VERSION}; start anew"
            )
        own = self.state()
        if state["handover"] != own["handover"]:
            raise ConfigError(
                f"the loader's state is of another hand-over ({state['handover']}) than {self.handover.storage.root} "
                f"({own['handover']}); name the folder that was trained on, or start the stage anew"
            )
        there, here = ({"seed": s["seed"], **_flat(s["settings"])} for s in (state, own))
        _refuse_other_settings(there, here)
        self._place = state["place"]
        self.unread_count, self.read_count = int(state["unread"]), int(state["read"])

    def _planned(self, plan: Plan) -> Iterator[tuple[PlannedBatch, Mapping[str, Any]]]:
        for planned in plan.batches():
            yield planned, plan.state()

    def _read_now(
        self, reader: ExampleReader, planned: Iterator[tuple[PlannedBatch, Mapping[str, Any]]]
    ) -> Iterator[Batch]:
        for batch, place in planned:
            rows = tuple(tuple(reader.read(item) for item in row) for row in self._own(batch.rows))
            yield Batch(batch.number, rows, len(batch.rows), place)

    def _read(
        self, reader: ExampleReader, planned: Iterator[tuple[PlannedBatch, Mapping[str, Any]]]
    ) -> Iterator[Batch]:
        waiting: deque[tuple[PlannedBatch, Mapping[str, Any], list[Future[list[tuple[Drawn, ...]]]]]] = deque()
        most = PIECE if self.handover.storage.local is not None else 1
        with ThreadPoolExecutor(self.threads, thread_name_prefix="examples") as pool:
            try:
                for batch, place in planned:
                    pieces = _pieces(self._own(batch.rows), most)
                    waiting.append((batch, place, [pool.submit(_read_rows, reader, piece) for piece in pieces]))
                    while len(waiting) > AHEAD and sum(len(own) for *_, own in waiting) > 2 * self.threads:
                        yield _finished(*waiting.popleft())
                while waiting:
                    yield _finished(*waiting.popleft())
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _own(self, rows: Sequence[Row]) -> Sequence[Row]:
        return rows[self.rank :: self.world]

    def _note(self, batch: Batch) -> None:
        """Keep the holes of a batch. Raises StageError where there are too many."""
        holes = batch.unread
        self.read_count += len(batch.examples)
        self.unread_count += len(holes)
        self.unread += holes[: MOST_UNREAD - len(self.unread)]
        if self.read_count >= ENOUGH and self.unread_count > self.max_unread_ratio * self.read_count:
            raise StageError(
                f"{self.unread_count} of {self.read_count} examples cannot be read, the last one {holes[-1:]}; check "
                f"the hand-over with `curate export --verify {self.handover.storage.root}`, or raise max_unread_ratio"
            )


def _read_rows(reader: ExampleReader, rows: Sequence[Row]) -> list[tuple[Drawn, ...]]:
    return [tuple(reader.read(item) for item in row) for row in rows]


def _pieces(rows: Sequence[Row], most: int) -> list[Sequence[Row]]:
    """The rows cut where there are `most` examples."""
    pieces, start, examples = [], 0, 0
    for end, row in enumerate(rows, 1):
        examples += len(row)
        if examples >= most or end == len(rows):
            pieces.append(rows[start:end])
            start, examples = end, 0
    return pieces


def _finished(
    batch: PlannedBatch, place: Mapping[str, Any], pieces: Sequence[Future[list[tuple[Drawn, ...]]]]
) -> Batch:
    rows = tuple(row for piece in pieces for row in piece.result())
    return Batch(batch.number, rows, len(batch.rows), place)


def _flat(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Settings by dotted names; a tuple is a list, as JSON gives it back."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{name}.")
        else:
            found[before + name] = list(value) if isinstance(value, tuple) else value
    return found


def _refuse_other_settings(there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    for name in sorted(there.keys() | here.keys()):
        if there.get(name) != here.get(name):
            raise ConfigError(
                f"the loader's state was taken with {name} = {there.get(name)}, and this stage has {here.get(name)}, "
                "which gives another order; put it back, or start the stage anew"
            )
