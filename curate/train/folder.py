"""A trained dual encoder as a folder: open_clip's config and safetensors, so that open_clip loads it too.

    open_clip_config.json        architecture and preprocessing
    open_clip_model.safetensors  float32, the names and shapes of the start

`weights = "FOLDER"` in a config names it. The same tensors give the same bytes. Of the toy, which open_clip does not
know, the config says no more than that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curate.errors import ConfigError
from curate.models.preprocess import Preprocess
from curate.models.settings import ModelSettings
from curate.models.towers import Towers
from curate.models.weights import CONFIG, TOY_DIMENSIONS, is_toy, told_by_tag
from curate.storage import plain_errors

__all__ = ["TENSORS", "architecture_of", "mix", "tensors_of", "write_model"]

TENSORS = "open_clip_model.safetensors"

Tensors = Mapping[str, Any]


def tensors_of(module: Any) -> dict[str, Any]:
    """A copy of a module's state on the CPU, each tensor with memory of its own."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in module.state_dict().items()}


def mix(trained: Tensors, start: Tensors, share: float) -> dict[str, Any]:
    """`share` (0 to 1) of the start's weights and the rest of the trained ones; counters stay as trained."""
    if not share:
        return dict(trained)
    return {
        name: tensor.lerp(start[name], share) if tensor.is_floating_point() else tensor
        for name, tensor in trained.items()
    }


def write_model(folder: Path, tensors: Tensors, towers: Towers, settings: ModelSettings) -> None:
    """Write both files. `settings` is the start, whose architecture it has."""
    from safetensors.torch import save_file

    config = json.dumps(_config(towers, settings), indent=2, sort_keys=True)
    with plain_errors(f"write {folder}"):
        (folder / CONFIG).write_text(config + "\n", "utf-8")
        save_file(dict(tensors), folder / TENSORS)


def _config(towers: Towers, settings: ModelSettings) -> dict[str, Any]:
    start = Path(settings.weights)
    if start.is_dir():
        found: dict[str, Any] = json.loads((start / CONFIG).read_text("utf-8"))
        return found
    if is_toy(settings):
        return {"model_cfg": {"embed_dim": TOY_DIMENSIONS}, "toy": True}
    return {"model_cfg": architecture_of(settings), "preprocess_cfg": _preprocessing(towers)}


def architecture_of(settings: ModelSettings) -> dict[str, Any]:
    """open_clip's description; OpenAI's weights have an activation of their own."""
    import open_clip

    config: dict[str, Any] | None = open_clip.get_model_config(settings.architecture)
    if config is None:
        raise ConfigError(f"open_clip does not describe the architecture {settings.architecture!r}")
    return config | ({"quick_gelu": True} if told_by_tag(settings).get("quick_gelu") else {})


def _preprocessing(towers: Towers) -> dict[str, Any]:
    prepare = towers.prepare
    if not isinstance(prepare, Preprocess):
        raise ConfigError(f"the pictures of {towers.name} are not made ready as open_clip does it")
    return {
        "size": prepare.size,
        "mean": list(prepare.mean),
        "std": list(prepare.std),
        "interpolation": prepare.interpolation,
        "resize_mode": prepare.resize_mode,
        "fill_color": prepare.fill,
    }
