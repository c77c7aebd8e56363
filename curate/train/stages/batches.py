"""The loader's batches as units of tensors, one batch ahead of the training.

Unit u of a batch has the rows u, u + units, u + 2 units, ... of the global order, and worker r reads the rows r,
r + world, ...: so a worker's units are the same whatever else there is. A thread reads, decodes and puts together the
next batch while this one is computed; where the loader stands is remembered beside each batch, so a state is never
that of the batch ahead.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import torch

from curate.errors import StageError
from curate.handover.stages import MixtureSource
from curate.sample import Sample
from curate.train.data import Batch, Drawn, Loader
from curate.train.spread_training import Peers
from curate.train.stages.collate import COUNTED, Collator, Given, Unit
from curate.train.stages.ordered_sum import by_unit

__all__ = ["LoadedBatches", "given_of"]


class LoadedBatches:
    """`curate.train.stages.course.Batches` from a loader; `units` of each batch, over all workers. `counts`: what the
    batches that were given had, by the names of COUNTED, over all workers."""

    def __init__(self, loader: Loader, collator: Collator, units: int, peers: Peers, device: torch.device) -> None:
        self._loader, self._collator, self._peers, self._device = loader, collator, peers, device
        self._own = units // peers.world
        self._sources = {source.name: source for source in loader.stage.mixture.sources}
        self._batches: Iterator[Batch] = iter(loader)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._ahead: Future[tuple[list[Unit], list[list[int]], Mapping[str, Any]] | None] | None = None
        self._place: Mapping[str, Any] = {}
        self.counts: Counter[str] = Counter()

    def next(self) -> tuple[Sequence[Unit], str]:
        """As `Batches.next`. Raises StageError at the end of the stage."""
        found = (self._ahead or self._pool.submit(self._make)).result()
        if found is None:
            raise StageError("the loader has no further batch, and the stage has steps left; lower steps")
        self._ahead = self._pool.submit(self._make)
        units, told, self._place = found
        pieces = [torch.tensor([own], dtype=torch.int64, device=self._device) for own in told]
        keys, *counts = torch.cat(by_unit(pieces, self._peers)).T.tolist()
        for name, own in zip(COUNTED, counts, strict=True):
            self.counts[name] += sum(own)
        return units, hashlib.blake2b(repr(keys).encode(), digest_size=8).hexdigest()

    def state(self) -> Mapping[str, Any]:
        """As `Batches.state`."""
        return {"loader": self._place, "counts": dict(self.counts)}

    def resume(self, state: Mapping[str, Any]) -> None:
        """As `Batches.resume`, before the first batch."""
        self._loader.resume(state["loader"])
        self._loader.new_plan().close()  # raises here, and not in a thread, where the place is none
        self.counts = Counter({name: int(state["counts"][name]) for name in COUNTED})

    def close(self) -> None:
        """End the threads, the loader's too."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        if isinstance(self._batches, Generator):
            self._batches.close()

    def _make(self) -> tuple[list[Unit], list[list[int]], Mapping[str, Any]] | None:
        batch = next(self._batches, None)
        if batch is None:
            return None
        parts = [batch.rows[number :: self._own] for number in range(self._own)]
        told, units = [], []
        for part in parts:
            key = _number([f"{drawn.source}/{drawn.key}" for row in part for drawn in row])
            given = [[given_of(drawn, self._sources) for drawn in row] for row in part]
            units.append(self._collator.unit([[each for each in row if each is not None] for row in given]))
            self._collator.counted["unreadable_examples"] += sum(row.count(None) for row in given)
            told.append([key, *(self._collator.counted[name] for name in COUNTED)])
        return units, told, self._loader.state(batch)


def given_of(drawn: Drawn, sources: Mapping[str, MixtureSource]) -> Given | None:
    """What the collator wants of an example, the chosen caption as its caption; None for one that was not read."""
    example = drawn.example
    if example is None:
        return None
    if isinstance(example, Sample):
        example = replace(example, caption=drawn.caption)
    return Given(example, sources[drawn.source], drawn.next_image, drawn.view)


def _number(keys: Sequence[str]) -> int:
    told = "\0".join(keys).encode("utf-8", "replace")
    return int.from_bytes(hashlib.blake2b(told, digest_size=8).digest(), "little", signed=True)
