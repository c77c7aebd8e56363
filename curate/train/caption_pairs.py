"""Pictures with texts for a captioner or a matcher: from columns of one text or of several, and batches of them.

A picture may have two or no texts after CapFilt, and each is a row of its own, as in BLIP. What stands at which place
of which batch follows from the seed and the place alone: no state is kept between batches, so a training goes on at any
step at once, and each of several workers finds its part without asking the others. A picture that cannot be decoded is
replaced by the next one in the order and counted, at the price that the next one comes twice in that epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.dedup.digest import digest_strings, join_digests
from curate.errors import ConfigError, CurateError, ShardError, StageError
from curate.filter import Pixels
from curate.shard import Shard
from curate.train.pairs import Pairs, PairSource, open_pairs
from curate.train.stream import draw_order, in_order

__all__ = ["CaptionBatch", "Deal", "caption_batches", "each_text", "joined", "open_captions", "web_captions"]

MOST_BROKEN = 1_000
"""Broken pictures in a row after which a training gives up."""

CAPTION = "caption"
"""The column of a web set that may be lacking: pictures without any text."""
Numbers = npt.NDArray[np.int64]
Look = Callable[[Pixels, int, int], Any]


@dataclass(frozen=True)
class CaptionBatch:
    """A worker's part of a batch: `rows` int64 (n,) of the pairs, `views` uint8 (n, size, size, 3)."""

    rows: Numbers
    views: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Deal:
    """How pairs are dealt: `batch` of them a step, in parts of one size to `world` workers, of which this is `rank`."""

    batch: int
    seed: int
    threads: int
    rank: int = 0
    world: int = 1


def open_captions(source: PairSource) -> Pairs:
    """All texts with their pictures, a row each; `caption_column` may be a column of lists, such as `NAME_texts` of a
    view. Raises as `open_pairs`."""
    try:
        return open_pairs(source)
    except ShardError:
        pictures = open_pairs(source, captions=False)
        if not any(_is_list(shard, source.caption_column) for shard in pictures.shards):
            raise
    lists = [_texts_of(shard, source.caption_column) for shard in pictures.shards]
    found = [_aligned(pictures, number, lists[number]) for number in range(len(lists))]
    return each_text(pictures, pa.concat_arrays(found))


def _is_list(shard: Shard, column: str) -> bool:
    if not shard.storage.exists(shard.table_name()) or column not in shard.column_files:
        return False
    kind = shard.schema(shard.column_files[column]).field(column).type
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _texts_of(shard: Shard, column: str) -> pa.Table:
    table = shard.columns(["key", column]).rename_columns(["key", "texts"])
    if not _is_list(shard, column):
        texts = table["texts"].combine_chunks().cast(pa.large_string())
        lists = pa.ListArray.from_arrays(pa.array(np.arange(len(texts) + 1), pa.int32()), texts)
        table = table.set_column(1, "texts", lists)
    return table.set_column(1, "texts", table["texts"].cast(pa.list_(pa.large_string())))


def _aligned(pictures: Pairs, shard: int, texts: pa.Table) -> pa.Array:
    """The lists of one shard's pictures, in their order."""
    keys = pictures.keys.filter(pa.array(pictures.shard == shard))
    place = pc.index_in(keys, value_set=texts["key"].cast(pa.large_string()).combine_chunks())
    return texts["texts"].combine_chunks().take(place)


def each_text(pictures: Pairs, texts: pa.Array) -> Pairs:
    """A row for each text, list<string> (n,) beside n pictures. Texts without a letter, digit or sign are left out.

    A row's identity is that of its picture's row and of its text, so that the order does not depend on the packing.
    """
    rows = np.asarray(pc.list_parent_indices(texts), np.int64)
    flat = pc.list_flatten(texts).cast(pa.large_string())
    there = pc.fill_null(pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(flat)), 0), False)
    kept, flat = rows[np.asarray(there)], flat.filter(there)
    own = taken(pictures, kept)
    flat = flat.combine_chunks() if isinstance(flat, pa.ChunkedArray) else flat
    return replace(own, captions=flat, identity=join_digests(own.identity, digest_strings(flat)))


def taken(pairs: Pairs, rows: Numbers) -> Pairs:
    """Some of the rows, in the given order, each as often as it is named."""
    arrow = pa.array(rows)
    return replace(
        pairs,
        shard=pairs.shard[rows],
        offset=pairs.offset[rows],
        size=pairs.size[rows],
        keys=pairs.keys.take(arrow),
        captions=pairs.captions.take(arrow),
        sha256=pairs.sha256.take(arrow),
        defects=pairs.defects.take(arrow),
        identity=pairs.identity[rows],
        picture=pairs.picture[rows],
    )


