"""Clusters of copies: how large they are, and some to look at.

Whatever looks for copies leaves a column with the key of the row that is kept instead. Counting needs nothing else: a
cluster is that key, as a number of 64 bits, and 24 bytes are held of each copy, none of a row that has no copy. A
million rows with 80,000 copies take 1.1 s of one core. Which clusters are shown depends on what their rows are and not
on their keys.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.dedup.digest import digest_strings, join_digests
from curate.report.cluster import SUFFIX, WITHIN
from curate.report.facts import Copies, Gallery
from curate.report.pictures.drawing import UNREADABLE, Draw, Drawn, row_numbers
from curate.report.pictures.tiles import Tiles, fitted_galleries, read_tiles
from curate.report.pictures.withholding import Watch, watch
from curate.report.pictures.words import texts_of, told
from curate.shard import Shard

__all__ = ["copies"]

LARGEST, OTHERS = 3, 3
"""Clusters that are shown of each kind: the largest ones, and some drawn from the rest."""
MOST_SIZES, MOST_KINDS = 20, 30
COPY = np.dtype([("cluster", np.uint64), ("number", np.uint64), ("shard", np.int32), ("row", np.int32)])
"""What is held of a copy: its cluster, the number that it is drawn by, its place."""


@dataclass(frozen=True)
class _Example:
    """A cluster that is shown: its rows without the kept one, the best first; the kept row's key and, if it is in an
    earlier data set, that one's name."""

    members: Sequence[Drawn]
    size: int
    kept: str
    elsewhere: str


def copies(shards: Sequence[Shard], draw: Draw, seen: Watch | None = None) -> tuple[Copies, ...]:
    """Of every kind of copies that was looked for, by name: how many rows are in a cluster, sizes of clusters, and
    examples, the largest first, the row that is kept first in each. A kept row that is in an earlier data set counts
    and has no tile. Of a cluster one of whose drawn rows is withheld none is shown: copies look alike. Shards that
    cannot be read are passed over.
    """
    found = {kind: np.concatenate(parts) for kind, parts in _found(shards, draw.seed).items()}
    examples = {kind: _examples(shards, kind, rows, draw.tiles) for kind, rows in sorted(found.items())}
    kept = _kept(shards, {one.kept for own in examples.values() for one in own if not one.elsewhere})
    drawn = [row for own in examples.values() for one in own for row in one.members]
    tiles = read_tiles(shards, [*drawn, *kept.values()], draw, seen or watch(shards))
    galleries = [_gallery(tiles, one, kept) for own in examples.values() for one in own]
    shown = iter(fitted_galleries(galleries, draw, draw.bytes_of("copies")))
    return tuple(
        replace(_counted(kind, found[kind]), examples=tuple(next(shown) for _ in own)) for kind, own in examples.items()
    )


def _found(shards: Sequence[Shard], seed: int) -> Mapping[str, list[np.ndarray]]:
    """The copies of each kind, arrays of COPY."""
    found: dict[str, list[np.ndarray]] = defaultdict(list)
    for place, shard in enumerate(shards):
        try:
            kinds = sorted(name.removesuffix(SUFFIX) for name in shard.column_files if name.endswith(SUFFIX))[
                :MOST_KINDS
            ]
            own = {kind: _of_shard(shard, place, kind) for kind in kinds}
            numbers = row_numbers(shard, seed) if any(map(len, own.values())) else np.empty(0, np.uint64)
            for kind, rows in own.items():
                rows["number"] = numbers[rows["row"]]
                found[kind].append(rows)
        except UNREADABLE:  # whoever counts its rows says that it cannot be read
            continue
    return found


def _of_shard(shard: Shard, place: int, kind: str) -> np.ndarray:
    """Its copies, without their numbers."""
    of, within = _columns(shard, kind)
    rows = np.flatnonzero(np.asarray(pc.is_valid(of), bool))
    found = np.empty(len(rows), COPY)
    found["cluster"] = join_digests(digest_strings(of.take(rows)), digest_strings(within.take(rows)))[:, 0]
    found["number"], found["shard"], found["row"] = 0, place, rows
    return found


