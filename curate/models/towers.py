"""Loads a dual encoder: the two towers, how a picture is made ready, how a text becomes numbers.

open_clip builds every architecture and reads every known kind of checkpoint; here stands what it leaves to chance:
random weights after a typing error are refused, so are missing, left-over and broken tensors, and nothing is unpickled.
Texts are cut to the longest of their batch: 77 places mostly hold padding, and attention to padding is masked anyway
where the mask is causal (CLIP's, not SigLIP's). 15 tokens instead of 77 take 0.18 of the time, and give the same
embedding to 2e-6 (ViT-B/32, one core).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from curate.errors import ConfigError
from curate.filter import Pixels
from curate.models.preprocess import from_open_clip
from curate.models.settings import TOY, ModelSettings
from curate.models.tensors_fit import misfits
from curate.models.weights import embedding_length, is_toy, read_tensors, told_by_tag, weights_digest, weights_file

__all__ = ["Towers", "open_towers", "require_towers"]

KEPT_WORDS = 200_000


@dataclass(frozen=True)
class Towers:
    """A dual encoder in eval mode, float32, on the CPU.

    `module.encode_image` takes float (n, 3, size, size), normalised by `mean` and `std`; `encode_text` takes int64
    (n, length) and, where `trims`, any length that holds the longest text. Neither answer is of unit length.
    `prepare` makes uint8 (size, size, 3) of a picture; `tokenize` gives int64 (n, context length), 0 for padding.
    """

    name: str
    module: Any
    prepare: Callable[[Pixels], Any]
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    tokenize: Callable[[Sequence[str]], Any]
    encode_text: Callable[[Any], Any]
    trims: bool


def open_towers(settings: ModelSettings) -> Towers:
    """The model of these settings. Raises ConfigError for an unknown architecture and for weights that do not fit."""
    return _toy(settings) if is_toy(settings) else _by_open_clip(settings)


def _toy(settings: ModelSettings) -> Towers:
    """A copy of the toy, which may be trained further, with the tensors of a folder where one is named."""
    from curate.models.toy import load_toy_clip, prepare, tokenize

    model = deepcopy(load_toy_clip())
    if settings.weights != TOY:
        path = weights_file(settings)
        tensors = read_tensors(path)
        _require_fit(model.state_dict(), tensors, path)
        model.load_state_dict(tensors)
    return Towers(
        "toy CLIP" if settings.weights == TOY else f"{Path(settings.weights).name} (toy)",
        model,
        prepare,
        model.image_size,
        tuple(model.mean),
        tuple(model.std),
        tokenize,
        model.encode_text,
        trims=True,
    )


def require_towers(settings: ModelSettings) -> None:
    """Raise ConfigError as `open_towers` would. The file is read once, and no model is made beside it: ViT-B/32 is
    looked at in 1.3 s."""
    if is_toy(settings):
        _toy(settings)
    else:
        _checked(settings, weights_digest(settings))


@lru_cache(maxsize=16)
def _checked(settings: ModelSettings, digest: str) -> None:
    """Once per file: several steps may ask for one model."""
    name = _name_of(settings)
    embedding_length(settings)
    model = _without_values(name, settings)
    _fitting(model, weights_file(settings))
    from_open_clip(_preprocessing(settings, model))
    _tokenizer(name)


def _without_values(name: str, settings: ModelSettings) -> Any:
    """The architecture with shapes alone; one that cannot be built so is built as it is."""
    try:
        return _built(name, settings, "meta")
    except ConfigError:
        return _built(name, settings)


def _by_open_clip(settings: ModelSettings) -> Towers:
    path, name = weights_file(settings), _name_of(settings)
    embedding_length(settings)
    model = _built(name, settings)
    model.load_state_dict(_fitting(model, path))
    model.eval()
    preprocess = from_open_clip(_preprocessing(settings, model))
    return Towers(
        _told(settings),
        model,
        preprocess,
        preprocess.size,
        preprocess.mean,
        preprocess.std,
        _tokenizer(name),
        *_text_tower(model),
    )


def _tokenizer(name: str) -> Callable[[Sequence[str]], Any]:
    """open_clip's tokenizer; it never forgets a word, which in a day is gigabytes, so here it begins anew at times."""
    import open_clip

    try:
        tokenizer = open_clip.get_tokenizer(name)
    except Exception as error:
        raise ConfigError(f"open_clip cannot load the tokenizer of {name!r}: {error}") from error
    words = getattr(tokenizer, "cache", {})
    special = dict(words)

    def tokenize(texts: Sequence[str]) -> Any:
        if len(words) > KEPT_WORDS:
            words.clear()
            words.update(special)
        return tokenizer(list(texts))

    return tokenize


