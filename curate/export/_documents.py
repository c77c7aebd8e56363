"""Documents on their way out: which ones, in which order, and the stage that writes one output shard of a format.

    _document_order.py   which documents leave
    _packed_documents.py the same from a hand-over
    _interleave.py       what becomes of a picture that is missing, text between two pictures
    <format>.py          a `Format`: its settings, and the writer of one output shard

Documents are read as a stream, a source shard at a time, so an output shard takes from as few source shards as it can.
A shuffle puts the source shards in an order by seed and leaves the pages of a shard as they were: every trainer of such
data shuffles tars and a buffer itself, and a full shuffle would read each source shard once per output shard.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from inspect import signature
from itertools import groupby
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
import pyarrow as pa

from curate.document.missing import kept_and_missing
from curate.document.read import documents_at
from curate.errors import ConfigError, ShardError
from curate.export._document_order import digest, find_documents
from curate.export._interleave import Missing, settle
from curate.export._order import current_shards, planned
from curate.export._packed_documents import packed_documents, plan_packed
from curate.handover.manifest import MANIFEST
from curate.manifest import Attempt, CommitLog
from curate.plan import Job
from curate.sample import Document, Picture
from curate.shard import Shard, Slice
from curate.slices import SlicePlan, known_slices, read_plan
from curate.stage import Runtime, Stage
from curate.storage import Storage, plain_errors
from curate.tar import TarWriter

__all__ = [
    "DocumentWriter",
    "Format",
    "PackDocuments",
    "counts_of",
    "export_documents",
    "open_tar",
    "with_options",
]

SUMMARY = "export.json"


class DocumentWriter(Protocol):
    """Writes the documents of one output shard."""

    def add(self, document: Document) -> str | None:
        """Write one document whose pictures are settled; the reason where it must stay out."""
        ...


@dataclass(frozen=True)
class Format(ABC):
    """A consumer's format and its settings. `missing`: what becomes of a slot whose picture is not there, one of the
    `policies` that its readers can live with. `sources`: those of a hand-over that leave, with commas between."""

    name: ClassVar[str]
    policies: ClassVar[tuple[str, ...]] = ("slot", "drop_slot", "drop_document")

    missing: Missing = "drop_slot"
    sources: str = ""

    def __post_init__(self) -> None:
        if self.missing not in self.policies:
            takes = " or ".join(self.policies)
            raise ConfigError(f"--missing {self.missing} does not fit {self.name}, whose readers take {takes}")

    @abstractmethod
    def writer(self, shard: str, attempt: Attempt) -> AbstractContextManager[DocumentWriter]:
        """What writes one output shard; its files are whole when the context ends."""

    def usable(self, picture: Picture) -> Picture:
        """A picture as the format's readers can take it; without bytes and with a status where that cannot be."""
        return picture

    def finish(self, target: Storage, counts: dict[str, dict[str, int]]) -> None:
        """Write the files that need all shards: `sizes.json`, documents per tar. `counts` of each shard, in order."""
        sizes = {f"{shard}.tar": own["kept"] for shard, own in counts.items()}
        target.write("sizes.json", json.dumps(sizes, indent=1).encode())


F = TypeVar("F")


def with_options(format: type[F], options: Mapping[str, Any]) -> F:
    """The format (a dataclass of its settings) with these. Raises ConfigError for one that it does not have."""
    known, name = list(signature(format).parameters), getattr(format, "name", "")
    unknown = [option for option in options if option not in known]
    if unknown:
        own = ", ".join(f"--{option.replace('_', '-')}" for option in known)
        raise ConfigError(f"format {name} takes no --{unknown[0].replace('_', '-')}; it takes {own}")
    try:
        return format(**options)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def export_documents(
    format: Format, source: Storage, shard_samples: int, shuffle: bool, seed: int
) -> tuple[Job, Callable[[Storage], dict[str, Any]]]:
    """The job that writes the kept documents of `source` in a format, and what completes it. Raises ConfigError."""
    if shard_samples < 1:
        raise ConfigError(f"--shard-samples {shard_samples} is out of range: at least 1")
    drawn = seed if shuffle else None
    slices: Callable[[Storage], Iterator[Slice]] = partial(_plan, format, source, shard_samples, drawn)
    if source.exists(MANIFEST):
        slices = plan_packed(source, shard_samples, drawn, format.name, asdict(format))
    elif format.sources:
        raise ConfigError(f"--sources {format.sources}: {source.root} is no hand-over and has no named sources")
    job = Job(steps=(PackDocuments(source.root, format),), slices=slices, known_slices=known_slices)
    return job, partial(_finish, format)


