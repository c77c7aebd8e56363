"""Near copies of pictures: every pair of perceptual hashes within a Hamming radius, and maybe a check by embedding.

Up to 8 parts, which is 2.5 million rows, each gets all hashes and does its share of the search
(`curate.dedup.hamming`). Beyond that, hashes are dealt: two that differ by up to r bits are equal in one of r + 1
chunks of them, so a hash goes to r + 1 buckets, one a chunk, and each bucket finds the pairs of its own that are equal
in no earlier chunk.
Either way all pairs are found, each by one part. For radius 8 of 64 bits a row is sent 9 times at 26 bytes, for 31 of
256 32 times at 50.

A radius is a matter of trust: of 64 bits, 10 is a common default and a false positive machine on a web crawl, where
flat pictures share their hashes. PDQ's own is 31 of 256, with pictures of a quality below 50 left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.dedup.groups import Rows
from curate.dedup.nearness import Evidence, Found, Nearness
from curate.dedup.scatter import Ids
from curate.models.embeddings import embeddings_of
from curate.shard import Shard

__all__ = ["EmbeddingCosine", "NearImage"]

BITS = {"phash": 64, "phash_imagededup": 64, "dhash": 64, "dhash_imagededup": 64, "pdq": 256}
QUALITY = "pdq_quality"
CHUNK_SEED = 20_240_731
"""Which bits make a chunk: drawn once, since neighbouring bits of a picture's frequencies go together."""
FEW = 64
"""Rows of each of two near hashes that are compared with one another, where a model must agree."""
MOST_PAIRS = 1 << 20
"""In memory at a time."""
SHARING_PARTS = 8
"""Up to so many parts share the search of all hashes; more get hashes of their own."""
_MIX = np.uint64(0x9E3779B97F4A7C15)

Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class EmbeddingCosine(Evidence):
    """The cosine of the pictures' embeddings by a model of the config; not-a-number where one has none."""

    column: str
    min_cosine: float

    @property
    def of_model(self) -> str:
        return self.column

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def kind(self) -> pa.DataType:
        return pa.binary()

    @property
    def least(self) -> float:
        return self.min_cosine

    def values(self, shard: Shard, rows: Rows) -> pa.Array:
        embeddings, known = embeddings_of(shard.columns([self.column])[self.column].take(pa.array(rows)))
        length = np.linalg.norm(embeddings, axis=1)
        known &= length > 0
        unit = (embeddings / np.where(known, length, 1)[:, None]).astype("<f2")
        return pa.array([row.tobytes() for row in unit], self.kind, mask=~known)

    def similarity(self, left: pa.Array, right: pa.Array) -> npt.NDArray[np.float64]:
        known = np.asarray(pc.and_(left.is_valid(), right.is_valid()))
        cosine = np.full(len(left), np.nan)
        if known.any():
            one, other = (_unit_rows(values.filter(pa.array(known))) for values in (left, right))
            cosine[known] = np.einsum("ij,ij->i", one, other)
        return cosine


