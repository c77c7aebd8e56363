"""The batches of a stage as Arrow tables, a span of batches at a time: what a pipeline outside PyTorch takes.

A span knows where the plan stands at its start, so that spans are read anywhere, in any order, each from its first
byte; to find them the plan is run through once, 4 us an example. A table is a batch: a row for each example.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa

from curate.errors import ConfigError
from curate.handover.layout import members_of
from curate.train.data.loader import Batch, Loader
from curate.train.data.reading import Drawn

__all__ = ["BATCH_SCHEMA", "Span", "batch_table", "span_tables", "spans"]

BATCH_SCHEMA = pa.schema(
    {
        "batch": pa.int64(),
        "row": pa.int32(),
        "source": pa.string(),
        "kind": pa.string(),
        "shard": pa.string(),
        "key": pa.string(),
        "run": pa.int32(),
        "place": pa.int64(),
        "tokens": pa.int64(),
        "cut": pa.bool_(),
        "next_image": pa.bool_(),
        "status": pa.string(),
        "caption": pa.string(),
        "json": pa.string(),
        "picture_names": pa.list_(pa.string()),
        "pictures": pa.list_(pa.binary()),
    }
)
"""`json` is the example's member as the layout has it, null for a hole; `pictures` are encoded, as in the tar."""
PLAIN = ("source", "kind", "shard", "key", "run", "place", "tokens", "cut", "next_image", "status", "caption")


@dataclass(frozen=True)
class Span:
    """`batches` batches from a place of the plan on, with so many `examples`, of all ranks."""

    place: Mapping[str, Any]
    batches: int
    examples: int


def spans(loader: Loader, batches: int) -> list[Span]:
    """What is left of a stage, in spans of so many batches. Raises ConfigError for a stage without an end."""
    stage = loader.stage
    if not (stage.steps or stage.epochs or stage.samples or stage.tokens):
        raise ConfigError(f"stage {stage.name} does not say how long it is; give it steps, epochs, samples or tokens")
    plan = loader.new_plan()
    found: list[Span] = []
    try:
        while True:
            place, before = plan.state(), plan.examples
            taken = sum(1 for _ in islice(plan.batches(), batches))
            if not taken:
                return found
            found.append(Span(place, taken, plan.examples - before))
    finally:
        plan.close()


def span_tables(loader: Loader, span: Span) -> Iterator[pa.Table]:
    """A table of BATCH_SCHEMA for each batch of a span; pictures are not decoded, and the loader does not move."""
    own = copy(loader)
    own.decode, own.unread = False, []
    own.resume({**loader.state(), "place": span.place})
    for batch in islice(own, span.batches):
        yield batch_table(batch)


def batch_table(batch: Batch) -> pa.Table:
    """The examples of a batch in order; `row` is the number of this rank's row."""
    rows = [_record(batch.number, number, drawn) for number, row in enumerate(batch.rows) for drawn in row]
    return pa.Table.from_pylist(rows, BATCH_SCHEMA)


def _record(batch: int, row: int, drawn: Drawn) -> dict[str, Any]:
    members = [] if drawn.example is None else members_of(drawn.example, drawn.kind)
    pictures = [(name, data) for name, data in members if name not in ("json", "txt")]
    return {
        "batch": batch,
        "row": row,
        **{name: getattr(drawn, name) for name in PLAIN},
        "json": next((data.decode() for name, data in members if name == "json"), None),
        "picture_names": [name for name, _ in pictures],
        "pictures": [data for _, data in pictures],
    }
