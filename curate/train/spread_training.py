"""One training on several workers: each computes its part of every batch, and all end with the same weights.

The loss is a sum over the whole batch, so a gradient is the sum of the workers' gradients, and a batch gives the same
step however many workers share it, but for the order of sums. Features are gathered in the order of the workers, which
is the order of the batch, so queue and hard negatives are the same too: a training begun on four workers goes on with
two. Gradients are added in one flat piece (1 GB for BLIP-base, some 10 ms between GPUs of one machine, 100 s of a
second beside a step), not behind the backward pass as DDP does: that wants one forward call, and a matcher has three.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from curate.errors import StageError

__all__ = ["Alone", "Peers", "SharedTraining", "Together", "carry_out", "peers_of_process", "require_same"]


class Peers(Protocol):
    """The workers of a training, of which this process is `rank`, counted from 0."""

    rank: int
    world: int

    def gather(self, own: Tensor) -> Tensor:
        """The tensors (n, ...) of all workers as one, (world * n, ...), by rank. Gradients come back to their owner."""

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Each tensor becomes its sum over the workers, in place."""


class Alone:
    """A training in a single process."""

    rank, world = 0, 1

    def gather(self, own: Tensor) -> Tensor:
        return own

    def add(self, tensors: Sequence[Tensor]) -> None:
        return None


class Together:
    """Workers of a `torch.distributed` group that is there already."""

    def __init__(self) -> None:
        self.rank = torch.distributed.get_rank()
        self.world = torch.distributed.get_world_size()

    def gather(self, own: Tensor) -> Tensor:
        found: Tensor = _Gather.apply(own)
        return found

    def add(self, tensors: Sequence[Tensor]) -> None:
        flat = torch.cat([tensor.detach().flatten().float() for tensor in tensors])
        torch.distributed.all_reduce(flat)
        for tensor, summed in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.detach().copy_(summed.view_as(tensor))


class _Gather(torch.autograd.Function):
    """Gathered forward; backward the sum of what every worker makes of this worker's part."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        parts = [torch.empty_like(own) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(parts, own.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:
        whole = slopes[0].contiguous()
        torch.distributed.all_reduce(whole)
        return whole.chunk(torch.distributed.get_world_size())[torch.distributed.get_rank()]


def require_same(peers: Peers, told: int, where: Any, what: str) -> None:
    """Raise StageError unless all workers tell the same number: else they would add up gradients of other models."""
    found = peers.gather(torch.tensor([told], dtype=torch.int64, device=where)).tolist()
    if len(set(found)) > 1:
        raise StageError(f"the {peers.world} workers do not see the same {what}")


@dataclass(frozen=True)
class SharedTraining:
    """What each worker is told: the settings of a captioner or a matcher, where the model is to be written, where the
    pairs come from (None: the settings say), and who hears how it goes."""

    settings: Any
    out: Path
    pairs: Callable[[], Any] | None
    say: Callable[[str], None]


def carry_out(training: SharedTraining, gpu: int) -> None:
    """Train on this worker, with the others of the group that this process is in. `gpu`: the number of its own."""
    from curate.models.device import work_on
    from curate.train.captioner import CaptionerOrder, train_captioner
    from curate.train.matcher import train_matcher

    threads = training.settings.training.threads or torch.get_num_threads()
    work_on(gpu, threads)
    if torch.cuda.is_available():
        torch.cuda.set_device(gpu)
    train = train_captioner if isinstance(training.settings, CaptionerOrder) else train_matcher
    train(training.settings, training.out, training.say, peers_of_process(), training.pairs)


def peers_of_process() -> Peers:
    """The workers of the group that this process is in; itself alone where there is none."""
    return Together() if torch.distributed.is_available() and torch.distributed.is_initialized() else Alone()
