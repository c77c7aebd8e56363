"""CoCa's two text transformers one token at a time: what open_clip computes, without computing it again for each token.

open_clip's own `generate` reads the whole text anew for every token, and the picture's 255 tokens with it: the 20th
token costs twenty times the first. Here keys and values of what was read stay in memory that is laid out once, those of
the picture are made once for all of its captions, and of the logits only those of the last place are computed.

CoCa (Yu et al. 2022) reads a text by itself first and looks at the picture then. For contrast with pictures open_clip
puts a token of its own behind the text; its mask is causal, so no word sees that token, and a caption does not need it.
A place of a text takes layers x width x 8 numbers: 150 kB for coca_ViT-L-14 in bf16.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from curate.models.cuda_step import recorded

__all__ = ["CocaDecoder"]

ROOM = 16
"""Room for a text is a multiple of this many tokens: the GPU's kernels want masks so."""


class CocaDecoder:
    """Texts under way, as `curate.models.decoding.Decoder`: `pictures` x `n` rows, the captions of one picture side by
    side, of at most `places` tokens with the prompt.

    `model` is open_clip's CoCa in eval mode; of its vocabulary the first `words` tokens are told, and the padding is
    never the next one: it was no target in training. Shapes, and the addresses of what is read and written, are the
    same from unit to unit of pictures, so on a GPU a step is recorded once and replayed.
    """

    def __init__(self, model: Any, pictures: int, n: int, places: int, words: int) -> None:
        self._text, self._decoder = model.text, model.text_decoder
        self._pictures, self._each, self._words, self._padding = pictures, n, words, self._text.pad_id
        rows, room, self._where = pictures * n, -(-places // ROOM) * ROOM, self._text.token_embedding.weight.device
        self._kind = self._text.transformer.get_cast_dtype()
        options: dict[str, Any] = {"dtype": self._kind, "device": self._where}
        self._own = [_Layer(block, (rows, room), options) for block in self._text.transformer.resblocks]
        self._mixed = [_Layer(block, (rows, room), options) for block in self._decoder.resblocks]
        self._seen = [_PictureLayer(block) for block in self._decoder.cross_attn]
        self._order = torch.arange(room, device=self._where)
        self._at = torch.zeros(1, dtype=torch.int64, device=self._where)
        self._tokens = torch.zeros((rows, 1), dtype=torch.int64, device=self._where)
        self._replay: Callable[[], Tensor] | None = None
        """A recorded step. Not the method itself: a decoder that holds itself is given back some time, not at once."""
        self._recorded = self._where.type != "cuda"

    def look(self, image_tokens: Tensor) -> None:
        """Go on to other pictures: (pictures, image tokens, width)."""
        for layer in self._seen:
            layer.look(image_tokens)

    def start(self, prompt: Tensor) -> Tensor:
        """As `Decoder.start`; from the same pictures again where it is called again. The prompt is read once for all
        captions of a picture."""
        for layer in (*self._own, *self._mixed):
            layer.forget()
        self._at.fill_(prompt.shape[1])
        own = prompt[:: self._each]
        return self._read(own, self._order[: own.shape[1]]).repeat_interleave(self._each, 0)

    def step(self, tokens: Tensor) -> Tensor:
        """As `Decoder.step`."""
        if not self._recorded:
            replay = recorded(step := self._read_next, self._where)
            self._replay, self._recorded = None if replay is step else replay, True
        self._tokens.copy_(tokens[:, None])
        logits = self._read_next() if self._replay is None else self._replay()
        self._at += 1
        return logits

    def reorder(self, rows: Tensor) -> None:
        """As `Decoder.reorder`."""
        for layer in (*self._own, *self._mixed):
            layer.reorder(rows)

    def _read_next(self) -> Tensor:
        return self._read(self._tokens, self._at)

    def _read(self, tokens: Tensor, at: Tensor) -> Tensor:
        """int64 (rows or pictures, t) tokens at the places `at`, int64 (t), to float32 (the same, words): what may come
        next."""
        text, decoder = self._text, self._decoder
        visible = self._order[None, :] <= at[:, None]
        x = text.token_embedding(tokens).to(self._kind) + text.positional_embedding[at].to(self._kind)
        for layer in self._own:
            x = layer.pass_on(x, at, visible)
        for layer, seen in zip(self._mixed, self._seen, strict=True):
            x = seen.pass_on(layer.pass_on(x, at, visible), self._pictures)
        logits: Tensor = (decoder.ln_final(x[:, -1]) @ decoder.text_projection[:, : self._words]).float()
        logits[:, self._padding] = -torch.inf
        return logits


class _Layer:
    """One layer of attention to the text, and keys and values of all places: (rows, heads, places, width of a head)."""

    def __init__(self, block: Any, size: tuple[int, int], options: dict[str, Any]) -> None:
        self._block, self._heads = block, block.attn.num_heads
        shape = (size[0], self._heads, size[1], block.attn.head_dim)
        self._keys, self._values = torch.zeros(shape, **options), torch.zeros(shape, **options)

    def forget(self) -> None:
        """Places that are not yet read have the weight 0, and 0 times what is not a number would be none."""
        self._keys.zero_()
        self._values.zero_()

    def reorder(self, rows: Tensor) -> None:
        self._keys.copy_(self._keys[rows])
        self._values.copy_(self._values[rows])

    def pass_on(self, x: Tensor, at: Tensor, visible: Tensor) -> Tensor:
        """(rows, t, width) for the places `at`; fewer rows stand each for as many as there are more."""
        block, each = self._block, len(self._keys) // len(x)
        mixed = F.linear(block.ln_1(x), block.attn.in_proj_weight, block.attn.in_proj_bias)
        asked, keys, values = mixed.unflatten(-1, (3, self._heads, -1)).permute(2, 0, 3, 1, 4)
        self._keys.index_copy_(2, at, keys.repeat_interleave(each, 0) if each > 1 else keys)
        self._values.index_copy_(2, at, values.repeat_interleave(each, 0) if each > 1 else values)
        own = self._keys[::each], self._values[::each]
        return _attended(block, x, F.scaled_dot_product_attention(asked, *own, attn_mask=visible))


class _PictureLayer:
    """One layer of attention to the picture, and its keys and values: (2, pictures, heads, image tokens, width of a
    head)."""

    def __init__(self, block: Any) -> None:
        self._block, self._heads, self._wide = block, block.attn.num_heads, block.attn.embed_dim
        self._both: Tensor | None = None

    def look(self, image_tokens: Tensor) -> None:
        block, wide = self._block, self._wide
        weight, bias = block.attn.in_proj_weight[wide:], block.attn.in_proj_bias[wide:]
        mixed = F.linear(block.ln_1_kv(image_tokens), weight, bias)
        both = mixed.unflatten(-1, (2, self._heads, -1)).permute(2, 0, 3, 1, 4)
        self._both = both.contiguous() if self._both is None else self._both.copy_(both)

    def pass_on(self, x: Tensor, pictures: int) -> Tensor:
        """The rows of a picture ask as one: its keys are not repeated for each."""
        block, wide = self._block, self._wide
        assert self._both is not None, "no picture was looked at"
        asked = F.linear(block.ln_1(x), block.attn.in_proj_weight[:wide], block.attn.in_proj_bias[:wide])
        asked = asked.reshape(pictures, -1, self._heads, wide // self._heads).transpose(1, 2)
        return _attended(block, x, F.scaled_dot_product_attention(asked, *self._both))


def _attended(block: Any, x: Tensor, found: Tensor) -> Tensor:
    """The rest of a layer, from what attention found, (batch, heads, t, width of a head), on."""
    x = x + block.ls_1(block.attn.out_proj(found.transpose(1, 2).reshape(x.shape)))
    added: Tensor = block.ls_2(block.mlp(block.ln_2(x)))
    return x + added
