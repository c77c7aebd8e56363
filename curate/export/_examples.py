"""Examples on their way into a consumer's annotations or tables: which ones, in which order, read one at a time.

Three origins read the same: a data set of pairs, one with the texts of a view (`captions`), and a hand-over folder,
whose `manifest.json` names source and kind of each shard. An output shard has examples of one source, because
consumers weight and mix by source; within a source they are shuffled over all its shards. The driver holds numbers
alone (75 bytes an example, see `curate.export._order`); a worker holds one example and 32 reads under way.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any

import pyarrow as pa

from curate.errors import ConfigError, ShardError
from curate.export._captions import Captions, find_captions, retold
from curate.export._order import Order, find_samples, order_of, planned
from curate.export.webdataset import SOURCE_KEY, read_ahead
from curate.handover.layout import KINDS, Example, example_of
from curate.handover.manifest import MANIFEST, read_manifest
from curate.registry import nearest
from curate.sample import Sample
from curate.shard import IMAGE_EXTENSIONS, Shard, Slice
from curate.slices import SlicePlan
from curate.source.tar_rows import member_row
from curate.source.tar_samples import Group, read_contents
from curate.storage import Storage

__all__ = ["WITHOUT_TEXT", "Wanted", "plan_examples", "read_examples"]

PAIRS = "pairs"
"""Kind of a data set that is no hand-over, and the name of its one source."""
WITHOUT_TEXT = "samples_without_text"
"""In a plan's identity: samples left out because the view keeps no text of them."""


