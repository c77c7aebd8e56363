"""The toy web as a source: rows with known truth, and the server that holds their pictures while they are fetched.

`toy_defect` is the row's label and `toy_scene` the canonical caption of what its picture shows (null where no picture
of it can arrive). Both are carried along as any other column, so that a report can state precision and recall.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from curate.stage import settings_of
from curate.toyweb.caption import describe
from curate.toyweb.defects import DEFECTS, shares
from curate.toyweb.plan import Plan, Row
from curate.toyweb.server import serve

__all__ = ["ToyWeb"]

_VERSION = 2
_BATCH_ROWS = 1000
_SCHEMA = pa.schema(
    {
        "url": pa.string(),
        "caption": pa.string(),
        "toy_defect": pa.string(),
        "toy_scene": pa.string(),
        "toy_picture": pa.int64(),
    }
)


@dataclass(frozen=True)
class ToyWeb:
    """`samples` rows of the toy web of a `seed`. `shares` (0 to 1) override those of DEFECTS by label."""

    samples: int = 600
    seed: int = 0
    shares: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"samples = {self.samples} must be at least 1")
        shares(self.shares)

    def identity(self) -> Any:
        return {"version": _VERSION, "settings": settings_of(self), "shares": shares(self.shares)}

    def parts(self) -> Iterator[Iterator[pa.RecordBatch]]:
        yield self._batches()

    def known_columns(self) -> tuple[str, ...]:
        return tuple(_SCHEMA.names)

    @contextmanager
    def serve(self) -> Iterator[Mapping[str, str]]:
        """Serves on the loopback; the key `*` stands for every host."""
        with serve(self._plan()) as address:
            yield {"*": address}

    def _plan(self) -> Plan:
        return Plan(self.seed, self.shares)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        plan = self._plan()
        for start in range(0, self.samples, _BATCH_ROWS):
            rows = [_record(row) for row in plan.rows(start, min(start + _BATCH_ROWS, self.samples))]
            yield pa.RecordBatch.from_pylist(rows, _SCHEMA)


def _record(row: Row) -> dict[str, str | int | None]:
    scene = describe(row.scene) if DEFECTS[row.defect].scene else None
    picture = row.number if row.original is None else row.original
    words = {"url": row.url, "caption": row.caption, "toy_defect": row.defect, "toy_scene": scene}
    return {**words, "toy_picture": picture}