def joined(parts: Sequence[Pairs]) -> Pairs:
    """Several sets of pairs as one."""
    starts = np.cumsum([0, *(len(part.shards) for part in parts)])
    return Pairs(
        shards=[shard for part in parts for shard in part.shards],
        shard=np.concatenate([part.shard + np.int32(start) for part, start in zip(parts, starts, strict=False)]),
        offset=np.concatenate([part.offset for part in parts]),
        size=np.concatenate([part.size for part in parts]),
        keys=pa.concat_arrays([part.keys for part in parts]),
        captions=pa.concat_arrays([part.captions for part in parts]),
        sha256=pa.concat_arrays([part.sha256 for part in parts]),
        defects=pa.concat_arrays([part.defects for part in parts]),
        identity=np.concatenate([part.identity for part in parts]),
        picture=np.concatenate([_picture_of(part, number) for number, part in enumerate(parts)]),
        rows=sum(part.rows for part in parts),
    )


def _picture_of(part: Pairs, number: int) -> npt.NDArray[np.uint64]:
    """Numbers of pictures. Those that are known by a key alone are others in each set: each may have a 000000000."""
    by_key = np.asarray(pc.is_null(part.sha256))
    other = np.uint64((number * 0x9E3779B97F4A7C15) % (1 << 64))
    found: npt.NDArray[np.uint64] = np.where(by_key, part.picture ^ other, part.picture)
    return found


def web_captions(source: PairSource) -> tuple[Pairs, list[str | None]]:
    """All pictures, those without a text too, and the text of each. Raises as `open_pairs`, for a `caption_column` of
    another name than `caption` without a text, and for one that is no text or that only some shards have."""
    pictures = open_pairs(source, captions=False)
    try:
        with_text = open_pairs(source)
    except (ConfigError, ShardError) as error:
        column = source.caption_column
        if column != CAPTION or (isinstance(error, ShardError) and _some_have(pictures.shards, column)):
            raise
        return pictures, [None] * len(pictures)
    texts: dict[tuple[int, str], str] = dict(
        zip(_names(with_text), with_text.captions.to_pylist(), strict=True),
    )
    return pictures, [texts.get(name) for name in _names(pictures)]


def _some_have(shards: Sequence[Shard], column: str) -> bool:
    return any(shard.storage.exists(shard.table_name()) and column in shard.column_files for shard in shards)


def _names(pairs: Pairs) -> list[tuple[int, str]]:
    return list(zip(pairs.shard.tolist(), pairs.keys.to_pylist(), strict=True))


def caption_batches(
    pairs: Pairs, look: Look, deal: Deal, first: int, broken: set[int]
) -> Generator[CaptionBatch, None, None]:
    """This worker's part of the batches from number `first` on, without end.

    Rows without a readable picture go to `broken`. Raises StageError when too many in a row have none.
    """
    share = deal.batch // deal.world
    order = lru_cache(maxsize=2)(lambda epoch: draw_order(pairs, deal.seed, epoch))

    def places() -> Iterator[int]:
        step = first
        while True:
            start = step * deal.batch + deal.rank * share
            yield from range(start, start + share)
            step += 1

    def work(place: int) -> tuple[int, Any]:
        # Of two epochs one is whole, so that a set with a single readable picture is found to have it.
        for stand_in in range(place, place + min(MOST_BROKEN, 2 * len(pairs))):
            epoch, number = divmod(stand_in, len(pairs))
            row = int(order(epoch)[number])
            view = None if row in broken else _view(pairs, look, row, epoch)
            if view is not None:
                return row, view
            broken.add(row)
        raise StageError(
            f"{min(MOST_BROKEN, len(pairs)):,} pictures in a row cannot be decoded, e.g. that of {pairs.key(row)}; "
            "check the shards"
        )

    rows: list[int] = []
    views: list[Any] = []
    for _, (row, view) in in_order(work, places(), deal.threads):
        rows.append(row)
        views.append(view)
        if len(rows) == share:
            yield CaptionBatch(np.array(rows, np.int64), np.stack(views))
            rows, views = [], []


def _view(pairs: Pairs, look: Look, row: int, epoch: int) -> Any:
    pixels = pairs.decoded(row)
    try:
        return None if pixels is None else look(pixels, row, epoch)
    except CurateError:
        raise
    except Exception:  # noqa: BLE001 - the row is what is at fault, and is counted
        return None
