"""The settings of a model as they stand in its folder, before transformers reads them.

They are JSON that a stranger wrote, and transformers does what they say: another file for the weights, a second model,
a kernel of the hub for the attention, a thousand million layers. What asks for more than the folder holds is refused
here, with the key and what to do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISFIFO
from typing import Any

from curate.errors import ConfigError

__all__ = ["CONFIG", "require_local", "settings_json", "told_config"]

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
COUNTS = re.compile("layer|depth|num_blocks|n_blocks|experts")
"""Keys, by a part of their names, of how often something is built, or of a list of that."""
MOST_JSON_BYTES, MOST_TABLES, MOST_LAYERS, MOST_DEPTH = 64 << 20, 100_000, 2_000, 50
"""A vocabulary of 250,000 tokens as JSON is 20 MB; 6,400 tokens that were added are as many tables; the deepest model
that is published has some 130 layers. transformers copies and prints a config time and again, so that 16 MB of empty
lists keep it busy for a minute."""


def told_config(path: Path) -> dict[str, Any]:
    """What config.json says, as it stands there. Raises ConfigError for one that asks for more than this folder."""
    found = settings_json(path / CONFIG)
    if not isinstance(found.get("model_type"), str):
        raise ConfigError(f"{path / CONFIG} does not say its model_type; save the model anew by save_pretrained")
    return found


def settings_json(path: Path) -> dict[str, Any]:
    """A file of settings. Raises ConfigError for what is no JSON object, too long, or asks for more than the folder."""
    try:
        about = path.stat()
        if about.st_size > MOST_JSON_BYTES:
            raise ConfigError(f"{path} is longer than {MOST_JSON_BYTES >> 20} MB, which no settings are")
        if S_ISFIFO(about.st_mode):
            raise ConfigError(f"{path} cannot be read: it is a pipe")
        found = json.loads(path.read_text("utf-8"), parse_constant=_finite)
    except FileNotFoundError:
        raise ConfigError(f"{path.parent} has no {path.name}; give a folder that save_pretrained made") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{path} is no JSON object")
    for number, table in enumerate(_tables(found, path)):
        if number >= MOST_TABLES:
            raise ConfigError(f"{path} has more than {MOST_TABLES:,} tables and lists, which no settings have")
        for key, value in table.items() if isinstance(table, dict) else ():
            _require_plain(key, value, path)
    return found


def _finite(name: str) -> float:
    """Infinity is a bound that some models have; what is not a number makes every answer one."""
    if name == "NaN":
        raise ValueError("NaN stands where a number belongs")
    return float(name)


def _tables(value: dict[str, Any] | list[Any], path: Path, depth: int = 0) -> Iterator[dict[str, Any] | list[Any]]:
    """It, and every table and list in it, at any depth."""
    if depth > MOST_DEPTH:
        raise ConfigError(f"{path} is nested more than {MOST_DEPTH} deep")
    yield value
    for below in value.values() if isinstance(value, dict) else value:
        if isinstance(below, dict | list):
            yield from _tables(below, path, depth + 1)


def _require_plain(key: str, value: Any, path: Path) -> None:
    if key in REFUSED and value:
        raise ConfigError(f"{path} has {key!r}: it {REFUSED[key]}, which is not loaded")
    if key.lstrip("_").startswith("attn_implementation") and value and value not in ATTENTION:
        raise ConfigError(f"{path} has {key} = {value!r}; remove it: {' and '.join(ATTENTION)} are known here")
    counts = (value if isinstance(value, list) else [value]) if COUNTS.search(key) else []
    many = [count for count in counts if isinstance(count, int) and count > MOST_LAYERS]
    if many:
        raise ConfigError(f"{path} has {key} = {value!r:.80}, more than {MOST_LAYERS}; is it the config of this model?")


def require_local(path: Path) -> None:
    """Raise ConfigError for a folder of which transformers would read more than settings, vocabulary and weights."""
    if (path / "adapter_config.json").is_file():
        raise ConfigError(f"{path} holds an adapter of another model; merge the two and save the whole")
    told_config(path)
    for name in ("preprocessor_config", "processor_config", "tokenizer_config", "generation_config"):
        if (path / f"{name}.json").is_file():
            settings_json(path / f"{name}.json")
