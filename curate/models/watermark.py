"""LAION's watermark detector: how likely a picture carries a visible watermark, as LAION-5B's `pwatermark` was made.

An EfficientNet-B3 of timm with three linear layers of its own on top, at 256 px. The weights (48 MB,
`watermark_model_v1.pt` of LAION-AI/LAION-5B-WatermarkDetection, MIT) are not part of this project; a file is read as
data and must have exactly the network's tensors. The network as in that repository's `example_use.py`. 0.1 s a picture
on one core: the dearest of the small models, and worth a GPU where there is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.errors import ConfigError
from curate.models.device import device
from curate.models.preprocess import Preprocess
from curate.models.tensors_fit import misfits
from curate.models.weights import read_tensors

__all__ = ["PREPROCESS", "require_weights", "watermark_network", "watermark_probabilities"]

PREPROCESS = Preprocess(256, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear", "squash")
"""Both sides to 256 px by Pillow's bilinear filter, then ImageNet's mean and standard deviation."""

FEATURES, WIDE, NARROW = 1_536, 625, 256
AT_A_TIME = 16


def watermark_network() -> Any:
    """The network with random weights: float32 (n, 3, 256, 256) to logits (n, 2), watermark first, clear second."""
    import timm
    from torch import nn

    network = timm.create_model("efficientnet_b3", pretrained=False, num_classes=2)
    network.classifier = nn.Sequential(
        nn.Linear(FEATURES, WIDE),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(WIDE, NARROW),
        nn.ReLU(),
        nn.Linear(NARROW, 2),
    )
    return network.eval()


def watermark_probabilities(
    weights: str, digest: str, views: Sequence[npt.NDArray[np.uint8]]
) -> npt.NDArray[np.float32]:
    """float32 (n,) in 0 to 1 of pictures that PREPROCESS made, uint8 256 x 256 x 3. The network of the file `weights`
    is kept for as long as its `digest` is asked for. Raises ConfigError for a file that does not fit."""
    import torch

    network, where = _loaded(weights, digest)
    mean, std = (torch.tensor(v, device=where).view(1, 3, 1, 1) for v in (PREPROCESS.mean, PREPROCESS.std))
    found = []
    with torch.inference_mode():
        for start in range(0, len(views), AT_A_TIME):
            stacked = torch.from_numpy(np.stack(views[start : start + AT_A_TIME])).to(where)
            pixels = stacked.permute(0, 3, 1, 2).float().div(255).sub(mean).div(std)
            found.append(torch.softmax(network(pixels), dim=1)[:, 0].cpu().numpy())
    return np.concatenate(found) if found else np.empty(0, np.float32)


def require_weights(weights: str) -> None:
    """Raise ConfigError unless the file has exactly the network's tensors, each of its shape and finite."""
    _filled(weights)


@lru_cache(maxsize=2)
def _loaded(weights: str, digest: str) -> tuple[Any, Any]:
    where = device("auto")
    return _filled(weights).float().to(where), where


def _filled(weights: str) -> Any:
    """The network with the tensors of a file for its own, so that none is drawn before. Raises ConfigError."""
    import torch

    with torch.device("meta"):
        network = watermark_network()
    tensors = read_tensors(Path(weights))
    _require_fit(weights, network.state_dict(), tensors)
    network.load_state_dict(tensors, assign=True)
    return network


def _require_fit(weights: str, wanted: Mapping[str, Any], tensors: Mapping[str, Any]) -> None:
    found = misfits(wanted, tensors)
    faults = {
        "lacks": found.missing,
        "has also": found.extra,
        "has in another shape": found.shaped,
        "has of another kind": found.typed,
        "has not finite": found.broken,
    }
    words = [f"{what} {', '.join(names[:4])} ({len(names)} tensors)" for what, names in faults.items() if names]
    if words:
        raise ConfigError(f"{weights} is not the watermark detector's weights: it {', and '.join(words)}")
