"""Samples leave with the texts that a view keeps of them, instead of the web's caption alone.

Which samples have a text is known before they are dealt to shards, so that shards stay of equal size; a sample of which
the view keeps nothing is left out and counted. A shuffled shard has its samples from everywhere, so texts are sorted by
the shard that they go to, in files (64 MB in memory at any size), and travel in the plan beside the samples' places:
every column file is read twice and none is read again for each shard that is written. 500,000 samples with two texts
each take 1.8 s of one core.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.caption.choose import view_columns
from curate.dedup.bins import Bins
from curate.errors import ConfigError, ShardError
from curate.export._order import Order
from curate.fetch.members import strict_json
from curate.registry import nearest
from curate.shard import Shard
from curate.storage import Storage

__all__ = ["CAPTION_COLUMNS", "Captions", "find_captions", "retold"]

TEXTS, ORIGINS, SCORES, WEIGHTS = LISTS = ("captions", "caption_origins", "caption_scores", "caption_weights")
WEB_CAPTION, CAPTION = "web_caption", "caption"
CAPTION_COLUMNS: Mapping[str, pa.DataType] = {
    CAPTION: pa.string(),
    WEB_CAPTION: pa.string(),
    TEXTS: pa.list_(pa.string()),
    ORIGINS: pa.list_(pa.string()),
    SCORES: pa.list_(pa.float32()),
    WEIGHTS: pa.list_(pa.float32()),
}
"""What the sample table of an export with captions has beside the data set's own columns."""

