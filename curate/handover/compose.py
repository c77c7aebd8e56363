"""Several data sets and sets of others, as one folder of shards: who takes part, how they are cut, and which steps run.

    compose_source.py     what a source is asked for, and what it answers
    compose_sets.py       data sets of ours: pairs (compose_pairs.py) and documents (compose_documents.py)
    carried.py            sets of others, carried unchanged: conversations and texts
    compose_stage.py      packs a shard
    tokenizers.py         counts tokens

Shards are numbered through, those of a source are adjacent, in the order of the config. A cut that was made is kept
while sources are what they were; after a change it is made anew, and only shards whose slice differs are packed again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from curate.config import build
from curate.errors import ConfigError
from curate.handover.carried import Chat, Prose
from curate.handover.compose_sets import DataSet
from curate.handover.compose_source import ComposedSource, Facts, ShardSettings
from curate.handover.compose_stage import Compose
from curate.handover.layout import Kind
from curate.handover.tokenizers import Tokens
from curate.models.tokenizers import TokenizerSettings
from curate.registry import nearest
from curate.shard import Slice
from curate.slices import SlicePlan, read_plan, write_cut
from curate.stage import Step
from curate.storage import Storage

__all__ = ["Composition", "build_composition", "source_facts"]

PIPELINE = "compose"
_NAME = re.compile("[a-z][a-z0-9_]*")
_KINDS: Mapping[str, type[Any]] = {"": DataSet, "pairs": DataSet, "interleaved": DataSet, "chat": Chat, "text": Prose}


@dataclass(frozen=True)
class Composition:
    """The sources by name, in the order of their shards; tokenizers by name; how sources are cut."""

    sources: Mapping[str, ComposedSource]
    tokenizers: Mapping[str, TokenizerSettings] = field(default_factory=dict)
    shards: ShardSettings = field(default_factory=ShardSettings)

    def kinds(self) -> dict[str, Kind]:
        """The kind of each source's examples. Raises ShardError, ConfigError."""
        return {name: source.example_kind() for name, source in self.sources.items()}

    def steps(self) -> tuple[Step, ...]:
        """Pack, then count tokens."""
        located = {name: source.located() for name, source in self.sources.items()}
        pack = Compose(located, self.shards.samples)
        counted = {name: tokenizer.located() for name, tokenizer in self.tokenizers.items()}
        return (pack, Tokens(counted)) if counted else (pack,)

    def slices(self, target: Storage) -> Iterator[Slice]:
        """Cut all sources, or answer the cut that is there. Raises CurateError for an input that cannot be read or has
        no examples, and where the folder holds another data set."""
        plan, identity = self._plan(target), self._identity()
        if plan is not None and plan.complete and plan.identity == identity:
            yield from plan.slices
            return
        facts: dict[str, Facts] = {name: {} for name in self.sources}
        wanted = SlicePlan(identity, {"pipeline": PIPELINE, "sources": facts})  # the facts are filled while it is cut
        yield from write_cut(target, wanted, self._tables(facts), plan.slices if plan else ())

    def known_slices(self, target: Storage) -> list[Slice] | None:
        """The slices, where sources are what they were when they were cut; None where they must be read to tell."""
        plan = self._plan(target)
        fits = plan is not None and plan.complete and plan.identity == self._identity()
        return list(plan.slices) if plan is not None and fits else None

    def _identity(self) -> Any:
        shards = [self.shards.samples, self.shards.shuffle, self.shards.seed]
        sources = [[name, source.identity()] for name, source in self.sources.items()]
        return json.loads(json.dumps({"shards": shards, "sources": sources}))

    def _plan(self, target: Storage) -> SlicePlan | None:
        """The cut that is there, if it is of a composition. Raises ConfigError for another one."""
        for name, source in self.sources.items():
            if Storage(source.path).root == target.root:
                raise ConfigError(f"{target.root} is source {name} itself; choose another --out")
        plan = read_plan(target)
        if plan is not None and dict(plan.settings).get("pipeline") != PIPELINE:
            raise ConfigError(f"{target.root} holds another data set; choose another --out")
        return plan

    def _tables(self, facts: Mapping[str, Facts]) -> Iterator[pa.Table]:
        for name, source in self.sources.items():
            kind = facts[name]["kind"] = source.example_kind()
            empty = True
            for table in source.tables(self.shards, facts[name]):
                empty = False
                for column, value in (("source", name), ("kind", kind)):
                    table = table.append_column(column, pa.array([value] * len(table), pa.string()))
                yield table
            if empty:
                raise ConfigError(f"[sources.{name}] {source.path} has no examples to hand over; leave it out")


def build_composition(
    sources: Mapping[str, Any],
    tokenizers: Mapping[str, Any],
    shards: ShardSettings | None = None,
    limit: int | None = None,
) -> Composition:
    """The composition of the tables `[sources.*]` and `[tokenizers.*]`. `limit`: so many examples of each source at
    most. Raises ConfigError."""
    if not sources:
        raise ConfigError("the config has no [sources.NAME]; write one for each data set that takes part")
    found: dict[str, ComposedSource] = {}
    for name, table in sources.items():
        source = _source(name, table)
        found[name] = source if limit is None else source.drawn(limit)
    counted = {}
    for name, table in tokenizers.items():
        _require_name("tokenizers", name, table)
        counted[name] = build(TokenizerSettings, table, f"tokenizers.{name}")
    return Composition(found, counted, shards or ShardSettings())


def source_facts(target: Storage) -> dict[str, dict[str, Any]]:
    """What the cut found out about each source: `kind`, `examples` (rows of its slices), and what stayed out before it
    was cut: `samples_without_text`, `shards_without_selection`. Empty where nothing was cut to its end."""
    plan = read_plan(target)
    return dict(plan.settings["sources"]) if plan is not None and plan.complete else {}


def _source(name: str, table: object) -> ComposedSource:
    section = _require_name("sources", name, table)
    kind = section.get("kind", "")
    if kind not in _KINDS:
        known = nearest(str(kind), sorted(filter(None, _KINDS)))
        raise ConfigError(f"[sources.{name}] kind = {kind!r} is not one of them; {known}")
    found: ComposedSource = build(_KINDS[kind], section, f"sources.{name}")
    return found


def _require_name(section: str, name: str, table: object) -> Mapping[str, Any]:
    if not isinstance(table, Mapping):
        raise ConfigError(f"[{section}] {name} must be a table; write [{section}.{name}]")
    if not _NAME.fullmatch(name):
        raise ConfigError(f"[{section}.{name}]: a name is of small letters, digits and _, and begins with a letter")
    return table
