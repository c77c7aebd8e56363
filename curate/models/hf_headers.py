"""What the headers of a model's files tell of its tensors, without reading one: names, shapes, kinds of numbers.

transformers takes whole numbers, 8 bits or complex ones where a model has real ones, and converts them without a word:
weights that were quantised by hand, without their scales, so become a model that says something about everything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.errors import ConfigError

__all__ = ["Header", "headers", "not_real"]

REAL = ("F64", "F32", "F16", "BF16")
"""As safetensors names the kinds that are taken for weights."""


@dataclass(frozen=True)
class Header:
    """Of one tensor. `kind`: as safetensors names it, `F32` for example."""

    shape: tuple[int, ...]
    kind: str


def headers(files: Iterable[Path]) -> dict[str, Header]:
    """The header of every tensor by its name. Raises ConfigError for a file that is damaged or cut off."""
    from safetensors import safe_open

    found: dict[str, Header] = {}
    for file in files:
        try:
            with safe_open(file, framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118
                    told = tensors.get_slice(name)
                    found[name] = Header(tuple(told.get_shape()), str(told.get_dtype()))
        except Exception as error:
            first = str(error).strip().partition("\n")[0][:300] or type(error).__name__
            raise ConfigError(f"{file} is damaged: {first}; save or fetch it anew") from error
    return found


def not_real(told: Mapping[str, Header], model: Any) -> list[str]:
    """Names of tensors that are no real numbers where those of this name in the model are. By the last part of a name,
    since transformers knows older names than the model's own."""
    real: dict[bool, Collection[str]] = {
        kind: {name.rpartition(".")[2] for name, own in model.state_dict().items() if own.is_floating_point() == kind}
        for kind in (True, False)
    }
    odd = [name for name, header in told.items() if header.kind not in REAL]
    return sorted(name for name in odd if (last := name.rpartition(".")[2]) in real[True] and last not in real[False])