@dataclass(frozen=True)
class NearImage(Nearness):
    """Pictures whose hashes of `kind`, a key of BITS, differ by at most `radius` bits; those whose `pdq_quality` is
    below `min_quality` take no part. `check`: what pairs must also satisfy."""

    kind: str
    radius: int
    min_quality: int | None = None
    check: EmbeddingCosine | None = None

    @property
    def name(self) -> str:
        return "near_image"

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.kind,) if self.min_quality is None else (self.kind, QUALITY)

    @property
    def words(self) -> int:
        return BITS[self.kind] // 64

    @property
    def entry(self) -> pa.Schema:
        words = [(f"hash_{number}", pa.uint64()) for number in range(self.words)]
        return pa.schema([("key", pa.uint64()), ("chunk", pa.int16()), *words])

    @property
    def about(self) -> str:
        told = f"All pairs of {self.kind} within {self.radius} of {BITS[self.kind]} bits are found; none is missed."
        checked = self.check.min_cosine if self.check else None
        if checked is None:
            return told
        return (
            f"{told} Near are those with a cosine of at least {checked:g}. Of more than {FEW} rows with one hash not "
            "all pairs are compared; those left out are counted."
        )

    @property
    def evidence(self) -> Evidence | None:
        return self.check

    def rows(self, shard: Shard) -> Rows:
        columns = shard.columns(self.reads)
        there = columns[self.kind].is_valid()
        if self.min_quality is not None:
            there = pc.and_(there, pc.fill_null(pc.greater_equal(columns[QUALITY], self.min_quality), False))
        return np.flatnonzero(np.asarray(there))

    def entries(self, shard: Shard, rows: Rows, of: int) -> tuple[Rows, pa.Table]:
        hashes = self._hashes(shard, rows)
        buckets = _of_each_part(of, len(rows)) if of <= SHARING_PARTS else self._chunk_keys(hashes)
        count = len(buckets)
        keys = np.stack(buckets, axis=1).reshape(-1)
        numbers = np.tile(np.arange(count, dtype=np.int16), len(rows))
        words = [np.repeat(hashes[:, word], count) for word in range(self.words)]
        return np.repeat(np.arange(len(rows)), count), pa.table([keys, numbers, *words], schema=self.entry)

    def pairs(self, entries: pa.Table, of: int) -> Iterator[Found]:
        none = np.empty((0, 2), np.uint64)
        for edges, left_out in _gathered(self._edges(entries, of)):
            yield Found(none, edges, {"pairs_left_out": left_out}) if self.check else Found(edges, none)

    def _edges(self, entries: pa.Table, of: int) -> Iterator[tuple[Ids, int]]:
        """A part's pairs, a few at a time, and how many more there are."""
        ids, chunk = np.asarray(entries["id"]), np.asarray(entries["chunk"])
        hashes = np.stack([np.asarray(entries[f"hash_{word}"]) for word in range(self.words)], axis=1)
        dealt = of > SHARING_PARTS
        for number in np.unique(chunk).tolist():
            own = np.flatnonzero(chunk == number)
            for edges, left_out in self._near(hashes[own], ids[own], (0, 1) if dealt else (number, of)):
                yield edges[self._is_first(number, edges, ids[own], hashes[own])] if dealt else edges, left_out

    def _near(self, hashes: Hashes, ids: Ids, share: tuple[int, int]) -> Iterator[tuple[Ids, int]]:
        """A share of the pairs of rows within the radius, and how many more there are. Of rows with one hash, one
        stands for all, unless pairs are to be checked: equal hashes are no proof then."""
        from curate.dedup.hamming import pairs_within_part

        if self.check:
            yield from _every_pair(hashes, ids, self.radius, share)
            return
        for pairs in pairs_within_part(hashes, self.radius, share, ids):
            yield np.stack([pairs.left, pairs.right], axis=1), 0

    def _hashes(self, shard: Shard, rows: Rows) -> Hashes:
        column = shard.columns([self.kind])[self.kind].take(pa.array(rows)).combine_chunks()
        if pa.types.is_fixed_size_binary(column.type):
            raw = b"".join(column.to_pylist())
            return np.frombuffer(raw, ">u8").astype(np.uint64).reshape(len(rows), self.words)
        return np.asarray(column, np.uint64).reshape(len(rows), self.words)

    def _chunk_keys(self, hashes: Hashes) -> list[Hashes]:
        return [_key(number, chunk) for number, chunk in enumerate(self._chunks(hashes).T)]

    def _chunks(self, hashes: Hashes) -> Hashes:
        """The value of each chunk of each hash, (n, radius + 1)."""
        from curate.dedup.chunks import chunk_values

        count = self.radius + 1
        bits = np.random.default_rng(CHUNK_SEED).permutation(BITS[self.kind])
        return chunk_values(hashes, bits, count, BITS[self.kind] // count)

    def _is_first(self, number: int, edges: Ids, ids: Ids, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """Whether this chunk is the first one in which both ends of an edge are equal."""
        order = np.argsort(ids)
        left, right = (hashes[order[np.searchsorted(ids[order], edges[:, side])]] for side in (0, 1))
        same = self._chunks(left) == self._chunks(right)
        return np.asarray(same[:, number] & ~same[:, :number].any(axis=1))


def _every_pair(hashes: Hashes, ids: Ids, radius: int, share: tuple[int, int]) -> Iterator[tuple[Ids, int]]:
    """Pairs of rows, not of hashes: all of one hash up to 64 rows of it, then each with the next ones, by the first
    share; of two near hashes those of the first FEW rows of each."""
    from curate.dedup.hamming import pairs_within_part
    from curate.dedup.jaccard import pairs_of_buckets

    distinct, of = np.unique(hashes, axis=0, return_inverse=True)
    order = np.lexsort((ids, of.reshape(-1)))
    ids, of = ids[order], of.reshape(-1)[order]
    if share[0] == 0:
        equal = pairs_of_buckets(of.astype(np.uint64), np.arange(len(ids)))
        yield np.stack([ids[equal.left], ids[equal.right]], axis=1), equal.pairs_left_out
    starts, sizes = np.searchsorted(of, np.arange(len(distinct))), np.bincount(of, minlength=len(distinct))
    for pairs in pairs_within_part(distinct, radius, share):
        one, other = pairs.left.astype(np.int64), pairs.right.astype(np.int64)
        left_out = int((sizes[one] * sizes[other] - np.minimum(sizes[one], FEW) * np.minimum(sizes[other], FEW)).sum())
        most = (min(int(sizes[side].max(initial=0)), FEW) for side in (one, other))
        for i, j in product(*map(range, most)):
            there = (sizes[one] > i) & (sizes[other] > j)
            yield np.stack([ids[starts[one[there]] + i], ids[starts[other[there]] + j]], axis=1), left_out
            left_out = 0


def _gathered(found: Iterator[tuple[Ids, int]]) -> Iterator[tuple[Ids, int]]:
    """The same, about a million pairs at a time: near hashes of many rows each come as thousands of small pieces."""
    held, count, left_out = [np.empty((0, 2), np.uint64)], 0, 0
    for edges, more in found:
        held.append(edges)
        count, left_out = count + len(edges), left_out + more
        if count > MOST_PAIRS:
            yield np.concatenate(held), left_out
            held, count, left_out = [], 0, 0
    if held:
        yield np.concatenate(held), left_out


def _unit_rows(values: pa.Array) -> npt.NDArray[np.float64]:
    rows = np.frombuffer(b"".join(values.to_pylist()), "<f2").reshape(len(values), -1).astype(np.float64)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def _of_each_part(of: int, rows: int) -> list[Hashes]:
    """Keys that go to each part in its turn (`part_of_hash`)."""
    return [np.full(rows, -(-(number << 32) // of) << 32, np.uint64) for number in range(of)]


def _key(number: int, values: Hashes) -> Hashes:
    """A hash of a chunk's number and value."""
    with np.errstate(over="ignore"):
        mixed = (values + np.uint64(number + 1)) * _MIX + np.uint64(number) * np.uint64(0xC2B2AE3D27D4EB4F)
        mixed = (mixed ^ mixed >> np.uint64(32)) * _MIX
        return mixed ^ mixed >> np.uint64(29)
