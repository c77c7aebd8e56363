"""Scorers on the two tables of a shard of documents: on its parts, and on the documents that the kept parts make.

The text of a document is not stored a second time. It is put together from its kept blocks when a scorer asks for the
column `text`, which costs little beside any scorer that reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.document.columns import TEXT, part_names
from curate.document.read import read_pictures
from curate.document.select import prefix, rounded
from curate.score import Score
from curate.shard import Shard

__all__ = ["ScoreDocuments", "ScoreParts", "document_texts"]

CHUNK_BYTES = 256 << 20


@dataclass(frozen=True)
class ScoreParts(Score):
    """One scorer on every part: its columns lie beside the table of parts."""

    name: ClassVar[str] = "score_parts"

    @property
    def label(self) -> str:
        return f"score_parts_{self.scorer.name}"

    @property
    def reads(self) -> tuple[str, ...]:
        return part_names(self.scorer.reads)

    @property
    def writes(self) -> tuple[str, ...]:
        return part_names(self.scorer.writes)

    def rows_of(self, shard: Shard) -> Shard:
        return shard.parts

    def pictures(self, shard: Shard) -> Iterator[tuple[str, bytes]]:
        return read_pictures(shard)


@dataclass(frozen=True)
class ScoreDocuments(Score):
    """One scorer on every document, as a round left it: `text` are its kept blocks, joined by their separators."""

    round: str = "read"

    name: ClassVar[str] = "score_documents"

    @property
    def label(self) -> str:
        return f"score_documents_{self.scorer.name}"

    @property
    def reads(self) -> tuple[str, ...]:
        from_parts = part_names(("document", "kind", "text", "separator", f"{prefix(self.round)}keep"))
        own = rounded((name for name in self.scorer.reads if name != TEXT), self.round)
        return (*own, *(from_parts if TEXT in self.scorer.reads else ()))

    def inputs(self, shard: Shard, names: Sequence[str]) -> pa.Table:
        stored = [name for name in names if name != TEXT]
        table = shard.columns(rounded(stored, self.round)).rename_columns(stored)
        if TEXT in names:
            table = table.append_column(TEXT, document_texts(shard, f"{prefix(self.round)}keep"))
        return table


def document_texts(shard: Shard, keep: str) -> pa.ChunkedArray:
    """The text of every document of a shard, string, "" where none of its blocks is kept by the column `keep`."""
    parts = shard.parts.columns(["document", "kind", "text", "separator", keep])
    parts = parts.filter(pc.and_(parts[keep], pc.equal(parts["kind"], TEXT)))
    rows = np.asarray(parts["document"].combine_chunks(), dtype=np.int64)
    first = np.ones(len(rows), dtype=bool)
    first[1:] = rows[1:] != rows[:-1]
    separators = pc.if_else(pa.array(first), "", parts["separator"])
    pieces = pc.binary_join_element_wise(separators, parts["text"], "")
    starts = np.searchsorted(rows, np.arange(shard.rows() + 1))
    return pa.chunked_array(list(_joined(pieces, starts)), pa.string())


def _joined(pieces: pa.ChunkedArray, starts: np.ndarray) -> Iterator[pa.Array]:
    """The pieces of each document as one string, in arrays of a bounded size."""
    sizes = np.asarray(pc.fill_null(pc.binary_length(pieces), 0).combine_chunks(), dtype=np.int64)
    ends = np.concatenate([[0], np.cumsum(sizes)])[starts]
    start = 0
    while start < len(starts) - 1:
        stop = max(start + 1, int(np.searchsorted(ends, ends[start] + CHUNK_BYTES, side="right")) - 1)
        own = pieces.slice(starts[start], starts[stop] - starts[start])
        flat = own.combine_chunks() if isinstance(own, pa.ChunkedArray) else own
        offsets = pa.array(starts[start : stop + 1] - starts[start], pa.int32())
        yield pc.binary_join(pa.ListArray.from_arrays(offsets, flat), "")
        start = stop