def _plan(format: Format, source: Storage, shard_samples: int, seed: int | None, target: Storage) -> Iterator[Slice]:
    if target.root == source.root:
        raise ConfigError(f"{target.root} is the data set itself; choose another --out")
    shards = current_shards(source, documents=True)
    decided = [s for s in shards if "keep" in s.column_files]
    chosen = find_documents(decided or shards, seed)
    undecided = [s.id for s in shards if s not in (decided or shards)]
    identity = {"documents": digest(source, chosen), "undecided": undecided}
    settings = {"shard_samples": shard_samples, "seed": seed, "format": format.name, "options": asdict(format)}
    other = "other documents, order, format or settings"
    yield from planned(target, SlicePlan(identity, settings), other, _cut(chosen, shard_samples))


def _cut(chosen: pa.Table, samples: int) -> Iterator[pa.Table]:
    return (chosen.slice(start, samples) for start in range(0, len(chosen), samples))


@dataclass(frozen=True)
class PackDocuments(Stage):
    """Writes one output shard. `origin` is the data set that the documents come from."""

    origin: str = field(metadata={"runtime": True})
    format: Format

    name: ClassVar[str] = "pack"

    @property
    def reads(self) -> tuple[str, ...]:
        return ("source",)

    @property
    def writes(self) -> tuple[str, ...]:
        return ("documents",)

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        plan, counts = shard.source(), attempt.counts
        counts.update({"in": len(plan), "kept": 0})
        with self.format.writer(shard.id, attempt) as writer:
            for document in _documents(Storage(self.origin), plan):
                ready, reason = settle(document, self.format.missing, self.format.usable, counts)
                reason = reason or writer.add(ready)
                counts["kept" if reason is None else f"dropped.{reason}"] += 1


def _documents(origin: Storage, plan: pa.Table) -> Iterator[Document]:
    """The documents of a slice in its order, of a data set or of a hand-over."""
    return packed_documents(origin, plan) if "kind" in plan.column_names else _planned(origin, plan)


def _planned(origin: Storage, plan: pa.Table) -> Iterator[Document]:
    """The documents of a slice in its order. Raises ShardError when the data set no longer has one of them."""
    for name, group in groupby(plan.to_pylist(), key=lambda row: row["shard"]):
        rows, shard = list(group), Shard(origin, name)
        numbers = np.array([row["row"] for row in rows])
        for row, document in zip(rows, documents_at(shard, numbers, kept_and_missing(shard)), strict=True):
            if document.key != row["key"]:
                raise ShardError(f"shard {name} in {origin.root} has no document {row['key']} any more; export anew")
            key = f"{document.key}-{row['copy']}" if row["copy"] else document.key
            yield replace(document, key=key, columns={**document.columns, "url_repeats": row["url_repeats"]})


def _finish(format: Format, target: Storage) -> dict[str, Any]:
    """Write what needs all shards, and `export.json`; answers what was written."""
    plan = read_plan(target)
    wanted = {piece.shard for piece in plan.slices} if plan else set()
    counts = {c.shard: dict(c.counts) for c in CommitLog(target).fold([PackDocuments.name]) if c.shard in wanted}
    format.finish(target, dict(sorted(counts.items())))
    total: Counter[str] = Counter()
    for own in counts.values():
        total.update(own)
    told: dict[str, Any] = {
        "shards": len(counts),
        "documents": total["kept"],
        "documents_left_out": counts_of(total, "dropped."),
        "slots": total["slots"],
        "slots_without_picture": counts_of(total, "missing."),
        "pictures_left_out": counts_of(total, "left_out."),
        "shards_without_selection": len(plan.identity["undecided"]) if plan else 0,
    }
    settings = plan.settings if plan else {}
    target.write(SUMMARY, json.dumps({**told, "settings": settings, "per_shard": counts}, indent=1).encode())
    return told


def counts_of(counts: Counter[str], prefix: str) -> dict[str, int]:
    """Those above 0 whose name begins so, by the rest of it, sorted."""
    named = ((name.removeprefix(prefix), count) for name, count in sorted(counts.items()) if name.startswith(prefix))
    return {name: count for name, count in named if count}


@contextmanager
def open_tar(attempt: Attempt, name: str) -> Iterator[TarWriter]:
    """A tar of this attempt, whole when the context ends."""
    path = attempt.path(name)
    with plain_errors(f"write {path}"), open(path, "wb") as target:
        tar = TarWriter(target)
        yield tar
        tar.finish()