def _columns(shard: Shard, kind: str) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """The key of the row that is kept instead, and the earlier data set that it is in, empty for this one."""
    of = shard.columns([f"{kind}{SUFFIX}"])[0].cast(pa.large_string())
    if f"{kind}{WITHIN}" not in shard.column_files:
        return of, pa.chunked_array([pa.repeat("", len(of)).cast(pa.large_string())])
    return of, pc.fill_null(shard.columns([f"{kind}{WITHIN}"])[0].cast(pa.large_string()), "")


def _counted(kind: str, rows: np.ndarray) -> Copies:
    """Sizes count the row that is kept."""
    sizes, clusters = np.unique(np.unique(rows["cluster"], return_counts=True)[1] + 1, return_counts=True)
    told_sizes = [*zip(sizes.tolist(), clusters.tolist(), strict=True)]
    if len(told_sizes) > MOST_SIZES:
        rest = sum(number for _, number in told_sizes[MOST_SIZES - 1 :])
        told_sizes = [*told_sizes[: MOST_SIZES - 1], (told_sizes[MOST_SIZES - 1][0], rest)]
    total = int(clusters.sum())
    return Copies(kind, len(rows) + total, total, tuple(told_sizes))


def _examples(shards: Sequence[Shard], kind: str, rows: np.ndarray, tiles: int) -> Sequence[_Example]:
    clusters, inverse, counts = np.unique(rows["cluster"], return_inverse=True, return_counts=True)
    lowest = np.full(len(clusters), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(lowest, inverse, rows["number"])
    by_size = np.lexsort((lowest, -counts))
    rest = by_size[LARGEST:]
    chosen = np.concatenate([by_size[:LARGEST], rest[np.argsort(lowest[rest], kind="stable")][:OTHERS]])
    chosen = chosen[np.lexsort((lowest[chosen], -counts[chosen]))]
    return [one for number in chosen for one in _example(shards, kind, rows[inverse == number], tiles)]


def _example(shards: Sequence[Shard], kind: str, rows: np.ndarray, tiles: int) -> Iterator[_Example]:
    first = rows[np.lexsort((rows["row"], rows["shard"], rows["number"]))][: max(1, tiles - 1)]
    members = [Drawn(int(r["number"]), int(r["shard"]), int(r["row"]), float("nan")) for r in first]
    try:
        of, within = _columns(shards[members[0].shard], kind)
    except UNREADABLE:
        return
    kept, elsewhere = (texts_of(column.slice(members[0].row, 1))[0] or "" for column in (of, within))
    yield _Example(members, len(rows) + 1, kept, elsewhere)


def _kept(shards: Sequence[Shard], keys: set[str]) -> Mapping[str, Drawn]:
    """The places of kept rows, by key."""
    found: dict[str, Drawn] = {}
    wanted = pa.array(sorted(keys), pa.large_string())
    for place, shard in enumerate(shards if keys else ()):
        try:
            own = shard.columns(["key"])[0].cast(pa.large_string())
            rows = np.flatnonzero(np.asarray(pc.is_in(own, value_set=wanted), bool))
            for key, row in zip(texts_of(own.take(rows)), rows.tolist(), strict=True):
                found.setdefault(key or "", Drawn(0, place, row, float("nan")))
        except UNREADABLE:
            continue
    return found


def _gallery(tiles: Tiles, example: _Example, kept: Mapping[str, Drawn]) -> Gallery:
    first = [] if example.elsewhere else [kept[example.kept]] if example.kept in kept else []
    where = f"the kept row is in {example.elsewhere.rstrip('/').rpartition('/')[2]}" if example.elsewhere else ""
    title = f"{example.size:,} rows, of which {told(example.kept, 60)} is kept"
    drawn = [*first, *example.members]
    found = tiles.gallery("copies", title, drawn, example.size, told(where))
    return replace(found, tiles=(), withheld=len(drawn)) if found.withheld else found