@dataclass(frozen=True)
class Wanted:
    """What a format takes, and what its user asked for. `format` names it, `options` are its own settings.

    `captions` is the view whose texts leave, of a data set of pairs; `sources` names those of a hand-over that leave,
    with commas between, all where it is empty. `takes` are the kinds that the format has a form for.
    """

    format: str
    takes: tuple[str, ...] = KINDS
    captions: str = ""
    sources: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Source:
    """The examples of one source in their order."""

    name: str
    kind: str
    order: Order
    texts: Captions | None = None

    def tables(self, samples: int) -> Iterator[pa.Table]:
        """As `Order.tables`, with `source` and `kind`, and the lists of texts where a view was asked for."""
        places = self.order.tables(samples) if self.texts is None else self.texts.tables(samples)
        for table in places:
            for name, value in (("source", self.name), ("kind", self.kind)):
                table = table.append_column(name, pa.array([value] * len(table), pa.string()))
            yield table

    def told(self, samples: int) -> dict[str, Any]:
        """What the plan says of it: the next `shards` output shards are its own."""
        count = len(self.order.shard)
        shards = -(-count // samples)
        return {"name": self.name, "kind": self.kind, "samples": count, "shards": shards, "order": self.order.digest()}


def plan_examples(
    source: Storage, shard_samples: int, seed: int | None, wanted: Wanted
) -> Callable[[Storage], Iterator[Slice]]:
    """What cuts an export into output shards of `shard_samples` examples of one source each (the last has the rest).

    `seed` None keeps the order of the source. The plan's identity has `sources`: name, kind, samples and number of
    output shards of each, in their order; `undecided`; and WITHOUT_TEXT where a view was asked for. Raises ConfigError
    for a shard size below 1; what is called raises it for a kind that the format has no form for, an unknown source or
    view, and a folder with another export; and ShardError where there is no data set.
    """
    if shard_samples < 1:
        raise ConfigError(f"--shard-samples {shard_samples} is out of range: at least 1")
    return partial(_plan, source, shard_samples, seed, wanted)


def read_examples(origin: Storage, plan: pa.Table) -> Iterator[tuple[dict[str, Any], Example]]:
    """The examples of one output shard in its order, each with its row of the plan: `shard`, `copy`, `offset`, `size`,
    `source`, `kind`, and `source_key`, the key it has in `origin`.

    Keys are unique within an output shard (a copy of KEY is KEY-1). A pair of which its tar has no picture has no
    bytes and no extension. With a view, `caption` is its first text and `columns` has the lists. Raises ShardError
    where the data set has changed, or an example is not what its kind says.
    """
    taken: set[str] = set()
    for place, raw in read_ahead(origin, plan):
        group, data = _group(raw, f"{place['shard']}.tar at byte {place['offset']}")
        key = _free_key(group.key, place["copy"], taken)
        members = {name: raw[m.offset : m.offset + m.size] for name, m in group.members.items()}
        place = {**place, SOURCE_KEY: group.key}
        if place["kind"] == PAIRS:
            yield place, _pair(key, members, member_row(group, data), place)
        else:
            yield place, example_of(place["kind"], key, members)


def _plan(source: Storage, shard_samples: int, seed: int | None, wanted: Wanted, target: Storage) -> Iterator[Slice]:
    if target.root == source.root:
        raise ConfigError(f"{target.root} is the data set itself; choose another --out")
    found = _sources(source, seed, wanted)
    identity: dict[str, Any] = {"sources": [own.told(shard_samples) for own in found]}
    identity["undecided"] = [shard for own in found for shard in own.order.undecided]
    for texts in (own.texts for own in found if own.texts is not None):
        identity |= {"captions": f"{wanted.captions} {texts.digest}", WITHOUT_TEXT: texts.left_out}
    settings = {"shard_samples": shard_samples, "seed": seed, "format": wanted.format, "options": dict(wanted.options)}
    other = "other examples, captions, order, format or settings"
    tables = chain.from_iterable(own.tables(shard_samples) for own in found)
    yield from planned(target, SlicePlan(identity, settings), other, tables)


def _sources(source: Storage, seed: int | None, wanted: Wanted) -> list[_Source]:
    packed = _packed(source)
    if packed is None:
        return [_of_pairs(source, seed, wanted)]
    if wanted.captions:
        raise ConfigError(f"--captions {wanted.captions}: {source.root} is a hand-over, which has its texts already")
    asked = [name.strip() for name in wanted.sources.split(",") if name.strip()]
    for name in asked:
        if name not in packed:
            raise ConfigError(f"--sources: {source.root} has no source {name!r}; {nearest(name, sorted(packed))}")
    chosen = {name: packed[name] for name in packed if not asked or name in asked}
    for name, (kind, _) in chosen.items():
        _require_kind(name, kind, source, wanted)
    return [
        _Source(name, kind, order_of([Shard(source, shard) for shard in shards], seed, packed=True))
        for name, (kind, shards) in chosen.items()
    ]


def _of_pairs(source: Storage, seed: int | None, wanted: Wanted) -> _Source:
    if wanted.sources:
        raise ConfigError(f"--sources {wanted.sources}: {source.root} is no hand-over and has no named sources")
    _require_kind(PAIRS, PAIRS, source, wanted)
    order = find_samples(source, seed)
    texts = find_captions(source, order, wanted.captions) if wanted.captions else None
    return _Source(PAIRS, PAIRS, texts.order if texts else order, texts)


def _packed(source: Storage) -> dict[str, tuple[str, list[str]]] | None:
    """Kind and shards of each source of a hand-over; None where the folder is none. Raises ShardError."""
    if not source.exists(MANIFEST):
        return None
    manifest = read_manifest(source)
    return {name: (own.kind, [shard.id for shard in manifest.of(name)]) for name, own in manifest.sources.items()}


def _require_kind(name: str, kind: str, source: Storage, wanted: Wanted) -> None:
    if kind not in wanted.takes:
        takes = " and ".join(wanted.takes)
        raise ConfigError(
            f"source {name} of {source.root} is of kind {kind}, and {wanted.format} takes {takes}; name the sources "
            "that are to leave with --sources, or choose another format"
        )


def _group(raw: bytes, name: str) -> tuple[Group, io.BytesIO]:
    """The one group of members in these bytes. Raises ShardError when they are not one example."""
    data = io.BytesIO(raw)
    contents = read_contents(data, name)
    groups: Sequence[Group] = list(contents.groups.values())
    if len(groups) != 1 or contents.damage is not None:
        raise ShardError(f"{name} is not the one example that its index says; make the shard anew")
    return groups[0], data


def _pair(key: str, members: Mapping[str, bytes], row: dict[str, Any], place: Mapping[str, Any]) -> Sample:
    """A pair as its members say, whoever wrote them: what is no JSON object counts as empty."""
    if "captions" in place:
        row = json.loads(retold(members, row, place)[0]["json"])
    extension = next((name for name in IMAGE_EXTENSIONS if name in members), "")
    caption = row.get("caption")
    text = caption if isinstance(caption, str) else None
    return Sample(key, members.get(extension, b""), extension, text, row)


def _free_key(key: str, copy: int, taken: set[str]) -> str:
    """The key, or for a copy of it `KEY-1`; the next number where that is taken."""
    name = f"{key}-{copy}" if copy else key
    while name in taken:
        copy += 1
        name = f"{key}-{copy}"
    taken.add(name)
    return name