POSITION = "position"
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Captions:
    """The samples that have a text in `view`, in their order; how many were `left_out`, and a digest of all texts."""

    source: Storage
    view: str
    order: Order
    left_out: int
    digest: str

    def tables(self, samples: int) -> Iterator[pa.Table]:
        """As `Order.tables`, with the lists of texts, origins, scores and weights."""
        with TemporaryDirectory(prefix="curate-") as folder:
            bins = Bins(Path(folder) / "texts")
            for shard, positions in _by_shard(self.source, self.order):
                found = _lists(shard, self.view)
                keys = _keys(shard, self.order.offset[positions])
                texts = found.select(LISTS).take(_rows(keys, found["key"]))
                bins.add(positions // samples, texts.append_column(POSITION, pa.array(positions)))
            for number, places in enumerate(self.order.tables(samples)):
                own = bins.read(number)
                if own is None:
                    raise ConfigError(f"{self.source.root} has changed while it was read; run the export again")
                own = own.take(pc.sort_indices(own[POSITION])).drop_columns([POSITION])
                for name in LISTS:
                    places = places.append_column(name, own[name])
                yield places


def find_captions(source: Storage, order: Order, view: str) -> Captions:
    """The samples of `order` that have a text in this view. Raises ConfigError for a view that is not there, ShardError
    where a shard lacks it or has columns of that name that no view wrote."""
    texts = view_columns(view)[0]
    kept = np.zeros(len(order.shard), bool)
    digest = hashlib.sha256()
    for number, (shard, positions) in enumerate(_by_shard(source, order)):
        if number == 0 and texts not in shard.column_files:
            raise ConfigError(_no_view(source, shard, view))
        found = _lists(shard, view)
        lengths = _lengths(found[TEXTS])
        rows = _rows(_keys(shard, order.offset[positions]), found["key"])
        kept[positions] = np.asarray(pc.fill_null(pa.array(lengths).take(rows), 0)) > 0
        digest.update(hashlib.sha256(source.read(shard.table_name(shard.column_files[texts]))).digest())
    arrays = {name: getattr(order, name)[kept] for name in ("shard", "copy", "offset", "size")}
    return Captions(source, view, replace(order, **arrays), int((~kept).sum()), digest.hexdigest()[:16])


def retold(
    members: Mapping[str, bytes], row: Mapping[str, Any], lists: Mapping[str, Any]
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The members of a sample, and its row of the sample table, with the texts of a view.

    `row` is what its `.json` and `.txt` say; `lists` has what the plan says, at least one text. `.txt` is the first
    text; `.json` has that as `caption`, the lists, the caption that was there as `web_caption`, and for each origin
    its first text as `caption_ORIGIN`: open_clip's `--json-text-key` takes single strings. Those of an earlier export
    go."""
    own = {name: lists[name] for name in (TEXTS, ORIGINS)} | {name: _short(lists[name]) for name in (SCORES, WEIGHTS)}
    first: str = own[TEXTS][0]
    by_origin: dict[str, str] = {}
    for text, origin in zip(own[TEXTS], own[ORIGINS], strict=True):
        by_origin.setdefault(f"caption_{origin}", text)
    told = {**own, CAPTION: first, WEB_CAPTION: row.get(CAPTION)}
    before = {f"caption_{origin}" for origin in _strings(row.get(ORIGINS))}
    kept = {name: value for name, value in row.items() if name not in before}
    record = strict_json({**kept, **by_origin, **told})
    return {**members, "json": record, "txt": first.encode("utf-8", "replace")}, {**kept, **told}


def _strings(value: object) -> list[str]:
    """What an earlier export says of its texts' origins; nothing where something else stands there."""
    return [name for name in value if isinstance(name, str)] if isinstance(value, list) else []


def _short(numbers: Sequence[float | None]) -> list[float | None]:
    """Numbers of float32 with as few digits as tell them: .2 and not .20000000298023224."""
    return [None if number is None else float(str(np.float32(number))) for number in numbers]


def _lists(shard: Shard, view: str) -> pa.Table:
    """`key` and the four LISTS of a view. Raises ShardError for columns that no view wrote: imported ones may be called
    `NAME_texts` too."""
    found = shard.columns(["key", *view_columns(view)]).combine_chunks()
    try:
        lists = [found[own].cast(CAPTION_COLUMNS[name]) for own, name in zip(view_columns(view), LISTS, strict=True)]
        texts = pa.table(lists, list(LISTS))
        texts.validate(full=True)
    except pa.ArrowException as error:
        raise _no_lists(shard, view, str(error).partition("\n")[0]) from None
    if any((_lengths(texts[name]) != _lengths(texts[TEXTS])).any() for name in LISTS):
        raise _no_lists(shard, view, "they differ in length within a row")
    if any(texts[name].combine_chunks().flatten().null_count for name in (TEXTS, ORIGINS)):
        raise _no_lists(shard, view, "a text or its origin is null")
    return texts.append_column("key", found["key"])


def _no_lists(shard: Shard, view: str, why: str) -> ShardError:
    names = ", ".join(view_columns(view))
    return ShardError(f"shard {shard.id}: {names} are not what a view writes: {why}; run the view anew, or rename them")


def _lengths(lists: pa.ChunkedArray) -> Numbers:
    return np.asarray(pc.fill_null(pc.list_value_length(lists), 0)).astype(np.int64)


def _by_shard(source: Storage, order: Order) -> Iterator[tuple[Shard, Numbers]]:
    """Each shard that has samples in the order, and their positions there."""
    positions = np.argsort(order.shard, kind="stable")
    ends = np.searchsorted(order.shard[positions], np.arange(len(order.shards) + 1))
    for number, name in enumerate(order.shards):
        own = positions[ends[number] : ends[number + 1]]
        if len(own):
            yield Shard(source, name), own


def _keys(shard: Shard, offsets: Numbers) -> pa.Array:
    """The keys of samples by where they begin in the tar: that of the first member behind."""
    index = shard.table("index", ["key", "offset"])
    member = np.searchsorted(np.asarray(index["offset"]), offsets, side="right")
    return index["key"].combine_chunks().take(pa.array(member))


def _rows(keys: pa.Array, known: pa.ChunkedArray) -> pa.Array:
    """Where each key is, null for one that is not there."""
    return pc.index_in(keys, value_set=known.combine_chunks())


def _no_view(source: Storage, shard: Shard, view: str) -> str:
    texts = view_columns("")[0]
    there = [name.removesuffix(texts) for name in shard.column_files if name.endswith(texts)]
    known = f"; {nearest(view, there)}" if there else ", nor any other; write [views.NAME] into its config and run that"
    return f"--captions {view}: {source.root} has no such view{known}"
