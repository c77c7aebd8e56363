"""BLIP's picture tower at work: bytes in, the states of all patches out.

The weights are those that transformers loads; the attention is torch's fused one, because transformers multiplies out
the table of 577 x 577 weights for each of 16 heads, which for ViT-L at 384 px is 1.4 GB for 128 pictures and layer, and
reads and writes it several times. Pictures go in pieces of one fixed number, so that what is said of a picture does not
depend on how many came with it: one by one on a CPU, where more at a time are not faster (in bfloat16 two are, by a
quarter), 32 on a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["BlipVision", "attended"]

CPU_PIECE, CPU_BF16_PIECE, GPU_PIECE = 1, 2, 32


class BlipVision:
    """The tower on one device, in one kind of numbers."""

    def __init__(self, tower: Any, mean: Sequence[float], std: Sequence[float], where: Any, kind: Any) -> None:
        """`tower`: transformers' BlipVisionModel, which is moved; `mean`, `std`: of red, green, blue, 0 to 1."""
        self._tower = tower.to(where, kind).eval()
        self._kind = kind
        self._mean, self._std = (torch.tensor(rgb, device=where).view(1, 3, 1, 1) for rgb in (mean, std))
        self.piece = CPU_BF16_PIECE if kind == torch.bfloat16 else CPU_PIECE
        if where.type == "cuda":
            self.piece = GPU_PIECE

    @property
    def places(self) -> int:
        """How many states a picture has: its patches and one more."""
        return int(self._tower.embeddings.num_positions)

    @property
    def width(self) -> int:
        """Numbers of each state."""
        return int(self._tower.config.hidden_size)

    def __call__(self, pictures: Tensor) -> Tensor:
        """uint8 (n, size, size, 3) on the device to states (n, places, width) there, all n at once."""
        values = pictures.permute(0, 3, 1, 2).to(torch.float32).div_(255).sub_(self._mean).div_(self._std)
        x = self._tower.embeddings(values.to(self._kind))
        for layer in self._tower.encoder.layers:
            x = x + _looked(layer.self_attn, layer.layer_norm1(x))
            x = x + layer.mlp(layer.layer_norm2(x))
        states: Tensor = self._tower.post_layernorm(x)
        return states


def attended(queries: Tensor, keys: Tensor, values: Tensor, allowed: Tensor | None = None) -> Tensor:
    """What each query, (n, heads, q, width), takes of the values, (n, heads, places, width), where `allowed`, bool (q,
    places), if that is given.

    torch's fused attention, but for bfloat16 on a CPU, where it is slower than to multiply out: 13 ms and 6 for a
    picture of ViT-B and layer, 4.7 and .4 for the next token of 8 texts.
    """
    if queries.is_cuda or queries.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(queries, keys, values, attn_mask=allowed)
    scores = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(-1, -2)
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -torch.inf)
    return scores.softmax(-1) @ values


def _looked(attention: Any, x: Tensor) -> Tensor:
    pictures, places, width = x.shape
    split = attention.qkv(x).view(pictures, places, 3, attention.num_heads, attention.head_dim)
    mixed = attended(*split.permute(2, 0, 3, 1, 4))
    projected: Tensor = attention.projection(mixed.transpose(1, 2).reshape(pictures, places, width))
    return projected
