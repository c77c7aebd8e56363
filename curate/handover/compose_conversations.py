"""Conversations that a language model made about the pictures of a data set, on their way into a hand-over.

They are columns beside the tars (`curate.instruct`), read twice: once to tell who has one, once to send each, with its
kind and the model that made it, to the shard its sample goes to. They travel in the slice, as the texts of a view do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.dedup.bins import Bins
from curate.errors import ConfigError
from curate.export._order import Order
from curate.export.webdataset import read_ahead, read_pair
from curate.handover.carried_images import picture_of
from curate.handover.compose_source import Item, LeftOut, Packed
from curate.handover.layout import members_of
from curate.instruct.leave import conversation_of
from curate.instruct.stage import instruction_columns
from curate.registry import nearest
from curate.sample import Sample, Text
from curate.shard import IMAGE_EXTENSIONS, Shard
from curate.storage import Storage

__all__ = ["conversation_examples", "conversation_tables", "with_conversation"]

POSITION = "position"
Numbers = npt.NDArray[np.int64]


def with_conversation(storage: Storage, order: Order, name: str) -> Order:
    """The samples of `order` that have the conversation NAME. Raises ConfigError where no shard has the column."""
    kept = np.zeros(len(order.shard), bool)
    for positions, columns in _told(storage, order, name):
        kept[positions] = np.asarray(pc.is_valid(columns[instruction_columns(name)[0]]))
    return replace(order, **{own: getattr(order, own)[kept] for own in ("shard", "copy", "offset", "size")})


def conversation_tables(storage: Storage, order: Order, name: str, samples: int) -> Iterator[pa.Table]:
    """As `Order.tables`, with `NAME_conversation`, `NAME_kind` and `NAME_model`."""
    with TemporaryDirectory(prefix="curate-") as folder:
        bins = Bins(Path(folder) / "talk")
        for positions, columns in _told(storage, order, name):
            bins.add(positions // samples, columns.append_column(POSITION, pa.array(positions)))
        for number, places in enumerate(order.tables(samples)):
            own = bins.read(number)
            if own is None:
                raise ConfigError(f"{storage.root} has changed while it was read; run again")
            own = own.take(pc.sort_indices(own[POSITION])).drop_columns([POSITION])
            for column in own.column_names:
                places = places.append_column(column, own[column])
            yield places


def conversation_examples(storage: Storage, name: str, plan: pa.Table, counts: Counter[str]) -> Iterator[Item]:
    """An item per row: the picture, then what is said."""
    for place, raw in read_ahead(storage, plan):
        pair = read_pair(raw, place)
        extension = next((e for e in IMAGE_EXTENSIONS if e in pair.members), "")
        found = picture_of(pair.members.get(extension, b""))
        if isinstance(found, str):
            yield LeftOut(pair.key, f"{place['shard']}.tar, {pair.key}", "not_a_picture", found)
            continue
        told = {column: place[column] for column in _columns(name)}
        sample = Sample(pair.key, found.data, extension, None, {**pair.row, **told})
        example = conversation_of(sample, name)
        assert example is not None  # those without one have left the order
        texts = [part.text for turn in example.turns for part in turn.parts if isinstance(part, Text)]
        yield Packed(pair.key, members_of(example, "chat"), [found.size], texts)


def _columns(name: str) -> tuple[str, ...]:
    conversation, kind, _, _, model = instruction_columns(name)
    return conversation, kind, model


def _told(storage: Storage, order: Order, name: str) -> Iterator[tuple[Numbers, pa.Table]]:
    """Of each shard the places of its samples in `order`, and their columns. Raises ConfigError."""
    by_shard = np.argsort(order.shard, kind="stable")
    ends = np.searchsorted(order.shard[by_shard], np.arange(len(order.shards) + 1))
    for number, shard in enumerate(Shard(storage, own) for own in order.shards):
        positions = by_shard[ends[number] : ends[number + 1]]
        if not len(positions):
            continue
        _require(shard, name)
        index = shard.table("index", ["key", "offset"])
        first = np.searchsorted(np.asarray(index["offset"]), order.offset[positions], side="right")
        columns = shard.columns(["key", *_columns(name)])
        rows = pc.index_in(index["key"].take(pa.array(first)), value_set=columns["key"].combine_chunks())
        yield positions, columns.take(rows).drop_columns(["key"])


def _require(shard: Shard, name: str) -> None:
    end = instruction_columns("")[0]
    there = [column.removesuffix(end) for column in shard.column_files if column.endswith(end)]
    if name not in there:
        known = f"; {nearest(name, there)}" if there else ""
        raise ConfigError(
            f"conversations = {name!r}: shard {shard.id} in {shard.storage.root} has none of them{known}; run its "
            f"config with [instructions.{name}] first"
        )
