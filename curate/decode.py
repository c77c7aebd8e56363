"""Decodes the pictures of a shard a little ahead of those who look at them: one decode feeds every scorer.

Threads decode (the decoders leave the interpreter's lock) and then shrink each picture to what every scorer keeps of
it, so that a model's 224 px thumbnails are made beside its work and not before it. How far they may be ahead is bounded
in pictures and, by the mean size of what they gave so far, in bytes; memory does not grow with the shard.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from curate.filter import Pixels

__all__ = ["AHEAD_BYTES", "AHEAD_PICTURES", "Prepared", "Unprepared", "prepared"]

AHEAD_PICTURES = 512
AHEAD_BYTES = 192 << 20

Prepare = Callable[[Pixels], Any]


@dataclass(frozen=True)
class Unprepared:
    """Stands for what a `prepare` should have made of a picture: why it could not."""

    error: str


@dataclass(frozen=True)
class Prepared:
    """One picture of the tar. `views` has an entry per `prepare`: what it made, None where nothing could be decoded,
    or Unprepared. `sizes` are their bytes."""

    key: str
    views: tuple[Any, ...]
    sizes: tuple[int, ...]


def prepared(encoded: Iterator[tuple[str, bytes]], prepares: Sequence[Prepare], threads: int) -> Iterator[Prepared]:
    """Each picture (key and bytes), decoded and prepared by `threads`, in the order of `encoded`."""
    waiting: deque[Future[Prepared]] = deque()
    ended, mean_bytes = False, 0.0
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        while True:
            most = min(AHEAD_PICTURES, int(AHEAD_BYTES / mean_bytes)) if mean_bytes else 0
            while not ended and len(waiting) < max(2 * threads, most):
                item = next(encoded, None)
                if item is None:
                    ended = True
                else:
                    waiting.append(pool.submit(_prepare, *item, prepares))
            if not waiting:
                return
            done = waiting.popleft().result()
            size = max(sum(done.sizes), 1)
            mean_bytes += (size - mean_bytes) / (8 if mean_bytes else 1)
            yield done


def _prepare(key: str, data: bytes, prepares: Sequence[Prepare]) -> Prepared:
    from curate.fetch.image import decode

    pixels = decode(data)
    views = tuple(None if pixels is None else _view(prepare, pixels) for prepare in prepares)
    return Prepared(key, views, tuple(int(getattr(view, "nbytes", 0)) for view in views))


def _view(prepare: Prepare, pixels: Pixels) -> Any:
    try:
        return prepare(pixels)
    except Exception as error:  # noqa: BLE001 - a scorer may raise anything; the row is what is at fault
        return Unprepared(f"{type(error).__name__}: {error}")
