"""A stage's state on disk, to go on from: weights, moments, how far it is, where the loader stands.

One file of plain tensors with a JSON text in its header, written beside and renamed, so that weights and loader are
never of two different steps. It knows nothing of workers: written by two, it is read by one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from curate.errors import ConfigError
from curate.models.weights import read_tensors
from curate.storage import plain_errors

__all__ = ["load_weights", "read_state", "save_weights", "write_state"]


def write_state(path: Path, model: nn.Module, optimizer: Any, told: Mapping[str, Any]) -> None:
    """Put a state down. `told` is JSON. Raises StorageError."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for number, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": tensor for name, tensor in moments.items()}
    _save(path, tensors, {"told": json.dumps(told)})


def read_state(path: Path, model: nn.Module, optimizer: Any) -> dict[str, Any]:
    """Take up a state; what was told with it. Empty where there is none. Raises ConfigError for a file of another
    training."""
    if not path.is_file():
        return {}
    from safetensors import safe_open

    tensors = read_tensors(path)
    try:
        with safe_open(path, "pt") as file:
            told = _told(file.metadata()["told"])
        model.load_state_dict(_below(tensors, "model."))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _below(tensors, "optimizer.").items():
            number, _, what = name.partition(".")
            moments.setdefault(int(number), {})[what] = tensor
        _require_moments(moments, optimizer)
        optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    except (KeyError, ValueError, RuntimeError, TypeError) as error:
        raise ConfigError(f"{path} is no state of this stage ({error}); delete {path.parent}") from error
    return told


def save_weights(path: Path, model: nn.Module) -> None:
    """Write a model's tensors; the same tensors give the same bytes. Raises StorageError."""
    _save(path, model.state_dict(), None)


def load_weights(path: Path, model: nn.Module) -> None:
    """Put a file's tensors into the model. Raises ConfigError unless they are those of this model."""
    try:
        model.load_state_dict(read_tensors(path))
    except RuntimeError as error:
        raise ConfigError(
            f"{path} is not of this model ([model] has changed?): {str(error).splitlines()[-1].strip()}"
        ) from None


def _save(path: Path, tensors: Mapping[str, Tensor], about: dict[str, str] | None) -> None:
    from safetensors.torch import save_file

    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    with plain_errors(f"write {path}"):
        save_file(own, beside, about)
        beside.replace(path)


def _told(text: str) -> dict[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict) or type(found.get("step")) is not int or found["step"] < 1:
        raise ValueError("it does not tell its step")
    if not isinstance(found.get("batches"), dict):
        raise ValueError("it does not tell where its batches stand")
    return found


def _require_moments(moments: Mapping[int, Mapping[str, Tensor]], optimizer: Any) -> None:
    """Raise ValueError unless they are AdamW's of these parameters: torch looks at neither names nor shapes."""
    learned = [tensor for group in optimizer.param_groups for tensor in group["params"]]
    if set(moments) != set(range(len(learned))):
        raise ValueError(f"it has moments of {len(moments)} parameters, and {len(learned)} are trained")
    for number, own in moments.items():
        shapes = {name: tuple(tensor.shape) for name, tensor in own.items()}
        wanted = tuple(learned[number].shape)
        if shapes != {"step": (), "exp_avg": wanted, "exp_avg_sq": wanted}:
            raise ValueError(f"its moments of parameter {number} have other shapes")


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
