"""BLIP-2's image-text matching head (Li et al. 2023), as `Blip2ForImageTextRetrieval` of transformers has its weights.

Its Q-Former looks at a picture with 32 queries beside the text, and the head's answer is the mean over the queries. The
picture tower is 95 % of the arithmetic (ViT-g at 224 px: 520 GFLOP, a text 15), so a picture is read once for all its
texts; the Q-Former stays in float32, as transformers keeps it. Texts are read as LAVIS reads them: small letters,
punctuation a space, 50 words, 32 tokens; what a column holds is not cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from curate.errors import ConfigError
from curate.manifest import fingerprint
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
from curate.models.hf_pictures import normalised, square_preprocess
from curate.models.match_units import ItmMatcher, PairUnits, Tokens, plain_tokens, pre_caption

__all__ = ["Blip2Matching", "matcher_digest", "open_matcher", "require_matcher"]

CLASS = "Blip2ForImageTextRetrieval"
LENGTHS = (8, 16, 24, 32)
WORDS = 50
PICTURES, ROWS = {"cpu": 4, "cuda": 32}, {"cpu": 4, "cuda": 64}
MAY_HAVE = ("*.position_ids",)


def open_matcher(settings: MatcherSettings) -> Blip2Matching:
    """The model of these settings, on its device. Raises ConfigError."""
    return Blip2Matching(settings)


def matcher_digest(settings: MatcherSettings) -> str:
    """Digest of its files. Raises ConfigError."""
    return fingerprint(["blip-2 matcher", 1, folder_digest(model_folder(settings.weights, settings.revision))])


def require_matcher(settings: MatcherSettings) -> None:
    """Raise ConfigError for a folder that is not a whole matching model of BLIP-2."""
    require_device(settings.device)
    path = model_folder(settings.weights, settings.revision)
    require_model_files(path, ("blip-2",), CLASS, may_have=MAY_HAVE)
    config = load_config(path)
    square_preprocess(path, config.vision_config.image_size)
    _marks(load_tokenizer(path), config.qformer_config, path)


def _marks(tokenizer: Any, config: Any, path: Path) -> tuple[int, int, int]:
    """The numbers of [CLS], [SEP] and the padding. Raises ConfigError for a tokenizer without, or one of another
    model."""
    marks = tokenizer.cls_token_id, tokenizer.sep_token_id, config.pad_token_id or 0
    if any(token is None or not 0 <= token < config.vocab_size for token in marks):
        raise ConfigError(f"{path} has a tokenizer without [CLS] and [SEP], which BLIP-2's matching model needs")
    if config.max_position_embeddings < LENGTHS[-1]:
        raise ConfigError(f"{path} has places for {config.max_position_embeddings} tokens; {LENGTHS[-1]} are needed")
    return marks


class Blip2Matching(ItmMatcher):
    """A `curate.models.captioner.Matcher`."""

    def __init__(self, settings: MatcherSettings) -> None:
        path = model_folder(settings.weights, settings.revision)
        self.name = path.name if Path(settings.weights).is_dir() else settings.weights
        self._where = device(settings.device)
        self._kind = computes(settings.precision, self._where)
        self._model = load_model(path, CLASS, may_have=MAY_HAVE).to(self._where)
        self._model.vision_model.to(self._kind)
        config = self._model.config
        self._tokenizer = load_tokenizer(path)
        self._vocabulary = config.qformer_config.vocab_size
        *self._ends, self._pad = _marks(self._tokenizer, config.qformer_config, path)
        self.prepare_picture = square_preprocess(path, config.vision_config.image_size)
        kind = self._where.type
        self._units = PairUnits(self, LENGTHS, PICTURES[kind], ROWS[kind], partial(free_memory, self._where))

    def _read(self, texts: Sequence[str]) -> dict[str, Tokens | None]:
        """Each text as tokens, [CLS] to [SEP]; None where no word is left."""
        first, last = self._ends
        most = LENGTHS[-1] - 2
        plain = plain_tokens(self._tokenizer, [pre_caption(text, WORDS) for text in texts], most, self._vocabulary)
        return {text: (first, *own, last) if own else None for text, own in zip(texts, plain, strict=True)}

    @torch.inference_mode()
    def see(self, images: Sequence[Any]) -> Any:
        """uint8 (side, side, 3) each to patches, float32 (pictures, patches + 1, d)."""
        views = sent(torch.from_numpy(np.stack(images)), self._where)
        pixels = normalised(views, self.prepare_picture).to(self._kind)
        return self._model.vision_model(pixel_values=pixels).last_hidden_state.float()

    @torch.inference_mode()
    def judge(self, seen: Any, pictures: Sequence[int], texts: Sequence[Tokens], length: int) -> Any:
        """Logits, float32 (rows, 2)."""
        model = self._model
        queries = model.query_tokens.shape[1]
        padded = [[*text, *[self._pad] * (length - len(text))] for text in texts]
        seen_of = [[1] * (queries + len(text)) + [0] * (length - len(text)) for text in texts]
        tokens, mask, place = (sent(torch.tensor(part), self._where) for part in (padded, seen_of, list(pictures)))
        both = model.embeddings(input_ids=tokens, query_embeds=model.query_tokens.expand(len(texts), -1, -1))
        found = model.qformer(
            query_embeds=both,
            query_length=queries,
            attention_mask=mask,
            encoder_hidden_states=seen[place],
        ).last_hidden_state
        return model.itm_head(found[:, :queries]).mean(dim=1)
