"""The toy captioner, one word at a time: what its layers computed of earlier words is kept and not computed again.

Keys and values stand as (places, rows, heads, size): those of the words so far are one piece of memory, and a word is
multiplied with them number by number, which for 24 numbers takes half of what a product of matrices takes. The memory
is laid out once for all units (9 MB for 256 rows): to get it from the system anew costs as much as four steps.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from curate.models.toy_captioner import PLACES, ToyCaptioner
from curate.models.toy_clip import DIMENSIONS, HEADS
from curate.models.toy_words import UNKNOWN

__all__ = ["ToyDecoder", "memory_of"]

SIZE = DIMENSIONS // HEADS


def memory_of(model: ToyCaptioner, rows: int) -> Tensor:
    """Room for the keys and values of `rows` texts, float32, on the model's device; what is in it does not matter."""
    shape = (len(model.layers), 2, PLACES, rows, HEADS, SIZE)
    return torch.zeros(shape, device=model.positions.device)


class ToyDecoder:
    """`curate.models.decoding.Decoder` of some pictures' tokens (pictures, 16, d), with `each` rows a picture.

    `memory`: of as many rows, and of no other decoder that is still used. It says no UNKNOWN word.
    """

    def __init__(self, model: ToyCaptioner, pictures: Tensor, each: int, memory: Tensor) -> None:
        self._model = model
        self._layers: list[Any] = list(model.layers)
        self._pictures, self._each = len(pictures), each
        self._rows = len(pictures) * each
        self._seen = [self._look(layer.cross, pictures) for layer in self._layers]
        self._said = memory
        self._place = 0

    def start(self, prompt: Tensor) -> Tensor:
        """As `Decoder.start`, one token after another: a prompt is short."""
        self._place = 0
        for column in prompt.unbind(dim=1):
            logits = self.step(column)
        return logits

    def step(self, tokens: Tensor) -> Tensor:
        """As `Decoder.step`."""
        x = self._model.words(tokens) + self._model.positions[self._place]
        for number, layer in enumerate(self._layers):
            x = x + self._remember(number, layer, layer.norm(x))
            x = x + self._recall(number, layer, layer.cross_norm(x))
            x = x + layer.mlp(x)
        self._place += 1
        logits = self._model.logits(x)
        logits[:, UNKNOWN] = -torch.inf
        return logits

    def reorder(self, rows: Tensor) -> None:
        """As `Decoder.reorder`."""
        self._said[:, :, : self._place] = self._said[:, :, : self._place].index_select(3, rows)

    def _look(self, cross: Any, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of pictures, float32 (tokens, pictures, 1, heads, size) each."""
        both = cross.key_value(pictures).float().view(*pictures.shape[:2], 2, 1, HEADS, SIZE)
        key, value = both.permute(2, 1, 0, 3, 4, 5).contiguous()
        return key, value

    def _remember(self, number: int, layer: Any, x: Tensor) -> Tensor:
        """Attention to the words so far and to this one."""
        own = layer.attention
        said, place = self._said[number], self._place
        said[:, place] = own.key_value(x).view(self._rows, 2, HEADS, SIZE).transpose(0, 1)
        keys, values = said[:, : place + 1]
        return _attend(own, own.query(x).float().view(self._rows, HEADS, SIZE), (keys, values), x)

    def _recall(self, number: int, layer: Any, x: Tensor) -> Tensor:
        """Attention to the picture."""
        query = layer.cross.query(x).float().view(self._pictures, self._each, HEADS, SIZE)
        return _attend(layer.cross, query, self._seen[number], x)


def _attend(attention: Any, query: Tensor, kept: tuple[Tensor, Tensor], x: Tensor) -> Tensor:
    keys, values = kept
    weights = ((query * SIZE**-0.5) * keys).sum(dim=-1, keepdim=True).softmax(dim=0)
    out: Tensor = attention.out((weights * values).sum(dim=0).view(x.shape).to(x.dtype))
    return out
