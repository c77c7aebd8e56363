"""Copy detection: embeddings that tell which picture it is, whatever was done to it, and not what is in it.

| `kind` | network | numbers | input | copies have a cosine of |
|---|---|---|---|---|
| `sscd` | ResNet-50, GeM pooling (p = 3), linear (Pizzi et al. 2022) | 512 | 320 px | .75: precision .9 on DISC |
| `isc` | EfficientNetV2-M, mean, linear, batch norm (Yokoo 2021) | 256 | 512 px | .604169: DataComp's bound |

Both sides of a picture are scaled to the size, whatever its shape, as both authors do for batches. The weights are no
part of this project. A file is read as data and must have exactly the network's tensors, as published or in a
`.safetensors`: `sscd_disc_mixup.torchvision.pt` (TorchScript is refused, for loading it runs a program that came with
the file; the `.classy.pt` files name their tensors after another library), and `isc_ft_v107.pth.tar`, whose training
options are read and left aside.

ResNet-50 at 320 px takes 0.16 s of a core in fp32, EfficientNetV2-M at 512 px 0.8 s: both want a GPU.
"""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.errors import ConfigError
from curate.filter import Batch, Pixels, Scorer
from curate.manifest import fingerprint
from curate.models.device import computed_precision, computes, device
from curate.models.embeddings import embedding_column
from curate.models.memory import is_memory
from curate.models.model_files import digest_of
from curate.models.preprocess import Preprocess
from curate.models.settings import ModelSettings
from curate.models.tensors_fit import misfits
from curate.models.weights import read_tensors

__all__ = ["NETWORKS", "EmbedPictures", "Network", "isc_network", "sscd_network"]

BATCH_PICTURES = 256
AT_A_TIME = {"cpu": 8, "cuda": 64}
LEAST = 1e-6
"""What GeM pooling takes for anything below it, as both publications do."""
COUNTER = "num_batches_tracked"
"""What a batch norm counts in training; files may come without it."""
BACKBONE = "tf_efficientnetv2_m.in21k_ft_in1k"
"""Its name in timm; that of the checkpoint is `tf_efficientnetv2_m_in21ft1k`, which timm renamed."""


@dataclass(frozen=True)
class Network:
    """`build` makes it with random weights, in eval mode: float (n, 3, size, size), normalised, to (n, length), of any
    length. `files` are the published files that fit."""

    length: int
    preprocess: Preprocess
    build: Callable[[], Any]
    files: str


def sscd_network() -> Any:
    """torchvision's ResNet-50 with GeM pooling and 512 outputs, as `backbone` of the published files."""
    import torchvision
    from torch import nn

    class Sscd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = torchvision.models.resnet50(weights=None, num_classes=512)
            self.backbone.avgpool = _pooling(3.0)

        def forward(self, pixels: Any) -> Any:
            return self.backbone(pixels)

    return Sscd().eval()


