"""What of an evaluation each row of a batch is like: by equal digests, near hashes, near embeddings, and words.

Everything is exact. Ten thousand rows take 10 ms a table of digests and 0.3 s against the PDQ hashes of a million
pictures, once a worker has made its tables of them (5 s, 550 MB). Embeddings are compared with every one of the index,
in blocks of 32 MB: 10,000 rows of 512 numbers against a million take 140 s of a core where torch finds no GPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.decontamination.finding import sha256_bytes
from curate.decontamination.index import EvaluationIndex
from curate.decontamination.words import plain_words, run_digests, whole_digests
from curate.models.contrast import nearest

__all__ = ["HASHED", "Bounds", "Kind", "Match", "find_matches", "first_matches", "nearest_pictures"]

Kind = Literal["hash", "pixels", "pdq", "phash", "embedding", "caption", "ngram"]
HASHED: Mapping[str, tuple[str, ...]] = {
    "hash": ("sha256",),
    "pixels": ("pixel_hash",),
    "pdq": ("pdq", "pdq_quality"),
    "phash": ("phash", "pdq_quality"),
    "caption": ("caption",),
    "ngram": ("caption",),
}
"""The columns that each kind needs."""
BLOCK_BYTES = 32 << 20
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Bounds:
    """What counts as like: radii in bits of 256 and of 64; the least PDQ quality of pictures whose hashes are compared;
    `words` in a run, and the least that a text must have to be compared as a whole. All are included."""

    pdq_radius: int = 31
    phash_radius: int = 4
    min_quality: int = 50
    words: int = 13
    min_words: int = 5


@dataclass(frozen=True)
class Match:
    """For some rows, int64 (n,), the items of the index that they are like, and how far apart in bits, -1 for no such
    distance."""

    rows: Rows
    items: Rows
    bits: Rows


def find_matches(index: EvaluationIndex, kind: Kind, columns: pa.Table, bounds: Bounds) -> Match:
    """The rows of a batch that match by one kind, each with the nearest item, and of equals the first. `columns` has
    those of HASHED."""
    if kind in ("pdq", "phash"):
        return _near(index, kind, columns, bounds)
    if kind in ("caption", "ngram"):
        words = plain_words(columns["caption"])
        whole = kind == "caption"
        rows, digests = whole_digests(words, bounds.min_words) if whole else run_digests(words, bounds.words)
    else:
        rows, digests = _bytes_of(columns, kind)
    items = index.tables["file" if kind == "hash" else kind].find(digests)
    rows, first = np.unique(rows[items >= 0], return_index=True)
    return Match(rows, items[items >= 0][first], np.full(len(rows), -1))


def _bytes_of(columns: pa.Table, kind: str) -> tuple[Rows, npt.NDArray[np.uint64]]:
    if kind == "hash":
        values = [sha256_bytes(text) for text in columns["sha256"].to_pylist()]
    else:
        values = columns["pixel_hash"].to_pylist()
    rows = [row for row, value in enumerate(values) if value is not None]
    data = b"".join((values[row] or b"")[:16] for row in rows)
    return np.array(rows, np.int64), np.frombuffer(data, ">u8").astype(np.uint64).reshape(-1, 2)


def _near(index: EvaluationIndex, kind: str, columns: pa.Table, bounds: Bounds) -> Match:
    from curate.dedup.hamming import Cap, search

    radius = bounds.pdq_radius if kind == "pdq" else bounds.phash_radius
    table, places = _hashes(_Opened(index), kind, bounds.min_quality, radius)
    there = pc.and_(columns[kind].is_valid(), pc.greater_equal(columns["pdq_quality"], bounds.min_quality))
    rows = np.flatnonzero(np.asarray(pc.fill_null(there, False)))
    if not len(rows) or table is None:
        return Match(rows[:0], rows[:0], rows[:0])
    values = columns[kind].take(pa.array(rows)).combine_chunks()
    if kind == "pdq":
        queries = np.frombuffer(b"".join(values.to_pylist()), ">u8").astype(np.uint64).reshape(-1, 4)
    else:
        queries = np.asarray(values, np.uint64)
    query, item, bits = search(table, queries, radius, cap=Cap(1))
    return Match(rows[query], index.picture_items[places[item]], bits.astype(np.int64))


class _Opened:
    """An open index as a key: the same for the same contents."""

    def __init__(self, index: EvaluationIndex) -> None:
        self.index = index

    def __hash__(self) -> int:
        return hash(self.index.card.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Opened) and other.index.card.digest == self.index.card.digest


@lru_cache(maxsize=4)
def _hashes(opened: _Opened, kind: str, least_quality: int, radius: int) -> tuple[Any, Rows]:
    """Tables over the hashes of pictures of enough quality, None where there are none, and which pictures they are."""
    from curate.dedup.hamming import Index

    places = np.flatnonzero(opened.index.quality >= least_quality)
    hashes = np.array((opened.index.pdq if kind == "pdq" else opened.index.phash)[places])
    return Index(hashes, radius) if len(places) else None, places


def nearest_pictures(index: EvaluationIndex, rows: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float64], Rows]:
    """The largest cosine of each row, float32 (n, d) of unit length, with any picture of the index, and whose it is;
    minus infinity and -1 where the index has no embeddings. It depends on the row alone, to the last bit."""
    best, item = np.full(len(rows), -np.inf), np.full(len(rows), -1, np.int64)
    stored = index.embeddings
    size = max(1, BLOCK_BYTES // (4 * max(1, stored.shape[1])))
    for start in range(0, len(stored) if len(rows) else 0, size):
        block = np.array(stored[start : start + size], np.float32, order="C")
        place = nearest(rows, block)
        cosine = (block[place].astype(np.float64) * rows).sum(axis=1)
        better = cosine > best
        best[better], item[better] = cosine[better], index.picture_items[start + place[better]]
    return best, item


def first_matches(found: Sequence[tuple[Kind, Match]], count: int) -> tuple[list[str | None], Rows, Rows]:
    """Of several kinds, the surest first, what stands for each row: its kind, item and bits; None and -1 for none."""
    kinds: list[str | None] = [None] * count
    items, bits = np.full(count, -1, np.int64), np.full(count, -1, np.int64)
    for kind, match in found:
        new = items[match.rows] < 0
        rows = match.rows[new]
        items[rows], bits[rows] = match.items[new], match.bits[new]
        for row in rows.tolist():
            kinds[row] = kind
    return kinds, items, bits
