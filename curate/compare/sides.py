"""The two that are compared: what a data set decided, or what a config would decide in one.

Either way a side answers the same three questions about a shard: which rows there are, the verdict on each, and who
each is. A shard that cannot be read is told once, in words, and its rows count as undecided, or as absent where even
their number is not known; a side that has no decision at all is an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from curate.compare.judging import LeftOut, judge, judgeable
from curate.compare.matching import Rows
from curate.compare.verdicts import UNDECIDED, Codes, Verdicts
from curate.compare.who import DOCUMENTS, PARTS, SAMPLES, who
from curate.dedup.scatter import row_ids
from curate.errors import ConfigError, CurateError, ShardError
from curate.listing import listed_shards
from curate.manifest import CommitLog, Manifest
from curate.report.shard import has_documents
from curate.run_record import RunRecord, read_record, record_of
from curate.select import Decision, Select
from curate.shard import Shard
from curate.slices import in_current_cut
from curate.stage import Step
from curate.storage import Storage

__all__ = ["Reader", "Side", "Troubles", "config_side", "data_side", "not_ended"]

MOST_TROUBLES = 20


@dataclass(frozen=True)
class Side:
    """One of the two. `name`: as the user called it. `record`: what its run was told; None where a data set has none.
    `decisions`: of a config; None where the data set's own hold. `left_out`: filters of it that cannot judge here.
    `outdated`: labels of its steps that would make columns anew, which are judged as they are."""

    name: str
    storage: Storage
    shards: tuple[Shard, ...]
    record: RunRecord | None
    decisions: tuple[Decision, ...] | None = None
    left_out: tuple[LeftOut, ...] = ()
    outdated: tuple[str, ...] = ()

    @property
    def units(self) -> tuple[str, ...]:
        """What is decided on, in the plural."""
        if self.record is not None and self.record.decisions:
            return tuple(dict.fromkeys(one.unit for one in self.record.decisions))
        return (PARTS, DOCUMENTS) if has_documents(self.shards[0]) else (SAMPLES,)

    def prefix(self, unit: str) -> str:
        """What the columns of the last decision on a unit begin with."""
        last = self.record.last(unit) if self.record is not None else None
        return last.prefix if last is not None else ""

    def words(self, unit: str) -> dict[str, str]:
        """The words of each reason."""
        filters = self.record.filters(unit) if self.record is not None else ()
        return {reason: words for one in filters for reason, words in one.reasons.items()}

    def decided(self, shard: Shard) -> Shard:
        """A shard with the columns of this side's decisions. Raises ShardError."""
        return shard if self.decisions is None else judge(shard, self.decisions)


def data_side(name: str, storage: Storage) -> Side:
    """A data set by what it decided. Raises ConfigError where there is none, StorageError where `run.json` is
    damaged."""
    return Side(name, storage, _shards(storage), read_record(storage))


def config_side(
    name: str, config: Mapping[str, Any], steps: Sequence[Step], storage: Storage, outdated: Sequence[str] = ()
) -> Side:
    """A data set by what a config would decide in it, from the steps of the config's job. `outdated`: labels of those
    that have not made their columns here as a run would. Raises ConfigError where there is no data set, or where the
    config decides nothing."""
    shards = _shards(storage)
    decisions, left_out = judgeable(steps, shards)
    if not decisions:
        raise ConfigError(f"{name} decides nothing: it has no filters; compare a config whose pipeline selects")
    absent = {step for one in left_out for step in one.steps}
    stale = tuple(step for step in outdated if step not in absent)
    return Side(name, storage, shards, record_of(name, config, steps), decisions, left_out, stale)


def not_ended(side: Side) -> ShardError | None:
    """What to tell of a data set whose last run was stopped, or gave shards up: they may be decided by the settings of
    one run, the rest by those of another. None where every decision is in the manifest, as it is at a run's end."""
    if side.decisions is not None:
        return None
    steps = [one.step for one in side.record.decisions] if side.record is not None else [Select.name]
    ended, log = {entry.place for entry in Manifest.read(side.storage).entries}, CommitLog(side.storage)
    made = {(step, shard, mark) for step in steps for shard, marks in log.names(step).items() for mark in marks}
    shards = len({shard for _, shard, _ in made - ended})
    if not shards:
        return None
    return ShardError(
        f"decisions on {shards} of {len(side.shards)} shards are not in its manifest: a run was stopped, or gave them "
        "up, so they may be by other settings than those on the rest; run its config to the end"
    )


@dataclass
class Troubles:
    """What could not be read, or not be relied on, in words, each once and at most 20 of them."""

    told: dict[str, None] = field(default_factory=dict)

    def add(self, side: Side, error: CurateError) -> None:
        """Tell of an error that a side raised."""
        text = f"{side.name}: {error}"
        if len(self.told) < MOST_TROUBLES:
            self.told[text] = None
        elif text not in self.told:
            self.told["there were more that are not listed"] = None


@dataclass(frozen=True)
class Reader:
    """A side's rows of one unit, shard by shard."""

    side: Side
    unit: str
    verdicts: Verdicts
    troubles: Troubles

    def table(self, shard: Shard) -> Shard:
        """The table that has the unit's rows."""
        return shard.parts if self.unit == PARTS else shard

    def codes(self, number: int) -> Codes | None:
        """The verdict on each row of a shard; None where its rows cannot even be counted."""
        shard = self.side.shards[number]
        try:
            rows = self.table(shard).rows()
        except CurateError as error:
            self.troubles.add(self.side, error)
            return None
        try:
            codes = self.verdicts.read(self.table(self.side.decided(shard)), self.side.prefix(self.unit))
            if len(codes) != rows:
                raise ShardError(f"shard {shard.id} has {rows} {self.unit} and {len(codes)} decisions; run it again")
        except CurateError as error:
            self.troubles.add(self.side, error)
            return np.full(rows, UNDECIDED, np.int32)
        return codes

    def rows(self) -> Iterator[Rows]:
        """All rows, with who they are."""
        for number, shard in enumerate(self.side.shards):
            codes = self.codes(number)
            if codes is None:
                continue
            try:
                identity, wider = who(shard, self.unit)
                if len(identity) != len(codes):
                    raise ShardError(f"column files of shard {shard.id} have different row counts; run it again")
            except CurateError as error:
                self.troubles.add(self.side, error)
                continue
            yield Rows(identity, wider, codes, row_ids(number, np.arange(len(codes))))

    def count(self) -> int:
        """Rows of all shards that can be read."""
        found = 0
        for shard in self.side.shards:
            try:
                found += self.table(shard).rows()
            except CurateError as error:
                self.troubles.add(self.side, error)
        return found


def _shards(storage: Storage) -> tuple[Shard, ...]:
    shards = tuple(shard for shard in in_current_cut(storage, listed_shards(storage)) if "" in shard.families)
    if not shards:
        raise ConfigError(
            f"{storage.root} has no shards; name the folder of a data set, or a config that ends in .toml"
        )
    return shards
