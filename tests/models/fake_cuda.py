"""A GPU as late as it may be: what is given to a stream runs only when somebody waits for it.

So a buffer that is written to again before its copy was surely made, an answer read before it came, and work that does
not wait for the copy it needs, all show as wrong numbers. Host memory is read and written at once, as pinned memory is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np


class OutOfMemoryError(RuntimeError):
    pass


class Stream:
    def __init__(self, device: Any = None) -> None:
        self.work: list[Callable[[], None]] = []
        self.done = 0

    def run(self, until: int) -> None:
        while self.done < until:
            self.done += 1
            self.work[self.done - 1]()

    def wait_stream(self, other: Stream) -> None:
        until = len(other.work)
        self.work.append(lambda: other.run(until))

    def record_event(self) -> Any:
        until = len(self.work)
        return SimpleNamespace(synchronize=lambda: self.run(until))


class Tensor:
    def __init__(self, gpu: FakeCuda, values: np.ndarray, pinned: bool = False) -> None:
        self.gpu, self.values, self.pinned = gpu, values, pinned
        self.shape, self.dtype = values.shape, values.dtype

    def __getitem__(self, place: slice) -> Tensor:
        return Tensor(self.gpu, self.values[place], self.pinned)

    def __len__(self) -> int:
        return len(self.values)

    def numpy(self) -> np.ndarray:
        assert self.pinned, "the host does not see the GPU's memory"
        return self.values

    def copy_(self, other: Tensor, non_blocking: bool = False) -> None:
        self.gpu.give(lambda: np.copyto(self.values, other.values))
        if not non_blocking:
            self.gpu.synchronize() if self.pinned or other.pinned else None

    def clone(self) -> Tensor:
        made = Tensor(self.gpu, np.zeros_like(self.values))
        made.copy_(self)
        return made


class FakeCuda:
    """`torch` as far as `curate.models.cuda` needs it. `memory` is how many pictures a tower takes at a time; a graph
    is captured where `graphs`, and costs nothing, while a tower moves the clock on by what it takes."""

    def __init__(self, memory: int, graphs: bool = True) -> None:
        self.memory, self.graphs, self.now = memory, graphs, 0.0
        self.default = self.current = Stream()
        self.streams = [self.default]
        self.capturing: list[Callable[[], None]] | None = None
        self.on_device = 0
        self.uint8, self.OutOfMemoryError = np.uint8, OutOfMemoryError
        self.cuda = SimpleNamespace(
            Stream=self.new_stream, CUDAGraph=Graph, device=self.device, stream=self.stream, graph=self.graph,
            current_stream=lambda where: self.current, set_stream=self.set_stream, synchronize=self.synchronize,
            empty_cache=lambda: None,
        )  # fmt: skip
        self.pictures: list[int] = []
        self.replays = 0

    def new_stream(self, where: Any = None) -> Stream:
        self.streams.append(Stream())
        return self.streams[-1]

    def set_stream(self, stream: Stream) -> None:
        self.current = stream

    def give(self, work: Callable[[], None]) -> None:
        (self.current.work if self.capturing is None else self.capturing).append(work)

    def synchronize(self, where: Any = None) -> None:
        for stream in self.streams:
            stream.run(len(stream.work))

    @contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        before, self.current = self.current, stream
        yield
        self.current = before

    @contextmanager
    def device(self, where: Any) -> Iterator[None]:
        before, self.on_device = self.on_device, where
        yield
        self.on_device = before

    @contextmanager
    def graph(self, graph: Graph) -> Iterator[None]:
        if not self.graphs:
            self.current = self.new_stream()
            raise RuntimeError("operation not permitted when stream is capturing")
        assert self.on_device, "it would be captured on another device"
        self.synchronize()
        self.capturing = graph.work = []
        graph.gpu = self
        yield
        self.capturing = None

    @contextmanager
    def inference_mode(self) -> Iterator[None]:
        yield

    def zeros(self, shape: Any, dtype: Any, pin_memory: bool = False, device: Any = None) -> Tensor:
        made = Tensor(self, np.full(shape, 99, dtype), pin_memory)
        if pin_memory:
            made.values[...] = 0
        else:
            self.give(lambda: made.values.fill(0))
        return made

    def empty(self, shape: Any, dtype: Any, pin_memory: bool) -> Tensor:
        assert self.on_device, "memory would be pinned for another device"
        return Tensor(self, np.full(shape, -1, dtype), pin_memory)

    def tower(self, pixels: Tensor) -> Tensor:
        """The first byte of each picture, twice, as float32 (n, 2)."""
        if len(pixels) > self.memory:
            raise OutOfMemoryError(f"no memory for {len(pixels)}")
        self.pictures.append(len(pixels))
        self.now += 1.0 + 0.01 * len(pixels)
        found = Tensor(self, np.full((len(pixels), 2), -2, np.float32))
        self.give(lambda: np.copyto(found.values, pixels.values[:, 0, 0, :1].astype(np.float32) * [1, 2]))
        return found


class Graph:
    gpu: FakeCuda
    work: list[Callable[[], None]]

    def replay(self) -> None:
        self.gpu.replays += 1
        for piece in self.work:
            self.gpu.give(piece)
