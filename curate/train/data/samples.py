"""Samples of any data set as a data set of PyTorch, for a notebook or a first training.

Each worker of a DataLoader reads every n-th part, one after another: no shuffle, no exact resume, no ranks. A training
that needs those reads a hand-over by `curate.train.data.Loader`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from torch.utils.data import IterableDataset, get_worker_info

__all__ = ["ShardsDataset"]


class ShardsDataset(IterableDataset[Any]):
    """What each of `parts` gives when it is called, in order, each passed through `transform`."""

    def __init__(
        self, parts: Sequence[Callable[[], Iterable[Any]]], transform: Callable[[Any], Any] | None = None
    ) -> None:
        super().__init__()
        self.parts, self.transform = parts, transform

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        own = self.parts if worker is None else self.parts[worker.id :: worker.num_workers]
        for read in own:
            for one in read():
                yield one if self.transform is None else self.transform(one)
