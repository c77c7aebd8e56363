"""The toy dual encoder: all parts of a CLIP, small enough that two CPU cores train it in minutes.

What a token sees decides. Three stride-2 convolutions on 32 px see half the picture, and after 70 CPU seconds one wrong
attribute is found with AUC .941; on 48 px they see a third of it, and it is .883. On 64 px, with a fourth convolution,
a step teaches what one at 32 px does and costs 1.4 times as much. A first kernel of 5 px with GELU instead of 3 px with
ReLU: .957. Attention is written out, because the fused kernel's backward pass is slow at a few dozen tokens on a CPU.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from curate.models.toy_words import CONTEXT_LENGTH, PADDING, VOCABULARY

__all__ = ["DIMENSIONS", "IMAGE_SIZE", "LAYERS", "MEAN", "STD", "Layer", "PictureTower", "TextEmbedding", "ToyClip"]

IMAGE_SIZE = 32
DIMENSIONS = 96
HEADS = 4
LAYERS = 2
MEAN = (0.5, 0.5, 0.5)
STD = (0.25, 0.25, 0.25)
_STEM = ((3, 32, 5), (32, 64, 3), (64, DIMENSIONS, 3))
"""Channels in, channels out and kernel of each convolution; all of stride 2."""
_TOKENS = (IMAGE_SIZE // 2 ** len(_STEM)) ** 2
_EMBEDDING_STD = 0.02


class Attention(nn.Module):
    """Attention of some tokens to themselves or to others."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(DIMENSIONS, DIMENSIONS)
        self.key_value = nn.Linear(DIMENSIONS, 2 * DIMENSIONS)
        self.out = nn.Linear(DIMENSIONS, DIMENSIONS)

    def forward(self, x: Tensor, others: Tensor, hidden: Tensor | None = None) -> Tensor:
        """x (n, l, d) and others (n, m, d) to (n, l, d). `hidden`, bool (n, 1, 1, m): what nobody looks at."""
        n, length, _ = x.shape
        query = self.query(x).view(n, length, HEADS, -1).transpose(1, 2)
        key, value = self.key_value(others).view(n, others.shape[1], 2, HEADS, -1).permute(2, 0, 3, 1, 4)
        weights = query @ key.transpose(-2, -1) * (DIMENSIONS // HEADS) ** -0.5
        if hidden is not None:
            weights = weights.masked_fill(hidden, -torch.inf)
        mixed = weights.softmax(dim=-1) @ value
        return self.out(mixed.transpose(1, 2).reshape(n, length, DIMENSIONS))


class Layer(nn.Module):
    """A pre-norm transformer layer; one that is `crossed` looks at a picture between attention and MLP."""

    def __init__(self, crossed: bool = False) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(DIMENSIONS)
        self.attention = Attention()
        self.cross_norm = nn.LayerNorm(DIMENSIONS) if crossed else None
        self.cross = Attention() if crossed else None
        self.mlp = nn.Sequential(
            nn.LayerNorm(DIMENSIONS),
            nn.Linear(DIMENSIONS, 4 * DIMENSIONS),
            nn.GELU(),
            nn.Linear(4 * DIMENSIONS, DIMENSIONS),
        )

    def forward(self, x: Tensor, hidden: Tensor | None = None, picture: Tensor | None = None) -> Tensor:
        own = self.norm(x)
        x = x + self.attention(own, own, hidden)
        if self.cross is not None and self.cross_norm is not None:
            x = x + self.cross(self.cross_norm(x), picture)
        return x + self.mlp(x)


class PictureTower(nn.Module):
    """Pictures, float (n, 3, IMAGE_SIZE, IMAGE_SIZE), to 16 tokens each, (n, 16, d)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential()
        for before, after, kernel in _STEM:
            self.stem.extend([nn.Conv2d(before, after, kernel, 2, kernel // 2), nn.GroupNorm(8, after), nn.GELU()])
        self.positions = nn.Parameter(torch.randn(_TOKENS, DIMENSIONS) * _EMBEDDING_STD)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(DIMENSIONS)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images).flatten(2).transpose(1, 2) + self.positions
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


class TextEmbedding(nn.Module):
    """Tokens, int64 (n, l), to vectors (n, l, d) and the places of padding, bool (n, 1, 1, l)."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(len(VOCABULARY), DIMENSIONS)
        nn.init.normal_(self.words.weight, std=_EMBEDDING_STD)
        self.positions = nn.Parameter(torch.randn(CONTEXT_LENGTH, DIMENSIONS) * _EMBEDDING_STD)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return self.words(tokens) + self.positions[: tokens.shape[1]], (tokens == PADDING)[:, None, None]


class ToyClip(nn.Module):
    """The toy dual encoder, called as open_clip's models are. Embeddings have DIMENSIONS numbers, not of unit length.

    `logit_scale` is the logarithm of the factor by which training multiplies cosines, as in CLIP.
    """

    image_size = IMAGE_SIZE
    context_length = CONTEXT_LENGTH
    mean = MEAN
    std = STD

    def __init__(self) -> None:
        super().__init__()
        self.picture = PictureTower()
        self.picture_out = nn.Linear(DIMENSIONS, DIMENSIONS)
        self.text = TextEmbedding()
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(DIMENSIONS)
        self.text_out = nn.Linear(DIMENSIONS, DIMENSIONS)
        self.logit_scale = nn.Parameter(torch.tensor(2.7))

    def encode_image(self, images: Tensor) -> Tensor:
        """float (n, 3, image_size, image_size), normalised by `mean` and `std`, to (n, d)."""
        return self.picture_out(self.picture(images).mean(dim=1))

    def encode_text(self, tokens: Tensor) -> Tensor:
        """int64 (n, length), any length that holds the longest text, to (n, d)."""
        x, hidden = self.text(tokens)
        for layer in self.layers:
            x = layer(x, hidden)
        return self.text_out(self.norm(x[:, 0]))
