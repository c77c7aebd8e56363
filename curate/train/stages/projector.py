"""What stands between a picture tower and a language model: a projection, a resampler, gated layers that look.

Flamingo's two pieces as Alayrac et al. (2022) describe them. The resampler: learned latents look at a picture's tokens
and at themselves, so that each picture is as many tokens as there are latents. The gated layers: before a block of the
language model its words look at pictures, times tanh of a gate that begins at 0, so the model begins as the language
model alone, to the bit.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from curate.train.stages.settings import StageModelSettings
from curate.train.stages.vision import Vision

__all__ = ["GatedLayer", "Perceiver", "attend", "make_projector"]

PERCEIVER_LAYERS = 2
_STD = 0.02


def attend(query: Tensor, key_value: Tensor, heads: int, visible: Tensor | None = None) -> Tensor:
    """Attention of queries (n, l, d) to keys and values (n, m, 2 d). `visible` bool (n, l, m): what a query sees; one
    that sees nothing gets zeros. Written out, for the fused kernel's backward pass is slow on a CPU."""
    n, length, width = query.shape
    query = query.view(n, length, heads, -1).transpose(1, 2)
    key, value = key_value.view(n, key_value.shape[1], 2, heads, -1).permute(2, 0, 3, 1, 4)
    weights = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
    if visible is not None:
        blind = ~visible.any(dim=-1)[:, None, :, None]
        weights = weights.masked_fill(~visible[:, None], -torch.inf).masked_fill(blind, 0.0)
        mixed = (weights.softmax(dim=-1) @ value).masked_fill(blind, 0.0)
    else:
        mixed = weights.softmax(dim=-1) @ value
    return mixed.transpose(1, 2).reshape(n, length, width)


def _mlp(width: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))


def heads_of(width: int) -> int:
    """Heads of about 64 numbers, at least 4 where the width can be cut so."""
    return next(heads for heads in (max(width // 64, 4), 4, 2, 1) if width % heads == 0)


class _ResamplerLayer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.seen_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out, self.mlp = nn.Linear(width, width), _mlp(width)

    def forward(self, latents: Tensor, seen: Tensor) -> Tensor:
        own = self.norm(latents)
        both = torch.cat([self.seen_norm(seen), own], dim=1)
        latents = latents + self.out(attend(self.query(own), self.key_value(both), heads_of(own.shape[-1])))
        return latents + self.mlp(latents)


class Perceiver(nn.Module):
    """A picture's tokens (p, k, width) to `latents` tokens of the language model's width, (p, latents, d)."""

    def __init__(self, width: int, latents: int, out: int) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(latents, width) * _STD)
        self.layers = nn.ModuleList(_ResamplerLayer(width) for _ in range(PERCEIVER_LAYERS))
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, out)

    def forward(self, tokens: Tensor) -> Tensor:
        latents = self.latents.expand(len(tokens), -1, -1)
        for layer in self.layers:
            latents = layer(latents, tokens)
        found: Tensor = self.out(self.norm(latents))
        return found


class GatedLayer(nn.Module):
    """Words (n, l, d) look at pictures' tokens (n, m, d), by `visible` bool (n, l, m)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out, self.mlp = nn.Linear(width, width), _mlp(width)
        self.gate, self.mlp_gate = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, seen: Tensor, visible: Tensor) -> Tensor:
        looked = attend(self.query(self.norm(x)), self.key_value(seen), heads_of(x.shape[-1]), visible)
        x = x + self.gate.tanh() * self.out(looked)
        return x + self.mlp_gate.tanh() * self.mlp(x)


def make_projector(settings: StageModelSettings, vision: Vision, width: int) -> tuple[nn.Module, int]:
    """The projector to tokens of `width` numbers, and how many tokens a picture then is."""
    if settings.projector == "perceiver":
        return Perceiver(vision.width, settings.latents, width), settings.latents
    first = nn.Linear(vision.width, width)
    if settings.projector == "linear":
        return nn.Sequential(first), vision.tokens
    return nn.Sequential(first, nn.GELU(), nn.Linear(width, width)), vision.tokens
