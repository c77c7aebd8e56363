"""The toy captioner: a picture's 16 tokens, and a decoder of two layers that says one word after another.

The picture tower is the toy CLIP's, where the training of the shipped one starts; the layers of the decoder are the toy
matcher's, except that a word sees no later one. Its words are those of the other toys, at the same numbers, and two
more: a comma, without which one of the eight wordings of a caption cannot be said, and the end. It reads captions as
well as it writes them: the sum of a caption's log-probabilities finds wrong ones as the matcher does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice

import torch
from torch import Tensor, nn

from curate.models.toy_clip import DIMENSIONS, IMAGE_SIZE, LAYERS, MEAN, STD, Layer, PictureTower
from curate.models.toy_words import PADDING, START, UNKNOWN, VOCABULARY

__all__ = ["COMMA", "END", "PLACES", "ToyCaptioner", "caption_text", "caption_tokens", "log_likelihood"]

COMMA = len(VOCABULARY)
END = COMMA + 1
CAPTION_WORDS = (*VOCABULARY, ",", "<end>")
PLACES = 24
"""Numbers in a text with its start; the longest toy caption has 16, and the end."""

MAX_CHARS = 2_048
NEVER_SAID = (PADDING, START)
_EMBEDDING_STD = 0.02
_WORD = re.compile(r"[^\W_]+|,")
_NUMBERS = {word: number for number, word in enumerate(CAPTION_WORDS)}


class ToyCaptioner(nn.Module):
    """The toy captioner."""

    image_size = IMAGE_SIZE
    mean = MEAN
    std = STD

    def __init__(self) -> None:
        super().__init__()
        self.picture = PictureTower()
        self.words = nn.Embedding(len(CAPTION_WORDS), DIMENSIONS)
        nn.init.normal_(self.words.weight, std=_EMBEDDING_STD)
        self.positions = nn.Parameter(torch.randn(PLACES, DIMENSIONS) * _EMBEDDING_STD)
        self.layers = nn.ModuleList(Layer(crossed=True) for _ in range(LAYERS))
        self.norm = nn.LayerNorm(DIMENSIONS)
        allowed = torch.zeros(len(CAPTION_WORDS))
        allowed[list(NEVER_SAID)] = -torch.inf
        self.register_buffer("allowed", allowed, persistent=False)

    def forward(self, pictures: Tensor, tokens: Tensor) -> Tensor:
        """Picture tokens (n, 16, d) and texts, int64 (n, length), to logits of each next word, float32 (n, length, v).

        `length` is at most PLACES. Padding and the start are never said: their logits are minus infinity.
        """
        x = self.words(tokens) + self.positions[: tokens.shape[1]]
        later = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool, device=tokens.device).triu(1)
        for layer in self.layers:
            x = layer(x, later, pictures)
        return self.logits(x)

    def logits(self, x: Tensor) -> Tensor:
        """What the last layer gave, (..., d), to logits of the next word, float32 (..., v)."""
        return (self.norm(x) @ self.words.weight.T.to(x.dtype)).float() + self.allowed


def caption_tokens(texts: Sequence[str]) -> Tensor:
    """int64 (n, length of the longest): START, a number per word or comma, END; PADDING behind.

    A word is a run of letters and digits of any script, and case does not count; a word that toy captions do not have
    is UNKNOWN. At most PLACES numbers and the end; a longer text is cut and has no end. Of a text 2,048 characters are
    read.
    """
    rows = []
    for text in texts:
        words = list(islice(_WORD.finditer(text[:MAX_CHARS].lower()), PLACES))
        numbers = [START, *(_NUMBERS.get(word.group(), UNKNOWN) for word in words), END]
        rows.append(numbers[: PLACES + 1])
    tokens = torch.full((len(rows), max(map(len, rows), default=1)), PADDING, dtype=torch.int64)
    for row, numbers in enumerate(rows):
        tokens[row, : len(numbers)] = torch.tensor(numbers)
    return tokens


def caption_text(numbers: Sequence[int]) -> str:
    """The text of numbers up to the first END, in small letters, as `curate.toyweb.caption.parse` reads it."""
    words: list[str] = []
    for number in numbers:
        if number == END:
            break
        words.append(CAPTION_WORDS[number])
    return " ".join(words).replace(" ,", ",")


def log_likelihood(model: ToyCaptioner, pictures: Tensor, tokens: Tensor) -> Tensor:
    """The natural logarithm of each text's probability with its end, float32 (n,): picture tokens (n, 16, d) and what
    `caption_tokens` gave, int64 (n, length)."""
    told = model(pictures, tokens[:, :-1]).log_softmax(dim=-1)
    own = told.gather(2, tokens[:, 1:, None])[:, :, 0]
    return own.masked_fill(tokens[:, 1:] == PADDING, 0.0).sum(dim=1)
