"""BLIP's text decoder, token by token, over the weights that transformers loads.

What makes it fast: the keys and values of a picture are computed once per layer and shared by all captions of it, so
ten captions read the same 21 MB (ViT-L at 384 px, bf16) that one does; what a text said is kept, in memory that is laid
out before; nothing has a shape that depends on what was said, so on a GPU a whole step is one recorded graph. The
prompt is read once for a picture, not once for a caption. Self-attention looks at all places with a mask: 12 x 40
places are nothing beside 12 layers of 7 M weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from curate.models.blip_vision import attended
from curate.models.cuda_step import recorded

__all__ = ["BlipDecoder"]

PLACES = 16
"""Room for a text is a multiple of this many tokens: the GPU's kernels want masks so, and few lengths come up."""
Attention = Callable[[int, Tensor, Tensor, Tensor], Tensor]


class _Linear(NamedTuple):
    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class _Norm(NamedTuple):
    weight: Tensor
    bias: Tensor
    epsilon: float

    def __call__(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.epsilon)


@dataclass(frozen=True)
class _Layer:
    own: _Linear
    """Queries, keys and values of the text in one."""
    own_out: _Linear
    own_norm: _Norm
    asks: _Linear
    """Queries to the picture."""
    answers: _Linear
    """Keys and values of the picture in one."""
    answers_out: _Linear
    answers_norm: _Norm
    up: _Linear
    down: _Linear
    norm: _Norm


@dataclass(frozen=True)
class _Room:
    """Memory for the texts of so many pictures, `each` of every one."""

    each: int
    pictures: Tensor
    """(layers, 2, pictures, heads, places of a picture, width of a head): keys and values."""
    own: Tensor
    """(layers, 2, rows, heads, length, width of a head)."""
    place: Tensor
    """int64 (1,): where the next token stands."""
    tokens: Tensor
    """int64 (rows,): the next tokens, for a recorded step."""