def _built(name: str, settings: ModelSettings, where: str = "cpu") -> Any:
    """The architecture with random weights, which are all replaced, or on `meta` with none. OpenAI's tags need their
    own activation."""
    import logging

    import open_clip

    logging.getLogger().addFilter(_no_random_weights)
    quick = bool(told_by_tag(settings).get("quick_gelu"))
    try:
        return open_clip.create_model(
            name, device=where, load_weights=False, pretrained_text=False, force_quick_gelu=quick
        )
    except Exception as error:
        raise ConfigError(f"open_clip cannot build {name!r}: {error}") from error
    finally:
        logging.getLogger().removeFilter(_no_random_weights)


def _no_random_weights(record: Any) -> bool:
    """Whether a line of the log is not open_clip's warning of what we are about to do."""
    return "initialized randomly" not in record.getMessage() and "load_weights=False" not in record.getMessage()


def _fitting(model: Any, path: Path) -> dict[str, Any]:
    """The tensors of a file by the names that a model of open_clip has. Raises ConfigError for what does not fit."""
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict

    tensors: dict[str, Any] = convert_state_dict(model, read_tensors(path))
    if "positional_embedding" in tensors and not hasattr(model, "positional_embedding"):
        tensors = convert_to_custom_text_state_dict(tensors)
    own = model.state_dict()
    for name in ("logit_scale", "logit_bias"):
        if name in tensors and name in own and tensors[name].numel() == own[name].numel():
            tensors[name] = tensors[name].reshape(own[name].shape)
    tensors.pop("text.transformer.embeddings.position_ids", None)
    _require_fit(own, tensors, path)
    return tensors


def _require_fit(own: Mapping[str, Any], tensors: Mapping[str, Any], path: Path) -> None:
    """Raises ConfigError unless each tensor has its place in the model, none is missing, and all are sound."""
    found = misfits(own, tensors)
    if found.missing or found.extra:
        words = [f"lacks {_some(found.missing)}"] * bool(found.missing)
        words += [f"has {_some(found.extra)} besides"] * bool(found.extra)
        raise ConfigError(f"{path} does not fit the architecture: it {' and '.join(words)}")
    for name in found.shaped:
        shapes = tuple(tensors[name].shape), tuple(own[name].shape)
        raise ConfigError(f"{path} does not fit the architecture: {name} is {shapes[0]} and should be {shapes[1]}")
    for name in found.typed:
        has, wanted = tensors[name].dtype, own[name].dtype
        what = f"is of {has} and should be of {wanted}" if has != wanted else "is not a plain tensor with values"
        raise ConfigError(f"{path} does not fit the architecture: {name} {what}")
    if found.broken:
        raise ConfigError(f"{path} is broken: {_some(found.broken)} with values that are not finite; save it anew")


def _some(names: Sequence[str]) -> str:
    return f"{len(names)} tensors ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"


def _preprocessing(settings: ModelSettings, model: Any) -> dict[str, Any]:
    """open_clip's table: its defaults, what a folder or a tag says instead, and the size that the tower takes."""
    import open_clip
    from open_clip.transform import merge_preprocess_dict

    built = open_clip.get_model_preprocess_cfg(model)
    merged: dict[str, Any] = merge_preprocess_dict(built, dict(told_by_tag(settings)))
    return merged | {"size": built["size"]}


def _name_of(settings: ModelSettings) -> str:
    """What open_clip calls the architecture."""
    folder = Path(settings.weights)
    return f"local-dir:{folder.resolve()}" if folder.is_dir() else settings.architecture


def _told(settings: ModelSettings) -> str:
    folder = Path(settings.weights)
    return folder.name if folder.is_dir() else f"{settings.architecture} {folder.name}"


def _text_tower(model: Any) -> tuple[Callable[[Any], Any], bool]:
    """The text encoder, and whether it takes texts without their padding."""
    tower = getattr(model, "text", model)
    pool = getattr(tower, "pool_type", None) or getattr(tower, "text_pool_type", None)
    causal = getattr(tower, "attn_mask", None) is not None and getattr(tower, "cls_emb", None) is None
    parts = all(hasattr(tower, part) for part in ("token_embedding", "positional_embedding", "transformer", "ln_final"))
    if not (causal and parts and pool in ("argmax", "eos")):
        return model.encode_text, False

    def encode(tokens: Any) -> Any:
        from open_clip.transformer import text_global_pool

        length, kind = tokens.shape[1], tower.transformer.get_cast_dtype()
        x = tower.token_embedding(tokens).to(kind) + tower.positional_embedding[:length].to(kind)
        x = tower.ln_final(tower.transformer(x, attn_mask=tower.attn_mask[:length, :length]))
        end = getattr(tower, "eos_id", None) or getattr(tower, "text_eos_id", None)
        x = text_global_pool(x, tokens, pool, eos_token_id=end)
        if tower.text_projection is None:
            return x
        return tower.text_projection(x) if callable(tower.text_projection) else x @ tower.text_projection

    return encode, True
