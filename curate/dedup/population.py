"""Which documents and parts of a shard a barrier looks at: those that a round of decisions left."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.dedup.groups import Rows
from curate.document.columns import part_names
from curate.document.select import prefix
from curate.shard import Shard

__all__ = ["URL_DUPLICATE_OF", "Population"]

URL_DUPLICATE_OF = "url_duplicate_of"


@dataclass(frozen=True)
class Population:
    """Documents kept by round `documents_round`; of them, with `distinct_urls`, those that are no copy of another by
    URL; and in these the parts of one `kind` kept by round `parts_round`."""

    documents_round: str
    parts_round: str
    distinct_urls: bool
    kind: str

    @property
    def document_reads(self) -> tuple[str, ...]:
        """Columns of documents that say which ones are looked at."""
        return (f"{prefix(self.documents_round)}keep", *((URL_DUPLICATE_OF,) if self.distinct_urls else ()))

    @property
    def part_reads(self) -> tuple[str, ...]:
        """Columns of parts, without the prefix of parts."""
        return ("document", "kind", f"{prefix(self.parts_round)}keep")

    @property
    def reads(self) -> tuple[str, ...]:
        """All of them, as a step names them."""
        return (*self.document_reads, *part_names(self.part_reads))

    def documents(self, shard: Shard) -> npt.NDArray[np.bool_]:
        """Which documents of a shard are looked at, one entry per row."""
        columns = shard.columns(self.document_reads)
        looked_at = columns[0]
        if self.distinct_urls:
            looked_at = pc.and_(looked_at, pc.is_null(columns[URL_DUPLICATE_OF]))
        return np.asarray(pc.fill_null(looked_at, False), dtype=bool)

    def parts(self, shard: Shard, column: str) -> tuple[int, Rows, pa.Table]:
        """How many parts a shard has, which are looked at, and of these `document` and `column`, without its nulls."""
        document, kind, keep = self.part_reads
        table = shard.parts.columns([*self.part_reads, column])
        rows = np.asarray(table[document], dtype=np.int64)
        looked_at = pc.and_(pc.and_(table[keep], pc.equal(table[kind], self.kind)), table[column].is_valid())
        chosen = np.asarray(pc.fill_null(looked_at, False), dtype=bool)
        chosen &= self.documents(shard)[rows]
        return len(table), np.flatnonzero(chosen), table.select([document, column]).filter(pa.array(chosen))
