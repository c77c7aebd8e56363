"""What a stage trains, and the proof that it trained nothing else.

A frozen part that is trained after all is a bug nobody sees: the loss still falls. So the bytes of every frozen tensor
are digested before a stage and after it, buffers (the means of a batch norm) too, and a stage that changed one fails.
That takes a second a gigabyte, twice a stage.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from curate.errors import ConfigError, StageError
from curate.handover.stages import PARTS, Lora, Trainable, TrainingStage, trainable_layers
from curate.train.stages.language import blocks_of
from curate.train.stages.lora import adapt
from curate.train.stages.model import StageModel
from curate.train.stages.settings import FROM_PAIRS, GENERATIVE, weight_of

__all__ = ["Frozen", "frozen_digests", "prepare_parts", "require_frozen"]


@dataclass(frozen=True)
class Frozen:
    """What is trained: numbers of each part that are, and of all that there are; `parts` of each parameter."""

    trainable: Mapping[str, int]
    total: Mapping[str, int]
    parts: Mapping[str, str]


def prepare_parts(model: StageModel, stage: TrainingStage, seed: int) -> Frozen:
    """Let the stage's parameters learn and no others, in place; adapters are put where it asks for them.

    Raises ConfigError where a part has no such layers, and for a stage that trains nothing.
    """
    chosen = {part: _chosen(stage.trainable, part) for part in PARTS}
    model.requires_grad_(False)
    parts = model.parts()
    for name, tensor in model.named_parameters():
        tensor.requires_grad_(chosen[parts[name]] == "full")
    for part, value in chosen.items():
        if isinstance(value, Lora):
            _adapt(model, part, value, seed)
        elif layers := trainable_layers(value):
            _last(model, part, layers)
    for name, tensor in model.named_parameters():
        if name.startswith(_unused(model, stage)):
            tensor.requires_grad_(False)
    _set_modes(model, True)
    parts = model.parts()
    if not any(tensor.requires_grad for tensor in model.parameters()):
        raise ConfigError(f'stage {stage.name} trains nothing; write trainable = {{projector = "full"}} or the like')
    return Frozen(_count(model, parts, True), _count(model, parts, False), parts)


def _unused(model: StageModel, stage: TrainingStage) -> tuple[str, ...]:
    """Beginnings of the names of what no loss of the stage reaches: without a gradient it would only decay."""
    compared, matched = (weight_of(stage, name) > 0 for name in FROM_PAIRS)
    read = matched or any(weight_of(stage, name) > 0 for name in GENERATIVE)
    found = [] if read else ["projector.", "cross.", "tag"]
    found += [] if matched else ["heads.match."]
    found += [] if compared else ["heads.picture.", "heads.text.", "heads.log_scale", "heads.bias", "text_tower."]
    return (*found, *([] if read or model.text_tower is None else ["language_model."]))


def _set_modes(module: nn.Module, training: bool) -> None:
    """Modules that learn are in training mode; frozen ones are not, or a batch norm would count on."""
    learned = [tensor.requires_grad for tensor in module.parameters()]
    module.training = any(learned) if learned else training
    for child in module.children():
        _set_modes(child, module.training)


def _chosen(trainable: Trainable, part: str) -> str | Lora:
    value = getattr(trainable, part)
    if part != "embeddings" or value:
        found: str | Lora = value
        return found
    language = trainable.language_model
    return language if language in ("none", "full") else "none"


def _modules(model: StageModel, part: str) -> list[nn.Module]:
    """The modules of a part of which layers are adapted."""
    found = {
        "vision": [model.vision],
        "projector": [model.projector, model.cross],
        "language_model": [model.language_model, model.text_tower],
    }
    return [module for module in found.get(part, []) if module is not None]


def _adapt(model: StageModel, part: str, lora: Lora, seed: int) -> None:
    first, *others = _modules(model, part)
    adapt(first, lora, part, seed)
    for module in others:
        if any(type(each) is nn.Linear for each in module.modules()):
            adapt(module, lora, part, seed + 1)


def _last(model: StageModel, part: str, layers: int) -> None:
    """The last layers of a part, and what stands behind them (a norm)."""
    modules = [] if part == "projector" else _modules(model, part)
    for module in modules:
        blocks = blocks_of(module)
        if blocks is None or len(blocks) < layers:
            raise ConfigError(f'trainable.{part} = "last_{layers}", and it has {len(blocks or ())} layers')
        names = {id(each): name for name, each in module.named_modules()}
        first = f"{names[id(blocks)]}.{len(blocks) - layers}."
        ordered = list(module.named_parameters())
        begun = next(number for number, (name, _) in enumerate(ordered) if name.startswith(first))
        for _, tensor in ordered[begun:]:
            tensor.requires_grad_(True)
    if not modules:
        raise ConfigError(f'trainable.{part} = "last_{layers}", and it has no layers; write "none" or "full"')


def _count(model: StageModel, parts: Mapping[str, str], learned: bool) -> dict[str, int]:
    found = dict.fromkeys(PARTS, 0)
    for name, tensor in model.named_parameters():
        found[parts[name]] += tensor.numel() if tensor.requires_grad or not learned else 0
    return found


def frozen_digests(model: nn.Module) -> dict[str, str]:
    """A digest of the bytes of each tensor that does not learn, buffers too."""
    learned = {name for name, tensor in model.named_parameters() if tensor.requires_grad}
    moving = _moving(model)
    return {
        name: hashlib.sha256(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data).hexdigest()
        for name, tensor in model.state_dict().items()
        if name not in learned and name not in moving
    }


def _moving(model: nn.Module) -> set[str]:
    """Buffers of modules that learn: they may change with them."""
    return {
        f"{path}.{name}".lstrip(".")
        for path, module in model.named_modules()
        if any(tensor.requires_grad for tensor in module.parameters(recurse=False))
        for name, _ in module.named_buffers(recurse=False)
    }


def require_frozen(model: nn.Module, before: Mapping[str, str], stage: str) -> None:
    """Raise StageError unless every frozen tensor has the bytes that it had."""
    after = frozen_digests(model)
    changed = sorted(name for name, digest in before.items() if after.get(name) != digest)
    if changed:
        raise StageError(
            f"stage {stage} changed {len(changed)} tensors that it does not train, such as {changed[0]}: the model is "
            "not written; please report it"
        )
