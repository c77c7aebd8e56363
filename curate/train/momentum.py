"""What makes a small batch enough for a contrastive loss: slow copies of the towers, and a queue of what they saw.

After MoCo (He et al. 2020), ALBEF (Li et al. 2021) and BLIP (Li et al. 2022). The features of the last 57,600 pairs
stand in a queue as further negatives, 118 MB at 256 numbers; they come from copies of the towers that follow the
trained ones by .5 % a step, so that old features and new ones can be compared. The copies also say how alike two pairs
are that are no pair, and the targets become 60 % "its own" and 40 % what the copies think: half of the web's pairs
describe others of a batch nearly as well.

Two things are as in BLIP's code for clean sets and one is not: captions of one picture are positives of one another
wherever in the queue they stand; the share of the copies' opinion rises over two epochs; but the queue starts empty,
where BLIP fills it with random features, and any size goes with any batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = [
    "FIRST_TEMPERATURE",
    "LEAST_TEMPERATURE",
    "MOST_TEMPERATURE",
    "FeatureQueue",
    "Momentum",
    "Towers",
    "itc_loss",
    "soft_targets",
]

FIRST_TEMPERATURE = 0.07
LEAST_TEMPERATURE = 0.001
MOST_TEMPERATURE = 0.5
"""BLIP's numbers for what cosines are divided by."""


class Towers(Protocol):
    """The part of a matcher that embeds pictures and texts apart."""

    def look(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (n, size, size, 3) to what the text looks at, (n, m, d), and to unit float32 features (n, e)."""

    def embed(self, tokens: Tensor) -> Tensor:
        """int64 (n, length) to unit float32 features (n, e)."""


class Momentum:
    """A copy of a module whose parameters are a moving mean: `share` of the copy and the rest of the module."""

    def __init__(self, module: nn.Module, share: float) -> None:
        self.copy: Any = deepcopy(module).requires_grad_(False).eval()
        self._share = share

    @torch.no_grad()
    def follow(self, module: nn.Module) -> None:
        """One step after the module."""
        for mean, own in zip(self.copy.parameters(), module.parameters(), strict=True):
            mean.mul_(self._share).add_(own.detach(), alpha=1 - self._share)
        for mean, own in zip(self.copy.buffers(), module.buffers(), strict=True):
            mean.copy_(own)


class FeatureQueue:
    """A ring of features, float32 (size, e) of pictures and of texts, and of the picture's number, int64 (size,)."""

    def __init__(self, size: int, dimensions: int, device: Any) -> None:
        self._pictures = torch.zeros(size, dimensions, device=device)
        self._texts = torch.zeros(size, dimensions, device=device)
        self._numbers = torch.zeros(size, dtype=torch.int64, device=device)
        self._place = self._filled = 0

    def __len__(self) -> int:
        return self._filled

    @property
    def pictures(self) -> Tensor:
        """(n, e), n as many as have come, at most the size."""
        return self._pictures[: self._filled]

    @property
    def texts(self) -> Tensor:
        """(n, e)."""
        return self._texts[: self._filled]

    @property
    def numbers(self) -> Tensor:
        """int64 (n,)."""
        return self._numbers[: self._filled]

    @torch.no_grad()
    def push(self, pictures: Tensor, texts: Tensor, numbers: Tensor) -> None:
        """Take in the features of a batch, in place of the oldest; of a batch above the size its last ones."""
        size = len(self._numbers)
        if not size:
            return
        count = min(len(numbers), size)
        places = (self._place + torch.arange(count, device=numbers.device)) % size
        rings = (self._pictures, self._texts, self._numbers)
        for ring, new in zip(rings, (pictures, texts, numbers), strict=True):
            ring[places] = new[-count:].to(ring.dtype)
        self._place = (self._place + count) % size
        self._filled = min(self._filled + count, size)

    def state(self) -> dict[str, Tensor]:
        """All of it, to be written down."""
        ends = torch.tensor([self._place, self._filled])
        return {"pictures": self._pictures, "texts": self._texts, "numbers": self._numbers, "ends": ends}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """What `state` gave, of a queue of the same size."""
        self._pictures.copy_(state["pictures"])
        self._texts.copy_(state["texts"])
        self._numbers.copy_(state["numbers"])
        self._place, self._filled = (int(end) for end in state["ends"])


def soft_targets(similarity: Tensor, same: Tensor, opinion: float) -> Tensor:
    """The target of each row, float32 (n, k), summing to 1: `opinion` (0 to 1) of the softmax of the copies'
    `similarity` (n, k), divided by the temperature already, and the rest evenly on the columns of the `same` picture,
    bool (n, k), which each row has at least one of."""
    own = same.float()
    return opinion * similarity.softmax(dim=1) + (1 - opinion) * own / own.sum(dim=1, keepdim=True)


def itc_loss(similarity: Tensor, targets: Tensor) -> Tensor:
    """The sum over rows of the cross-entropy of the trained towers' `similarity` (n, k), divided by the temperature
    already, against `targets` (n, k); float32 ()."""
    return -(functional.log_softmax(similarity, dim=1) * targets).sum()
