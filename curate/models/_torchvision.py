"""Lets torchvision be imported beside a CPU build of torch: declares the two operators that its import looks for.

A finder at the head of `sys.meta_path` waits for the name `torchvision`, acts once and is gone; until then it costs a
comparison per import.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder, ModuleSpec
from pathlib import Path
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
    """Declare `nms` and `qnms`, unless torchvision's compiled library can be loaded and brings them.

    It is tried and not guessed from the build: a library that brings an operator which is declared already ends the
    process, and builds of torchvision for the CPU alone do (PyTorch's own index, macOS).
    """
    import torch

    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations or _loads(Path(spec.submodule_search_locations[0])):
        return
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(name + _NMS)
    _kept.append(library)


def _loads(folder: Path) -> bool:
    """Whether the library is loaded now; a second time does nothing."""
    import torch

    found = FileFinder(str(folder), (ExtensionFileLoader, EXTENSION_SUFFIXES)).find_spec("_C")
    if found is None:
        return False
    try:
        torch.ops.load_library(found.origin)
        return True
    except (ImportError, OSError):
        return False