def isc_network() -> Any:
    """timm's EfficientNetV2-M without its last convolution, pooled to 512 numbers, a linear layer and batch norm."""
    import timm
    from torch import nn

    class Isc(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = timm.create_model(BACKBONE, pretrained=False, features_only=True)
            self.pool = _pooling(1.0)
            self.fc = nn.Linear(self.backbone.feature_info.channels()[-1], 256, bias=False)
            self.bn = nn.BatchNorm1d(256)

        def forward(self, pixels: Any) -> Any:
            return self.bn(self.fc(self.pool(self.backbone(pixels)[-1]).flatten(1)))

    return Isc().eval()


def _pooling(power: float) -> Any:
    """Generalised mean over all places: (n, c, h, w) to (n, c, 1, 1); in float32, since cubes overflow 16 bits."""
    from torch import nn

    class Gem(nn.Module):
        def forward(self, values: Any) -> Any:
            means = values.float().clamp(min=LEAST).pow(power).mean(dim=(2, 3), keepdim=True)
            return means.pow(1 / power).to(values.dtype)

    return Gem()


_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
NETWORKS: Mapping[str, Network] = {
    "sscd": Network(
        512, Preprocess(320, *_IMAGENET, "bilinear", "squash"), sscd_network, "sscd_disc_mixup.torchvision.pt"
    ),
    "isc": Network(256, Preprocess(512, *_HALVES, "bilinear", "squash"), isc_network, "isc_ft_v107.pth.tar"),
}


@dataclass(frozen=True)
class EmbedPictures(Scorer):
    """Each picture's embedding, float16 of unit length; null without a picture, and where a number is not finite.
    `model` is its name in the config."""

    model: str
    settings: ModelSettings

    @property
    def name(self) -> str:
        return self.model

    @property
    def reads(self) -> tuple[str, ...]:
        return ("image",)

    @property
    def writes(self) -> Mapping[str, pa.DataType]:
        return {f"{self.model}_image_embedding": pa.list_(pa.float16(), self._network.length)}

    @property
    def gpus(self) -> float:
        return 0.0 if self.settings.device == "cpu" else 1.0

    @property
    def batch_pictures(self) -> int:
        return max(BATCH_PICTURES, self.settings.batch)

    @property
    def _network(self) -> Network:
        return NETWORKS[self.settings.kind]

    def identity(self) -> Any:
        return {"scorer": self.name, "version": self.version, "model": self._mark()}

    def _mark(self) -> str:
        return fingerprint([self.settings.kind, 1, _digest(self.settings), self.settings.precision])

    def provenance(self) -> Mapping[str, str]:
        return {
            "model": f"{self.settings.kind} {Path(self.settings.weights).name}",
            "model_precision": computed_precision(self.settings.precision, self.settings.device),
            "model_fingerprint": self._mark(),
        }

    def require(self) -> None:
        import torch

        device(self.settings.device)
        _digest(self.settings)
        with torch.device("meta"):
            wanted = self._network.build().state_dict()
        _fitting(self.settings, wanted)

    def prepare(self, pixels: Pixels) -> npt.NDArray[np.uint8]:
        return self._network.preprocess(pixels)

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        seen = np.array([view is not None for view in batch.pixels], bool)
        rows = np.zeros((len(seen), self._network.length), np.float32)
        if seen.any():
            views = [view for view in batch.pixels if view is not None]
            rows[seen] = _embedded(self.settings, views)
        known = seen & np.isfinite(rows).all(axis=1)
        rows[~known] = 0
        return {next(iter(self.writes)): embedding_column(rows, known)}


def _embedded(settings: ModelSettings, views: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
    """float32 (n, length) of unit length, by pieces that are halved where memory runs out."""
    import torch

    network, where, kind = _loaded(settings, _digest(settings))
    preprocess = NETWORKS[settings.kind].preprocess
    mean, std = (torch.tensor(v, device=where).view(1, 3, 1, 1) for v in (preprocess.mean, preprocess.std))
    size, found = settings.batch or AT_A_TIME[where.type], []
    start = 0
    while start < len(views):
        part = torch.from_numpy(np.stack(views[start : start + size]))
        try:
            with torch.inference_mode():
                pixels = part.to(where).permute(0, 3, 1, 2).float().div(255).sub(mean).div(std)
                rows = torch.nn.functional.normalize(network(pixels.to(kind)).float(), dim=-1)
                found.append(rows.cpu().numpy())
            start += size
        except (RuntimeError, MemoryError) as error:
            if size == 1 or not is_memory(error):
                raise
            size //= 2
    return np.concatenate(found)


@lru_cache(maxsize=2)
def _loaded(settings: ModelSettings, digest: str) -> tuple[Any, Any, Any]:
    """The network on its device, and the type that it computes in."""
    network = NETWORKS[settings.kind].build()
    network.load_state_dict(_fitting(settings, network.state_dict()))
    where = device(settings.device)
    kind = computes(settings.precision, where)
    return network.to(where, kind), where, kind


def _digest(settings: ModelSettings) -> str:
    return digest_of(settings.weights, "weights")


def _fitting(settings: ModelSettings, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors of the weights' file under the network's names. Raises ConfigError unless all fit."""
    path, network = Path(settings.weights), NETWORKS[settings.kind]
    tensors = _tensors(path, network)
    if not any(name.startswith("backbone.") for name in tensors):
        tensors = {f"backbone.{name}": tensor for name, tensor in tensors.items()}
    counters = {name: tensor for name, tensor in wanted.items() if name.endswith(COUNTER)}
    found = misfits(wanted, {**counters, **tensors})
    faults = {
        "lacks": found.missing,
        "has also": found.extra,
        "has in another shape": found.shaped,
        "has of another kind": [name for name in found.typed if name not in counters],
        "has not finite": [name for name in found.broken if name not in counters],
    }
    words = [f"{what} {', '.join(names[:3])} ({len(names)} tensors)" for what, names in faults.items() if names]
    if words:
        raise ConfigError(
            f"{path} is not the weights of kind {settings.kind!r}: it {', and '.join(words)}; take {network.files}"
        )
    return {**counters, **tensors}


def _tensors(path: Path, network: Network) -> dict[str, Any]:
    """As `read_tensors`; a namespace of training options beside them is let in, for it is no more than names and
    values. Raises ConfigError."""
    import torch

    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any("/code/" in name for name in archive.namelist()):
                raise ConfigError(
                    f"{path} is TorchScript, and loading it runs the program in it; take the weights: {network.files}, "
                    "or a state_dict as .safetensors"
                )
    with torch.serialization.safe_globals([argparse.Namespace]):
        return read_tensors(path)
