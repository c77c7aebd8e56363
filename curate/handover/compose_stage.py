"""Packs one shard of a hand-over: the tar of one source's examples, its index, and a row of facts per example.

    00000.tar                  KEY.jpg KEY.json ...; a key is the shard's id and the row of the slice
    00000.index.parquet        key, extension, offset, size
    00000.parquet              key, source_key, source, kind, images, widths, heights, chars, and a source's own columns
    left_out/00000.jsonl       source_key, place, reason, detail of what cannot be used; only where something cannot

All that the bytes depend on lies in the slice, so a source that is added, or a licence that is corrected, packs no
other shard again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import pyarrow as pa

from curate.fetch.members import indexed_tar, strict_json
from curate.handover.compose_source import ComposedSource, LeftOut, Packed
from curate.manifest import Attempt
from curate.shard import Shard, sample_key
from curate.source.columns import value_column
from curate.stage import Runtime, Stage
from curate.storage import plain_errors

__all__ = ["HANDOVER_COLUMNS", "Compose", "is_composed", "left_out_name"]

HANDOVER_COLUMNS: Mapping[str, pa.DataType] = {
    "key": pa.string(),
    "source_key": pa.string(),
    "source": pa.string(),
    "kind": pa.string(),
    "images": pa.int32(),
    "widths": pa.list_(pa.int32()),
    "heights": pa.list_(pa.int32()),
    "chars": pa.int64(),
}
"""What every sample table of a hand-over begins with. `widths` and `heights` (px) are of the pictures that are there,
in their order; `chars` is the length of all texts."""


def left_out_name(shard: str) -> str:
    """Where a shard tells what it left out."""
    return f"left_out/{shard}.jsonl"


def is_composed(shard: Shard) -> bool:
    """Whether its sample table is that of a composition, whose shards are of several kinds, and not of a data set."""
    return set(HANDOVER_COLUMNS) <= set(shard.schema().names)


@dataclass(frozen=True)
class Compose(Stage):
    """Writes one shard. `shard_samples` are the rows of a full slice, which say how long keys are."""

    sources: Mapping[str, ComposedSource] = field(metadata={"runtime": True})
    shard_samples: int

    name: ClassVar[str] = "compose"

    @property
    def reads(self) -> tuple[str, ...]:
        return ("source",)

    @property
    def writes(self) -> tuple[str, ...]:
        return ("image", *HANDOVER_COLUMNS)

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        plan = shard.source()
        name, kind = plan["source"][0].as_py(), plan["kind"][0].as_py()
        source = self.sources[name]
        rows: list[dict[str, Any]] = []
        left_out: list[LeftOut] = []
        with indexed_tar(shard.id, attempt) as tar:
            for number, item in enumerate(source.examples(plan, attempt.counts)):
                if isinstance(item, LeftOut):
                    left_out.append(item)
                    continue
                key = sample_key(shard.id, number, self.shard_samples)
                with plain_errors(f"write {shard.tar}"):
                    for extension, data in item.members:
                        tar.add(key, extension, data)
                rows.append({**item.row, **_facts(item), "key": key, "source": name, "kind": kind})
        kinds = {**HANDOVER_COLUMNS, **{n: k for n, k in source.columns(plan).items() if n not in HANDOVER_COLUMNS}}
        columns = {n: value_column([row.get(n) for row in rows], k) for n, k in kinds.items()}
        attempt.write_table(shard.table_name(), pa.table(columns))
        _count(attempt, len(plan), rows, left_out)


def _facts(item: Packed) -> dict[str, Any]:
    widths, heights = ([size[side] for size in item.sizes] for side in (0, 1))
    chars = sum(map(len, item.texts))
    images = len(item.sizes)
    return {"source_key": item.source_key, "images": images, "widths": widths, "heights": heights, "chars": chars}


def _count(attempt: Attempt, rows: int, kept: Sequence[Mapping[str, Any]], left_out: Sequence[LeftOut]) -> None:
    """Count what left and why the rest did not, and list the rest."""
    attempt.counts.update({"in": rows, "kept": len(kept), "images": sum(row["images"] for row in kept)})
    attempt.counts.update(f"dropped.{item.reason}" for item in left_out)
    if left_out:
        lines = b"".join(strict_json(asdict(item)) + b"\n" for item in left_out)
        attempt.write_bytes(left_out_name(attempt.shard), lines)
