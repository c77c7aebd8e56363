"""What was read a moment ago, so that a page of 60 pictures reads its shards once; and no longer than a minute, so that
what was taken back since is not shown for longer than that."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

__all__ = ["FRESH_S", "Recent"]

T = TypeVar("T")

FRESH_S = 60.0
"""How long what was read is believed."""


class Recent(Generic[T]):
    """The `most` values that were asked for last, each made by its name at most every `FRESH_S`. Safe among threads,
    of which two may make the same value at once; `clock` is in seconds."""

    def __init__(self, most: int, make: Callable[[str], T], clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._make, self._clock, self._lock = most, make, clock, Lock()
        self._kept: OrderedDict[str, tuple[float, T]] = OrderedDict()

    def get(self, name: str) -> T:
        """The value of a name, made now or a moment ago."""
        with self._lock:
            found = self._kept.get(name)
        if found is None or self._clock() - found[0] > FRESH_S:
            found = (self._clock(), self._make(name))
        with self._lock:
            self._kept[name] = found
            self._kept.move_to_end(name)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return found[1]
