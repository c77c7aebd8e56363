"""A GPU as late as it may be: what is given to a stream runs only when somebody waits for it.

So a buffer that is written to again before its copy was surely made, and an answer that is read before it came, show as
wrong numbers. Work that touches memory of the GPU must be ordered after what touched it before on another stream, by a
stream that waits or by the host: else it is a race, and fails where it is given. Host memory is read and written at
once, as pinned memory is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np


class OutOfMemoryError(RuntimeError):
    pass


class Stream:
    def __init__(self, gpu: FakeCuda) -> None:
        self.gpu = gpu
        self.work: list[Callable[[], None]] = []
        self.done = 0
        self.after: dict[Stream, int] = {}
        """How much of the work of others comes before what this one is given from now on."""

    def run(self, until: int) -> None:
        while self.done < until:
            self.done += 1
            self.work[self.done - 1]()

    def wait_stream(self, other: Stream) -> None:
        until = len(other.work)
        self.work.append(lambda: other.run(until))
        for stream, count in {**other.after, other: until}.items():
            self.after[stream] = max(self.after.get(stream, 0), count)

    def record_event(self) -> Any:
        until = len(self.work)
        return SimpleNamespace(synchronize=lambda: self.gpu.wait(self, until))

    def comes_after(self, other: Stream, count: int) -> bool:
        return other is self or other.done >= count or self.after.get(other, 0) >= count


@dataclass
class Memory:
    """Who touched it last: stream, and place in its work."""

    written: list[tuple[Stream, int]] = field(default_factory=list)
    read: list[tuple[Stream, int]] = field(default_factory=list)


class Tensor:
    def __init__(self, gpu: FakeCuda, values: np.ndarray, pinned: bool = False, memory: Memory | None = None) -> None:
        self.gpu, self.values, self.pinned = gpu, values, pinned
        self.shape, self.dtype = values.shape, values.dtype
        self.memory = memory or Memory()

    def __getitem__(self, place: slice) -> Tensor:
        return Tensor(self.gpu, self.values[place], self.pinned, self.memory)

    def __len__(self) -> int:
        return len(self.values)

    def numpy(self) -> np.ndarray:
        assert self.pinned, "the host does not see the GPU's memory"
        return self.values

    def copy_(self, other: Tensor, non_blocking: bool = False) -> None:
        if other.pinned:
            self.gpu.sent_on.append(self.gpu.current)
        self.gpu.give(lambda: np.copyto(self.values, other.values), [other], [self])
        if not non_blocking:
            self.gpu.synchronize() if self.pinned or other.pinned else None

    def clone(self) -> Tensor:
        made = Tensor(self.gpu, np.zeros_like(self.values))
        made.copy_(self)
        return made


class FakeCuda:
    """`torch` as far as `curate.models.cuda` needs it. `memory` is how many pictures a tower takes at a time, else
    `error` is raised, and `room` how many a buffer on the GPU holds at most; a graph is captured where `graphs`. A
    tower moves the clock on by `start_s` and `each_s` for each picture, a graph by `replay_s`."""

    def __init__(self, memory: int, graphs: bool = True) -> None:
        self.memory, self.graphs, self.now = memory, graphs, 0.0
        self.room = 1_000_000
        self.start_s, self.each_s, self.replay_s = 1.0, 0.01, 0.0
        self.error: Exception = OutOfMemoryError("no memory")
        self.default = self.current = Stream(self)
        self.streams = [self.default]
        self.capturing: list[Any] | None = None
        self.warm = False
        self.on_device = 0
        self.uint8, self.OutOfMemoryError = np.uint8, OutOfMemoryError
        self.cuda = SimpleNamespace(
            Stream=self.new_stream, CUDAGraph=Graph, device=self.device, stream=self.stream, graph=self.graph,
            current_stream=lambda where: self.current, set_stream=self.set_stream, synchronize=self.synchronize,
            empty_cache=self.empty_cache, graph_pool_handle=lambda: (0, len(self.pools)),
            current_device=lambda: self.on_device,
        )  # fmt: skip
        self._C = SimpleNamespace(_cuda_endAllocateToPool=self.end_pool, _cuda_releasePool=self.release_pool)
        self.pictures: list[int] = []
        self.replays = self.emptied = self.waits = 0
        """How often it was replayed, memory given back, and work waited for that was not yet done."""
        self.sent_on: list[Stream] = []
        """The streams on which pinned memory was copied."""
        self.pools: dict[tuple[int, int], str] = {}
        """What became of each pool of a graph: `recording`, `ended`, `released`."""

    def new_stream(self, where: Any = None) -> Stream:
        self.streams.append(Stream(self))
        return self.streams[-1]

    def set_stream(self, stream: Stream) -> None:
        self.current = stream

    def give(self, work: Callable[[], None], reads: Sequence[Tensor] = (), writes: Sequence[Tensor] = ()) -> None:
        if self.capturing is not None:
            self.capturing.append((work, reads, writes))
            return
        self.current.work.append(work)
        own = self.current, len(self.current.work)
        before = [place for t in (*reads, *writes) for place in t.memory.written if not t.pinned]
        before += [place for t in writes for place in t.memory.read if not t.pinned]
        assert all(self.current.comes_after(*place) for place in before), "a race between two streams"
        for tensor in writes:
            tensor.memory.written, tensor.memory.read = [own], []
        for tensor in reads:
            tensor.memory.read.append(own)

    def synchronize(self, where: Any = None) -> None:
        for stream in self.streams:
            self.wait(stream, len(stream.work))

    def wait(self, stream: Stream, until: int) -> None:
        self.waits += stream.done < until
        stream.run(until)

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
    def graph(self, graph: Graph, pool: tuple[int, int]) -> Iterator[None]:
        """One that fails leaves its stream the current one, and its pool recording."""
        self.pools[pool] = "recording"
        if not self.graphs:
            self.current = self.new_stream()
            raise RuntimeError("operation not permitted when stream is capturing")
        assert self.on_device, "it would be captured on another device"
        assert self.warm, "what a tower does for the first time, on a stream other than the default, is not captured"
        assert all(self.current.comes_after(s, len(s.work)) for s in self.streams), "captured while it warms up"
        self.synchronize()
        self.capturing = graph.work = []
        graph.gpu = self
        try:
            yield
        finally:
            self.capturing = None
            self.pools[pool] = "ended"

    def end_pool(self, device: int, pool: tuple[int, int]) -> None:
        assert device == self.on_device
        if self.pools.get(pool) != "recording":
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.pools[pool] = "ended"

    def release_pool(self, device: int, pool: tuple[int, int]) -> None:
        assert (device, self.pools[pool]) == (self.on_device, "ended")
        self.pools[pool] = "released"

    def empty_cache(self) -> None:
        self.emptied += 1

    @contextmanager
    def inference_mode(self) -> Iterator[None]:
        yield

    def zeros(self, shape: Any, dtype: Any, pin_memory: bool = False, device: Any = None) -> Tensor:
        if shape[0] > self.room and not pin_memory:
            raise self.error
        made = Tensor(self, np.full(shape, 99, dtype), pin_memory)
        if pin_memory:
            made.values[...] = 0
        else:
            self.give(lambda: made.values.fill(0), [], [made])
        return made

    def empty(self, shape: Any, dtype: Any, pin_memory: bool) -> Tensor:
        assert self.on_device, "memory would be pinned for another device"
        return Tensor(self, np.full(shape, -1, dtype), pin_memory)

    def tower(self, pixels: Tensor) -> Tensor:
        """The first byte of each picture, twice, as float32 (n, 2)."""
        if len(pixels) > self.memory:
            raise self.error
        if self.capturing is None and self.current is not self.default:
            self.warm = True
        self.pictures.append(len(pixels))
        self.now += self.start_s + self.each_s * len(pixels)
        found = Tensor(self, np.full((len(pixels), 2), -2, np.float32))
        self.give(
            lambda: np.copyto(found.values, pixels.values[:, 0, 0, :1].astype(np.float32) * [1, 2]), [pixels], [found]
        )
        return found


class Graph:
    gpu: FakeCuda
    work: list[Any]

    def replay(self) -> None:
        self.gpu.replays += 1
        self.gpu.now += self.gpu.replay_s
        for piece in self.work:
            self.gpu.give(*piece)
