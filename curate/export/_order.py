"""Which samples leave, and in which order: the part of an export that sees all shards at once.

The driver holds numbers and no text: shard, place and length in its tar, copy, and a hash that gives the order. That
is 75 bytes a sample at the peak and 1.6 microseconds, so 12.8 M samples take 1 GB and 20 s. The hash is of the seed
and the sample's key alone, so the order depends neither on how many samples go into a shard nor on who writes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import ConfigError, ShardError
from curate.shard import Shard, Slice, list_shards
from curate.slices import SlicePlan, in_current_cut, known_slices, read_plan, write_cut
from curate.storage import Storage
from curate.tar import BLOCK
from curate.tombstones import alive, hidden_keys

__all__ = ["Order", "current_shards", "find_samples", "order_of", "planned"]

Numbers = npt.NDArray[Any]
INDEX = pa.schema({"key": pa.string(), "offset": pa.int64(), "size": pa.int64()})


@dataclass(frozen=True)
class Order:
    """The samples in the order of the output, as aligned arrays, and the shards that have no decision yet.

    `shard` (index into `shards`), `copy` (0, 1, ... of the same sample): int32; `offset`, `size`: int64, bytes of all
    the sample's members in its tar, headers included.
    """

    shards: Sequence[str]
    shard: Numbers
    copy: Numbers
    offset: Numbers
    size: Numbers
    undecided: Sequence[str]

    def digest(self) -> str:
        """16 hex digits for this choice and order of samples."""
        found = hashlib.sha256(repr(list(self.shards)).encode())
        for numbers in (self.shard, self.copy, self.offset, self.size):
            found.update(numbers.tobytes())
        return found.hexdigest()[:16]

    def tables(self, samples: int) -> Iterator[pa.Table]:
        """One table per output shard: `shard` (its id), `copy`, `offset`, `size`."""
        names = pa.array(self.shards, pa.string())
        for start in range(0, len(self.shard), samples):
            part = slice(start, start + samples)
            columns = {n: pa.array(getattr(self, n)[part]) for n in ("copy", "offset", "size")}
            yield pa.table({"shard": names.take(pa.array(self.shard[part])), **columns})


def find_samples(source: Storage, seed: int | None) -> Order:
    """The kept samples of a data set: all that have a picture where nothing was selected yet.

    In order of shard and row when `seed` is None, else shuffled by it. A column `multiplicity` gives the copies.
    Raises ShardError for a shard without an index, and where there is no data set; ConfigError for documents.
    """
    shards = current_shards(source, documents=False)
    decided = [s for s in shards if "keep" in s.column_files]
    taken = decided or shards
    return order_of(taken, seed, undecided=[s.id for s in shards if s not in taken])


def order_of(shards: Sequence[Shard], seed: int | None, undecided: Sequence[str] = (), packed: bool = False) -> Order:
    """The samples of these shards that are kept and not dead, ordered as by `find_samples`.

    `packed`: what was dropped is in no tar any more and copies are samples of their own, as in a hand-over, so `keep`
    and `multiplicity` are not asked; what a hash list matched stays out. Raises ShardError for a shard without an
    index.
    """
    parts = [_kept(shard, number, seed, packed) for number, shard in enumerate(shards)]
    columns = {name: [part.pop(name) for part in parts] for name in ("hash", "shard", "copy", "offset", "size")}
    hashes = columns.pop("hash")
    order = np.argsort(np.concatenate(hashes), kind="stable") if hashes else np.empty(0, np.int64)
    hashes.clear()
    arrays = {}
    for name in list(columns):  # one at a time, so that only one of them is held twice
        column = columns.pop(name)
        arrays[name] = np.concatenate(column)[order] if column else order
    return Order(shards=[s.id for s in shards], undecided=undecided, **arrays)


def planned(target: Storage, wanted: SlicePlan, other: str, tables: Iterable[pa.Table]) -> Iterator[Slice]:
    """The slices of an export: those of the plan that is there, else cut from `tables` and written.

    Raises ConfigError where the folder holds another export; `other` says in what it may differ.
    """
    plan = read_plan(target)
    if plan is not None and (plan.identity, plan.settings) != (wanted.identity, wanted.settings):
        raise ConfigError(f"{target.root} holds another export ({other}); choose another --out, or delete it")
    if plan is not None and plan.complete:
        yield from plan.slices
        return
    yield from write_cut(target, wanted, tables)


def current_shards(source: Storage, documents: bool) -> list[Shard]:
    """The shards of the current cut; without one, all that are there.

    Raises ShardError where there is no data set, ConfigError where it holds documents and pairs are wanted, or pairs
    and documents are.
    """
    there = list_shards(source)
    if not there and known_slices(source) is None:
        raise ShardError(f"{source.root} holds no data set; name the folder that `curate run` wrote to")
    shards = in_current_cut(source, there)
    if shards and source.exists(shards[0].parts.table_name()) != documents:
        has, takes = ("pairs", "documents") if documents else ("documents", "pairs")
        raise ConfigError(
            f"{source.root} holds {has}, and this format takes {takes}; `curate export --help` tells which"
        )
    return shards


def _kept(shard: Shard, number: int, seed: int | None, packed: bool) -> dict[str, Numbers]:
    """The arrays of Order for one shard, and `hash`: uint64, 0 for all where nothing is shuffled."""
    keys, offset, size = _ranges(_index(shard))
    copies = (_shown(shard, keys) if packed else _copies(shard, keys)) * alive(shard, keys)
    chosen = np.repeat(np.arange(len(keys)), copies)
    copy = np.arange(len(chosen)) - np.repeat(np.cumsum(copies) - copies, copies)
    hashes = np.zeros(len(chosen), np.uint64) if seed is None else _hashes(keys.take(pa.array(chosen)), copy, seed)
    where = np.full(len(chosen), number, np.int32)
    copy = copy.astype(np.int32)
    return {"hash": hashes, "shard": where, "copy": copy, "offset": offset[chosen], "size": size[chosen]}


def _index(shard: Shard) -> pa.Table:
    """Where the members lie. Raises ShardError for a table that is none."""
    try:
        return shard.table("index").select(INDEX.names).cast(INDEX)
    except (KeyError, ValueError, pa.ArrowException) as error:
        raise ShardError(
            f"{shard.table_name('index')} in {shard.storage.root} is no index of a tar ({error}); make that shard anew"
        ) from None


def _ranges(index: pa.Table) -> tuple[pa.Array, Numbers, Numbers]:
    """Per sample its key, and the bytes from the end of the sample before it to the end of its own last member."""
    keys = index["key"].combine_chunks()
    if not len(keys):
        return keys, np.empty(0, np.int64), np.empty(0, np.int64)
    ends = index["offset"].to_numpy() + -(-index["size"].to_numpy() // BLOCK) * BLOCK
    changes = np.asarray(pc.not_equal(keys[1:], keys[:-1]))
    last = np.append(np.flatnonzero(changes), len(keys) - 1)
    start = np.append(0, ends[last][:-1])
    return keys.take(pa.array(last)), start, ends[last] - start


def _shown(shard: Shard, keys: pa.Array) -> Numbers:
    """1 for each sample, 0 for what a hash list matched."""
    hidden = pa.array(sorted(hidden_keys(shard)), pa.string())
    return 1 - np.asarray(pc.is_in(keys, value_set=hidden), np.int64)


def _copies(shard: Shard, keys: pa.Array) -> Numbers:
    """How often each sample leaves: 0 where it was dropped."""
    wanted = [n for n in ("keep", "multiplicity") if n in shard.column_files]
    if not wanted:
        return np.ones(len(keys), np.int64)
    rows = shard.columns(["key", *wanted])
    copies = np.ones(len(rows), np.int64)
    for name in wanted:
        copies *= np.asarray(pc.fill_null(rows[name].combine_chunks(), 0 if name != "keep" else False), np.int64)
    row = pc.index_in(keys, value_set=rows["key"].combine_chunks())
    found = np.asarray(pc.fill_null(row, -1))
    return np.where(found >= 0, copies[found], 0) if len(copies) else np.zeros(len(keys), np.int64)


def _hashes(keys: pa.Array, copy: Numbers, seed: int) -> Numbers:
    digests = [
        hashlib.blake2b(f"{seed} {key}-{number}".encode(), digest_size=8).digest()
        for key, number in zip(keys.to_pylist(), copy.tolist(), strict=True)
    ]
    return np.frombuffer(b"".join(digests), np.dtype("<u8"))
