"""Pictures on a GPU: pinned double buffers, a batch size found by a short search, and a CUDA graph where it wins.

While the GPU works on one batch the next is copied into the other pinned buffer and sent on a stream of its own, so
that neither waits for the other. A graph replays a whole tower with one call where launching its pieces from Python
takes longer than they run; it has one fixed shape, so it runs full batches, and less is launched piece by piece.

All is done with this GPU as the current one: a graph is captured, and memory pinned, where the current device says. On
a machine with two, work that is captured on one and runs on the other is not in the graph, and its replay does nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.models.cuda_step import recorded
from curate.models.memory import is_memory
from curate.score import BATCH_BYTES

__all__ = ["CudaPictures"]

SIZES = (1, 4, 16, 32, 64, 128, 256)
"""Not above what a scorer hands over at a time: `curate.models.pair_scores.BATCH_PICTURES`, and from 362 px on fewer,
because of `curate.score.BATCH_BYTES`."""
ENOUGH = 0.97
"""A smaller batch is taken when it reaches this share of the best rate."""

Tower = Callable[[Any], Any]


@dataclass
class _Slot:
    """One of the two buffers: pinned bytes on the host, their copy on the GPU, and when both are free again."""

    pinned: Any
    on_gpu: Any
    done: Any = None


@dataclass(frozen=True)
class _Begun:
    """A batch under way: pinned memory that holds its answer once `done` has come."""

    answer: Any
    done: Any

    def wait(self) -> npt.NDArray[np.float32]:
        self.done.synchronize()
        found: npt.NDArray[np.float32] = self.answer.numpy()
        return found


class CudaPictures:
    """Embeds uint8 (size, size, 3) pictures with `tower`: uint8 (n, size, size, 3) to float32 (n, d), on the GPU
    `where`. Raises OutOfMemoryError when a single picture does not fit."""

    def __init__(self, tower: Tower, size: int, where: Any, batch: int = 0) -> None:
        import torch

        self._torch, self._tower, self._size, self._where = torch, tower, size, where
        self._slots: list[_Slot] = []
        self._turn = 0
        self._graph: Tower | None = None
        self._most = -(-BATCH_BYTES // (size * size * 3))
        with torch.cuda.device(where):
            self._copying = torch.cuda.Stream(where)
            self.batch = min(batch, self._most) or self._search()
            self._fit()

    def __call__(self, views: Sequence[npt.NDArray[np.uint8]]) -> Callable[[], npt.NDArray[np.float32]]:
        """Begin with all, at least one; the answer, float32 (n, d), is asked for by a call."""
        begun: list[_Begun] = []
        start = 0
        with self._torch.cuda.device(self._where):
            if not self._slots:
                self._fit()
            while start < len(views):
                part = views[start : start + self.batch]
                batch = self._tried(part)
                if batch is None:
                    self._shrink()
                    self._fit()
                    continue
                begun.append(batch)
                start += len(part)
        return lambda: np.concatenate([batch.wait() for batch in begun])

    def _tried(self, views: Sequence[npt.NDArray[np.uint8]]) -> _Begun | None:
        """None where memory ran out. What is done about it is done outside of `except`: while the exception lives, so
        does all that filled the memory."""
        try:
            return self._begin(views)
        except (RuntimeError, MemoryError) as error:
            if not is_memory(error):
                raise
            return None

    def _begin(self, views: Sequence[npt.NDArray[np.uint8]]) -> _Begun:
        torch, slot = self._torch, self._slots[self._turn % len(self._slots)]
        self._turn += 1
        if slot.done is not None:
            slot.done.synchronize()
        rows = len(views)
        np.stack(views, out=slot.pinned.numpy()[:rows])
        current = torch.cuda.current_stream(self._where)
        with torch.cuda.stream(self._copying):
            slot.on_gpu[:rows].copy_(slot.pinned[:rows], non_blocking=True)
        current.wait_stream(self._copying)
        with torch.inference_mode():
            run = self._graph if self._graph is not None and rows == self.batch else self._tower
            found = run(slot.on_gpu[:rows])
            answer = torch.empty(found.shape, dtype=found.dtype, pin_memory=True)
            answer.copy_(found, non_blocking=True)
        slot.done = current.record_event()
        return _Begun(answer, slot.done)

    def _fit(self) -> None:
        """Buffers for the batch size as it is or, where memory runs out, half of it; and a graph if it is faster."""
        while not self._fits():
            self._shrink()

    def _fits(self) -> bool:
        try:
            self._slots = [self._slot(), self._slot()]
            self._graph = self._faster_graph()
            return True
        except (RuntimeError, MemoryError) as error:
            if not is_memory(error):
                raise
            return False

    def _slot(self) -> _Slot:
        torch, shape = self._torch, (self.batch, self._size, self._size, 3)
        pinned = torch.zeros(shape, dtype=torch.uint8, pin_memory=True)
        return _Slot(pinned, torch.zeros(shape, dtype=torch.uint8, device=self._where))

    def _faster_graph(self) -> Tower | None:
        """The tower as a graph, if it can be captured and that is faster. Every path ends with the GPU idle, so that
        the buffers are filled before the other stream writes to them."""
        graphed = self._graphed(self._slots[0].on_gpu)
        example = self._slots[1].on_gpu
        faster = graphed is not None and self._seconds(graphed, example) < self._seconds(self._tower, example)
        self._torch.cuda.synchronize(self._where)
        return graphed if faster else None

    def _graphed(self, example: Any) -> Tower | None:
        """The tower as a CUDA graph; None where it cannot be captured."""

        def step() -> Any:
            return self._tower(held)

        try:
            held = example.clone()
            replay = recorded(step, self._where)
        except RuntimeError:  # no memory for a graph, and there may be enough without one
            return None

        def run(pixels: Any) -> Any:
            held.copy_(pixels)
            return replay()  # is copied to the host, on this stream, before the next replay writes to it

        return None if replay is step else run

    def _seconds(self, run: Tower, example: Any, times: int = 3) -> float:
        torch = self._torch
        with torch.inference_mode():
            run(example)
            torch.cuda.synchronize(self._where)
            started = time.perf_counter()
            for _ in range(times):
                run(example)
            torch.cuda.synchronize(self._where)
        return (time.perf_counter() - started) / times

    def _search(self) -> int:
        """The smallest batch that reaches nearly the best rate, among those that fit into memory."""
        torch, rates = self._torch, {}
        for batch in (size for size in SIZES if size <= self._most):
            try:
                example = torch.zeros((batch, self._size, self._size, 3), dtype=torch.uint8, device=self._where)
                rates[batch] = batch / self._seconds(self._tower, example, 2)
            except (RuntimeError, MemoryError) as error:
                if not is_memory(error):
                    raise
                break
        torch.cuda.empty_cache()
        best = max(rates.values(), default=0.0)
        return next((batch for batch, rate in rates.items() if rate >= ENOUGH * best), 1)

    def _shrink(self) -> None:
        """Give everything back and half the batch; raises OutOfMemoryError when it cannot be less."""
        self._slots, self._graph = [], None
        self._torch.cuda.empty_cache()
        if self.batch <= 1:
            raise self._torch.OutOfMemoryError("a single picture does not fit into the GPU's memory")
        self.batch //= 2
