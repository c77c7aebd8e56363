"""A model of transformers that goes on from a picture and a question, asked through its own `generate`.

What the model's folder says about decoding (beams, penalties, a length) is set aside, because a caption's settings are
those of our config and stand beside it as its provenance. What the folder says about tokens stays: which end a text,
which stands first, which are never said.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from curate.models.captioner import Sampling
from curate.models.decoding import Decoded, rows_each
from curate.models.hf_folder import load_model
from curate.models.keyed_picks import KeyedBeams, KeyedPicks

__all__ = ["CLASS", "Writer"]

CLASS = "AutoModelForImageTextToText"
DECODED_INSIDE = ("blip-2", "instructblip")
"""Types of models whose `generate` is that of the language model in them."""
TOKENS = (
    "bos_token_id",
    "decoder_start_token_id",
    "forced_bos_token_id",
    "suppress_tokens",
    "begin_suppress_tokens",
    "bad_words_ids",
)
"""What of a model's settings for generation counts here, beside the ends."""
MOST_TOKENS = 1 << 24
"""Of a vocabulary whose size a model does not say."""
ONE = ("bos_token_id", "decoder_start_token_id", "forced_bos_token_id", "pad_token_id")
"""Settings that are one token; all others are several."""


class Writer:
    """The model of a folder on a device, in this torch type. Raises ConfigError."""

    def __init__(self, path: Path, where: Any, kind: Any, tokenizer: Any) -> None:
        self._model = load_model(path, CLASS, dtype=kind).to(where)
        self.where, self.kind, self.config = where, kind, self._model.config
        inside = self.config.model_type in DECODED_INSIDE
        owner = self._model.language_model if inside else self._model
        self._tokens = _tokens(owner, self._model, tokenizer)
        if not getattr(owner.config, "is_encoder_decoder", False):  # whose text begins with its prompt
            self._tokens["forced_bos_token_id"] = None
        self._forced = int(self._tokens["forced_bos_token_id"] is not None)
        for module in {id(one): one for one in (owner, self._model)}.values():
            module.generation_config = _plain(self._tokens)

    @property
    def ends(self) -> tuple[int, ...]:
        """Ids of the tokens that end a text; none where the model does not say."""
        return tuple(self._tokens["eos_token_id"] or ())

    def write(
        self, inputs: Mapping[str, Any], n: int, sampling: Sampling, draws: npt.NDArray[np.float64] | None
    ) -> list[list[Decoded]]:
        """`n` texts for each picture of `inputs`, which are tensors on the device. `draws`: float64 (pictures, n,
        max_tokens), None for greedy and beams. Raises what torch raises where memory runs out."""
        each = rows_each(sampling, n)
        beams = sampling.method == "beam" and each > 1
        picks: KeyedBeams | KeyedPicks
        if beams:
            picks = KeyedBeams(sampling, self.ends, self._forced)
        else:
            flat = None if draws is None else draws.reshape(-1, draws.shape[2])
            picks = KeyedPicks(sampling, flat, self.ends, self._forced)
        options: dict[str, Any] = {"num_beams": each, "do_sample": False} if beams else {"num_beams": 1}
        if not beams and n > 1:  # only so does `generate` encode a picture once; one token is left to draw from
            options |= {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
        with torch.inference_mode():
            found = self._model.generate(
                **inputs,
                generation_config=_plain(
                    self._tokens,
                    max_new_tokens=sampling.max_tokens + self._forced,
                    num_return_sequences=n,
                    return_dict_in_generate=beams,
                    **options,
                ),
                logits_processor=[picks],
            )
            texts = picks.texts(found)
        return [texts[first : first + n] for first in range(0, len(texts), n)]


def _tokens(owner: Any, model: Any, tokenizer: Any) -> dict[str, Any]:
    """The tokens that count: of what decodes, else of the whole model, else of the vocabulary. What is no token of the
    model counts for nothing (LLaMA's padding is -1): it would end the run once a text is shorter than another."""
    told: dict[str, Any] = {}
    size = int(getattr(owner.config.get_text_config(decoder=True), "vocab_size", 0) or MOST_TOKENS)
    for config in (owner.generation_config, model.generation_config, owner.config, model.config):
        for name in (*TOKENS, "eos_token_id", "pad_token_id"):
            if told.get(name) is None:
                told[name] = _known(name, getattr(config, name, None), size)
    for name in ("eos_token_id", "pad_token_id"):
        if told[name] is None:
            told[name] = _known(name, getattr(tokenizer, name, None), size)
    return told


def _known(name: str, value: Any, size: int) -> Any:
    """A token, or a list of tokens (of texts of several, for `bad_words_ids`), below `size`; None for nothing."""
    if name in ONE:
        return value if _is_token(value, size) else None
    several = value if isinstance(value, list | tuple) else [value]
    if name == "bad_words_ids":
        return [own for own in several if isinstance(own, list) and _all_tokens(own, size)] or None
    return [token for token in several if _is_token(token, size)] or None


def _all_tokens(values: list[Any], size: int) -> bool:
    return bool(values) and all(_is_token(value, size) for value in values)


def _is_token(value: Any, size: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < size


def _plain(tokens: Mapping[str, Any], **options: Any) -> Any:
    """transformers' settings with these and nothing of its own. A finished row goes on with the padding."""
    from transformers import GenerationConfig

    ends, padding = tokens["eos_token_id"], tokens["pad_token_id"]
    if padding is None:
        padding = ends[0] if ends else 0
    return GenerationConfig(
        **{name: tokens[name] for name in TOKENS if tokens.get(name) is not None},
        eos_token_id=ends,
        pad_token_id=padding,
        **options,
    )
