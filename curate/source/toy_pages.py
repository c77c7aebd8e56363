"""Pages of the toy web as a source: known truth for extraction, fetched over HTTP as any others.

`toy_page` is the page's number, and `toy_parts` what a careful reader would take from it, in order: `kind` (text or
image) and `value` (the text, the picture's URL). They are carried along, so that a report can state how much was found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import pyarrow as pa

from curate.fetch.pages import read_fetched_pages
from curate.shard import Shard
from curate.source.raw_page import RawPage
from curate.stage import settings_of
from curate.toyweb.defects import shares
from curate.toyweb.pages import page
from curate.toyweb.plan import Plan
from curate.toyweb.server import serve

__all__ = ["ToyPages"]

_VERSION = 1
_BATCH_ROWS = 1000
_PART = pa.struct([("kind", pa.string()), ("value", pa.string())])
_SCHEMA = pa.schema([("url", pa.string()), ("toy_page", pa.int64()), ("toy_parts", pa.list_(_PART))])


@dataclass(frozen=True)
class ToyPages:
    """The first `count` pages of the toy web of a `seed`, three pictures on each. `shares` (0 to 1) override those of
    DEFECTS by label, for the pictures."""

    fetches_pages: ClassVar[bool] = True

    count: int = 200
    seed: int = 0
    shares: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count = {self.count} must be at least 1")
        shares(self.shares)

    def identity(self) -> Any:
        return {"version": _VERSION, "settings": settings_of(self), "shares": shares(self.shares)}

    def parts(self) -> Iterator[Iterator[pa.RecordBatch]]:
        yield self._batches()

    def known_columns(self) -> tuple[str, ...]:
        return tuple(_SCHEMA.names)

    @contextmanager
    def serve(self) -> Iterator[Mapping[str, str]]:
        """Serves pages and pictures on the loopback; the key `*` stands for every host."""
        with serve(Plan(self.seed, self.shares)) as address:
            yield {"*": address}

    def pages(self, rows: pa.Table, shard: Shard) -> Iterator[RawPage]:
        """One per row, as the shard's archive has them."""
        return read_fetched_pages(rows, shard)

    def page_identity(self) -> None:
        """What was fetched says it all."""

    def _batches(self) -> Iterator[pa.RecordBatch]:
        plan = Plan(self.seed, self.shares)
        for start in range(0, self.count, _BATCH_ROWS):
            pages = [(n, page(plan, n)) for n in range(start, min(start + _BATCH_ROWS, self.count))]
            records = [{"url": p.url, "toy_page": n, "toy_parts": [asdict(part) for part in p.parts]} for n, p in pages]
            yield pa.RecordBatch.from_pylist(records, _SCHEMA)
