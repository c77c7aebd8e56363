"""What a card tells and a manifest does not: the columns of a source, the files in its tars, its languages.

It is read from the tables beside the tars: of one shard of each source the footer, of every shard's index one column
(an extension a file, 1 ms of one core for 10,000 examples). No picture is opened and no tar is read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import ConfigError
from curate.handover.histograms import BINS, add_shard
from curate.handover.manifest import MANIFEST, Manifest, as_manifest, read_record, require_valid
from curate.shard import Shard
from curate.storage import Storage

__all__ = ["Facts", "SourceFacts", "read_facts", "shard_globs"]

READERS = 16
LANGUAGE_COLUMNS = ("language", "text_language")
RARE_RATIO = 0.01
"""A language that fewer of the rows have is not named."""
NAME = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_.-]*")
DIGITS = frozenset("0123456789")


@dataclass(frozen=True)
class SourceFacts:
    """Of one source that has shards. `contents`: as `totals.by_source` of a manifest; `shards`: their ids; `schema`: of
    its sample tables; `extensions`: of the members of its tars, sorted; `languages`: codes, the most frequent first."""

    contents: Mapping[str, Any]
    shards: tuple[str, ...]
    schema: pa.Schema
    extensions: tuple[str, ...]
    languages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """A manifest, the least values of its histograms' bins, and by source what lies beside it."""

    manifest: Manifest
    bins: Mapping[str, Sequence[float]]
    sources: Mapping[str, SourceFacts] = field(default_factory=dict)

    @property
    def samples(self) -> int:
        """All examples."""
        return sum(own.contents["samples"] for own in self.sources.values())


def read_facts(storage: Storage) -> Facts:
    """What a hand-over tells of itself. Raises ShardError where its manifest or a table cannot be read, ConfigError for
    a source whose name cannot be one of a config of Hugging Face datasets."""
    record = read_record(storage)
    require_valid(record, f"{MANIFEST} in {storage.root}")
    by_source: dict[str, Any] = {}
    ids: dict[str, list[str]] = {}
    for shard in record["shards"]:
        add_shard(by_source, shard)
        ids.setdefault(shard["source"], []).append(shard["id"])
    for name in record["sources"]:
        if not NAME.fullmatch(name):
            raise ConfigError(f"source {name!r} of {MANIFEST}: a card takes names of letters, digits, _, . and -")
    with ThreadPoolExecutor(READERS) as pool:
        found = {n: _source(pool, storage, by_source[n], ids[n]) for n in record["sources"] if n in ids}
    return Facts(as_manifest(record), record.get("bins") or BINS, found)


def shard_globs(shards: Sequence[str]) -> list[str]:
    """Patterns that match these ids and no other one, ten, a hundred, ... of them in one: `0001[0-9]`."""
    found = [(shard, "") for shard in shards]
    for wide in range(max(map(len, shards), default=0)):
        groups: dict[str, set[str]] = {}
        for head, tail in found:
            if head and tail == "[0-9]" * wide:
                groups.setdefault(head[:-1], set()).add(head[-1])
        whole = {head for head, ends in groups.items() if ends == DIGITS}
        merged = [
            (head[:-1], f"[0-9]{tail}") if head[:-1] in whole and tail == "[0-9]" * wide else (head, tail)
            for head, tail in found
        ]
        found = list(dict.fromkeys(merged))
    return [head + tail for head, tail in found]


def _source(pool: ThreadPoolExecutor, storage: Storage, contents: Mapping[str, Any], ids: list[str]) -> SourceFacts:
    shards = [Shard(storage, name) for name in ids]
    schema = shards[0].schema()
    spoken = [name for name in LANGUAGE_COLUMNS if name in schema.names and pa.types.is_string(schema.field(name).type)]
    extensions: set[str] = set()
    languages: Counter[str] = Counter()
    for own, heard in pool.map(lambda shard: _shard(shard, spoken), shards):
        extensions |= own
        languages.update(heard)
    return SourceFacts(contents, tuple(ids), schema, tuple(sorted(extensions)), tuple(_named(languages)))


def _shard(shard: Shard, spoken: Sequence[str]) -> tuple[set[str], dict[str, int]]:
    extensions = set(pc.unique(shard.table("index", ["extension"])["extension"]).to_pylist())
    if not spoken:
        return extensions, {}
    counts = pc.value_counts(shard.table("", [spoken[0]])[spoken[0]]).to_pylist()
    return extensions, {own["values"]: own["counts"] for own in counts if own["values"]}


def _named(languages: Counter[str]) -> Iterator[str]:
    """Codes of two or three letters."""
    least = RARE_RATIO * languages.total()
    for name, count in sorted(languages.items(), key=lambda own: (-own[1], own[0])):
        if count >= least and re.fullmatch("[a-z]{2,3}", name):
            yield name
