"""The toy matcher as a back end: the shipped one, or one trained here, which is a folder.

The picture tower runs once for each picture that has a text. Pairs go through in units of 64, filled up: then a score
does not depend on what stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from curate.filter import Pixels
from curate.manifest import fingerprint
from curate.models.caption_settings import MatcherSettings
from curate.models.device import device, on_one_thread, require_device
from curate.models.memory import is_memory
from curate.models.model_files import content_digest
from curate.models.settings import TOY
from curate.models.toy import load_toy_matcher, prepare, tokenize
from curate.models.weights import TOY_FILES

__all__ = ["ToyMatching", "matcher_digest", "open_matcher", "require_matcher"]

UNIT = 64
Probabilities = npt.NDArray[np.float32]


def open_matcher(settings: MatcherSettings) -> ToyMatching:
    """The toy matcher of these settings. Raises ConfigError."""
    return ToyMatching(settings)


def matcher_digest(settings: MatcherSettings) -> str:
    """Digest of its weights. Raises ConfigError."""
    return fingerprint(["toy matcher", 1, content_digest(_file(settings))])


def require_matcher(settings: MatcherSettings) -> None:
    """Raise ConfigError unless the weights are those of a toy matcher, and the device is there."""
    require_device(settings.device)
    load_toy_matcher(_file(settings))


def _file(settings: MatcherSettings) -> Path:
    return TOY_FILES["matcher"] if settings.weights == TOY else Path(settings.weights) / "model.safetensors"


class ToyMatching:
    """A toy matcher on a device, float32."""

    def __init__(self, settings: MatcherSettings) -> None:
        self._where = device(settings.device)
        self._model = load_toy_matcher(_file(settings)).to(self._where)
        self._mean, self._std = (
            torch.tensor(values, device=self._where).view(1, 3, 1, 1) for values in (self._model.mean, self._model.std)
        )
        self._unit = UNIT
        self.name = "toy matcher" if settings.weights == TOY else f"{Path(settings.weights).name} (toy)"

    def prepare(self, pixels: Pixels) -> Any:
        """uint8 (32, 32, 3)."""
        return prepare(pixels)

    @on_one_thread
    def match(self, images: Sequence[Any], texts: Sequence[Sequence[str]]) -> list[Probabilities]:
        """As `curate.models.captioner.Matcher`. A text of white space alone has no probability: not a number."""
        pairs = [(row, text) for row, own in enumerate(texts) for text in dict.fromkeys(own) if text.strip()]
        rows = list(dict.fromkeys(row for row, _ in pairs))
        place = {row: number for number, row in enumerate(rows)}
        with torch.inference_mode():
            seen = self._in_units(lambda part: self._look([images[row] for row in part]), rows)
            found = self._in_units(lambda part: self._judge(seen, [(place[r], t) for r, t in part]), pairs)
        known = dict(zip(pairs, np.asarray(found.cpu(), np.float32).tolist(), strict=True)) if pairs else {}
        return [np.array([known.get((row, text), np.nan) for text in own], np.float32) for row, own in enumerate(texts)]

    def _look(self, views: Sequence[Any]) -> Any:
        pixels = torch.from_numpy(np.stack(views)).to(self._where).permute(0, 3, 1, 2)
        return self._model.picture(pixels.float().div(255).sub(self._mean).div(self._std))

    def _judge(self, seen: Any, pairs: Sequence[tuple[int, str]]) -> Any:
        tokens = tokenize([text for _, text in pairs]).to(self._where)
        pictures = seen[torch.tensor([row for row, _ in pairs], device=self._where)]
        return torch.sigmoid(self._model.logit(self._model.read(pictures, tokens)))

    def _in_units(self, run: Callable[[Sequence[Any]], Any], items: Sequence[Any]) -> Any:
        """`run` on units of one size, the last one filled up with its first item; halved where memory runs out."""
        found, start = [torch.zeros(0)], 0
        while start < len(items):
            part = list(items[start : start + self._unit])
            try:
                found.append(run(part + part[:1] * (self._unit - len(part)))[: len(part)])
                start += len(part)
            except (RuntimeError, MemoryError) as error:
                if self._unit == 1 or not is_memory(error):
                    raise
                self._unit //= 2
        return torch.cat(found[1:] or found)
