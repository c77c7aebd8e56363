"""A loader as a data set of PyTorch: worker w of n reads batches w, w + n, ... of the plan, so the order is the same.

A DataLoader takes a batch from each worker in turn, which puts them back into the plan's order at any number of
workers. Give it `batch_size=None`, because batches come whole, and a `collate_fn` where workers are to make tensors.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import IterableDataset, get_worker_info

from curate.train.data.loader import Batch, Loader

__all__ = ["HandoverDataset"]


class HandoverDataset(IterableDataset[Batch]):
    """The batches of `loader`, from where it is.

    `DataLoader(HandoverDataset(loader), batch_size=None, num_workers=n)` gives them in the plan's order. With workers
    the loader in the training's own process does not move: put down `loader.state(batch)` for the last batch that was
    used, and look into `batch.unread`.
    """

    def __init__(self, loader: Loader) -> None:
        super().__init__()
        self.loader = loader

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        return iter(self.loader) if worker is None else self.loader.part(worker.id, worker.num_workers)
