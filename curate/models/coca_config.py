"""Whether an architecture of open_clip is a CoCa that is decoded here, told by its config before anything is built.

open_clip builds many things from the same keys: towers of timm and transformers, texts that are read in both
directions, other kinds of attention. Each of them would make other captions here than there, or none: each is an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.errors import ConfigError
from curate.models.settings import ModelSettings
from curate.models.weights import CONFIG, embedding_length, is_local

__all__ = ["END", "START", "WORDS", "CocaConfig", "coca_config"]

START, END, WORDS = 49_406, 49_407, 49_408
"""CLIP's vocabulary: the tokens that begin and end a text, the last two of it, and how many there are."""
OTHER_ATTENTION = ("qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner", "scale_attn", "scale_fc")
MOST_PLACES, MOST_LAYERS, MOST_JSON_BYTES = 4_096, 2_000, 1 << 20


@dataclass(frozen=True)
class CocaConfig:
    """`places`: tokens of a text, with its start. `padding`: the token that is none."""

    places: int
    padding: int


def coca_config(settings: ModelSettings) -> CocaConfig:
    """What the config of a model says. Raises ConfigError for one that is no CoCa, or one that is not decoded here."""
    name = str(settings.architecture or settings.weights)
    told = _told(settings)
    text, vision, mixed = (_table(told, key, name) for key in ("text_cfg", "vision_cfg", "multimodal_cfg"))
    for wrong, what in _misfits(text, vision):
        if wrong:
            raise ConfigError(f"{name} has {what}, which is not decoded here; take coca_ViT-B-32 or coca_ViT-L-14")
    try:
        found = CocaConfig(_number(text, mixed, "context_length", 77, min), int(text.get("pad_id", 0)))
        words = _number(text, mixed, "vocab_size", WORDS, min)
        layers = max(int(table.get("layers", 12)) for table in (text, vision, mixed))
        widths = _widths(told, text, vision, mixed)
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"the config of {name} has what is no number where one belongs: {error}") from None
    if not 2 <= found.places <= MOST_PLACES or words < WORDS or not 0 <= found.padding < START:
        raise ConfigError(
            f"{name} has {found.places} places, {words} words and the padding {found.padding}: known are 2 to "
            f"{MOST_PLACES} places, CLIP's {WORDS} words or more, and a padding that is one of them and no mark"
        )
    if layers > MOST_LAYERS:
        raise ConfigError(
            f"the config of {name} asks for {layers} layers, more than {MOST_LAYERS}; is it this model's?"
        )
    if len(set(widths)) > 1:
        raise ConfigError(
            f"the config of {name} has texts of width {widths[0]}, pictures of width {widths[1]} and a decoder of "
            f"width {widths[2]}: they do not go together"
        )
    return found


def _told(settings: ModelSettings) -> Mapping[str, Any]:
    """The model's part of a folder's config, or open_clip's own of an architecture."""
    folder = Path(settings.weights)
    path, own = folder / CONFIG, is_local(settings) and folder.is_dir()
    if own and path.is_file() and path.stat().st_size > MOST_JSON_BYTES:
        raise ConfigError(f"{path} is longer than {MOST_JSON_BYTES >> 10} kB, which no config is")
    try:
        embedding_length(settings)  # knows each way in which an architecture may not be there
    except RecursionError:
        raise ConfigError(f"{path} is nested too deep for a config") from None
    if not own:
        import open_clip

        return open_clip.get_model_config(settings.architecture) or {}
    told = json.loads(path.read_text("utf-8"))
    found: Mapping[str, Any] = told.get("model_cfg", told)
    return found


def _widths(told: Mapping[str, Any], text: Mapping[str, Any], vision: Mapping[str, Any], mixed: Any) -> list[int]:
    """Of the tokens of a text and of a picture, and of the decoder that reads both; open_clip builds it even where they
    differ. Tokens that are pooled by attention are as wide as an embedding, those beside a second pooling are not."""
    pooled = vision.get("attentional_pool") is True
    seen = told["embed_dim"] if pooled else vision.get("width", 768)
    return [int(text.get("width", 512)), int(seen), int(mixed.get("width", 512))]


def _table(told: Mapping[str, Any], key: str, name: str) -> Mapping[str, Any]:
    found = told.get(key)
    if not isinstance(found, Mapping):
        raise ConfigError(
            f"{name} is no CoCa: its config has no {key}; a CLIP writes no captions, take coca_ViT-L-14 for example"
        )
    return found


def _misfits(text: Mapping[str, Any], vision: Mapping[str, Any]) -> list[tuple[Any, str]]:
    other = text.get("block_type") not in (None, "default") or any(text.get(key) for key in OTHER_ATTENTION)
    return [
        (text.get("hf_model_name"), "a text tower of transformers"),
        (text.get("hf_tokenizer_name") or text.get("tokenizer_mode"), "a vocabulary of its own"),
        (text.get("no_causal_mask"), "texts that are read in both directions"),
        (not text.get("embed_cls"), "no token for contrast behind its texts (embed_cls): their words are normalised"),
        (other, "another kind of attention in its text tower"),
        (vision.get("timm_model_name") or isinstance(vision.get("layers"), list), "a picture tower without tokens"),
        (not vision.get("output_tokens"), "a picture tower that keeps its tokens to itself (output_tokens)"),
    ]


def _number(text: Mapping[str, Any], mixed: Mapping[str, Any], key: str, default: int, of: Any) -> int:
    return int(of(int(text.get(key, default)), int(mixed.get(key, default))))
