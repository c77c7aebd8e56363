"""Pictures on a GPU: pinned double buffers, a batch size found by a short search, and a CUDA graph where it wins.

While the GPU works on one batch the next is copied into the other pinned buffer and sent on a stream of its own, so
that neither waits for the other. A graph replays a whole tower with one call where launching its pieces from Python
takes longer than they run; it needs one fixed shape, so the last batch is filled up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["CudaPictures"]

SIZES = (32, 64, 128, 256, 512, 1024)
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
    rows: int

    def wait(self) -> npt.NDArray[np.float32]:
        self.done.synchronize()
        return np.array(self.answer.numpy()[: self.rows])


class CudaPictures:
    """Embeds uint8 (size, size, 3) pictures with `tower`: uint8 (n, size, size, 3) to float32 (n, d), on the GPU."""

    def __init__(self, tower: Tower, size: int, where: Any, batch: int = 0) -> None:
        import torch

        self._torch, self._tower, self._size, self._where = torch, tower, size, where
        self.batch = batch or self._search()
        self._copying = torch.cuda.Stream(where)
        self._slots: list[_Slot] = []
        self._turn = 0
        self._run: Tower = tower
        self._fit()

    def __call__(self, views: Sequence[npt.NDArray[np.uint8]]) -> Callable[[], npt.NDArray[np.float32]]:
        """Begin with all; the answer, float32 (n, d), is asked for by a call."""
        begun: list[_Begun] = []
        start = 0
        while start < len(views):
            part = views[start : start + self.batch]
            try:
                begun.append(self._begin(part))
                start += len(part)
            except self._torch.OutOfMemoryError:
                self._halve()
        return lambda: np.concatenate([batch.wait() for batch in begun])

    def _begin(self, views: Sequence[npt.NDArray[np.uint8]]) -> _Begun:
        torch, slot = self._torch, self._slots[self._turn % len(self._slots)]
        self._turn += 1
        if slot.done is not None:
            slot.done.synchronize()
        np.stack(views, out=slot.pinned.numpy()[: len(views)])
        current = torch.cuda.current_stream(self._where)
        with torch.cuda.stream(self._copying):
            slot.on_gpu.copy_(slot.pinned, non_blocking=True)
        current.wait_stream(self._copying)
        with torch.inference_mode():
            found = self._run(slot.on_gpu)
            answer = torch.empty(found.shape, dtype=found.dtype, pin_memory=True)
            answer.copy_(found, non_blocking=True)
        slot.done = current.record_event()
        return _Begun(answer, slot.done, len(views))

    def _fit(self) -> None:
        """Buffers for the batch size as it is, and the faster of two ways to run it."""
        torch, shape = self._torch, (self.batch, self._size, self._size, 3)
        self._slots = [
            _Slot(
                torch.zeros(shape, dtype=torch.uint8, pin_memory=True),
                torch.zeros(shape, dtype=torch.uint8, device=self._where),
            )
            for _ in range(2)
        ]
        graphed = self._graphed(self._slots[0].on_gpu)
        example = self._slots[1].on_gpu
        faster = graphed is not None and self._seconds(graphed, example) < self._seconds(self._tower, example)
        self._run = graphed if faster and graphed is not None else self._tower

    def _graphed(self, example: Any) -> Tower | None:
        """The tower as a CUDA graph; None where it cannot be captured."""
        torch = self._torch
        try:
            held = example.clone()
            with torch.inference_mode():
                side = torch.cuda.Stream(self._where)
                side.wait_stream(torch.cuda.current_stream(self._where))
                with torch.cuda.stream(side):
                    for _ in range(3):
                        self._tower(held)
                torch.cuda.current_stream(self._where).wait_stream(side)
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph):
                    out = self._tower(held)
        except RuntimeError:
            torch.cuda.synchronize(self._where)
            return None

        def replay(pixels: Any) -> Any:
            held.copy_(pixels)
            graph.replay()
            return out.clone()

        return replay

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
        for batch in SIZES:
            try:
                example = torch.zeros((batch, self._size, self._size, 3), dtype=torch.uint8, device=self._where)
                rates[batch] = batch / self._seconds(self._tower, example, 2)
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                break
        best = max(rates.values(), default=0.0)
        return next((batch for batch, rate in rates.items() if rate >= ENOUGH * best), 1)

    def _halve(self) -> None:
        """Half the batch from now on; raises OutOfMemoryError when it cannot be less."""
        if self.batch <= 1:
            raise self._torch.OutOfMemoryError("a single picture does not fit into the GPU's memory")
        self.batch //= 2
        self._slots.clear()
        self._run = self._tower
        self._torch.cuda.empty_cache()
        self._fit()
