"""Decodes the pictures of a shard a little ahead of those who look at them: one decode feeds every scorer.

Threads decode (the decoders leave the interpreter's lock) and then shrink each picture to what every scorer keeps of
it, so that a model's 224 px thumbnails are made beside its work and not before it. How far they may be ahead is bounded
in pictures and in bytes, both of what is still encoded and of what was made, so memory does not grow with the shard:
with tiny pictures before a row of 48 MB ones a bound by the mean would let 512 of them in, 24 GB. A thread that has no
room for what it made waits, unless it is the next to be taken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from threading import Condition
from typing import Any

from curate.errors import CurateError
from curate.filter import Pixels

__all__ = ["AHEAD_BYTES", "AHEAD_PICTURES", "Prepared", "Unprepared", "prepared"]

AHEAD_PICTURES = 512
AHEAD_BYTES = 192 << 20
"""Of encoded pictures, and again of what was made of others. One picture per thread comes on top."""

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
    """Each picture (key and bytes), decoded and prepared by `threads`, in the order of `encoded`.

    Raises what `encoded` raises, and a CurateError of a `prepare`: that is no fault of one picture.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    room, numbers = _Room(AHEAD_BYTES), count()
    waiting: deque[tuple[Future[Prepared], int]] = deque()
    ended, encoded_bytes = False, 0
    try:
        while True:
            while not ended and (
                len(waiting) < 2 * threads or (len(waiting) < AHEAD_PICTURES and encoded_bytes < AHEAD_BYTES)
            ):
                item = next(encoded, None)
                if item is None:
                    ended = True
                else:
                    waiting.append((pool.submit(_prepare, item, prepares, room, next(numbers)), len(item[1])))
                    encoded_bytes += len(item[1])
            if not waiting:
                return
            future, size = waiting.popleft()
            done = future.result()
            encoded_bytes -= size
            room.leave(sum(done.sizes))
            yield done
    finally:
        room.close()
        pool.shutdown(cancel_futures=True)


class _Room:
    """Room for what was made and not yet taken, `most` bytes. Who is next to be taken always finds some."""

    def __init__(self, most: int) -> None:
        self._most, self._held, self._next = most, 0, 0
        self._changed = Condition()

    def enter(self, number: int, size: int) -> None:
        """Wait until there is room for `size` bytes, or all before `number` were taken, or nobody takes any more."""
        with self._changed:
            self._changed.wait_for(lambda: number <= self._next or self._held + size <= self._most)
            self._held += size

    def leave(self, size: int) -> None:
        with self._changed:
            self._held -= size
            self._next += 1
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._most = 1 << 62
            self._changed.notify_all()


def _prepare(item: tuple[str, bytes], prepares: Sequence[Prepare], room: _Room, number: int) -> Prepared:
    from curate.fetch.image import decode

    pixels = decode(item[1])
    views = tuple(None if pixels is None else _view(prepare, pixels) for prepare in prepares)
    sizes = tuple(int(getattr(view, "nbytes", 0)) for view in views)
    room.enter(number, sum(sizes))
    return Prepared(item[0], views, sizes)


def _view(prepare: Prepare, pixels: Pixels) -> Any:
    try:
        return prepare(pixels)
    except CurateError:
        raise
    except Exception as error:  # noqa: BLE001 - a scorer may raise anything; the row is what is at fault
        return Unprepared(f"{type(error).__name__}: {error}")
