"""Near duplicates by meaning (SemDeDup, Abbas et al. 2023): cells of like embeddings, and pairs inside each cell.

The paper groups LAION's embeddings into 50,000 cells by k-means, orders the rows of each, farthest from the centre
first, and removes a row whose largest cosine with one before it is above 1 - eps. Here that cosine is a column, so any
eps is a bound on it and costs a `select`. A row that is removed still suppresses those behind it, so of a chain
a ~ b ~ c, where a and c differ, one is kept or two, depending on the order. Two other rules are there to choose from,
`greedy` and `components`; they need the bound before they start.

Of n rows, each is looked at with k centres to be put into a cell, and with n / 2k rows in it; and a look at a row is
eight times as fast, since bytes do (`semantic_int8`). Both take the same time at k = sqrt(n) / 4, which is the number
of cells unless told otherwise, and fewer cells miss less.

What cells miss is measured each time: of a sample of rows, which pairs lie in different cells.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.config import require_range
from curate.dedup.identity import IDENTITY, keyed
from curate.dedup.kmeans import kmeans
from curate.dedup.prefer import parse_order
from curate.dedup.semantic_misses import count_misses
from curate.dedup.semantic_rows import Embedded, gather
from curate.filter import Rules
from curate.manifest import Attempt
from curate.models.contrast import nearest
from curate.models.pair_scores import image_embedding
from curate.models.settings import check_model_name
from curate.rank import require_one_model
from curate.select import columns_of, kept_rows
from curate.shard import Shard
from curate.stage import Barrier, settings_of

__all__ = ["Keep", "Mode", "SemanticDuplicates", "semantic_columns"]

Mode: TypeAlias = Literal["paper", "greedy", "components"]
Keep: TypeAlias = Literal["farthest", "middle", "closest", "random", "best"]
Numbers = npt.NDArray[np.int64]

COLUMNS: dict[Mode, tuple[str, str]] = {
    "paper": ("semantic_similarity", "semantic_nearest"),
    "greedy": ("semantic_kept_similarity", "semantic_kept_nearest"),
    "components": ("semantic_cluster_size", "semantic_duplicate_of"),
}
ROWS_PER_CELL = 256
"""Of the sample that cells are found on; faiss takes as many by itself."""
BLOCK_ROWS = 1 << 16


def semantic_columns(mode: Mode) -> tuple[str, str]:
    """What a mode writes: a number, and a key."""
    return COLUMNS[mode]


@dataclass(frozen=True)
class SemanticDuplicates(Barrier):
    """Writes two columns, by `mode`; null where a row takes no part, since one of `rules` drops it. A row that takes
    part without an embedding that can be compared has not-a-number, or 0 rows in its cluster.

    `paper`: `semantic_similarity`, float32 in 0 to 1, the largest cosine with a row before it in its cell, 0 for the
    first and where none is above 0, and `semantic_nearest`, the key of that row. `greedy`: `semantic_kept_similarity`
    and `semantic_kept_nearest`, where only rows count that are kept themselves: whose own is at most `limit`.
    `components`: rows connected by cosines above `limit` are one cluster; `semantic_cluster_size`, int64, and
    `semantic_duplicate_of`, the key of its first row, null for that row.

    `keep` is the order: the rows `farthest` from the centre of the cell first (the paper's "hard"), those in the
    `middle` by their distance, the `closest` (its "easy"), in `random` order by `seed`, or the `best` by `prefer`
    (`curate.dedup.prefer`). Equals are ordered by what they are, so how rows are packed into shards changes nothing.
    `cells`: 0 for a quarter of the root of the number of rows. `sample_rows`: of how many rows it is counted what cells
    miss; the counts are in the commit and, with thresholds and shares, in `semantic_<mode>/misses.json`.
    """

    model: str = "clip"
    mode: Mode = "paper"
    limit: float | None = None
    keep: Keep = "farthest"
    prefer: tuple[str, ...] = ()
    cells: int = 0
    iterations: int = 20
    sample_rows: int = 1_000
    seed: int = 0
    rules: Rules = ()

    name: ClassVar[str] = "semantic"

    def __post_init__(self) -> None:
        check_model_name(self.model)
        require_range("cells", self.cells, 0, 1 << 24)
        require_range("iterations", self.iterations, 1, 10_000)
        require_range("sample_rows", self.sample_rows, 0, 1_000_000)
        require_range("seed", self.seed, 0, (1 << 31) - 1)
        if (self.mode == "paper") != (self.limit is None):
            raise ValueError(f"limit = {self.limit!r} with mode = {self.mode!r}: all modes but paper need one, it none")
        if self.limit is not None and not 0 <= self.limit < 1:
            raise ValueError(f"limit = {self.limit!r} is out of range: from 0 to below 1")
        if (self.keep == "best") != bool(self.prefer):
            raise ValueError(f'keep = {self.keep!r} with prefer = {list(self.prefer)!r}: "best" needs one, others none')
        parse_order(self.prefer)

    @property
    def label(self) -> str:
        return f"{self.name}_{self.mode}"

    @property
    def reads(self) -> tuple[str, ...]:
        preferred = parse_order(self.prefer).reads if self.prefer else ()
        given = ("key", image_embedding(self.model), *IDENTITY, *preferred, *columns_of(self.rules))
        return tuple(dict.fromkeys(given))

    @property
    def writes(self) -> tuple[str, ...]:
        return semantic_columns(self.mode)

    def identity(self) -> Any:
        rules = [[name, rule.identity()] for name, rule in self.rules]
        return {"step": settings_of(replace(self, rules=())), "version": self.version, "among": rules}

    def run(self, shards: Sequence[Shard], attempt: Attempt) -> None:
        column = image_embedding(self.model)
        require_one_model(shards, column)
        found = gather(shards, column, attempt.path("embeddings.f16"), self.rules)
        attempt.counts.update({"in": sum(total for _, total in found.taken), "compared": len(found), **found.counts})
        cells, closeness = self._cells(found, attempt)
        order = self._order(found, shards, cells, closeness)
        answer = self._compared(found, order, cells)
        self._report(found, cells, attempt)
        for shard, (rows, places, total) in zip(shards, found.of_shards(), strict=True):
            own = np.full(total, len(found))
            own[rows] = places
            table = answer.take(pa.array(own, mask=own == len(found)))
            unknown = pa.array(kept_rows(shard, self.rules) & (own == len(found)))
            number = table[0].type
            told = pc.if_else(unknown, pa.scalar(0 if pa.types.is_integer(number) else float("nan"), number), table[0])
            table = table.set_column(0, self.writes[0], told)
            attempt.write_table(shard.table_name(self.label), table.add_column(0, "key", shard.columns(["key"])["key"]))
        attempt.path("embeddings.f16").unlink(missing_ok=True)

    def _cells(self, found: Embedded, attempt: Attempt) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """The cell of each row, and its cosine with the centre of that."""
        count = min(self.cells or max(1, round(len(found) ** 0.5 / 4)), len(found))
        cells, closeness = np.zeros(len(found), np.int32), np.zeros(len(found), np.float32)
        attempt.counts["cells"] = count
        if not count:
            return cells, closeness
        sample = _drawn(found, ROWS_PER_CELL * count, self.seed)
        centres = kmeans(found.embeddings[sample], count, self.iterations, self.seed, spherical=True)
        for start in range(0, len(found), BLOCK_ROWS):
            rows = found.embeddings[start : start + BLOCK_ROWS].astype(np.float32)
            own = nearest(rows, centres)
            cells[start : start + len(rows)] = own
            closeness[start : start + len(rows)] = _products(rows, centres[own]) / np.sqrt(_products(rows, rows))
        return cells, closeness

    def _order(
        self,
        found: Embedded,
        shards: Sequence[Shard],
        cells: npt.NDArray[np.int32],
        closeness: npt.NDArray[np.float32],
    ) -> Numbers:
        """The numbers of rows, cell by cell, in each those first that are to be kept."""
        if self.keep == "best":
            return np.lexsort((found.ranks(shards, parse_order(self.prefer)), cells))
        if self.keep == "random":
            return np.lexsort((keyed(found.digests, self.seed), cells))
        by_distance = np.lexsort((-closeness if self.keep == "closest" else closeness, cells))
        return _middle_first(by_distance, cells) if self.keep == "middle" else by_distance

    def _compared(self, found: Embedded, order: Numbers, cells: npt.NDArray[np.int32]) -> pa.Table:
        """The two columns, for the rows in the order of their identities."""
        from curate.dedup import semantic_cells

        limit = self.limit or 0.0
        rules: dict[Mode, semantic_cells.Compare] = {
            "paper": semantic_cells.nearest_earlier,
            "greedy": partial(semantic_cells.nearest_kept, limit=limit),
            "components": partial(semantic_cells.components, limit=limit),
        }
        ends = np.flatnonzero(np.diff(cells[order], append=-1)) + 1
        number, other = semantic_cells.each_cell(rules[self.mode], found.embeddings, order, ends)
        no_key = other == semantic_cells.NONE
        if self.mode == "components":
            number, no_key = number.astype(np.int64), other == np.arange(len(other))
        keys = found.keys.take(pa.array(other, mask=no_key)).cast(pa.string())
        return pa.table(dict(zip(self.writes, (pa.array(number), keys), strict=True)))

    def _report(self, found: Embedded, cells: npt.NDArray[np.int32], attempt: Attempt) -> None:
        sample = _drawn(found, self.sample_rows, self.seed + 1)
        missed = count_misses(found.embeddings, cells, sample)
        attempt.counts["sampled"] = len(sample)
        attempt.counts["largest_cell"] = largest = int(np.bincount(cells, minlength=1).max())
        for level in missed:
            name = f"{round(100 * level['at_least'])}"
            attempt.counts[f"pairs_{name}"] = level["pairs"]
            attempt.counts[f"missed_{name}"] = level["in_other_cells"]
        about = {
            "rows": len(found),
            "cells": attempt.counts["cells"],
            "largest_cell": largest,
            "sampled": len(sample),
            "pairs": missed,
        }
        attempt.write_bytes(f"{self.label}/misses.json", json.dumps(about, indent=1).encode())


def _drawn(found: Embedded, count: int, seed: int) -> Numbers:
    """So many rows, or all, drawn by what they are: their numbers, ascending."""
    if count >= len(found):
        return np.arange(len(found))
    return np.sort(np.argsort(keyed(found.digests, seed), kind="stable")[:count])


def _middle_first(order: Numbers, cells: npt.NDArray[np.int32]) -> Numbers:
    """Rows in the order of their cells and distances, turned so that in each cell the middle one comes first, then its
    neighbours, and the farthest and closest last."""
    own = cells[order]
    starts = np.flatnonzero(np.diff(own, prepend=-1))
    sizes = np.diff(np.append(starts, len(own)))
    places = np.arange(len(own)) - np.repeat(starts, sizes)
    return order[np.lexsort((places, np.abs(2 * places - np.repeat(sizes - 1, sizes)), own))]


def _products(rows: npt.NDArray[np.float32], others: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Inner products row by row, added up in float64."""
    found: npt.NDArray[np.float64] = np.einsum("nd,nd->n", rows, others, dtype=np.float64)
    return found
