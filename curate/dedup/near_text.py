"""Near copies of captions: MinHash bands find candidates, their exact Jaccard similarity decides.

    score   the band digests of each caption, 8 bytes a band, as a column: the only slow step
    gather  an entry a band and row, 33 bytes; one more by the whole text, so that equal texts meet once and for all
    pair    of equal texts one stands for all; the rest of a bucket are candidates
    verify  Jaccard of the sets of shingles, by hashes of 64 bits

A text without a shingle, which is an empty one, takes no part. Leskovec, Rajaraman and Ullman, Mining of Massive
Datasets, chapter 3; the choice of bands is told in `curate.dedup.bands`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.dedup.digest import digest_strings
from curate.dedup.groups import Rows, group
from curate.dedup.nearness import Evidence, Found, Nearness
from curate.dedup.scatter import Ids
from curate.errors import ConfigError
from curate.filter import Batch, Scorer
from curate.shard import Shard

if TYPE_CHECKING:
    from curate.dedup.shingles import Shingles

__all__ = ["CaptionBands", "CaptionJaccard", "NearCaption", "TextSettings"]

CAPTION, COLUMN = "caption", "caption_bands"
PAIRS_AT_A_TIME = 1 << 16
MOST_PAIRS = 1 << 22
"""Of candidates in memory: 300 MB while they are put in order. A shop's template can make 31 of each entry."""


@dataclass(frozen=True)
class TextSettings:
    """How captions are cut and signed. `kind`, `n`, `normalise`, `short`: see `curate.dedup.shingles.Shingles`."""

    kind: str
    n: int
    normalise: str
    short: str
    bands: int
    rows: int
    seed: int = 1

    @property
    def shingles(self) -> Shingles:
        from curate.dedup.shingles import Shingles

        return Shingles(self.kind, self.n, self.normalise, self.short)  # type: ignore[arg-type]


@dataclass(frozen=True)
class CaptionBands(Scorer):
    """Writes `caption_bands`: a digest per band (uint64), null for a caption without a shingle."""

    text: TextSettings

    @property
    def name(self) -> str:
        return COLUMN

    @property
    def reads(self) -> tuple[str, ...]:
        return (CAPTION,)

    @property
    def writes(self) -> Mapping[str, pa.DataType]:
        return {COLUMN: pa.list_(pa.uint64(), self.text.bands)}

    def require(self) -> None:
        try:
            import datasketch
            import numba  # noqa: F401
        except ImportError as error:
            raise ConfigError(f"near copies of captions need {error.name}; pip install 'curate-vl[dedup]'") from None
        if not hasattr(datasketch.MinHash(4), "permutations"):
            raise ConfigError("near copies of captions need datasketch 2.0 or later; pip install 'curate-vl[dedup]'")

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        from curate.dedup.bands import Bands, band_digests
        from curate.dedup.minhash import permutations, signatures
        from curate.dedup.shingles import shingle_sets

        sets = shingle_sets(batch.columns[CAPTION], self.text.shingles)
        bands = Bands(self.text.bands, self.text.rows)
        digests = band_digests(signatures(sets, permutations(bands.permutations, self.text.seed)), bands)
        flat = pa.array(digests.reshape(-1))
        empty = pa.array(sets.sizes == 0)
        return {COLUMN: pa.FixedSizeListArray.from_arrays(flat, bands.bands, mask=empty)}


@dataclass(frozen=True)
class CaptionJaccard(Evidence):
    """The captions themselves, and the Jaccard similarity of their sets of shingles."""

    text: TextSettings
    threshold: float

    @property
    def reads(self) -> tuple[str, ...]:
        return (CAPTION,)

    @property
    def kind(self) -> pa.DataType:
        return pa.large_string()

    @property
    def least(self) -> float:
        return self.threshold

    def values(self, shard: Shard, rows: Rows) -> pa.Array:
        captions = shard.columns([CAPTION])[CAPTION].cast(pa.large_string())
        return captions.take(pa.array(rows)).combine_chunks()

    def similarity(self, left: pa.Array, right: pa.Array) -> npt.NDArray[np.float64]:
        from curate.dedup.jaccard import jaccard, sorted_sets
        from curate.dedup.shingles import shingle_sets

        found = [np.empty(0)]
        for start in range(0, len(left), PAIRS_AT_A_TIME):
            both = [left.slice(start, PAIRS_AT_A_TIME), right.slice(start, PAIRS_AT_A_TIME)]
            sets = sorted_sets(shingle_sets(pa.chunked_array(both), self.text.shingles, "xxh64"))
            rows = np.arange(len(both[0]))
            found.append(jaccard(sets, rows, rows + len(rows)))
        return np.concatenate(found)


