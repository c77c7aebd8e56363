"""BLIP's image-text matching head (Li et al. 2022), as `BlipForImageTextRetrieval` of transformers has its weights.

The first token tells BLIP's text model what it is to be: [CLS] a reader of texts alone, [ENC] one that looks at the
picture too. The head was trained on [ENC]; transformers and data-juicer hand it [CLS] (transformers#25629). Here it is
[ENC], which in the published models has no name in the vocabulary: it is the last row of the embedding.

A picture is read once, and its keys and values for the text layers are made once: with 11 texts of BLIP-large that
leaves .11 TFLOP of texts beside .38 of the picture, and not .32. Attention is torch's own kernel, which agrees with
transformers' arithmetic to 2e-6 in the logits. Texts are read as BLIP reads them: small letters, punctuation a space,
30 words, 35 tokens; what a column holds is not cut. Padding a text to 8, 16, 24 or 35 places moves a logit by 2e-6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from curate.errors import ConfigError
from curate.manifest import fingerprint
from curate.models.blip_vision import BlipVision
from curate.models.caption_settings import MatcherSettings
from curate.models.device import computes, device, free_memory, require_device, sent
from curate.models.hf_folder import (
    folder_digest,
    load_config,
    load_model,
    load_tokenizer,
    model_folder,
    require_model_files,
)
from curate.models.hf_pictures import square_preprocess
from curate.models.match_units import ItmMatcher, PairUnits, Tokens, plain_tokens, pre_caption

__all__ = ["BlipMatching", "matcher_digest", "open_matcher", "require_matcher"]

CLASS = "BlipForImageTextRetrieval"
ENC, DEC = "[ENC]", "[DEC]"
LENGTHS = (8, 16, 24, 35)
WORDS = 30
PICTURES, ROWS = {"cpu": 4, "cuda": 64}, {"cpu": 4, "cuda": 64}
MAY_HAVE = ("*.position_ids",)
"""Numbers from 0 on, which older versions wrote."""


def open_matcher(settings: MatcherSettings) -> BlipMatching:
    """The model of these settings, on its device. Raises ConfigError."""
    return BlipMatching(settings)


def matcher_digest(settings: MatcherSettings) -> str:
    """Digest of its files. Raises ConfigError."""
    return fingerprint(["blip matcher", 1, folder_digest(model_folder(settings.weights, settings.revision))])


def require_matcher(settings: MatcherSettings) -> None:
    """Raise ConfigError for a folder that is not a whole matching model of BLIP."""
    require_device(settings.device)
    path = model_folder(settings.weights, settings.revision)
    require_model_files(path, ("blip",), CLASS, may_have=MAY_HAVE)
    config = load_config(path)
    square_preprocess(path, config.vision_config.image_size)
    _marks(load_tokenizer(path), config.text_config, path)


def _marks(tokenizer: Any, config: Any, path: Path) -> tuple[int, int, int]:
    """The numbers of [ENC], [SEP] and the padding. Raises ConfigError for a tokenizer of another model, and for one
    with too few places for a text."""
    first = _first_token(tokenizer, config.vocab_size, path)
    last, pad = tokenizer.sep_token_id, config.pad_token_id or 0
    if last is None or not (0 <= last < config.vocab_size and 0 <= pad < config.vocab_size):
        raise ConfigError(
            f"{path} has no [SEP] or padding among the {config.vocab_size:,} tokens of its model: {last}, {pad}"
        )
    if config.max_position_embeddings < LENGTHS[-1]:
        raise ConfigError(f"{path} has places for {config.max_position_embeddings} tokens; {LENGTHS[-1]} are needed")
    return first, last, pad


def _first_token(tokenizer: Any, vocabulary: int, path: Path) -> int:
    """The number of [ENC]: by its name, or behind what the tokenizer knows, as BLIP adds [DEC] and [ENC] in turn to
    the vocabulary of bert-base-uncased. Raises ConfigError."""
    known = tokenizer.get_vocab()
    if ENC in known and known[ENC] < vocabulary:
        return int(known[ENC])
    unnamed = vocabulary - len(tokenizer)
    if ENC in known or unnamed != (1 if DEC in known else 2):
        raise ConfigError(
            f"{path} has no token {ENC}, which the matching head of BLIP needs: its vocabulary has {len(tokenizer):,} "
            f"tokens and its model {vocabulary:,}; the model of BLIP has two more, {DEC} and {ENC}"
        )
    return vocabulary - 1


@dataclass
class _Seen:
    """Keys and values of pictures for each text layer, (pictures, heads, patches, width of a head) each."""

    layers: list[tuple[Any, Any]]


class BlipMatching(ItmMatcher):
    """A `curate.models.captioner.Matcher`."""

    def __init__(self, settings: MatcherSettings) -> None:
        path = model_folder(settings.weights, settings.revision)
        self.name = Path(settings.weights).name if Path(settings.weights).exists() else settings.weights
        self._where = device(settings.device)
        self._kind = computes(settings.precision, self._where)
        self._model = load_model(path, CLASS, may_have=MAY_HAVE).to(self._where, self._kind)
        config = self._model.config
        self._tokenizer = load_tokenizer(path)
        self._vocabulary = config.text_config.vocab_size
        self._first, self._last, self._pad = _marks(self._tokenizer, config.text_config, path)
        self.prepare_picture = ready = square_preprocess(path, config.vision_config.image_size)
        self._vision = BlipVision(self._model.vision_model, ready.mean, ready.std, self._where, self._kind)
        kind = self._where.type
        self._units = PairUnits(self, LENGTHS, PICTURES[kind], ROWS[kind], partial(free_memory, self._where))

    def _read(self, texts: Sequence[str]) -> dict[str, Tokens | None]:
        """Each text as tokens, [ENC] to [SEP]; None where no word is left."""
        most = LENGTHS[-1] - 2
        plain = plain_tokens(self._tokenizer, [pre_caption(text, WORDS) for text in texts], most, self._vocabulary)
        return {text: (self._first, *own, self._last) if own else None for text, own in zip(texts, plain, strict=True)}

    @torch.inference_mode()
    def see(self, images: Sequence[Any]) -> _Seen:
        """uint8 (side, side, 3) each."""
        patches = self._vision(sent(torch.from_numpy(np.stack(images)), self._where))
        crossed = [layer.crossattention.self for layer in self._model.text_encoder.encoder.layer]
        return _Seen([(_heads(own.key(patches), own), _heads(own.value(patches), own)) for own in crossed])

    @torch.inference_mode()
    def judge(self, seen: _Seen, pictures: Sequence[int], texts: Sequence[Tokens], length: int) -> Any:
        """Logits, float32 (rows, 2)."""
        padded = [[*text, *[self._pad] * (length - len(text))] for text in texts]
        parts = (padded, [len(text) for text in texts], list(pictures))
        tokens, sizes, place = (sent(torch.tensor(part), self._where) for part in parts)
        allowed = (torch.arange(length, device=self._where) < sizes[:, None])[:, None, None, :]
        text_model = self._model.text_encoder
        x = text_model.embeddings(input_ids=tokens)
        for layer, (keys, values) in zip(text_model.encoder.layer, seen.layers, strict=True):
            own = layer.attention.self
            x = layer.attention.output(_attend(x, own, _heads(own.key(x), own), _heads(own.value(x), own), allowed), x)
            crossed = _attend(x, layer.crossattention.self, keys[place], values[place], None)
            x = layer.crossattention.output(crossed, x)
            x = layer.feed_forward_chunk(x)
        return self._model.itm_head(x[:, 0]).float()


def _heads(x: Any, own: Any) -> Any:
    """(n, places, d) to (n, heads, places, width of a head)."""
    return x.view(*x.shape[:2], own.num_attention_heads, own.attention_head_size).transpose(1, 2)


def _attend(x: Any, own: Any, keys: Any, values: Any, allowed: Any) -> Any:
    mixed = functional.scaled_dot_product_attention(_heads(own.query(x), own), keys, values, attn_mask=allowed)
    return mixed.transpose(1, 2).reshape(x.shape)