class BlipDecoder:
    """A `curate.models.decoding.Decoder`. First `lay_out`, then `look_at` the pictures, then decode."""

    def __init__(self, decoder: Any, where: Any, kind: Any) -> None:
        """`decoder`: transformers' BlipTextLMHeadModel, whose weights are copied to the device `where` as `kind`."""
        self._where, self._kind = where, kind
        text, head = decoder.bert, decoder.cls.predictions
        self.heads = int(decoder.config.num_attention_heads)
        self.vocabulary = int(head.decoder.out_features)
        self._words = self._own(text.embeddings.word_embeddings.weight)
        self._places = self._own(text.embeddings.position_embeddings.weight)
        self._first = self._norm(text.embeddings.LayerNorm)
        self._layers = [self._layer(layer) for layer in text.encoder.layer]
        self._act = text.encoder.layer[0].intermediate.intermediate_act_fn
        self._turn, self._turn_norm = self._linear(head.transform.dense), self._norm(head.transform.LayerNorm)
        self._turn_act = head.transform.transform_act_fn
        tied = head.decoder.weight is text.embeddings.word_embeddings.weight
        weight = self._words if tied else self._own(head.decoder.weight)
        self._out = _Linear(weight, self._own(head.decoder.bias))
        self._room: _Room | None = None
        self._run: Callable[[], Tensor] | None = None

    @property
    def most(self) -> int:
        """How many tokens a text may have, with its prompt."""
        return len(self._places)

    def lay_out(self, pictures: int, each: int, length: int, places: int) -> None:
        """Have memory for `each` texts of up to `length` tokens for `pictures` of `places` states, unless it is so
        already. Raises OutOfMemoryError."""
        length = -(-length // PLACES) * PLACES
        width = self._words.shape[1] // self.heads
        shape = (len(self._layers), 2, pictures, self.heads, places, width)
        own = (len(self._layers), 2, pictures * each, self.heads, length, width)
        if self._room and (self._room.pictures.shape, self._room.own.shape) == (shape, own):
            return
        self.free()
        with torch.inference_mode():
            self._room = _Room(
                each,
                torch.zeros(shape, dtype=self._kind, device=self._where),
                torch.zeros(own, dtype=self._kind, device=self._where),
                torch.zeros(1, dtype=torch.int64, device=self._where),
                torch.zeros(pictures * each, dtype=torch.int64, device=self._where),
            )
        if self._where.type == "cuda":
            self._run = recorded(lambda: self._next(self._laid.tokens), self._where)

    def free(self) -> None:
        """Give the memory back."""
        self._room = self._run = None
        if self._where.type == "cuda":
            torch.cuda.empty_cache()

    def look_at(self, states: Tensor, first: int) -> None:
        """Take the states of pictures, (m, places, width of the tower), as those from number `first` on."""
        room = self._laid.pictures
        for kept, layer in zip(room, self._layers, strict=True):
            split = layer.answers(states).view(*states.shape[:2], 2, self.heads, -1).permute(2, 0, 3, 1, 4)
            kept[:, first : first + len(states)] = split

    def fill_up(self, count: int) -> None:
        """Have the pictures from number `count` on be the first one."""
        room = self._laid.pictures
        room[:, :, count:] = room[:, :, :1]

    def start(self, prompt: Tensor) -> Tensor:
        """As `Decoder.start`; the prompts of one picture are read once."""
        room, given = self._laid, prompt.shape[1]
        causal = torch.ones((given, given), dtype=torch.bool, device=prompt.device).tril()
        room.place.fill_(given)

        def attend(number: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            for kept, new in zip(room.own[number], (keys, values), strict=True):
                kept[:, :, :given] = new.repeat_interleave(room.each, 0)
            return attended(queries, keys, values, causal)

        own = torch.arange(given, device=prompt.device)
        return self._read(prompt[:: room.each], own, attend).repeat_interleave(room.each, 0)

    def step(self, tokens: Tensor) -> Tensor:
        """As `Decoder.step`."""
        if self._run is None:
            return self._next(tokens)
        self._laid.tokens.copy_(tokens)
        return self._run()

    def reorder(self, rows: Tensor) -> None:
        """As `Decoder.reorder`."""
        own = self._laid.own
        own.copy_(own.index_select(2, rows))

    @property
    def _laid(self) -> _Room:
        assert self._room is not None, "lay_out comes first"
        return self._room

    def _next(self, tokens: Tensor) -> Tensor:
        room = self._laid
        seen = torch.arange(room.own.shape[4], device=tokens.device)[None] <= room.place[:, None]

        def attend(number: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            own_keys, own_values = room.own[number]
            own_keys.index_copy_(2, room.place, keys)
            own_values.index_copy_(2, room.place, values)
            return attended(queries, own_keys, own_values, seen)

        logits = self._read(tokens[:, None], room.place, attend)
        room.place.add_(1)
        return logits

    def _read(self, tokens: Tensor, places: Tensor, attend: Attention) -> Tensor:
        """Logits, float32 (rows, vocabulary), after tokens, int64 (rows, q), that stand at `places`, int64 (q,)."""
        rows, width = len(tokens), self._words.shape[1]
        x = self._first(F.embedding(tokens, self._words) + F.embedding(places, self._places))
        for number, layer in enumerate(self._layers):
            split = layer.own(x).view(rows, -1, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
            mixed = attend(number, *split).transpose(1, 2).reshape(x.shape)
            x = layer.own_norm(layer.own_out(mixed) + x)
            x = layer.answers_norm(layer.answers_out(self._asked(number, layer.asks(x))) + x)
            x = layer.norm(layer.down(self._act(layer.up(x))) + x)
        turned = self._turn_norm(self._turn_act(self._turn(x[:, -1])))
        return self._out(turned).float()

    def _asked(self, number: int, asked: Tensor) -> Tensor:
        """What the pictures answer to queries (rows, q, width). All texts of a picture ask it together."""
        keys, values = self._laid.pictures[number]
        queries = asked.view(len(keys), -1, self.heads, keys.shape[-1]).transpose(1, 2)
        mixed = attended(queries, keys, values)
        return mixed.transpose(1, 2).reshape(asked.shape)

    def _own(self, weight: Tensor) -> Tensor:
        return weight.detach().to(self._where, self._kind)

    def _linear(self, *parts: Any) -> _Linear:
        """One linear layer, or several in one."""
        weight = torch.cat([part.weight.detach() for part in parts])
        return _Linear(self._own(weight), self._own(torch.cat([part.bias.detach() for part in parts])))

    def _norm(self, norm: Any) -> _Norm:
        return _Norm(self._own(norm.weight), self._own(norm.bias), float(norm.eps))

    def _layer(self, layer: Any) -> _Layer:
        own, answers = layer.attention.self, layer.crossattention.self
        return _Layer(
            self._linear(own.query, own.key, own.value),
            self._linear(layer.attention.output.dense),
            self._norm(layer.attention.output.LayerNorm),
            self._linear(answers.query),
            self._linear(answers.key, answers.value),
            self._linear(layer.crossattention.output.dense),
            self._norm(layer.crossattention.output.LayerNorm),
            self._linear(layer.intermediate.dense),
            self._linear(layer.output.dense),
            self._norm(layer.output.LayerNorm),
        )
