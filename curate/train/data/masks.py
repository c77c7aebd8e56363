"""Which token of a packed row may look at which: those before it in its own example, and at no other example's.

Without this, examples of a row attend to their neighbours, as in packers that mask the padding alone. As a bool tensor
a row of 4,096 tokens takes 16 MB, so a batch of many rows is better masked row by row, or by `lengths` in an attention
kernel that takes variable lengths.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

__all__ = ["block_mask", "block_positions"]


def block_mask(lengths: Sequence[int], row_tokens: int = 0) -> torch.Tensor:
    """bool (T, T): True where the token of the row's number may attend to the one of the column's.

    `lengths`: tokens of each example of a row, at least 0. T is their sum, or `row_tokens` where that is larger: what
    is left is padding, which attends to itself alone, so that no softmax is over nothing. Raises ValueError for a row
    that is shorter than its examples.
    """
    owner = _owners(lengths, row_tokens)
    same = owner[:, None] == owner[None, :]
    return same.tril()


def block_positions(lengths: Sequence[int], row_tokens: int = 0) -> torch.Tensor:
    """int64 (T,): each token's place in its own example, from 0; of padding 0. Arguments as of `block_mask`."""
    total = _total(lengths, row_tokens)
    own = [torch.arange(length) for length in lengths]
    return torch.cat([*own, torch.zeros(total - sum(lengths), dtype=torch.int64)])


def _owners(lengths: Sequence[int], row_tokens: int) -> torch.Tensor:
    """int64 (T,): which example a token is of; every token of padding is one of its own."""
    padding = _total(lengths, row_tokens) - sum(lengths)
    sizes = torch.tensor([*lengths, *[1] * padding], dtype=torch.int64)
    return torch.repeat_interleave(torch.arange(len(sizes)), sizes)


def _total(lengths: Sequence[int], row_tokens: int) -> int:
    if row_tokens and row_tokens < sum(lengths):
        raise ValueError(f"a row of {row_tokens} tokens cannot hold examples of {sum(lengths)}")
    return row_tokens or sum(lengths)
