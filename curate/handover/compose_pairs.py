"""Pairs of a data set on their way into a hand-over: the samples of `curate export --to webdataset`, and its reader.

What a slice holds decides the bytes of its shard: where each sample lies, the SHA-256 of the tar it lies in, and the
texts of a view. So a data set whose decisions change leaves the shards alone that come out the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from curate.export._captions import TEXTS, find_captions
from curate.export._order import Order, current_shards, find_samples, order_of
from curate.export.webdataset import read_ahead, read_pair
from curate.handover.carried_images import picture_of
from curate.handover.compose_conversations import conversation_tables, with_conversation
from curate.handover.compose_source import Facts, Item, LeftOut, Packed, ShardSettings
from curate.manifest import Manifest
from curate.shard import IMAGE_EXTENSIONS
from curate.storage import Storage

__all__ = ["Wanted", "kept_pairs", "pair_examples", "pair_tables"]

PLACES = ("shard", "copy", "offset", "size")
TAR = "tar_sha256"


@dataclass(frozen=True)
class Wanted:
    """Which pairs of a data set leave, and with what: the texts of the view `captions`, or the talk `conversations`."""

    captions: str
    conversations: str
    kept_only: bool
    samples: int


def pair_tables(storage: Storage, wanted: Wanted, shards: ShardSettings, facts: Facts) -> Iterator[pa.Table]:
    """A table per output shard: `shard`, `copy`, `offset`, `size`, `tar_sha256`, and what `wanted` adds to them."""
    order = kept_pairs(storage, wanted.kept_only, shards.seed)
    facts["shards_without_selection"] = len(order.undecided)
    if wanted.captions:
        found = find_captions(storage, order, wanted.captions)
        facts["samples_without_text"] = found.left_out
        order = _drawn(found.order, wanted.samples, shards.shuffle)
        tables = replace(found, order=order).tables(shards.samples)
    elif wanted.conversations:
        talked = with_conversation(storage, order, wanted.conversations)
        facts["samples_without_conversation"] = len(order.shard) - len(talked.shard)
        order = _drawn(talked, wanted.samples, shards.shuffle)
        tables = conversation_tables(storage, order, wanted.conversations, shards.samples)
    else:
        order = _drawn(order, wanted.samples, shards.shuffle)
        tables = order.tables(shards.samples)
    facts["examples"] = len(order.shard)
    digests = _tar_digests(storage)
    for table in tables:
        own = [digests.get(shard, "") for shard in table["shard"].to_pylist()]
        yield table.append_column(TAR, pa.array(own, pa.string()))


def kept_pairs(storage: Storage, kept_only: bool, seed: int) -> Order:
    """The samples in an order drawn by `seed`: those that are kept, or all with a picture that may be shown."""
    if kept_only:
        return find_samples(storage, seed)
    return order_of(current_shards(storage, documents=False), seed, packed=True)


def pair_examples(storage: Storage, plan: pa.Table, counts: Counter[str]) -> Iterator[Item]:
    """An item per row, with the members as they were; `.txt` and `.json` have the texts of a view."""
    for place, raw in read_ahead(storage, plan):
        pair = read_pair(raw, place)
        data = next((pair.members[e] for e in IMAGE_EXTENSIONS if e in pair.members), b"")
        found = picture_of(data)
        if isinstance(found, str):
            yield LeftOut(pair.key, f"{place['shard']}.tar, {pair.key}", "not_a_picture", found)
            continue
        yield Packed(pair.key, [*pair.members.items()], [found.size], _texts(pair.row), pair.row)


def _texts(row: Mapping[str, Any]) -> Sequence[str]:
    texts = row.get(TEXTS)
    every = texts if isinstance(texts, list) else [row.get("caption")]
    return [text for text in every if isinstance(text, str)]


def _drawn(order: Order, samples: int, shuffle: bool) -> Order:
    """The first `samples` of a shuffled order (0: all), back in the order of the data set where that is asked for."""
    count = min(samples, len(order.shard)) if samples else len(order.shard)
    own = {name: getattr(order, name)[:count] for name in PLACES}
    if not shuffle:
        rows = np.lexsort((own["copy"], own["offset"], own["shard"]))
        own = {name: column[rows] for name, column in own.items()}
    return replace(order, **own)


def _tar_digests(storage: Storage) -> dict[str, str]:
    """Shard to the SHA-256 of its tar (16 hex digits), of those that a commit tells."""
    files = (record for entry in Manifest.read(storage).entries for record in entry.files)
    return {f.name.removesuffix(".tar"): f.sha256[:16] for f in files if f.name.endswith(".tar")}
