"""How often a line occurs on the pages of one domain: bars of links, share buttons, notices inside longer paragraphs.

`curate.dedup.paragraphs` counts whole paragraphs. A block of text that has a line of its own beside "Share on Facebook"
equals no other, so its lines are counted one by one. A line is never cut out of a text: for each block it is written
how many documents of the domain have each of its lines and how long these are, and the share of its characters that
stand on many pages is for a bound to judge (`filters/line_frequency.py`). So another bound counts nothing again.

Lines are exchanged between shards like paragraphs: memory is bounded by `bin_rows`, and nothing depends on how
documents are packed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.dedup.digest import Digests, digest_strings, join_digests
from curate.dedup.exchange import Exchange
from curate.dedup.groups import Groups, Rows
from curate.dedup.paragraphs import ParagraphFrequency, normal_texts
from curate.manifest import Attempt
from curate.shard import Shard

__all__ = ["LineFrequency"]

LINES_PER_PART = 4
"""A guess for the number of bins; it changes nothing else."""
DOCUMENTS = "documents"


@dataclass(frozen=True)
class LineFrequency(ParagraphFrequency):
    """Writes, for each block of text, a list with an entry for each line, in their order: `part.line_documents`
    (int64), documents of the domain that have the line, null for an empty one; and `part.line_chars` (int32), its
    characters without needless white space. Null for pictures, and in documents without a URL.

    A line ends at "\\n". `domain` and `text` as for paragraphs: which pages count together, and which lines are equal.
    """

    name: ClassVar[str] = "line_frequency"

    @property
    def counted(self) -> tuple[str, str]:
        return "line_documents", "line_chars"

    def run(self, shards: Sequence[Shard], attempt: Attempt) -> None:
        rows = LINES_PER_PART * sum(shard.parts.rows() for shard in shards)
        with Exchange(attempt.scratch / "exchange", rows, self.bin_rows) as exchange:
            for shard in shards:
                lines = self._lines(shard)
                there = np.flatnonzero(lines.chars > 0)
                summary = partial(_within_shard, lines.documents[there])
                exchange.ask(len(lines.chars), there, lines.digests(there), summary)
                attempt.counts["counted"] += len(there)
            for shard, answer in zip(shards, exchange.answers(partial(_over_shards, attempt)), strict=True):
                own = self._lines(shard).columns(answer[DOCUMENTS].combine_chunks())
                table = pa.table(dict(zip(self.counted, own, strict=True)))
                key = shard.parts.columns(["key"])["key"]
                attempt.write_table(shard.parts.table_name(self.name), table.add_column(0, "key", key))

    def _lines(self, shard: Shard) -> _Lines:
        total, rows, blocks = self.population.parts(shard, "text")
        known, domains = self._domains(shard.columns(["url"])["url"])
        documents = np.asarray(blocks["document"], np.int64)
        chosen = known[documents]
        split = pc.split_pattern(blocks["text"].filter(pa.array(chosen)).combine_chunks(), "\n")
        of_lines = np.repeat(documents[chosen], np.asarray(pc.list_value_length(split), np.int64))
        lines = pa.chunked_array([split.flatten()], pa.string())
        normal = normal_texts(lines)
        chars = np.asarray(pc.utf8_length(normal), np.int32)
        counts = np.zeros(total, np.int64)
        counts[rows[chosen]] = pc.list_value_length(split)
        missing = np.ones(total, bool)
        missing[rows[chosen]] = False
        return _Lines(lines if self.text == "exact" else normal, chars, of_lines, domains, counts, missing)


class _Lines(NamedTuple):
    """The lines of a shard, one behind the other: as they are compared, their characters, and their documents; the
    domain of each document; how many lines each part has, and which parts have no answer."""

    texts: pa.ChunkedArray
    chars: npt.NDArray[np.int32]
    documents: Rows
    domains: Digests
    counts: npt.NDArray[np.int64]
    missing: npt.NDArray[np.bool_]

    def digests(self, there: Rows) -> Digests:
        """Of some lines, each together with its domain."""
        return join_digests(self.domains[self.documents[there]], digest_strings(self.texts.take(pa.array(there))))

    def columns(self, documents: pa.Array) -> tuple[pa.ListArray, pa.ListArray]:
        """A list for each part, from what was found for each line, and of their characters."""
        offsets = pa.array(np.append(0, np.cumsum(self.counts)).astype(np.int32))
        mask = pa.array(self.missing)
        one, other = (pa.ListArray.from_arrays(offsets, v, mask=mask) for v in (documents, pa.array(self.chars)))
        return one, other


def _within_shard(documents: Rows, groups: Groups) -> pa.Table:
    """How many documents have each line; lines stand in the order of their documents, and groups keep it."""
    of = documents[groups.order]
    new = np.ones(len(of), np.int64)
    new[1:] = of[1:] != of[:-1]
    new[groups.starts] = 1
    return pa.table({DOCUMENTS: np.add.reduceat(new, groups.starts) if len(groups) else groups.starts})


def _over_shards(attempt: Attempt, groups: Groups, found: pa.Table) -> pa.Table:
    attempt.counts["distinct"] += len(groups)
    return pa.table({DOCUMENTS: groups.sum(np.asarray(found[DOCUMENTS]))})
