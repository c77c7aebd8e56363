"""Small networks on CLIP embeddings, and LAION's aesthetic predictors, from the files as published.

They are computed by numpy, because a GPU would wait for the copy: 2,048 embeddings of ViT-L/14 take 1 ms by an
aesthetic head, whose five layers without a non-linearity fold into one vector.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.errors import ConfigError
from curate.manifest import fingerprint
from curate.models.embeddings import embeddings_of
from curate.models.weights import read_tensors

__all__ = [
    "Head",
    "Rows",
    "Step",
    "aesthetic_head",
    "dense_step",
    "finite_numbers",
    "linear_chain",
    "made_on_top",
    "require_length",
    "scores_of",
]

Rows = npt.NDArray[np.float32]
Step = Callable[[Rows], Rows]


@dataclass(frozen=True)
class Head:
    """`steps` take float32 (n, length) to (n, 1); `name` is its file, for errors."""

    name: str
    length: int
    steps: tuple[Step, ...]

    def __call__(self, rows: Rows) -> Rows:
        """float32 (n,) of embeddings, float32 (n, length)."""
        for step in self.steps:
            rows = step(rows)
        return rows[:, 0]


def made_on_top(told: Mapping[str, str], own: Sequence[Any], about: Mapping[str, str]) -> dict[str, str]:
    """What a column says of itself that is made of another: all that the other tells, and `about`.

    `told` is what the other column tells, such as the model of its embeddings. `own` is what this step adds to the
    score, JSON-like, such as the digest of its head: the `model_fingerprint` is that of both, so that columns by other
    models below or above are never ranked as one (`curate.rank.require_one_model`)."""
    return {**told, **about, "model_fingerprint": fingerprint([told.get("model_fingerprint"), *own])}


def scores_of(head: Head, column: pa.Array | pa.ChunkedArray, name: str) -> pa.Array:
    """A head's number for each embedding of the column `name`, float32; null where there is none, or where the number
    is not finite. Raises ConfigError for embeddings of another length."""
    rows, known = embeddings_of(column)
    require_length(head, rows.shape[1], name)
    values = np.zeros(len(rows), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        values[known] = head(rows[known])
    return pa.array(values, mask=~(known & np.isfinite(values)))


def require_length(head: Head, length: int, name: str) -> None:
    """Raise ConfigError unless the head is for embeddings of the length that those of `name` have."""
    if length != head.length:
        raise ConfigError(
            f"{head.name} is a head for embeddings of {head.length} numbers, and {name} has {length}; take the head "
            "that was made for this CLIP model"
        )


def aesthetic_head(path: Path) -> Head:
    """LAION's linear predictor (`weight`, `bias`) or the improved one (`layers.0` to `layers.7`, without a
    non-linearity), of a `.pth` or `.safetensors`. Raises ConfigError for a pickle with more than weights, and for
    missing, extra or odd tensors."""
    tensors = read_tensors(path)
    names = ["", *(f"layers.{number}." for number in (0, 2, 4, 6, 7))]
    layers = linear_chain(path, tensors, names[:1] if "weight" in tensors else names[1:])
    weight, bias = layers[0]
    for following, shift in layers[1:]:
        weight, bias = weight @ following, bias @ following + shift
    return Head(path.name, len(weight), (_one_by_one(weight[:, 0], bias),))


Pair = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


def linear_chain(path: Path, tensors: Mapping[str, Any], names: Sequence[str]) -> list[Pair]:
    """Weight (in, out) and bias (out,) of linear layers in order, the last with one output, as float64."""
    wanted = {f"{name}{what}" for name in names for what in ("weight", "bias")}
    missing, extra = sorted(wanted - tensors.keys()), sorted(tensors.keys() - wanted)
    if missing or extra:
        words = [f"{what} {', '.join(them[:6])}" for what, them in (("lacks", missing), ("has also", extra)) if them]
        raise ConfigError(f"{path} is no such head: it {' and '.join(words)}")
    layers: list[Pair] = []
    for name in names:
        weight = finite_numbers(path, tensors[f"{name}weight"], f"{name}weight")
        bias = finite_numbers(path, tensors[f"{name}bias"], f"{name}bias")
        fits = weight.ndim == 2 and bias.shape == weight.shape[:1]
        if not fits or (layers and layers[-1][0].shape[1] != weight.shape[1]):
            raise ConfigError(f"{path}: {name}weight {weight.shape} and bias {bias.shape} do not fit what is before")
        layers.append((weight.T, bias))
    if layers[-1][0].shape[1] != 1:
        raise ConfigError(f"{path} has {layers[-1][0].shape[1]} outputs, and a head has one")
    return layers


def finite_numbers(path: Path, tensor: Any, name: str) -> npt.NDArray[np.float64]:
    """A finite tensor as float64."""
    if tensor is None:
        raise ConfigError(f"{path} is no such head: it lacks {name}")
    if hasattr(tensor, "is_floating_point") and not tensor.is_floating_point():
        raise ConfigError(f"{path}: {name} is of {tensor.dtype}, and a head has floats")
    numbers = tensor.double().numpy() if hasattr(tensor, "double") else tensor
    values: npt.NDArray[np.float64] = np.asarray(numbers, np.float64)
    if not np.isfinite(values).all():
        raise ConfigError(f"{path}: {name} has values that are not finite")
    return values


def _one_by_one(weight: npt.NDArray[np.float64], bias: npt.NDArray[np.float64]) -> Step:
    """A linear layer with one output that adds up in the same order for every row, which a product of matrices does
    not: the best share is of scores, and must not depend on how rows are packed."""
    return lambda rows: (np.einsum("nd,d->n", rows, weight) + bias).astype(np.float32)[:, None]


def dense_step(weight: npt.NDArray[np.float64], bias: npt.NDArray[np.float64]) -> Step:
    """A linear layer in float32: weight (in, out), bias (out,)."""
    kernel, shift = weight.astype(np.float32), bias.astype(np.float32)
    return lambda rows: rows @ kernel + shift
