"""Low-rank adapters: what a stage learns of a linear layer whose own weight stays as it is.

After Hu et al. (2021): the layer gives W x + (alpha / rank) B A x, with B at 0, so it begins as it was. With `dora`
(Liu et al. 2024) the rows of the sum are brought to learned lengths, which begin as those of W. At the end of a stage
the adapters are added to the weights, so what is written is a plain model; to 1e-6 it answers the same.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from curate.errors import ConfigError
from curate.handover.stages import Lora

__all__ = ["Adapted", "adapt", "merge"]


class Adapted(nn.Module):
    """A linear layer with an adapter; `base` is the layer as it was."""

    def __init__(self, base: nn.Linear, lora: Lora) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Parameter(torch.empty(lora.rank, base.in_features, device=base.weight.device))
        self.up = nn.Parameter(torch.zeros(base.out_features, lora.rank, device=base.weight.device))
        nn.init.kaiming_uniform_(self.down, a=5**0.5)
        self.scale = lora.alpha / lora.rank
        self.lengths = nn.Parameter(base.weight.detach().norm(dim=1)) if lora.dora else None

    def forward(self, x: Tensor) -> Tensor:
        if self.lengths is not None:
            return functional.linear(x, self.weight(), self.base.bias)
        found: Tensor = self.base(x) + functional.linear(functional.linear(x, self.down), self.up) * self.scale
        return found

    def weight(self) -> Tensor:
        """The weight of one layer that does the same, (out, in)."""
        whole = self.base.weight + self.scale * (self.up @ self.down)
        if self.lengths is None:
            return whole
        return whole * (self.lengths / whole.detach().norm(dim=1).clamp(min=1e-12))[:, None]


def adapt(part: nn.Module, lora: Lora, where: str, seed: int) -> None:
    """Put adapters on the linear layers of `part` whose name has one of the patterns in it, in place.

    Layers inside torch's own MultiheadAttention are passed over: it reads their weights and does not call them. Raises
    ConfigError where none is left.
    """
    found = [
        (holder, name, child)
        for path, holder in part.named_modules()
        if not isinstance(holder, nn.MultiheadAttention)
        for name, child in holder.named_children()
        if type(child) is nn.Linear and _wanted(f"{path}.{name}", lora)
    ]
    if not found:
        told = f"whose name has {' or '.join(lora.patterns)} in it" if lora.patterns else "of its own"
        raise ConfigError(f'trainable.{where}: no linear layer {told} to adapt; mend patterns, or write "full"')
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for holder, name, child in found:
            setattr(holder, name, Adapted(child, lora))


def merge(module: nn.Module) -> int:
    """Add every adapter to its layer and take it away, in place; how many there were."""
    found = [
        (holder, name, child)
        for holder in module.modules()
        for name, child in holder.named_children()
        if isinstance(child, Adapted)
    ]
    for holder, name, child in found:
        with torch.no_grad():
            child.base.weight.copy_(child.weight())
        setattr(holder, name, child.base)
    return len(found)


def _wanted(path: str, lora: Lora) -> bool:
    return not lora.patterns or any(pattern in path for pattern in lora.patterns)
