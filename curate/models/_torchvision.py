"""Lets torchvision be imported beside a CPU build of torch: declares the two operators that its import looks for.

A finder at the head of `sys.meta_path` waits for the name `torchvision`, acts once and is gone; until then it costs a
comparison per import.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["prepare_torchvision"]

_NMS = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_kept: list[Any] = []
"""The declared library: the operators vanish with it."""


def prepare_torchvision() -> None:
    """Have the operators declared before torchvision is imported, unless it was or that is arranged already."""
    if "torchvision" not in sys.modules and not any(isinstance(f, _Waiting) for f in sys.meta_path):
        sys.meta_path.insert(0, _Waiting())


class _Waiting(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            _declare()
        return None


def _declare() -> None:
    """Declare `nms` and `qnms`, unless torchvision's compiled library can be loaded and brings them."""
    import torch

    spec = importlib.util.find_spec("torchvision")
    if spec is None or torch.version.cuda is not None:
        return
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(name + _NMS)
    _kept.append(library)
