"""Batches of pairs in an order that a seed draws anew for each epoch, and that the packing into shards does not change.

The order is of what the rows are (`curate.dedup.identity`), so the same rows in other shards give the same batches.
Threads read, decode and shrink pictures up to 256 ahead of the training. A picture that cannot be decoded is left out
and counted, and the next one takes its place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.dedup.identity import keyed
from curate.errors import CurateError, StageError
from curate.filter import Pixels
from curate.train.pairs import Pairs

__all__ = ["Look", "PairBatch", "batches", "cropping", "draw_order", "in_order"]

AHEAD = 256
"""Pictures that may be ready before they are wanted: 38 MB at 224 px."""

Numbers = npt.NDArray[np.int64]
Look = Callable[[Pixels, int, int], Any]
"""Makes a decoded picture ready, for its row and the epoch."""
T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class PairBatch:
    """`rows` int64 (n,) of the pairs, `views` uint8 (n, size, size, 3), and n captions."""

    rows: Numbers
    views: npt.NDArray[np.uint8]
    captions: Sequence[str]


def draw_order(pairs: Pairs, seed: int, epoch: int = 0) -> Numbers:
    """All rows in an order drawn by the seed, another one for each epoch."""
    numbers = keyed(pairs.identity, seed * 1_000_003 + epoch)
    return np.lexsort((pairs.identity[:, 0], numbers)).astype(np.int64)


def batches(
    pairs: Pairs, look: Look, size: int, seed: int, threads: int, broken: set[int]
) -> Generator[PairBatch, None, None]:
    """Batches of `size` without end: one may hold the end of an epoch and the start of the next.

    `look` makes pictures ready, by `threads`. Rows without a readable picture go to `broken` and are not tried again.
    Raises StageError when no picture is left.
    """
    rows: list[int] = []
    views: list[Any] = []
    epoch = 0
    while True:
        order = [row for row in draw_order(pairs, seed, epoch).tolist() if row not in broken]
        for row, view in in_order(_looking(pairs, look, epoch), order, threads):
            if view is None:
                broken.add(row)
                continue
            rows.append(row)
            views.append(view)
            if len(rows) == size:
                yield PairBatch(np.array(rows), np.stack(views), pairs.captions.take(pa.array(rows)).to_pylist())
                rows, views = [], []
        if len(broken) == len(pairs):
            raise StageError(f"none of the {len(pairs)} pictures can be decoded, e.g. {pairs.key(0)}; check the shards")
        epoch += 1


def in_order(work: Callable[[T], U], items: Iterable[T], threads: int) -> Iterator[tuple[T, U]]:
    """Each item and what `work` makes of it, in the order of the items; threads work up to 256 items ahead."""
    waiting: deque[tuple[T, Future[U]]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="pictures") as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(work, item)))
                if len(waiting) >= AHEAD:
                    done = waiting.popleft()
                    yield done[0], done[1].result()
            while waiting:
                done = waiting.popleft()
                yield done[0], done[1].result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _looking(pairs: Pairs, look: Look, epoch: int) -> Callable[[int], Any]:
    def work(row: int) -> Any:
        pixels = pairs.decoded(row)
        try:
            return None if pixels is None else look(pixels, row, epoch)
        except CurateError:
            raise
        except Exception:  # noqa: BLE001 - as for a scorer: the row is what is at fault, and is counted
            return None

    return work


def cropping(pairs: Pairs, prepare: Callable[[Pixels], Any], least: float, seed: int) -> Look:
    """`prepare`, after a crop that keeps the picture's shape and from `least` to 1 of its area, at a drawn place.

    What is drawn depends on seed, epoch and what the row is. `least` = 1 is no crop.
    """

    def look(pixels: Pixels, row: int, epoch: int) -> Any:
        if least >= 1:
            return prepare(pixels)
        drawn = int(keyed(pairs.identity[row : row + 1], seed * 1_000_003 + epoch + (1 << 40))[0])
        area, top, left = ((drawn >> shift & 0xFFFFF) / (1 << 20) for shift in (0, 20, 40))
        side = (least + (1 - least) * area) ** 0.5
        height, width = (max(1, round(length * side)) for length in pixels.shape[:2])
        y, x = int(top * (pixels.shape[0] - height + 1)), int(left * (pixels.shape[1] - width + 1))
        return prepare(np.ascontiguousarray(pixels[y : y + height, x : x + width]))

    return look
