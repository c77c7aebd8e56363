"""Image-text matching as BLIP trains it: each pair against two wrong ones that the towers find nearly right.

A text drawn at random is told apart by one look at the colours, and teaches little after some hundred steps. So the
wrong text of a picture, and the wrong picture of a text, are drawn from the batch by how alike the towers think they
are (ALBEF, Li et al. 2021): softmax of the similarity plus 1e-4, which leaves every other pair a chance. Pairs with the
same picture or the same words are never drawn, for they are right.

What is drawn follows from the seed and the number of the step alone, so it is the same on any number of workers and
after any restart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["LEAST_WEIGHT", "Hard", "draws", "hard_negatives", "itm_loss"]

LEAST_WEIGHT = 1e-4


@dataclass(frozen=True)
class Hard:
    """The negative of each row: `choice` int64 (n,), and whether there is one, `there` bool (n,)."""

    choice: Tensor
    there: Tensor


def draws(seed: int, step: int, count: int) -> Tensor:
    """Random numbers of [0, 1) of a step, float64 (2, count): for the texts and for the pictures of a batch."""
    return torch.from_numpy(np.random.default_rng([seed, step]).random((2, count)))


def hard_negatives(similarity: Tensor, same: Tensor, drawn: Tensor) -> Hard:
    """A column for each row, drawn by softmax(similarity) + LEAST_WEIGHT, never one of `same`.

    `similarity` (n, k), divided by the temperature; `same` bool (n, k); `drawn` float64 (n,) of [0, 1).
    """
    weights = (similarity.detach().double().softmax(dim=1) + LEAST_WEIGHT).masked_fill(same, 0.0)
    ends = weights.cumsum(dim=1)
    total = ends[:, -1]
    choice = (ends <= (drawn * total)[:, None]).sum(dim=1)
    return Hard(choice.clamp(max=similarity.shape[1] - 1), total > 0)


def itm_loss(right: Tensor, wrong: Tensor, there: Tensor) -> Tensor:
    """The sum of the cross-entropies of "matches" and "does not", float32 ().

    `right` (n,) and `wrong` (m,): log odds that a text describes its picture, which for a head with two outputs are
    their difference; `there` bool (m,): which wrong pairs there are.
    """
    missed = functional.softplus(wrong.float()).masked_fill(~there, 0.0)
    return functional.softplus(-right.float()).sum() + missed.sum()
