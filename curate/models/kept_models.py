"""Models that a process keeps, so that each is read once: ViT-L/14 takes 1.7 GB and seconds.

What a piece of work (a shard) asks for stays for as long as it lasts, however many models a config has: every picture
asks each of them in turn, and with a fixed number of places one model too many has all of them read again for every
picture (7 times as long with 5 models in 4 places). What is left of earlier work gives way.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

__all__ = ["KeptModels"]

Model = TypeVar("Model")
IDLE = 3
"""Models of earlier work that stay beside those of this one."""
MOST = 64
"""Models in all."""


@dataclass
class _Kept(Generic[Model]):
    digest: str
    model: Model
    work: int


@dataclass
class KeptModels(Generic[Model]):
    """Models by their settings; one whose files changed, as their digest says, is loaded anew. Not for two threads at
    once."""

    _kept: OrderedDict[Hashable, _Kept[Model]] = field(default_factory=OrderedDict)
    """The one that was asked for last stands last."""

    def get(self, settings: Hashable, digest: str, work: int, load: Callable[[], Model]) -> Model:
        """The model of these settings and this digest, which `load` makes where it is not there. Raises what `load`
        raises, and keeps nothing then."""
        found = self._kept.get(settings)
        if found is None or found.digest != digest:
            found = None  # else the old model would stay in memory beside the new one
            self._kept.pop(settings, None)
            self._make_room(work)
            found = self._kept[settings] = _Kept(digest, load(), work)
        found.work = work
        self._kept.move_to_end(settings)
        return found.model

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()

    def __len__(self) -> int:
        return len(self._kept)

    def _make_room(self, work: int) -> None:
        idle = [settings for settings, kept in self._kept.items() if kept.work != work]
        for settings in idle[: max(0, len(idle) - IDLE)]:
            del self._kept[settings]
        while len(self._kept) >= MOST:
            self._kept.popitem(last=False)
