"""The settings of a model as they stand in its folder, before transformers reads them.

They are JSON that a stranger wrote, and transformers does what they say: another file for the weights, a second model,
a kernel of the hub for the attention, a thousand million layers. What asks for more than the folder holds is refused
here, with the key and what to do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curate.errors import ConfigError

__all__ = ["require_local", "settings_json", "told_config"]

CONFIG = "config.json"
REFUSED = {
    "quantization_config": "is quantised; name the model that it was made from",
    "transformers_weights": "names another file for its weights",
    "fusion_config": "asks for layers to be put together anew",
    "audio_tokenizer": "names a second model",
    "use_pretrained_backbone": "names a second model",
}
"""Keys, at any depth, that have transformers do more than read this folder."""
ATTENTION = ("eager", "sdpa")
MOST_JSON_BYTES, MOST_LAYERS, MOST_DEPTH = 64 << 20, 2_000, 50
"""A vocabulary of 250,000 tokens as JSON is 20 MB; the deepest model that is published has some 130 layers."""


def told_config(path: Path) -> dict[str, Any]:
    """What config.json says, as it stands there. Raises ConfigError for one that asks for more than this folder."""
    found = settings_json(path / CONFIG)
    if not isinstance(found.get("model_type"), str):
        raise ConfigError(f"{path / CONFIG} does not say its model_type; save the model anew by save_pretrained")
    return found


def settings_json(path: Path) -> dict[str, Any]:
    """A file of settings. Raises ConfigError for what is no JSON object, too long, or asks for more than the folder."""
    try:
        if path.stat().st_size > MOST_JSON_BYTES:
            raise ConfigError(f"{path} is longer than {MOST_JSON_BYTES >> 20} MB, which no settings are")
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path.parent} has no {path.name}; give a folder that save_pretrained made") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{path} is no JSON object")
    for key, value in _pairs(found, path):
        _require_plain(key, value, path)
    return found


def _pairs(value: Any, path: Path, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Every key with its value, at any depth."""
    if depth > MOST_DEPTH:
        raise ConfigError(f"{path} is nested more than {MOST_DEPTH} deep")
    if isinstance(value, dict):
        yield from value.items()
    for below in value.values() if isinstance(value, dict) else value:
        if isinstance(below, dict | list):
            yield from _pairs(below, path, depth + 1)


def _require_plain(key: str, value: Any, path: Path) -> None:
    if key in REFUSED and value:
        raise ConfigError(f"{path} has {key!r}: it {REFUSED[key]}, which is not loaded")
    if key.lstrip("_").startswith("attn_implementation") and value and value not in ATTENTION:
        raise ConfigError(f"{path} has {key} = {value!r}; remove it: {' and '.join(ATTENTION)} are known here")
    many = ("layer" in key or "depth" in key) and isinstance(value, int) and not isinstance(value, bool)
    if many and value > MOST_LAYERS:
        raise ConfigError(f"{path} has {key} = {value}, more than {MOST_LAYERS}; is it the config of this model?")


def require_local(path: Path) -> None:
    """Raise ConfigError for a folder of which transformers would read more than settings, vocabulary and weights."""
    if (path / "adapter_config.json").is_file():
        raise ConfigError(f"{path} holds an adapter of another model; merge the two and save the whole")
    told_config(path)
    for name in ("preprocessor_config", "processor_config", "tokenizer_config", "generation_config"):
        if (path / f"{name}.json").is_file():
            settings_json(path / f"{name}.json")