@dataclass(frozen=True)
class NearCaption(Nearness):
    """Captions whose sets of shingles have a Jaccard similarity of at least `threshold`."""

    text: TextSettings
    threshold: float
    cap: int

    entry: ClassVar[pa.Schema] = pa.schema(
        {"key": pa.uint64(), "next": pa.uint64(), "text": pa.uint64(), "whole": pa.bool_()}
    )

    @property
    def name(self) -> str:
        return "near_caption"

    @property
    def reads(self) -> tuple[str, ...]:
        return (CAPTION, COLUMN)

    @property
    def about(self) -> str:
        from curate.dedup.bands import Bands

        return Bands(self.text.bands, self.text.rows).describe(self.threshold)

    @property
    def evidence(self) -> Evidence:
        return CaptionJaccard(self.text, self.threshold)

    def rows(self, shard: Shard) -> Rows:
        return np.flatnonzero(np.asarray(shard.columns([COLUMN])[COLUMN].is_valid()))

    def entries(self, shard: Shard, rows: Rows, of: int) -> tuple[Rows, pa.Table]:
        from curate.dedup.shingles import normal_texts

        columns = shard.columns([CAPTION, COLUMN]).take(pa.array(rows))
        bands = np.asarray(columns[COLUMN].combine_chunks().flatten(), np.uint64).reshape(len(rows), self.text.bands)
        whole, text = digest_strings(normal_texts(columns[CAPTION], self.text.shingles.normalise)).T
        keys = np.concatenate([bands, whole[:, None]], axis=1)
        following = np.concatenate([np.roll(bands, -1, axis=1), whole[:, None]], axis=1)
        is_whole = np.zeros(keys.shape, bool)
        is_whole[:, -1] = True
        width = keys.shape[1]
        flat = [keys.reshape(-1), following.reshape(-1), np.repeat(text, width), is_whole.reshape(-1)]
        return np.repeat(np.arange(len(rows)), width), pa.table(flat, schema=self.entry)

    def pairs(self, entries: pa.Table, of: int) -> Iterator[Found]:
        whole = np.asarray(entries["whole"])
        ids, keys, following, text = (np.asarray(entries[name]) for name in ("id", "key", "next", "text"))
        yield Found(_stars(ids[whole], keys[whole], text[whole]), np.empty((0, 2), np.uint64))
        ids, keys, following, text = (values[~whole] for values in (ids, keys, following, text))
        order = np.lexsort((ids, text, keys))
        keys, text = keys[order], text[order]
        first = np.ones(len(keys), bool)
        first[1:] = (keys[1:] != keys[:-1]) | (text[1:] != text[:-1])
        ids, keys, following = ids[order][first], keys[first], following[order][first]
        for some in _some_buckets(keys, self.cap):
            yield self._candidates(ids[some], keys[some], following[some])

    def _candidates(self, ids: Ids, keys: Ids, following: Ids) -> Found:
        from curate.dedup.jaccard import pairs_of_buckets

        found = pairs_of_buckets(keys, np.arange(len(ids)), self.cap, following)
        counts = {"capped_buckets": found.capped_buckets, "pairs_left_out": found.pairs_left_out}
        pairs = np.stack([ids[found.left], ids[found.right]], axis=1)
        return Found(np.empty((0, 2), np.uint64), pairs, counts)


def _some_buckets(keys: Ids, cap: int) -> Iterator[slice]:
    """Whole buckets of sorted keys, so many at a time as make MOST_PAIRS, or one that makes more."""
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)])
    sizes = np.diff(np.append(starts, len(keys)))
    pairs = np.cumsum(sizes * (np.minimum(sizes, cap) - 1) // 2)
    cuts = starts[1:][np.diff(pairs // MOST_PAIRS) > 0]
    edges = [0, *cuts.tolist(), len(keys)]
    return (slice(*edge) for edge in pairwise(edges))


def _stars(ids: Ids, high: Ids, low: Ids) -> Ids:
    """Edges from the smallest number of each group of equal texts to the others."""
    order = np.argsort(ids)
    ids, high, low = ids[order], high[order], low[order]
    groups = group(np.stack([high, low], axis=1))
    first = ids[groups.order[groups.starts]][groups.of_rows] if len(groups) else ids
    other = first != ids
    return np.stack([first[other], ids[other]], axis=1)
