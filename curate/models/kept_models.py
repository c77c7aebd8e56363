"""Models that a process keeps, so that each is read once: ViT-L/14 takes 1.7 GB and seconds.

What a piece of work (a shard) asks for stays for as long as it lasts, however many models a config has: every picture
asks each of them in turn, and with a fixed number of places one model too many has all of them read again for every
picture (7 times as long with 5 models in 4 places). What is left of earlier work gives way.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import lru_cache
from threading import Lock
from typing import Generic, Protocol, TypeVar

from curate.errors import ConfigError, CurateError, StageError
from curate.models.device import work_number

__all__ = ["KeptModels", "OpenModels"]

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


class Weighted(Protocol):
    """Settings that can be a key, and name what is loaded."""

    @property
    def weights(self) -> str: ...

    def __hash__(self) -> int: ...


Settings = TypeVar("Settings", bound=Weighted)


class OpenModels(Generic[Settings, Model]):
    """Models of one kind, each loaded once per process, whichever thread asks first. `digest` tells of settings which
    files they are, and is asked once per piece of work, for it looks at them all; `load` makes the model."""

    def __init__(self, digest: Callable[[Settings], str], load: Callable[[Settings], Model]) -> None:
        self._load, self._asking = load, Lock()
        self._digest = lru_cache(maxsize=64)(lambda settings, work: digest(settings))
        self._kept: KeptModels[Model | ConfigError] = KeptModels()

    def get(self, settings: Settings) -> Model:
        """The model of these settings. Raises ConfigError, and StageError for what may go better next time, such as
        memory."""
        with self._asking:
            work = work_number()
            found = self._kept.get(settings, self._digest(settings, work), work, lambda: self._tried(settings))
        if isinstance(found, ConfigError):
            raise found
        return found

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()

    def _tried(self, settings: Settings) -> Model | ConfigError:
        """The model, or why there is none: every picture of a shard may ask, and reading 1.7 GB takes seconds."""
        try:
            return self._load(settings)
        except ConfigError as error:
            return error
        except CurateError:
            raise
        except Exception as error:
            raise StageError(f"cannot load the model {settings.weights!r}: {type(error).__name__}: {error}") from error
